/**
 * The lease table of a block file: which lease slot holds which blocks until when, as a crash would find it.
 *
 * One two-slot record a lease slot. Saving one costs two writes of 512 bytes and a share in one sync: what is saved while
 * a sync runs goes into the next batch.
 *
 * Invariant B1: the copy of a record that was last known durable is not written to before the other one is durable. So a
 * crash leaves the old entry or the new one.
 * Invariant B2: `save` resolves only after the sync: what was acknowledged is found again (reliability L2).
 * Invariant B3: every copy was written when the file was made, and fills its block. So a copy that cannot be read is
 * damage, never "nothing there yet", and is told. A slot with one readable copy goes on by that; a slot without any is
 * never used again.
 * Invariant B4: a record's own generation rises with each attempt to write it, also a failed one, whose bytes may be there.
 * Invariant B5: what `save` has acknowledged is in both copies: durable in one, and written to the other, which the next
 * sync makes durable. So a copy that is lost later takes nothing with it, and no lease ends early by an older deadline;
 * unless a power cut had taken the other one's write before, or that write had failed. `isTwice` tells.
 */
import {
  blockFileImage,
  dataAt,
  decodeEntry,
  emptyEntry,
  encodeEntry,
  encodeSuperblock,
  readSuperblock,
  recordAt,
  superblockAt,
  type BlockEntry,
  type BlockFileShape,
  type EntryReading,
} from "./block-layout.ts";
import type { BlockStore } from "./block-store.ts";
import { FabricError, isFabricError } from "./errors.ts";
import { BLOCK_BYTES } from "./ports.ts";

/** A record of a block file that could not be read. */
export interface BlockDamage {
  /** The lease slot; -1 for the superblock. */
  readonly slot: number;
  /** `"recovered"`: one copy is lost, and the other, which may be the older, counts. `"lost"`: both are. */
  readonly kind: "recovered" | "lost";
  /** The copies that are lost. */
  readonly copies: readonly number[];
}

interface SlotState {
  entry: BlockEntry;
  /** Generation of the record's newest write, tried or done. */
  generation: number;
  /** The copy that holds the entry; -1 when neither does. */
  copy: number;
  /** True when the other copy holds the same (B5). */
  isTwice: boolean;
}

/** A copy of a record, written and not known durable yet. */
interface Written {
  readonly slot: number;
  readonly copy: number;
  readonly entry: BlockEntry;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

interface Batch {
  readonly entries: Map<number, BlockEntry>;
  /** Resolves with the slots that could not be written. */
  readonly done: Promise<ReadonlyMap<number, unknown>>;
}

/** How often a reader looks again at a copy that its writer may be writing. */
const readerLooks = 3;

/** The table, as its one writer or a reader has it. */
export class BlockTable {
  readonly shape: BlockFileShape;
  /** What could not be read when it was opened. */
  readonly damage: readonly BlockDamage[];
  readonly #store: BlockStore;
  readonly #states: SlotState[] = [];
  #next: Batch | undefined;
  #running: Promise<void> = Promise.resolve();
  #batches = 0;

  /** Reads the table. @throws FabricError `CORRUPT_RECORD` (no block file), `STORE_UNAVAILABLE`. */
  constructor(store: BlockStore) {
    this.#store = store;
    const { shape, damagedCopy } = readSuperblock((offset, target) =>
      store.readNow(offset, target),
    );
    this.shape = shape;
    const damage: BlockDamage[] = [];
    if (damagedCopy !== undefined)
      damage.push({ slot: -1, kind: "recovered", copies: [damagedCopy] });
    const bytes = new Uint8Array(2 * shape.slots * BLOCK_BYTES);
    store.readNow(recordAt(shape, 0, 0), bytes);
    for (let slot = 0; slot < shape.slots; slot++) {
      const copies = [0, 1].map((copy) => {
        const at = (copy * shape.slots + slot) * BLOCK_BYTES;
        return bytes.subarray(at, at + BLOCK_BYTES);
      });
      const { state, lost } = judge(shape, slot, copies);
      this.#states.push(state);
      if (lost.length > 0)
        damage.push({ slot, kind: lost.length === 2 ? "lost" : "recovered", copies: lost });
    }
    this.damage = damage;
  }

  /** What a new file is written with. */
  static image(shape: BlockFileShape): Uint8Array<ArrayBuffer> {
    return blockFileImage(shape);
  }

  /** Where the leased blocks begin, in bytes. */
  get dataAt(): number {
    return dataAt(this.shape);
  }

  /** The slot's entry as it was last known durable; undefined where it is lost. */
  entry(slot: number): BlockEntry | undefined {
    const state = this.#states[slot];
    return state === undefined || state.copy < 0 ? undefined : state.entry;
  }

  /** False where the slot's copies differ: then a save brings them together again, so that either may be lost (B5). */
  isTwice(slot: number): boolean {
    return this.#states[slot]?.isTwice ?? false;
  }

  /** True when nothing is being saved. */
  get isIdle(): boolean {
    return this.#next === undefined && this.#batches === 0;
  }

  /** Resolves once everything saved so far is, or has failed. */
  async drained(): Promise<void> {
    while (!this.isIdle) await this.#running;
  }

  /** How the slot was damaged when the table was opened. */
  damageOf(slot: number): BlockDamage | undefined {
    return this.damage.find((damage) => damage.slot === slot);
  }

  /**
   * Makes `entry` the slot's. Resolves once that survives a crash (B2). A later save of the same slot may take its place
   * before: then it resolves with that one.
   * @throws FabricError `STORE_UNAVAILABLE`; then a crash finds the old entry, or the new one.
   */
  async save(slot: number, entry: BlockEntry): Promise<void> {
    this.#next ??= this.#newBatch();
    this.#next.entries.set(slot, entry);
    const failed = await this.#next.done;
    if (failed.has(slot)) throw failed.get(slot);
  }

