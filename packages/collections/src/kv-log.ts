/**
 * The cold tier: batches of records appended to one half of a block lease, until it is full and what is live goes to the
 * other half. A two-slot record in the first two blocks, the head, says which half counts.
 *
 * J1: a batch that was appended is read again. `append` resolves after the device has flushed it, and a block that was
 * flushed is not written to again before its half is begun anew.
 * J2: after a crash at any moment every batch that was appended is there, and of the one that was being appended
 * either all or nothing. Blocks are written whole or not at all, and a batch counts once all of its blocks are there.
 * J3: what is damaged is told. In the half that counts a block is blank, or whole and in its place; a whole one is of this
 * epoch or an older one; after a missing batch comes none later. Anything else is `CORRUPT_RECORD`. So is a batch
 * missing that the head knows of. What remains: if the blocks of the very last batches are all replaced by blank or old
 * ones, and nobody has synced the head since, then they look like blocks that were never written.
 *
 * J4: nothing is believed that is not durable. What is read may be what a process wrote that died before its flush, and
 * power can still take it: so opening flushes before it reads, and the head counts only batches that are flushed.
 *
 * Epochs and lives are generations of the head, so no two attempts at anything share one (R3): a batch that was left
 * half written by one life is not completed by the next.
 *
 * Why falling back to the head's older slot loses nothing: (1) before the other half is written to, the head is written
 * once more, naming the half that counts; both slots then name it. (2) After the switch, if the newer slot is lost, the
 * older one names a half that is still whole; and if a batch was appended to the new half since, its blocks say so by
 * their epoch, and kind log: then that half counts.
 */
import {
  BLOCK_BYTES,
  FabricError,
  invalidArgument,
  TwoSlotRecord,
  type RecordBlocks,
} from "@selvage/fabric";
import {
  blocksFor,
  encodeBatch,
  getCount,
  PAYLOAD_BYTES,
  payloadOf,
  readMark,
  setCount,
  type BlockMark,
} from "./kv-block.ts";

/** What the cold tier needs of a block lease. */
export interface ColdBlocks extends RecordBlocks {
  /** Tells these blocks from others. */
  readonly leaseId?: string;
  /** Throws once the lease has ended. */
  assertLive(): void;
}

/** The least lease that a store takes, in blocks: a head, and two halves of 16. */
const blocksMin = 34;

/** A batch, as it was found. */
export interface FoundBatch {
  /** Position of its first block. */
  readonly first: number;
  readonly payload: Uint8Array<ArrayBuffer>;
}

/** Takes a batch; the next one comes when it is done. */
export type BatchReader = (batch: FoundBatch) => void | Promise<void>;

/** Which half counts, and what is known of it. */
interface Head {
  readonly area: 0 | 1;
  readonly epoch: number;
  /** Batches that were in it when the head was written. */
  readonly batches: number;
}

const headBlocks = 2;
const headBytes = 24;
const headVersion = 1;
/** Later ones are generations of the head, which are 3 and up: the first two are its first writes. */
const firstEpoch = 1;
/** Blocks read at a time while a half is gone through. */
const scanBlocks = 64;

/** The log of one store. One call at a time; `read` may go beside any other. */
export class ColdLog {
  readonly #blocks: ColdBlocks;
  readonly #head: TwoSlotRecord;
  readonly #areaBlocks: number;
  #current: Head = { area: 0, epoch: firstEpoch, batches: 0 };
  #life = 0;
  /** Batches in the half, and where the next one goes, in blocks from the half's first. */
  #batches = 0;
  #next = 0;
  #recovered = false;

