/** What travels between tasks, and how it lies in leased bytes. */
import {
  columnsBytes,
  FabricError,
  invalidArgument,
  layColumns,
  shapeOf,
  viewColumns,
  writeColumns,
  type Columns,
  type ColumnShape,
} from "@selvage/fabric";

/** `"raw"`: bytes as they are. `"columns"`: typed columns, read in place. */
export type DataFormat = "raw" | "columns";

/** The formats there are. */
export const DATA_FORMATS: readonly DataFormat[] = ["raw", "columns"];

/** A named piece of data: an output of one task, an input of others. */
export interface DataRef {
  readonly name: string;
  readonly format: DataFormat;
}

/** A value of a format: a Uint8Array, or typed arrays by column name. */
export type DataValue = Uint8Array | Columns;

/** What to allocate: a number of bytes, or columns. */
export type DataShape = number | ColumnShape;

/** Bytes that a shape takes. @throws FabricError `INVALID_ARGUMENT` when it does not fit the format. */
export function shapeBytes({ name, format }: DataRef, shape: DataShape): number {
  if (format === "columns") {
    if (typeof shape !== "object" || shape === null)
      throw invalidArgument(`shape of "${name}"`, "{ rows, columns }", shape);
    return columnsBytes(shape);
  }
  if (typeof shape !== "number" || !Number.isSafeInteger(shape) || shape < 0)
    throw invalidArgument(`shape of "${name}"`, "a number of bytes", shape);
  return shape;
}

/** The value of a shape in `view`, zero, to be filled in place. */
export function layValue({ format }: DataRef, view: Uint8Array, shape: DataShape): DataValue {
  if (format === "columns") return layColumns(view, shape as ColumnShape);
  return view.subarray(0, shape as number);
}

/** Bytes that a value takes. @throws FabricError `ENCODE` when it is not of the format. */
export function valueBytes({ name, format }: DataRef, value: unknown): number {
  if (format === "raw") {
    if (value instanceof Uint8Array) return value.byteLength;
    throw new FabricError("ENCODE", `output "${name}": expected a Uint8Array`, { output: name });
  }
  if (typeof value !== "object" || value === null || ArrayBuffer.isView(value))
    throw new FabricError("ENCODE", `output "${name}": expected typed arrays by column name`, {
      output: name,
    });
  return columnsBytes(shapeOf(value as Columns));
}

/** Copies a value into `view`. */
export function writeValue({ format }: DataRef, view: Uint8Array, value: DataValue): void {
  if (format === "raw") view.set(value as Uint8Array);
  else writeColumns(view, value as Columns);
}

/** The value that stands in `view`, whose first `bytes` bytes count; nothing is copied. */
export function viewValue({ format }: DataRef, view: Uint8Array, bytes: number): DataValue {
  return format === "raw" ? view.subarray(0, bytes) : viewColumns(view);
}
