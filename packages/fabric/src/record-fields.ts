/**
 * The fields of a record: how each type lies in its bytes, little endian, and the object that reads and writes it in
 * place. One class a type, so that V8 sees one shape at each call and inlines the access to the bytes.
 */
import { FabricError, invalidArgument } from "./errors.ts";
import { ILL_FORMED, readUtf8, writeUtf8 } from "./utf8.ts";

/** The type of a field of exactly so many bytes. */
export interface BytesType {
  readonly bytes: number;
}

/** The type of a text of up to so many bytes of UTF-8. */
export interface TextType {
  readonly text: number;
}

/** The type of a field. */
export type FieldType =
  | "int8"
  | "uint8"
  | "int16"
  | "uint16"
  | "int32"
  | "uint32"
  | "float32"
  | "float64"
  | "bigint64"
  | "biguint64"
  | "bool"
  | BytesType
  | TextType;

/** The value of a field of a type. */
export type FieldValue<T extends FieldType> = T extends "bool"
  ? boolean
  : T extends "bigint64" | "biguint64"
    ? bigint
    : T extends BytesType
      ? Uint8Array
      : T extends TextType
        ? string
        : number;

/** Reads and writes one field of a record in place. `at` is where the record begins in `view`. */
export interface RecordField<V> {
  readonly name: string;
  /** Where it begins, from the record's first byte. */
  readonly offset: number;
  /** Bytes it takes. */
  readonly bytes: number;
  /** Its offset is a multiple of this. */
  readonly align: number;
  /** Reads it. Numbers and bools allocate nothing. @throws FabricError `DECODE`. */
  get(view: DataView, at: number): V;
  /** Writes it; allocates nothing. @throws FabricError `ENCODE`; then a text may be there in part. */
  set(view: DataView, at: number, value: V): void;
}

/** Longest text, and longest bytes, of one field. */
const FIELD_BYTES_MAX = 65_535;

abstract class Field {
  readonly name: string;
  readonly offset: number;
  abstract readonly bytes: number;
  readonly align: number;

  constructor(name: string, align: number, end: number) {
    this.name = name;
    this.align = align;
    this.offset = Math.ceil(end / align) * align;
  }

  /** The error of a value that does not fit. */
  protected refuse(expected: string, came: unknown): FabricError {
    const { message } = invalidArgument(this.name, expected, came);
    return new FabricError("ENCODE", `Cannot encode: ${message}`, { field: this.name, expected });
  }
}

class Int8Field extends Field implements RecordField<number> {
  readonly bytes = 1;
  get(view: DataView, at: number): number {
    return view.getInt8(at + this.offset);
  }
  set(view: DataView, at: number, value: number): void {
    if (typeof value !== "number" || (value << 24) >> 24 !== value)
      throw this.refuse("a whole number of 8 bits", value);
    view.setInt8(at + this.offset, value);
  }
}

class Uint8Field extends Field implements RecordField<number> {
  readonly bytes = 1;
  get(view: DataView, at: number): number {
    return view.getUint8(at + this.offset);
  }
  set(view: DataView, at: number, value: number): void {
    if (typeof value !== "number" || (value & 0xff) !== value)
      throw this.refuse("a whole number from 0 to 255", value);
    view.setUint8(at + this.offset, value);
  }
}

class Int16Field extends Field implements RecordField<number> {
  readonly bytes = 2;
  get(view: DataView, at: number): number {
    return view.getInt16(at + this.offset, true);
  }
  set(view: DataView, at: number, value: number): void {
    if (typeof value !== "number" || (value << 16) >> 16 !== value)
      throw this.refuse("a whole number of 16 bits", value);
    view.setInt16(at + this.offset, value, true);
  }
}

class Uint16Field extends Field implements RecordField<number> {
  readonly bytes = 2;
  get(view: DataView, at: number): number {
    return view.getUint16(at + this.offset, true);
  }
  set(view: DataView, at: number, value: number): void {
    if (typeof value !== "number" || (value & 0xffff) !== value)
      throw this.refuse("a whole number from 0 to 65535", value);
    view.setUint16(at + this.offset, value, true);
  }
}

class Int32Field extends Field implements RecordField<number> {
  readonly bytes = 4;
  get(view: DataView, at: number): number {
    return view.getInt32(at + this.offset, true);
  }
  set(view: DataView, at: number, value: number): void {
    if (typeof value !== "number" || (value | 0) !== value)
      throw this.refuse("a whole number of 32 bits", value);
    view.setInt32(at + this.offset, value, true);
  }
}

class Uint32Field extends Field implements RecordField<number> {
  readonly bytes = 4;
  get(view: DataView, at: number): number {
    return view.getUint32(at + this.offset, true);
  }
  set(view: DataView, at: number, value: number): void {
    if (typeof value !== "number" || value >>> 0 !== value)
      throw this.refuse("a whole number from 0 to 4294967295", value);
    view.setUint32(at + this.offset, value, true);
  }
}

class Float32Field extends Field implements RecordField<number> {
  readonly bytes = 4;
  get(view: DataView, at: number): number {
    return view.getFloat32(at + this.offset, true);
  }
  set(view: DataView, at: number, value: number): void {
    if (typeof value !== "number") throw this.refuse("a number", value);
    view.setFloat32(at + this.offset, value, true);
  }
}

class Float64Field extends Field implements RecordField<number> {
  readonly bytes = 8;
  get(view: DataView, at: number): number {
    return view.getFloat64(at + this.offset, true);
  }
  set(view: DataView, at: number, value: number): void {
    if (typeof value !== "number") throw this.refuse("a number", value);
    view.setFloat64(at + this.offset, value, true);
  }
}

