/**
 * Words reached by the language's own `Atomics`, over shared and plain buffers alike: the fallback where a host has no
 * faster kernel, and what the simulator's memories are made of.
 *
 * Shape: 32-bit words; a pair is two neighbours at an even index, low word first.
 * Order: every call is one sequentially consistent access (ECMA-262 § 29), so a thread that loads a value stored here
 * also sees whatever the storing thread wrote before. Which words publish what is argued where the words are used.
 * Cost: one atomic a call, 10 to 15 ns (`anchors/perf.md` 2a); a pair about 30, because its two BigInts are allocated.
 */
import { assert, FabricError } from "./errors.ts";
import type { SharedWords } from "./ports.ts";

/** {@link SharedWords} by ECMAScript `Atomics`. Cheap to construct: every thread builds its own over the same buffer. */
export class AtomicsWords implements SharedWords {
  readonly #words: Int32Array;
  readonly #pairs: BigInt64Array;
  // Halves become a BigInt by way of memory, expected pair first. Shifting BigInts together costs four times as much
  // (31 against 134 ns a call, Node 24.21, 2026-11), and this way the low word comes first on any byte order.
  readonly #halves: Int32Array = new Int32Array(4);
  readonly #wholes: BigInt64Array = new BigInt64Array(this.#halves.buffer);

  /** Takes the words of `words`, which must begin at a multiple of eight bytes so that pairs are aligned. */
  constructor(words: Int32Array) {
    assert(
      words.byteOffset % 8 === 0,
      "words begin at a multiple of eight bytes",
      words.byteOffset,
    );
    this.#words = words;
    this.#pairs = new BigInt64Array(words.buffer, words.byteOffset, words.length >> 1);
  }

  /** @throws RangeError outside the words, as every method here. */
  load(index: number): number {
    return Atomics.load(this.#words, index);
  }

  store(index: number, value: number): void {
    Atomics.store(this.#words, index, value);
  }

  add(index: number, delta: number): number {
    return Atomics.add(this.#words, index, delta);
  }

  exchange(index: number, value: number): number {
    return Atomics.exchange(this.#words, index, value);
  }

  compareExchange(index: number, expected: number, replacement: number): number {
    return Atomics.compareExchange(this.#words, index, expected, replacement);
  }

  /** @throws InvariantError at an odd index, which would span two pairs. */
  compareExchangePair(
    index: number,
    expectedLow: number,
    expectedHigh: number,
    low: number,
    high: number,
  ): boolean {
    assert((index & 1) === 0, "a pair begins at an even index", index);
    this.#halves[0] = expectedLow;
    this.#halves[1] = expectedHigh;
    this.#halves[2] = low;
    this.#halves[3] = high;
    const expected = this.#wholes[0] as bigint;
    const replacement = this.#wholes[1] as bigint;
    return Atomics.compareExchange(this.#pairs, index / 2, expected, replacement) === expected;
  }

  wait(index: number, expected: number, timeoutMs: number): void {
    waitOn(this.#words, index, expected, timeoutMs);
  }

  waitAsync(index: number, expected: number, timeoutMs: number): Promise<void> {
    return waitOnAsync(this.#words, index, expected, timeoutMs);
  }

  wake(index: number): void {
    Atomics.notify(this.#words, index);
  }
}

/** {@link SharedWords.wait} on words of any shared memory: the language's own, which needs no kernel. */
export function waitOn(
  words: Int32Array,
  index: number,
  expected: number,
  timeoutMs: number,
): void {
  checkShared(words);
  // oxlint-disable-next-line eslint/no-restricted-properties -- this is the port that others wait through
  Atomics.wait(words as Int32Array<SharedArrayBuffer>, index, expected, timeoutMs);
}

/** {@link SharedWords.waitAsync} on words of any shared memory. */
export async function waitOnAsync(
  words: Int32Array,
  index: number,
  expected: number,
  timeoutMs: number,
): Promise<void> {
  checkShared(words);
  const shared = words as Int32Array<SharedArrayBuffer>;
  // oxlint-disable-next-line eslint/no-restricted-properties -- as above
  const outcome = Atomics.waitAsync(shared, index, expected, timeoutMs);
  if (outcome.async) await outcome.value;
}

function checkShared(words: Int32Array): void {
  if (words.buffer instanceof SharedArrayBuffer) return;
  throw new FabricError(
    "UNSUPPORTED",
    "Cannot wait: this memory belongs to one thread, which nobody would wake",
  );
}
