import {
  resolveRetryPolicy,
  RETRY_DEFAULTS,
  retryDelayMs,
  type RetryPolicy,
} from "@selvage/leasekit";
import fc from "fast-check";
import { describe, expect, it } from "vitest";

const refused = (argument: string): unknown =>
  expect.objectContaining({
    code: "INVALID_ARGUMENT",
    details: expect.objectContaining({ argument }) as unknown,
  });

const failure = new Error("it broke");

/** All waits of a policy, with full jitter at its upper end. */
function waits(policy: number | Partial<RetryPolicy>, random = 1): number[] {
  const resolved = resolveRetryPolicy(policy);
  const all: number[] = [];
  for (let retry = 1; retry < 100; retry++) {
    const delayMs = retryDelayMs(resolved, retry, failure, random);
    if (delayMs === undefined) return all;
    all.push(delayMs);
  }
  return all;
}

describe("resolveRetryPolicy()", () => {
  it("does not retry by default; with retries it waits from 100 ms, doubling, 5 s at most", () => {
    expect(resolveRetryPolicy()).toEqual({
      retries: 0,
      baseMs: 100,
      factor: 2,
      maxMs: 5_000,
      jitter: "full",
    });
    expect(waits({})).toEqual([]);
    expect(waits(8)).toEqual([100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
    expect(Object.isFrozen(RETRY_DEFAULTS)).toBe(true);
  });

  it.each([
    ["retries", [-1, 1.5, NaN, Infinity, "2", null, 2 ** 53]],
    ["baseMs", [-1, NaN, "100", null]],
    ["factor", [0.99, -2, NaN, "2", null]],
    ["maxMs", [-1, NaN, "5000", null]],
    ["jitter", ["half", "", true, null]],
    ["delaysMs", [[-1], [10, NaN], ["10"], [null]]],
  ])("names %s and what came, for each of %j", (name, values) => {
    for (const value of values)
      expect(() => resolveRetryPolicy({ [name]: value }), String(value)).toThrow(refused(name));
  });

  it.each([-1, 1.5, NaN, Infinity])("refuses %s as a count of retries", (count) => {
    expect(() => resolveRetryPolicy(count)).toThrow(refused("retries"));
  });
});

describe("retryDelayMs()", () => {
  it("counts retries after the first attempt: two retries are three attempts", () => {
    let attempts = 0;
    const policy = resolveRetryPolicy(2);
    do attempts++;
    while (retryDelayMs(policy, attempts, failure, 0) !== undefined);
    expect(attempts).toBe(3);
  });

  it("follows delaysMs instead, whose last wait repeats, without jitter", () => {
    expect(waits({ retries: 5, delaysMs: [10, 0, 30] }, 0.5)).toEqual([10, 0, 30, 30, 30]);
    expect(waits({ retries: 1, delaysMs: [10, 20] })).toEqual([10]);
    expect(waits({ retries: 0, delaysMs: [10] })).toEqual([]);
  });

  it("computes the waits when delaysMs is empty", () => {
    expect(waits({ retries: 2, delaysMs: [], jitter: "none" })).toEqual([100, 200]);
  });

  it("does not wait for what retryOn calls hopeless, and asks it about each failure", () => {
    const seen: unknown[] = [];
    const policy = resolveRetryPolicy({
      retries: 3,
      jitter: "none",
      retryOn(error) {
        seen.push(error);
        return error === failure;
      },
    });
    expect(retryDelayMs(policy, 1, failure, 0)).toBe(100);
    expect(retryDelayMs(policy, 1, "other", 0)).toBeUndefined();
    expect(seen).toEqual([failure, "other"]);
  });

  it("with full jitter waits between nothing and the computed wait, in proportion to the draw", () => {
    const draw = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
    const shape = fc.record({
      retries: fc.constant(50),
      baseMs: fc.double({ min: 0, max: 1e6, noNaN: true }),
      factor: fc.double({ min: 1, max: 10, noNaN: true }),
      maxMs: fc.double({ min: 0, max: 1e6, noNaN: true }),
    });
    fc.assert(
      fc.property(shape, fc.integer({ min: 1, max: 50 }), draw, (given, retry, random) => {
        const most = Math.min(given.baseMs * given.factor ** (retry - 1), given.maxMs);
        const exact = resolveRetryPolicy({ ...given, jitter: "none" });
        expect(retryDelayMs(exact, retry, failure, random)).toBe(most);
        const delayMs = retryDelayMs(resolveRetryPolicy(given), retry, failure, random);
        expect(delayMs).toBe(most * random);
        expect(delayMs).toBeLessThanOrEqual(most);
      }),
    );
  });

  it("waits a finite time also for the retry whose computed wait overflows", () => {
    const policy = resolveRetryPolicy({ retries: 5_000, factor: 10, jitter: "none" });
    expect(retryDelayMs(policy, 5_000, failure, 0)).toBe(5_000);
    expect(retryDelayMs({ ...policy, baseMs: 0 }, 5_000, failure, 0)).toBe(0);
  });
});
