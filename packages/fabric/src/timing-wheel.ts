/**
 * Says which of many slots have reached their deadline: a hierarchical timing wheel. A slot is a small integer, its
 * id; arming and disarming one takes constant time however many are armed.
 *
 * Shape: time counts in ticks of 8 ms from `startMs`, and a tick has five digits of eight bits. A slot hangs in the
 * list of the bucket (level, digit), where level is the highest digit in which its tick differs from the present one.
 * A bucket of level n spans 256^n ticks. One record of 16 bytes per list sentinel and per slot: next and previous
 * record (Int32), instant (Float64). All zero is disarmed, so a slot never armed costs no resident memory.
 *
 * W1: a slot is handed out by the first `advance` that reaches its instant, and by none before.
 * W2: a slot in a bucket below the present digit of its level has reached its instant; so such a bucket is passed on
 *     whole, unread.
 * W3: at and above level 1 the bucket of the present digit is empty: `advance` sifts it into the levels below.
 * W4: every slot in the due list has reached its instant, and only `advance` puts one there.
 * W5: the occupancy bit of a bucket is set exactly when its list is not empty.
 *
 * Source: Varghese and Lauck, *Hashed and hierarchical timing wheels* (SOSP 1987), scheme 7. Levels by differing
 * digit, as here, leave no bucket that holds slots of two turns of its wheel.
 */
import { assert } from "./errors.ts";

/** The most slots one wheel has. */
export const WHEEL_CAPACITY_MAX = 67_108_864;

const tickMs = 8;
const digitBits = 8;
const digits = 1 << digitBits;
const levels = 5;
const topLevel = levels - 1;
const buckets = levels * digits;
// How far a wheel turns from its start: all five digits, 278 years.
const horizonMs = 2 ** (levels * digitBits) * tickMs;
// The low four digits of a tick fit one 32-bit word; the top digit is the rest.
const ticksPerTopDigit = 2 ** 32;

// Record 0 is nobody's, so that link 0 says "disarmed"; then a sentinel per bucket, that of the due list, the slots.
const bucketRecords = 1;
const dueRecord = bucketRecords + buckets;
const slotRecords = dueRecord + 1;

// A record is four Int32 or two Float64. Next and previous sit at `record << 2`, the instant at `(record << 1) + 1`.
const nextWord = 0;
const previousWord = 1;

/** Called with each due slot's id. Returns a later instant to arm it again, or a negative number. */
export type OnDue = (id: number) => number;

/** The highest digit in which two ticks differ, given as top digits and low words; 0 for equal ticks. */
function levelBetween(top: number, low: number, nowTop: number, nowLow: number): number {
  if (top !== nowTop) return topLevel;
  return (31 - Math.clz32((low ^ nowLow) | 1)) >>> 3;
}

/** Deadlines of slots 0 to `capacity` - 1. Instants are whole milliseconds on the caller's clock. */
export class TimingWheel {
  /** How many slots there are. */
  readonly capacity: number;
  readonly #startMs: number;
  #nowMs: number;
  #nowTop = 0;
  #nowLow = 0;
  readonly #links: Int32Array<ArrayBuffer>;
  readonly #instants: Float64Array<ArrayBuffer>;
  // The last word's bit is the due list's: set and cleared like any other, never searched.
  readonly #occupied = new Int32Array((buckets >>> 5) + 1);

  /** Cost: 16 bytes of address space a slot; resident memory only for slots once armed. */
  constructor(capacity: number, startMs: number) {
    assert(
      Number.isInteger(capacity) && capacity >= 1 && capacity <= WHEEL_CAPACITY_MAX,
      "a wheel has 1 to WHEEL_CAPACITY_MAX slots",
      capacity,
    );
    // Not below 0, so that no instant still to come can be taken for `onDue`'s negative answer.
    assert(
      Number.isSafeInteger(startMs) && startMs >= 0,
      "the start is a whole number of ms from 0 up",
      startMs,
    );
    this.capacity = capacity;
    this.#startMs = startMs;
    this.#nowMs = startMs;
    const records = new ArrayBuffer((slotRecords + capacity) * 16);
    this.#links = new Int32Array(records);
    this.#instants = new Float64Array(records);
    for (let record = bucketRecords; record < slotRecords; record++) this.#empty(record);
  }

