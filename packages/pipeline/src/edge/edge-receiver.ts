/**
 * The consumer's end of an edge: which item comes next, what is dropped because it was seen, and what is acknowledged.
 *
 * Invariant E3: items are delivered in the order of their numbers, none twice by one consumer; a number that is left out
 * is told as lost.
 */
import type { FabricQueue, FirstValue, RingAsking, RingNotes } from "@selvage/collections";
import { isFabricError } from "@selvage/fabric";
import type { EdgeEvent, LostItems } from "./edge-events.ts";

/** Acknowledgements go out with so many items, with a quarter of what a small ring holds, and whenever the ring is empty. */
const batchMax = 16;

/** The consumer's end. All positions in it are numbers of items. */
export class EdgeReceiver<T> {
  readonly #isManual: boolean;
  readonly #tellOf: (event: EdgeEvent) => void;
  readonly #batch: number;
  #queue: FabricQueue<T>;
  #notes: RingNotes;
  // Of this ring: its first item, the next one out of it, and how far its producer has been told. Known once it has an item.
  #hasJoined = false;
  #first = 0;
  #next = 0;
  #told = 0;
  // The next item to deliver; undefined: what the first ring says.
  #expected: number | undefined;
  #ahead: number | undefined;
  #isUsed = false;
  #acknowledged = 0;
  #dropping = 0;
  // Found closed, and then found empty.
  #isClosing = false;
  #isSealed = false;
  dropped = 0;
  lost = 0;
  hasUnknownLoss = false;
  delivered = 0;

  /** An end at a ring that is there: `from` is the first item that was not dealt with. Undefined: what the ring says. */
  constructor(
    queue: FabricQueue<T>,
    from: number | "unknown" | undefined,
    isManual: boolean,
    tellOf: (event: EdgeEvent) => void,
  ) {
    this.#isManual = isManual;
    this.#tellOf = tellOf;
    this.#queue = queue;
    this.#notes = queue.notes();
    this.#batch = Math.max(1, Math.min(batchMax, queue.capacity >> 2));
    if (from === "unknown") this.#lose("unknown");
    else this.#expected = from;
    this.#acknowledged = this.#expected ?? 0;
    this.#lookAhead();
  }

  /** Whether items that this end needs have been taken from the ring by another. */
  get isBehind(): boolean {
    return this.#hasJoined && this.expected < this.#next;
  }

  /** Number of the next item. */
  get expected(): number {
    return this.#expected ?? 0;
  }

  /** Whether the ring takes nothing more, and its last item was popped: another follows, unless the stream is over. */
  get isSealed(): boolean {
    return this.#isSealed;
  }

  /** Whether the stream is over: closed for good, and nothing left. */
  get isOver(): boolean {
    return this.#isSealed && this.#hasJoined && this.#notes.isEndedAt(this.#next - this.#first);
  }

