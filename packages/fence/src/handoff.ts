/**
 * Handoff records: where a stage's queue is now, on blocks that outlive the queue. The stage's producer publishes; whoever
 * reads from it follows.
 *
 * ```
 *  byte 0  version 1      1  zero      2  length of the stage's id (Uint16, little endian)
 *       4  the stage's id, UTF-8       …  the locator
 * ```
 *
 * Invariant H1: a reader is never given an older generation than it has been given before, nor one twice.
 */
import {
  FabricError,
  invalidArgument,
  plainText,
  TwoSlotRecord,
  type AbortSignalLike,
  type BlockLease,
  type RecordBlocks,
  type Timer,
} from "@selvage/fabric";
import { FencedRecord, FencedRecordReader, type FencedReading } from "./fenced-record.ts";
import { decodeLocator, encodeLocator, LOCATOR_BYTES_MAX, type Locator } from "./locators.ts";
import { onWritten } from "./record-turns.ts";

/** Where a stage is reached, and since when. Plain data. */
export interface HandoffState {
  /** Whose record it is. */
  readonly stageId: string;
  /** Counts the publications, from 1; it rises with each, and may skip numbers after damage. */
  readonly generation: number;
  /** What was published. */
  readonly locator: Locator;
  /** Set when one slot of the record was unreadable: a later publication may have been lost. */
  readonly recovered?: { readonly slot: 0 | 1 };
}

const kind = "HAND";
const version = 1;
const fixedBytes = 4;

/** Longest id of a stage, in bytes of UTF-8. */
export const STAGE_ID_BYTES_MAX = 1_024;

/**
 * Publishes where a stage is. Of several writers of one record one goes on: whoever publishes makes the others stale.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { Fabric } from "selvage";
 * import { HandoffReader, HandoffWriter } from "@selvage/fence";
 *
 * using fabric = Fabric.open({ memoryBytes: 1 << 20, blocks: 8 });
 * const blocks = await fabric.block().minBlocks(HandoffWriter.BLOCKS).acquire();
 * const { leaseId, slot, generation } = fabric.mem().minBytes(4096).acquire();
 *
 * const writer = new HandoffWriter(blocks, "parse");
 * await writer.publish({ kind: "mem", leaseId, slot, generation, offset: 0, bytes: 4096 });
 * const state = await new HandoffReader(blocks).poll();
 * assert.deepEqual([state?.stageId, state?.generation, state?.locator.leaseId], ["parse", 1, leaseId]);
 * ```
 */
export class HandoffWriter<B extends RecordBlocks = BlockLease> {
  /** Blocks that any handoff record fits into. */
  static readonly BLOCKS: number = TwoSlotRecord.blocksFor(
    4 + fixedBytes + STAGE_ID_BYTES_MAX + LOCATOR_BYTES_MAX,
  );

  /** The stage that it publishes for. */
  readonly stageId: string;
  readonly #stage: Uint8Array;
  readonly #record: FencedRecord<B>;
  #hasBegun = false;
  #isOver = false;
  // The last call, well or not: the next one waits for it.
  #last: Promise<unknown> = Promise.resolve();

  /** A writer on all of `blocks`. It takes up the record when it first publishes. @throws FabricError `INVALID_ARGUMENT`. */
  constructor(blocks: B, stageId: string) {
    this.#stage = stageBytes(stageId);
    this.#record = new FencedRecord(blocks, kind);
    this.stageId = stageId;
  }

  /**
   * As the constructor, and takes up the record now: whoever publishes from here on makes this writer stale.
   * @throws FabricError as `publish`.
   */
  static async open<B extends RecordBlocks>(blocks: B, stageId: string): Promise<HandoffWriter<B>> {
    const writer = new HandoffWriter(blocks, stageId);
    await writer.#inOrder(async () => writer.#begin());
    return writer;
  }

  /** The generation that was last read or published; 0 when none was. */
  get generation(): number {
    return this.#record.generation;
  }

