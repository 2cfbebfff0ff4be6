/**
 * Values by key, with a time to live: hot ones in a memory lease, all of them in a block lease.
 *
 * K3: an operation that resolved is durable: after a crash at any moment the store opens with it, or with a later one
 * on the same key. The exception is the deadline that a `get` moved: it is durable once the next `tick`, `flush` or
 * `close` has resolved; until then a crash brings the earlier deadline back.
 */
import {
  checkTtl,
  invalidArgument,
  regionOf,
  type Clock,
  type Codec,
  type MemLease,
  FabricError,
} from "@selvage/fabric";
import { ColdTier } from "./kv-cold.ts";
import { HotTier } from "./kv-hot.ts";
import type { KvEntry } from "./kv-index.ts";
import type { ColdBlocks } from "./kv-log.ts";
import { stringCodec } from "./slot-codecs.ts";

/** How a store keeps its values. */
export interface KvOptions<V> {
  /** How values become bytes. */
  readonly value: Codec<V>;
  /** TTL of `put`, in milliseconds. Default: none, the value stays. */
  readonly defaultTtlMs?: number;
  /** The longest key that may be hot, in bytes. Default 64. */
  readonly hotKeyBytes?: number;
  /** The longest value that may be hot, in bytes as encoded. Default 256. Longer ones are read from the blocks. */
  readonly hotValueBytes?: number;
  /** Tells the time. Default: the clock of the memory lease's fabric; without one, time is what `tick` says. */
  readonly clock?: Clock;
}

/** As {@link KvOptions}, for a store whose memory is gone. */
export interface KvColdOptions<V> extends KvOptions<V> {
  /** A new hot tier. Without one, every value is read from the blocks. */
  readonly mem?: MemLease;
}

/** What a `tick` did. */
export interface KvTick {
  /** Keys that expired. */
  readonly expired: number;
  /** Keys whose deadline, moved by `get`, is durable now. */
  readonly touched: number;
  /** No key expires before this, in milliseconds since the Unix epoch; infinite if none ever does. */
  readonly nextDueAtMs: number;
}

/** Figures of a store since it was opened. */
export interface KvStats {
  readonly keys: number;
  readonly hotKeys: number;
  /** Whether there is a hot tier, and whether its lease stands. */
  readonly hot: "live" | "lost" | "none";
  readonly hotHits: number;
  /** Values read from the blocks; as many were promoted as fitted a slot. */
  readonly coldReads: number;
  readonly evictions: number;
  /** How often the hot tier was found damaged and begun anew. */
  readonly hotRebuilds: number;
  /** Batches written: changes that wait at a time go together. */
  readonly batches: number;
  readonly compactions: number;
  /** Bytes of what is live, and of how much may be. */
  readonly liveBytes: number;
  readonly capacityBytes: number;
  /** True if one copy of the log's head was found damaged; nothing was lost. */
  readonly recovered: boolean;
}

/** The most bytes of a key. */
const keyBytesMax = 65_535;
const hotDefaults = { keyBytes: 64, valueBytes: 256 } as const;
/** A read finds its value moved by a compaction at most once while it lasts; more would be a fault. */
const readTriesMax = 8;

/**
 * A store on a memory lease and a block lease. One store object at a time uses a pair of leases: opening another one makes
 * those before it stale (K4), and whatever they are asked next to change ends `STALE_EPOCH`, as does everything after. A
 * value is replaced as a whole; operations on one key take effect in the order in which they were called.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { Fabric, FabricKvStore, stringCodec } from "selvage";
 *
 * using fabric = Fabric.open({ memoryBytes: 1 << 20, blocks: 256 });
 * const disk = await fabric.block().minBlocks(128).acquire();
 * const store = await FabricKvStore.fromLeases(fabric.mem().minBytes(65_536).acquire(), disk, {
 *   value: stringCodec,
 * });
 * await store.putWithTtl("session:7", "Ada", 60_000);
 * assert.equal(await store.get("session:7"), "Ada");
 *
 * // The memory is gone, or the process died: the blocks have it all.
 * await store.close();
 * const again = await FabricKvStore.fromCold(disk, { value: stringCodec });
 * assert.deepEqual(await again.keys(), ["session:7"]);
 * ```
 */
