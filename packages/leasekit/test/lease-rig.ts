/** Time, timers and blocks in a test's hands, for leases between machines. */
import type { Clock, Random, RecordBlocks, TimeSource, Timer } from "@selvage/fabric";

interface Due {
  atMs: number;
  readonly everyMs: number | undefined;
  readonly callback: () => void;
}

/** One machine's clocks and timers. They move when {@link Machine.pass} says so. */
export class Machine implements Clock, Timer, TimeSource, Random {
  readonly #due = new Set<Due>();
  #monotonicMs = 1_000;
  #wallMs = 1_700_000_000_000;
  #drawn = 0;

  nowMs(): number {
    return this.#monotonicMs;
  }

  monotonicMs(): number {
    return this.#monotonicMs;
  }

  wallMs(): number {
    return this.#wallMs;
  }

  /** Timers that are set. */
  get timers(): number {
    return this.#due.size;
  }

  after(delayMs: number, callback: () => void): () => void {
    return this.#set(delayMs, undefined, callback);
  }

  every(periodMs: number, callback: () => void): () => void {
    return this.#set(periodMs, periodMs, callback);
  }

  fill(words: Int32Array): void {
    for (let index = 0; index < words.length; index++) words[index] = ++this.#drawn;
  }

  /** Sets the wall clock, by so much. */
  step(ms: number): void {
    this.#wallMs += ms;
  }

  /** Both clocks count, and nothing else happens: the process stands still. */
  stall(ms: number): void {
    this.#monotonicMs += ms;
    this.#wallMs += ms;
  }

  /** Only the wall clock counts: the machine is suspended. */
  suspend(ms: number): void {
    this.#wallMs += ms;
  }

  /** Time passes, and timers ring when they are due. */
  async pass(ms: number): Promise<void> {
    const endMs = this.#monotonicMs + ms;
    await turns();
    for (;;) {
      const next = [...this.#due].toSorted((one, other) => one.atMs - other.atMs)[0];
      if (next === undefined || next.atMs > endMs) break;
      this.stall(Math.max(0, next.atMs - this.#monotonicMs));
      if (next.everyMs === undefined) this.#due.delete(next);
      else next.atMs = this.#monotonicMs + next.everyMs;
      next.callback();
      await turns();
    }
    this.stall(endMs - this.#monotonicMs);
  }

  #set(delayMs: number, everyMs: number | undefined, callback: () => void): () => void {
    const due: Due = { atMs: this.#monotonicMs + delayMs, everyMs, callback };
    this.#due.add(due);
    return () => void this.#due.delete(due);
  }
}

/** Lets every promise that can settle do so. */
export async function turns(): Promise<void> {
  for (let turn = 0; turn < 60; turn++) await Promise.resolve();
}

const blockBytes = 512;

/** Blocks in memory, of which only what was flushed survives {@link Blocks.crash}. */
export class Blocks implements RecordBlocks {
  readonly numBlocks: number;
  #bytes: Uint8Array;
  #durable: Uint8Array;
  /** What the next writes do first: wait, or throw. */
  onWrite: () => Promise<void> = async () => {};

  constructor(numBlocks = 8, bytes?: Uint8Array) {
    this.numBlocks = numBlocks;
    this.#durable = bytes ?? new Uint8Array(numBlocks * blockBytes);
    this.#bytes = this.#durable.slice();
  }

  async readInto(index: number, target: Uint8Array): Promise<void> {
    target.set(this.#bytes.subarray(index * blockBytes, index * blockBytes + target.length));
  }

  async write(index: number, bytes: Uint8Array): Promise<void> {
    await this.onWrite();
    this.#bytes.set(bytes, index * blockBytes);
  }

  async flush(): Promise<void> {
    this.#durable = this.#bytes.slice();
  }

  /** The blocks as the next process finds them after a power cut. */
  crash(): Blocks {
    return new Blocks(this.numBlocks, this.#durable);
  }
}
