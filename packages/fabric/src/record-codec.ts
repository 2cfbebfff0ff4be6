/**
 * Records of one layout: every value takes the same bytes, so that a field is read where it lies, without decoding the
 * rest. Fields follow each other in the order of the shape, little endian, each from the next multiple of its
 * alignment; the whole is rounded up to the largest alignment.
 *
 * ```
 *  type                          bytes   aligned to
 *  int8, uint8, bool                 1   1             a bool is 0 or 1
 *  int16, uint16                     2   2
 *  int32, uint32, float32            4   4
 *  float64, bigint64, biguint64      8   8
 *  { bytes: n }                      n   1             exactly n bytes
 *  { text: n }                   2 + n   2             bytes of UTF-8 (Uint16), the bytes, zeros
 * ```
 *
 * Invariant B2: a record's bytes depend on its value alone: padding and the rest of a text are zero.
 */
import type { Codec, FixedLayout } from "./codecs.ts";
import { FabricError, invalidArgument } from "./errors.ts";
import { readFields, writeFields } from "./record-loops.ts";
import { makeField, type FieldType, type FieldValue, type RecordField } from "./record-fields.ts";

/** The fields of a record, in order. */
export type RecordShape = Readonly<Record<string, FieldType>>;

/** The value of a record of a shape. */
export type RecordOf<S extends RecordShape> = { -readonly [Name in keyof S]: FieldValue<S[Name]> };

/** A codec of records, and the layout by which they are reached in place. */
export interface RecordCodec<S extends RecordShape>
  extends Codec<RecordOf<S>>, FixedLayout<RecordOf<S>> {
  readonly fixed: FixedLayout<RecordOf<S>>;
  /** Each field by name, to be read and written where the record lies. */
  readonly fields: { readonly [Name in keyof S]: RecordField<FieldValue<S[Name]>> };
  /**
   * Reads the record at `at`: into `into`, if given, which saves the object.
   * @throws FabricError `DECODE`, `INVALID_ARGUMENT` (a place beyond the view).
   */
  readFrom(view: DataView, at: number, into?: RecordOf<S>): RecordOf<S>;
}

const fieldsMax = 1_024;
const nameRule = "a letter or _, then letters, digits and _, at most 64";
const nameForm = /^[A-Za-z_][A-Za-z0-9_]{0,63}$/;

/**
 * The codec of records of `shape`. Numbers are checked, never wrapped: what does not fit its field is `ENCODE`.
 * @throws FabricError `INVALID_ARGUMENT`.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { recordCodec } from "@selvage/fabric";
 *
 * const trade = recordCodec({ id: "int32", price: "float64", name: { text: 16 } });
 * const bytes = trade.encode({ id: 7, price: 0.5, name: "flax" });
 * assert.equal(bytes.length, trade.bytes);
 * assert.deepEqual(trade.decode(bytes), { id: 7, price: 0.5, name: "flax" });
 *
 * const ring = new DataView(new ArrayBuffer(10 * trade.bytes));
 * trade.writeTo(ring, 3 * trade.bytes, { id: 8, price: 1.5, name: "hemp" });
 * assert.equal(trade.fields.price.get(ring, 3 * trade.bytes), 1.5);
 * ```
 */
export function recordCodec<const S extends RecordShape>(shape: S): RecordCodec<S> {
  return new Records(shape) as unknown as RecordCodec<S>;
}

type Values = Record<string, unknown>;

/** Untyped: the types are {@link RecordCodec}'s. */
class Records {
  readonly name = "record";
  readonly bytes: number;
  readonly fields: Readonly<Record<string, RecordField<unknown>>>;
  readonly #list: readonly RecordField<unknown>[];
  readonly #names: readonly string[];
  /** Ranges between fields: offset and end of each. */
  readonly #padding: readonly number[];
  // Every decoded record is a copy of this one, and so of its hidden class; keys of one class are found the fastest.
  readonly #template: Values;
  readonly #scratch: DataView;
  readonly #scratchBytes: Uint8Array;

  constructor(shape: RecordShape) {
    if (typeof shape !== "object" || shape === null)
      throw invalidArgument("shape", "fields by name", shape);
    const entries = Object.entries(shape);
    if (entries.length === 0 || entries.length > fieldsMax)
      throw invalidArgument("shape", `1 to ${fieldsMax} fields`, entries.length);
    const list: RecordField<unknown>[] = [];
    const padding: number[] = [];
    let end = 0;
    let align = 1;
    for (const [name, type] of entries) {
      if (!nameForm.test(name) || name === "__proto__")
        throw invalidArgument("field name", nameRule, name);
      const field = makeField(name, type, end);
      if (field.offset > end) padding.push(end, field.offset);
      end = field.offset + field.bytes;
      align = Math.max(align, field.align);
      list.push(field);
    }
    this.bytes = Math.ceil(end / align) * align;
    if (this.bytes > end) padding.push(end, this.bytes);
    // Not frozen and not without a prototype: V8 finds a field in an ordinary object by its shape, in others by a hash.
    this.fields = Object.fromEntries(list.map((field) => [field.name, field]));
    this.#list = list;
    this.#names = list.map(({ name }) => name);
    this.#padding = padding;
    this.#scratch = new DataView(new ArrayBuffer(this.bytes));
    this.#scratchBytes = new Uint8Array(this.#scratch.buffer);
    this.#template = Object.fromEntries(
      list.map((field) => [field.name, field.get(this.#scratch, 0)]),
    );
  }

  /** The codec itself: what it writes has one length. */
  get fixed(): this {
    return this;
  }

  encode(value: Values): Uint8Array {
    this.#write(this.#scratch, 0, value);
    return this.#scratchBytes.slice();
  }

  decode(bytes: Uint8Array): Values {
    if (bytes.length !== this.bytes)
      throw new FabricError("DECODE", `Cannot decode: ${bytes.length} bytes, not ${this.bytes}`, {
        codec: this.name,
        came: bytes.length,
        expected: this.bytes,
      });
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    return this.#read(view, 0, { ...this.#template });
  }

  writeTo(view: DataView, at: number, value: Values): void {
    this.#check(view, at);
    this.#write(view, at, value);
  }

  readFrom(view: DataView, at: number, into?: Values): Values {
    this.#check(view, at);
    return this.#read(view, at, into ?? { ...this.#template });
  }

  #write(view: DataView, at: number, value: Values): void {
    if (typeof value !== "object" || value === null)
      throw new FabricError("ENCODE", "Cannot encode: expected a record", { codec: this.name });
    writeFields(this.#list, this.#names, view, at, value);
    const padding = this.#padding;
    for (let index = 0; index < padding.length; index += 2)
      for (let next = padding[index] as number; next < (padding[index + 1] as number); next++)
        view.setUint8(at + next, 0);
  }

  #read(view: DataView, at: number, into: Values): Values {
    readFields(this.#list, this.#names, view, at, into);
    return into;
  }

  #check(view: DataView, at: number): void {
    // Negated, so that NaN is refused.
    if (!(at >= 0 && at <= view.byteLength - this.bytes && Number.isInteger(at)))
      throw invalidArgument("at", `${this.bytes} bytes within a view of ${view.byteLength}`, at);
  }
}
