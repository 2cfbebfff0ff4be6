import { encode as encodeLoosely } from "@msgpack/msgpack";
import { DECODE_BUDGET, type FabricError } from "@selvage/fabric";
import { msgpackCodec } from "@selvage/node";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { codeIfThrown, codeOf, thrownBy } from "./thrown.ts";

const codec = msgpackCodec<unknown>();

const texts = fc.string({ unit: "binary", maxLength: 300 });
const { value: values } = fc.letrec((tie) => ({
  value: fc.oneof(
    { depthSize: "small" },
    fc.constantFrom(null, true, false, Number.NaN, Infinity, 2 ** 53 - 1, -(2 ** 53) + 1),
    fc.double().map((number) => number + 0),
    fc.integer(),
    fc.bigInt({ min: -(2n ** 63n), max: 2n ** 64n - 1n }),
    texts,
    fc.date({ noInvalidDate: true }),
    fc.uint8Array({ maxLength: 300 }),
    fc.array(tie("value"), { maxLength: 20 }),
    fc.dictionary(
      texts.filter((key) => key !== "__proto__"),
      tie("value"),
      { maxKeys: 20, noNullPrototype: true },
    ),
  ),
}));
const nested = (depth: number): unknown =>
  Array.from({ length: depth }).reduce<unknown>((inner) => [inner], 0);

const why = (bytes: readonly number[]): unknown => {
  const { code, details } = thrownBy(() => codec.decode(Uint8Array.from(bytes)));
  return [code, details["why"]];
};
const hostile = (key: string): Uint8Array => {
  const text = new TextEncoder().encode(key);
  return Uint8Array.from([0x81, 0xa0 + text.length, ...text, 0x81, 0xa1, 0x78, 1]);
};

