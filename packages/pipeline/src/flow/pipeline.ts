/** Streams of items through stages. */
import { InvariantError, invalidArgument } from "@selvage/fabric";
import { FilterFeed, MapFeed, SinkFeed } from "./pipeline-apply.ts";
import { type Chunk, type Feed } from "./pipeline-chunk.ts";
import { Execution } from "./pipeline-execution.ts";
import { BatchFeed, FlatMapFeed, type Items } from "./pipeline-flat.ts";
import { MergeFeed, Tee } from "./pipeline-join.ts";
import {
  checkKeys,
  checkStage,
  checkWhole,
  type PipelineOptions,
  type PipelinePorts,
  type WorkContext,
  type PipelineStageOptions,
  type WorkOptions,
} from "./pipeline-options.ts";
import { ParallelFeed, type Width } from "./pipeline-parallel.ts";
import type { PlanNode, Site } from "./pipeline-plan.ts";
import type { PipelineResult, StageKind } from "./pipeline-result.ts";
import type { StageBook } from "./pipeline-run.ts";
import { checkSink, openSink, type PipelineSink } from "./pipeline-sinks.ts";
import { checkSource, openChunks, openSource, type PipelineSource } from "./pipeline-sources.ts";
import { StageWork, type StageFunction } from "./pipeline-work.ts";

/** How a stage works on several items at a time. */
export interface ParallelOptions {
  /** Whether items leave in the order in which they came. Default true. */
  readonly ordered?: boolean;
}

/** A pipeline with its sink: it can be run. */
export class RunnablePipeline {
  /** The sink, and what it reads. */
  readonly node: PlanNode<never>;
  readonly #ports: PipelinePorts;

  /** For `Pipeline.sink`. */
  constructor(node: PlanNode<never>, ports: PipelinePorts) {
    this.node = node;
    this.#ports = ports;
  }

  /**
   * Runs the pipeline once, and always comes to an end that is in its power: a failure, a deadline and an abort stop the
   * intake, give back sources, sinks and leases, and resolve; a stage that does not answer is given up after `graceMs`.
   * Running it again opens its sources again.
   * @throws FabricError `INVALID_ARGUMENT`, `CONFLICT` (two stages of one name); what `onEvent` or `retryOn` threw. What a
   * stage throws does not reject: it is the result's `error`.
   */
  async run(options: PipelineOptions = {}): Promise<PipelineResult> {
    return new Execution(this.node, options, this.#ports).run();
  }
}

/**
 * A stream of items, as it will be: each method gives a new pipeline, and nothing is read before a run. Items keep their
 * order, except where `parallel` or `merge` say otherwise. However long the source, memory is bounded: by `chunkItems`
 * a stage, and by the queues' capacity where there are queues.
 *
 * Stages work on chunks; a function that returns no promise costs none. One that does is waited for, item by item, or
 * several at a time with `parallel`. An item's `offset` is its place in its source, from 0; it stays with what is made of
 * the item. A function is called for items that were read ahead even if an earlier one fails in a later stage.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { Pipeline } from "selvage";
 *
 * const seen: number[] = [];
 * const result = await Pipeline.fromSource([1, 2, 3, 4])
 *   .map((n) => n * n)
 *   .filter((n) => n % 2 === 0)
 *   .sink((n) => void seen.push(n))
 *   .run();
 * assert.deepEqual(seen, [4, 16]);
 * assert.equal(result.status, "succeeded");
 * assert.deepEqual([result.itemsIn, result.itemsOut], [4, 2]);
 * ```
 */
export class Pipeline<T> implements AsyncIterable<T> {
  readonly #node: PlanNode<T>;
  readonly #ports: PipelinePorts;
  // For the next stage.
  readonly #width: Width | undefined;

  /** For `fromSource`. */
  protected constructor(node: PlanNode<T>, ports: PipelinePorts, width?: Width) {
    this.#node = node;
    this.#ports = ports;
    this.#width = width;
  }

  /**
   * Begins with an iterable, a stream, a function that gives an item a call (undefined: the end), or a source that can be
   * read from an offset (`run({ fromOffset })`). A run that ends early gives it back: `return()`, `cancel`, `destroy`.
   * @throws FabricError `INVALID_ARGUMENT`.
   */
  static fromSource<T>(
    source: PipelineSource<T>,
    options: PipelineStageOptions,
    ports: PipelinePorts,
  ): Pipeline<T> {
    checkSource(source);
    const open = nodeOf<T>("source", [], options, (site, book) =>
      openSource(source, site.run, book),
    );
    return new Pipeline(open, ports);
  }

  /**
   * As `fromSource`, where the source gives arrays of items: the fastest way in, for a source that waits. Empty arrays are
   * fine. The arrays stay the source's.
   */
  static fromChunks<T>(
    source: PipelineSource<readonly T[]>,
    options: PipelineStageOptions,
    ports: PipelinePorts,
  ): Pipeline<T> {
    checkSource(source);
    const open = nodeOf<T>("source", [], options, (site, book) =>
      openChunks(source, site.run, book),
    );
    return new Pipeline(open, ports);
  }

