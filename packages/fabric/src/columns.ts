/**
 * Typed columns in leased bytes: views, no decoding. The bytes describe themselves, so that whoever reaches them, on
 * another thread or later, needs nothing else.
 *
 * ```
 *  byte  0  magic "SVC1"
 *        4  bytes of the description (Int32, little endian)
 *        8  description: ASCII JSON, {"rows":R,"columns":[["name","type"], ...]}
 *        …  columns in that order, each from the next multiple of 64
 * ```
 */
import { FabricError, invalidArgument } from "./errors.ts";

/** The typed array of each column type. */
export interface ColumnArrays {
  readonly int8: Int8Array;
  readonly uint8: Uint8Array;
  readonly int16: Int16Array;
  readonly uint16: Uint16Array;
  readonly int32: Int32Array;
  readonly uint32: Uint32Array;
  readonly float32: Float32Array;
  readonly float64: Float64Array;
  readonly bigint64: BigInt64Array;
  readonly biguint64: BigUint64Array;
}

const arrays = {
  int8: Int8Array,
  uint8: Uint8Array,
  int16: Int16Array,
  uint16: Uint16Array,
  int32: Int32Array,
  uint32: Uint32Array,
  float32: Float32Array,
  float64: Float64Array,
  bigint64: BigInt64Array,
  biguint64: BigUint64Array,
};

/** The element type of a column. */
export type ColumnType = keyof ColumnArrays;
/** The typed array of a column type. */
export type ColumnOf<T extends ColumnType> = ColumnArrays[T];
/** Any column. */
export type Column = ColumnOf<ColumnType>;
/** Columns by name, all of one length. */
export type Columns = Readonly<Record<string, Column>>;

/** What columns are allocated: how many rows, and each column's type by name. */
export interface ColumnShape<
  T extends Readonly<Record<string, ColumnType>> = Readonly<Record<string, ColumnType>>,
> {
  readonly rows: number;
  readonly columns: T;
}

/** The columns that a shape describes. */
export type ColumnsOf<T extends Readonly<Record<string, ColumnType>>> = {
  readonly [Name in keyof T]: ColumnOf<T[Name]>;
};

const magic = 0x31435653;
const alignBytes = 64;
/** The largest element: a column that begins at no multiple of it cannot be viewed. */
export const elementBytesMax = 8;
const descriptionAt = 8;
/** Foreign bytes are refused beyond these, before anything is allocated for them. */
const columnsMax = 1_024;
const descriptionBytesMax = 65_536;
const rowsMax = 2 ** 32;
const nameRule = "a letter or _, then letters, digits and _, at most 64";
const nameForm = /^[A-Za-z_][A-Za-z0-9_]{0,63}$/;

/** Bytes that columns of `shape` take, description included. @throws FabricError `INVALID_ARGUMENT`. */
export function columnsBytes(shape: ColumnShape): number {
  return layout(shape).bytes;
}

/**
 * Describes `shape` in `view` and gives its columns, to be filled in place. `view` starts at a multiple of 64 in its
 * buffer and is zero, as leased bytes are. @throws FabricError `INVALID_ARGUMENT`, `CAPACITY_EXCEEDED`.
 */
export function layColumns<const T extends Readonly<Record<string, ColumnType>>>(
  view: Uint8Array,
  shape: ColumnShape<T>,
): ColumnsOf<T> {
  if (view.byteOffset % elementBytesMax !== 0)
    throw invalidArgument("view", `bytes from a multiple of ${alignBytes} on`, view.byteOffset);
  const { bytes, description } = layout(shape);
  if (bytes > view.length)
    throw new FabricError("CAPACITY_EXCEEDED", "Cannot lay out columns: the bytes are too few", {
      needBytes: bytes,
      haveBytes: view.length,
    });
  const words = new Int32Array(view.buffer, view.byteOffset, 2);
  words[0] = magic;
  words[1] = description.length;
  for (let index = 0; index < description.length; index++)
    view[descriptionAt + index] = description.charCodeAt(index);
  return viewColumns(view) as ColumnsOf<T>;
}

/** The columns that `view` describes. @throws FabricError `DECODE` when it describes none, or reaches beyond itself. */
export function viewColumns(view: Uint8Array): Columns {
  const shape = readShape(view);
  const columns: Record<string, Column> = Object.create(null) as Record<string, Column>;
  let at = firstColumnAt(describe(shape).length);
  for (const [name, type] of Object.entries(shape.columns)) {
    const Type = arrays[type];
    const bytes = shape.rows * Type.BYTES_PER_ELEMENT;
    if (at + bytes > view.length)
      throw notColumns(`column "${name}" ends at ${at + bytes}, the bytes at ${view.length}`);
    // The constructors differ in what they hold, not in how they are called.
    const Make = Type as new (buffer: ArrayBufferLike, at: number, length: number) => Column;
    columns[name] = new Make(view.buffer, view.byteOffset + at, shape.rows);
    at = align(at + bytes);
  }
  return columns;
}

