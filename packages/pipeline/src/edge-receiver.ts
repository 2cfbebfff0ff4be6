/**
 * The consumer's end of an edge: which item comes next, what is dropped because it was seen, and what is acknowledged.
 *
 * Invariant E3: items are delivered in the order of their numbers, none twice by one consumer; a number that is left out
 * is told as lost.
 */
import type { FabricQueue, FirstValue, RingNotes } from "@selvage/collections";
import type { LostItems } from "./edge-events.ts";

/** Acknowledgements go out with so many items, and whenever the ring is empty. */
const batch = 16;

/** What a receiver tells of. */
export interface ReceiverEars {
  readonly dropped: (count: number) => void;
  readonly lost: (items: LostItems) => void;
}

/** The consumer's end. */
export class EdgeReceiver<T> {
  readonly #isManual: boolean;
  readonly #ears: ReceiverEars;
  #queue: FabricQueue<T>;
  #notes: RingNotes;
  // Number of the ring's first item; how many were taken from it, and how many of those are acknowledged.
  #first = 0;
  #taken = 0;
  #acknowledged = 0;
  #told = 0;
  // How many of the next ones are dropped.
  #seen = 0;
  #dropping = 0;
  // The next item's number, as of the last ring.
  #expected: number;
  dropped = 0;
  lost = 0;
  hasUnknownLoss = false;
  delivered = 0;

  /** Goes on with a ring that is there: `from` is the first item that was not dealt with, or what the ring says. */
  constructor(
    queue: FabricQueue<T>,
    from: number | undefined,
    isManual: boolean,
    ears: ReceiverEars,
  ) {
    this.#queue = queue;
    this.#isManual = isManual;
    this.#ears = ears;
    this.#notes = queue.notes();
    const first = this.#notes.first() ?? { number: 0, isAnew: false };
    this.#expected = from ?? first.number + this.#notes.acknowledged;
    this.#join(first, this.#notes.popped, this.#notes.acknowledged);
  }

  /** Whether items that this end needs have been taken from the ring by another. */
  get isBehind(): boolean {
    return this.#expected < this.#first + this.#taken;
  }

  /** Number of the last item that was popped; -1 before the first. */
  get sequence(): number {
    return this.#first + this.#taken - 1;
  }

  /** Number of the next item. */
  get expected(): number {
    return Math.max(this.#expected, this.#first + this.#taken);
  }

  /** Whether the stream is over: closed for good, and nothing left. */
  get isOver(): boolean {
    return this.#queue.isClosed && this.#notes.isEnded && this.#queue.size === 0;
  }

  /** Whether the ring takes nothing more, and is empty: another follows. */
  get isSealed(): boolean {
    return this.#queue.isClosed && this.#queue.size === 0;
  }

  /** The next item; undefined when there is none. Errors as `FabricQueue.pop`. */
  pop(): T | undefined {
    if (!this.#isManual) this.#acknowledged = this.#taken;
    for (;;) {
      let value: T | undefined;
      try {
        value = this.#queue.pop();
      } catch (error) {
        if ((error as { code?: unknown }).code === "DECODE") this.#taken++;
        throw error;
      }
      if (value === undefined) {
        this.tell();
        return undefined;
      }
      this.#taken++;
      if (this.#seen === 0) {
        if (this.#acknowledged - this.#told >= batch) this.tell();
        this.delivered++;
        return value;
      }
      this.#drop();
    }
  }

  /** As `pop`, to the front of `target`: the item's bytes, or -1. */
  popInto(target: Uint8Array): number {
    if (!this.#isManual) this.#acknowledged = this.#taken;
    for (;;) {
      const bytes = this.#queue.popInto(target);
      if (bytes < 0) {
        this.tell();
        return -1;
      }
      this.#taken++;
      if (this.#seen === 0) {
        if (this.#acknowledged - this.#told >= batch) this.tell();
        this.delivered++;
        return bytes;
      }
      this.#drop();
    }
  }

  /** Has dealt with all items up to number `sequence`. False where that is no item of this ring. */
  acknowledge(sequence: number): boolean {
    const count = sequence - this.#first + 1;
    // Delivered out of the ring before this one, perhaps: it comes again here.
    if (count > this.#taken + this.#seen) return false;
    if (count > this.#acknowledged) this.#acknowledged = count;
    if (this.#acknowledged - this.#told >= batch) this.tell();
    return true;
  }

  /** Lets the producer know what is acknowledged. */
  tell(): void {
    if (this.#told === this.#acknowledged) return;
    this.#told = this.#acknowledged;
    this.#notes.acknowledged = this.#told;
  }

  /** Asks the producer for a new ring. */
  ask(): void {
    this.#notes.ask();
  }

  /** What is dealt with stays so, whatever ring comes. */
  get acknowledgedUpTo(): number {
    return this.#first + this.#acknowledged;
  }

  /** Goes on in a new ring. */
  bind(queue: FabricQueue<T>): void {
    const dealtWith = this.acknowledgedUpTo;
    this.#expected = this.expected;
    this.#queue = queue;
    this.#notes = queue.notes();
    this.#join(this.#notes.first() ?? { number: 0, isAnew: false }, this.#notes.popped, 0);
    this.#acknowledged = Math.max(0, Math.min(dealtWith - this.#first, this.#seen));
    this.tell();
  }

  /** Hears that the stream has ended before number `endedAt`, from elsewhere than the ring. */
  endAt(endedAt: number): void {
    const { expected } = this;
    if (endedAt <= expected) return;
    this.lost += endedAt - expected;
    this.#ears.lost({ from: expected, to: endedAt });
  }

  #join({ number: first, isAnew }: FirstValue, taken: number, acknowledged: number): void {
    this.#first = first;
    this.#taken = taken;
    this.#acknowledged = acknowledged;
    this.#told = acknowledged;
    const next = first + taken;
    this.#seen = Math.max(0, this.#expected - next);
    this.#dropping = this.#seen;
    if (next <= this.#expected || taken > 0) return;
    if (isAnew) this.hasUnknownLoss = true;
    else this.lost += next - this.#expected;
    this.#ears.lost(isAnew ? "unknown" : { from: this.#expected, to: next });
    this.#expected = next;
  }

  #drop(): void {
    this.#seen--;
    this.dropped++;
    // Seen by this end is dealt with, unless it says so itself.
    if (!this.#isManual) this.#acknowledged = this.#taken;
    if (this.#seen === 0) this.#ears.dropped(this.#dropping);
  }
}