class BigInt64Field extends Field implements RecordField<bigint> {
  readonly bytes = 8;
  get(view: DataView, at: number): bigint {
    return view.getBigInt64(at + this.offset, true);
  }
  set(view: DataView, at: number, value: bigint): void {
    if (typeof value !== "bigint" || BigInt.asIntN(64, value) !== value)
      throw this.refuse("a bigint of 64 bits", value);
    view.setBigInt64(at + this.offset, value, true);
  }
}

class BigUint64Field extends Field implements RecordField<bigint> {
  readonly bytes = 8;
  get(view: DataView, at: number): bigint {
    return view.getBigUint64(at + this.offset, true);
  }
  set(view: DataView, at: number, value: bigint): void {
    if (typeof value !== "bigint" || BigInt.asUintN(64, value) !== value)
      throw this.refuse("a bigint from 0 to 2^64 - 1", value);
    view.setBigUint64(at + this.offset, value, true);
  }
}

class BoolField extends Field implements RecordField<boolean> {
  readonly bytes = 1;
  get(view: DataView, at: number): boolean {
    const byte = view.getUint8(at + this.offset);
    if (byte > 1)
      throw new FabricError("DECODE", `Cannot decode ${this.name}: a bool is 0 or 1, got ${byte}`, {
        field: this.name,
        byte,
      });
    return byte === 1;
  }
  set(view: DataView, at: number, value: boolean): void {
    if (typeof value !== "boolean") throw this.refuse("a boolean", value);
    view.setUint8(at + this.offset, value ? 1 : 0);
  }
}

class BytesField extends Field implements RecordField<Uint8Array> {
  readonly bytes: number;
  constructor(name: string, bytes: number, end: number) {
    super(name, 1, end);
    this.bytes = bytes;
  }
  get(view: DataView, at: number): Uint8Array {
    // A copy: the record's place may be another's tomorrow.
    const copy = new Uint8Array(this.bytes);
    const from = at + this.offset;
    for (let index = 0; index < copy.length; index++) copy[index] = view.getUint8(from + index);
    return copy;
  }
  set(view: DataView, at: number, value: Uint8Array): void {
    if (!(value instanceof Uint8Array) || value.length !== this.bytes)
      throw this.refuse(`a Uint8Array of ${this.bytes} bytes`, value);
    const from = at + this.offset;
    for (let index = 0; index < value.length; index++)
      view.setUint8(from + index, value[index] as number);
  }
}

// Two bytes of length, the text, zeros.
class TextField extends Field implements RecordField<string> {
  readonly bytes: number;
  readonly #room: number;
  constructor(name: string, room: number, end: number) {
    super(name, 2, end);
    this.#room = room;
    this.bytes = 2 + room;
  }
  get(view: DataView, at: number): string {
    const from = at + this.offset;
    const length = view.getUint16(from, true);
    const text = length > this.#room ? undefined : readUtf8(view, from + 2, length);
    if (text !== undefined) return text;
    throw new FabricError("DECODE", `Cannot decode ${this.name}: no text of ${length} bytes`, {
      field: this.name,
      length,
      room: this.#room,
    });
  }
  set(view: DataView, at: number, value: string): void {
    if (typeof value !== "string") throw this.refuse("a string", value);
    const from = at + this.offset + 2;
    const length = writeUtf8(view, from, this.#room, value);
    if (length < 0)
      throw this.refuse(
        length === ILL_FORMED ? "a text without lone surrogates" : `${this.#room} bytes of UTF-8`,
        value,
      );
    view.setUint16(from - 2, length, true);
    const end = from + this.#room;
    for (let next = from + length; next < end; next++) view.setUint8(next, 0);
  }
}

const numeric = {
  int8: (name: string, end: number) => new Int8Field(name, 1, end),
  uint8: (name: string, end: number) => new Uint8Field(name, 1, end),
  int16: (name: string, end: number) => new Int16Field(name, 2, end),
  uint16: (name: string, end: number) => new Uint16Field(name, 2, end),
  int32: (name: string, end: number) => new Int32Field(name, 4, end),
  uint32: (name: string, end: number) => new Uint32Field(name, 4, end),
  float32: (name: string, end: number) => new Float32Field(name, 4, end),
  float64: (name: string, end: number) => new Float64Field(name, 8, end),
  bigint64: (name: string, end: number) => new BigInt64Field(name, 8, end),
  biguint64: (name: string, end: number) => new BigUint64Field(name, 8, end),
  bool: (name: string, end: number) => new BoolField(name, 1, end),
};

/** The field of a type that follows `end` bytes. @throws FabricError `INVALID_ARGUMENT`. */
export function makeField(name: string, type: FieldType, end: number): RecordField<unknown> {
  if (typeof type === "string" && Object.hasOwn(numeric, type)) return numeric[type](name, end);
  if (typeof type === "object" && type !== null) {
    const bytes = "text" in type ? type.text : type.bytes;
    if (!Number.isInteger(bytes) || bytes < 1 || bytes > FIELD_BYTES_MAX)
      throw invalidArgument(`field "${name}"`, `1 to ${FIELD_BYTES_MAX} bytes`, bytes);
    return "text" in type ? new TextField(name, bytes, end) : new BytesField(name, bytes, end);
  }
  const types = [...Object.keys(numeric), "{ bytes }", "{ text }"].join(", ");
  throw invalidArgument(`field "${name}"`, `one of ${types}`, type);
}
