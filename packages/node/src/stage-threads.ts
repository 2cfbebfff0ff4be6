/** Stages on threads of their own, joined by edges over shared memory that survive their leases and their threads. */
import {
  FabricError,
  fromWire,
  invalidArgument,
  isFabricError,
  toWire,
  type BlockLease,
} from "@selvage/fabric";
import { HandoffWriter } from "@selvage/fence";
import { RenewalManager, resolveRetryPolicy, type RetryPolicy } from "@selvage/leasekit";
import { EDGE_LEASE_MS, type RelocatableQueueEdge } from "@selvage/pipeline";
import { Fabric } from "./fabric.ts";
import { isOfItem, itemError, openConsumer, openProducer, put, Turns } from "./stage-ends.ts";
import { StageLink } from "./stage-link.ts";
import { FAILURE, ITEM, type EdgeSide, type Parcel, type RingShape } from "./stage-messages.ts";
import type {
  NumberedItem,
  StageThreadsEvent,
  StageThreadsOptions,
  StageThreadsResult,
  StageThreadsRun,
} from "./stage-options.ts";
import { StageThread } from "./stage-thread.ts";

/** Most items that a sink gets at once. */
const batchMax = 256;

/** How long the sink's end waits for an item before it looks around, in milliseconds. */
const idleMs = 20;

const retryDefaults: Partial<RetryPolicy> = { retries: 8, baseMs: 5, maxMs: 500, jitter: "none" };

/**
 * Runs stages on a thread each: from `source` on this thread, through the modules, to `sink` on this thread, with a
 * `RelocatableQueueEdge` between every two. Items cross as MessagePack; none comes twice to the sink, none is left out, their order stays.
 *
 * A lease that ends moves its edge to a new ring. A thread that dies is replaced: an item is acknowledged once its result is, up to
 * the sink, so what the dead one had is made again, under the same numbers, and dropped where it has been seen. A module that
 * throws ends the run: what is before the item reaches the sink, nothing after it does.
 * @throws FabricError `INVALID_ARGUMENT`. What goes wrong later is in the result.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { runStages } from "selvage";
 *
 * // A module of its own: export default (line, { sequence }) => line.length || undefined
 * const length = new URL("data:text/javascript,export default (line) => line.length || undefined");
 * const lengths: number[] = [];
 * const { result } = runStages<string, number>({
 *   source: ["one", "", "three"],
 *   stages: [{ name: "length", module: length }],
 *   sink: (items) => void lengths.push(...items.map(({ value }) => value)),
 * });
 * assert.equal((await result).status, "succeeded");
 * assert.deepEqual(lengths, [3, 5]);
 * ```
 */
export function runStages<T, R>(options: StageThreadsOptions<T, R>): StageThreadsRun {
  const checked = check(options);
  const run = new Run<T, R>(options, checked);
  const result = run.run();
  return { result, terminate: (stage) => run.terminate(stage) };
}

interface Checked {
  readonly shape: RingShape;
  readonly leaseMs: number;
  readonly from: number;
  readonly policy: RetryPolicy;
}

function check<T, R>(options: StageThreadsOptions<T, R>): Checked {
  if (typeof options !== "object" || options === null)
    throw invalidArgument("options", "{ source, stages, sink }", options);
  const { source, stages, sink, fabric, capacity = 1_024, stride = 1_024, from = 0 } = options;
  const { leaseMs = EDGE_LEASE_MS, restart = {} } = options;
  if (!isIterable(source)) throw invalidArgument("source", "an iterable or async iterable", source);
  if (typeof sink !== "function") throw invalidArgument("sink", "a function", sink);
  if (!Array.isArray(stages) || stages.length === 0)
    throw invalidArgument("stages", "at least one stage", stages);
  const names = new Set<string>();
  for (const { name, module } of stages) {
    if (typeof name !== "string" || name === "" || names.has(name))
      throw invalidArgument("stages.name", "a name of its own for each stage", name);
    names.add(name);
    if (!(module instanceof URL)) throw invalidArgument("stages.module", "a URL", module);
  }
  if (fabric !== undefined && !(fabric instanceof Fabric))
    throw invalidArgument("fabric", "a Fabric", fabric);
  if (!(typeof leaseMs === "number" && leaseMs > 0 && leaseMs < Infinity))
    throw invalidArgument("leaseMs", "milliseconds above 0", leaseMs);
  return {
    shape: {
      capacity: checkWhole("capacity", capacity, 1),
      stride: checkWhole("stride", stride, 1),
    },
    leaseMs,
    from: checkWhole("from", from, 0),
    policy: resolveRetryPolicy(
      typeof restart === "number"
        ? { ...retryDefaults, retries: restart }
        : { ...retryDefaults, ...restart },
    ),
  };
}

function checkWhole(name: string, value: number, least: number): number {
  if (Number.isSafeInteger(value) && value >= least) return value;
  throw invalidArgument(name, `a whole number from ${least} up`, value);
}

