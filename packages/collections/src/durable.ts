/**
 * A value with its checkpoints: after a crash the newest whole one is there again.
 *
 * Invariant D1: what `checkpoint` acknowledged survives a crash; a crash during it leaves the checkpoint before, or it
 * (R1, R2 of the two-slot record).
 * Invariant D2: a checkpoint holds the value as it was at one moment between two mutations, and at least every mutation
 * that was made before it was asked for.
 * Invariant P2: an instance that was replaced overwrites no newer checkpoint.
 * Invariant P3: a checkpoint that cannot be read is told, and the one before it is taken.
 */
import {
  FabricError,
  invalidArgument,
  jsonCodec,
  type BlockLease,
  type Codec,
  type RecordBlocks,
} from "@selvage/fabric";
import { FencedRecord, type FencedReading } from "@selvage/fence";

const kind = "DURA";

/**
 * A value and its checkpoints on a block lease. Of several instances over one lease, the one that writes a checkpoint
 * makes the others stale; whoever takes a lease over calls `restore` and then `checkpoint`, before it acts.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { Fabric } from "selvage";
 * import { Durable } from "@selvage/collections";
 *
 * using fabric = Fabric.open({ memoryBytes: 1 << 20, blocks: 64 });
 * const blocks = await fabric.block().minBlocks(8).acquire();
 * const counts = new Durable({ seen: 0 }, blocks);
 * await counts.mutate((value) => void value.seen++);
 * await counts.checkpoint();
 *
 * const again = await Durable.restore<{ seen: number }>(await counts.intoBlockLease());
 * assert.equal(again.value.seen, 1);
 * ```
 */
export class Durable<T, B extends RecordBlocks = BlockLease> {
  #record: FencedRecord<B>;
  readonly #codec: Codec<T>;
  #value: T;
  #recovered: { readonly slot: 0 | 1 } | undefined;
  /** Mutations that no checkpoint has taken up. */
  #pending = 0;
  #every: number | undefined;
  #isOver = false;
  // The checkpoint that was asked for and has not begun, if there is one; and the end of the last one, well or not.
  #next: Promise<number> | undefined;
  #last: Promise<unknown> = Promise.resolve();

  /**
   * A new value, on blocks that hold no checkpoint; nothing is written yet. Checkpoints go through `codec`: JSON by
   * default. On blocks with a checkpoint on them the first one ends `STALE_EPOCH`: that is what `restore` is for.
   * @throws FabricError `INVALID_ARGUMENT`.
   */
  constructor(value: T, blocks: B, codec: Codec<T> = jsonCodec<T>()) {
    this.#record = new FencedRecord(blocks, kind, 0);
    this.#codec = codec;
    this.#value = value;
  }

  /**
   * The value of the newest whole checkpoint on `blocks`. Where none was ever acknowledged, `initial` makes one.
   * Nothing is written. All of the blocks are read.
   * @throws FabricError `NOT_FOUND` (no checkpoint, and no `initial`), `CORRUPT_RECORD` (none of them whole), `DECODE`
   * (whole, but not of this codec, or no Durable's), what the blocks throw.
   */
  static async restore<T, B extends RecordBlocks = BlockLease>(
    blocks: B,
    codec: Codec<T> = jsonCodec<T>(),
    initial?: () => T,
  ): Promise<Durable<T, B>> {
    const record = new FencedRecord(blocks, kind);
    const reading = await record.read();
    const durable = new Durable<T, B>(valueOf(reading, codec, initial), blocks, codec);
    durable.#record = record;
    durable.#recovered = reading.recovered;
    return durable;
  }

  /** The value now. What is done to it other than by `mutate` is in the next checkpoint, but does not count. */
  get value(): T {
    return this.#value;
  }

  /** The generation of the checkpoint that was last read or acknowledged; 0 when there was none. */
  get generation(): number {
    return this.#record.generation;
  }

  /** Set by `restore` when the other slot was unreadable: a later checkpoint may have been lost. */
  get recovered(): { readonly slot: 0 | 1 } | undefined {
    return this.#recovered;
  }

  /** Mutations that are in no checkpoint yet, acknowledged or under way. */
  get pending(): number {
    return this.#pending;
  }

