/**
 * The cold tier of a store: which keys there are, where in the log their values are, and the one line in which changes
 * wait to be made durable. Whoever waits while a batch is being written goes together into the next one.
 *
 * K1: what the index says is what the log says: an operation changes the index after its batch is durable, in the order
 * of the log, and replaying the log gives the same index.
 * K2: after a write or a flush failed nobody knows what is on the blocks. So nothing is written any more: every change
 * is refused with that error until the store is opened anew. So it is with a store that another has replaced (K4).
 * K5: a key that has expired takes no room from a put. By the latest time that the store was told it goes for good, in
 * the log or by compaction, before a put is refused.
 */
import { FabricError, isFabricError } from "@selvage/fabric";
import { blocksFor, PAYLOAD_BYTES } from "./kv-block.ts";
import { ColdLog, type ColdBlocks, type FoundBatch } from "./kv-log.ts";
import { StoreFence } from "./kv-fence.ts";
import { BATCH_BYTES_MAX, Image, imageBlocks } from "./kv-image.ts";
import { bytesOf, entryOf, expiredBy, IndexReplay, type KvEntry } from "./kv-index.ts";
import {
  NO_RECORD,
  readRecords,
  RECORD_BYTES,
  recordBytes,
  writeRecord,
  type KvRecord,
} from "./kv-records.ts";
import { stringCodec } from "./slot-codecs.ts";

/** Told of every change as it is made to the index. */
export interface KvListener {
  put(entry: KvEntry, value: Uint8Array): void;
  removed(key: string): void;
}

type Change =
  | { readonly kind: "put" | "touch"; readonly record: KvRecord; readonly key: string }
  | {
      readonly kind: "delete";
      readonly record: KvRecord;
      readonly key: string;
      readonly nowMs: number;
    }
  | { readonly kind: "clock"; readonly record: KvRecord }
  | { readonly kind: "sync" };

interface Waiting {
  readonly change: Change;
  readonly resolve: (done: number) => void;
  readonly reject: (error: unknown) => void;
}

/** How much of a half may be live: the rest is room for changes between two compactions. */
const liveShare = 7 / 8;

/** The cold tier of one store. */
export class ColdTier {
  readonly entries: Map<string, KvEntry>;
  compactions = 0;
  batches = 0;
  readonly #log: ColdLog;
  readonly #fence: StoreFence;
  readonly #listener: KvListener;
  #line: Waiting[] = [];
  #isRunning = false;
  #failure: FabricError | undefined;
  #sequence = 1;
  #liveBytes = 0;
  #expiredCount = 0;
  /** The latest time by which keys were expired. */
  #clockMs = 0;
  #latestMs: number;
  /** The latest time that a change came with. */
  #nowMs = 0;

  private constructor(log: ColdLog, fence: StoreFence, listener: KvListener, replay: IndexReplay) {
    this.#log = log;
    this.#fence = fence;
    this.#listener = listener;
    this.entries = replay.entries;
    this.#sequence = replay.sequence;
    this.#clockMs = replay.clockMs;
    this.#latestMs = replay.latestMs;
    for (const entry of this.entries.values()) this.#liveBytes += bytesOf(entry);
  }

  /** @throws as `ColdLog.open`. */
  static async open(blocks: ColdBlocks, create: boolean, listener: KvListener): Promise<ColdTier> {
    const replay = new IndexReplay();
    const fence = new StoreFence(blocks);
    const log = await fence.opening(async () =>
      ColdLog.open(blocks, create, (batch) => replay.take(batch)),
    );
    return new ColdTier(log, fence, listener, replay);
  }

  /** The latest moment that the log knows of: no store on it thinks that it is earlier. */
  get latestMs(): number {
    return this.#latestMs;
  }

  get liveBytes(): number {
    return this.#liveBytes;
  }

