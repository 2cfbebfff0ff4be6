/** Calls a function with several items at a time. */
import type { FabricError } from "@selvage/fabric";
import { chunkOf, isThenable, offsetIn, type Chunk, type Feed } from "./pipeline-chunk.ts";
import { ASIDE, type StageWork } from "./pipeline-work.ts";

/** How many items a stage works on at a time, and whether they leave in the order in which they came. */
export interface Width {
  readonly items: number;
  readonly ordered: boolean;
}

/** An item at work, or one that waits for those before it to leave. */
interface Lane<T, V> {
  readonly item: T;
  readonly offset: number;
  /** What came of it; undefined while it is at work. */
  result: { readonly value: V | typeof ASIDE } | { readonly failure: FabricError } | undefined;
}

/**
 * Keeps up to `width.items` calls under way, and at most as many results waiting. In order, one slow item holds up
 * what comes after it.
 */
export class ParallelFeed<T, V, R> implements Feed<R> {
  readonly #up: Feed<T>;
  readonly #work: StageWork<T, V>;
  readonly #width: Width;
  readonly #keep: (item: T, value: V) => { readonly result: R } | undefined;
  readonly #countsDone: boolean;
  // In the order in which they came.
  readonly #lanes: Lane<T, V>[] = [];
  #atWork = 0;
  #chunk: Chunk<T> | undefined;
  #at = 0;
  #isPulling = false;
  // No more comes in: the end, a failure from above, or one of its own.
  #isClosed = false;
  #failure: FabricError | undefined;
  #isThrough = false;
  // An empty chunk came: whoever pulls may want to look around.
  #isHollow = false;
  #wake: (() => void) | undefined;

  /** `keep` says whether an item goes on, and as what; `countsDone`: false where the next stage counts that. */
  constructor(
    up: Feed<T>,
    work: StageWork<T, V>,
    width: Width,
    keep: (item: T, value: V) => { readonly result: R } | undefined,
    countsDone = true,
  ) {
    this.#up = up;
    this.#work = work;
    this.#width = width;
    this.#keep = keep;
    this.#countsDone = countsDone;
    // Calls that are under way are waited for, as long as the run waits for anything.
    work.run.onClose(async () => {
      this.#isClosed = true;
      while (this.#atWork > 0) await this.#change();
    });
  }

  async pull(): Promise<Chunk<R> | undefined> {
    if (this.#isThrough) return undefined;
    for (;;) {
      this.#fill();
      const chunk = this.#gather();
      if (chunk !== undefined) {
        if (chunk.failure !== undefined) this.#isThrough = true;
        return chunk;
      }
      if (this.#isClosed && this.#lanes.length === 0 && !this.#isPulling) {
        this.#isThrough = true;
        return this.#failure === undefined ? undefined : chunkOf([], [], this.#failure);
      }
      if (this.#isHollow) {
        this.#isHollow = false;
        return chunkOf([], []);
      }
      await this.#change();
      if (this.#work.run.isOver) return undefined;
    }
  }

  #change(): Promise<void> {
    return new Promise((resolve) => (this.#wake = resolve));
  }

  #changed(): void {
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
  }

  // Starts what may start.
  #fill(): void {
    const { items } = this.#width;
    while (!this.#isClosed && this.#atWork < items && this.#lanes.length < 2 * items) {
      const chunk = this.#chunk;
      if (chunk === undefined) {
        if (this.#isPulling || !this.#pull()) return;
      } else if (this.#at < chunk.items.length) {
        const at = this.#at++;
        this.#start(chunk.items[at] as T, offsetIn(chunk, at));
      } else {
        this.#chunk = undefined;
        if (chunk.failure !== undefined) this.#close(chunk.failure);
      }
    }
  }

  // False: it will come.
  #pull(): boolean {
    const chunk = this.#up.pull();
    if (!(chunk instanceof Promise)) {
      this.#begin(chunk);
      this.#isHollow = chunk?.items.length === 0;
      return !this.#isHollow || chunk?.failure !== undefined;
    }
    this.#isPulling = true;
    void chunk.then((come) => {
      this.#isPulling = false;
      this.#begin(come);
      this.#changed();
    });
    return false;
  }

  #begin(chunk: Chunk<T> | undefined): void {
    this.#chunk = chunk;
    this.#at = 0;
    if (chunk === undefined) this.#isClosed = true;
    else this.#work.book.itemsIn += chunk.items.length;
  }

  #close(failure: FabricError): void {
    this.#isClosed = true;
    this.#failure ??= failure;
  }

  #start(item: T, offset: number): void {
    const { call, context } = this.#work;
    const lane: Lane<T, V> = { item, offset, result: undefined };
    this.#lanes.push(lane);
    try {
      const value = call(item, offset, context);
      if (!isThenable(value)) {
        lane.result = { value };
        return;
      }
      this.#atWork++;
      void this.#finish(lane, value);
    } catch (thrown) {
      this.#atWork++;
      void this.#finish(lane, Promise.reject(thrown));
    }
  }

  async #finish(lane: Lane<T, V>, pending: PromiseLike<V>): Promise<void> {
    try {
      lane.result = { value: await pending };
    } catch (thrown) {
      const { item, offset } = lane;
      try {
        lane.result = { value: await this.#work.settle(item, offset, { thrown }) };
      } catch (failure) {
        lane.result = { failure: failure as FabricError };
        // Nothing behind it will be wanted.
        this.#isClosed = true;
      }
    }
    this.#atWork--;
    this.#changed();
  }

  // What may leave.
  #gather(): Chunk<R> | undefined {
    const items: R[] = [];
    const offsets: number[] = [];
    let failure: FabricError | undefined;
    let left = 0;
    for (let at = 0; at < this.#lanes.length && failure === undefined; at++) {
      const lane = this.#lanes[at] as Lane<T, V>;
      if (lane.result === undefined) {
        if (this.#width.ordered) break;
        continue;
      }
      left++;
      if ("failure" in lane.result) failure = lane.result.failure;
      else this.#give(lane, lane.result.value, items, offsets);
      // Out of order there are gaps; they are closed below.
      (this.#lanes as (Lane<T, V> | undefined)[])[at] = undefined;
    }
    if (left === 0) return undefined;
    const stay = this.#lanes.filter((lane) => lane !== undefined);
    this.#lanes.length = 0;
    if (failure === undefined) this.#lanes.push(...stay);
    this.#work.book.itemsOut += this.#countsDone ? items.length : 0;
    return chunkOf(items, offsets, failure);
  }

  #give(lane: Lane<T, V>, value: V | typeof ASIDE, items: R[], offsets: number[]): void {
    if (value === ASIDE) return;
    if (this.#countsDone) this.#work.book.done++;
    const kept = this.#keep(lane.item, value);
    if (kept === undefined) return;
    items.push(kept.result);
    offsets.push(lane.offset);
  }
}
