/**
 * A ring with any number of producers and consumers, on any threads.
 *
 * Positions are claimed by one compare-exchange on the tail or the head (Vyukov's bounded queue); a slot's own word says
 * whose turn it is. Here that word also says who is at work in it, so that a thread that dies half way is noticed:
 *
 * ```
 *  FREE(lap) --producer: tail--> BUSY(lap, who) --filled--> READY(lap) --consumer--> TAKEN(lap, who) --read--> FREE(lap + 1)
 *      |                              |
 *      `--claim()--> CLAIMED(lap, who) --commit()--> BUSY
 *  FREE, CLAIMED: after the liveness timeout; CLAIMED, BUSY: once `who` has exited --> SKIPPED(lap) --> FREE(lap + 1)
 *  TAKEN: once `who` has exited --> FREE(lap + 1), and its value is counted as lost
 * ```
 *
 * M1: bytes of a slot are written only in BUSY, by `who`, and BUSY is left by others only when `who` has exited. So a
 * producer that was only slow changes no byte of a slot that has been given up.
 * M2: every step is one compare-exchange from the word that was seen, lap included: a step that comes late fails. What a
 * late producer had to push it pushes again, elsewhere; a late `commit` of a claim ends in an error.
 * M3: a value is one consumer's from TAKEN on, and TAKEN is left by others only when that one has exited. The slot comes
 * first and the head follows: whoever finds the head at a slot that has been taken, or given back, moves it on. So no
 * value is lost with a consumer that lives, however slow.
 * Order M4. P1 fills the slot (plain), P2 stores READY (atomic); C1 loads READY (atomic), C2 reads the slot (plain).
 * C3 stores FREE (atomic); the producer of the next lap has loaded FREE before it fills the slot.
 */
import {
  assert,
  FabricError,
  nonceOf,
  OWNER_THREAD,
  type MemLease,
  type SharedWords,
} from "@selvage/fabric";
import { Doorbell } from "./doorbell.ts";
import { Payload } from "./payload.ts";
import {
  baseOf,
  CLOSED,
  damaged,
  HEAD,
  ITEMS_BELL,
  LOST,
  RING_HEADER_BYTES,
  ROOM_BELL,
  SKIPPED,
  SLOT_HEADER_WORDS,
  TAIL,
  unitsOf,
} from "./ring-layout.ts";
import { BATCH_MAX, type Ring } from "./ring-side.ts";

// A slot's word: state (3 bits), who (16: thread entry, and 8 bits of its nonce), lap (13).
const FREE = 0;
const BUSY = 1;
const READY = 2;
const CLAIMED = 3;
const SKIP = 4;
const TAKEN = 5;
const stateMask = 7;
const whoShift = 3;
const whoMask = 0xffff;
const lapShift = 19;
const lapMask = 0x1fff;
const positionsMax = 2 ** 31;

/** What producers and consumers share. */
abstract class ManySide {
  readonly payload: Payload;
  protected readonly lease: MemLease;
  protected readonly words: SharedWords;
  protected readonly plain: Int32Array;
  protected readonly base: number;
  protected readonly stride: number;
  protected readonly capacity: number;
  protected readonly items: Doorbell;
  protected readonly room: Doorbell;
  protected readonly nowMs: () => number;
  /** This thread, as a slot's word names it. */
  protected readonly who: number;
  /** Positions run from 0 to this, then over: whole laps. */
  protected readonly positions: number;
  readonly #start: number;
  readonly #slotWords: number;
  readonly #control: Ring["region"]["site"]["control"];
  readonly #unblockAfterMs: number;
  // What was found stuck, and when: it is given up when it stays.
  #stuckAt = -1;
  #stuckWord = 0;
  #stuckMs = 0;
  // Positions claimed from the tail or the head and not used yet.
  protected span = 0;
  protected spanAt = 0;

