/** Readers of sources: of arrays, of what gives items at once, and of what has to be waited for. */
import { failed, isThenable, type Chunk, type Feed, type MaybePromise } from "./pipeline-chunk.ts";
import { stageError, type Intake, type PipelineRun, type StageBook } from "./pipeline-run.ts";

/**
 * How many items to read at once: few at first, more while whoever pulls is quick, fewer when it is slow. So the first
 * items come through soon, and little is read ahead of a stage that takes its time.
 */
class Pace {
  items = 16;
  readonly #run: PipelineRun;
  #lastAtMs: number;

  constructor(run: PipelineRun) {
    this.#run = run;
    this.#lastAtMs = run.ports.clock.nowMs();
    this.items = Math.min(this.items, run.resolved.chunkItems);
  }

  /** Called before each read. */
  step(): number {
    const nowMs = this.#run.ports.clock.nowMs();
    const passedMs = nowMs - this.#lastAtMs;
    this.#lastAtMs = nowMs;
    if (passedMs > 8) this.items = Math.max(1, this.items >> 1);
    else if (passedMs < 2) this.items = Math.min(this.items * 2, this.#run.resolved.chunkItems);
    return this.items;
  }
}

/** A source of one run. */
abstract class SourceFeed<T> implements Feed<T>, Intake {
  protected readonly run: PipelineRun;
  protected isStopped = false;
  protected isDone = false;
  /** The source's offset of the next item. */
  protected offset: number;
  readonly #book: StageBook;

  constructor(run: PipelineRun, book: StageBook, offset: number) {
    this.run = run;
    this.#book = book;
    this.offset = offset;
    run.open(this);
    run.onClose(() => {
      this.isStopped = true;
      if (this.isDone) return undefined;
      this.isDone = true;
      return this.release();
    });
  }

  abstract pull(): MaybePromise<Chunk<T> | undefined>;
  /** Gives back a source that has not come to its end. */
  protected abstract release(): MaybePromise<void>;

  stop(): void {
    this.isStopped = true;
  }

  /** Items as a chunk. */
  protected give(items: T[]): Chunk<T> {
    const base = this.offset;
    this.offset += items.length;
    this.#book.itemsOut += items.length;
    return { items, base, offsets: undefined, failure: undefined };
  }

  protected end(): undefined {
    this.isDone = true;
    this.run.ended(this);
    return undefined;
  }