  /**
   * Publishes `locator` under the next generation. Resolves with the new state once it survives a crash. Calls are
   * carried out one after the other. Two syncs the first time, then one; two blocks are read and one is written.
   * @throws FabricError `STALE_EPOCH`: another writer has published, and this one is over. `CONFLICT`: the record is
   * another stage's. `CORRUPT_RECORD`, `CAPACITY_EXCEEDED`, `INVALID_ARGUMENT`, what the blocks throw; after the last
   * the old state stands, or the new one.
   */
  async publish(locator: Locator): Promise<HandoffState> {
    const where = encodeLocator(locator);
    const stage = this.#stage;
    const bytes = new Uint8Array(fixedBytes + stage.length + where.length);
    const view = new DataView(bytes.buffer);
    view.setUint8(0, version);
    view.setUint16(2, stage.length, true);
    bytes.set(stage, fixedBytes);
    bytes.set(where, fixedBytes + stage.length);
    const { stageId } = this;
    return this.#inOrder(async () => {
      await this.#begin();
      const generation = await this.#record.write(bytes);
      return { stageId, generation, locator: decodeLocator(where) };
    });
  }

  /**
   * Ends the writer, and resolves with its blocks once what was under way has ended. The record stays on them.
   * @throws FabricError `DISCONNECTED` when they were given back before.
   */
  async intoBlockLease(): Promise<B> {
    const closed = this.#inOrder(async () => this.#record.close());
    this.#isOver = true;
    return closed;
  }

  async #inOrder<T>(run: () => Promise<T>): Promise<T> {
    if (this.#isOver)
      throw new FabricError("DISCONNECTED", "Cannot publish: the blocks were given back", {
        stageId: this.stageId,
      });
    const mine = this.#last.then(run);
    this.#last = mine.catch(() => {});
    return mine;
  }

  async #begin(): Promise<void> {
    if (this.#hasBegun) return;
    const state = stateOf(await this.#record.read());
    if (state !== undefined && state.stageId !== this.stageId)
      throw new FabricError("CONFLICT", "Cannot publish: the record is another stage's", {
        stageId: this.stageId,
        found: state.stageId,
      });
    this.#hasBegun = true;
  }
}

/** How to watch. */
export interface WatchOptions {
  /** Timers of the host: by it the record is looked at where no write wakes. */
  readonly timer: Timer;
  /** Longest time between two looks, in milliseconds: above 0 and up to {@link WATCH_PERIOD_MS_MAX}. Default 100. */
  readonly periodMs?: number;
  /** Ends the watch: it then throws the signal's reason. */
  readonly signal?: AbortSignalLike;
}

/** Longest period of a watch: an hour. */
export const WATCH_PERIOD_MS_MAX = 3_600_000;
const periodMsDefault = 100;

/** Follows a stage's record. It writes nothing. Several readers may follow one record. */
export class HandoffReader {
  readonly #record: FencedRecordReader;
  #generation = 0;
  #recovered: { readonly slot: 0 | 1 } | undefined;

  /** A reader of the record on all of `blocks`. */
  constructor(blocks: RecordBlocks) {
    this.#record = new FencedRecordReader(blocks, kind);
  }

  /** The newest generation that this reader has given; 0 before the first. */
  get generation(): number {
    return this.#generation;
  }

  /** Which slot was unreadable when the record was last looked at, if one was. */
  get recovered(): { readonly slot: 0 | 1 } | undefined {
    return this.#recovered;
  }