export class FabricKvStore<V> implements AsyncDisposable {
  readonly #blocks: ColdBlocks;
  readonly #cold: ColdTier;
  readonly #hot: HotTier | undefined;
  readonly #codec: Codec<V>;
  readonly #clock: Clock | undefined;
  readonly #defaultTtlMs: number;
  readonly #touched = new Set<KvEntry>();
  #nowMs: number;
  // No key expires before this. Deadlines move on without it, so it may be early.
  #nextDueAtMs = 0;
  #hotHits = 0;
  #coldReads = 0;
  #isClosed = false;

  private constructor(
    blocks: ColdBlocks,
    cold: ColdTier,
    hot: HotTier | undefined,
    options: KvOptions<V>,
    clock: Clock | undefined,
  ) {
    this.#blocks = blocks;
    this.#cold = cold;
    this.#hot = hot;
    this.#codec = options.value;
    this.#clock = clock;
    this.#defaultTtlMs = ttlOf("defaultTtlMs", options.defaultTtlMs ?? Infinity);
    this.#nowMs = cold.latestMs;
  }

  /**
   * Opens the store that stands on these leases; begins one if the block lease is blank. What the memory lease still
   * holds of it stays hot.
   * @throws FabricError `CORRUPT_RECORD` (the blocks are damaged), `CONFLICT` (the memory holds something else),
   * `INVALID_ARGUMENT` (too few blocks, 34 at least), `CAPACITY_EXCEEDED` (too little memory for one entry),
   * `LEASE_EXPIRED`, `REVOKED`, `STORE_UNAVAILABLE`.
   */
  static async fromLeases<V>(
    mem: MemLease,
    block: ColdBlocks,
    options: KvOptions<V>,
  ): Promise<FabricKvStore<V>> {
    regionOf(mem);
    return FabricKvStore.#open(block, true, { ...options, mem });
  }

  /**
   * Opens the store that stands on a block lease, whose memory is gone.
   * @throws FabricError `NOT_FOUND` (there is none), and as {@link fromLeases}.
   */
  static async fromCold<V>(
    block: ColdBlocks,
    options: KvColdOptions<V>,
  ): Promise<FabricKvStore<V>> {
    return FabricKvStore.#open(block, false, options);
  }

