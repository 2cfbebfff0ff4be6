import { recordCodec, type FieldType, type RecordOf, type RecordShape } from "@selvage/fabric";
import fc from "fast-check";
import { describe, expect, expectTypeOf, it } from "vitest";
import { codeIfThrown, codeOf, thrownBy } from "./rig.ts";

const whole = (bits: number, signed: boolean): fc.Arbitrary<number> =>
  signed
    ? fc.integer({ min: -(2 ** (bits - 1)), max: 2 ** (bits - 1) - 1 })
    : fc.integer({ min: 0, max: 2 ** bits - 1 });

/** What each type holds, and where it is aligned. */
const types: Readonly<
  Record<string, { align: number; bytes: number; value: fc.Arbitrary<unknown> }>
> = {
  int8: { align: 1, bytes: 1, value: whole(8, true) },
  uint8: { align: 1, bytes: 1, value: whole(8, false) },
  int16: { align: 2, bytes: 2, value: whole(16, true) },
  uint16: { align: 2, bytes: 2, value: whole(16, false) },
  int32: { align: 4, bytes: 4, value: whole(32, true) },
  uint32: { align: 4, bytes: 4, value: whole(32, false) },
  float32: { align: 4, bytes: 4, value: fc.float() },
  float64: { align: 8, bytes: 8, value: fc.double() },
  bigint64: { align: 8, bytes: 8, value: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }) },
  biguint64: { align: 8, bytes: 8, value: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }) },
  bool: { align: 1, bytes: 1, value: fc.boolean() },
};

interface Sample {
  readonly shape: RecordShape;
  readonly value: Record<string, unknown>;
}

const field: fc.Arbitrary<readonly [FieldType, fc.Arbitrary<unknown>]> = fc.oneof(
  fc.constantFrom(...Object.keys(types)).map((type) => {
    const { value } = types[type] as { value: fc.Arbitrary<unknown> };
    return [type as FieldType, value] as const;
  }),
  fc.integer({ min: 1, max: 40 }).map((bytes) => {
    const value = fc.uint8Array({ minLength: bytes, maxLength: bytes });
    return [{ bytes }, value] as const;
  }),
  fc.integer({ min: 1, max: 200 }).map((text) => {
    const value = fc
      .string({ unit: "binary", maxLength: text })
      .filter((chars) => new TextEncoder().encode(chars).length <= text);
    return [{ text }, value] as const;
  }),
);
const names = fc.oneof(
  fc.stringMatching(/^[A-Za-z_][A-Za-z0-9_]{0,9}$/),
  fc.constantFrom("constructor", "toString", "valueOf", "hasOwnProperty"),
);
const sample: fc.Arbitrary<Sample> = fc
  .uniqueArray(
    names.filter((name) => name !== "__proto__"),
    { minLength: 1, maxLength: 20 },
  )
  .chain((chosen) =>
    fc.tuple(...chosen.map(() => field)).chain((fields) => {
      const shape = Object.fromEntries(chosen.map((name, index) => [name, fields[index]?.[0]]));
      const values = fc.tuple(...fields.map(([, value]) => value));
      return values.map((row) => ({
        shape: shape as RecordShape,
        value: Object.fromEntries(chosen.map((name, index) => [name, row[index]])),
      }));
    }),
  );

