/**
 * Words as the language's memory model has them: of each, every write since the threads began, and what happened before
 * it. A plain access may find any write that nothing hides; an ordered one finds the newest ordered write, or a plain one
 * that races with it.
 *
 * The model is ECMA-262 § 29, made smaller. What it leaves out: a read never finds a write that is executed after it
 * (no load buffering); a plain write takes its place among its word's writes when it is executed; a word of 32 bits is
 * the smallest thing that is written, so two bytes of one word are ordered together; and an ordered access of one word
 * synchronises with one of a pair, as processors do it, though the language says so of equal ranges only.
 */

/**
 * What a plain read may find. `"newest"`: what was written last, as if every access were ordered. `"coherent"`: also an
 * older write that no other hides, but for one word never older than what this thread has found there before, which is
 * what processors do. `"weak"`: any write that no other hides, which is what the language allows.
 */
export type PlainReads = "newest" | "coherent" | "weak";

/** So many times a thread finds one write hidden by staleness; then it finds it, or nothing would ever end. */
const staleReadsMax = 2;

interface Write {
  readonly value: number;
  readonly thread: number;
  /** The thread's count of writes, this one included. */
  readonly time: number;
  readonly isOrdered: boolean;
  /** What the thread had seen: for each thread, its writes up to this count. */
  readonly clock: readonly number[];
}

interface Word {
  readonly writes: Write[];
  /** Of each thread: the oldest write that it may still find, as far as it has looked. */
  readonly seen: number[];
  /** Of each thread: how often it has found something older since the newest write. */
  stale: number[];
}

/** The words of one memory, and their histories. */
export class WeakWords {
  /** What was written last. */
  readonly newest: Int32Array;
  #before: Int32Array;
  readonly #histories: (Word | undefined)[] = [];
  readonly #touched: number[] = [];

  constructor(newest: Int32Array) {
    this.newest = newest;
    this.#before = newest.slice();
  }

  /** What stands there now is what every thread has seen when it begins. */
  begin(): void {
    this.#before = this.newest.slice();
    this.#histories.length = 0;
    this.#touched.length = 0;
  }

  /** Back to what stood there at `begin`. */
  rewind(): void {
    for (const index of this.#touched) {
      this.newest[index] = this.#before[index] as number;
      this.#histories[index] = undefined;
    }
    this.#touched.length = 0;
  }

  /** How many writes a read of a word may find: 1 where only the newest. */
  choices(index: number, thread: number, clocks: Clocks, reads: PlainReads | "ordered"): number {
    const word = this.#histories[index];
    if (word === undefined || reads === "newest") return 1;
    if ((word.stale[thread] ?? 0) >= staleReadsMax) return 1;
    return this.#visible(word, thread, clocks, reads).length;
  }

  /** Reads a word: choice 0 is the newest write, the others are older ones. */
  read(
    index: number,
    thread: number,
    clocks: Clocks,
    reads: PlainReads | "ordered",
    choice: number,
  ): number {
    const word = this.#histories[index];
    if (word === undefined) return this.newest[index] as number;
    const at =
      choice === 0
        ? word.writes.length - 1
        : (this.#visible(word, thread, clocks, reads)[choice] as number);
    if (choice > 0) word.stale[thread] = (word.stale[thread] ?? 0) + 1;
    word.seen[thread] = Math.max(word.seen[thread] ?? -1, at);
    if (at < 0) return this.#before[index] as number;
    const write = word.writes[at] as Write;
    if (reads === "ordered" && write.isOrdered) clocks.join(thread, write.clock);
    return write.value;
  }

  /** Writes a word. An ordered write is what others synchronise with. */
  write(index: number, value: number, thread: number, clocks: Clocks, isOrdered: boolean): void {
    let word = this.#histories[index];
    if (word === undefined) {
      word = { writes: [], seen: [], stale: [] };
      this.#histories[index] = word;
      this.#touched.push(index);
    }
    const time = clocks.tick(thread);
    word.writes.push({ value: value | 0, thread, time, isOrdered, clock: clocks.copy(thread) });
    word.seen[thread] = word.writes.length - 1;
    if (word.stale.length > 0) word.stale = [];
    this.newest[index] = value;
  }

  // Places in `writes`, newest first; -1 is what stood there when the threads began.
  #visible(word: Word, thread: number, clocks: Clocks, reads: PlainReads | "ordered"): number[] {
    const { writes } = word;
    // Ordered accesses are processors' own, which never go back.
    const least = reads === "weak" ? -1 : (word.seen[thread] ?? -1);
    const visible: number[] = [];
    for (let at = writes.length - 1; at >= least; at--) {
      if (!isHidden(writes, at, thread, clocks)) visible.push(at);
      // One order of all ordered accesses: none finds what is older than the newest ordered write.
      if (reads === "ordered" && at >= 0 && (writes[at] as Write).isOrdered) break;
    }
    return visible;
  }
}

// Whether the reader has seen a later write that came after this one.
function isHidden(writes: readonly Write[], at: number, thread: number, clocks: Clocks): boolean {
  const write = writes[at];
  for (let later = at + 1; later < writes.length; later++) {
    const other = writes[later] as Write;
    const isAfter = write === undefined || (other.clock[write.thread] as number) >= write.time;
    if (isAfter && clocks.has(thread, other.thread, other.time)) return true;
  }
  return false;
}

/** What each thread has seen of every other's writes. */
export class Clocks {
  readonly #clocks: number[][];

  constructor(threads: number) {
    this.#clocks = Array.from({ length: threads }, () => Array.from({ length: threads }, () => 0));
  }

  reset(): void {
    for (const clock of this.#clocks) clock.fill(0);
  }

  tick(thread: number): number {
    const clock = this.#clocks[thread] as number[];
    const time = (clock[thread] as number) + 1;
    clock[thread] = time;
    return time;
  }

  has(thread: number, other: number, time: number): boolean {
    return ((this.#clocks[thread] as number[])[other] as number) >= time;
  }

  copy(thread: number): readonly number[] {
    return (this.#clocks[thread] as number[]).slice();
  }

  join(thread: number, seen: readonly number[]): void {
    const clock = this.#clocks[thread] as number[];
    for (let other = 0; other < seen.length; other++)
      if ((seen[other] as number) > (clock[other] as number)) clock[other] = seen[other] as number;
  }
}
