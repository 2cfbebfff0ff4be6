/** Tasks that are ready, in the order in which they start: most dependants first, then as they came. */

/**
 * A queue by rank. Its links stand in an array that several queues share, a task being in one of them at most; so no
 * queue allocates as it works, and `push` and `pop` take constant time.
 */
export class ReadyQueue {
  readonly #rankOf: Uint16Array;
  readonly #next: Int32Array;
  // First and last task of each rank; -1: none.
  readonly #heads: Int32Array;
  readonly #tails: Int32Array;
  // A bit for each rank that has a task, and one for each of those words that has a bit.
  readonly #words: Int32Array;
  #summary = 0;

  /** `next` has an entry for every task. */
  constructor(rankOf: Uint16Array, ranks: number, next: Int32Array) {
    this.#rankOf = rankOf;
    this.#next = next;
    this.#heads = new Int32Array(ranks).fill(-1);
    this.#tails = new Int32Array(ranks).fill(-1);
    this.#words = new Int32Array((ranks + 31) >> 5);
  }

  /** Adds a task that is in no queue. */
  push(task: number): void {
    const rank = this.#rankOf[task] as number;
    this.#next[task] = -1;
    const tail = this.#tails[rank] as number;
    this.#tails[rank] = task;
    if (tail >= 0) {
      this.#next[tail] = task;
      return;
    }
    const word = rank >> 5;
    this.#heads[rank] = task;
    this.#words[word] = (this.#words[word] as number) | (1 << (rank & 31));
    this.#summary |= 1 << word;
  }

  /** The rank of the task that `pop` would give; -1 where there is none. */
  topRank(): number {
    if (this.#summary === 0) return -1;
    const word = 31 - Math.clz32(this.#summary);
    return (word << 5) + 31 - Math.clz32(this.#words[word] as number);
  }

  /** Takes the first task off; -1 where there is none. */
  pop(): number {
    const rank = this.topRank();
    if (rank < 0) return -1;
    const task = this.#heads[rank] as number;
    const next = this.#next[task] as number;
    this.#heads[rank] = next;
    if (next >= 0) return task;
    this.#tails[rank] = -1;
    const word = rank >> 5;
    const bits = (this.#words[word] as number) & ~(1 << (rank & 31));
    this.#words[word] = bits;
    if (bits === 0) this.#summary &= ~(1 << word);
    return task;
  }
}
