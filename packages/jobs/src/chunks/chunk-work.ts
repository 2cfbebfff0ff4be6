/** What is done to a chunk, and what it sees meanwhile. */
import { FabricError, type AbortSignalLike } from "@selvage/fabric";
import type { ChunkId } from "./chunk.ts";

/**
 * Makes a chunk's output of its bytes. It may run more than once for a chunk, never twice at a time within a job; one output
 * counts. A worker module default-exports one.
 */
export type ChunkWork = (
  bytes: Uint8Array,
  context: ChunkContext,
) => Uint8Array | Promise<Uint8Array>;

/** Where a worker module is: a `URL`. */
export interface ChunkModule {
  readonly href: string;
}

/** One attempt's view of the world. It is over when the attempt ends: what it gave is not to be kept. */
export interface ChunkContext {
  readonly id: ChunkId;
  /** Attempts of this chunk are counted from 1. */
  readonly attempt: number;
  /** Aborted when the job is cancelled or has failed, and when the attempt takes too long. In Node it is an `AbortSignal`. */
  readonly signal: AbortSignalLike;
  /**
   * Room for the output, zero, to be filled in place and returned, or the beginning of it: on a worker thread that saves a
   * copy. Allocating again replaces it.
   * @throws FabricError `CAPACITY_EXCEEDED`.
   */
  readonly allocate: (bytes: number) => Uint8Array;
  /** Says that the work advances: a thread that is silent for `stallMs` is given up. `fraction` is 0 to 1, for watchers. */
  readonly progress: (fraction?: number) => void;
  /** Tells the job's watchers. */
  readonly log: (message: string) => void;
}

/** Name of the one input of a request that a chunk makes. */
export const CHUNK_INPUT = "chunk";
/** Name of its one output. */
export const CHUNK_OUTPUT = "output";

/** The part of a task's context that a chunk's far end uses. */
export interface ChunkFarEnd {
  readonly task: string;
  readonly attempt: number;
  readonly signal: AbortSignalLike;
  input(name: string): Uint8Array;
  allocate(name: string, bytes: number): Uint8Array;
  progress(fraction?: number): void;
  log(message: string): void;
}

/** Makes a task's body of a chunk's work: what a worker's loop runs for a request of form `"chunk"`. */
export function chunkTask(
  work: ChunkWork,
): (far: ChunkFarEnd) => Promise<Readonly<Record<string, Uint8Array>>> {
  return async (far) => {
    const context: ChunkContext = {
      id: far.task,
      attempt: far.attempt,
      signal: far.signal,
      allocate: (bytes) => far.allocate(CHUNK_OUTPUT, bytes),
      progress: (fraction) => far.progress(fraction),
      log: (message) => far.log(message),
    };
    return { [CHUNK_OUTPUT]: checkOutput(far.task, await work(far.input(CHUNK_INPUT), context)) };
  };
}

/** Throws unless work returned bytes. @throws FabricError `ENCODE`. */
export function checkOutput(id: ChunkId, returned: unknown): Uint8Array {
  if (returned instanceof Uint8Array) return returned;
  throw new FabricError("ENCODE", `output of chunk "${id}": expected a Uint8Array`, { chunk: id });
}