  /**
   * Becomes the ring's consumer, and finds out which items it carries. False: it has none yet.
   * @throws FabricError `CONFLICT` (it has a consumer), `CORRUPT_RECORD`, the lease's.
   */
  join(): boolean {
    this.#isUsed = true;
    if (this.#hasJoined) return true;
    const queue = this.#queue;
    // First: what the last one says is true once it says no more.
    queue.take("consumer");
    // The last to be read: whoever puts items in says before which they are.
    const isSilent = queue.size === 0 && !queue.isClosed && this.#notes.popped === 0;
    if (isSilent) return false;
    this.#begin(this.#notes.first(), this.#notes.popped, this.#notes.acknowledged);
    return (this.#hasJoined = true);
  }

  /** The next item; undefined when there is none. Errors as `FabricQueue.pop`. */
  pop(): T | undefined {
    this.#deal();
    for (;;) {
      let value: T | undefined;
      try {
        value = this.#queue.pop();
      } catch (error) {
        if (!isFabricError(error) || error.code !== "DECODE") throw error;
        // It has been taken out.
        if (this.#take()) throw error;
        continue;
      }
      if (value === undefined) {
        if (this.#isLast()) return undefined;
      } else if (this.#take()) return value;
    }
  }

  /** As `pop`, to the front of `target`: the item's bytes, or -1. */
  popInto(target: Uint8Array): number {
    this.#deal();
    for (;;) {
      const bytes = this.#queue.popInto(target);
      if (bytes < 0) {
        if (this.#isLast()) return -1;
      } else if (this.#take()) return bytes;
    }
  }

  /** Has dealt with all items up to number `sequence`. */
  acknowledge(sequence: number): void {
    this.#acknowledged = Math.max(this.#acknowledged, sequence + 1);
    if (this.#acknowledged - this.#told >= this.#batch) this.tell();
  }

  /** What is to be done now and then. */
  look(): void {
    // Whoever never pops does not become the consumer.
    if (this.#isUsed) this.tell();
    else this.#lookAhead();
  }

  /** Lets the producer know what is acknowledged. */
  tell(): void {
    if (!this.join() || this.#told >= this.#acknowledged) return;
    this.#told = this.#acknowledged;
    this.#notes.acknowledged = this.#told - this.#first;
  }

  /** Asks the producer for a new ring. */
  ask(why: RingAsking): void {
    this.#notes.ask(why);
  }

  /** Goes on in a new ring. */
  bind(queue: FabricQueue<T>): void {
    this.#queue = queue;
    this.#notes = queue.notes();
    this.#hasJoined = false;
    this.#isSealed = false;
    this.#isClosing = false;
    this.#dropping = 0;
    // What the last ring said, should this one begin further on.
    this.#expected ??= this.#ahead;
  }

  /** Hears that the stream has ended before number `endedAt`, from elsewhere than the ring. */
  endAt(endedAt: number): void {
    const expected = this.#expected;
    if (expected !== undefined && endedAt > expected) this.#lose({ from: expected, to: endedAt });
  }

  // With which item an end that has not popped yet would begin.
  #lookAhead(): void {
    if (this.#expected !== undefined) return;
    try {
      const first = this.#notes.first();
      if (first !== undefined) this.#ahead = first.number + this.#notes.acknowledged;
    } catch (error) {
      if (!isFabricError(error)) throw error;
    }
  }

  #begin(said: FirstValue | undefined, popped: number, acknowledged: number): void {
    // A producer that is no edge says nothing: what it pushes comes next, and nobody knows what came before.
    const first = said ?? { number: this.expected, isAnew: this.delivered > 0 };
    this.#first = first.number;
    this.#next = first.number + popped;
    this.#told = first.number + acknowledged;
    this.#dropping = 0;
    if (this.#expected === undefined) {
      if (first.isAnew && acknowledged === 0) this.#lose("unknown");
      this.#expected = this.#told;
      this.#acknowledged = this.#told;
    } else if (this.#expected < first.number || said === undefined) {
      if (first.isAnew) this.#lose("unknown");
      else if (this.#expected < first.number)
        this.#lose({ from: this.#expected, to: first.number });
      this.#expected = first.number;
    }
  }

  // What was delivered is dealt with when the next one is asked for.
  #deal(): void {
    if (this.#isManual || this.#expected === undefined) return;
    this.#acknowledged = Math.max(this.#acknowledged, this.#expected);
  }

  // One has been taken from the ring. True when it is to be delivered.
  #take(): boolean {
    const number = this.#next++;
    if (number >= this.expected) {
      this.#expected = this.#next;
      this.delivered++;
      if (this.#acknowledged - this.#told >= this.#batch) this.#tryToTell();
      return true;
    }
    this.dropped++;
    this.#dropping++;
    if (this.#next === this.#expected) {
      const count = this.#dropping;
      this.#dropping = 0;
      this.#tellOf({ type: "dropped", count });
    }
    return false;
  }

  // An item that was taken is delivered, also where the ring ends at this moment: the next call hears of it.
  #tryToTell(): void {
    try {
      this.tell();
    } catch (error) {
      if (!isFabricError(error)) throw error;
    }
  }

  // There is none. False: but one may have come before the ring was closed.
  #isLast(): boolean {
    this.tell();
    if (this.#isSealed || !this.#queue.isClosed) return true;
    if (this.#isClosing) return (this.#isSealed = true);
    this.#isClosing = true;
    return false;
  }

  #lose(items: LostItems): void {
    if (items === "unknown") this.hasUnknownLoss = true;
    else this.lost += items.to - items.from;
    this.#tellOf({ type: "lost", items });
  }
}
