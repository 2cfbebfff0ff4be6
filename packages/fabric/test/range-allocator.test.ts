import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { InvariantError } from "../src/errors.ts";
import { RANGE_UNITS_MAX, RangeAllocator, type Range } from "../src/range-allocator.ts";

// A property takes 2 s here, and more than vitest's 5 s on a machine with ten things to do.
const patienceMs = 60_000;

interface Block {
  readonly id: number;
  readonly offset: number;
  readonly units: number;
}

/** The live blocks and the gaps between them, in order: what a naive allocator would keep. */
function tiling(units: number, live: readonly Block[]): Range[] {
  const tiles: Range[] = [];
  let end = 0;
  for (const block of live.toSorted((a, b) => a.offset - b.offset)) {
    // Not only above 0: blocks that overlap make a gap below 0, which no allocator lists.
    if (block.offset !== end) tiles.push({ offset: end, units: block.offset - end, isLive: false });
    tiles.push({ offset: block.offset, units: block.units, isLive: true });
    end = block.offset + block.units;
  }
  if (end !== units) tiles.push({ offset: end, units: units - end, isLive: false });
  return tiles;
}

const gapsOf = (units: number, live: readonly Block[]): number[] =>
  tiling(units, live).flatMap((tile) => (tile.isLive ? [] : [tile.units]));

function expectAgreement(allocator: RangeAllocator, live: readonly Block[]): void {
  const gaps = gapsOf(allocator.units, live);
  const asked = live.map(({ id }) => ({
    id,
    offset: allocator.offsetOf(id),
    units: allocator.sizeOf(id),
  }));
  expect([...allocator.ranges()], "A1, A2").toEqual(tiling(allocator.units, live));
  expect(asked).toEqual(live);
  expect(allocator.freeUnits).toBe(gaps.reduce((sum, gap) => sum + gap, 0));
  expect(allocator.largestFree()).toBe(Math.max(0, ...gaps));
}

// Mostly sizes about the bounds of classes, where rounding goes wrong first.
const boundary = fc
  .record({
    log: fc.integer({ min: 5, max: 9 }),
    column: fc.integer({ min: 0, max: 31 }),
    off: fc.integer({ min: -1, max: 1 }),
  })
  .map(({ log, column, off }) => 2 ** log + column * 2 ** (log - 5) + off);
const size = fc.oneof(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: 600 }), boundary);
/** Allocates a size, or the largest gap give or take one unit; or frees one of the live blocks. */
const step = fc.oneof(
  { weight: 5, arbitrary: fc.record({ units: size }) },
  { weight: 1, arbitrary: fc.record({ off: fc.integer({ min: -1, max: 1 }) }) },
  { weight: 4, arbitrary: fc.record({ pick: fc.nat() }) },
);
type Wanted = { readonly units: number } | { readonly off: number };

function allocateOne(allocator: RangeAllocator, live: Block[], wanted: Wanted): void {
  const largest = Math.max(0, ...gapsOf(allocator.units, live));
  const units = "units" in wanted ? wanted.units : Math.max(1, largest + wanted.off);
  const id = allocator.allocate(units);
  expect(id !== -1, "A4: succeeds exactly when a gap is long enough").toBe(units <= largest);
  if (id !== -1) live.push({ id, offset: allocator.offsetOf(id), units });
}

function freeOne(allocator: RangeAllocator, live: Block[], pick: number): void {
  const [block] = live.splice(pick % live.length, 1);
  if (block !== undefined) allocator.free(block.id);
}

describe("RangeAllocator.allocate()", () => {
  it("hands out a fresh range from the bottom up, so that memory never used stays untouched", () => {
    const allocator = new RangeAllocator(1_000);
    const ids = [1, 31, 32, 33, 500].map((units) => allocator.allocate(units));
    expect(ids.map((id) => allocator.offsetOf(id))).toEqual([0, 1, 32, 64, 97]);
  });

  it("fills a hole that fits before it cuts into the untouched rest", () => {
    const allocator = new RangeAllocator(RANGE_UNITS_MAX);
    const [hole] = [allocator.allocate(64), allocator.allocate(1)];
    allocator.free(hole);
    expect(allocator.offsetOf(allocator.allocate(64))).toBe(0);
  });

  it.each([
    1,
    2,
    31,
    32,
    33,
    63,
    64,
    65,
    1_023,
    1_024,
    1_025,
    2 ** 20 + 1,
    RANGE_UNITS_MAX - 1,
    RANGE_UNITS_MAX,
  ])("A4: gives out a range of %i units whole, whatever class its size rounds up to", (units) => {
    const allocator = new RangeAllocator(units);
    expect(allocator.largestFree()).toBe(units);
    expect(allocator.allocate(units + 1)).toBe(-1);
    const whole = allocator.allocate(units);
    expect([allocator.offsetOf(whole), allocator.sizeOf(whole), allocator.freeUnits]).toEqual([
      0,
      units,
      0,
    ]);
    expect([allocator.allocate(1), allocator.largestFree()]).toEqual([-1, 0]);
    allocator.free(whole);
    expect([allocator.freeUnits, allocator.largestFree()]).toEqual([units, units]);
  });

  it("A4: finds the one block that fits among shorter ones of its class, where rounding up finds none", () => {
    const allocator = new RangeAllocator(4_000);
    // 1 024 to 1 055 units are one class. A live unit above each keeps the three apart.
    const blocks = [1_055, 1_030, 1_024].map((units) => {
      const block = allocator.allocate(units);
      allocator.allocate(1);
      return block;
    });
    allocator.allocate(allocator.largestFree());
    expect(allocator.freeUnits).toBe(0);
    // Freed last, the shortest is at the head of the list.
    for (const block of blocks) allocator.free(block);
    expect(allocator.offsetOf(allocator.allocate(1_040))).toBe(0);
    expect(allocator.allocate(1_031)).toBe(-1);
    expect(allocator.sizeOf(allocator.allocate(1_030))).toBe(1_030);
  });

  it("returns -1 for more than the range, however much more", () => {
    const allocator = new RangeAllocator(RANGE_UNITS_MAX);
    expect(
      [RANGE_UNITS_MAX + 1, 2 ** 31, 2 ** 32 + 1, Number.MAX_SAFE_INTEGER].map((n) =>
        allocator.allocate(n),
      ),
    ).toEqual([-1, -1, -1, -1]);
  });

  it.each([0, -1, 1.5, NaN, Infinity])("rejects %s, which is not a size", (units) => {
    expect(() => new RangeAllocator(8).allocate(units)).toThrow(InvariantError);
  });
});

