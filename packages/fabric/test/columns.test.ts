import {
  columnsBytes,
  columnsCodec,
  layColumns,
  shapeOf,
  viewColumns,
  writeColumns,
  type Column,
  type Columns,
  type ColumnShape,
  type ColumnType,
} from "@selvage/fabric";
import fc from "fast-check";
import { describe, expect, expectTypeOf, it } from "vitest";
import { codeIfThrown, codeOf } from "./rig.ts";

const typed = (rows: number): Record<ColumnType, fc.Arbitrary<Column>> => {
  const length = { minLength: rows, maxLength: rows };
  return {
    int8: fc.int8Array(length),
    uint8: fc.uint8Array(length),
    int16: fc.int16Array(length),
    uint16: fc.uint16Array(length),
    int32: fc.int32Array(length),
    uint32: fc.uint32Array(length),
    float32: fc.float32Array(length),
    float64: fc.float64Array(length),
    bigint64: fc.bigInt64Array(length),
    biguint64: fc.bigUint64Array(length),
  };
};
const names = fc.oneof(
  fc.stringMatching(/^[A-Za-z_][A-Za-z0-9_]{0,20}$/),
  fc.constantFrom("__proto__", "constructor", "toString", "hasOwnProperty"),
);
const columns: fc.Arbitrary<Columns> = fc
  .integer({ min: 0, max: 40 })
  .chain((rows) => fc.dictionary(names, fc.oneof(...Object.values(typed(rows)))));

const plain = (read: Columns): unknown =>
  Object.entries(read).map(([name, column]) => [name, column.constructor.name, [...column]]);

describe("columns", () => {
  it("come back as they were written: names, types, order and values", () => {
    fc.assert(
      fc.property(columns, (written) => {
        const bytes = columnsCodec.encode(written);
        expect(bytes.length).toBe(columnsBytes(shapeOf(written)));
        expect(plain(columnsCodec.decode(bytes))).toEqual(plain(written));
      }),
    );
  });

  it("are views of the bytes, each from a multiple of 64", () => {
    const bytes = new Uint8Array(4_096);
    const laid = layColumns(bytes, { rows: 5, columns: { a: "int8", b: "float64" } });
    laid.b[4] = 0.5;
    const read = viewColumns(bytes);
    expect([read["b"]?.[4], read["b"]?.buffer === bytes.buffer]).toEqual([0.5, true]);
    expect(Object.values(read).map(({ byteOffset }) => byteOffset % 64)).toEqual([0, 0]);
    expectTypeOf(laid.a).toEqualTypeOf<Int8Array>();
    expectTypeOf(laid.b).toEqualTypeOf<Float64Array>();
  });

  it("keep a column called __proto__, and change nobody's prototype", () => {
    const written = Object.fromEntries([["__proto__", Int8Array.of(1, 2)]]);
    const read = columnsCodec.decode(columnsCodec.encode(written));
    expect(plain(read)).toEqual([["__proto__", "Int8Array", [1, 2]]]);
    expect(Object.keys(Object.prototype)).toEqual([]);
  });

  it.each([1, 3, 4, 7, 8, 33])("are decoded from any place of a larger array: byte %i", (at) => {
    const bytes = columnsCodec.encode({ x: Float64Array.of(1.5, -2) });
    const larger = new Uint8Array(bytes.length + 40);
    larger.set(bytes, at);
    const part = larger.subarray(at, at + bytes.length);
    expect(plain(columnsCodec.decode(part))).toEqual([["x", "Float64Array", [1.5, -2]]]);
    expect(codeIfThrown(() => viewColumns(part))).toBe(at % 8 === 0 ? undefined : "DECODE");
  });

  it("that do not fit are refused with what they need", () => {
    expect(codeOf(() => layColumns(new Uint8Array(64), { rows: 9, columns: { a: "int32" } }))).toBe(
      "CAPACITY_EXCEEDED",
    );
    const misplaced = new Uint8Array(256).subarray(4);
    expect(codeOf(() => layColumns(misplaced, { rows: 1, columns: { a: "int8" } }))).toBe(
      "INVALID_ARGUMENT",
    );
  });
});