function isIterable(source: unknown): boolean {
  if (typeof source === "string") return false;
  const of = source as Partial<Iterable<unknown> & AsyncIterable<unknown>> | null | undefined;
  return (
    typeof of?.[Symbol.asyncIterator] === "function" || typeof of?.[Symbol.iterator] === "function"
  );
}

class Run<T, R> {
  readonly #options: StageThreadsOptions<T, R>;
  readonly #checked: Checked;
  readonly #fabric: Fabric;
  readonly #renewals: RenewalManager;
  readonly #blocks: BlockLease[] = [];
  readonly #links: StageLink[] = [];
  readonly #threads: StageThread[] = [];
  // Of this thread.
  readonly #ends: Disposable[] = [];
  readonly #over = new AbortController();
  #outcome: Pick<StageThreadsResult, "status" | "error"> | undefined;
  #itemsIn = 0;
  #itemsOut = 0;
  // Numbers that the sink is done with.
  #reached = 0;

  constructor(options: StageThreadsOptions<T, R>, checked: Checked) {
    this.#options = options;
    this.#checked = checked;
    this.#fabric = options.fabric ?? Fabric.open();
    this.#renewals = new RenewalManager(this.#fabric);
  }

  async run(): Promise<StageThreadsResult> {
    const { signal } = this.#options;
    const cancel = (): void => this.#finish({ status: "cancelled", error: signal?.reason });
    signal?.addEventListener("abort", cancel);
    try {
      if (signal?.aborted === true) cancel();
      else await this.#work();
    } catch (error) {
      this.#fail(error);
    } finally {
      signal?.removeEventListener("abort", cancel);
      await this.#close();
    }
    return {
      ...(this.#outcome ?? { status: "succeeded", error: undefined }),
      itemsIn: this.#itemsIn,
      itemsOut: this.#itemsOut,
      stages: this.#threads.map((thread) => thread.result()),
      edges: this.#links.map((link) => link.result()),
    };
  }

  async terminate(stage: string): Promise<boolean> {
    if (!this.#options.stages.some(({ name }) => name === stage))
      throw invalidArgument("stage", "the name of a stage", stage);
    const thread = this.#threads.find((one) => one.stage.name === stage);
    return (await thread?.terminate()) ?? false;
  }

  async #work(): Promise<void> {
    const { stages } = this.#options;
    const names = ["source", ...stages.map(({ name }) => name), "sink"];
    for (const [at, name] of names.slice(1).entries())
      this.#links.push(await this.#link(`${names[at]} -> ${name}`));
    for (const [at, stage] of stages.entries())
      this.#threads.push(this.#thread(stage, this.#linkAt(at), this.#linkAt(at + 1)));
    if (this.#isOver) return;
    for (const thread of this.#threads) thread.start();
    void this.#pump().catch((error: unknown) => this.#fail(error));
    await this.#drain();
  }

  async #link(name: string): Promise<StageLink> {
    const blocks = await this.#fabric
      .block()
      .minBlocks(HandoffWriter.BLOCKS)
      .label("edge")
      .acquire();
    this.#blocks.push(blocks);
    this.#renewals.hold(blocks);
    const { renew = true } = this.#options;
    const { leaseMs } = this.#checked;
    const renewals = renew ? this.#renewals : undefined;
    return new StageLink(name, this.#fabric, blocks, { leaseMs, renewals });
  }

  #linkAt(at: number): StageLink {
    const link = this.#links[at];
    if (link === undefined) throw new RangeError("there is an edge on each side of a stage");
    return link;
  }

  #thread(stage: StageThread["stage"], input: StageLink, output: StageLink): StageThread {
    const { shape, policy } = this.#checked;
    return new StageThread(stage, {
      shape,
      policy,
      input,
      output,
      progress: () => this.#reached,
      tell: (event) => this.#tell(event),
      fail: (error) => this.#fail(error),
    });
  }

  // Reads the source into the first edge.
  async #pump(): Promise<void> {
    const { source } = this.#options;
    const { shape, from } = this.#checked;
    const link = this.#linkAt(0);
    const edge = await openProducer(link.place(), shape, from, this.#hears(link, "producer"));
    this.#ends.push(edge);
    if (this.#isOver) return edge[Symbol.dispose]();
    const { signal } = this.#over;
    const items = iteratorOf<T>(source);
    signal.addEventListener("abort", () => void giveBack(items));
    const turns = new Turns();
    for (let sequence = from; !this.#isOver; sequence++) {
      const parcel = await read(items, sequence);
      if (parcel === undefined) break;
      const isItem = await this.#send(edge, parcel, sequence);
      if (!isItem) return;
      this.#itemsIn++;
      if (turns.isDue) await turns.take();
    }
    // The sink says when the run is over; until then this end keeps what is not acknowledged.
    if (!this.#isOver) await edge.close({ signal });
  }

  // False where nothing may follow.
  async #send(
    edge: RelocatableQueueEdge<Parcel>,
    parcel: Parcel,
    sequence: number,
  ): Promise<boolean> {
    const { signal } = this.#over;
    try {
      await put(edge, parcel, signal);
      return parcel[0] === ITEM;
    } catch (error) {
      if (this.#isOver) return false;
      if (!isOfItem(error)) throw error;
      await put(edge, failure(sequence, error), signal);
      return false;
    }
  }

  // Gives the sink what comes out of the last edge, until there is no more.
  async #drain(): Promise<void> {
    const link = this.#linkAt(this.#links.length - 1);
    const { signal } = this.#over;
    const hear = this.#hears(link, "consumer");
    const resolve = link.place().resolve;
    let edge: RelocatableQueueEdge<Parcel> | number;
    try {
      edge = await openConsumer(this.#fabric, link.reader(), resolve, hear, signal);
    } catch (error) {
      if (this.#isOver) return;
      throw error;
    }
    if (typeof edge === "number") return;
    this.#ends.push(edge);
    while (!this.#isOver && !edge.isOver) {
      const batch: NumberedItem<R>[] = [];
      const failed = await this.#take(edge, batch);
      if (this.#isOver) return;
      if (batch.length > 0) await this.#sink(batch, link.name);
      this.#itemsOut += batch.length;
      this.#reached = edge.sequence + 1;
      edge.acknowledge();
      if (failed !== undefined) return this.#fail(failed);
    }
  }

  // Up to a batch; waits only for its first. Returns what a stage has failed with, once that is next.
  async #take(
    edge: RelocatableQueueEdge<Parcel>,
    batch: NumberedItem<R>[],
  ): Promise<Error | undefined> {
    let parcel = edge.pop() ?? (await edge.popAsync({ timeoutMs: idleMs }));
    for (let taken = 1; parcel !== undefined; taken++) {
      const { sequence } = edge;
      if (parcel[0] === FAILURE) return fromWire(parcel[1]);
      if (parcel[0] === ITEM) batch.push({ sequence, value: parcel[1] as R });
      if (taken === batchMax) break;
      parcel = edge.pop();
    }
    return undefined;
  }

  async #sink(batch: readonly NumberedItem<R>[], edge: string): Promise<void> {
    try {
      await this.#options.sink(batch, edge);
    } catch (error) {
      throw itemError("sink", batch[0]?.sequence ?? 0, error);
    }
    // Where the sink never waits, others do.
    await new Promise((resolve) => setImmediate(resolve));
  }

  get #isOver(): boolean {
    return this.#outcome !== undefined;
  }

  #finish(outcome: Pick<StageThreadsResult, "status" | "error">): void {
    if (this.#isOver) return;
    this.#outcome = outcome;
    this.#over.abort(new DOMException("the run is over", "AbortError"));
  }

  #fail(error: unknown): void {
    const typed = isFabricError(error)
      ? error
      : new FabricError("STORE_UNAVAILABLE", "The run cannot go on", {}, { cause: error });
    this.#finish({ status: "failed", error: typed });
  }

  async #close(): Promise<void> {
    this.#finish({ status: "succeeded", error: undefined });
    await Promise.all(this.#threads.map((thread) => thread.close()));
    for (const end of this.#ends) end[Symbol.dispose]();
    for (const link of this.#links) link.releaseRings();
    this.#renewals[Symbol.dispose]();
    for (const blocks of this.#blocks) blocks.release();
    if (this.#options.fabric === undefined) await this.#fabric.close();
  }

  #hears(link: StageLink, side: EdgeSide): (event: Parameters<StageLink["hear"]>[1]) => void {
    return (event) => {
      link.hear(side, event);
      this.#tell({ type: "edge", edge: link.name, side, event });
      if (event.type === "failed") this.#fail(event.error);
    };
  }

  #tell(event: StageThreadsEvent): void {
    try {
      this.#options.onEvent?.(event);
    } catch {
      // Whoever listens must not stop the run.
    }
  }
}

// The source's next item, or what it has failed with; undefined at its end.
async function read(
  items: Iterator<unknown> | AsyncIterator<unknown>,
  sequence: number,
): Promise<Parcel | undefined> {
  try {
    const next = items.next();
    const { done, value } = isPromise(next) ? await next : next;
    return done === true ? undefined : [ITEM, value];
  } catch (error) {
    return failure(sequence, error);
  }
}

function failure(sequence: number, error: unknown): Parcel {
  const { message, ...wire } = toWire(itemError("source", sequence, error, "DISCONNECTED"));
  // Room for it is in any ring that has room for an item.
  return [FAILURE, { ...wire, message: message.slice(0, 200), cause: null, stack: null }];
}

function iteratorOf<T>(source: Iterable<T> | AsyncIterable<T>): Iterator<T> | AsyncIterator<T> {
  return Symbol.asyncIterator in source
    ? source[Symbol.asyncIterator]()
    : source[Symbol.iterator]();
}

function isPromise<V>(value: V | PromiseLike<V>): value is PromiseLike<V> {
  return typeof (value as Partial<PromiseLike<V>>).then === "function";
}

async function giveBack(items: Iterator<unknown> | AsyncIterator<unknown>): Promise<void> {
  try {
    await items.return?.();
  } catch {
    // The run is over: nobody is there to hear of it.
  }
}
