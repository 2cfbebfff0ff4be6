/** Blocks that lose power: of the sectors that were not flushed, any may have arrived. */
import { BLOCK_BYTES } from "@selvage/fabric";
import type { ColdBlocks } from "@selvage/collections";

/** What is on the blocks after a crash, as a choice among the sectors that were in flight. */
export interface Wreck {
  readonly durable: Uint8Array<ArrayBuffer>;
  /** Sectors that were written and not flushed, in their order. */
  readonly inFlight: readonly (readonly [block: number, bytes: Uint8Array])[];
}

/** Thrown by everything from the crash on. */
export class PowerLoss extends Error {}

/** Blocks in memory that count their operations and fail from one of them on. */
export class CrashingBlocks implements ColdBlocks {
  readonly numBlocks: number;
  /** Writes and flushes so far. */
  operations = 0;
  reads = 0;
  /** The operation that the power fails in; its sectors are in flight. */
  failAt = Infinity;
  /** Thrown by the operation `failAt`, and by it alone; undefined: power is lost for good. */
  fault: Error | undefined;
  #durable: Uint8Array<ArrayBuffer>;
  readonly #inFlight: (readonly [block: number, bytes: Uint8Array])[] = [];

  constructor(from: number | Uint8Array) {
    this.#durable =
      typeof from === "number" ? new Uint8Array(from * BLOCK_BYTES) : new Uint8Array(from);
    this.numBlocks = this.#durable.length / BLOCK_BYTES;
  }

  /**
   * The blocks as the next process finds them, when this one was killed and power stayed: what was in flight can be read,
   * and power can still take any of it. The operations count anew.
   */
  successor(): CrashingBlocks {
    const next = new CrashingBlocks(this.#durable);
    next.#inFlight.push(...this.#inFlight);
    return next;
  }

  /** What is there if power is lost now. */
  wreck(): Wreck {
    return { durable: this.#durable.slice(), inFlight: [...this.#inFlight] };
  }

  assertLive(): void {}

  async readInto(index: number, target: Uint8Array): Promise<void> {
    this.reads++;
    await Promise.resolve();
    for (let at = 0; at < target.length; at += BLOCK_BYTES) {
      const block = index + at / BLOCK_BYTES;
      if (block >= this.numBlocks) throw new Error(`beyond the blocks: ${block}`);
      const from = block * BLOCK_BYTES;
      target.set(this.#newest(block) ?? this.#durable.subarray(from, from + BLOCK_BYTES), at);
    }
  }

  async write(index: number, bytes: Uint8Array): Promise<void> {
    this.#begin(() => this.#land(index, bytes));
    await Promise.resolve();
    this.#land(index, bytes);
  }

  async flush(): Promise<void> {
    this.#begin();
    await Promise.resolve();
    for (const [block, bytes] of this.#inFlight) this.#durable.set(bytes, block * BLOCK_BYTES);
    this.#inFlight.length = 0;
  }

  #newest(block: number): Uint8Array | undefined {
    return this.#inFlight.findLast(([index]) => index === block)?.[1];
  }

  #land(index: number, bytes: Uint8Array): void {
    if (
      bytes.length % BLOCK_BYTES !== 0 ||
      index * BLOCK_BYTES + bytes.length > this.#durable.length
    )
      throw new Error(`beyond the blocks: ${index}`);
    for (let at = 0; at < bytes.length; at += BLOCK_BYTES)
      this.#inFlight.push([index + at / BLOCK_BYTES, bytes.slice(at, at + BLOCK_BYTES)]);
  }

  #begin(onCrash: () => void = () => {}): void {
    const operation = this.operations++;
    if (operation < this.failAt) return;
    if (this.fault !== undefined && operation > this.failAt) return;
    if (operation === this.failAt) onCrash();
    throw this.fault ?? new PowerLoss(`in operation ${operation}`);
  }
}

/** The blocks after a crash that only the sectors chosen survived: bit `i` of `choice` for the i-th. */
export function afterCrash({ durable, inFlight }: Wreck, choice: number): Uint8Array<ArrayBuffer> {
  const bytes = durable.slice();
  for (const [index, [block, sector]] of inFlight.entries())
    if (Math.floor(choice / 2 ** index) % 2 === 1) bytes.set(sector, block * BLOCK_BYTES);
  return bytes;
}

/** Every choice there is, or `most` of them spread over all, none and all among them. */
export function choicesOf({ inFlight }: Wreck, most: number): number[] {
  const all = 2 ** inFlight.length;
  if (all <= most) return Array.from({ length: all }, (_, choice) => choice);
  const step = (all - 1) / (most - 1);
  return Array.from({ length: most }, (_, index) => Math.round(index * step));
}
