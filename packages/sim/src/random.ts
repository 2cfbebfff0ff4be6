/**
 * Random numbers that a seed gives: integers only, in streams that are split by label, so that one draw more in one
 * place shifts no other place's.
 *
 * xoshiro128** by Blackman and Vigna; a stream's state is a hash of the run's seed and the stream's label.
 */
import { invalidArgument } from "@selvage/fabric";

/** One stream of a run. */
export class RandomStream {
  readonly label: string;
  readonly #seed: string;
  #a: number;
  #b: number;
  #c: number;
  #d: number;

  /** @param seed - of the run: any text. @param label - of the stream. */
  constructor(seed: string, label: string) {
    this.label = label;
    this.#seed = seed;
    const hash = hasher(`${seed}\u0000${label}`);
    this.#a = hash();
    this.#b = hash();
    this.#c = hash();
    // All zeros would stay zeros.
    this.#d = hash() | 1;
  }

  /** A stream of its own under this one: `label/part`. */
  split(part: string): RandomStream {
    return new RandomStream(this.#seed, `${this.label}/${part}`);
  }

  /** From 0 to 2^32 - 1. */
  uint32(): number {
    const result = Math.imul(rotate(Math.imul(this.#b, 5), 7), 9) >>> 0;
    const shifted = this.#b << 9;
    this.#c ^= this.#a;
    this.#d ^= this.#b;
    this.#b ^= this.#c;
    this.#a ^= this.#d;
    this.#c ^= shifted;
    this.#d = rotate(this.#d, 11);
    return result;
  }

  /** A whole number from 0 up to `count` - 1; `count` from 1 to 2^32. @throws FabricError `INVALID_ARGUMENT`. */
  below(count: number): number {
    if (!Number.isInteger(count) || count < 1 || count > 2 ** 32)
      throw invalidArgument("count", "a whole number from 1 to 2^32", count);
    // What would fall into the last, incomplete run of `count` is drawn again.
    const end = 2 ** 32 - (2 ** 32 % count);
    for (;;) {
      const drawn = this.uint32();
      if (drawn < end) return drawn % count;
    }
  }

  /** A whole number from `least` to `most`. */
  between(least: number, most: number): number {
    return least + this.below(most - least + 1);
  }

  /** True `of` times in `in_`: integers, so that no rounding decides. */
  chance(of: number, in_: number): boolean {
    return this.below(in_) < of;
  }

  /** One of `list`, which is not empty. */
  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)] as T;
  }

  /** A number from `least` to `most`, as likely between 1 and 2 as between 100 and 200. */
  spread(least: number, most: number): number {
    const low = Math.max(1, least);
    const doublings = 31 - Math.clz32(Math.max(1, Math.floor(most / low)));
    const floor = low * 2 ** this.below(doublings + 1);
    return Math.min(most, this.between(floor, Math.max(floor, Math.min(most, floor * 2 - 1))));
  }

  /** Fills `words`: the fabric's `Random` port. */
  fill(words: Int32Array): void {
    for (let index = 0; index < words.length; index++) words[index] = this.uint32() | 0;
  }
}

function rotate(word: number, by: number): number {
  return (word << by) | (word >>> (32 - by));
}

// Two 32-bit hashes of the text, FNV-1a from two beginnings, so that 64 bits tell two streams apart; each word that is
// asked for is both of them, finished by MurmurHash3's mixer.
function hasher(text: string): () => number {
  let one = 0x811c9dc5;
  let two = 0x2545f491;
  for (let index = 0; index < text.length; index++) {
    const unit = text.charCodeAt(index);
    one = Math.imul(one ^ unit, 0x01000193);
    two = Math.imul(rotate(two, 5) ^ unit, 0x9e3779b1);
  }
  return () => {
    one = (one + 0x9e3779b9) | 0;
    two = (two + 0x7f4a7c15) | 0;
    return mixed(one) ^ rotate(mixed(two), 16);
  };
}

function mixed(state: number): number {
  let word = state ^ (state >>> 16);
  word = Math.imul(word, 0x85ebca6b);
  word ^= word >>> 13;
  word = Math.imul(word, 0xc2b2ae35);
  return word ^ (word >>> 16);
}