  private constructor(blocks: ColdBlocks) {
    if (!Number.isInteger(blocks.numBlocks) || blocks.numBlocks < blocksMin)
      throw invalidArgument("block", `a lease of at least ${blocksMin} blocks`, blocks.numBlocks);
    this.#blocks = blocks;
    this.#head = new TwoSlotRecord({
      numBlocks: headBlocks,
      readInto: (index, target) => blocks.readInto(index, target),
      write: (index, bytes) => blocks.write(index, bytes),
      flush: () => blocks.flush(),
    });
    this.#areaBlocks = Math.floor((blocks.numBlocks - headBlocks) / 2);
  }

  /**
   * Opens the log on `blocks`, and calls `each` with every batch in order; `create` begins one where there is none.
   * @throws FabricError `NOT_FOUND` (there is none), `CORRUPT_RECORD`, `INVALID_ARGUMENT` (too few blocks), what the
   * blocks throw.
   */
  static async open(blocks: ColdBlocks, create: boolean, each: BatchReader): Promise<ColdLog> {
    const log = new ColdLog(blocks);
    // J4: nobody else writes, so what is read from here on is what was flushed here.
    await blocks.flush();
    const { state, recovered } = await log.#head.read();
    log.#recovered = recovered !== undefined;
    if (state === undefined) await log.#begin(create);
    else await log.#resume(decodeHead(state), each);
    return log;
  }

  /** Blocks of one half. */
  get areaBlocks(): number {
    return this.#areaBlocks;
  }

  /** Blocks left for batches. */
  get blocksLeft(): number {
    return this.#areaBlocks - this.#next;
  }

  /** Rises whenever places change: what was read at a place under another epoch is something else. */
  get epoch(): number {
    return this.#current.epoch;
  }

  /** True if the head was found damaged, and the log is complete all the same. */
  get recovered(): boolean {
    return this.#recovered;
  }

  /** Appends a batch; resolves with the position of its first block once it is durable (J1). There must be room. */
  async append(payload: Uint8Array): Promise<number> {
    const { area, epoch } = this.#current;
    const first = this.#firstOf(area) + this.#next;
    const batch = this.#batches + 1;
    const mark = { epoch, life: this.#life, batch, isImage: false };
    await this.#blocks.write(first, encodeBatch(payload, first, mark));
    await this.#blocks.flush();
    this.#batches = batch;
    this.#next += blocksFor(payload.length);
    return first;
  }

  /** Tells the head how many batches there are: from now on their loss is noticed, all of it (J3). */
  async sync(): Promise<void> {
    if (this.#current.batches === this.#batches) return;
    await this.#writeHead({ ...this.#current, batches: this.#batches });
  }

  /**
   * Begins the other half with the batches that `produce` emits, and switches to it, in one step: a crash leaves the one
   * half or the other. `emit` resolves with the position of a batch's first block. If `produce` fails, nothing has changed.
   * `switched` is called at the very moment at which places are those of the new half.
   * @throws FabricError what the blocks and `produce` throw.
   */
  async rewrite(
    produce: (emit: (payload: Uint8Array) => Promise<number>) => Promise<void>,
    switched: () => void,
  ): Promise<void> {
    // The other half is not touched before both slots name this one; and what goes there has an epoch of its own.
    const epoch = await this.#writeHead({ ...this.#current, batches: this.#batches });
    const area = this.#current.area === 0 ? 1 : 0;
    let next = 0;
    let batches = 0;
    await produce(async (payload) => {
      const count = blocksFor(payload.length);
      if (next + count > this.#areaBlocks)
        throw new FabricError("CAPACITY_EXCEEDED", "Cannot compact the store: it does not fit", {
          blocks: next + count,
          areaBlocks: this.#areaBlocks,
        });
      const first = this.#firstOf(area) + next;
      const mark = { epoch, life: epoch, batch: batches + 1, isImage: true };
      await this.#blocks.write(first, encodeBatch(payload, first, mark));
      next += count;
      batches++;
      return first;
    });
    await this.#blocks.flush();
    const head: Head = { area, epoch, batches };
    await this.#head.write(encodeHead(head));
    this.#current = head;
    this.#next = next;
    this.#batches = batches;
    this.#life = epoch;
    switched();
  }

  /** Goes through the batches of the half that counts, in order. @throws FabricError `CORRUPT_RECORD`, what the blocks throw. */
  async replay(each: BatchReader): Promise<void> {
    await this.#scan({ ...this.#current, batches: this.#batches }, each);
  }

  /**
   * `length` bytes from byte `offset` of the batch that begins at block `first`.
   * @throws FabricError `CORRUPT_RECORD` (they are not there, or damaged), what the blocks throw.
   */
  async read(first: number, offset: number, length: number): Promise<Uint8Array<ArrayBuffer>> {
    const { epoch } = this.#current;
    const target = new Uint8Array(length);
    const from = Math.floor(offset / PAYLOAD_BYTES);
    const to = length === 0 ? from : Math.floor((offset + length - 1) / PAYLOAD_BYTES);
    const bytes = new Uint8Array((to - from + 1) * BLOCK_BYTES);
    await this.#blocks.readInto(first + from, bytes);
    let filled = 0;
    for (let index = from; index <= to; index++) {
      const at = (index - from) * BLOCK_BYTES;
      const mark = readMark(bytes, at, first + index);
      if (typeof mark === "string" || mark.epoch !== epoch || mark.index !== index)
        throw corrupt("a block of a value is damaged", first + index);
      const skip = filled === 0 ? offset - index * PAYLOAD_BYTES : 0;
      const part = payloadOf(bytes, at, mark).subarray(skip, skip + length - filled);
      target.set(part, filled);
      filled += part.length;
    }
    if (filled < length) throw corrupt("a value ends before its end", first);
    return target;
  }

  async #begin(create: boolean): Promise<void> {
    // A lease that nobody has used, or a head whose first write was torn: then the halves are blank.
    const { newest } = await this.#survey(0, () => true);
    const { newest: other } = await this.#survey(1, () => true);
    if (newest + other > 0) throw corrupt("its head is lost", 0);
    if (!create)
      throw new FabricError("NOT_FOUND", "Cannot open the store: there is none on these blocks");
    // Twice: from now on either slot is enough.
    const head: Head = { area: 0, epoch: firstEpoch, batches: 0 };
    await this.#writeHead(head);
    this.#life = await this.#writeHead(head);
  }

  async #resume(head: Head, each: BatchReader): Promise<void> {
    const other = head.area === 0 ? 1 : 0;
    if (this.#recovered) {
      const { newest } = await this.#survey(
        other,
        ({ epoch, isImage }) => epoch > head.epoch && !isImage,
      );
      if (newest > 0) head = { area: other, epoch: newest, batches: 0 };
    }
    const { batches, next } = await this.#scan(head, each);
    this.#batches = batches;
    this.#next = next;
    // A life of its own; and where a slot was damaged, both are whole again.
    this.#life = await this.#writeHead({ ...head, batches });
  }

  /** The highest epoch of the blocks of a half that `counts`; 0 if there are none. */
  async #survey(
    area: 0 | 1,
    counts: (mark: BlockMark) => boolean,
  ): Promise<{ readonly newest: number }> {
    let newest = 0;
    await this.#eachBlock(area, (mark) => {
      if (typeof mark !== "string" && counts(mark)) newest = Math.max(newest, mark.epoch);
    });
    return { newest };
  }

  async #scan(head: Head, each: BatchReader): Promise<Scan> {
    const scan = new Scan(head.epoch, this.#firstOf(head.area));
    await this.#eachBlock(
      head.area,
      (mark, payload, position) => scan.meet(mark, payload, position),
      async () => {
        for (const batch of scan.found.splice(0)) await each(batch);
      },
    );
    if (scan.batches < head.batches)
      throw corrupt(
        `it has ${scan.batches} batches, and had ${head.batches}`,
        this.#firstOf(head.area) + scan.next,
      );
    return scan;
  }

  async #eachBlock(
    area: 0 | 1,
    each: (mark: BlockMark | "blank" | "damaged", payload: Uint8Array, position: number) => void,
    afterSome: () => Promise<void> = async () => {},
  ): Promise<void> {
    for (let from = 0; from < this.#areaBlocks; from += scanBlocks) {
      const count = Math.min(scanBlocks, this.#areaBlocks - from);
      const bytes = new Uint8Array(count * BLOCK_BYTES);
      const first = this.#firstOf(area) + from;
      await this.#blocks.readInto(first, bytes);
      for (let index = 0; index < count; index++) {
        const mark = readMark(bytes, index * BLOCK_BYTES, first + index);
        const payload =
          typeof mark === "string"
            ? bytes.subarray(0, 0)
            : payloadOf(bytes, index * BLOCK_BYTES, mark);
        each(mark, payload, first + index);
      }
      await afterSome();
    }
  }

  async #writeHead(head: Head): Promise<number> {
    const generation = await this.#head.write(encodeHead(head));
    this.#current = head;
    return generation;
  }

  #firstOf(area: 0 | 1): number {
    return headBlocks + area * this.#areaBlocks;
  }
}

