/** `tee` and `merge`: where a pipeline forks, and where several become one. */
import { type Chunk, type Feed, type MaybePromise } from "./pipeline-chunk.ts";
import type { PipelineRun, StageBook } from "./pipeline-run.ts";

/**
 * Gives every item to two readers. The main one pulls; the side one gets a copy of each chunk, one at a time: whoever is
 * slower holds up the other. The items themselves are the same in both.
 */
export class Tee<T> {
  readonly main: Feed<T>;
  readonly side: Feed<T>;
  readonly #run: PipelineRun;
  readonly #up: Feed<T>;
  readonly #book: StageBook;
  // What the side reader has not taken yet; null: the end.
  #parcel: Chunk<T> | null | undefined;
  #onTaken: (() => void) | undefined;
  #onParcel: (() => void) | undefined;
  #isClosed = false;

  constructor(run: PipelineRun, up: Feed<T>, book: StageBook) {
    this.#run = run;
    this.#up = up;
    this.#book = book;
    this.main = { pull: () => this.#pullMain() };
    this.side = { pull: () => this.#pullSide() };
    // Neither waits for the other for ever.
    run.signal.addEventListener("abort", () => this.#close());
    run.onClose(() => this.#close());
  }

  #close(): void {
    this.#isClosed = true;
    this.#onTaken?.();
    this.#onParcel?.();
  }

  #pullMain(): MaybePromise<Chunk<T> | undefined> {
    if (this.#parcel !== undefined && !this.#isClosed)
      return this.#taken().then(() => this.#pullMain());
    const chunk = this.#up.pull();
    return chunk instanceof Promise ? chunk.then((come) => this.#fork(come)) : this.#fork(chunk);
  }

  #fork(chunk: Chunk<T> | undefined): Chunk<T> | undefined {
    if (chunk === undefined) this.#parcel = null;
    else {
      const { items, offsets, failure } = chunk;
      if (failure !== undefined) this.#run.share(failure);
      this.#book.itemsIn += items.length;
      this.#book.itemsOut += items.length;
      this.#book.done += items.length;
      this.#parcel = { ...chunk, items: items.slice(), offsets: offsets?.slice() };
    }
    const tell = this.#onParcel;
    this.#onParcel = undefined;
    tell?.();
    return chunk;
  }

  async #pullSide(): Promise<Chunk<T> | undefined> {
    while (this.#parcel === undefined) {
      if (this.#isClosed) return undefined;
      await new Promise<void>((resolve) => (this.#onParcel = resolve));
    }
    const parcel = this.#parcel;
    // The end stays the end.
    if (parcel === null) return undefined;
    this.#parcel = undefined;
    const tell = this.#onTaken;
    this.#onTaken = undefined;
    tell?.();
    return parcel;
  }

  #taken(): Promise<void> {
    return new Promise((resolve) => (this.#onTaken = resolve));
  }
}

/** Gives the chunks of several feeds as they come, in turns where several have one. Each feed's own order stays. */
export class MergeFeed<T> implements Feed<T> {
  readonly #book: StageBook;
  #feeds: readonly Feed<T>[];
  // Chunks that came while another was waited for, and feeds that are being waited for.
  readonly #come: { readonly feed: Feed<T>; readonly chunk: Chunk<T> | undefined }[] = [];
  readonly #awaited = new Set<Feed<T>>();
  #wake: (() => void) | undefined;

  constructor(run: PipelineRun, feeds: readonly Feed<T>[], book: StageBook) {
    this.#feeds = feeds;
    this.#book = book;
    run.signal.addEventListener("abort", () => this.#wake?.());
    run.onClose(() => {
      for (const { chunk } of this.#come.splice(0)) book.itemsIn += chunk?.items.length ?? 0;
      this.#wake?.();
    });
  }

  pull(): MaybePromise<Chunk<T> | undefined> {
    for (;;) {
      const come = this.#come.shift();
      if (come !== undefined) {
        if (come.chunk !== undefined) return this.#give(come.feed, come.chunk);
        this.#feeds = this.#feeds.filter((feed) => feed !== come.feed);
        continue;
      }
      const [feed] = this.#feeds.filter((one) => !this.#awaited.has(one));
      if (feed === undefined) return this.#feeds.length === 0 ? undefined : this.#wait();
      const chunk = feed.pull();
      if (chunk instanceof Promise) this.#await(feed, chunk);
      else this.#come.push({ feed, chunk });
    }
  }

  // The one that gave something is asked last the next time.
  #give(feed: Feed<T>, chunk: Chunk<T>): Chunk<T> {
    this.#feeds = [...this.#feeds.filter((one) => one !== feed), feed];
    const { length } = chunk.items;
    this.#book.itemsIn += length;
    this.#book.itemsOut += length;
    this.#book.done += length;
    return chunk;
  }

  #await(feed: Feed<T>, coming: Promise<Chunk<T> | undefined>): void {
    this.#awaited.add(feed);
    void coming.then((chunk) => {
      this.#awaited.delete(feed);
      this.#come.push({ feed, chunk });
      this.#wake?.();
    });
  }

  async #wait(): Promise<Chunk<T> | undefined> {
    await new Promise<void>((resolve) => (this.#wake = resolve));
    this.#wake = undefined;
    return this.#come.length === 0 ? undefined : this.pull();
  }
}
