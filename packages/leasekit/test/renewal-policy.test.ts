import { RENEWAL_DEFAULTS, RenewalPolicy } from "@selvage/leasekit";
import fc from "fast-check";
import { describe, expect, it } from "vitest";

const refused = (argument: string): unknown =>
  expect.objectContaining({
    code: "INVALID_ARGUMENT",
    details: expect.objectContaining({ argument }) as unknown,
  });

describe("RenewalPolicy", () => {
  it("fills in 0.75, 0.10, 30 s and 5 s", () => {
    expect(new RenewalPolicy()).toEqual({
      renewAtFraction: 0.75,
      jitterFraction: 0.1,
      minRenewSecs: 30,
      maxBackoffSecs: 5,
    });
    expect(RENEWAL_DEFAULTS).toEqual(new RenewalPolicy({}));
  });

  it("keeps what is given, and does not let anyone change the defaults for all", () => {
    expect(new RenewalPolicy({ jitterFraction: 0, minRenewSecs: 0 })).toEqual({
      renewAtFraction: 0.75,
      jitterFraction: 0,
      minRenewSecs: 0,
      maxBackoffSecs: 5,
    });
    expect(Object.isFrozen(RENEWAL_DEFAULTS)).toBe(true);
  });

  it.each([
    ["renewAtFraction", [0, 1, -0.1, 1.5, NaN, Infinity, "0.5", null]],
    ["jitterFraction", [1, -0.1, 2, NaN, Infinity, "0.1", null]],
    ["minRenewSecs", [-1, NaN, -Infinity, "30", null]],
    ["maxBackoffSecs", [-1, NaN, -Infinity, "5", null]],
  ])("names %s and what came, for each of %j", (name, values) => {
    for (const value of values)
      expect(() => new RenewalPolicy({ [name]: value }), String(value)).toThrow(refused(name));
  });
});

describe("RenewalPolicy.renewalDeadline()", () => {
  const seed = fc.integer();
  const createdAt = fc.integer({ min: 0, max: 2 ** 41 });
  const ttl = fc.integer({ min: 1, max: 2 ** 39 });
  const policy = fc
    .record({
      renewAtFraction: fc.double({ min: 0.01, max: 0.99, noNaN: true }),
      jitterFraction: fc.double({ min: 0, max: 0.99, noNaN: true }),
    })
    .map((given) => new RenewalPolicy(given));

  it("is three quarters of the TTL without jitter", () => {
    const exact = new RenewalPolicy({ jitterFraction: 0 });
    expect([1, 2, 3].map((one) => exact.renewalDeadline(1_000, 1_400, one))).toEqual([
      1_300, 1_300, 1_300,
    ]);
  });

  it("depends on the seed and on nothing else, so the same lease is always due at the same moment", () => {
    fc.assert(
      fc.property(policy, createdAt, ttl, seed, (one, at, ms, word) => {
        const dueAt = one.renewalDeadline(at, at + ms, word);
        expect(new RenewalPolicy(one).renewalDeadline(at, at + ms, word)).toBe(dueAt);
        // 32 bits of seed count.
        expect(one.renewalDeadline(at, at + ms, word >>> 0)).toBe(dueAt);
      }),
    );
  });

  it("stays inside the jitter band, after the grant and before the last twentieth of the TTL", () => {
    fc.assert(
      fc.property(policy, createdAt, ttl, seed, (one, at, ms, word) => {
        const { renewAtFraction, jitterFraction } = one;
        const fraction = (one.renewalDeadline(at, at + ms, word) - at) / ms;
        const most = Math.min(renewAtFraction + jitterFraction, 0.95);
        // Doubles near 2^41 are 2^-11 apart.
        const rounding = 1e-3 / ms + 1e-9;
        expect(fraction).toBeGreaterThanOrEqual(
          Math.max(Math.min(renewAtFraction - jitterFraction, 0.95), 0) - rounding,
        );
        expect(fraction).toBeLessThanOrEqual(most + rounding);
      }),
    );
  });

  it("spreads neighbouring seeds over the whole band, so that leases granted together part", () => {
    const tenths = new Set<number>();
    for (let one = 0; one < 200; one++) {
      const fraction = new RenewalPolicy().renewalDeadline(0, 1_000_000, one) / 1_000_000;
      tenths.add(Math.floor((fraction - 0.65) / 0.02));
    }
    expect(tenths.size).toBe(10);
  });

  it("is at once for a lease that ends before it was granted", () => {
    expect(new RenewalPolicy().renewalDeadline(500, 400, 7)).toBe(500);
  });
});
