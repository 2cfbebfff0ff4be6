/**
 * The producer's end of an edge: what it has pushed, what of that is acknowledged, and what goes into a new ring.
 *
 * Invariant E3: an item that was accepted is in this end's window until it is acknowledged; a ring that is lost takes none.
 * So a new ring begins with the oldest that is not acknowledged, whatever the old one still held. No number is given to two
 * items: an end that cannot know which numbers its predecessor has used begins beyond all of them, and says so.
 */
import type { FabricQueue, FirstValue, RingAsking, RingNotes } from "@selvage/collections";
import { FabricError, invalidArgument, isFabricError } from "@selvage/fabric";
import type { EdgeOptions } from "./edge-events.ts";
import { ReplayWindow } from "./replay-window.ts";

/** A ring is left before so many values: its counts must not wrap (N1). */
const RING_VALUES_MAX: number = 2 ** 31 - 2 ** 26;
/** Items between two looks at what has been acknowledged: a power of two. */
const lookEvery = 16;
/** Numbers begin anew so far apart: no generation carries as many items. */
const anewStep = 2 ** 32;

/** The first number of a numbering that begins with a generation: beyond all that were given before. */
function numberAnew(generation: number): FirstValue {
  return { number: generation * anewStep, isAnew: true };
}

/** With which number an end begins at a ring. @throws FabricError `INVALID_ARGUMENT`, `CORRUPT_RECORD`, the lease's. */
export function firstOf<T>(
  queue: FabricQueue<T>,
  { from }: Pick<EdgeOptions, "from">,
  generation: number,
): FirstValue | undefined {
  if (typeof from === "number") return { number: from, isAnew: false };
  // Somebody's numbers may have gone further, in a ring that is no more.
  const isLater = generation > 1 && queue.notes().first() === undefined;
  if (from === undefined && !isLater) return undefined;
  if (generation > 0) return numberAnew(generation);
  throw invalidArgument("handoff", "a writer that has published: numbers begin anew", from);
}

/** The producer's end. */
export class EdgeSender<T> {
  readonly #window: ReplayWindow<T>;
  // What this end was told to begin with.
  readonly #from: FirstValue | undefined;
  #queue: FabricQueue<T>;
  #notes: RingNotes;
  /** Number of the oldest item that the window keeps, or of the next one when it keeps none. */
  #oldest: number;
  // Number of the first item of this ring, and how many of the window's are not in it yet.
  #first: number;
  #behind = 0;
  // How many of this ring's have been dealt with, as this end last heard.
  #heard = 0;
  // Up to here the ring was filled by a producer before this one: what comes again is kept, and not put there twice.
  #filledTo = 0;
  // Until an item of this numbering is acknowledged, each ring says that numbers begin anew.
  #isAnew: boolean;
  // Whether nobody can tell which numbers have been used.
  #isAtSea = false;
  // Whether it was this end that said where the ring begins.
  #hasBegun = false;
  #hasJoined = false;
  #hasEnded = false;
  accepted = 0;
  replayed = 0;

  /** An end at a ring that is there. Its next item is `from`, or what the ring says. @throws FabricError `CORRUPT_RECORD`, the lease's. */
  constructor(queue: FabricQueue<T>, from: FirstValue | undefined, window?: number) {
    this.#queue = queue;
    this.#notes = queue.notes();
    this.#window = new ReplayWindow(queue, window);
    this.#from = from;
    this.#isAnew = from?.isAnew ?? false;
    const first = this.#notes.first();
    this.#first = first?.number ?? from?.number ?? 0;
    this.#oldest = from?.number ?? this.#first;
    if (first === undefined) this.#begin();
  }

  /** Whether this end is the ring's producer, and knows what it carries. */
  get hasJoined(): boolean {
    return this.#hasJoined;
  }

  /** Number of the next item. */
  get next(): number {
    return this.#oldest + this.#window.count;
  }

