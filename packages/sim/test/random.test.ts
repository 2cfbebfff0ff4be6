import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { RandomStream } from "../src/random.ts";

const first = (seed: string, label: string): number[] => {
  const stream = new RandomStream(seed, label);
  return Array.from({ length: 4 }, () => stream.uint32());
};

describe("a stream of random numbers", () => {
  it("is the same for the same seed and label, and another for any other", () => {
    expect(first("1", "a")).toEqual(first("1", "a"));
    const others = [first("2", "a"), first("1", "b"), first("12", ""), first("1", "2")];
    expect(new Set([first("1", "a"), ...others].map(String)).size).toBe(5);
  });

  it("is what it was: kept failures depend on it", () => {
    expect(first("20261122", "network")).toMatchInlineSnapshot(`
      [
        3981074213,
        1676193648,
        557986630,
        1823223256,
      ]
    `);
  });

  it("is not shifted by what another stream draws", () => {
    const parent = new RandomStream("1", "p");
    const before = parent.split("child").uint32();
    parent.uint32();
    expect(parent.split("child").uint32()).toBe(before);
  });

  it("tells 100,000 seeds apart", () => {
    const seen = new Set<string>();
    for (let seed = 0; seed < 100_000; seed++) {
      const stream = new RandomStream(String(seed), "x");
      seen.add(`${stream.uint32()} ${stream.uint32()}`);
    }
    expect(seen.size).toBe(100_000);
  });

  it("draws whole numbers within bounds, each about as often", () => {
    const stream = new RandomStream("1", "x");
    const counts = new Map<number, number>();
    for (let draw = 0; draw < 60_000; draw++) {
      const value = stream.between(-2, 3);
      counts.set(value, (counts.get(value) ?? 0) + 1);
    }
    expect([...counts.keys()].toSorted((a, b) => a - b)).toEqual([-2, -1, 0, 1, 2, 3]);
    for (const count of counts.values()) expect(Math.abs(count - 10_000)).toBeLessThan(600);
  });

  it("spreads over orders of magnitude, within bounds", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 1e6 }), fc.nat({ max: 1e6 }), (least, more) => {
        const drawn = new RandomStream(`${least} ${more}`, "x").spread(least, least + more);
        expect(drawn).toBeGreaterThanOrEqual(least);
        expect(drawn).toBeLessThanOrEqual(least + more);
      }),
    );
    const stream = new RandomStream("1", "x");
    const low = Array.from({ length: 1_000 }, () => stream.spread(1, 10_000)).filter(
      (n) => n < 100,
    );
    expect(low.length).toBeGreaterThan(300);
  });

  it("refuses a count that is none", () => {
    for (const count of [0, -1, 1.5, Number.NaN, 2 ** 32 + 1])
      expect(() => new RandomStream("1", "x").below(count)).toThrow(/expected a whole number/);
  });
});
