/** Accesses to words as the model carries them out, and what each of them touches. */
import type { AccessKind, ModelMemory } from "./stepping-memory.ts";
import { Clocks, type PlainReads } from "./weak-words.ts";

/** The place of a word, as schedulers tell them apart; one more is the place of its sleepers. */
export function wordPlace(memory: ModelMemory, at: number): number {
  return (memory.index * 2 ** 26 + at) * 2;
}

/** The accesses of one exploration. */
export class Accesses {
  readonly clocks: Clocks;
  /** What the last access has touched. */
  readonly places: number[] = [];
  readonly writes: boolean[] = [];
  readonly #reads: PlainReads;

  constructor(threads: number, reads: PlainReads) {
    this.clocks = new Clocks(threads);
    this.#reads = reads;
  }

  touch(place: number, isWrite: boolean): void {
    this.places.push(place);
    this.writes.push(isWrite);
  }

  /** How many writes the access may find, in all combinations. */
  choices(thread: number, kind: AccessKind, memory: ModelMemory | undefined, at: number): number {
    const reads = this.#reads;
    if (memory === undefined || reads === "newest") return 1;
    const { words } = memory;
    if (kind === "load") return words.choices(at, thread, this.clocks, "ordered");
    if (kind === "read") return words.choices(at, thread, this.clocks, reads);
    if (kind !== "readDouble") return 1;
    const low = words.choices(at, thread, this.clocks, reads);
    return low * words.choices(at + 1, thread, this.clocks, reads);
  }

  /** Carries out an access to one word. */
  word(
    index: number,
    kind: AccessKind,
    memory: ModelMemory,
    at: number,
    a: number,
    b: number,
    outcome: number,
  ): number {
    const { words } = memory;
    const clocks = this.clocks;
    const word = kind === "writeByte" ? at >> 2 : at;
    const place = wordPlace(memory, word);
    if (kind === "read" || kind === "load") {
      this.touch(place, false);
      const reads = kind === "load" ? "ordered" : this.#reads;
      return words.read(word, index, clocks, reads, outcome);
    }
    if (kind === "write" || kind === "writeByte") {
      this.touch(place, true);
      const shift = (at & 3) * 8;
      const value =
        kind === "write"
          ? a
          : ((words.newest[word] as number) & ~(0xff << shift)) | ((a & 0xff) << shift);
      words.write(word, value, index, clocks, false);
      return 0;
    }
    if (kind === "store") {
      this.touch(place, true);
      words.write(word, a, index, clocks, true);
      return 0;
    }
    const before = words.read(word, index, clocks, "ordered", 0);
    const isChanged = kind !== "compareExchange" || before === (a | 0);
    this.touch(place, isChanged);
    const after = kind === "add" ? before + a : kind === "exchange" ? a : b;
    if (isChanged) words.write(word, after, index, clocks, true);
    return before;
  }

  /** Carries out an access to two words, the first at an even index. */
  wide(
    index: number,
    kind: AccessKind,
    memory: ModelMemory,
    at: number,
    given: readonly number[],
    outcome: number,
  ): number {
    const { words } = memory;
    const clocks = this.clocks;
    const [low, high] = [wordPlace(memory, at), wordPlace(memory, at + 1)];
    if (kind === "readDouble") {
      this.touch(low, false);
      this.touch(high, false);
      const lows = outcome === 0 ? 1 : words.choices(at, index, clocks, this.#reads);
      halves[0] = words.read(at, index, clocks, this.#reads, outcome % lows);
      halves[1] = words.read(at + 1, index, clocks, this.#reads, Math.floor(outcome / lows));
      return double[0] as number;
    }
    let isChanged = true;
    let [newLow, newHigh] = [given[2] as number, given[3] as number];
    if (kind === "writeDouble") {
      double[0] = given[0] as number;
      [newLow, newHigh] = [halves[0] as number, halves[1] as number];
    } else {
      const foundLow = words.read(at, index, clocks, "ordered", 0);
      const foundHigh = words.read(at + 1, index, clocks, "ordered", 0);
      isChanged =
        foundLow === ((given[0] as number) | 0) && foundHigh === ((given[1] as number) | 0);
    }
    this.touch(low, isChanged);
    this.touch(high, isChanged);
    if (!isChanged) return 0;
    words.write(at, newLow, index, clocks, kind !== "writeDouble");
    words.write(at + 1, newHigh, index, clocks, kind !== "writeDouble");
    return 1;
  }
}

const double = new Float64Array(1);
const halves = new Int32Array(double.buffer);

/** What an access was, for people. */
export function textOf(
  thread: number,
  kind: AccessKind,
  memory: ModelMemory | undefined,
  at: number,
  given: readonly number[],
  value: number,
  outcome: number,
): string {
  const where = memory === undefined ? String(at) : `${memory.index}[${at}]`;
  const what = given.slice(0, givenCounts[kind] ?? 0).join(", ");
  const stale = outcome > 0 ? ` (older: ${outcome})` : "";
  return `thread ${thread} ${kind} ${where}${what === "" ? "" : ` (${what})`}: ${value}${stale}`;
}

const givenCounts: Partial<Record<AccessKind, number>> = {
  store: 1,
  add: 1,
  exchange: 1,
  compareExchange: 2,
  compareExchangePair: 4,
  wait: 2,
  write: 1,
  writeDouble: 1,
  writeByte: 1,
};