  /** True once another instance has written a checkpoint. */
  get isStale(): boolean {
    return this.#record.isStale;
  }

  /** The longest checkpoint that fits, in bytes. */
  get bytesMax(): number {
    return this.#record.bytesMax;
  }

  /**
   * Changes the value at once, before this call returns. `change` changes it in place, or returns what replaces it:
   * anything, where the value is no object; an object, where it is one. Resolves at once; when this mutation is the one
   * that starts a checkpoint of its own, once that is acknowledged.
   * @throws FabricError `INVALID_ARGUMENT` (`change` is asynchronous), `DISCONNECTED`, as `checkpoint`; what `change`
   * throws: then the value is as `change` left it, and the mutation does not count.
   */
  async mutate(change: (value: T) => T | void): Promise<void> {
    this.#assertOpen();
    if (typeof change !== "function")
      throw invalidArgument("change", "a synchronous function", change);
    const result = change(this.#value);
    if (isThenable(result)) throw invalidArgument("change", "a synchronous function", "a promise");
    if (result !== undefined && (!isObject(this.#value) || isObject(result))) this.#value = result;
    this.#pending++;
    if (this.#every !== undefined && this.#pending >= this.#every) await this.checkpoint();
  }

  /**
   * Writes the value, and resolves with the checkpoint's generation once it survives a crash. Calls while another is
   * under way share one checkpoint after it. The value is encoded when the checkpoint begins: mutations made meanwhile
   * are in the next one. All of the blocks are read, what the value needs is written, one sync.
   * @throws FabricError `STALE_EPOCH`: another instance has written, and this one is over. `CAPACITY_EXCEEDED` with
   * `bytes` and `bytesMax`, `ENCODE`, `CORRUPT_RECORD`: the old checkpoint stands. `DISCONNECTED`. What the blocks
   * throw: the old checkpoint stands, or the new one, and which is found out before the next.
   */
  async checkpoint(): Promise<number> {
    this.#assertOpen();
    if (this.#next === undefined) {
      const next = this.#last.then(async () => {
        this.#next = undefined;
        return this.#write();
      });
      this.#next = next;
      this.#last = next.catch(() => {});
    }
    return this.#next;
  }

  /** Has every `mutations`-th mutation start a checkpoint; undefined or 0: none does. @throws FabricError `INVALID_ARGUMENT`. */
  setAutoCheckpoint(mutations: number | undefined): void {
    const every = mutations ?? 0;
    if (!Number.isSafeInteger(every) || every < 0)
      throw invalidArgument("mutations", "a whole number from 0 up, or undefined", mutations);
    this.#every = every === 0 ? undefined : every;
  }

  /**
   * Ends the instance, and resolves with its blocks once what was under way has ended. It writes no checkpoint: what is
   * `pending` is lost. @throws FabricError `DISCONNECTED` when they were given back before.
   */
  async intoBlockLease(): Promise<B> {
    this.#assertOpen();
    this.#isOver = true;
    await this.#last;
    return this.#record.close();
  }

  async #write(): Promise<number> {
    const taken = this.#pending;
    const bytes = this.#codec.encode(this.#value);
    this.#pending = 0;
    try {
      return await this.#record.write(bytes);
    } catch (error) {
      this.#pending += taken;
      throw error;
    }
  }

  #assertOpen(): void {
    if (this.#isOver)
      throw new FabricError("DISCONNECTED", "Cannot use the value: its blocks were given back", {
        generation: this.generation,
      });
  }
}

function valueOf<T>(reading: FencedReading, codec: Codec<T>, initial: (() => T) | undefined): T {
  const { state, recovered } = reading;
  if (state !== undefined) return codec.decode(state);
  if (initial !== undefined) return initial();
  throw new FabricError("NOT_FOUND", "Cannot restore: there is no checkpoint on these blocks", {
    isDamaged: recovered !== undefined,
  });
}

function isObject(value: unknown): boolean {
  return (typeof value === "object" && value !== null) || typeof value === "function";
}

function isThenable(value: unknown): boolean {
  return isObject(value) && typeof (value as { then?: unknown }).then === "function";
}
