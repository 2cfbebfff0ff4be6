/** Outputs on leased blocks, by a key-value store. */
import type { FabricKvStore } from "@selvage/collections";
import { invalidArgument } from "@selvage/fabric";
import type { ChunkId } from "./chunk.ts";
import type { OutputStore } from "./output-store.ts";

// What is being put: a key-value store cannot compare and set, so puts of one chunk wait for each other. By store, so
// that several of these on one are one.
const turnsOf = new WeakMap<object, Map<string, Promise<unknown>>>();

/**
 * Keeps outputs in a `FabricKvStore`: on blocks, which outlive the process where the fabric has a block file, and in
 * memory what fits. An output is durable once `put` has resolved. Any output that the key-value store has room for; it goes when its lease
 * does, and by the store's `defaultTtlMs` if it has one.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { BlockOutputStore, Fabric, FabricKvStore, rawCodec } from "selvage";
 *
 * using fabric = Fabric.open({ memoryBytes: 1 << 20, blocks: 256 });
 * const blocks = await fabric.block().minBlocks(128).acquire();
 * const hot = fabric.mem().minBytes(65_536).acquire();
 * const kv = await FabricKvStore.fromLeases(hot, blocks, { value: rawCodec });
 * const store = new BlockOutputStore(kv, "nightly/");
 * await store.put("a", Uint8Array.of(1, 2));
 * assert.deepEqual(await kv.keys(), ["nightly/a"]);
 * ```
 */
export class BlockOutputStore implements OutputStore {
  readonly #kv: FabricKvStore<Uint8Array>;
  readonly #prefix: string;
  readonly #turns: Map<string, Promise<unknown>>;

  /** A store of the keys that begin with `prefix`, so that several jobs share one key-value store. */
  constructor(kv: FabricKvStore<Uint8Array>, prefix = "") {
    if (typeof (kv as FabricKvStore<Uint8Array> | undefined)?.putWithTtl !== "function")
      throw invalidArgument("kv", "a FabricKvStore", kv);
    this.#kv = kv;
    this.#prefix = prefix;
    let turns = turnsOf.get(kv);
    if (turns === undefined) turnsOf.set(kv, (turns = new Map()));
    this.#turns = turns;
  }

  has(id: ChunkId): Promise<boolean> {
    return this.#kv.has(this.#prefix + id);
  }

  async get(id: ChunkId): Promise<Uint8Array | undefined> {
    const output = await this.#kv.get(this.#prefix + id);
    return output?.slice();
  }

  async put(id: ChunkId, output: Uint8Array): Promise<boolean> {
    const key = this.#prefix + id;
    const before = this.#turns.get(key);
    const bytes = output.slice();
    const turn = Promise.resolve(before)
      .catch(() => {})
      .then(() => this.#putFirst(key, bytes));
    this.#turns.set(key, turn);
    try {
      return await turn;
    } finally {
      if (this.#turns.get(key) === turn) this.#turns.delete(key);
    }
  }

  async #putFirst(key: string, output: Uint8Array): Promise<boolean> {
    if (await this.#kv.has(key)) return false;
    await this.#kv.put(key, output);
    return true;
  }
}
