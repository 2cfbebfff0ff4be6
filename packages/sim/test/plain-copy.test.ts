import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { plainCopy } from "../src/plain-copy.ts";

/** What a copy is, or that there is none. */
function outcomeOf(copy: () => unknown): unknown {
  try {
    return { copy: copy() };
  } catch (thrown) {
    return (thrown as Error).name;
  }
}

function listWithHole(): unknown[] {
  const list = [1];
  list[2] = 3;
  return list;
}

/** What a copy, or what is in it, inherits from. */
function prototypesOf(outcome: unknown): unknown {
  const { copy } = Object(outcome) as { readonly copy?: unknown };
  return copy === undefined ? undefined : Object.getPrototypeOf(copy);
}

describe("a message's copy", () => {
  it("is what structured clone makes of any value", () => {
    const anything = fc.anything({
      withBigInt: true,
      withDate: true,
      withMap: true,
      withNullPrototype: true,
      withSet: true,
      withSparseArray: true,
      withTypedArray: true,
    });
    fc.assert(
      fc.property(anything, (value) => {
        expect(outcomeOf(() => plainCopy(value))).toStrictEqual(
          outcomeOf(() => structuredClone(value)),
        );
      }),
      { numRuns: 2_000 },
    );
  });

  it.each<[string, unknown]>([
    ["a function", { call: () => {} }],
    ["a symbol", [Symbol("s")]],
    ["a proxy", { inner: new Proxy({}, {}) }],
    [
      "a class instance",
      new (class Point {
        readonly x = 1;
      })(),
    ],
    ["a list with holes", listWithHole()],
    ["a list with a property", Object.assign([1, 2], { third: 3 })],
    ["a list with a hole and a property", Object.assign(listWithHole(), { third: 3 })],
    ["a key that would be its prototype", JSON.parse('{"__proto__":{"x":1}}')],
    [
      "a getter",
      {
        get x() {
          return 5;
        },
      },
    ],
    ["many objects", Array.from({ length: 100 }, (_, index) => ({ index }))],
    ["an error", { error: new RangeError("far") }],
    ["undefined and odd numbers", { a: undefined, b: [undefined, -0, NaN] }],
  ])("is as structured clone has it with %s", (_, value) => {
    const expected = outcomeOf(() => structuredClone(value));
    const outcome = outcomeOf(() => plainCopy(value));
    expect(outcome).toStrictEqual(expected);
    expect(prototypesOf(outcome)).toBe(prototypesOf(expected));
  });

  it("has one object where the message has one in two places, and cycles", () => {
    const shared = { of: "both" };
    const copy = plainCopy({ one: shared, other: [shared] }) as { one: object; other: object[] };
    expect(copy.one).toBe(copy.other[0]);
    expect(copy.one).not.toBe(shared);
    const ring: { next?: unknown } = {};
    ring.next = ring;
    const round = plainCopy(ring) as { next: unknown };
    expect(round.next).toBe(round);
  });
});
