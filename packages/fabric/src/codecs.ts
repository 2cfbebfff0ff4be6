/** How values become bytes and back. A codec is told the bytes; it never finds their end by itself. */
import {
  columnsBytes,
  elementBytesMax,
  shapeOf,
  viewColumns,
  writeColumns,
  type Columns,
} from "./columns.ts";
import { FabricError } from "./errors.ts";

/** Encodes and decodes one kind of value. */
export interface Codec<T> {
  readonly name: string;
  /** Encodes `value` into an array of its own. @throws FabricError `ENCODE`. */
  encode(value: T): Uint8Array;
  /** Decodes; may give views of `bytes`. @throws FabricError `DECODE`. */
  decode(bytes: Uint8Array): T;
  /** Set where every value takes the same bytes, so that it can be written and read in place. */
  readonly fixed?: FixedLayout<T>;
}

/** Writes and reads values of one length in place: no array of their own, no copy between. */
export interface FixedLayout<T> {
  /** Bytes of every value. */
  readonly bytes: number;
  /**
   * Writes `value` into the `bytes` bytes of `view` from `at` on, all of them; allocates nothing.
   * @throws FabricError `ENCODE`; then those bytes hold rubbish.
   */
  writeTo(view: DataView, at: number, value: T): void;
  /** Reads the value at `at`; it keeps nothing of `view`. @throws FabricError `DECODE`. */
  readFrom(view: DataView, at: number): T;
}

/** Bytes as they are. */
export const rawCodec: Codec<Uint8Array> = {
  name: "raw",
  encode(value) {
    if (!(value instanceof Uint8Array))
      throw new FabricError("ENCODE", "Cannot encode: expected a Uint8Array", { codec: "raw" });
    return value;
  },
  decode(bytes) {
    return bytes;
  },
};

/** Typed columns; decoding gives views, and copies only bytes that begin where no view can. */
export const columnsCodec: Codec<Columns> = {
  name: "columns",
  encode(columns) {
    const bytes = new Uint8Array(columnsBytes(shapeOf(columns)));
    writeColumns(bytes, columns);
    return bytes;
  },
  decode(bytes) {
    return viewColumns(bytes.byteOffset % elementBytesMax === 0 ? bytes : new Uint8Array(bytes));
  },
};
