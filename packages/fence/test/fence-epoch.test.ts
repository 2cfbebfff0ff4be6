import { EPOCH_MAX, FenceEpoch } from "@selvage/fence";
import fc from "fast-check";
import { describe, expect, it } from "vitest";

const epochs = fc.integer({ min: 0, max: EPOCH_MAX });

describe("FenceEpoch", () => {
  it("starts at zero, and each grant is one more", () => {
    expect(FenceEpoch.zero().next().next().value).toBe(2);
  });

  it.each([-1, 1.5, NaN, Infinity, EPOCH_MAX + 1])(
    "of() refuses %s, which is no epoch",
    (value) => {
      expect(() => FenceEpoch.of(value)).toThrow(
        expect.objectContaining({ code: "INVALID_ARGUMENT" }),
      );
    },
  );

  it("next() ends in EXHAUSTED after the last epoch, never in a wrap", () => {
    expect(() => FenceEpoch.of(EPOCH_MAX).next()).toThrow(
      expect.objectContaining({ code: "EXHAUSTED", details: { epoch: EPOCH_MAX } }),
    );
  });

  it("a.isStale(b) is true exactly when b is older than a", () => {
    fc.assert(
      fc.property(epochs, epochs, (a, b) => {
        expect(FenceEpoch.of(a).isStale(FenceEpoch.of(b))).toBe(b < a);
        expect(Math.sign(FenceEpoch.of(a).compare(FenceEpoch.of(b)))).toBe(Math.sign(a - b));
      }),
    );
  });

  it("crosses JSON as its number", () => {
    const text = JSON.stringify({ epoch: FenceEpoch.of(7) });
    expect(text).toBe('{"epoch":7}');
    expect(FenceEpoch.of((JSON.parse(text) as { epoch: number }).epoch).value).toBe(7);
  });
});
