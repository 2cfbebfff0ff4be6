/**
 * What moves through a pipeline: chunks of items, pulled from the sink's end.
 *
 * Invariant S1: whatever a chunk's size, and wherever its borders fall, a sink gets the same items in the same order. A
 * failure has a place among them: what comes before it is delivered, and nothing after it.
 */
import type { FabricError } from "@selvage/fabric";

/** A value, or a promise of it: whoever has it now does not make others wait a turn for it. */
export type MaybePromise<T> = T | Promise<T>;

/** Items that move together. Whoever pulls a chunk owns it, and may change it in place. It may be empty. */
export interface Chunk<T> {
  items: T[];
  /** The source's offset of item `i` is `base + i`, ... */
  readonly base: number;
  /** ... or `offsets[i]`, where items were dropped, joined or multiplied. */
  offsets: number[] | undefined;
  /** What happened right after the last item. Nothing comes after it. */
  failure: FabricError | undefined;
}

/** Gives chunks, on demand. */
export interface Feed<T> {
  /** The next chunk; undefined at the end. Not called before the last one has come. Never throws, never rejects. */
  pull(): MaybePromise<Chunk<T> | undefined>;
}

/** A chunk with items whose offsets are known one by one. */
export function chunkOf<T>(items: T[], offsets: number[], failure?: FabricError): Chunk<T> {
  return { items, base: 0, offsets, failure };
}

/** A chunk of nothing but what happened. */
export function failed(failure: FabricError): Chunk<never> {
  return { items: [], base: 0, offsets: undefined, failure };
}

/** The source's offset of item `at`. */
export function offsetIn({ base, offsets }: Chunk<unknown>, at: number): number {
  return offsets === undefined ? base + at : (offsets[at] as number);
}

/** Cuts a chunk off before item `at`. */
export function cut(chunk: Chunk<unknown>, at: number): void {
  chunk.items.length = at;
  if (chunk.offsets !== undefined) chunk.offsets.length = at;
}

/** Whether a user's function gave something to wait for. */
export function isThenable(value: unknown): value is PromiseLike<unknown> {
  return (
    typeof value === "object" &&
    value !== null &&
    typeof (value as { then?: unknown }).then === "function"
  );
}
