/** What travels between tasks, and how it lies in leased bytes. */
import {
  columnsBytes,
  FabricError,
  invalidArgument,
  isFabricError,
  layColumns,
  shapeOf,
  viewColumns,
  writeColumns,
  type Codec,
  type Columns,
  type ColumnShape,
} from "@selvage/fabric";
import type { CodecOf } from "./data-codecs.ts";

/**
 * `"raw"`: bytes as they are. `"columns"`: typed columns, read in place. `"json"` and `"msgpack"`: values, encoded into
 * their lease once and decoded by every task that reads them.
 */
export type DataFormat = "raw" | "columns" | "json" | "msgpack";

/** The formats there are. */
export const DATA_FORMATS: readonly DataFormat[] = ["raw", "columns", "json", "msgpack"];

/** A named piece of data: an output of one task, an input of others. */
export interface DataRef {
  readonly name: string;
  readonly format: DataFormat;
}

/** A value that is read in place: a Uint8Array, or typed arrays by column name. */
export type DataValue = Uint8Array | Columns;

/** What to allocate: a number of bytes, or columns. */
export type DataShape = number | ColumnShape;

/** A value on its way into a lease. */
export interface LaidValue {
  /** How many bytes it takes. */
  readonly bytes: number;
  /** Copies it into a view of that many bytes or more. */
  writeTo(view: Uint8Array): void;
}

/** Bytes that a shape takes. @throws FabricError `INVALID_ARGUMENT` when it does not fit the format. */
export function shapeBytes({ name, format }: DataRef, shape: DataShape): number {
  if (format === "columns") {
    if (typeof shape !== "object" || shape === null)
      throw invalidArgument(`shape of "${name}"`, "{ rows, columns }", shape);
    return columnsBytes(shape);
  }
  if (format !== "raw")
    throw invalidArgument(
      `output "${name}"`,
      "a format that is filled in place (raw, columns); what is encoded is returned",
      format,
    );
  if (typeof shape !== "number" || !Number.isSafeInteger(shape) || shape < 0)
    throw invalidArgument(`shape of "${name}"`, "a number of bytes", shape);
  return shape;
}

/** The value of a shape in `view`, zero, to be filled in place. */
export function layValue({ format }: DataRef, view: Uint8Array, shape: DataShape): DataValue {
  if (format === "columns") return layColumns(view, shape as ColumnShape);
  return view.subarray(0, shape as number);
}

/** Readies a value for its lease. @throws FabricError `ENCODE` when it is not of the format. */
export function layOut(ref: DataRef, value: unknown, codecOf: CodecOf): LaidValue {
  const { format } = ref;
  if (format === "raw") return bytesOut(rawValue(ref, value));
  if (format === "columns") {
    const columns = columnsValue(ref, value);
    return {
      bytes: columnsBytes(shapeOf(columns)),
      writeTo: (view) => writeColumns(view, columns),
    };
  }
  return bytesOut(encoded(ref, value, codecOf(format)));
}

/**
 * The value that stands in `view`, whose first `bytes` bytes count: in place, or decoded from a copy, so that nothing of
 * an encoded value reaches into the lease. @throws FabricError `DECODE`.
 */
export function viewValue(
  { format }: DataRef,
  view: Uint8Array,
  bytes: number,
  codecOf: CodecOf,
): unknown {
  if (format === "raw") return view.subarray(0, bytes);
  if (format === "columns") return viewColumns(view);
  return codecOf(format).decode(view.slice(0, bytes));
}

/** The value of bytes that are the caller's own: they are made of it, or decoded. @throws FabricError `DECODE`. */
export function ownValue({ format }: DataRef, bytes: Uint8Array, codecOf: CodecOf): unknown {
  if (format === "raw") return bytes;
  return format === "columns" ? viewColumns(bytes) : codecOf(format).decode(bytes);
}

function bytesOut(bytes: Uint8Array): LaidValue {
  return { bytes: bytes.byteLength, writeTo: (view) => view.set(bytes) };
}

function rawValue({ name }: DataRef, value: unknown): Uint8Array {
  if (value instanceof Uint8Array) return value;
  throw new FabricError("ENCODE", `output "${name}": expected a Uint8Array`, { output: name });
}

function columnsValue({ name }: DataRef, value: unknown): Columns {
  if (typeof value === "object" && value !== null && !ArrayBuffer.isView(value))
    return value as Columns;
  throw new FabricError("ENCODE", `output "${name}": expected typed arrays by column name`, {
    output: name,
  });
}

// Which output it was is what a task with several wants to know; a codec cannot say it. What a value's own `toJSON`
// throws is the value's fault, too.
function encoded({ name, format }: DataRef, value: unknown, codec: Codec<unknown>): Uint8Array {
  try {
    return codec.encode(value);
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    const details = isFabricError(cause) ? cause.details : {};
    throw new FabricError(
      "ENCODE",
      `output "${name}" (${format}): ${why}`,
      { ...details, output: name },
      { cause },
    );
  }
}
