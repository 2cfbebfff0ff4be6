/**
 * What the two ends of a ring with one producer and one consumer tell each other beside its values: which value of a
 * longer stream the first one is, how many have been dealt with, and that a new ring is wanted. The ring gives these
 * words no meaning.
 *
 * N1: counts are of this ring, and whoever keeps a stream going leaves a ring before 2^31 values: they never wrap.
 * N2: the number of the first value is written once, before its checksum; without that it is not there.
 */
import type { LeaseRegion, MemLease } from "@selvage/fabric";
import {
  ACKNOWLEDGED,
  ASKED,
  baseOf,
  damaged,
  ENDED,
  FIRST,
  HEAD_COUNT,
  TAIL_COUNT,
} from "./ring-layout.ts";

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

/** The notes of one ring. Every access throws the lease's errors once that has ended. */
export class RingNotes {
  readonly #lease: MemLease;
  readonly #region: LeaseRegion;

  constructor(lease: MemLease, region: LeaseRegion) {
    this.#lease = lease;
    this.#region = region;
  }

  /** Says which value of the stream the ring's first one is. */
  begin({ number, isAnew }: FirstValue): void {
    const low = (number % lowRange) | 0;
    const high = Math.floor(number / lowRange) | (isAnew ? anewBit : 0);
    this.#store(FIRST, low);
    this.#store(FIRST + 1, high);
    this.#store(FIRST + 2, checksumOf(low, high));
  }

  /** Which value of the stream the first one is; undefined: nobody has said. @throws FabricError `CORRUPT_RECORD`. */
  first(): FirstValue | undefined {
    const low = this.#load(FIRST);
    const high = this.#load(FIRST + 1);
    const checksum = this.#load(FIRST + 2);
    if (checksum === 0) return undefined;
    const number = (high & ~anewBit) * lowRange + (low >>> 0);
    if (checksum !== checksumOf(low, high) || !Number.isSafeInteger(number) || number < 0)
      throw damaged("the number of its first value is none");
    return { number, isAnew: (high & anewBit) !== 0 };
  }

  /** How many values were published. */
  get published(): number {
    return this.#load(TAIL_COUNT) >>> 0;
  }

  /** How many values were popped, and their room given back. */
  get popped(): number {
    return this.#load(HEAD_COUNT) >>> 0;
  }

  /** How many values the consumer has dealt with. */
  get acknowledged(): number {
    return this.#load(ACKNOWLEDGED) >>> 0;
  }
  set acknowledged(count: number) {
    this.#store(ACKNOWLEDGED, count | 0);
  }

  /** Whether the consumer asks for a new ring. */
  get isAsked(): boolean {
    return this.#load(ASKED) !== 0;
  }

  /** Asks for a new ring. */
  ask(): void {
    this.#store(ASKED, 1);
  }

  /** Whether the stream ends with what is in the ring. Said before it is closed. */
  get isEnded(): boolean {
    return this.#load(ENDED) !== 0;
  }

  /** Says that the stream ends with what is in the ring. */
  end(): void {
    this.#store(ENDED, 1);
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
function checksumOf(low: number, high: number): number {
  const mixed = Math.imul(low ^ salt, 0x9e37_79b1) ^ Math.imul(high ^ (salt >>> 7), 0x85eb_ca6b);
  return mixed | 1;
}