describe("RangeAllocator.free()", () => {
  it.each([
    ["neither neighbour", [0, 2, 1, 3]],
    ["the one below", [0, 1, 2, 3]],
    ["the one above", [3, 2, 1, 0]],
    ["both", [0, 2, 3, 1]],
  ])("A2: leaves one free block when all are freed, joining first with %s", (_, order) => {
    const allocator = new RangeAllocator(40);
    const ids = [10, 10, 10, 10].map((units) => allocator.allocate(units));
    for (const index of order) allocator.free(ids[index] as number);
    expect([...allocator.ranges()]).toEqual([{ offset: 0, units: 40, isLive: false }]);
    expect(allocator.largestFree()).toBe(40);
  });

  it.each([[[0, 1]], [[1, 0]], [[0, 1, 2]], [[2, 1, 0]], [[0, 2, 1]]])(
    "rejects a block freed twice, whether it was joined or not, in order %j",
    (order) => {
      const allocator = new RangeAllocator(40);
      const ids = [10, 10, 10, 10].map((units) => allocator.allocate(units));
      for (const index of order) allocator.free(ids[index] as number);
      for (const index of order)
        expect(() => allocator.free(ids[index] as number)).toThrow(InvariantError);
      expect(allocator.freeUnits).toBe(order.length * 10);
    },
  );

  it.each([-1, 0, 0.5, 1.5, 2, 63, 64, 2 ** 29, 2 ** 32 + 1, NaN, Infinity])(
    "rejects %s, which is no live block",
    (block) => {
      const allocator = new RangeAllocator(40);
      allocator.allocate(10);
      expect(() => allocator.free(block)).toThrow(InvariantError);
      expect(() => allocator.offsetOf(block)).toThrow(InvariantError);
      expect(() => allocator.sizeOf(block)).toThrow(InvariantError);
      expect(allocator.freeUnits).toBe(30);
    },
  );
});

describe("RangeAllocator", () => {
  it.each([0, -1, 1.5, NaN, RANGE_UNITS_MAX + 1])("rejects %s, which is not a length", (units) => {
    expect(() => new RangeAllocator(units)).toThrow(InvariantError);
  });

  it("keeps its blocks when the pool of descriptors doubles under them", () => {
    const allocator = new RangeAllocator(10_000);
    const live = Array.from({ length: 1_000 }, (_, index) => {
      const units = 1 + (index % 7);
      const id = allocator.allocate(units);
      return { id, offset: allocator.offsetOf(id), units };
    });
    expect(new Set(live.map(({ id }) => id)).size).toBe(1_000);
    expectAgreement(allocator, live);
    for (const { id } of live.filter((_, index) => index % 2 === 0)) allocator.free(id);
    expectAgreement(
      allocator,
      live.filter((_, index) => index % 2 === 1),
    );
  });

  it(
    "A1, A2, A3, A4: agrees with a list of intervals on every sequence of calls",
    () => {
      const units = fc.integer({ min: 1, max: 3_000 });
      const steps = fc.array(step, { maxLength: 120, size: "max" });
      fc.assert(
        fc.property(units, steps, (length, taken) => {
          const allocator = new RangeAllocator(length);
          const live: Block[] = [];
          for (const one of taken) {
            if ("pick" in one) freeOne(allocator, live, one.pick);
            else allocateOne(allocator, live, one);
            expectAgreement(allocator, live);
          }
          while (live.length > 0) freeOne(allocator, live, 0);
          expect([...allocator.ranges()]).toEqual([{ offset: 0, units: length, isLive: false }]);
        }),
        { numRuns: 200 },
      );
    },
    patienceMs,
  );
});
