/**
 * The producer's end of an edge: what it has pushed, what of that is acknowledged, and what goes into a new ring.
 *
 * Invariant E3: an item that was accepted is in this end's window until it is acknowledged; a ring that is lost takes none.
 * So a new ring begins with the oldest that is not acknowledged, whatever the old one still held.
 */
import type { FabricQueue, FirstValue, RingNotes } from "@selvage/collections";
import { FabricError } from "@selvage/fabric";
import { ReplayWindow } from "./replay-window.ts";

/** A ring is left before so many values: its counts must not wrap (N1). */
export const RING_VALUES_MAX: number = 2 ** 31 - 2 ** 26;

/** The producer's end. */
export class EdgeSender<T> {
  readonly #window: ReplayWindow<T>;
  #queue: FabricQueue<T>;
  #notes: RingNotes;
  /** Number of the oldest item that the window keeps, or of the next one when it keeps none. */
  #oldest: number;
  // Number of the first item of this ring, and how many of the window's are not in it yet.
  #first: number;
  #behind = 0;
  // Until an item of this numbering is acknowledged, each ring says that numbers begin anew.
  #isAnew: boolean;
  #hasEnded = false;
  accepted = 0;
  replayed = 0;
  /** Whether it has found out that it may push here. */
  hasJoined = false;

  /** Goes on with a ring that is there, or has none yet: its next item is `from`, or what the ring says. */
  constructor(queue: FabricQueue<T>, from: FirstValue | undefined) {
    this.#queue = queue;
    this.#notes = queue.notes();
    this.#window = new ReplayWindow(queue);
    this.#isAnew = from?.isAnew ?? false;
    const first = this.#notes.first();
    this.#first = first?.number ?? from?.number ?? 0;
    if (first === undefined) this.#notes.begin({ number: this.#first, isAnew: this.#isAnew });
    this.#oldest = from?.number ?? this.#first + this.#notes.published;
  }

  /** Whether the ring that it was made with goes on where this end does. */
  get isInStep(): boolean {
    return this.next === this.#first + this.#notes.published;
  }

  /** Number of the next item. */
  get next(): number {
    return this.#oldest + this.#window.count;
  }

  get unacknowledged(): number {
    return this.#window.count;
  }

  /** Number of the oldest item that is not acknowledged. */
  get oldest(): number {
    return this.#oldest;
  }

  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  /** Whether only an acknowledgement makes room. */
  get isWindowFull(): boolean {
    return this.#window.isFull;
  }

  /** Whether the ring has carried about as many items as it may. */
  get isWorn(): boolean {
    return this.next - this.#first >= RING_VALUES_MAX;
  }

  /** Whether the consumer asks for a new ring. */
  get isAsked(): boolean {
    return this.#notes.isAsked;
  }

  /** False when full. Errors as `FabricQueue.push`. */
  push(value: T): boolean {
    const window = this.#window;
    if (window.isFull && !this.takeAcknowledged()) return false;
    if (this.#behind > 0 && !this.catchUp()) return false;
    if (!window.push(this.#queue, value)) return false;
    this.accepted++;
    return true;
  }

  /** Lets go of what is acknowledged. True when that is something. @throws FabricError `CORRUPT_RECORD`. */
  takeAcknowledged(): boolean {
    const acknowledged = this.#first + this.#notes.acknowledged;
    if (acknowledged > this.next)
      throw new FabricError(
        "CORRUPT_RECORD",
        "Cannot go on: more is acknowledged than was pushed",
        { acknowledged, pushed: this.next },
      );
    // Seen in the ring before this one, and not in this one yet: it still takes its place there.
    const upTo = Math.min(acknowledged, this.next - this.#behind);
    // Fewer: what a producer before this one pushed.
    if (upTo <= this.#oldest) return false;
    this.#window.drop(upTo - this.#oldest);
    this.#oldest = upTo;
    this.#isAnew = false;
    return true;
  }

  /** Puts into the ring what it had no room for. True when nothing is left over. */
  catchUp(): boolean {
    const done = this.#window.replay(this.#queue, this.#window.count - this.#behind);
    this.#behind -= done;
    this.replayed += done;
    if (this.#behind === 0 && this.#hasEnded) this.#close();
    return this.#behind === 0;
  }

  /** Lets the old ring go: hears its last acknowledgements where it can still be read, and takes nothing more there. */
  seal(): void {
    try {
      this.#queue.lease.assertLive();
      this.takeAcknowledged();
    } catch {
      // What it said last is not known: then it is replayed, and dropped as seen.
    }
    try {
      this.#queue.close();
    } catch {
      // It is gone, or damaged: nothing is pushed to it in any case.
    }
  }

  /** Goes on in a new ring: from the oldest item that is not acknowledged. */
  bind(queue: FabricQueue<T>): void {
    this.#queue = queue;
    this.#notes = queue.notes();
    this.#first = this.#oldest;
    this.#notes.begin({ number: this.#first, isAnew: this.#isAnew });
    this.#behind = this.#window.count;
    this.catchUp();
    if (this.#behind === 0 && this.#hasEnded) this.#close();
    queue.flush();
  }

  flush(): void {
    this.#queue.flush();
  }

  /** Says that no item follows. */
  end(): void {
    this.#hasEnded = true;
    if (this.#behind === 0) this.#close();
  }

  #close(): void {
    this.#notes.end();
    this.#queue.close();
  }
}
