/** `flatMap` and `batch`: stages whose items are not one for one. */
import { invalidArgument, type FabricError } from "@selvage/fabric";
import {
  chunkOf,
  isThenable,
  offsetIn,
  type Chunk,
  type Feed,
  type MaybePromise,
} from "./pipeline-chunk.ts";
import type { StageBook } from "./pipeline-run.ts";
import { ASIDE, outcomeOf, type Outcome, type StageWork } from "./pipeline-work.ts";

/** What a function of `flatMap` gives. */
export type Items<R> = Iterable<R> | AsyncIterable<R>;

interface Opened<R> {
  readonly next: () => MaybePromise<IteratorResult<R, unknown>>;
  readonly close: () => unknown;
  readonly offset: number;
  /** What it was made of, to be set aside should it fail. */
  readonly item: unknown;
}

/**
 * Gives the items of what a function makes of each item: one is opened when the one before it is through, and read no
 * further than the chunk that is wanted.
 */
export class FlatMapFeed<T, R> implements Feed<R> {
  readonly #up: Feed<T>;
  readonly #work: StageWork<T, Items<R>>;
  readonly #countsIn: boolean;
  #chunk: Chunk<T> | undefined;
  #at = 0;
  #open: Opened<R> | undefined;
  // Waits for the call that comes next.
  #pending: (() => Promise<void>) | undefined;
  #items: R[] = [];
  #offsets: number[] = [];
  #failure: FabricError | undefined;
  // The next chunk may go; and it is the last one.
  #isReady = false;
  #isOver = false;

  /** `countsIn`: false where whoever calls the function counts what comes in. */
  constructor(up: Feed<T>, work: StageWork<T, Items<R>>, countsIn = true) {
    this.#up = up;
    this.#work = work;
    this.#countsIn = countsIn;
    work.run.onClose(async () => {
      const open = this.#open;
      this.#open = undefined;
      await open?.close();
    });
  }

  pull(): MaybePromise<Chunk<R> | undefined> {
    this.#isReady = false;
    while (!this.#isReady) {
      const wait = this.#step();
      if (wait !== undefined) return this.#rest(wait);
    }
    return this.#take();
  }

