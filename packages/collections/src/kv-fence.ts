/**
 * K4: of several stores on one block lease the one that was opened last goes on; from then on the others acknowledge
 * nothing. Opening writes the log's head, under a generation of its own (R3). Before a store writes or acknowledges it
 * looks at the head: a newer generation than its own is another store's, and this one is stale for good. Looking and
 * what follows are one step, and so is opening, for all handles to a lease: they live on one thread, and take turns (T1).
 */
import { FabricError, TwoSlotRecord, type RecordBlocks } from "@selvage/fabric";
import { inTurn, keyOf, type RecordKey } from "@selvage/fence";

/** The log's head is a two-slot record on so many blocks, its first. */
const headBlocks = 2;

/** What turns a store away that another has replaced. */
export class StoreFence {
  readonly #head: TwoSlotRecord;
  readonly #key: RecordKey;
  /** The generation of the head that this store has written last. */
  #own = 0;

  constructor(blocks: RecordBlocks) {
    this.#key = keyOf(blocks);
    this.#head = new TwoSlotRecord({
      numBlocks: headBlocks,
      readInto: (index, target) => blocks.readInto(index, target),
      write: (index, bytes) => blocks.write(index, bytes),
      flush: () => blocks.flush(),
    });
  }

  /** Runs `open`, which writes the head: every other store on the blocks is stale once it has. */
  async opening<T>(open: () => Promise<T>): Promise<T> {
    return inTurn(this.#key, async () => {
      const opened = await open();
      this.#own = await this.#generation();
      return opened;
    });
  }

  /**
   * Runs `step` if no other store has been opened since. Two blocks are read; two more if the step `writesHead`.
   * @throws FabricError `STALE_EPOCH` (another has been opened), `CORRUPT_RECORD`, what `step` and the blocks throw.
   */
  async guard<T>(step: () => Promise<T>, writesHead: boolean): Promise<T> {
    return inTurn(this.#key, async () => {
      await this.#look();
      try {
        return await step();
      } finally {
        // Also after a failure: the head may have been written before it. If it cannot be read, it counts as it was.
        if (writesHead) this.#own = await this.#generation().catch(() => this.#own);
      }
    });
  }

  async #look(): Promise<void> {
    const { generation, recovered } = await this.#head.read();
    if (generation > this.#own)
      throw new FabricError(
        "STALE_EPOCH",
        "Cannot use the store: another was opened on its blocks",
        {
          generation: this.#own,
          found: generation,
        },
      );
    // Beside a damaged slot a lower one is what is left of this store's own.
    if (generation < this.#own && recovered === undefined)
      throw new FabricError("CORRUPT_RECORD", "Cannot use the store: its head went back", {
        generation,
        acknowledged: this.#own,
      });
  }

  async #generation(): Promise<number> {
    return (await this.#head.read()).generation;
  }
}