  /** Writes a lost copy of the superblock again, so that later damage of the other one loses nothing. */
  async mendSuperblock(): Promise<void> {
    const copy = this.damageOf(-1)?.copies[0];
    if (copy === undefined) return;
    await this.#store.write(superblockAt(copy), encodeSuperblock(this.shape));
    await this.#store.sync();
  }

  /** Reads one slot anew: what its writer has made of it meanwhile. */
  async reread(slot: number): Promise<BlockEntry> {
    for (let look = 1; ; look++) {
      const copies = [0, 1].map(() => new Uint8Array(BLOCK_BYTES));
      for (const [copy, bytes] of copies.entries())
        await this.#store.read(recordAt(this.shape, slot, copy), bytes);
      const entry = this.#take(slot, copies, look === readerLooks);
      if (entry !== undefined) return entry;
    }
  }

  /** As `reread`, at once. */
  rereadNow(slot: number): BlockEntry {
    for (let look = 1; ; look++) {
      const copies = [0, 1].map(() => new Uint8Array(BLOCK_BYTES));
      for (const [copy, bytes] of copies.entries())
        this.#store.readNow(recordAt(this.shape, slot, copy), bytes);
      const entry = this.#take(slot, copies, look === readerLooks);
      if (entry !== undefined) return entry;
    }
  }

  // A copy that cannot be read may be in the middle of being written: looked at again, a few times.
  #take(
    slot: number,
    copies: readonly Uint8Array<ArrayBuffer>[],
    isLast: boolean,
  ): BlockEntry | undefined {
    const { state, lost } = judge(this.shape, slot, copies);
    if (lost.length > 0 && !isLast) return undefined;
    if (state.copy < 0) throw lostSlot(slot);
    this.#states[slot] = state;
    return state.entry;
  }

  #newBatch(): Batch {
    const entries = new Map<number, BlockEntry>();
    const done = this.#commit(this.#running, entries);
    const over = (): void => void this.#batches--;
    this.#batches++;
    // One batch after the other, so that a slot's copies take turns.
    this.#running = done.then(over, over);
    return { entries, done };
  }

  async #commit(
    before: Promise<void>,
    entries: ReadonlyMap<number, BlockEntry>,
  ): Promise<ReadonlyMap<number, unknown>> {
    await before;
    // From here on, what is saved goes into the next batch.
    this.#next = undefined;
    const failed = new Map<number, unknown>();
    const written: Written[] = [];
    const writing = [...entries].map(async ([slot, entry]) => {
      try {
        written.push(await this.#write(slot, entry));
      } catch (thrown) {
        failed.set(slot, thrown);
      }
    });
    await Promise.all(writing);
    if (written.length > 0) await this.#store.sync();
    await Promise.all(written.map((one) => this.#writeTwice(one)));
    return failed;
  }

  // Writes the copy that does not count.
  async #write(slot: number, entry: BlockEntry): Promise<Written> {
    const state = this.#states[slot];
    if (state === undefined || state.copy < 0) throw lostSlot(slot);
    const copy = state.copy === 0 ? 1 : 0;
    // B4: counted before the write, whatever becomes of it.
    const generation = ++state.generation;
    const bytes = encodeEntry(this.shape, slot, generation, entry);
    state.isTwice = false;
    await this.#store.write(recordAt(this.shape, slot, copy), bytes);
    return { slot, copy, entry, bytes };
  }

  // Makes a copy that is durable count, and the other one the same (B5). Should that fail, the save has not.
  async #writeTwice({ slot, copy, entry, bytes }: Written): Promise<void> {
    const state = this.#states[slot] as SlotState;
    state.copy = copy;
    state.entry = entry;
    try {
      await this.#store.write(recordAt(this.shape, slot, copy === 0 ? 1 : 0), bytes);
      state.isTwice = true;
    } catch (thrown) {
      if (!isFabricError(thrown)) throw thrown;
    }
  }
}

function judge(
  shape: BlockFileShape,
  slot: number,
  copies: readonly Uint8Array<ArrayBuffer>[],
): { readonly state: SlotState; readonly lost: readonly number[] } {
  const [first, second] = copies.map((bytes) => decodeEntry(shape, slot, bytes));
  const lost = [first, second].flatMap((reading, copy) => (reading === undefined ? [copy] : []));
  const copy =
    first === undefined
      ? second === undefined
        ? -1
        : 1
      : second !== undefined && second.generation > first.generation
        ? 1
        : 0;
  const newest = copy === 1 ? second : first;
  if (newest === undefined)
    return { state: { entry: emptyEntry, generation: 0, copy: -1, isTwice: false }, lost };
  // B3: the lost copy may have been the newer one, of the next generation.
  const generation = newest.generation + (lost.length === 0 ? 0 : 1);
  // A new file's copies differ in their generations, and say the same.
  const isTwice = lost.length === 0 && isSame(first as EntryReading, second as EntryReading);
  return { state: { entry: newest.entry, generation, copy, isTwice }, lost };
}

function isSame(one: EntryReading, other: EntryReading): boolean {
  return one.generation === other.generation || one.generation + other.generation === 1;
}

/** The error of a lease slot whose record is lost. */
export function lostSlot(slot: number): FabricError {
  return new FabricError(
    "CORRUPT_RECORD",
    `Cannot tell who has lease slot ${slot}: neither copy of its record can be read`,
    { slot },
  );
}
