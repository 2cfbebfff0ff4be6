/** Outputs in memory. */
import type { ChunkId } from "./chunk.ts";
import type { OutputStore } from "./output-store.ts";

/**
 * Keeps outputs in this process, and no longer than it lives. A copy each way.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { MemoryOutputStore } from "selvage";
 *
 * const store = new MemoryOutputStore();
 * assert.equal(await store.put("a", Uint8Array.of(1)), true);
 * assert.equal(await store.put("a", Uint8Array.of(2)), false); // the first one stays
 * assert.deepEqual([...(await store.get("a"))!], [1]);
 * ```
 */
export class MemoryOutputStore implements OutputStore {
  readonly #outputs = new Map<ChunkId, Uint8Array>();

  /** How many chunks have an output. */
  get size(): number {
    return this.#outputs.size;
  }

  async has(id: ChunkId): Promise<boolean> {
    return this.#outputs.has(id);
  }

  async get(id: ChunkId): Promise<Uint8Array | undefined> {
    return this.#outputs.get(id)?.slice();
  }

  async put(id: ChunkId, output: Uint8Array): Promise<boolean> {
    if (this.#outputs.has(id)) return false;
    this.#outputs.set(id, output.slice());
    return true;
  }
}
