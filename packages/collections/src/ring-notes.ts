/**
 * What the two ends of a ring with one producer and one consumer tell each other beside its values: which value of a
 * longer stream the first one is, how many have been dealt with, and that a new ring is wanted. The ring gives these
 * words no meaning.
 *
 * Every word but a count of values carries what shows that it was written so: a stray write is found, and not believed.
 *
 * N1: counts are of this ring, and whoever keeps a stream going leaves a ring before 2^31 values: they never wrap.
 * N2: the number of the first value is written once, before its checksum; without that it is not there.
 */
import type { LeaseRegion, MemLease } from "@selvage/fabric";
import { Doorbell } from "./doorbell.ts";
import { block, rest, waitForRoom, type Pending } from "./queue-wait.ts";
import type { Ring } from "./ring-side.ts";
import {
  ACKNOWLEDGED,
  ASKED,
  baseOf,
  damaged,
  DEALT_BELL,
  ENDED,
  FIRST,
  HEAD_COUNT,
  isSettled,
  SETTLED,
  TAIL_COUNT,
} from "./ring-layout.ts";

/** A pair of words may be stored between two loads. */
const looksMax = 1_000;
const lowRange = 2 ** 32;
const salt = 0x5eaf_00d1;
// In the high word, above what a number has there.
const anewBit = 2 ** 30;

/** Which value of a stream a ring begins with. */
export interface FirstValue {
  readonly number: number;
  /** True when numbers begin anew: how many came between the last value before and this one is not known. */
  readonly isAnew: boolean;
}

/** Why the consumer asks for a new ring: it needs what was taken from this one by another, or has found it damaged. */
export type RingAsking = "behind" | "corrupt";

/** The notes of one ring. Every access throws the lease's errors once that has ended. */
export class RingNotes {
  readonly #lease: MemLease;
  readonly #region: LeaseRegion;
  readonly #ring: Ring;
  readonly #dealt: Doorbell;

  constructor(ring: Ring) {
    this.#lease = ring.lease;
    this.#region = ring.region;
    this.#ring = ring;
    this.#dealt = new Doorbell(ring.region, baseOf(ring.region) + DEALT_BELL);
  }

  /** Says which value of the stream the ring's first one is. */
  begin({ number, isAnew }: FirstValue): void {
    // One more than the number: words that were never written, and a stray zero, are told apart.
    const low = ((number + 1) % lowRange) | 0;
    const high = Math.floor((number + 1) / lowRange) | (isAnew ? anewBit : 0);
    this.#store(FIRST, low);
    this.#store(FIRST + 1, high);
    this.#store(FIRST + 2, checksumOf(low, high));
  }

  /** Which value of the stream the first one is; undefined: nobody has said. @throws FabricError `CORRUPT_RECORD`. */
  first(): FirstValue | undefined {
    const low = this.#load(FIRST);
    const high = this.#load(FIRST + 1);
    const checksum = this.#load(FIRST + 2);
    if (checksum === 0 && low === 0 && high === 0) return undefined;
    const number = (high & ~anewBit) * lowRange + (low >>> 0) - 1;
    if (checksum !== checksumOf(low, high) || !Number.isSafeInteger(number) || number < 0)
      throw damaged("the number of its first value is none");
    return { number, isAnew: (high & anewBit) !== 0 };
  }

  /**
   * How many values were published. @throws FabricError `CORRUPT_RECORD`: unknown, because a producer died while it published,
   * or because of a stray write.
   */
  get published(): number {
    return this.#count(TAIL_COUNT);
  }

  /** How many values were popped, and their room given back. Errors as `published`. */
  get popped(): number {
    return this.#count(HEAD_COUNT);
  }

  /** How many values the consumer has dealt with. @throws FabricError `CORRUPT_RECORD`. */
  get acknowledged(): number {
    for (let looks = 0; looks < looksMax; looks++) {
      const count = this.#load(ACKNOWLEDGED);
      const mark = this.#load(ACKNOWLEDGED + 1);
      if (count === 0 && mark === 0) return 0;
      if (mark === markOf(count, ACKNOWLEDGED)) return count >>> 0;
    }
    throw damaged("nobody has acknowledged so many values");
  }
  set acknowledged(count: number) {
    this.#lease.assertLive();
    const { words } = this.#region.memory;
    const at = baseOf(this.#region) + ACKNOWLEDGED;
    // In one step: whoever reads in between would take it for damage. There is one who writes.
    while (
      !words.compareExchangePair(
        at,
        words.load(at),
        words.load(at + 1),
        count | 0,
        markOf(count | 0, ACKNOWLEDGED),
      )
    );
    this.#dealt.ring();
  }

  /**
   * Waits, blocking the thread, until another number of values than `count` has been dealt with. False when the time was up.
   * Errors as `acknowledged`; `UNSUPPORTED` where no other thread can say so (`shared: false`).
   */
  waitForAcknowledged(count: number, timeoutMs: number = Infinity): boolean {
    return block(this.#forMore(count, timeoutMs)) ?? false;
  }

  /** As `waitForAcknowledged`, without blocking the thread. */
  async acknowledgedAsync(count: number, timeoutMs: number = Infinity): Promise<boolean> {
    return (await rest(this.#forMore(count, timeoutMs))) ?? false;
  }

  /** Why the consumer asks for a new ring, if it does. */
  get asked(): RingAsking | undefined {
    const why = this.#load(ASKED);
    if (why === 0) return undefined;
    return why === 1 ? "behind" : "corrupt";
  }

  /** Asks for a new ring. */
  ask(why: RingAsking): void {
    this.#store(ASKED, why === "behind" ? 1 : 2);
  }

  /** Whether the stream ends with the ring's first `count` values. */
  isEndedAt(count: number): boolean {
    return this.#load(ENDED) === markOf(count | 0, ENDED);
  }

  /** Says that the stream ends with the ring's first `count` values: those are all. Said before it is closed. */
  end(count: number): void {
    this.#store(ENDED, markOf(count | 0, ENDED));
  }

  #forMore(count: number, timeoutMs: number): Pending<true> {
    return waitForRoom(this.#ring, this.#dealt, timeoutMs, () => this.acknowledged !== count);
  }

  #count(at: number): number {
    const count = this.#load(at);
    const position = this.#load(at - 1);
    const mark = this.#load(at + SETTLED);
    // Stored before the position, and after it.
    if (!isSettled(count, position, mark))
      throw damaged("how many values it has carried is unknown");
    return count >>> 0;
  }

  #load(at: number): number {
    this.#lease.assertLive();
    return this.#region.memory.words.load(baseOf(this.#region) + at);
  }

  #store(at: number, value: number): void {
    this.#lease.assertLive();
    this.#region.memory.words.store(baseOf(this.#region) + at, value);
  }
}

// Never 0.
function markOf(count: number, at: number): number {
  return checksumOf(count, at);
}

// Never 0.
function checksumOf(low: number, high: number): number {
  const mixed = Math.imul(low ^ salt, 0x9e37_79b1) ^ Math.imul(high ^ (salt >>> 7), 0x85eb_ca6b);
  return mixed | 1;
}