  /** Arms a disarmed slot. An instant not after the last `advance` is due at the next one. Cost: constant. */
  schedule(id: number, atMs: number): void {
    const record = this.#recordOf(id);
    assert(this.#links[record << 2] === 0, "the slot is disarmed", id);
    assert(Number.isSafeInteger(atMs), "an instant is a whole number of ms", atMs);
    this.#instants[(record << 1) + 1] = atMs;
    this.#append(this.#bucketFor(atMs), record);
  }

  /**
   * Sees to it that a slot is handed out no later than at `atMs`: arms it, or arms it earlier. One that is armed for an
   * earlier instant stays as it is. Cost: constant.
   */
  scheduleBy(id: number, atMs: number): void {
    const record = this.#recordOf(id);
    if (this.#links[record << 2] !== 0) {
      if ((this.#instants[(record << 1) + 1] as number) <= atMs) return;
      this.#remove(record);
    }
    this.schedule(id, atMs);
  }

  /** Disarms a slot; nothing happens if it is not armed. Cost: constant. */
  cancel(id: number): void {
    const record = this.#recordOf(id);
    if (this.#links[record << 2] !== 0) this.#remove(record);
  }

  /** True from `schedule` until the slot is handed out or cancelled. */
  isArmed(id: number): boolean {
    return this.#links[this.#recordOf(id) << 2] !== 0;
  }

  /**
   * Disarms every slot whose instant is not after `nowMs` and calls `onDue` with it (W1). The order is by bucket:
   * nearly, not exactly, that of the instants. A `nowMs` before the last one is ignored.
   *
   * `onDue` may schedule and cancel any slot: one that it cancels is not handed out any more, and one that it
   * schedules waits for the next call even if due. If it throws, the slots not yet handed out stay armed and due.
   * Cost: constant per slot handed out or sifted a level down; however far time jumps, 40 words of empty buckets.
   * @returns how many slots were handed out
   */
  advance(nowMs: number, onDue: OnDue): number {
    if (nowMs < this.#nowMs) return 0;
    assert(Number.isSafeInteger(nowMs), "the time is a whole number of ms", nowMs);
    assert(nowMs - this.#startMs < horizonMs, "the time is within the wheel's 278 years", nowMs);
    this.#collect(nowMs);
    // By W4 the list only shrinks here, so it ends: `schedule` links to a bucket, even what is due already.
    const links = this.#links;
    const first = (dueRecord << 2) + nextWord;
    let handedOut = 0;
    for (;;) {
      const record = links[first] as number;
      if (record === dueRecord) return handedOut;
      this.#remove(record);
      handedOut++;
      const id = record - slotRecords;
      const againAtMs = onDue(id);
      if (againAtMs < 0) continue;
      assert(againAtMs > nowMs, "a slot is armed again for later than now", againAtMs);
      this.schedule(id, againAtMs);
    }
  }

  /**
   * An instant before which no slot is due: at worst the start of the bucket of the first one, and past or present
   * only if a slot is due already. Undefined when none is armed.
   * Cost: at most 41 words, and the slots of the present tick.
   */
  nextDueMs(): number | undefined {
    if (this.#links[dueRecord << 2] !== dueRecord) return this.#nowMs;
    // Any bucket of a level is before any of a higher one: up to the latter's level they share the present's digits.
    for (let bucket = 0; bucket < buckets; bucket += 32) {
      const word = this.#occupied[bucket >>> 5] as number;
      if (word !== 0) return this.#earliestIn(bucket + 31 - Math.clz32(word & -word));
    }
    return undefined;
  }

  #recordOf(id: number): number {
    assert((id | 0) === id && id >= 0 && id < this.capacity, "the slot is in the wheel", id);
    return slotRecords + id;
  }

  /** The record of the bucket that spans `atMs`; of the present bucket, if that is past. */
  #bucketFor(atMs: number): number {
    // Past the horizon is the last tick: a slot there is sifted by its exact instant like any other.
    const aheadMs = Math.min(Math.max(atMs, this.#nowMs) - this.#startMs, horizonMs - 1);
    const low = (aheadMs / tickMs) | 0;
    const top = (aheadMs / (tickMs * ticksPerTopDigit)) | 0;
    const level = levelBetween(top, low, this.#nowTop, this.#nowLow);
    const digit = level === topLevel ? top : (low >>> (level * digitBits)) & (digits - 1);
    return bucketRecords + level * digits + digit;
  }

  /** Moves time to `nowMs` and every slot that has reached its instant to the due list, the earlier levels first. */
  #collect(nowMs: number): void {
    const aheadMs = nowMs - this.#startMs;
    // `| 0` keeps the low 32 bits of the tick, exactly: it is below 2^40.
    const low = (aheadMs / tickMs) | 0;
    const top = (aheadMs / (tickMs * ticksPerTopDigit)) | 0;
    const level = levelBetween(top, low, this.#nowTop, this.#nowLow);
    this.#nowMs = nowMs;
    this.#nowTop = top;
    this.#nowLow = low;
    const digit = level === topLevel ? top : (low >>> (level * digitBits)) & (digits - 1);
    const present = level * digits + digit;
    // Every level below has turned past all its slots, and this one past those below its digit (W2). No digit above
    // changed. The sift comes last, because it fills the levels below anew.
    for (let base = 0; base <= present; base += 32) {
      let word = this.#occupied[base >>> 5] as number;
      if (base + 32 > present) word &= ~(-1 << (present & 31));
      while (word !== 0) {
        const bit = word & -word;
        this.#passOn(base + 31 - Math.clz32(bit));
        word ^= bit;
      }
    }
    if (((this.#occupied[present >>> 5] as number) & (1 << (present & 31))) !== 0)
      this.#sift(present);
  }

  /** Appends a bucket's whole list to the due list. Cost: constant. */
  #passOn(bucket: number): void {
    const links = this.#links;
    const sentinel = bucketRecords + bucket;
    const first = links[(sentinel << 2) + nextWord] as number;
    const last = links[(sentinel << 2) + previousWord] as number;
    const dueLast = links[(dueRecord << 2) + previousWord] as number;
    this.#empty(sentinel);
    links[(dueLast << 2) + nextWord] = first;
    links[(first << 2) + previousWord] = dueLast;
    links[(last << 2) + nextWord] = dueRecord;
    links[(dueRecord << 2) + previousWord] = last;
  }

  /** Sends each slot of a bucket to the due list or, as seen from the present tick, to its bucket (W3). */
  #sift(bucket: number): void {
    const links = this.#links;
    const sentinel = bucketRecords + bucket;
    let record = links[(sentinel << 2) + nextWord] as number;
    this.#empty(sentinel);
    // Ends at the sentinel: the last slot's link is read before `#append` writes it.
    while (record !== sentinel) {
      const next = links[(record << 2) + nextWord] as number;
      const atMs = this.#instants[(record << 1) + 1] as number;
      this.#append(atMs <= this.#nowMs ? dueRecord : this.#bucketFor(atMs), record);
      record = next;
    }
  }

  /** The exact first instant in the bucket of the present tick, and in any other the first it spans. */
  #earliestIn(bucket: number): number {
    const shift = (bucket >>> digitBits) * digitBits;
    const digit = bucket & (digits - 1);
    if (shift === 0 && digit === (this.#nowLow & (digits - 1)))
      return this.#earliestPresent(bucket);
    // The digits above the bucket's own are the present tick's, those below are 0.
    const span = 2 ** shift;
    const nowTick = this.#nowTop * ticksPerTopDigit + (this.#nowLow >>> 0);
    const turn = Math.floor(nowTick / (span * digits)) * digits;
    return this.#startMs + (turn + digit) * span * tickMs;
  }

  #earliestPresent(bucket: number): number {
    const sentinel = bucketRecords + bucket;
    let earliestMs = Infinity;
    let record = this.#links[sentinel << 2] as number;
    while (record !== sentinel) {
      earliestMs = Math.min(earliestMs, this.#instants[(record << 1) + 1] as number);
      record = this.#links[record << 2] as number;
    }
    return earliestMs;
  }

  /** Makes a sentinel's list empty and clears its bit (W5). */
  #empty(sentinel: number): void {
    this.#links[(sentinel << 2) + nextWord] = sentinel;
    this.#links[(sentinel << 2) + previousWord] = sentinel;
    const bucket = sentinel - bucketRecords;
    this.#occupied[bucket >>> 5] = (this.#occupied[bucket >>> 5] as number) & ~(1 << (bucket & 31));
  }

  /** Links a record at the end of a sentinel's list and sets its bit (W5). */
  #append(sentinel: number, record: number): void {
    const links = this.#links;
    const last = links[(sentinel << 2) + previousWord] as number;
    links[(record << 2) + nextWord] = sentinel;
    links[(record << 2) + previousWord] = last;
    links[(last << 2) + nextWord] = record;
    links[(sentinel << 2) + previousWord] = record;
    const bucket = sentinel - bucketRecords;
    this.#occupied[bucket >>> 5] = (this.#occupied[bucket >>> 5] as number) | (1 << (bucket & 31));
  }

  /** Takes a slot's record out of its list and disarms it. */
  #remove(record: number): void {
    const links = this.#links;
    const next = links[(record << 2) + nextWord] as number;
    const previous = links[(record << 2) + previousWord] as number;
    links[(next << 2) + previousWord] = previous;
    links[(previous << 2) + nextWord] = next;
    links[(record << 2) + nextWord] = 0;
    // Only the sentinel of a list that is now empty is on both sides.
    if (next === previous) this.#empty(next);
  }
}