  /** Gives what `f` makes of each item. */
  map<R>(f: StageFunction<T, R>, options: WorkOptions<T> = {}): Pipeline<Awaited<R>> {
    checkWork(f, options);
    return this.#stage<Awaited<R>>("map", options, (site, book, up, width) => {
      const work = new StageWork(site.run, book, f as StageFunction<T, Awaited<R>>, options);
      if (width === undefined) return new MapFeed(up, work);
      return new ParallelFeed(up, work, width, (_item, result) => ({ result }));
    });
  }

  /** Gives the items of which `p` says something true. */
  filter<S extends T>(
    p: (item: T, offset: number, context: WorkContext) => item is S,
    options?: WorkOptions<T>,
  ): Pipeline<S>;
  filter(p: StageFunction<T, unknown>, options?: WorkOptions<T>): Pipeline<T>;
  filter(p: StageFunction<T, unknown>, options: WorkOptions<T> = {}): Pipeline<T> {
    checkWork(p, options);
    return this.#stage<T>("filter", options, (site, book, up, width) => {
      const work = new StageWork<T, unknown>(site.run, book, p, options);
      if (width === undefined) return new FilterFeed(up, work);
      const keep = (item: T, value: unknown): { readonly result: T } | undefined =>
        value ? { result: item } : undefined;
      return new ParallelFeed(up, work, width, keep);
    });
  }

  /**
   * Gives the items of the iterable that `f` makes of each item, one iterable after the other; with `parallel` several are
   * made at a time. One that fails in the middle is not tried again: what it had given is on its way.
   */
  flatMap<R>(
    f: StageFunction<T, Items<R> | PromiseLike<Items<R>>>,
    options: WorkOptions<T> = {},
  ): Pipeline<R> {
    checkWork(f, options);
    return this.#stage<R>("flatMap", options, (site, book, up, width) => {
      const work = new StageWork<T, Items<R>>(site.run, book, f, options);
      if (width === undefined) return new FlatMapFeed(up, work);
      const keep = (_item: T, result: Items<R>): { readonly result: Items<R> } => ({ result });
      const made = new ParallelFeed(up, work, width, keep, false);
      const unpack = new StageWork<Items<R>, Items<R>>(site.run, book, (items) => items, {});
      return new FlatMapFeed(made, unpack, false);
    });
  }

  /** Gives arrays of `size` items, and what is left at the end. A failure before it is full takes a batch with it. */
  batch(size: number, options: PipelineStageOptions = {}): Pipeline<T[]> {
    checkWhole("size", size, 1, 2 ** 20);
    checkStage(options);
    this.#refuseWidth("batch");
    return this.#stage<T[]>("batch", options, (_site, book, up) => new BatchFeed(up, book, size));
  }

  /**
   * Has the next stage (`map`, `filter`, `flatMap` or a function as `sink`) work on up to `items` items at a time. For
   * functions that wait; it makes no threads. @throws FabricError `INVALID_ARGUMENT`.
   */
  parallel(items: number, options: ParallelOptions = {}): Pipeline<T> {
    checkWhole("items", items, 1, 2 ** 16);
    checkKeys("options", options, ["ordered"]);
    const { ordered = true } = options;
    return new Pipeline(this.#node, this.#ports, { items, ordered });
  }

  /**
   * Gives every item to a second sink as well: `branch` gets a pipeline of them and ends it. Both go at the pace of the
   * slower one; what fails in either ends the run. Without queues both get the same objects.
   */
  tee(
    branch: (side: Pipeline<T>) => RunnablePipeline,
    options: PipelineStageOptions = {},
  ): Pipeline<T> {
    checkStage(options);
    this.#refuseWidth("tee");
    const entry: PlanNode<T> = { ...nodeOf<T>("tee", [], {}, outside), isEntry: true };
    const end = branch(new Pipeline<T>(entry, this.#ports));
    if (!(end instanceof RunnablePipeline))
      throw invalidArgument("what tee's function gives", "a pipeline with its sink", end);
    const node = nodeOf<T>("tee", [this.#node as PlanNode<never>], options, (site, book, [up]) => {
      const tee = new Tee<T>(site.run, up as Feed<T>, book);
      site.provide(entry, { feed: tee.side, book });
      site.open(end.node);
      return tee.main;
    });
    return new Pipeline(
      { ...node, branch: { entry: entry as PlanNode<never>, end: end.node } },
      this.#ports,
    );
  }

  /** Gives the items of this pipeline and of others, as they come. Each one's own order stays. */
  merge<U>(...others: readonly Pipeline<U>[]): Pipeline<T | U> {
    this.#refuseWidth("merge");
    for (const other of others)
      if (!(other instanceof Pipeline)) throw invalidArgument("others", "pipelines", other);
    const ups = [this.#node, ...others.map((other) => other.#node)] as PlanNode<never>[];
    const node = nodeOf<T | U>(
      "merge",
      ups,
      {},
      (site, book, feeds) => new MergeFeed<T | U>(site.run, feeds, book),
    );
    return new Pipeline(node, this.#ports);
  }

  /**
   * Ends the pipeline with a function, a Web `WritableStream` or a node `Writable`. A function's promise is waited for. The
   * stream is ended after the last item; a run that ends early aborts or destroys it.
   */
  sink(sink: PipelineSink<T>, options: WorkOptions<T> = {}): RunnablePipeline {
    checkSink(sink);
    checkStage(options, ["retry", "deadLetter"]);
    if (typeof sink !== "function") this.#refuseWidth("a stream");
    const sunk = this.#stage<unknown>("sink", options, (site, book, up, width) => {
      const { take, end } = openSink(sink, site.run);
      const work = new StageWork<T, unknown>(site.run, book, take, options);
      const feed =
        width === undefined ? new SinkFeed(up, work) : new ParallelFeed(up, work, width, drop);
      site.add({ feed, book, end });
      return feed;
    });
    return new RunnablePipeline(sunk.#node as PlanNode<never>, this.#ports);
  }

  /**
   * Runs the pipeline and gives its items in an array.
   * @throws the result's `error`: unlike `run`, it rejects where the pipeline fails, is aborted or comes too late.
   */
  async collect(options: PipelineOptions = {}): Promise<T[]> {
    this.#refuseWidth("collect");
    const items: T[] = [];
    const take = (chunk: Chunk<T>): void => {
      for (const item of chunk.items) items.push(item);
    };
    const { status, error } = await new Execution(this.#node, options, this.#ports, take).run();
    if (status !== "succeeded") throw error;
    return items;
  }

  /** Runs the pipeline and gives its items one by one. Whoever stops asking ends the run. Errors as `collect`. */
  async *iterate(options: PipelineOptions = {}): AsyncGenerator<T, void, undefined> {
    // Not `yield*`: in an async generator that asks the array's iterator anew, and waits, for each item.
    for await (const chunk of this.iterateChunks(options)) for (const item of chunk) yield item;
  }

  /** As `iterate`, by arrays that are not empty: a wait for each of them, not for each item. */
  async *iterateChunks(options: PipelineOptions = {}): AsyncGenerator<T[], void, undefined> {
    this.#refuseWidth("iterate");
    const handover = new Handover<T>();
    const execution = new Execution(this.#node, options, this.#ports, (chunk) =>
      handover.put(chunk.items),
    );
    const done = execution.run();
    const ended = done.then(
      () => handover.close(),
      () => handover.close(),
    );
    try {
      for (let items = await handover.take(); items !== undefined; items = await handover.take())
        yield items;
      const { status, error } = await done;
      if (status !== "succeeded") throw error;
    } finally {
      execution.cancel();
      handover.close();
      await ended;
    }
  }

  /** As `iterate()`. */
  [Symbol.asyncIterator](): AsyncGenerator<T, void, undefined> {
    return this.iterate();
  }

  #stage<R>(
    kind: StageKind,
    options: PipelineStageOptions,
    open: (site: Site, book: StageBook, up: Feed<T>, width: Width | undefined) => Feed<R>,
  ): Pipeline<R> {
    const width = this.#width;
    const ups = [this.#node as PlanNode<never>];
    const node = nodeOf<R>(kind, ups, options, (site, book, [up]) =>
      open(site, book, up as Feed<T>, width),
    );
    return new Pipeline(node, this.#ports);
  }

  #refuseWidth(stage: string): void {
    if (this.#width === undefined) return;
    throw invalidArgument("parallel", "a stage with a function behind it", stage);
  }
}

/** Arrays from a run to whoever asks for them, one at a time. */
class Handover<T> {
  #items: T[] | undefined;
  #isClosed = false;
  #onItems: (() => void) | undefined;
  #onTaken: (() => void) | undefined;

  /** Resolves when the next one may come. */
  put(items: T[]): Promise<void> {
    this.#items = items;
    this.#onItems?.();
    return new Promise((resolve) => {
      this.#onTaken = resolve;
      if (this.#isClosed) resolve();
    });
  }

  async take(): Promise<T[] | undefined> {
    // Whoever asks again is through with what it got.
    this.#onTaken?.();
    while (this.#items === undefined) {
      if (this.#isClosed) return undefined;
      await new Promise<void>((resolve) => (this.#onItems = resolve));
    }
    const items = this.#items;
    this.#items = undefined;
    return items;
  }

  close(): void {
    this.#isClosed = true;
    this.#onItems?.();
    this.#onTaken?.();
  }
}

function nodeOf<T>(
  kind: StageKind,
  ups: readonly PlanNode<never>[],
  options: PipelineStageOptions,
  open: PlanNode<T>["open"],
): PlanNode<T> {
  checkStage(options, ["retry", "deadLetter"]);
  return { kind, name: options.name, codec: options.codec, ups, open };
}

function checkWork<T>(f: unknown, options: WorkOptions<T>): void {
  if (typeof f !== "function") throw invalidArgument("f", "a function", f);
  checkStage(options, ["retry", "deadLetter"]);
}

function drop(): { readonly result: unknown } {
  return { result: undefined };
}

function outside(): never {
  throw new InvariantError("a side branch is opened by its tee");
}
