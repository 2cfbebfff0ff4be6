import { EPOCH_MAX, Fenced, FenceEpoch, FenceGuard } from "@selvage/fence";
import fc from "fast-check";
import { describe, expect, it } from "vitest";

describe("FenceGuard", () => {
  it("passes its own epoch again, and turns away the one before", () => {
    const guard = new FenceGuard();
    const paused = guard.advance();
    expect(guard.check(paused)).toBe(true);
    const successor = guard.advance();
    expect([guard.check(paused), guard.check(successor)]).toEqual([false, true]);
  });

  it("F2: turns away a predecessor that it never heard of, once it is sealed", () => {
    const guard = new FenceGuard(FenceEpoch.of(3));
    expect(guard.seal(FenceEpoch.of(7))).toBe(true);
    expect(guard.check(FenceEpoch.of(6))).toBe(false);
    expect(guard.seal(FenceEpoch.of(5))).toBe(false);
  });

  it("F1: agrees with the running maximum on every sequence of epochs", () => {
    fc.assert(
      fc.property(fc.array(fc.nat({ max: 9 })), (epochs) => {
        const guard = new FenceGuard();
        let highest = 0;
        for (const value of epochs) {
          expect(guard.check(FenceEpoch.of(value))).toBe(value >= highest);
          highest = Math.max(highest, value);
          expect(guard.epoch.value).toBe(highest);
        }
      }),
    );
  });

  it("apply() writes with the check or not at all, and says STALE_EPOCH", () => {
    const guard = new FenceGuard(FenceEpoch.of(2));
    const applied: string[] = [];
    const write = Fenced.at(FenceEpoch.of(1), "old").map((text) => `${text}!`);
    expect(() => guard.apply(write, (text) => applied.push(text))).toThrow(
      expect.objectContaining({ code: "STALE_EPOCH", details: { epoch: 1, promised: 2 } }),
    );
    guard.apply(Fenced.at(FenceEpoch.of(2), "new"), (text) => applied.push(text));
    expect(applied).toEqual(["new"]);
    expect(Fenced.atZero(5)).toMatchObject({ epoch: { value: 0 }, value: 5 });
  });

  it("advance() ends in EXHAUSTED, never in a wrap", () => {
    const guard = new FenceGuard(FenceEpoch.of(EPOCH_MAX));
    expect(() => guard.advance()).toThrow(expect.objectContaining({ code: "EXHAUSTED" }));
    expect(guard.epoch.value).toBe(EPOCH_MAX);
  });
});
