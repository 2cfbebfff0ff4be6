/**
 * Bytes into and out of a ring's slots. A slot's payload begins at a multiple of eight bytes, so a user's array that is
 * aligned too is copied by doubles; which arrays are is found out once, for the array that is used again and again.
 *
 * Evidence (Node 24.21, 2-core VM, 2026-11): on shared memory `set` costs 35 to 50 ns before its first byte, and moves words
 * one by one. A loop over doubles takes 7 ns at 64 bytes, 68 at 1,024 where `set` takes 140, and is level with it at 64 KiB.
 * A loop over 32-bit integers takes twice as long. The language lets an engine change the bits of a double that is not a number when it stores one;
 * V8 does not, in any of its tiers: `queue-payload.test.ts` holds it to that.
 */
import { viewOf, type ArenaMemory } from "@selvage/fabric";

/** From here on `set` is as fast as a loop. */
const loopBytesMax = 16_384;
/** Without doubles, a loop over bytes is faster than `set` up to here, ... */
const byteWriteMax = 48;
/** ... and than `subarray` and `set` up to here. */
const byteReadMax = 96;

// Not the target's own `set`, which would be handed the arena.
// oxlint-disable-next-line typescript/unbound-method -- called by `setBytes.call(target, ...)` only
const setBytes: Uint8Array["set"] = Uint8Array.prototype.set;
// Nor its own `buffer`: a lease's view gives a copy of its bytes there, which would be stale the next time.
const arrays = Object.getPrototypeOf(Uint8Array.prototype) as object;
/** An array's true buffer. Not to be handed on. */
export const bufferOf: (array: Uint8Array) => ArrayBufferLike = getterOf("buffer");
const offsetOf: (array: Uint8Array) => number = getterOf("byteOffset");

/** The payload bytes of one arena, for one side of a ring. Places are words of 32 bits, even ones. */
export class Payload {
  /** All of the arena as doubles, for copies that a ring makes itself. */
  readonly doubles: Float64Array;
  readonly #bytes: Uint8Array;
  // For long values: one view a slot, made when it is first read. A `subarray` for each would cost 80 ns.
  readonly #slots: Uint8Array[] = [];
  readonly #first: number;
  readonly #slotWords: number;
  // The user's array of the last call, and the doubles under it once it was used twice.
  #last: Uint8Array | undefined;
  #lastLength = -1;
  #lastDoubles: Float64Array | undefined;

  /** Takes an arena, and where in it slots of one size are: the first one's bytes at word `first`. */
  constructor(
    { bytes, doubles }: Pick<ArenaMemory, "bytes" | "doubles">,
    slots?: { readonly first: number; readonly words: number },
  ) {
    this.#bytes = bytes;
    this.#first = slots?.first ?? 0;
    this.#slotWords = slots?.words ?? 0;
    // Not `>> 3`: an arena may be longer than 2^31 bytes.
    this.doubles =
      doubles ?? new Float64Array(bytes.buffer, bytes.byteOffset, Math.floor(bytes.length / 8));
  }

  /** The doubles under `bytes`, if it is the array of the last call, and one that is copied by them. */
  doublesOf(bytes: Uint8Array): Float64Array | undefined {
    const doubles = this.#lastDoubles;
    return doubles !== undefined && bytes === this.#last && bytes.length === this.#lastLength
      ? doubles
      : undefined;
  }