  /**
   * The state, if it is newer than what this reader has given before; else undefined: nothing published yet, or nothing
   * new. Two blocks are read.
   * @throws FabricError `CORRUPT_RECORD` (neither slot is whole, or an older state than before without damage),
   * `DECODE` (whole, but no handoff record), what the blocks throw.
   */
  async poll(): Promise<HandoffState | undefined> {
    const reading = await this.#record.read();
    this.#recovered = reading.recovered;
    const { generation, recovered } = reading;
    if (generation < this.#generation && recovered === undefined)
      throw new FabricError("CORRUPT_RECORD", "Cannot follow the record: it went back", {
        generation,
        seen: this.#generation,
      });
    // H1. Another poll of this reader may have been quicker.
    if (generation <= this.#generation) return undefined;
    const state = stateOf(reading);
    this.#generation = generation;
    return state;
  }

  /**
   * The newest state again and again: now, if there is one, and whenever it is newer. States in between may be left out.
   * A write on this thread wakes it at once; others are found by looking every `periodMs`. One watch a reader: two
   * would share what `poll` gives.
   * @throws FabricError `INVALID_ARGUMENT`, as `poll`; the signal's reason.
   *
   * @example
   * ```ts
   * import assert from "node:assert/strict";
   * import { Fabric } from "selvage";
   * import { HandoffReader, HandoffWriter } from "@selvage/fence";
   * import { systemTimer } from "@selvage/node";
   *
   * using fabric = Fabric.open({ memoryBytes: 1 << 20, blocks: 8 });
   * const blocks = await fabric.block().minBlocks(HandoffWriter.BLOCKS).acquire();
   * const { leaseId, slot, generation } = fabric.mem().acquire();
   * const writer = new HandoffWriter(blocks, "parse");
   * await writer.publish({ kind: "mem", leaseId, slot, generation, offset: 0, bytes: 64 });
   * for await (const state of new HandoffReader(blocks).watch({ timer: systemTimer })) {
   *   assert.equal(state.generation, 1);
   *   break;
   * }
   * ```
   */
  async *watch(options: WatchOptions): AsyncGenerator<HandoffState, void, undefined> {
    const { timer, periodMs = periodMsDefault, signal } = (options ?? {}) as Partial<WatchOptions>;
    if (typeof timer?.after !== "function")
      throw invalidArgument("options.timer", "a Timer: on Node, systemTimer", timer);
    if (typeof periodMs !== "number" || !(periodMs > 0 && periodMs <= WATCH_PERIOD_MS_MAX))
      throw invalidArgument(
        "periodMs",
        `milliseconds above 0 and up to ${WATCH_PERIOD_MS_MAX}`,
        periodMs,
      );
    // Set by a write, from before the record is looked at: one that comes between look and sleep is not missed.
    let isWritten = false;
    let wake: (() => void) | undefined;
    const stop = onWritten(this.#record.key, () => {
      isWritten = true;
      wake?.();
    });
    try {
      for (;;) {
        if (signal?.aborted === true) throw signal.reason;
        isWritten = false;
        const state = await this.poll();
        if (state !== undefined) yield state;
        else if (!isWritten) {
          const { promise, resolve } = Promise.withResolvers<void>();
          wake = resolve;
          const cancel = timer.after(periodMs, resolve);
          signal?.addEventListener("abort", resolve);
          try {
            await promise;
          } finally {
            cancel();
            signal?.removeEventListener("abort", resolve);
          }
        }
      }
    } finally {
      stop();
    }
  }
}

function stateOf({ state, generation, recovered }: FencedReading): HandoffState | undefined {
  if (state === undefined) return undefined;
  const view = new DataView(state.buffer);
  if (state.length < fixedBytes || view.getUint8(0) !== version || view.getUint8(1) !== 0)
    throw notHandoff("an unknown version");
  const end = fixedBytes + view.getUint16(2, true);
  if (end === fixedBytes || end > Math.min(state.length, fixedBytes + STAGE_ID_BYTES_MAX))
    throw notHandoff("the length of the stage's id");
  const stageId = plainText.decode(state.subarray(fixedBytes, end));
  const locator = decodeLocator(state.subarray(end));
  return { stageId, generation, locator, ...(recovered === undefined ? {} : { recovered }) };
}

function stageBytes(stageId: string): Uint8Array {
  const rule = `a text of 1 to ${STAGE_ID_BYTES_MAX} bytes`;
  if (typeof stageId !== "string" || stageId.length === 0 || !stageId.isWellFormed())
    throw invalidArgument("stageId", rule, stageId);
  const bytes = plainText.encode(stageId);
  if (bytes.length > STAGE_ID_BYTES_MAX) throw invalidArgument("stageId", rule, bytes.length);
  return bytes;
}

function notHandoff(why: string): FabricError {
  return new FabricError("DECODE", `Cannot read a handoff record: ${why}`, { why });
}
