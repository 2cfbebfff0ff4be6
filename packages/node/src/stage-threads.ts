/** Stages on threads of their own, joined by edges over shared memory that survive their leases and their threads. */
import {
  FabricError,
  fromWire,
  invalidArgument,
  isFabricError,
  type BlockLease,
} from "@selvage/fabric";
import { HandoffWriter } from "@selvage/fence";
import { RenewalManager, resolveRetryPolicy, type RetryPolicy } from "@selvage/leasekit";
import { EDGE_LEASE_MS, type RelocatableQueueEdge } from "@selvage/pipeline";
import { Fabric } from "./fabric.ts";
import { itemError, openConsumer, openProducer } from "./stage-ends.ts";
import { frameShape, numberAt, type Frame } from "./stage-frames.ts";
import { StageLink } from "./stage-link.ts";
import type { EdgeSide, RingShape } from "./stage-messages.ts";
import type {
  NumberedItem,
  StageThreadsEvent,
  StageThreadsOptions,
  StageThreadsResult,
  StageThreadsRun,
} from "./stage-options.ts";
import { StagePace } from "./stage-pace.ts";
import { SourcePump } from "./stage-source.ts";
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
  const { source, stages, sink, fabric, capacity = 4_096, stride = 1_024, from = 0 } = options;
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
  #source: SourcePump | undefined;
  readonly #pace: StagePace;
  #itemsOut = 0;
  // Numbers that the sink is done with.
  #reached = 0;

  constructor(options: StageThreadsOptions<T, R>, checked: Checked) {
    this.#options = options;
    this.#checked = checked;
    this.#fabric = options.fabric ?? Fabric.open();
    this.#renewals = new RenewalManager(this.#fabric);
    const { itemsMax } = frameShape(checked.shape);
    this.#pace = new StagePace(itemsMax, () => performance.now());
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
      itemsIn: this.#source?.taken ?? 0,
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
    const edge = await openProducer(link.place(), shape, 0, this.#hears(link, "producer"));
    this.#ends.push(edge);
    if (this.#isOver) return edge[Symbol.dispose]();
    const { signal } = this.#over;
    const itemsMax = (): number => this.#pace.itemsMax;
    this.#source = new SourcePump(edge, { from, itemsMax, signal });
    try {
      // The sink says when the run is over; until then this end keeps what is not acknowledged.
      if (await this.#source.pump(source)) await edge.close({ signal });
    } catch (error) {
      if (!this.#isOver) throw error;
    }
  }

  // Gives the sink what comes out of the last edge, until there is no more.
  async #drain(): Promise<void> {
    const link = this.#linkAt(this.#links.length - 1);
    const { signal } = this.#over;
    const hear = this.#hears(link, "consumer");
    const resolve = link.place().resolve;
    const { stride } = this.#checked.shape;
    let edge: RelocatableQueueEdge<Frame> | number;
    try {
      edge = await openConsumer(this.#fabric, link.reader(), resolve, hear, stride, signal);
    } catch (error) {
      if (this.#isOver) return;
      throw error;
    }
    if (typeof edge === "number") return;
    this.#ends.push(edge);
    while (!this.#isOver && !edge.isOver) {
      const batch: NumberedItem<R>[] = [];
      const { next, failed } = await this.#take(edge, batch);
      if (this.#isOver) return;
      if (batch.length > 0) await this.#sink(batch, link.name);
      this.#itemsOut += batch.length;
      edge.acknowledge();
      if (next > this.#reached) this.#pace.reach((this.#reached = next));
      if (failed !== undefined) return this.#fail(failed);
    }
  }

  // Up to a batch; waits only for its first. Returns what number is next, and what a stage has failed with there.
  async #take(
    edge: RelocatableQueueEdge<Frame>,
    batch: NumberedItem<R>[],
  ): Promise<{ readonly next: number; readonly failed?: Error }> {
    let next = this.#reached;
    const { itemsMax } = frameShape(this.#checked.shape);
    let frame = edge.pop() ?? (await edge.popAsync({ timeoutMs: idleMs }));
    while (frame !== undefined) {
      for (let index = 0; index < frame.values.length; index++)
        batch.push({ sequence: numberAt(frame, index), value: frame.values[index] as R });
      next = frame.first + frame.count;
      if (frame.failure !== undefined) return { next, failed: fromWire(frame.failure) };
      if (batch.length + itemsMax > batchMax) break;
      frame = edge.pop();
    }
    return { next };
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
