/** Values that queues of the collections campaign carry: each tells its number, and that its bytes are its own. */
import { jsonCodec, rawCodec, type Codec } from "@selvage/fabric";
import { Violation, type RandomStream } from "@selvage/sim";
import { r2 } from "./collections-held.ts";

/** A kind of values, all of `stride` bytes at most. */
export interface Values {
  readonly codec: Codec<unknown>;
  readonly stride: number;
  make(id: number): unknown;
  /** The number of a value. @throws Violation R2. */
  idOf(value: unknown): number;
}

/** Draws a kind. */
export function drawValues(random: RandomStream): Values {
  const draw = random.below(4);
  if (draw === 0) return jsonValues();
  if (draw === 1) return fixedValues();
  return rawValues(random, 8 * random.between(1, 8));
}

function rawValues(random: RandomStream, stride: number): Values {
  // The same array again and again goes a shorter way.
  const again = new Uint8Array(stride);
  const isAgain = random.chance(1, 2);
  return {
    codec: rawCodec,
    stride,
    make(id) {
      const bytes = isAgain ? again : new Uint8Array(random.between(4, stride));
      return stamp(bytes, id);
    },
    idOf: (value) => idOfBytes(value as Uint8Array),
  };
}

/** Writes the number to the front, and what follows from it behind. */
function stamp(bytes: Uint8Array, id: number): Uint8Array {
  bytes.fill(id & 0xff);
  new DataView(bytes.buffer as ArrayBuffer, bytes.byteOffset).setUint32(0, id, true);
  return bytes;
}

/** The number of stamped bytes. @throws Violation R2. */
function idOfBytes(bytes: Uint8Array): number {
  const copy = bytes.slice();
  const id = new DataView(copy.buffer).getUint32(0, true);
  if (copy.length < 4 || copy.subarray(4).some((byte) => byte !== (id & 0xff)))
    throw new Violation(r2, `bytes of two values: ${copy.join()}`);
  return id;
}

interface Entry {
  readonly id: number;
  readonly filler: string;
}

function jsonValues(): Values {
  return {
    codec: jsonCodec<unknown>(),
    stride: 96,
    make: (id): Entry => ({ id, filler: String(id).repeat(id % 8) }),
    idOf(value) {
      const { id, filler } = value as Entry;
      if (filler !== String(id).repeat(id % 8)) throw new Violation(r2, `${id} with ${filler}`);
      return id;
    },
  };
}

/** Two numbers in place, as a codec of a user's own. */
const pairs: Codec<unknown> = {
  name: "pair",
  encode(value) {
    const bytes = new Uint8Array(16);
    writePair(new DataView(bytes.buffer), 0, value);
    return bytes;
  },
  decode: (bytes) => readPair(new DataView(bytes.buffer, bytes.byteOffset), 0),
  fixed: { bytes: 16, writeTo: writePair, readFrom: readPair },
};

function writePair(view: DataView, at: number, value: unknown): void {
  view.setFloat64(at, value as number);
  view.setFloat64(at + 8, -(value as number));
}

function readPair(view: DataView, at: number): number {
  const id = view.getFloat64(at);
  if (view.getFloat64(at + 8) !== -id) throw new Violation(r2, `half of ${id}`);
  return id;
}

function fixedValues(): Values {
  return { codec: pairs, stride: 16, make: (id) => id, idOf: (value) => value as number };
}
