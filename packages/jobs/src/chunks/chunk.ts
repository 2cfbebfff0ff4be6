/** The pieces of a job. */
import { invalidArgument, sha256, type ErrorDetails, FabricError } from "@selvage/fabric";

/** Tells a chunk from others: what its output is kept under. Any text that is not empty. */
export type ChunkId = string;

/** A piece of work: bytes, with an id of the caller's or without one. */
export interface Chunk {
  /**
   * Given: chunks of one id are one chunk, worked on once and counted once. Left out: made of the chunk's place and its bytes,
   * so that equal chunks are chunks apart.
   */
  readonly id?: ChunkId;
  /** Read while the job runs: not to be changed before it has ended. */
  readonly bytes: Uint8Array;
}

/** A chunk that has its id. */
export interface NamedChunk {
  readonly id: ChunkId;
  /** Its place among the job's chunks, from 0. */
  readonly index: number;
  readonly bytes: Uint8Array;
}

/** How many of a digest's 64 digits an id has: 128 bits. */
const digits = 32;

/**
 * The id of a chunk that was given none: its place and a digest of its bytes (SHA-256, 128 bits of it; some 10 ns a byte). The same list of chunks has
 * the same ids in every run and process.
 */
export function chunkId(bytes: Uint8Array, index: number): ChunkId {
  return `${index}-${sha256(bytes).slice(0, digits)}`;
}

/** Gives each chunk its id, in order, those that are the same one left out. @throws FabricError `INVALID_ARGUMENT`. */
export function nameChunks(chunks: Iterable<Uint8Array | Chunk>): NamedChunk[] {
  if (typeof (chunks as Iterable<unknown> | undefined)?.[Symbol.iterator] !== "function")
    throw invalidArgument("chunks", "an iterable of chunks", chunks);
  const named = new Map<ChunkId, NamedChunk>();
  let place = 0;
  for (const chunk of chunks) {
    const given: Chunk = chunk instanceof Uint8Array ? { bytes: chunk } : chunk;
    const { bytes } = given;
    if (!(bytes instanceof Uint8Array))
      throw invalidArgument(`chunk ${place}`, "a Uint8Array, or { id, bytes }", chunk);
    const id = given.id ?? chunkId(bytes, place);
    if (typeof id !== "string" || id === "")
      throw invalidArgument(`id of chunk ${place}`, "a text", id);
    place++;
    const before = named.get(id);
    if (before === undefined) named.set(id, { id, index: named.size, bytes });
    else if (!isSame(before.bytes, bytes)) throw twice(id, { place: place - 1 });
  }
  return [...named.values()];
}

function isSame(one: Uint8Array, other: Uint8Array): boolean {
  return one.length === other.length && one.every((byte, at) => byte === other[at]);
}

function twice(id: ChunkId, details: ErrorDetails): FabricError {
  return new FabricError(
    "INVALID_ARGUMENT",
    `chunks: expected one id to stand for the same bytes, got "${id}" for two chunks that differ`,
    { ...details, id },
  );
}
