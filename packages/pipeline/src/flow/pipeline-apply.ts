/**
 * `map`, `filter` and function sinks: a loop over a chunk, in place. A function that returns no promise costs none.
 *
 * Evidence: `npm run bench -- pipeline`.
 */
import {
  cut,
  failed,
  isThenable,
  offsetIn,
  type Chunk,
  type Feed,
  type MaybePromise,
} from "./pipeline-chunk.ts";
import type { FabricError } from "@selvage/fabric";
import { ASIDE, outcomeOf, type Outcome, type StageWork } from "./pipeline-work.ts";

/** Calls a function with item after item. What waits for something gives on what it has first. */
abstract class ApplyFeed<T, V, R> implements Feed<R> {
  protected readonly work: StageWork<T, V>;
  /** Where `scan` stopped before the chunk's end: what is to come of that call. */
  protected stuck: MaybePromise<Outcome<V>> | undefined;
  /** Where `scan` would have put the next result. */
  protected kept = 0;
  /** The offsets of what it kept, from the first on; undefined where it kept all. */
  protected keptOffsets: number[] | undefined;
  readonly #up: Feed<T>;
  // A chunk that is not through, and its next item.
  #rest: Chunk<T> | undefined;
  #at = 0;
  readonly #take = (chunk: Chunk<T> | undefined): MaybePromise<Chunk<R> | undefined> => {
    if (chunk === undefined) return undefined;
    this.work.book.itemsIn += chunk.items.length;
    return this.#go(chunk, 0);
  };

  constructor(up: Feed<T>, work: StageWork<T, V>) {
    this.#up = up;
    this.work = work;
  }

  pull(): MaybePromise<Chunk<R> | undefined> {
    if (this.#rest !== undefined)
      return this.stuck === undefined ? this.#go(this.#rest, this.#at) : this.#unstick(this.stuck);
    const chunk = this.#up.pull();
    return chunk instanceof Promise ? chunk.then(this.#take) : this.#take(chunk);
  }

  /**
   * Works from item `from` on, and puts what it keeps into the same array from there on. Returns where it stopped: the
   * chunk's end, or an item whose call threw or has to be waited for.
   */
  protected abstract scan(chunk: Chunk<T>, from: number): number;
  /** Whether an item whose call came to `value` goes on, and as what. */
  protected abstract keep(item: T, value: V): { readonly result: R } | undefined;

  #go(chunk: Chunk<T>, from: number): MaybePromise<Chunk<R>> {
    this.keptOffsets = undefined;
    const to = this.scan(chunk, from);
    const kept = this.kept - from;
    const { book } = this.work;
    book.done += to - from;
    book.itemsOut += kept;
    const isThrough = to === chunk.items.length;
    this.#rest = isThrough ? undefined : chunk;
    this.#at = to;
    if (isThrough && from === 0) {
      if (kept < to) cut(chunk, kept);
      if (this.keptOffsets !== undefined) chunk.offsets = this.keptOffsets;
      return chunk as Chunk<unknown> as Chunk<R>;
    }
    if (kept === 0 && this.stuck !== undefined) return this.#unstick(this.stuck);
    const { items, base, failure } = chunk;
    return {
      items: items.slice(from, from + kept) as unknown[] as R[],
      base: base + from,
      offsets: this.keptOffsets ?? chunk.offsets?.slice(from, from + kept),
      failure: isThrough ? failure : undefined,
    };
  }

  // Waits for one item, and gives it on alone: the next one may take its time, too.
  async #unstick(stuck: MaybePromise<Outcome<V>>): Promise<Chunk<R>> {
    const chunk = this.#rest as Chunk<T>;
    const at = this.#at;
    const item = chunk.items[at] as T;
    const offset = offsetIn(chunk, at);
    const outcome = await stuck;
    this.stuck = undefined;
    let value: V | typeof ASIDE;
    try {
      value = "thrown" in outcome ? await this.work.settle(item, offset, outcome) : outcome.value;
    } catch (failure) {
      this.#rest = undefined;
      return failed(failure as FabricError);
    }
    this.#at = at + 1;
    const isThrough = this.#at === chunk.items.length;
    if (isThrough) this.#rest = undefined;
    const kept = value === ASIDE ? undefined : this.keep(item, value);
    const { book } = this.work;
    if (value !== ASIDE) book.done++;
    if (kept !== undefined) book.itemsOut++;
    return {
      items: kept === undefined ? [] : [kept.result],
      base: offset,
      offsets: undefined,
      failure: isThrough ? chunk.failure : undefined,
    };
  }
}

/** Gives what a function makes of each item. */
export class MapFeed<T, R> extends ApplyFeed<T, R, R> {
  protected scan({ items, base, offsets }: Chunk<T>, from: number): number {
    const { call, context } = this.work;
    const results = items as unknown[];
    const { length } = items;
    let at = from;
    try {
      for (; at < length; at++) {
        const offset = offsets === undefined ? base + at : (offsets[at] as number);
        const value = call(items[at] as T, offset, context);
        if (isThenable(value)) {
          this.stuck = outcomeOf(value);
          break;
        }
        results[at] = value;
      }
    } catch (thrown) {
      this.stuck = { thrown };
    }
    this.kept = at;
    return at;
  }

  protected keep(_item: T, value: R): { readonly result: R } {
    return { result: value };
  }
}

/**
 * Has a function take each item. The loop is `MapFeed`'s, and apart from it on purpose: a loop that calls one function only is
 * one that V8 can inline it into.
 */
export class SinkFeed<T> extends ApplyFeed<T, unknown, unknown> {
  protected scan({ items, base, offsets }: Chunk<T>, from: number): number {
    const { call, context } = this.work;
    const { length } = items;
    let at = from;
    try {
      for (; at < length; at++) {
        const offset = offsets === undefined ? base + at : (offsets[at] as number);
        const taking = call(items[at] as T, offset, context);
        if (taking !== undefined && isThenable(taking)) {
          this.stuck = outcomeOf(taking);
          break;
        }
      }
    } catch (thrown) {
      this.stuck = { thrown };
    }
    this.kept = at;
    return at;
  }

  protected keep(item: T): { readonly result: unknown } {
    return { result: item };
  }
}

/** Gives the items for which a function says so. */
export class FilterFeed<T> extends ApplyFeed<T, unknown, T> {
  protected scan({ items, base, offsets }: Chunk<T>, from: number): number {
    const { call, context } = this.work;
    const { length } = items;
    // Made whole: an array that grows costs as much as the rest of this loop.
    const keptOffsets: number[] = [];
    keptOffsets.length = length - from;
    let kept = from;
    let at = from;
    try {
      for (; at < length; at++) {
        const item = items[at] as T;
        const offset = offsets === undefined ? base + at : (offsets[at] as number);
        const answer = call(item, offset, context);
        if (isThenable(answer)) {
          this.stuck = outcomeOf(answer);
          break;
        }
        if (!answer) continue;
        keptOffsets[kept - from] = offset;
        items[kept++] = item;
      }
    } catch (thrown) {
      this.stuck = { thrown };
    }
    keptOffsets.length = kept - from;
    this.kept = kept;
    this.keptOffsets = keptOffsets;
    return at;
  }

  protected keep(item: T, value: unknown): { readonly result: T } | undefined {
    return value ? { result: item } : undefined;
  }
}