describe("recordCodec()", () => {
  it("gives back every value of every shape, alone and in place", () => {
    fc.assert(
      fc.property(sample, fc.nat({ max: 9 }), ({ shape, value }, at) => {
        const codec = recordCodec(shape);
        const bytes = codec.encode(value as RecordOf<RecordShape>);
        expect(bytes.length).toBe(codec.bytes);
        expect(codec.decode(bytes)).toEqual(value);
        expect(Object.keys(codec.decode(bytes))).toEqual(Object.keys(shape));
        // In place, at any offset, over rubbish: the bytes around it stay, those in it depend on the value alone (B2).
        const around = new Uint8Array(codec.bytes + 20).fill(0xee);
        const view = new DataView(around.buffer);
        codec.fixed.writeTo(view, at, value as RecordOf<RecordShape>);
        expect(around.subarray(at, at + codec.bytes)).toEqual(bytes);
        const outside = [...around.subarray(0, at), ...around.subarray(at + codec.bytes)];
        expect(new Set(outside)).toEqual(new Set([0xee]));
        expect(codec.fixed.readFrom(view, at)).toEqual(value);
        for (const [name, expected] of Object.entries(value))
          expect(codec.fields[name]?.get(view, at)).toEqual(expected);
      }),
      { numRuns: 500 },
    );
  });

  it.each([1, 15, 16, 17, 40])("writes and reads each of %i fields", (count) => {
    const named = Array.from({ length: count }, (_, index) => `field${index}`);
    const codec = recordCodec(Object.fromEntries(named.map((name) => [name, "uint16"] as const)));
    const value = Object.fromEntries(named.map((name, index) => [name, index * 1_000]));
    expect(codec.decode(codec.encode(value))).toEqual(value);
  });

  it("lays fields in order, aligned and little endian, as its page says", () => {
    const { bytes, fields } = recordCodec({
      flag: "bool",
      id: "int32",
      price: "float64",
      small: "int16",
      key: { bytes: 3 },
      name: { text: 4 },
    });
    const offsets = Object.values(fields).map(({ name, offset }) => [name, offset]);
    expect(offsets).toEqual([
      ["flag", 0],
      ["id", 4],
      ["price", 8],
      ["small", 16],
      ["key", 18],
      ["name", 22],
    ]);
    expect(bytes).toBe(32);
    const codec = recordCodec({ flag: "bool", id: "int32", name: { text: 4 } });
    expect([...codec.encode({ flag: true, id: -2, name: "é" })]).toEqual([
      1, 0, 0, 0, 0xfe, 0xff, 0xff, 0xff, 2, 0, 0xc3, 0xa9, 0, 0, 0, 0,
    ]);
  });

  it("writes a field in place, and reads into a record that is there", () => {
    const codec = recordCodec({ id: "uint16", total: "float64" });
    const view = new DataView(new ArrayBuffer(codec.bytes * 2));
    codec.writeTo(view, codec.bytes, { id: 1, total: 2 });
    codec.fields.total.set(view, codec.bytes, 2.5);
    const into = { id: 0, total: 0 };
    expect(codec.readFrom(view, codec.bytes, into)).toBe(into);
    expect(into).toEqual({ id: 1, total: 2.5 });
  });

  it.each<[FieldType, readonly unknown[]]>([
    ["int8", [128, -129, 0.5, Number.NaN, "1", null, undefined, 1n]],
    ["uint8", [256, -1, 0.5, Number.NaN, "1", true, 1n, Symbol("s"), undefined]],
    ["int16", [1n, 32_768, -32_769, 0.5, Infinity, [], undefined]],
    ["uint16", [1n, 65_536, -1, 0.5, "1", undefined]],
    ["int32", [1n, 2 ** 31, -(2 ** 31) - 1, 0.5, Number.NaN, "1", undefined]],
    ["uint32", [1n, 2 ** 32, -1, 0.5, "1", undefined]],
    ["float32", ["1", null, 1n, undefined]],
    ["float64", ["1", null, 1n, undefined]],
    ["bigint64", [2n ** 63n, -(2n ** 63n) - 1n, 1, undefined]],
    ["biguint64", [2n ** 64n, -1n, 1, undefined]],
    ["bool", [0, 1, "true", null, undefined]],
    [{ bytes: 2 }, [new Uint8Array(1), new Uint8Array(3), [1, 2], new Uint16Array(2), undefined]],
    [{ text: 2 }, ["abc", "éa", "\ud800", 1, null, undefined]],
  ])("refuses to encode what does not fit %s, whole and in place", (type, values) => {
    const codec = recordCodec({ field: type });
    const view = new DataView(new ArrayBuffer(codec.bytes));
    for (const value of values) {
      const error = thrownBy(() => codec.encode({ field: value } as never));
      expect([error.code, error.details["field"]]).toEqual(["ENCODE", "field"]);
      expect(codeOf(() => codec.fields.field.set(view, 0, value as never))).toBe("ENCODE");
    }
  });

  it("refuses a value that is no record, and one that lacks a field", () => {
    const codec = recordCodec({ constructor: { text: 9 }, id: "int32" });
    for (const value of [null, undefined, 7, "id", {}, { id: 1 }, { constructor: "a" }])
      expect(codeOf(() => codec.encode(value as never))).toBe("ENCODE");
  });

  it("S1: refuses bytes of another length, a bool that is none, a text that is none", () => {
    const codec = recordCodec({ flag: "bool", name: { text: 4 } });
    const good = codec.encode({ flag: false, name: "ab" });
    for (const length of [0, codec.bytes - 1, codec.bytes + 1])
      expect(codeOf(() => codec.decode(new Uint8Array(length)))).toBe("DECODE");
    for (const [at, byte] of [
      [0, 2],
      [2, 5],
      [3, 1],
      [4, 0xff],
      [5, 0xc3],
    ] as const) {
      const bad = good.slice();
      bad[at] = byte;
      expect([at, codeOf(() => codec.decode(bad))]).toEqual([at, "DECODE"]);
    }
  });

  it("S1: makes a value or a DECODE error of any bytes of its length", () => {
    fc.assert(
      fc.property(sample, fc.infiniteStream(fc.nat({ max: 255 })), ({ shape }, stream) => {
        const codec = recordCodec(shape);
        const bytes = Uint8Array.from({ length: codec.bytes }, () => stream.next().value as number);
        expect([undefined, "DECODE"]).toContain(codeIfThrown(() => codec.decode(bytes)));
      }),
    );
  });

  it.each([-1, 0.5, Number.NaN, 9, Infinity, "0"])(
    "refuses to reach beyond its view, at %s",
    (at) => {
      const codec = recordCodec({ id: "float64" });
      const view = new DataView(new ArrayBuffer(16));
      const place = at as number;
      expect(codeOf(() => codec.writeTo(view, place, { id: 1 }))).toBe("INVALID_ARGUMENT");
      expect(codeOf(() => codec.readFrom(view, place))).toBe("INVALID_ARGUMENT");
    },
  );

  it.each<[string, unknown]>([
    ["no fields", {}],
    ["no object", "int32"],
    ["an unknown type", { a: "int64" }],
    ["a type of the prototype", { a: "toString" }],
    ["a text of no bytes", { a: { text: 0 } }],
    ["a text too long", { a: { text: 65_536 } }],
    ["bytes that are no count", { a: { bytes: 1.5 } }],
    ["a name with a dot", { "a.b": "int8" }],
    ["a name that is a prototype", JSON.parse('{"__proto__":"int8"}')],
    ["a name that is a number", { 7: "int8" }],
  ])("refuses a shape of %s", (_what, shape) => {
    expect(codeOf(() => recordCodec(shape as RecordShape))).toBe("INVALID_ARGUMENT");
  });

  it("infers the value's type from the shape", () => {
    const codec = recordCodec({ id: "int32", big: "bigint64", on: "bool", name: { text: 3 } });
    expectTypeOf<Parameters<typeof codec.encode>[0]>().toEqualTypeOf<{
      id: number;
      big: bigint;
      on: boolean;
      name: string;
    }>();
    expectTypeOf<ReturnType<typeof codec.fields.on.get>>().toEqualTypeOf<boolean>();
    expectTypeOf<{ id: number }>().not.toExtend<Parameters<typeof codec.encode>[0]>();
  });
});