describe("msgpackCodec()", () => {
  it("gives back every value that it can say", () => {
    fc.assert(
      fc.property(values, (value) => {
        const bytes = codec.encode(value);
        // -0 is an integer, which has no sign when it is 0.
        expect(codec.decode(bytes)).toEqual(value);
      }),
      { numRuns: 500 },
    );
  });

  it("gives back the first and the last Date there is, and refuses the next timestamp", () => {
    const dates = [8.64e15, -8.64e15, 8.64e15 - 1].map((ms) => new Date(ms));
    expect(codec.decode(codec.encode(dates))).toEqual(dates);
    const late = codec.encode(new Date(8.64e15));
    // Its nanoseconds: the third byte on.
    late[6] = 1;
    expect(codeOf(() => codec.decode(late))).toBe("DECODE");
  });

  it("keeps a byte order mark, or says that it cannot", () => {
    const mark = "\ufeff";
    const short = mark + "x".repeat(197);
    expect(codec.decode(codec.encode([short, { [short]: 1 }]))).toEqual([short, { [short]: 1 }]);
    const inside = "x".repeat(300) + mark;
    expect(codec.decode(codec.encode(inside))).toBe(inside);
    const long = `${short}x`;
    for (const value of [long, { [long]: 1 }]) {
      expect(codeOf(() => codec.encode(value))).toBe("ENCODE");
      expect(codeOf(() => codec.decode(encodeLoosely(value)))).toBe("DECODE");
    }
  });

  it("leaves out members that are undefined, and takes them for null in an array", () => {
    expect(codec.decode(codec.encode({ a: undefined, b: [undefined, 1] }))).toEqual({
      b: [null, 1],
    });
  });

  it("decodes what other writers write: maps of any keys, floats of 32 bits, int64 as a bigint", () => {
    const bytes = Uint8Array.of(
      0x83,
      0x01,
      0xca,
      0x3f,
      0,
      0,
      0,
      0xa1,
      0x62,
      0xd3,
      0,
      0,
      0,
      0,
      0,
      0,
      0,
      5,
      0xc3,
      0xc2,
    );
    // A key of `true`: the library takes texts and numbers only.
    expect(codeOf(() => codec.decode(bytes))).toBe("DECODE");
    bytes[18] = 0x07;
    expect(codec.decode(bytes)).toEqual({ 1: 0.5, b: 5n, 7: false });
  });

  class Point {
    readonly x = 1;
  }
  const cyclic: Record<string, unknown> = {};
  cyclic["self"] = { in: [cyclic] };
  it.each<[string, unknown]>([
    ["undefined", undefined],
    ["a function", () => 0],
    ["a symbol in a list", [Symbol("s")]],
    ["a Map", { map: new Map([[1, 2]]) }],
    ["a Set", new Set([1])],
    ["an instance", [new Point()]],
    ["a typed array of other elements", new Float64Array(2)],
    ["an ArrayBuffer", new ArrayBuffer(2)],
    ["a boxed number", Object(1)],
    ["an expression", /a/],
    ["a promise", Promise.resolve()],
    ["an invalid Date", new Date(Number.NaN)],
    ["a bigint above 64 bits", 2n ** 64n],
    ["a bigint below 64 bits", -(2n ** 63n) - 1n],
    ["a lone surrogate", ["\ud800"]],
    ["a key with a lone surrogate", { "\udc00": 1 }],
    ["a key of __proto__", JSON.parse('{"__proto__":1}')],
    ["a cycle", cyclic],
    ["nesting too deep", nested(DECODE_BUDGET.depth + 1)],
    ["a list longer than its budget", Array.from({ length: DECODE_BUDGET.elements + 1 })],
    [
      "a getter that throws",
      Object.defineProperty({}, "a", {
        enumerable: true,
        get: () => {
          throw new Error("no");
        },
      }),
    ],
  ])("refuses to encode %s, which would not come back", (_what, value) => {
    expect(codeOf(() => codec.encode(value))).toBe("ENCODE");
  });

  it("B1: takes what is at its budget and refuses one more, both ways", () => {
    const tight = msgpackCodec<unknown>({ elements: 7, depth: 2, bytes: 40 });
    for (const fits of [{ a: [1, 2], b: 3 }, [1, 2, 3, 4, 5, 6], nested(2), "a".repeat(38)])
      expect(tight.decode(tight.encode(fits))).toEqual(fits);
    for (const [what, beyond] of [
      ["elements", { a: [1, 2, 3], b: 3 }],
      ["elements", [1, 2, 3, 4, 5, 6, 7]],
      ["depth", nested(3)],
      ["depth", { a: { b: { c: 1 } } }],
      ["bytes", "a".repeat(39)],
    ] as const) {
      const excess = { details: { codec: "msgpack", what } };
      expect(thrownBy(() => tight.encode(beyond))).toMatchObject({ code: "ENCODE", ...excess });
      expect(thrownBy(() => tight.decode(encodeLoosely(beyond)))).toMatchObject({
        code: "DECODE",
        ...excess,
      });
    }
    const deepest = nested(DECODE_BUDGET.depth);
    expect(codec.decode(codec.encode(deepest))).toEqual(deepest);
  });

  it.each<[string, readonly number[]]>([
    ["it ends 1 bytes early", []],
    ["it ends 3 bytes early", [0xce, 1]],
    ["it ends 8 bytes early", [0xcb]],
    ["it ends 1 bytes early", [0x92, 1]],
    ["it ends 65534 bytes early", [0xdc, 0xff, 0xff, 0]],
    ["it ends 4294967295 bytes early", [0xdd, 0xff, 0xff, 0xff, 0xff]],
    ["it ends 8589934589 bytes early", [0xdf, 0xff, 0xff, 0xff, 0xff, 0]],
    ["it ends 4294967294 bytes early", [0xdb, 0xff, 0xff, 0xff, 0xff, 0x61]],
    ["it ends 4294967295 bytes early", [0xc6, 0xff, 0xff, 0xff, 0xff]],
    ["it ends 1 bytes early", [0xc9, 0, 0, 0, 1, 0xff]],
    ["1 bytes after its end", [1, 2]],
    ["2 bytes after its end", [0x91, 1, 0xc0, 0xc0]],
    ["a head of 0xc1", [0xc1]],
    ["a head of 0xc1", [0x91, 0xc1]],
    ["a text that is no UTF-8", [0xa1, 0xff]],
    ["a text that is no UTF-8", [0x92, 0xa1, 0xe2, 0xa2, 0x82, 0xac]],
    ["a text that is no UTF-8", [0x81, 0xa1, 0xc3, 1]],
    ["a text that is no UTF-8", [0xd9, 3, 0xed, 0xa0, 0x80]],
    ["an extension of type 5", [0xd4, 5, 0]],
    ["an extension of type -2", [0xc7, 1, 0xfe, 0]],
    ["a timestamp that is no Date", [0xd4, 0xff, 0]],
    ["a timestamp that is no Date", [0xd7, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]],
    ["a timestamp that is no Date", [0xc7, 12, 0xff, 0, 0, 0, 0, 0x7f, 0, 0, 0, 0, 0, 0, 0]],
  ])("S1: says %s of %j", (expected, bytes) => {
    expect(why(bytes)).toEqual(["DECODE", expected]);
  });

  it("S1: leaves every prototype as it is, whatever the keys", () => {
    expect(codeOf(() => codec.decode(hostile("__proto__")))).toBe("DECODE");
    for (const key of ["constructor", "prototype", "toString"])
      expect(Object.entries(codec.decode(hostile(key)) as object)).toEqual([[key, { x: 1 }]]);
    expect("x" in {}).toBe(false);
    expect("x" in Object).toBe(false);
  });

  it("S1: makes a value or a DECODE error of any bytes, and the value encodes", () => {
    const head = fc.constantFrom(0x81, 0x92, 0xa2, 0xc4, 0xc7, 0xca, 0xcf, 0xd3, 0xd6, 0xdc, 0xde);
    const bytes = fc.array(fc.oneof(fc.nat({ max: 255 }), head, fc.nat({ max: 3 })), {
      maxLength: 60,
    });
    fc.assert(
      fc.property(bytes, (input) => {
        let value: unknown = null;
        const code = codeIfThrown(() => (value = codec.decode(Uint8Array.from(input))));
        expect([undefined, "DECODE"]).toContain(code);
        expect(codec.decode(codec.encode(value))).toEqual(value);
      }),
      { numRuns: 2_000 },
    );
  });

  it("decodes shared bytes as they were at one moment, into memory that is not shared", () => {
    const value = { text: "x".repeat(500), bytes: Uint8Array.of(1, 2) };
    const encoded = codec.encode(value);
    const shared = new Uint8Array(new SharedArrayBuffer(encoded.length));
    shared.set(encoded);
    const read = codec.decode(shared) as typeof value;
    shared.fill(0);
    expect(read).toEqual(value);
    expect(read.bytes.buffer).toBeInstanceOf(ArrayBuffer);
  });

  it("goes on after an error, and gives each value bytes of its own", () => {
    const first = codec.encode({ a: 1 });
    expect(codeOf(() => codec.encode({ a: [new Map()] }))).toBe("ENCODE");
    expect(codeOf(() => codec.decode(Uint8Array.of(0x92, 0x91)))).toBe("DECODE");
    const second = codec.encode({ a: 2 });
    expect([codec.decode(first), codec.decode(second)]).toEqual([{ a: 1 }, { a: 2 }]);
    const large = { text: "x".repeat(3_000_000) };
    expect(codec.decode(codec.encode(large))).toEqual(large);
  });

  it("keeps the library's error as the cause of its own", () => {
    const error: FabricError = thrownBy(() => codec.decode(Uint8Array.of(0x81, 0xc0, 1)));
    expect([error.code, (error.cause as Error).message]).toEqual([
      "DECODE",
      expect.stringContaining("key"),
    ]);
  });
});
