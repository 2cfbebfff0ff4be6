/**
 * The bytes that a `with` callback gets. A typed array's `buffer` would reach the whole arena, so this one's does
 * not: it gives a private copy of the view's own bytes, or refuses where a write through it would be lost.
 */
import { FabricError } from "./errors.ts";

/** Bytes that are only read. */
export interface ReadonlyBytes extends Iterable<number> {
  readonly [index: number]: number;
  readonly length: number;
  readonly byteLength: number;
  at(index: number): number | undefined;
  slice(start?: number, end?: number): Uint8Array;
  subarray(begin?: number, end?: number): ReadonlyBytes;
  indexOf(value: number, from?: number): number;
  reduce<T>(step: (sum: T, byte: number, index: number) => T, initial: T): T;
}

class ReadableView extends Uint8Array<ArrayBufferLike> {
  override get buffer(): ArrayBuffer {
    const copy = new Uint8Array(this.length);
    copy.set(this);
    return copy.buffer;
  }
  override get byteOffset(): number {
    return 0;
  }
}

class WritableView extends ReadableView {
  override get buffer(): never {
    throw new FabricError(
      "UNSUPPORTED",
      "Cannot give the buffer of a writable lease view: it would reach beyond the lease. " +
        "Write through the view, or through lease.write()",
    );
  }
}

/** Makes the view of `length` bytes at `offset` of an arena. */
export function viewOf(
  arena: Uint8Array,
  offset: number,
  length: number,
  write: boolean,
): Uint8Array {
  const View = write ? WritableView : ReadableView;
  return new View(arena.buffer, arena.byteOffset + offset, length);
}
