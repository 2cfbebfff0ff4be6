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
import type { Text } from "./ports.ts";

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

/** Most bytes that {@link jsonCodec} decodes unless told otherwise: 64 MiB. */
export const JSON_BYTES_MAX: number = 64 * 1024 * 1024;

/** JSON in UTF-8. `bytesMax` bounds what is decoded; keys like `__proto__` stay plain properties, as in `JSON.parse`. */
export function jsonCodec<T>(text: Text, bytesMax: number = JSON_BYTES_MAX): Codec<T> {
  return {
    name: "json",
    encode(value) {
      const json: string | undefined = stringify(value);
      if (json === undefined)
        throw new FabricError("ENCODE", "Cannot encode: the value has no JSON form", {
          codec: "json",
        });
      return text.encode(json);
    },
    decode(bytes) {
      if (bytes.length > bytesMax)
        throw new FabricError(
          "DECODE",
          `Cannot decode: ${bytes.length} bytes, at most ${bytesMax}`,
          {
            codec: "json",
          },
        );
      try {
        return JSON.parse(text.decode(bytes)) as T;
      } catch (cause) {
        throw new FabricError("DECODE", "Cannot decode: not JSON", { codec: "json" }, { cause });
      }
    },
  };
}

function stringify(value: unknown): string | undefined {
  try {
    return JSON.stringify(value);
  } catch (cause) {
    throw new FabricError(
      "ENCODE",
      "Cannot encode: not a JSON value",
      { codec: "json" },
      { cause },
    );
  }
}