  /** Number of the item after the last, whoever pushed that. */
  get end(): number {
    return Math.max(this.next, this.#filledTo);
  }

  get unacknowledged(): number {
    return this.#window.count;
  }

  /** Number of the oldest item that is not acknowledged. */
  get oldest(): number {
    return this.#oldest;
  }

  /** Whether the consumer has dealt with all that is in the ring, whoever put it there. */
  get isDone(): boolean {
    if (this.#window.count > 0) return false;
    return this.#first + this.#notes.acknowledged >= this.end;
  }

  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  /** Whether the consumer has begun with this ring, and so has left the one before. */
  get isRead(): boolean {
    return this.#notes.acknowledged > 0;
  }

  /** Whether only an acknowledgement makes room. */
  get isWindowFull(): boolean {
    return this.#window.isFull;
  }

  /** Whether the ring has carried about as many items as it may. */
  get isWorn(): boolean {
    return this.next - this.#first >= RING_VALUES_MAX;
  }

  /** Why the consumer asks for a new ring, if it does. */
  get asked(): RingAsking | undefined {
    return this.#notes.asked;
  }

  /**
   * Becomes the ring's producer, and finds out where it goes on. False: not in this ring, for it begins beyond what is there.
   * @throws FabricError `CONFLICT` (it has a producer), `CORRUPT_RECORD` (its last one died as it published), the lease's.
   */
  join(): boolean {
    if (this.#hasJoined) return true;
    // First: what the last one says is true once it says no more.
    this.#queue.take("producer");
    const first = this.#notes.first();
    if (first === undefined) this.#begin();
    else this.#first = first.number;
    const filledTo = this.#first + this.#notes.published;
    if (this.#from === undefined) {
      if (!this.#hasBegun) this.#isAnew = first?.isAnew ?? this.#isAnew;
      this.#oldest = filledTo;
    } else if (this.next < this.#first || this.next > filledTo) return false;
    else if (this.#isAnew && this.next < filledTo) return false;
    this.#filledTo = filledTo;
    this.#isAtSea = false;
    return (this.#hasJoined = true);
  }

  /** False when full. Errors as `FabricQueue.push`. */
  push(value: T): boolean {
    const window = this.#window;
    if (window.isFull && !this.takeAcknowledged()) return false;
    // Few are kept then, in few slots.
    if (window.isReusing && this.accepted % lookEvery === 0) this.takeAcknowledged();
    if (this.#behind > 0 && !this.catchUp()) return false;
    if (this.next < this.#filledTo) window.keep(value);
    else if (!window.push(this.#queue, value)) return false;
    this.accepted++;
    return true;
  }

  /** Lets go of what is acknowledged. True when that is something. @throws FabricError `CORRUPT_RECORD`. */
  takeAcknowledged(): boolean {
    this.#heard = this.#notes.acknowledged;
    const acknowledged = this.#first + this.#heard;
    // Seen in a ring before this one, perhaps, and not in this one yet: it still takes its place there. Or not even pushed again.
    const upTo = Math.min(acknowledged, this.next - this.#behind);
    // Fewer: what a producer before this one pushed.
    if (upTo <= this.#oldest) return false;
    this.#window.drop(upTo - this.#oldest);
    this.#oldest = upTo;
    this.#isAnew = false;
    return true;
  }

  /** Waits until the consumer has said more than `takeAcknowledged` has heard. Errors as `takeAcknowledged`. */
  acknowledgedAsync(timeoutMs: number): Promise<boolean> {
    return this.#notes.acknowledgedAsync(this.#heard, timeoutMs);
  }

  /** The same, blocking the thread. */
  waitForAcknowledged(timeoutMs: number): boolean {
    return this.#notes.waitForAcknowledged(this.#heard, timeoutMs);
  }

  /** Puts into the ring what it had no room for. True when nothing is left over. */
  catchUp(): boolean {
    if (this.#behind === 0) return true;
    const done = this.#window.replay(this.#queue, this.#window.count - this.#behind);
    this.#behind -= done;
    this.replayed += done;
    if (this.#behind === 0 && this.#hasEnded) this.#close();
    return this.#behind === 0;
  }

  /** Finds what a stray write has done to the ring, and a close that is nobody's here. @throws FabricError `CORRUPT_RECORD`, `DISCONNECTED`. */
  assertWhole(): void {
    if (!this.#hasJoined) return;
    const first = this.#notes.first();
    if (first?.number !== this.#first)
      throw new FabricError(
        "CORRUPT_RECORD",
        "Cannot go on: the ring begins elsewhere than it did",
        {
          first: first?.number ?? null,
        },
      );
    if (this.#queue.isClosed && !(this.#hasEnded && this.#behind === 0))
      throw new FabricError("DISCONNECTED", "Cannot go on: the ring was closed", {});
  }

  /**
   * Lets the old ring go: hears its last acknowledgements where it can still be read, and takes nothing more there. True when it
   * holds what only it has: items of a producer before this one, which the consumer is to have.
   */
  seal(): boolean {
    let isNeeded = false;
    try {
      const isInIt = this.join();
      this.takeAcknowledged();
      isNeeded = this.#first + this.#notes.acknowledged < (isInIt ? this.#oldest : this.next);
    } catch (error) {
      // What it said last is not known: then it is replayed, and dropped as seen.
      const { isLive } = this.#queue.lease;
      isNeeded = isLive && !this.#hasJoined;
      // Others have used numbers that this end does not know.
      if (!this.#hasJoined && this.#from === undefined) this.#isAtSea = isLive || !this.#hasBegun;
      if (!isFabricError(error)) throw error;
    }
    try {
      this.#queue.close();
    } catch {
      // It is gone, or damaged: nothing is pushed to it in any case.
    }
    return isNeeded;
  }

  /** Goes on in a new ring, which is to be published as `generation`: from the oldest item that is not acknowledged. */
  bind(queue: FabricQueue<T>, generation: number): void {
    this.#queue = queue;
    this.#notes = queue.notes();
    if (this.#isAtSea || (this.#from?.isAnew === true && !this.#hasJoined))
      ({ number: this.#oldest, isAnew: this.#isAnew } = numberAnew(generation));
    this.#isAtSea = false;
    this.#filledTo = 0;
    this.#heard = 0;
    this.#begin();
    // One that has never pushed looks again before it does: it may be another that pushes here.
    this.#hasJoined = this.accepted > 0 || this.#hasEnded;
    this.#behind = this.#window.count;
    this.catchUp();
    if (this.#behind === 0 && this.#hasEnded) this.#close();
    queue.flush();
  }

  flush(): void {
    this.#queue.flush();
  }

  /** Says that no item follows. */
  endStream(): void {
    this.#hasEnded = true;
    if (this.#behind === 0) this.#close();
  }

  #begin(): void {
    this.#first = this.#oldest;
    this.#notes.begin({ number: this.#oldest, isAnew: this.#isAnew });
    this.#hasBegun = true;
  }

  #close(): void {
    this.#notes.end(this.end - this.#first);
    this.#queue.close();
  }
}