/** Goes through a half block by block, and puts batches together (J2, J3). */
class Scan {
  batches = 0;
  /** Where the last whole batch ends, in blocks from the half's first. */
  next = 0;
  /** The batches found since somebody took them away. */
  readonly found: FoundBatch[] = [];
  readonly #epoch: number;
  readonly #first: number;
  // The batch that is being put together.
  #parts: Uint8Array[] = [];
  #began: BlockMark | undefined;
  #life = 0;
  #wasLog = false;
  #isOver = false;

  constructor(epoch: number, first: number) {
    this.#epoch = epoch;
    this.#first = first;
  }

  meet(mark: BlockMark | "blank" | "damaged", payload: Uint8Array, position: number): void {
    if (mark === "damaged") throw corrupt("a block is damaged", position);
    if (mark !== "blank" && mark.epoch > this.#epoch)
      throw corrupt("a block is newer than its head", position);
    if (!this.#isOver && mark !== "blank" && this.#continues(mark))
      this.#take(mark, payload, position);
    else this.#pass(mark, position);
  }

  #continues(mark: BlockMark): boolean {
    const began = this.#began;
    if (mark.epoch !== this.#epoch || mark.batch !== this.batches + 1) return false;
    if (began === undefined)
      return mark.index === 0 && mark.life >= this.#life && !(mark.isImage && this.#wasLog);
    return (
      mark.index === this.#parts.length &&
      mark.life === began.life &&
      mark.count === began.count &&
      mark.payloadBytes === began.payloadBytes &&
      mark.isImage === began.isImage
    );
  }

  #take(mark: BlockMark, payload: Uint8Array, position: number): void {
    this.#began ??= mark;
    this.#parts.push(payload.slice());
    if (this.#parts.length < mark.count) return;
    const whole = new Uint8Array(mark.payloadBytes);
    let filled = 0;
    for (const part of this.#parts) {
      whole.set(part, filled);
      filled += part.length;
    }
    if (filled !== whole.length) throw corrupt("a batch is not as long as it says", position);
    this.batches++;
    this.next += mark.count;
    this.#life = mark.life;
    this.#wasLog = !mark.isImage;
    this.#began = undefined;
    this.#parts = [];
    this.found.push({ first: position - mark.count + 1, payload: whole });
  }

  // The log is over. What comes is blank, of an older epoch, or of the batch that was being appended.
  #pass(mark: BlockMark | "blank", position: number): void {
    this.#isOver = true;
    this.#parts = [];
    if (mark === "blank" || mark.epoch < this.#epoch) return;
    if (mark.batch > this.batches + 1)
      throw corrupt(`batch ${this.batches + 1} is missing`, this.#first + this.next);
    // A later life writes its batches over what an earlier one left, so what is left here is no newer than what counts ...
    if (mark.batch === this.batches + 1 || mark.life < this.#life) return;
    // ... and a batch that counts has no second copy.
    throw corrupt("a block is not in its place", position);
  }
}

function encodeHead({ area, epoch, batches }: Head): Uint8Array {
  const bytes = new Uint8Array(headBytes);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, headVersion, true);
  view.setUint32(4, area, true);
  setCount(view, 8, epoch);
  view.setUint32(16, batches, true);
  return bytes;
}

function decodeHead(bytes: Uint8Array<ArrayBuffer>): Head {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (bytes.length !== headBytes || view.getUint32(0, true) !== headVersion)
    throw corrupt("the blocks hold something else", 0);
  const area = view.getUint32(4, true);
  if (area !== 0 && area !== 1) throw corrupt("its head names no half", 0);
  return { area, epoch: getCount(view, 8), batches: view.getUint32(16, true) };
}

function corrupt(why: string, block: number): FabricError {
  return new FabricError("CORRUPT_RECORD", `Cannot read the store: ${why}`, { why, block });
}