  async #rest(first: Promise<void>): Promise<Chunk<R> | undefined> {
    await first;
    while (!this.#isReady) {
      const wait = this.#step();
      if (wait !== undefined) await wait;
    }
    return this.#take();
  }

  #take(): Chunk<R> | undefined {
    if (this.#isOver && this.#items.length === 0 && this.#failure === undefined) return undefined;
    const chunk = chunkOf(this.#items, this.#offsets, this.#failure);
    this.#work.book.itemsOut += chunk.items.length;
    this.#items = [];
    this.#offsets = [];
    return chunk;
  }

  // One thing: an item of what is open, or the next to open, or the next chunk.
  #step(): Promise<void> | undefined {
    const pending = this.#pending;
    if (pending !== undefined) {
      this.#pending = undefined;
      return pending();
    }
    if (this.#open !== undefined) return this.#read(this.#open);
    const chunk = this.#chunk;
    if (chunk === undefined) {
      const pulled = this.#up.pull();
      if (!(pulled instanceof Promise)) return this.#begin(pulled);
      return pulled.then((come) => this.#begin(come));
    }
    if (this.#at < chunk.items.length) return this.#call(chunk);
    this.#chunk = undefined;
    this.#failure = chunk.failure;
    // Whatever came of it: whoever pulls may want to look around.
    this.#isReady = true;
    return undefined;
  }

  #begin(chunk: Chunk<T> | undefined): undefined {
    this.#chunk = chunk;
    this.#at = 0;
    if (chunk === undefined) {
      this.#isOver = true;
      this.#isReady = true;
    } else if (this.#countsIn) this.#work.book.itemsIn += chunk.items.length;
    return undefined;
  }

  #call(chunk: Chunk<T>): Promise<void> | undefined {
    const { call, context } = this.#work;
    const item = chunk.items[this.#at] as T;
    const offset = offsetIn(chunk, this.#at++);
    try {
      const made = call(item, offset, context);
      if (isThenable(made)) {
        if (this.#items.length === 0) return this.#settle(item, offset, outcomeOf(made));
        // What there is goes on before anything is waited for.
        const coming = outcomeOf(made);
        this.#pending = () => this.#settle(item, offset, coming);
        this.#isReady = true;
        return undefined;
      }
      this.#open = openOf(made, item, offset);
      return undefined;
    } catch (thrown) {
      return this.#settle(item, offset, { thrown });
    }
  }

  async #settle(item: T, offset: number, coming: MaybePromise<Outcome<Items<R>>>): Promise<void> {
    let made: Items<R> | typeof ASIDE;
    try {
      const outcome = await coming;
      made = "thrown" in outcome ? await this.#work.settle(item, offset, outcome) : outcome.value;
    } catch (failure) {
      return this.#end(failure as FabricError);
    }
    if (made === ASIDE) return;
    try {
      this.#open = openOf(made, item, offset);
    } catch (thrown) {
      await this.#fail(item, offset, thrown);
    }
  }

  #read(open: Opened<R>): Promise<void> | undefined {
    try {
      const most = this.#work.run.resolved.chunkItems;
      while (this.#items.length < most) {
        const step = open.next();
        if (isThenable(step)) return this.#await(open, outcomeOf(step));
        if (this.#put(open, step)) return undefined;
      }
      this.#isReady = true;
      return undefined;
    } catch (thrown) {
      this.#open = undefined;
      return this.#fail(open.item as T, open.offset, thrown);
    }
  }

  #await(
    open: Opened<R>,
    coming: Promise<Outcome<IteratorResult<R, unknown>>>,
  ): Promise<void> | undefined {
    const wait = async (): Promise<void> => {
      const outcome = await coming;
      if ("value" in outcome) {
        // It comes one by one: it goes on one by one.
        if (!this.#put(open, outcome.value)) this.#isReady = true;
        return;
      }
      this.#open = undefined;
      await this.#fail(open.item as T, open.offset, outcome.thrown);
    };
    if (this.#items.length === 0) return wait();
    // What there is goes on before anything is waited for.
    this.#pending = wait;
    this.#isReady = true;
    return undefined;
  }

  // True at its end.
  #put(open: Opened<R>, step: IteratorResult<R, unknown>): boolean {
    if (step.done === true) {
      this.#open = undefined;
      this.#work.book.done++;
      return true;
    }
    this.#items.push(step.value);
    this.#offsets.push(open.offset);
    return false;
  }

  // What it had given is on its way: nothing of it can be tried again.
  async #fail(item: T, offset: number, thrown: unknown): Promise<void> {
    try {
      await this.#work.giveUp(item, offset, thrown);
    } catch (failure) {
      this.#end(failure as FabricError);
    }
  }

  #end(failure: FabricError): void {
    this.#failure = failure;
    this.#chunk = undefined;
    this.#isReady = true;
  }
}

function openOf<R>(made: Items<R>, item: unknown, offset: number): Opened<R> {
  const sync = (made as Iterable<R> | undefined | null)?.[Symbol.iterator];
  if (typeof sync === "function") {
    const iterator = sync.call(made);
    const next = (): IteratorResult<R, unknown> => iterator.next();
    return { next, close: () => iterator.return?.(), offset, item };
  }
  const iterator = (made as AsyncIterable<R> | undefined | null)?.[Symbol.asyncIterator]?.();
  if (iterator === undefined) throw invalidArgument("what flatMap's function gives", "items", made);
  return { next: () => iterator.next(), close: () => iterator.return?.(), offset, item };
}

/** Gives arrays of `size` items; the last one may be shorter. An array's offset is its first item's. */
export class BatchFeed<T> implements Feed<T[]> {
  readonly #up: Feed<T>;
  readonly #book: StageBook;
  readonly #size: number;
  #batch: T[] = [];
  #offset = 0;
  #isOver = false;
  readonly #take = (chunk: Chunk<T> | undefined): Chunk<T[]> | undefined => {
    const batches: T[][] = [];
    const offsets: number[] = [];
    if (chunk === undefined) {
      this.#isOver = true;
      if (this.#batch.length === 0) return undefined;
      this.#put(batches, offsets);
    } else {
      this.#book.itemsIn += chunk.items.length;
      for (let at = 0; at < chunk.items.length; at++) {
        if (this.#batch.length === 0) this.#offset = offsetIn(chunk, at);
        this.#batch.push(chunk.items[at] as T);
        if (this.#batch.length === this.#size) this.#put(batches, offsets);
      }
    }
    this.#book.itemsOut += batches.length;
    return chunkOf(batches, offsets, chunk?.failure);
  };

  constructor(up: Feed<T>, book: StageBook, size: number) {
    this.#up = up;
    this.#book = book;
    this.#size = size;
  }

  pull(): MaybePromise<Chunk<T[]> | undefined> {
    if (this.#isOver) return undefined;
    const chunk = this.#up.pull();
    return chunk instanceof Promise ? chunk.then(this.#take) : this.#take(chunk);
  }

  #put(batches: T[][], offsets: number[]): void {
    batches.push(this.#batch);
    offsets.push(this.#offset);
    this.#book.done += this.#batch.length;
    this.#batch = [];
  }
}