  /** Copies all of `source` to word `at`. */
  write(at: number, source: Uint8Array): void {
    const { length } = source;
    // The length as well: an array whose buffer was transferred has none left.
    if (source === this.#last && length === this.#lastLength && this.#lastDoubles !== undefined)
      copyDoubles(this.#lastDoubles, 0, this.doubles, at >> 1, length >> 3);
    else this.#writeAnew(at, source, length);
  }

  /** Copies `length` bytes from word `at` to the front of `target`, which holds as many. */
  read(at: number, target: Uint8Array, length: number): void {
    if (target === this.#last && length === this.#lastLength && this.#lastDoubles !== undefined)
      copyDoubles(this.doubles, at >> 1, this.#lastDoubles, 0, length >> 3);
    else this.#readAnew(at, target, length);
  }

  /** `length` bytes from word `at`, in an array of their own. */
  take(at: number, length: number): Uint8Array<ArrayBuffer> {
    const copy = new Uint8Array(length);
    if (length <= byteReadMax) copyBytes(this.#bytes, at * 4, copy, 0, length);
    else copy.set(this.#bytesAt(at, length));
    return copy;
  }

  /** The bytes themselves, as a view that leads to no others. */
  view(at: number, length: number, write: boolean): Uint8Array {
    return viewOf(this.#bytes, at * 4, length, write);
  }

  #writeAnew(at: number, source: Uint8Array, length: number): void {
    this.#remember(source, length);
    if (length <= byteWriteMax) copyBytes(source, 0, this.#bytes, at * 4, length);
    else this.#bytes.set(source, at * 4);
  }

  #readAnew(at: number, target: Uint8Array, length: number): void {
    this.#remember(target, length);
    if (length <= byteReadMax) copyBytes(this.#bytes, at * 4, target, 0, length);
    else setBytes.call(target, this.#bytesAt(at, length));
  }

  #bytesAt(at: number, length: number): Uint8Array {
    if (this.#slotWords === 0) return this.#bytes.subarray(at * 4, at * 4 + length);
    const slot = (at - this.#first) / this.#slotWords;
    const known = this.#slots[slot];
    if (known !== undefined && known.length === length) return known;
    return (this.#slots[slot] = this.#bytes.subarray(at * 4, at * 4 + length));
  }

  // The second time in a row that an array comes, it is likely to come again.
  #remember(bytes: Uint8Array, length: number): void {
    const isAgain = bytes === this.#last;
    this.#last = bytes;
    this.#lastLength = length;
    this.#lastDoubles = undefined;
    if (!isAgain || length > loopBytesMax || length % 8 !== 0) return;
    const buffer = bufferOf(bytes);
    const offset = offsetOf(bytes);
    if (offset % 8 !== 0 || isResizable(buffer)) return;
    this.#lastDoubles = new Float64Array(buffer, offset, length >> 3);
  }
}

/** Copies `count` doubles. */
export function copyDoubles(
  source: Float64Array,
  from: number,
  target: Float64Array,
  to: number,
  count: number,
): void {
  let index = 0;
  for (const last = count - 3; index < last; index += 4) {
    target[to + index] = source[from + index] as number;
    target[to + index + 1] = source[from + index + 1] as number;
    target[to + index + 2] = source[from + index + 2] as number;
    target[to + index + 3] = source[from + index + 3] as number;
  }
  // Its own function: a second loop here costs the first one a third of its speed (Node 24.21).
  if (index < count) copyFew(source, from + index, target, to + index, count - index);
}

function getterOf<R>(name: "buffer" | "byteOffset"): (array: Uint8Array) => R {
  // oxlint-disable-next-line typescript/unbound-method -- called by `get.call(array)` only
  const get = Object.getOwnPropertyDescriptor(arrays, name)?.get as (this: Uint8Array) => R;
  return (array) => get.call(array);
}

// Views of such a buffer change under whoever keeps them.
function isResizable(buffer: ArrayBufferLike): boolean {
  return buffer instanceof SharedArrayBuffer ? buffer.growable : buffer.resizable;
}

function copyFew(
  source: Float64Array,
  from: number,
  target: Float64Array,
  to: number,
  count: number,
): void {
  for (let index = 0; index < count; index++) target[to + index] = source[from + index] as number;
}

function copyBytes(
  source: Uint8Array,
  from: number,
  target: Uint8Array,
  to: number,
  count: number,
): void {
  for (let index = 0; index < count; index++) target[to + index] = source[from + index] as number;
}