  /** Bytes of keys, values and records that fit. */
  get capacityBytes(): number {
    return Math.floor(this.#log.areaBlocks * liveShare) * PAYLOAD_BYTES;
  }

  get epoch(): number {
    return this.#log.epoch;
  }

  get recovered(): boolean {
    return this.#log.recovered;
  }

  /** Throws if another store was found to have replaced this one. @throws FabricError `STALE_EPOCH`. */
  assertFresh(): void {
    if (this.#failure?.code === "STALE_EPOCH") throw this.#failure;
  }

  /**
   * Resolves once the value is durable.
   * @throws FabricError `CAPACITY_EXCEEDED`, `STALE_EPOCH`, `STORE_UNAVAILABLE`, what the blocks throw.
   */
  async put(
    key: string,
    keyBytes: Uint8Array,
    value: Uint8Array,
    ttlMs: number,
    nowMs: number,
  ): Promise<void> {
    const sequence = this.#sequence++;
    const deadlineMs = nowMs + ttlMs;
    const record = { kind: "put", key: keyBytes, value, sequence, ttlMs, deadlineMs } as const;
    this.#pass(nowMs);
    await this.#submit({ kind: "put", record, key });
  }

  /** Resolves once the key is gone for good; with false if it was not there at `nowMs`. */
  async delete(key: string, keyBytes: Uint8Array, nowMs: number): Promise<boolean> {
    const record = { ...NO_RECORD, kind: "delete", key: keyBytes } as const;
    this.#pass(nowMs);
    return (await this.#submit({ kind: "delete", record, key, nowMs })) > 0;
  }

  /** Resolves once the entry's deadline is durable. */
  async touch(entry: KvEntry): Promise<void> {
    await this.#submit(touchOf(entry));
  }

  /** Removes for good what has expired by `nowMs`; resolves with how many keys that were, on the way there too. */
  async expire(nowMs: number): Promise<number> {
    this.#pass(nowMs);
    const before = this.#expiredCount;
    await this.#submit(clockOf(nowMs));
    return this.#expiredCount - before;
  }

  /** Resolves once everything before is durable, and its loss would be noticed. */
  async sync(): Promise<void> {
    await this.#submit({ kind: "sync" });
  }

  /** An entry's value. @throws FabricError `CORRUPT_RECORD`, `STALE_EPOCH`, what the blocks throw. */
  async read({ first, at, keyBytes, valueBytes }: KvEntry): Promise<Uint8Array<ArrayBuffer>> {
    try {
      return await this.#log.read(first, at + RECORD_BYTES + keyBytes, valueBytes);
    } catch (thrown) {
      // Another store may have compacted, and it is no damage (K4).
      if (isCorrupt(thrown)) await this.#fence.guard(async () => {}, false);
      throw thrown;
    }
  }

  #pass(nowMs: number): void {
    if (nowMs > this.#nowMs) this.#nowMs = nowMs;
  }

  async #submit(change: Change): Promise<number> {
    if (this.#failure !== undefined) throw this.#failure;
    return new Promise((resolve, reject) => {
      this.#line.push({ change, resolve, reject });
      if (!this.#isRunning) void this.#run();
    });
  }

  /** Works the line off. Never rejects: what fails is told to those who wait. */
  async #run(): Promise<void> {
    this.#isRunning = true;
    // Whoever comes in the same turn goes into the same batch.
    await Promise.resolve();
    while (this.#line.length > 0) {
      try {
        await this.#step();
      } catch (thrown) {
        this.#fail(thrown);
      }
    }
    this.#isRunning = false;
  }

  // Nobody knows what has arrived (K2).
  #fail(thrown: unknown): void {
    this.#failure = isFabricError(thrown)
      ? thrown
      : new FabricError(
          "STORE_UNAVAILABLE",
          "Cannot write to the store: its blocks failed",
          {},
          { cause: thrown },
        );
    for (const { reject } of this.#line.splice(0)) reject(this.#failure);
  }

  /** Takes as many changes from the line as one batch holds, and makes them durable; or does one that stands alone. */
  async #step(): Promise<void> {
    const [first] = this.#line;
    if (first === undefined) return;
    if (first.change.kind === "sync") {
      await this.#fence.guard(async () => this.#log.sync(), true);
      this.#line.shift();
      first.resolve(0);
      return;
    }
    const batch = this.#assemble();
    if (batch.waiting.length === 0) {
      await this.#makeRoom(first);
      return;
    }
    if (batch.bytes > 0) {
      await this.#commit(batch);
      return;
    }
    // That there is nothing to change is an answer too (K4).
    await this.#fence.guard(async () => {}, false);
    for (const { resolve } of this.#line.splice(0, batch.waiting.length)) resolve(0);
  }

  async #commit(batch: Batch): Promise<void> {
    const payload = new Uint8Array(batch.bytes);
    const places: number[] = [];
    let at = 0;
    for (const record of batch.records) {
      places.push(at);
      if (record !== undefined) at = writeRecord(payload, at, record);
    }
    const first = await this.#fence.guard(async () => this.#log.append(payload), false);
    this.batches++;
    this.#line.splice(0, batch.waiting.length);
    for (const [index, { change, resolve }] of batch.waiting.entries()) {
      const wasWritten = batch.records[index] !== undefined;
      resolve(wasWritten ? this.#apply(change, first, places[index] as number) : 0);
    }
  }

  /** The changes at the head of the line that fit one batch, as records; undefined for a delete that finds nothing. */
  #assemble(): Batch {
    const room = this.#log.blocksLeft * PAYLOAD_BYTES;
    const batch: Batch = { waiting: [], records: [], bytes: 0 };
    const projected = new Map<string, boolean>();
    for (const waiting of this.#line) {
      const { change } = waiting;
      if (change.kind === "sync") break;
      const record = this.#isVoid(change, projected) ? undefined : change.record;
      const bytes = record === undefined ? 0 : recordBytes(record.key.length, record.value.length);
      const isTooMuch = batch.bytes > 0 && batch.bytes + bytes > BATCH_BYTES_MAX;
      if (isTooMuch || batch.bytes + bytes > room) break;
      if (change.kind === "put" && !this.#fits(batch, change.record)) break;
      if (change.kind === "put") projected.set(change.key, true);
      if (change.kind === "delete") projected.set(change.key, false);
      batch.waiting.push(waiting);
      batch.records.push(record);
      batch.bytes += bytes;
    }
    return batch;
  }

  /** Whether a change has nothing to change, given what comes before it in the batch. */
  #isVoid(change: Change, projected: ReadonlyMap<string, boolean>): boolean {
    if (change.kind === "delete") {
      const deadlineMs = this.entries.get(change.key)?.deadlineMs ?? 0;
      return !(projected.get(change.key) ?? deadlineMs > change.nowMs);
    }
    if (change.kind === "touch")
      return (
        projected.has(change.key) ||
        this.entries.get(change.key)?.sequence !== change.record.sequence
      );
    return false;
  }

  /** Whether the live bytes stay within their share, were the batch and this put added and only `gone` removed. */
  #fits(batch: Batch, { key, value }: KvRecord, gone: ReadonlySet<KvEntry> = nobody): boolean {
    const bytes = recordBytes(key.length, value.length);
    const replaced = batch.bytes === 0 ? this.#replacedBytes(key, gone) : 0;
    const live = this.#liveBytes - bytesOfAll(gone) - replaced + batch.bytes + bytes;
    return imageBlocks(live) <= Math.floor(this.#log.areaBlocks * liveShare);
  }

  #replacedBytes(key: Uint8Array, gone: ReadonlySet<KvEntry>): number {
    const entry = this.entries.get(stringCodec.decode(key));
    return entry === undefined || gone.has(entry) ? 0 : bytesOf(entry);
  }

  #expired(): Set<KvEntry> {
    const expired = new Set<KvEntry>();
    for (const entry of this.entries.values())
      if (entry.deadlineMs <= this.#nowMs) expired.add(entry);
    return expired;
  }

  /**
   * Expires in the log what has expired (K5), as a tick would: one batch, where compacting writes everything that is
   * live. False if the half has no room for it.
   */
  async #expireInLog(): Promise<boolean> {
    const changes: Change[] = [];
    // First the deadlines that have moved on: going through the log, the clock would find the old ones.
    for (const entry of this.entries.values())
      if (entry.isTouched && entry.deadlineMs > this.#nowMs) changes.push(touchOf(entry));
    changes.push(clockOf(this.#nowMs));
    const batch: Batch = { waiting: [], records: [], bytes: 0 };
    for (const change of changes) {
      const record = change.kind === "sync" ? NO_RECORD : change.record;
      batch.waiting.push({ change, resolve: () => {}, reject: () => {} });
      batch.records.push(record);
      batch.bytes += recordBytes(record.key.length, record.value.length);
    }
    if (batch.bytes > Math.min(BATCH_BYTES_MAX, this.#log.blocksLeft * PAYLOAD_BYTES)) return false;
    this.#line.unshift(...batch.waiting);
    await this.#commit(batch);
    return true;
  }

  /** Makes room for the change, by what has expired and by compaction; refuses it if it does not fit even then. */
  async #makeRoom(waiting: Waiting): Promise<void> {
    const { change } = waiting;
    const record = change.kind === "sync" ? NO_RECORD : change.record;
    const blocks = blocksFor(recordBytes(record.key.length, record.value.length));
    const empty: Batch = { waiting: [], records: [], bytes: 0 };
    const expired = this.#expired();
    const fits = change.kind !== "put" || this.#fits(empty, record, expired);
    const liveBytes = this.#liveBytes - bytesOfAll(expired);
    const couldFit = blocks <= this.#log.areaBlocks - imageBlocks(liveBytes);
    if (fits && couldFit) {
      const hasBlocks = blocks < this.#log.blocksLeft;
      if (expired.size > 0 && hasBlocks && (await this.#expireInLog())) return;
      if (await this.#compact(waiting, expired)) return;
    }
    if (this.#line[0] !== waiting) return;
    this.#line.shift();
    waiting.reject(
      new FabricError("CAPACITY_EXCEEDED", "Cannot write to the store: it is full", {
        bytes: recordBytes(record.key.length, record.value.length),
        liveBytes: this.#liveBytes,
        capacityBytes: this.capacityBytes,
      }),
    );
  }

  /**
   * Writes what is live to the other half, without what has `expired`. False if a value cannot be read: then the change
   * waiting for it is refused.
   */
  async #compact(waiting: Waiting, expired: ReadonlySet<KvEntry>): Promise<boolean> {
    const moved: [entry: KvEntry, first: number, at: number][] = [];
    const nowMs = this.#nowMs;
    let unreadable: unknown;
    try {
      await this.#rewrite(
        async (emit) => {
          const image = new Image(emit, moved);
          await image.add({
            ...NO_RECORD,
            kind: "clock",
            sequence: this.#sequence,
            deadlineMs: expired.size > 0 ? Math.max(this.#clockMs, nowMs) : this.#clockMs,
          });
          await this.#log
            .replay(async (batch) => {
              for (const [entry, record] of this.#liveIn(batch, expired))
                await image.add({ ...record, deadlineMs: entry.deadlineMs }, entry);
            })
            .catch((thrown: unknown) => {
              unreadable = thrown;
              throw thrown;
            });
          await image.end();
        },
        () => {
          for (const [entry, first, at] of moved) Object.assign(entry, { first, at });
          if (expired.size > 0) this.#clockMs = Math.max(this.#clockMs, nowMs);
          for (const { key } of expired) this.#expire(key);
        },
      );
    } catch (thrown) {
      if (unreadable === undefined || !isCorrupt(unreadable)) throw thrown;
      // The half that counts is as it was.
      this.#line.shift();
      waiting.reject(unreadable);
      return false;
    }
    this.compactions++;
    return true;
  }

  async #rewrite(...how: Parameters<ColdLog["rewrite"]>): Promise<void> {
    await this.#fence.guard(async () => this.#log.rewrite(...how), true);
  }

  #liveIn(
    { first, payload }: FoundBatch,
    expired: ReadonlySet<KvEntry>,
  ): [entry: KvEntry, record: KvRecord][] {
    const live: [entry: KvEntry, record: KvRecord][] = [];
    readRecords(payload, (record, at) => {
      if (record.kind !== "put") return;
      const entry = this.entries.get(stringCodec.decode(record.key));
      if (entry?.first === first && entry.at === at && !expired.has(entry))
        live.push([entry, record]);
    });
    return live;
  }

  /** Makes a durable change to the index (K1); 1 for one that names a key. */
  #apply(change: Change, first: number, at: number): number {
    switch (change.kind) {
      case "put": {
        const entry = entryOf(change.record, change.key, first, at);
        this.#remove(change.key);
        this.entries.set(change.key, entry);
        this.#liveBytes += bytesOf(entry);
        this.#listener.put(entry, change.record.value);
        return 1;
      }
      case "delete":
        this.#remove(change.key);
        this.#listener.removed(change.key);
        return 1;
      case "touch": {
        const entry = this.entries.get(change.key);
        if (entry?.deadlineMs === change.record.deadlineMs) entry.isTouched = false;
        return 1;
      }
      case "clock":
        this.#clockMs = Math.max(this.#clockMs, change.record.deadlineMs);
        for (const key of expiredBy(this.entries, change.record.deadlineMs)) this.#expire(key);
        return 0;
      case "sync":
        return 0;
    }
  }

  #expire(key: string): void {
    this.#expiredCount++;
    this.#remove(key);
    this.#listener.removed(key);
  }

  #remove(key: string): void {
    const entry = this.entries.get(key);
    if (entry === undefined) return;
    this.entries.delete(key);
    this.#liveBytes -= bytesOf(entry);
  }
}

interface Batch {
  readonly waiting: Waiting[];
  readonly records: (KvRecord | undefined)[];
  bytes: number;
}

const nobody: ReadonlySet<KvEntry> = new Set();

function bytesOfAll(entries: ReadonlySet<KvEntry>): number {
  let bytes = 0;
  for (const entry of entries) bytes += bytesOf(entry);
  return bytes;
}

function touchOf({ key, sequence, ttlMs, deadlineMs }: KvEntry): Change {
  const keyBytes = stringCodec.encode(key);
  const { value } = NO_RECORD;
  return {
    kind: "touch",
    record: { kind: "touch", key: keyBytes, value, sequence, ttlMs, deadlineMs },
    key,
  };
}

function clockOf(nowMs: number): Change {
  return { kind: "clock", record: { ...NO_RECORD, kind: "clock", deadlineMs: nowMs } };
}

function isCorrupt(thrown: unknown): boolean {
  return isFabricError(thrown) && thrown.code === "CORRUPT_RECORD";
}