  constructor({ lease, region, shape, unblockAfterMs }: Ring) {
    this.lease = lease;
    this.words = region.memory.words;
    this.plain = region.memory.plain;
    this.base = baseOf(region);
    this.capacity = shape.capacity;
    this.stride = shape.stride;
    this.positions = shape.capacity * lapsOf(shape.capacity);
    this.items = new Doorbell(region, this.base + ITEMS_BELL);
    this.room = new Doorbell(region, this.base + ROOM_BELL);
    this.nowMs = () => region.site.nowMs();
    const { pulse } = region.site;
    this.who = whoOf(pulse.thread, pulse.nonce);
    this.#control = region.site.control;
    this.#unblockAfterMs = unblockAfterMs;
    this.#start = this.base + RING_HEADER_BYTES / 4;
    this.#slotWords = unitsOf(shape.stride) * 2;
    this.payload = new Payload(region.memory, {
      first: this.#start + SLOT_HEADER_WORDS,
      words: this.#slotWords,
    });
  }

  /** Values pushed and not popped, at some moment. */
  get size(): number {
    return manySize(this.words, this.base, this.capacity);
  }

  publish(): void {}
  settle(): void {}
  leave(): void {}

  protected position(at: number): number {
    const position = this.words.load(this.base + at);
    if (position < 0 || position >= this.positions) throw damaged(`position ${position} is none`);
    return position;
  }

  protected distance(from: number, to: number): number {
    const between = to - from;
    return between < 0 ? between + this.positions : between;
  }

  protected after(position: number, by: number): number {
    const next = position + by;
    return next >= this.positions ? next - this.positions : next;
  }

  protected lapOf(position: number): number {
    return (position / this.capacity) | 0;
  }

  protected lapAfter(lap: number): number {
    return (lap + 1) * this.capacity >= this.positions ? 0 : lap + 1;
  }

  protected slotOf(position: number): number {
    return this.#start + (position % this.capacity) * this.#slotWords;
  }

