/** Blocks that lose power at any step, and every state that may then be found on them. */
import { BLOCK_BYTES, type RecordBlocks } from "@selvage/fabric";

interface Sector {
  readonly index: number;
  readonly bytes: Uint8Array;
}

/**
 * Blocks whose writes are kept for sure only by a flush. Each sector written and each flush is a step; power is lost
 * before the step of number `powerSteps`, and everything fails from then on.
 */
export class CrashDisk implements RecordBlocks {
  readonly numBlocks: number;
  /** As it reads now. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  #durable: Uint8Array<ArrayBuffer>;
  #pending: Sector[] = [];
  #steps = 0;
  /** Flushes so far, tried or done. */
  flushes = 0;
  powerSteps: number;
  /** Fails so many flushes to come, after which nothing that was written before is sure. */
  failFlushes = 0;

  constructor(bytes: Uint8Array<ArrayBuffer>, powerSteps: number = Infinity) {
    this.numBlocks = bytes.length / BLOCK_BYTES;
    this.bytes = bytes.slice();
    this.#durable = bytes.slice();
    this.powerSteps = powerSteps;
  }

  static blank(numBlocks: number): CrashDisk {
    return new CrashDisk(new Uint8Array(numBlocks * BLOCK_BYTES));
  }

  /**
   * The blocks as the next process finds them, when this one was killed and power stayed: what is not flushed can be
   * read, and is as unsure as before. The steps count anew.
   */
  successor(powerSteps: number = Infinity): CrashDisk {
    const next = new CrashDisk(this.bytes, powerSteps);
    next.#durable = this.#durable.slice();
    next.#pending = [...this.#pending];
    return next;
  }

  get isOff(): boolean {
    return this.#steps > this.powerSteps;
  }

  async readInto(index: number, target: Uint8Array): Promise<void> {
    this.#assertOn();
    target.set(this.bytes.subarray(index * BLOCK_BYTES, index * BLOCK_BYTES + target.length));
  }

  async write(index: number, bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length; at += BLOCK_BYTES) {
      this.#step();
      const sector = { index: index + at / BLOCK_BYTES, bytes: bytes.slice(at, at + BLOCK_BYTES) };
      this.bytes.set(sector.bytes, sector.index * BLOCK_BYTES);
      this.#pending.push(sector);
      // Others may come between two sectors.
      await Promise.resolve();
    }
  }

  async flush(): Promise<void> {
    this.#step();
    this.flushes++;
    if (this.failFlushes > 0) {
      this.failFlushes--;
      throw new Error("fsync failed");
    }
    this.#durable.set(this.bytes);
    this.#pending = [];
  }

  /** What may be found once the power is back: each set of the unflushed sectors, and the last one also half written. */
  *images(): Generator<Uint8Array<ArrayBuffer>> {
    const count = this.#pending.length;
    for (let kept = 0; kept < 2 ** count; kept++) {
      const image = this.#durable.slice();
      for (const [at, { index, bytes }] of this.#pending.entries())
        if ((kept & (1 << at)) !== 0) image.set(bytes, index * BLOCK_BYTES);
      yield image;
      const last = this.#pending.at(-1);
      if (last === undefined || (kept & (1 << (count - 1))) !== 0) continue;
      const torn = image.slice();
      torn.set(last.bytes.subarray(0, BLOCK_BYTES / 2), last.index * BLOCK_BYTES);
      yield torn;
    }
  }

  #step(): void {
    this.#assertOn();
    if (this.#steps++ >= this.powerSteps) this.#assertOn();
  }

  #assertOn(): void {
    if (this.isOff) throw new Error("power lost");
  }
}

/** A state after power was lost, and what had been acknowledged by then. */
export interface CrashState<A> {
  readonly image: Uint8Array<ArrayBuffer>;
  readonly acknowledged: readonly A[];
}

/**
 * Runs `operations` on `image` once for each step at which power may go, and once to the end, and gives every state
 * that may be found then. `operations` says what is acknowledged to it.
 */
export async function* crashStates<A>(
  image: Uint8Array<ArrayBuffer>,
  operations: (disk: CrashDisk, acknowledge: (what: A) => void) => Promise<void>,
): AsyncGenerator<CrashState<A>> {
  for (let steps = 0; ; steps++) {
    const disk = new CrashDisk(image, steps);
    const acknowledged: A[] = [];
    try {
      await operations(disk, (what) => acknowledged.push(what));
    } catch (error) {
      if (!disk.isOff) throw error;
    }
    for (const found of disk.images()) yield { image: found, acknowledged };
    if (!disk.isOff) return;
  }
}
