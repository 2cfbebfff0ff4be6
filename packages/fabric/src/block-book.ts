/**
 * What the disk is to know of every lease slot of a block file, and the way there: saving, teardown, cutting the file.
 *
 * Invariant D1: on the disk no block belongs to two leases: `free` is durable before its blocks are allocated again.
 * Invariant D2: blocks that no lease has are zero, also after a crash: an `ending` lease is wiped again from the start.
 * Invariant D3: the file is never cut below the end of a live lease, one being granted included: how far it may be cut is
 * found in the same turn in which the cut starts, and grants wait for a cut under way.
 */
import { emptyEntry, type BlockEntry } from "./block-layout.ts";
import type { BlockStore } from "./block-store.ts";
import type { BlockTable } from "./block-table.ts";
import { isFabricError } from "./errors.ts";
import { BLOCK_BYTES, type BlockDevice } from "./ports.ts";

/** How long what failed waits until it is tried again, in milliseconds. */
const retryAfterMs = 1_000;

/** The entries of one block file. */
export class BlockBook {
  readonly #table: BlockTable;
  readonly #store: BlockStore;
  readonly #device: BlockDevice;
  // As old as the table's entries, or newer.
  readonly #entries: BlockEntry[];
  #shrinking: Promise<void> = Promise.resolve();
  #isClosed = false;
  // What failed, waiting for another try.
  #stuck: (() => void)[] = [];
  #retryAtMs = 0;

  constructor(table: BlockTable, store: BlockStore, device: BlockDevice) {
    this.#table = table;
    this.#store = store;
    this.#device = device;
    const { slots } = table.shape;
    this.#entries = Array.from({ length: slots }, (_, slot) => table.entry(slot) ?? emptyEntry);
  }

  /** Every slot with its entry. */
  all(): [number, BlockEntry][] {
    return [...this.#entries.entries()];
  }

  /** A slot's entry; undefined for a slot that the file does not have. */
  at(slot: number): BlockEntry | undefined {
    return this.#entries[slot];
  }

  /** Sets a slot's entry, which is not on the disk before it is saved. */
  set(slot: number, entry: BlockEntry): void {
    this.#entries[slot] = entry;
  }

  /** Resolves once the slot's entry, or a later one, survives a crash. @throws FabricError `STORE_UNAVAILABLE`. */
  save(slot: number): Promise<void> {
    return this.#table.save(slot, this.#entries[slot] as BlockEntry);
  }

  /** As `save`, where nobody waits for the outcome. */
  begin(slot: number): void {
    this.save(slot).catch(() => {});
  }

  /** True once the slot's entry is on the disk. */
  isSaved(slot: number): boolean {
    return this.#table.entry(slot) === this.#entries[slot];
  }

  /** Saves a slot's entry, again and again until it is saved. False when that cannot be any more. */
  async saveInTheEnd(slot: number): Promise<boolean> {
    return this.#inTheEnd(() => this.save(slot));
  }

  /** Resolves once no cut is under way. */
  get uncut(): Promise<void> {
    return this.#shrinking;
  }

  /**
   * Makes an ended lease's blocks zero, then its slot free. Tries again until that is done. Never resolves once closed:
   * whoever opens the file next goes on with it.
   * @throws FabricError `STORE_UNAVAILABLE` once the store has failed for good.
   */
  async tearDown(slot: number): Promise<void> {
    if (!(await this.#inTheEnd(() => this.#tryTearDown(slot)))) await new Promise<never>(() => {});
  }

  /** Lets what failed be tried again, if it has waited long enough. */
  retry(nowMs: number): void {
    if (this.#stuck.length === 0 || nowMs < this.#retryAtMs) return;
    this.#retryAtMs = nowMs + retryAfterMs;
    for (const again of this.#stuck.splice(0)) again();
  }

  /** What fails from now on is not tried again. */
  close(): void {
    this.#isClosed = true;
  }

  async #inTheEnd(act: () => Promise<void>): Promise<boolean> {
    for (;;) {
      try {
        await act();
        return true;
      } catch (thrown) {
        if (this.#isClosed) return false;
        // A store that has failed for good mends no more; and what is no failure of the store is a fault of ours.
        if (this.#store.failure !== undefined || !isFabricError(thrown)) throw thrown;
        await new Promise<void>((resolve) => this.#stuck.push(resolve));
      }
    }
  }

  async #tryTearDown(slot: number): Promise<void> {
    const entry = this.#entries[slot] as BlockEntry;
    if (entry.phase === "ending") {
      if (!this.isSaved(slot)) await this.save(slot);
      // Blocks above every live lease are cut off; others are overwritten, and cut off when their turn has come. Where the
      // cut is made is known once it is made: a grant meanwhile raises it, and what is below has to be overwritten.
      const cutAt = entry.first >= this.#top() ? await this.#shrink() : Infinity;
      if (entry.first < cutAt) {
        await this.#device.zero(entry.first, entry.count);
        if (entry.first >= this.#top()) await this.#shrink();
      }
      await this.#store.sync();
      this.#entries[slot] = { ...entry, phase: "free" };
    }
    await this.save(slot);
  }

  // Where the highest live lease ends, in blocks.
  #top(): number {
    let top = 0;
    for (const { phase, first, count } of this.#entries)
      if (phase === "live") top = Math.max(top, first + count);
    return top;
  }

  // Cuts off what is above; gives the first block that is cut off.
  #shrink(): Promise<number> {
    const shrinking = this.#shrinking.then(async () => {
      const top = this.#top();
      await this.#store.truncate(this.#table.dataAt + top * BLOCK_BYTES);
      return top;
    });
    this.#shrinking = shrinking.then(
      () => {},
      () => {},
    );
    return shrinking;
  }
}
