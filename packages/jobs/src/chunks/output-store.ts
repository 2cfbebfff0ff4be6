/** Where the outputs of chunks are kept: the port. */
import type { ChunkId } from "./chunk.ts";

/**
 * Keeps one output for each chunk. What it must do is spelt out by `outputConformance`.
 *
 * O1: of the outputs that are put under an id, the first one stays, whoever puts the others, and when.
 * O2: an output that was stored comes back byte for byte, for as long as the store keeps what it has.
 */
export interface OutputStore {
  /** Whether the chunk has an output. @throws FabricError `STORE_UNAVAILABLE` and the store's own. */
  has(id: ChunkId): Promise<boolean>;
  /** A chunk's output, as a copy that is the caller's; undefined when there is none. Errors as `has`. */
  get(id: ChunkId): Promise<Uint8Array | undefined>;
  /**
   * Keeps an output unless the chunk has one; resolves with whether it was this one, once it is as durable as the store makes it. After
   * an error it may be kept, or not: putting it again is safe.
   * @throws FabricError `STORE_UNAVAILABLE`, `CAPACITY_EXCEEDED` and the store's own.
   */
  put(id: ChunkId, output: Uint8Array): Promise<boolean>;
}