/** The shape of columns made elsewhere: names, types, and their one length. @throws FabricError `ENCODE`. */
export function shapeOf(columns: Columns): ColumnShape {
  // Without a prototype: a column may be called `__proto__`.
  const types = Object.create(null) as Record<string, ColumnType>;
  let rows: number | undefined;
  for (const [name, column] of Object.entries(columns)) {
    const type = typeOf(column);
    if (type === undefined)
      throw new FabricError("ENCODE", `column "${name}": expected a typed array`, { column: name });
    if (!nameForm.test(name))
      throw new FabricError("ENCODE", `column "${name}": expected a name of ${nameRule}`, {
        column: name,
      });
    if (rows !== undefined && rows !== column.length)
      throw new FabricError(
        "ENCODE",
        `column "${name}": expected ${rows} rows, got ${column.length}`,
        {
          column: name,
          rows,
          actual: column.length,
        },
      );
    rows = column.length;
    types[name] = type;
  }
  return { rows: rows ?? 0, columns: types };
}

/** Copies columns made elsewhere into `view`. @throws FabricError `ENCODE`, `CAPACITY_EXCEEDED`. */
export function writeColumns(view: Uint8Array, columns: Columns): void {
  const laid: Columns = layColumns(view, shapeOf(columns));
  for (const [name, column] of Object.entries(columns)) {
    const target = laid[name] as Column;
    if (column instanceof BigInt64Array || column instanceof BigUint64Array)
      (target as BigInt64Array).set(column);
    else (target as Float64Array).set(column);
  }
}

function layout(shape: ColumnShape): { bytes: number; description: string } {
  const { rows, columns } = shape;
  if (!Number.isInteger(rows) || rows < 0 || rows > rowsMax)
    throw invalidArgument("rows", `a whole number from 0 to ${rowsMax}`, rows);
  const entries = Object.entries(columns);
  if (entries.length > columnsMax)
    throw invalidArgument("columns", `at most ${columnsMax} columns`, entries.length);
  for (const [name, type] of entries) {
    if (!nameForm.test(name)) throw invalidArgument("column name", nameRule, name);
    if (!Object.hasOwn(arrays, type))
      throw invalidArgument(`column "${name}"`, `one of ${Object.keys(arrays).join(", ")}`, type);
  }
  const description = describe(shape);
  if (description.length > descriptionBytesMax)
    throw invalidArgument(
      "columns",
      `names of ${descriptionBytesMax} bytes together`,
      entries.length,
    );
  let bytes = firstColumnAt(description.length);
  for (const [, type] of entries) bytes = align(bytes + rows * arrays[type].BYTES_PER_ELEMENT);
  return { bytes, description };
}

function describe({ rows, columns }: ColumnShape): string {
  return JSON.stringify({ rows, columns: Object.entries(columns) });
}

function readShape(view: Uint8Array): ColumnShape {
  if (view.length < descriptionAt) throw notColumns(`only ${view.length} bytes`);
  if (view.byteOffset % elementBytesMax !== 0)
    throw notColumns(`bytes that begin at ${view.byteOffset}`);
  const words = new Int32Array(view.buffer, view.byteOffset, 2);
  if (words[0] !== magic) throw notColumns("no magic number");
  const length = words[1] as number;
  if (length < 0 || length > Math.min(descriptionBytesMax, view.length - descriptionAt))
    throw notColumns(`a description of ${length} bytes`);
  let text = "";
  for (let index = 0; index < length; index++)
    text += String.fromCharCode(view[descriptionAt + index] as number);
  try {
    const { rows, columns } = JSON.parse(text) as { rows: number; columns: [string, ColumnType][] };
    const shape = { rows, columns: Object.fromEntries(columns) };
    // Checks every name and type, and that the text is the one that this shape writes.
    if (layout(shape).description === text) return shape;
  } catch (cause) {
    throw notColumns("an unreadable description", cause);
  }
  throw notColumns("a description of another writer");
}

function notColumns(why: string, cause?: unknown): FabricError {
  return new FabricError("DECODE", `Cannot read columns: ${why}`, { format: "columns" }, { cause });
}

function typeOf(column: Column): ColumnType | undefined {
  for (const [type, Type] of Object.entries(arrays))
    if (column instanceof Type) return type as ColumnType;
  return undefined;
}

function align(bytes: number): number {
  return Math.ceil(bytes / alignBytes) * alignBytes;
}

function firstColumnAt(descriptionLength: number): number {
  return align(descriptionAt + descriptionLength);
}