  static async #open<V>(
    block: ColdBlocks,
    create: boolean,
    options: KvColdOptions<V>,
  ): Promise<FabricKvStore<V>> {
    checkOptions(block, options);
    const { mem } = options;
    const hot =
      mem === undefined
        ? undefined
        : new HotTier(
            mem,
            {
              keyBytes: options.hotKeyBytes ?? hotDefaults.keyBytes,
              valueBytes: options.hotValueBytes ?? hotDefaults.valueBytes,
            },
            block.leaseId ?? "",
          );
    const cold = await ColdTier.open(block, create, {
      put: ({ key, keyBytes, sequence }, value) => hot?.put(key, keyBytes, sequence, value),
      removed: (key) => hot?.delete(key),
    });
    hot?.reconcile((key, sequence) => cold.entries.get(key)?.sequence === sequence);
    return new FabricKvStore(block, cold, hot, options, options.clock ?? clockOf(mem));
  }

  /**
   * Sets a value with the default TTL; resolves once it is durable.
   * @throws FabricError `CAPACITY_EXCEEDED` (the store is full, or the key longer than 65,535 bytes: nothing was
   * written), `ENCODE`, `LEASE_EXPIRED`, `REVOKED`, `STALE_EPOCH` (another store was
   * opened on the blocks: nothing was written, and this one is over), `STORE_UNAVAILABLE` (then it may be there after the store is
   * opened anew, or not; and every later change is refused).
   */
  async put(key: string, value: V): Promise<void> {
    await this.#put(key, value, this.#defaultTtlMs);
  }

  /** Sets a value that expires `ttlMs` milliseconds from now, unless it is read or set before. Errors as `put`. */
  async putWithTtl(key: string, value: V, ttlMs: number): Promise<void> {
    await this.#put(key, value, checkTtl("ttlMs", ttlMs));
  }

  /**
   * The value, or undefined; its TTL begins anew. A value that was read from the blocks is hot afterwards, if it fits.
   * @throws FabricError `CORRUPT_RECORD`, `DECODE`, `LEASE_EXPIRED`, `REVOKED`, `STORE_UNAVAILABLE`.
   */
  async get(key: string): Promise<V | undefined> {
    this.#assertOpen();
    const entry = this.#find(key);
    if (entry === undefined) return undefined;
    const bytes = this.#hot?.get(key, entry.sequence);
    if (bytes !== undefined) this.#hotHits++;
    const value = bytes ?? (await this.#readCold(entry));
    if (this.#cold.entries.get(key) === entry) this.#touch(entry);
    return this.#codec.decode(value);
  }

  /** Whether the key is there. Its TTL stays as it is. */
  async has(key: string): Promise<boolean> {
    this.#assertOpen();
    return this.#find(key) !== undefined;
  }

  /** Removes a key; resolves once it is gone for good, with false if it was not there. Errors as `put`. */
  async delete(key: string): Promise<boolean> {
    this.#assertOpen();
    return this.#cold.delete(key, encodeKey(key), this.#now());
  }

  /** The keys that have not expired, the ones set last at the end. Costs a pass over all. */
  async keys(): Promise<string[]> {
    this.#assertOpen();
    const nowMs = this.#now();
    const keys: string[] = [];
    for (const [key, { deadlineMs }] of this.#cold.entries) if (deadlineMs > nowMs) keys.push(key);
    return keys;
  }

  /** Milliseconds until the key expires; infinite if it never does, undefined if it is not there. */
  async ttl(key: string): Promise<number | undefined> {
    this.#assertOpen();
    const entry = this.#find(key);
    return entry === undefined ? undefined : entry.deadlineMs - this.#now();
  }

  /**
   * Says that it is `nowMs`, in milliseconds since the Unix epoch: removes what has expired by then, and makes durable
   * what `get` has put off. Time never goes back: an earlier moment counts as the latest. Costs a pass over all keys once
   * one may have expired. Errors as `put`.
   */
  async tick(nowMs: number): Promise<KvTick> {
    if (!Number.isFinite(nowMs)) throw invalidArgument("nowMs", "milliseconds", nowMs);
    this.#assertOpen();
    this.#nowMs = Math.max(this.#nowMs, nowMs);
    const dueMs = this.#now();
    // In this order. A crash between the two must not find a key expired whose deadline had moved on.
    const touched = await this.#writeTouched();
    const expired =
      dueMs >= this.#nextDueAtMs && this.#isDue(dueMs) ? await this.#cold.expire(dueMs) : 0;
    await this.#cold.sync();
    return { expired, touched, nextDueAtMs: this.#nextDueAtMs };
  }

  /** Makes durable what `get` has put off, and lets the loss of anything written so far be noticed. Errors as `put`. */
  async flush(): Promise<void> {
    this.#assertOpen();
    await this.#writeTouched();
    await this.#cold.sync();
  }

  /** Flushes, and refuses every later operation. The leases stay the caller's. Idempotent. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    const flushed = this.flush();
    this.#isClosed = true;
    await flushed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** Figures since the store was opened. */
  stats(): KvStats {
    const { compactions, batches, liveBytes, capacityBytes, recovered, entries } = this.#cold;
    const hot = this.#hot;
    return {
      keys: entries.size,
      hotKeys: hot?.size ?? 0,
      hot: hot === undefined ? "none" : hot.isLost ? "lost" : "live",
      hotHits: this.#hotHits,
      coldReads: this.#coldReads,
      evictions: hot?.evictions ?? 0,
      hotRebuilds: hot?.rebuilds ?? 0,
      batches,
      compactions,
      liveBytes,
      capacityBytes,
      recovered,
    };
  }

  async #put(key: string, value: V, ttlMs: number): Promise<void> {
    this.#assertOpen();
    const keyBytes = encodeKey(key);
    // A copy: the caller may change its array while the value waits to be written.
    const valueBytes = this.#codec.encode(value).slice();
    const nowMs = this.#now();
    this.#nextDueAtMs = Math.min(this.#nextDueAtMs, nowMs + ttlMs);
    await this.#cold.put(key, keyBytes, valueBytes, ttlMs, nowMs);
  }

  async #readCold(entry: KvEntry): Promise<Uint8Array> {
    for (let tries = 1; ; tries++) {
      const { epoch } = this.#cold;
      try {
        const bytes = await this.#cold.read(entry);
        this.#coldReads++;
        if (this.#cold.entries.get(entry.key) === entry)
          this.#hot?.put(entry.key, entry.keyBytes, entry.sequence, bytes);
        return bytes;
      } catch (thrown) {
        // Moved meanwhile: it is somewhere else now.
        if (this.#cold.epoch === epoch || tries === readTriesMax) throw thrown;
      }
    }
  }

  #find(key: string): KvEntry | undefined {
    const entry = this.#cold.entries.get(key);
    return entry !== undefined && entry.deadlineMs > this.#now() ? entry : undefined;
  }

  #touch(entry: KvEntry): void {
    if (entry.ttlMs === Infinity) return;
    const nowMs = this.#now();
    // Expired while its value was read: by now the log may say so.
    if (entry.deadlineMs <= nowMs) return;
    const deadlineMs = nowMs + entry.ttlMs;
    if (deadlineMs <= entry.deadlineMs) return;
    entry.deadlineMs = deadlineMs;
    entry.isTouched = true;
    this.#touched.add(entry);
  }

  async #writeTouched(): Promise<number> {
    const nowMs = this.#now();
    const entries = [...this.#touched].filter(
      (entry) =>
        entry.isTouched && entry.deadlineMs > nowMs && this.#cold.entries.get(entry.key) === entry,
    );
    this.#touched.clear();
    try {
      await Promise.all(entries.map((entry) => this.#cold.touch(entry)));
    } finally {
      for (const entry of entries) if (entry.isTouched) this.#touched.add(entry);
    }
    return entries.length;
  }

  /** Whether a key has expired; finds out on the way when the next one will. */
  #isDue(nowMs: number): boolean {
    let isDue = false;
    let nextMs = Infinity;
    for (const { deadlineMs } of this.#cold.entries.values()) {
      if (deadlineMs <= nowMs) isDue = true;
      else nextMs = Math.min(nextMs, deadlineMs);
    }
    this.#nextDueAtMs = nextMs;
    return isDue;
  }

  #now(): number {
    const clockMs = this.#clock?.nowMs() ?? 0;
    if (clockMs > this.#nowMs) this.#nowMs = clockMs;
    return this.#nowMs;
  }

  #assertOpen(): void {
    if (this.#isClosed)
      throw new FabricError("DISCONNECTED", "Cannot use the store: it was closed");
    this.#cold.assertFresh();
    this.#blocks.assertLive();
  }
}

function clockOf(mem: MemLease | undefined): Clock | undefined {
  if (mem === undefined) return undefined;
  const { site } = regionOf(mem);
  return { nowMs: () => site.nowMs() };
}

function checkOptions(block: unknown, options: unknown): void {
  const { readInto, write, flush, assertLive } = (block ?? {}) as Partial<ColdBlocks>;
  if (![readInto, write, flush, assertLive].every((method) => typeof method === "function"))
    throw invalidArgument("block", "a BlockLease", block);
  const codec = (options as { value?: Partial<Codec<unknown>> } | null | undefined)?.value;
  if (typeof codec?.encode !== "function" || typeof codec.decode !== "function")
    throw invalidArgument("options.value", "a codec", codec);
}

function ttlOf(name: string, ttlMs: number): number {
  return ttlMs === Infinity ? ttlMs : checkTtl(name, ttlMs);
}

function encodeKey(key: string): Uint8Array {
  const bytes = stringCodec.encode(key);
  if (bytes.length > keyBytesMax)
    throw new FabricError("CAPACITY_EXCEEDED", "Cannot use the key: it is too long", {
      bytes: bytes.length,
      bytesMax: keyBytesMax,
    });
  return bytes;
}