describe("INVALID_ARGUMENT", () => {
  const shapes: Record<string, unknown>[] = [
    { rows: -1, columns: {} },
    { rows: 1.5, columns: {} },
    { rows: NaN, columns: {} },
    { rows: 2 ** 33, columns: {} },
    { rows: 1, columns: { "": "int8" } },
    { rows: 1, columns: { "a b": "int8" } },
    { rows: 1, columns: { "0": "int8" } },
    { rows: 1, columns: { ["a".repeat(65)]: "int8" } },
    { rows: 1, columns: { a: "string" } },
    { rows: 1, columns: { a: "constructor" } },
    { rows: 1, columns: { a: "__proto__" } },
    {
      rows: 1,
      columns: Object.fromEntries(Array.from({ length: 1_025 }, (_, i) => [`c${i}`, "int8"])),
    },
  ];
  it.each(shapes)("is what a shape gets that no columns have: %o", (shape) => {
    expect(codeOf(() => columnsBytes(shape as unknown as ColumnShape))).toBe("INVALID_ARGUMENT");
  });

  it("is what a shape gets whose description nobody would read", () => {
    const many = Array.from({ length: 1_024 }, (_, i) => [`${"n".repeat(58)}_${i}`, "biguint64"]);
    const shape = { rows: 1, columns: Object.fromEntries(many) as Record<string, ColumnType> };
    expect(codeOf(() => columnsBytes(shape))).toBe("INVALID_ARGUMENT");
  });
});

describe("ENCODE", () => {
  const wrong: Record<string, unknown>[] = [
    { a: [1, 2] },
    { a: new DataView(new ArrayBuffer(8)) },
    { a: null },
    { a: new Int8Array(2), b: new Int8Array(3) },
    { "a-b": new Int8Array(2) },
    { "": new Int8Array(2) },
    { "7": new Int8Array(2) },
  ];
  it.each(wrong)("is what columns get that cannot be described: %o", (value) => {
    expect(codeOf(() => columnsCodec.encode(value as unknown as Columns))).toBe("ENCODE");
    expect(codeOf(() => writeColumns(new Uint8Array(512), value as unknown as Columns))).toBe(
      "ENCODE",
    );
  });
});

describe("S1: bytes from elsewhere", () => {
  const magic = [0x53, 0x56, 0x43, 0x31];
  const header = (text: string, length = text.length): Uint8Array<ArrayBuffer> => {
    const bytes = new Uint8Array(1_024);
    bytes.set(magic);
    new DataView(bytes.buffer).setInt32(4, length, true);
    bytes.set(new TextEncoder().encode(text), 8);
    return bytes;
  };

  it.each([
    ["nothing", new Uint8Array(0)],
    ["seven bytes", new Uint8Array(7)],
    ["zeroes", new Uint8Array(64)],
    ["a negative length", header("{}", -1)],
    ["a length beyond the bytes", header("{}", 1_017)],
    ["no JSON", header("{{{")],
    ["another JSON", header("null")],
    ["columns that are no list", header('{"rows":1,"columns":5}')],
    ["an unknown type", header('{"rows":1,"columns":[["a","string"]]}')],
    ["an inherited type", header('{"rows":1,"columns":[["a","constructor"]]}')],
    ["a name twice", header('{"rows":1,"columns":[["a","int8"],["a","int8"]]}')],
    ["a bad name", header('{"rows":1,"columns":[["a b","int8"]]}')],
    ["negative rows", header('{"rows":-1,"columns":[]}')],
    ["fractional rows", header('{"rows":0.5,"columns":[]}')],
    ["rows beyond the bytes", header('{"rows":4294967296,"columns":[["a","float64"]]}')],
    ["another spelling", header('{ "rows":1,"columns":[["a","int8"]]}')],
    ["another key", header('{"rows":1,"columns":[["a","int8"]],"x":1}')],
  ])("%s are refused as DECODE", (_what, bytes) => {
    expect(codeOf(() => viewColumns(bytes))).toBe("DECODE");
  });

  it("make columns inside them, or a DECODE error, and change no prototype", () => {
    const valid = columnsCodec.encode({ a: Int16Array.of(1, 2, 3), b: Float64Array.of(1, 2, 3) });
    const mutated = fc
      .array(fc.tuple(fc.nat({ max: valid.length - 1 }), fc.nat({ max: 255 })), { maxLength: 4 })
      .map((edits) => {
        const bytes = new Uint8Array(valid);
        for (const [at, byte] of edits) bytes[at] = byte;
        return bytes;
      });
    const before = Object.getOwnPropertyNames(Object.prototype);
    fc.assert(
      fc.property(fc.oneof(mutated, fc.uint8Array({ maxLength: 300 })), (bytes) => {
        let columnsOfIt: Columns = {};
        const code = codeIfThrown(() => (columnsOfIt = viewColumns(bytes)));
        expect([undefined, "DECODE"]).toContain(code);
        for (const { byteOffset, byteLength } of Object.values(columnsOfIt))
          expect(byteOffset + byteLength).toBeLessThanOrEqual(bytes.byteOffset + bytes.length);
      }),
      { numRuns: 2_000 },
    );
    expect(Object.getOwnPropertyNames(Object.prototype)).toEqual(before);
  });
});
