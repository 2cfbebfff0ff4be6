import { DECODE_BUDGET, jsonCodec, rawCodec } from "@selvage/fabric";
import { systemText } from "@selvage/node";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { codeIfThrown, codeOf, thrownBy } from "./rig.ts";

const json = jsonCodec<unknown>(systemText);

const nested = (depth: number): unknown =>
  Array.from({ length: depth }).reduce<unknown>((inner) => [inner], 0);
describe("jsonCodec()", () => {
  it("gives back every JSON value, keys like __proto__ as plain properties", () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 3 }), (value) => {
        const written = JSON.stringify(value);
        expect(JSON.stringify(json.decode(json.encode(value)))).toBe(written);
      }),
    );
    const hostile = json.decode(systemText.encode('{"__proto__":{"polluted":1}}')) as object;
    expect([Object.keys(hostile), Object.getPrototypeOf(hostile) === Object.prototype]).toEqual([
      ["__proto__"],
      true,
    ]);
    expect("polluted" in {}).toBe(false);
  });

  const cyclic: Record<string, unknown> = {};
  cyclic["self"] = cyclic;
  const deep: unknown[] = [];
  for (let level = 0, at = deep; level < 100_000; level++) at.push((at = []));
  it.each([
    ["undefined", undefined],
    ["a function", () => 0],
    ["a symbol", Symbol("s")],
    ["a bigint", 5n],
    ["a cycle", cyclic],
    ["a nesting too deep", deep],
  ])("refuses to encode %s", (_what, value) => {
    expect(codeOf(() => json.encode(value))).toBe("ENCODE");
  });

  it("S1: makes a value or a DECODE error of any bytes", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
        expect([undefined, "DECODE"]).toContain(codeIfThrown(() => json.decode(bytes)));
      }),
      { numRuns: 1_000 },
    );
  });

  it("S1: takes nesting as deep as its bytes allow, or says DECODE", () => {
    const bytes = new Uint8Array(1_000_000).fill(0x5b);
    expect(codeOf(() => json.decode(bytes))).toBe("DECODE");
  });

  it("refuses more bytes than its budget before it looks at them", () => {
    const small = jsonCodec(systemText, { bytes: 10 });
    expect(small.decode(systemText.encode("1234567890"))).toBe(1_234_567_890);
    expect(thrownBy(() => small.decode(new Uint8Array(11)))).toMatchObject({
      message: "Cannot decode: 11 bytes, at most 10",
      details: { codec: "json", what: "bytes", came: 11, most: 10 },
    });
    expect(codeOf(() => json.decode(new Uint8Array(DECODE_BUDGET.bytes + 1)))).toBe("DECODE");
  });

  it("B1: takes what is at its budget and refuses one more, both ways", () => {
    const tight = jsonCodec<unknown>(systemText, { elements: 7, depth: 2 });
    const wide = jsonCodec<unknown>(systemText);
    // 7 elements: the map, two keys, two values, and what is in the second.
    for (const fits of [{ a: [1, 2], b: 3 }, [1, 2, 3, 4, 5, 6], nested(2), "[[[,,,,,,,,,"])
      expect(tight.decode(tight.encode(fits))).toEqual(fits);
    for (const [what, beyond] of [
      ["elements", { a: [1, 2, 3], b: 3 }],
      ["elements", [1, 2, 3, 4, 5, 6, 7]],
      ["depth", nested(3)],
      ["depth", { a: { b: { c: 1 } } }],
    ] as const) {
      const excess = { details: { codec: "json", what } };
      expect(thrownBy(() => tight.encode(beyond))).toMatchObject({ code: "ENCODE", ...excess });
      const bytes = wide.encode(beyond);
      expect(thrownBy(() => tight.decode(bytes))).toMatchObject({ code: "DECODE", ...excess });
    }
    expect(wide.decode(wide.encode(nested(DECODE_BUDGET.depth)))).toEqual(
      nested(DECODE_BUDGET.depth),
    );
    expect(codeOf(() => wide.encode(nested(DECODE_BUDGET.depth + 1)))).toBe("ENCODE");
  });

  it("counts no comma, bracket or quote inside a text", () => {
    const tight = jsonCodec<unknown>(systemText, { elements: 2, depth: 1 });
    for (const text of [',:[{\\"', '"[[[[', "\\", '\\",,,,', "]]]]"])
      expect(tight.decode(tight.encode([text]))).toEqual([text]);
  });

  it.each([-1, 1.5, Number.NaN, "9", 2 ** 53])("refuses a budget of %s", (bound) => {
    const budget = { elements: bound as number };
    expect(codeOf(() => jsonCodec(systemText, budget))).toBe("INVALID_ARGUMENT");
  });

  it("needs no host for its text", () => {
    const plain = jsonCodec<unknown>();
    fc.assert(
      fc.property(fc.jsonValue({ stringUnit: "binary" }), (value) => {
        expect(plain.encode(value)).toEqual(json.encode(value));
        expect(plain.decode(json.encode(value))).toEqual(json.decode(plain.encode(value)));
      }),
    );
  });

  it("decodes shared bytes, which the platform's decoder refuses", () => {
    const bytes = new Uint8Array(new SharedArrayBuffer(2));
    bytes.set(json.encode(42));
    expect(json.decode(bytes)).toBe(42);
  });
});

describe("rawCodec", () => {
  it("passes bytes through and refuses anything else", () => {
    const bytes = Uint8Array.of(1, 2);
    expect([rawCodec.encode(bytes), rawCodec.decode(bytes)]).toEqual([bytes, bytes]);
    for (const other of [[1], "ab", null, new Uint16Array(1)])
      expect(codeOf(() => rawCodec.encode(other as unknown as Uint8Array))).toBe("ENCODE");
  });
});