  /** The source threw: it has ended, and needs not be given back. */
  protected broken(thrown: unknown): Chunk<T> {
    this.isDone = true;
    return failed(stageError(this.#book.name, this.offset, thrown, "DISCONNECTED"));
  }
}

/** An array: slices of it. */
export class ArrayFeed<T> extends SourceFeed<T> {
  readonly #array: readonly T[];
  readonly #pace: Pace;
  #at = 0;

  constructor(run: PipelineRun, book: StageBook, array: readonly T[]) {
    super(run, book, 0);
    this.#array = array;
    this.#pace = new Pace(run);
  }

  pull(): Chunk<T> | undefined {
    if (this.isStopped) return undefined;
    if (this.#at >= this.#array.length) return this.end();
    const from = this.#at;
    this.#at = Math.min(from + this.#pace.step(), this.#array.length);
    return this.give(this.#array.slice(from, this.#at));
  }

  protected release(): void {}
}

/** How a {@link StepFeed} reads. */
export interface Steps<T> {
  readonly next: () => T | undefined | PromiseLike<T | undefined>;
  readonly release?: () => unknown;
  /** What `next` gives at the end. */
  readonly over: unknown;
  /** Whether a promise is to be waited for; an iterable's items may be promises. */
  readonly waits: boolean;
  readonly offset: number;
  /** Items read at once. */
  readonly itemsMax?: number;
}

/** Reads one by one, without waiting: a synchronous iterator, or a function as long as it gives no promise. */
export class StepFeed<T> extends SourceFeed<T> {
  readonly #steps: Steps<T>;
  readonly #pace: Pace;
  #waiting: PromiseLike<T | undefined> | undefined;
  #resolve: ((chunk: Chunk<T> | undefined) => void) | undefined;
  #isOver = false;

  constructor(run: PipelineRun, book: StageBook, steps: Steps<T>) {
    super(run, book, steps.offset);
    this.#steps = steps;
    this.#pace = new Pace(run);
  }

  override stop(): void {
    super.stop();
    this.#settle(() => undefined);
  }

  pull(): MaybePromise<Chunk<T> | undefined> {
    if (this.isStopped) return undefined;
    if (this.#waiting !== undefined) return this.#wait(this.#waiting);
    if (this.#isOver) return this.end();
    const items: T[] = [];
    try {
      this.#read(items);
    } catch (thrown) {
      const chunk = this.give(items);
      chunk.failure = this.broken(thrown).failure;
      return chunk;
    }
    if (items.length > 0) return this.give(items);
    return this.#waiting === undefined ? this.end() : this.#wait(this.#waiting);
  }

  protected release(): MaybePromise<void> {
    const returned = this.#steps.release?.();
    return isThenable(returned) ? (returned as Promise<void>) : undefined;
  }

  #read(items: T[]): void {
    const { next, over, waits, itemsMax = Infinity } = this.#steps;
    const most = Math.min(this.#pace.step(), itemsMax);
    while (items.length < most) {
      const item = next();
      if (item === over) {
        this.#isOver = true;
        return;
      }
      if (waits && isThenable(item)) {
        this.#waiting = item;
        // It may fail before anybody asks for the next chunk.
        this.#waiting.then(undefined, () => {});
        return;
      }
      items.push(item as T);
    }
  }

  #wait(waiting: PromiseLike<T | undefined>): Promise<Chunk<T> | undefined> {
    return new Promise((resolve) => {
      this.#resolve = resolve;
      waiting.then(
        (item) => this.#settle(() => (item === undefined ? this.end() : this.give([item]))),
        (thrown: unknown) => this.#settle(() => this.broken(thrown)),
      );
    });
  }

  // Stopped meanwhile: then nobody waits any more.
  #settle(chunk: () => Chunk<T> | undefined): void {
    const resolve = this.#resolve;
    this.#resolve = undefined;
    if (resolve === undefined) return;
    this.#waiting = undefined;
    resolve(chunk());
  }
}

interface Reading<T> {
  readonly done?: boolean | undefined;
  readonly value?: T | undefined;
}

/** How a {@link WaitFeed} reads. */
export interface Reads<T> {
  readonly read: () => PromiseLike<Reading<T>>;
  readonly release: () => MaybePromise<void>;
  /** After the last item. */
  readonly ended?: () => void;
  readonly offset: number;
  readonly itemsMax?: number;
}

/**
 * Waits for item after item: an asynchronous iterator, or a stream's reader. What comes within one turn of the event loop
 * goes on together, and nothing waits longer than that; nothing is read while nobody pulls.
 */
export class WaitFeed<T> extends SourceFeed<T> {
  readonly #reads: Reads<T>;
  readonly #pace: Pace;
  #items: T[] = [];
  #most = 1;
  #isReading = false;
  #isTurnAwaited = false;
  #isOver = false;
  #thrown: { readonly thrown: unknown } | undefined;
  // Whoever pulls.
  #resolve: ((chunk: Chunk<T> | undefined) => void) | undefined;
  readonly #onTurn = (): void => {
    this.#isTurnAwaited = false;
    if (this.#items.length > 0) this.#flush();
  };
  readonly #onRead = (reading: Reading<T>): void => {
    this.#isReading = false;
    // Stopped meanwhile: nobody waits for it any more.
    if (this.isStopped) return;
    if (reading.done === true) this.#isOver = true;
    else this.#items.push(reading.value as T);
    if (this.#resolve !== undefined) this.#goOn();
  };
  readonly #onError = (thrown: unknown): void => {
    this.#isReading = false;
    if (this.isStopped) return;
    this.#thrown = { thrown };
    this.#flush();
  };

  constructor(run: PipelineRun, book: StageBook, reads: Reads<T>) {
    super(run, book, reads.offset);
    this.#reads = reads;
    this.#pace = new Pace(run);
  }

  override stop(): void {
    super.stop();
    this.#flush();
  }

  pull(): Promise<Chunk<T> | undefined> {
    this.#most = Math.min(this.#pace.step(), this.#reads.itemsMax ?? Infinity);
    return new Promise((resolve) => {
      this.#resolve = resolve;
      this.#goOn();
    });
  }

  protected release(): MaybePromise<void> {
    return this.#reads.release();
  }

  #goOn(): void {
    const isAtEnd = this.#isOver || this.isStopped || this.#thrown !== undefined;
    if (isAtEnd || this.#items.length >= this.#most) return this.#flush();
    if (!this.#isReading) {
      this.#isReading = true;
      try {
        this.#reads.read().then(this.#onRead, this.#onError);
      } catch (thrown) {
        return this.#onError(thrown);
      }
    }
    if (this.#items.length === 0 || this.#isTurnAwaited) return;
    this.#isTurnAwaited = true;
    void this.run.ports.nextTurn().then(this.#onTurn);
  }

  #flush(): void {
    const resolve = this.#resolve;
    if (resolve === undefined) return;
    this.#resolve = undefined;
    resolve(this.#chunk());
  }

  #chunk(): Chunk<T> | undefined {
    const items = this.#items;
    if (items.length === 0) {
      if (this.#thrown !== undefined) return this.broken(this.#thrown.thrown);
      if (!this.#isOver) return undefined;
      this.#reads.ended?.();
      return this.end();
    }
    this.#items = [];
    return this.give(items);
  }
}

/** Gives the items of arrays, one array after the other. */
export class UnpackFeed<T> implements Feed<T> {
  readonly #up: Feed<readonly T[]>;
  readonly #book: StageBook;
  #offset = 0;
  readonly #take = (chunk: Chunk<readonly T[]> | undefined): Chunk<T> | undefined => {
    if (chunk === undefined) return undefined;
    const [only] = chunk.items;
    // A copy: what the source gave is the source's.
    const items = chunk.items.length === 1 ? (only as T[]).slice() : chunk.items.flat();
    const base = this.#offset;
    this.#offset += items.length;
    this.#book.itemsOut += items.length;
    return { items, base, offsets: undefined, failure: chunk.failure };
  };

  constructor(up: Feed<readonly T[]>, book: StageBook) {
    this.#up = up;
    this.#book = book;
  }

  pull(): MaybePromise<Chunk<T> | undefined> {
    const chunk = this.#up.pull();
    return chunk instanceof Promise ? chunk.then(this.#take) : this.#take(chunk);
  }
}
