/**
 * A two-slot record with several would-be writers, of which one goes on: what handoff records and `Durable` stand on.
 *
 * Invariant P2: a writer that was replaced overwrites nothing. Before each write it looks at the blocks; a generation
 * there that is newer than its own was written by another, and the writer is stale from then on. Looking and writing
 * are one step for the writers of this thread (T1), and handles to a block lease do not leave it.
 * Invariant P4: a generation is acknowledged once, and by one writer. By R3 and R4 of the two-slot record, P2 and T1.
 *
 * ```
 *  byte 0  what kind of record: four letters      4  the value
 * ```
 */
import { FabricError, isFabricError, TwoSlotRecord, type RecordBlocks } from "@selvage/fabric";
import { inTurn, keyOf, tellWritten, type RecordKey } from "./record-turns.ts";

/** What a fenced record holds. */
export interface FencedReading {
  /** The value, in an array of its own; undefined when none was ever written, or none is left of a first one. */
  readonly state: Uint8Array<ArrayBuffer> | undefined;
  /** Counts the writes from 1, with gaps after damage; 0 when there was none. */
  readonly generation: number;
  /** Set when the other slot was unreadable: a later value may have been lost. */
  readonly recovered?: { readonly slot: 0 | 1 };
}

const kindBytes = 4;
/** Times that damage is looked at before it is believed: a writer elsewhere may have been in the middle of its write. */
const looksMax = 3;

/** A record's writer. It becomes stale by another's write, and ends by {@link close}. */
export class FencedRecord<B extends RecordBlocks = RecordBlocks> {
  readonly #blocks: B;
  readonly #record: TwoSlotRecord;
  readonly #key: RecordKey;
  readonly #kind: string;
  // The generation that this writer read or wrote last: undefined before it has looked.
  #own: number | undefined;
  // A write that failed: whether it is there is not known until the blocks are looked at.
  #attempt: Uint8Array | undefined;
  #isStale = false;
  #isClosed = false;

  /**
   * A writer of the record on all of `blocks`, whose values are of a kind of four letters. Its own generation is `own`,
   * or what is there when it first looks.
   */
  constructor(blocks: B, kind: string, own?: number) {
    this.#own = own;
    this.#record = new TwoSlotRecord(blocks);
    this.#blocks = blocks;
    this.#key = keyOf(blocks);
    this.#kind = kind;
  }

  /** The longest value that fits, in bytes. */
  get bytesMax(): number {
    return this.#record.bytesMax - kindBytes;
  }

  /** The generation that this writer read or wrote last. */
  get generation(): number {
    return this.#own ?? 0;
  }

  /** True once another has written after this writer looked. */
  get isStale(): boolean {
    return this.#isStale;
  }

  /** Reads the value, and makes its generation this writer's own. @throws FabricError `CORRUPT_RECORD`, `DECODE`. */
  async read(): Promise<FencedReading> {
    this.#assertOpen();
    return inTurn(this.#key, async () => {
      this.#assertFresh();
      const reading = open(await this.#record.read(), this.#kind);
      this.#own = reading.generation;
      this.#attempt = undefined;
      return reading;
    });
  }

  /**
   * Replaces the value. Resolves with its generation once it survives a crash.
   * @throws FabricError `STALE_EPOCH` (another has written: this writer is over), `CAPACITY_EXCEEDED`,
   * `CORRUPT_RECORD`, `EXHAUSTED`, what the blocks throw; after the last the old value stands, or the new one.
   */
  async write(value: Uint8Array): Promise<number> {
    this.#assertOpen();
    if (value.length > this.bytesMax)
      throw new FabricError("CAPACITY_EXCEEDED", "Cannot write the record: the value is too long", {
        bytes: value.length,
        bytesMax: this.bytesMax,
      });
    const state = new Uint8Array(kindBytes + value.length);
    for (let index = 0; index < kindBytes; index++) state[index] = this.#kind.charCodeAt(index);
    state.set(value, kindBytes);
    return inTurn(this.#key, async () => {
      this.#assertFresh();
      await this.#look();
      this.#attempt = state;
      try {
        this.#own = await this.#record.write(state);
        this.#attempt = undefined;
      } finally {
        // Told also after a failure: the new value may be there.
        tellWritten(this.#key);
      }
      return this.#own;
    });
  }

  /** Ends the writer: resolves with the blocks, once what was under way has ended. */
  async close(): Promise<B> {
    this.#assertOpen();
    this.#isClosed = true;
    await inTurn(this.#key, async () => {});
    return this.#blocks;
  }

  // P2: finds out whether what is on the blocks is this writer's own.
  async #look(): Promise<void> {
    const { state, generation, recovered } = await this.#record.read();
    const own = this.#own ?? generation;
    this.#own = own;
    if (generation > own) {
      // Bytes equal to the ones that could not be acknowledged are this writer's, or say what they say.
      const isAttempt = this.#attempt !== undefined && state !== undefined;
      if (!isAttempt || !areEqual(state, this.#attempt as Uint8Array)) {
        this.#isStale = true;
        throw this.#stale(generation);
      }
      this.#own = generation;
    }
    // One below, beside a damaged slot, is a fallback (R4). Otherwise an acknowledged write was undone.
    else if (generation < own && (recovered === undefined || generation < own - 1))
      throw new FabricError("CORRUPT_RECORD", "Cannot write the record: it went back", {
        generation,
        acknowledged: own,
      });
  }

  #assertOpen(): void {
    if (this.#isClosed)
      throw new FabricError("DISCONNECTED", "Cannot use the record: its blocks were given back", {
        generation: this.generation,
      });
  }

  #assertFresh(): void {
    if (this.#isStale) throw this.#stale(undefined);
  }

  #stale(found: number | undefined): FabricError {
    return new FabricError("STALE_EPOCH", "Cannot write the record: another has written it since", {
      generation: this.generation,
      ...(found === undefined ? {} : { found }),
    });
  }
}

/** Reads records that others write. It changes nothing, and makes no writer stale. */
export class FencedRecordReader {
  readonly #record: TwoSlotRecord;
  /** What tells the record from others. */
  readonly key: RecordKey;
  readonly #kind: string;

  constructor(blocks: RecordBlocks, kind: string) {
    this.#record = new TwoSlotRecord(blocks);
    this.key = keyOf(blocks);
    this.#kind = kind;
  }

  /** The newest value. @throws FabricError `CORRUPT_RECORD`, `DECODE`. */
  async read(): Promise<FencedReading> {
    for (let look = 1; ; look++) {
      const isLast = look === looksMax;
      try {
        const reading = await inTurn(this.key, () => this.#record.read());
        if (isLast || reading.recovered === undefined) return open(reading, this.#kind);
      } catch (error) {
        if (isLast || !isCorrupt(error)) throw error;
      }
    }
  }
}

function open(reading: FencedReading, kind: string): FencedReading {
  const { state } = reading;
  if (state === undefined) return reading;
  let found = "";
  for (const byte of state.subarray(0, kindBytes)) found += String.fromCharCode(byte);
  if (found !== kind)
    throw new FabricError("DECODE", `Cannot read the record: it is of another kind`, {
      expected: kind,
      found,
    });
  return { ...reading, state: state.slice(kindBytes) };
}

function isCorrupt(error: unknown): boolean {
  return isFabricError(error) && error.code === "CORRUPT_RECORD";
}

function areEqual(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, index) => byte === b[index]);
}