  /** Whether the word of `position`'s slot has been `word` for the liveness timeout, counted from the first look. */
  protected isStuck(position: number, word: number): boolean {
    const nowMs = this.nowMs();
    // By position, not by slot: a slot's word is the same again after 8,192 laps.
    if (position === this.#stuckAt && word === this.#stuckWord)
      return nowMs - this.#stuckMs >= this.#unblockAfterMs;
    this.#stuckAt = position;
    this.#stuckWord = word;
    this.#stuckMs = nowMs;
    return false;
  }

  /** Whether the thread at work in a slot has exited. */
  protected isGone(word: number): boolean {
    const who = (word >>> whoShift) & whoMask;
    const entry = who & 0xff;
    if (entry === OWNER_THREAD) return false;
    const nonce = nonceOf(this.#control, entry);
    return nonce === 0 || whoOf(entry, nonce) !== who;
  }
}

/** One that pushes. */
export class ManyProducer extends ManySide {
  #slot = 0;
  #lap = 0;

  /** As `Producer.reserve`; the slot is this thread's until `commit` or `abandon`. */
  reserve(_length: number): number {
    return this.#take(BUSY);
  }

  /** Takes up to `count` positions by one compare-exchange; the next values go there. Returns how many. */
  prepare(count: number): number {
    this.lease.assertLive();
    if (this.span > 0) return this.span;
    this.#refuseIfClosed();
    for (;;) {
      const tail = this.position(TAIL);
      let free = 0;
      const most = Math.min(count, BATCH_MAX, this.capacity);
      for (let next = tail; free < most; free++, next = this.after(next, 1))
        if (this.words.load(this.slotOf(next)) !== wordOf(FREE, this.lapOf(next), 0)) break;
      if (free === 0) return 0;
      const to = this.after(tail, free);
      if (this.words.compareExchange(this.base + TAIL, tail, to) !== tail) continue;
      this.span = free;
      this.spanAt = tail;
      return free;
    }
  }

  /** Publishes the value at once. */
  commit(length: number): void {
    assert(this.#slot !== 0, "a value is committed once");
    const slot = this.#slot;
    this.#slot = 0;
    this.plain[slot + 1] = length;
    this.words.store(slot, wordOf(READY, this.#lap, 0));
    this.items.ring();
  }

  /** Gives a slot back unfilled, and what is left of a span. */
  abandon(): void {
    if (this.#slot !== 0) {
      this.words.store(this.#slot, wordOf(SKIP, this.#lap, 0));
      this.#slot = 0;
    }
    for (; this.span > 0; this.span--, this.spanAt = this.after(this.spanAt, 1)) {
      const lap = this.lapOf(this.spanAt);
      const at = this.slotOf(this.spanAt);
      this.words.compareExchange(at, wordOf(FREE, lap, 0), wordOf(SKIP, lap, 0));
    }
    this.items.ring();
  }

  /** Takes a slot that may be given up when it stays unfilled for the liveness timeout. False: full. */
  openClaim(): boolean {
    return this.#take(CLAIMED) >= 0;
  }

  /** Makes the claimed slot this thread's for the moment of filling it. -1 if it was given up. */
  fillClaim(): number {
    const claimed = wordOf(CLAIMED, this.#lap, this.who);
    const busy = wordOf(BUSY, this.#lap, this.who);
    const slot = this.#slot;
    if (this.words.compareExchange(slot, claimed, busy) === claimed)
      return slot + SLOT_HEADER_WORDS;
    this.#slot = 0;
    return -1;
  }

  #take(state: typeof BUSY | typeof CLAIMED): number {
    this.lease.assertLive();
    // A codec that pushes while it writes: nobody else would ever end what this thread is filling.
    if (this.#slot !== 0) this.abandon();
    for (;;) {
      const position = this.span > 0 ? this.#nextOfSpan() : this.#claimPosition();
      if (position < 0) return -1;
      const lap = this.lapOf(position);
      const slot = this.slotOf(position);
      const free = wordOf(FREE, lap, 0);
      // Given up by a consumer, because this thread slept since it took the position: another one, then.
      if (this.words.compareExchange(slot, free, wordOf(state, lap, this.who)) !== free) continue;
      this.#slot = slot;
      this.#lap = lap;
      return slot + SLOT_HEADER_WORDS;
    }
  }

  #nextOfSpan(): number {
    const position = this.spanAt;
    this.span--;
    this.spanAt = this.after(position, 1);
    return position;
  }

  // Goes round only when another thread has got on.
  #claimPosition(): number {
    this.#refuseIfClosed();
    for (;;) {
      const tail = this.position(TAIL);
      const lap = this.lapOf(tail);
      const slot = this.slotOf(tail);
      const word = this.words.load(slot);
      if (word === wordOf(FREE, lap, 0)) {
        const next = this.after(tail, 1);
        if (this.words.compareExchange(this.base + TAIL, tail, next) === tail) return tail;
        continue;
      }
      if (this.words.load(this.base + TAIL) !== tail) continue;
      if (!this.#takeBack(tail, slot, word)) return -1;
    }
  }

  #refuseIfClosed(): void {
    if (this.words.load(this.base + CLOSED) !== 0)
      throw new FabricError("DISCONNECTED", "Cannot push: the queue is closed", {});
  }

  // A slot whose consumer has died, or that the head has passed with nobody at work in it: one died while it gave it back.
  #takeBack(tail: number, slot: number, word: number): boolean {
    const state = word & stateMask;
    const free = wordOf(FREE, this.lapOf(tail), 0);
    if (state === TAKEN) {
      if (!this.isGone(word)) return false;
    } else {
      const isPassed = this.distance(this.position(HEAD), tail) < this.capacity;
      const isLeft = state === READY || state === SKIP;
      if (!isPassed || !isLeft || !this.isStuck(tail, word)) return false;
    }
    if (this.words.compareExchange(slot, word, free) === word && state !== SKIP)
      this.words.add(this.base + LOST, 1);
    return true;
  }
}

/** One that pops. */
export class ManyConsumer extends ManySide {
  /** Bytes of the value that `next` has found. */
  length = 0;
  #slot = 0;
  #lap = 0;

  /** As `Consumer.next`; the value is this thread's alone from now on. */
  next(): number {
    if (this.prepare(1) === 0) return -1;
    const position = this.spanAt;
    this.span--;
    this.spanAt = this.after(position, 1);
    this.#slot = this.slotOf(position);
    this.#lap = this.lapOf(position);
    const length = this.plain[this.#slot + 1] as number;
    if (length >>> 0 > this.stride) throw damaged(`a value of ${length} bytes`);
    this.length = length;
    return this.#slot + SLOT_HEADER_WORDS;
  }

  /** Leaves the value for the next `next`. */
  keep(): void {
    this.spanAt = this.after(this.spanAt, this.positions - 1);
    this.span++;
  }

  /** Takes up to `count` values: they are this thread's alone from now on. Returns how many. */
  prepare(count: number): number {
    this.lease.assertLive();
    if (this.span > 0) return this.span;
    for (;;) {
      const head = this.position(HEAD);
      const most = Math.min(count, BATCH_MAX, this.capacity);
      let taken = 0;
      for (let next = head; taken < most; taken++, next = this.after(next, 1))
        if (!this.#takeSlot(next)) break;
      if (taken === 0) {
        if (this.#pass(head)) continue;
        return 0;
      }
      // If that fails, others have moved it on over slots that they found taken.
      this.words.compareExchange(this.base + HEAD, head, this.after(head, taken));
      this.span = taken;
      this.spanAt = head;
      return taken;
    }
  }

  /** Whether there is a value to take. Takes none. */
  hasItem(): boolean {
    this.lease.assertLive();
    if (this.span > 0) return true;
    for (;;) {
      const head = this.position(HEAD);
      const ready = wordOf(READY, this.lapOf(head), 0);
      if (this.words.load(this.slotOf(head)) === ready) return true;
      if (!this.#pass(head)) return false;
    }
  }

  /** Gives the slot back. Always true (M3). */
  release(): boolean {
    this.words.store(this.#slot, wordOf(FREE, this.lapAfter(this.#lap), 0));
    this.room.ring();
    return true;
  }

  /** Puts back what was taken and not popped, where nobody has taken what comes after it; else it is counted as lost. */
  override leave(): void {
    const end = this.after(this.spanAt, this.span);
    const positions = Array.from({ length: this.span }, (_, index) =>
      this.after(this.spanAt, index),
    );
    this.span = 0;
    if (positions.length === 0) return;
    for (const position of positions)
      this.words.store(this.slotOf(position), wordOf(READY, this.lapOf(position), 0));
    const isBack = this.words.compareExchange(this.base + HEAD, end, this.spanAt) === end;
    this.items.ring();
    if (isBack) return;
    for (const position of positions) {
      const lap = this.lapOf(position);
      const [ready, free] = [wordOf(READY, lap, 0), wordOf(FREE, this.lapAfter(lap), 0)];
      if (this.words.compareExchange(this.slotOf(position), ready, free) === ready)
        this.words.add(this.base + LOST, 1);
    }
    this.room.ring();
  }

  #takeSlot(position: number): boolean {
    const lap = this.lapOf(position);
    const slot = this.slotOf(position);
    const ready = wordOf(READY, lap, 0);
    return (
      this.words.load(slot) === ready &&
      this.words.compareExchange(slot, ready, wordOf(TAKEN, lap, this.who)) === ready
    );
  }

  // The head's slot holds no value to take. True: look again. False: empty, or somebody is still at work in it.
  #pass(head: number): boolean {
    const slot = this.slotOf(head);
    const word = this.words.load(slot);
    if (this.words.load(this.base + HEAD) !== head) return true;
    const lap = this.lapOf(head);
    const skipped = wordOf(SKIP, lap, 0);
    if (word === wordOf(READY, lap, 0)) return true;
    if (word === skipped)
      this.words.compareExchange(slot, skipped, wordOf(FREE, this.lapAfter(lap), 0));
    const isTaken = (word & stateMask) === TAKEN && word >>> lapShift === (lap & lapMask);
    // In whatever state: a thread may die between a slot and the head, and the slot be filled again before anybody looks.
    const isGivenBack = word >>> lapShift === (this.lapAfter(lap) & lapMask);
    if (word === skipped || isGivenBack || isTaken) {
      this.words.compareExchange(this.base + HEAD, head, this.after(head, 1));
      if (word === skipped) this.room.ring();
      return true;
    }
    return this.position(TAIL) !== head && this.#giveUp(head);
  }

  #giveUp(head: number): boolean {
    const slot = this.slotOf(head);
    const lap = this.lapOf(head);
    const word = this.words.load(slot);
    const state = word & stateMask;
    if (word >>> lapShift !== (lap & lapMask)) return false;
    if (state === FREE) {
      // Or it would be stuck for ever, and given up in vain.
      if (word !== wordOf(FREE, lap, 0)) throw damaged("a free slot is somebody's");
      return this.isStuck(head, word) && this.#giveUpRun(head);
    }
    if (state !== BUSY && state !== CLAIMED) return false;
    // M1: who is filling a slot is never overtaken, only outlived.
    if (!this.isGone(word) && (state === BUSY || !this.isStuck(head, word))) return false;
    if (this.words.compareExchange(slot, word, wordOf(SKIP, lap, 0)) === word)
      this.words.add(this.base + SKIPPED, 1);
    return true;
  }

  // Positions that somebody took and never began to fill. A batch takes several at a time: all of them are given up
  // together, and if one was only slow it takes others (M2). No claim was torn, so none is counted.
  #giveUpRun(head: number): boolean {
    const tail = this.position(TAIL);
    for (let position = head; position !== tail; position = this.after(position, 1)) {
      const lap = this.lapOf(position);
      const free = wordOf(FREE, lap, 0);
      if (this.words.compareExchange(this.slotOf(position), free, wordOf(SKIP, lap, 0)) !== free)
        break;
    }
    return true;
  }
}

/**
 * How many laps positions count before they start over. As many as 31 bits hold: a thread that sleeps between a look at a
 * position and its exchange is deceived only if exactly so many values passed meanwhile. A multiple of what a slot's
 * word counts, where there are as many, so that its count goes on too.
 */
function lapsOf(capacity: number): number {
  const laps = Math.floor(positionsMax / capacity);
  return laps > lapMask ? laps - (laps % (lapMask + 1)) : laps;
}

/** Values in a ring, at some moment. Claims that are open count. @throws FabricError `CORRUPT_RECORD`. */
export function manySize(words: SharedWords, base: number, capacity: number): number {
  const positions = capacity * lapsOf(capacity);
  // The head first: it never passes the tail. It may move on before the tail is loaded, hence the limit.
  const head = words.load(base + HEAD);
  const tail = words.load(base + TAIL);
  if (head < 0 || head >= positions || tail < 0 || tail >= positions)
    throw damaged(`position ${head} or ${tail} is none`);
  const between = tail - head;
  return Math.min(capacity, between < 0 ? between + positions : between);
}

// A thread's entry and eight bits of its nonce, whose lowest bit is always set.
function whoOf(entry: number, nonce: number): number {
  return entry | (((nonce >>> 1) & 0xff) << 8);
}

// The lap's upper bits are shifted out.
function wordOf(state: number, lap: number, who: number): number {
  return state | (who << whoShift) | (lap << lapShift);
}
