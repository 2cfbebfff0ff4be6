/** Runs what a pipeline is: opens its stages, pulls at its ends, and tells how it went. */
import { isFabricError } from "@selvage/fabric";
import type { Chunk, MaybePromise } from "./pipeline-chunk.ts";
import { EdgeDesk } from "./pipeline-edge.ts";
import { resolvePipeline, type PipelineOptions, type PipelinePorts } from "./pipeline-options.ts";
import { nameStages, Site, type Line, type PlanNode } from "./pipeline-plan.ts";
import type { PipelineResult, StageResult } from "./pipeline-result.ts";
import { PipelineRun, stageError, type StageBook } from "./pipeline-run.ts";

/** Takes the chunks of a pipeline that has no sink of its own. */
export type Taker<T> = (chunk: Chunk<T>) => MaybePromise<void>;

/** One execution of a plan. */
export class Execution<T> {
  readonly #run: PipelineRun;
  readonly #root: PlanNode<T>;
  readonly #take: Taker<T> | undefined;
  readonly #names: ReadonlyMap<PlanNode<never>, string>;

  /** @throws FabricError `INVALID_ARGUMENT`, `CONFLICT`. */
  constructor(root: PlanNode<T>, options: PipelineOptions, ports: PipelinePorts, take?: Taker<T>) {
    this.#run = new PipelineRun(options, resolvePipeline(options), ports);
    this.#root = root;
    this.#take = take;
    this.#names = nameStages(root as PlanNode<never>);
  }

  /** Cancels it, for whoever wants no more of it. */
  cancel(reason?: unknown): void {
    this.#run.cancel(reason);
  }

  /** Runs it. Resolves once everything is given back. @throws what a watcher threw. */
  async run(): Promise<PipelineResult> {
    const run = this.#run;
    const { clock } = run.ports;
    const startedAtMs = clock.nowMs();
    run.tell({ type: "started", stages: [...this.#names.values()] });
    const lines = await this.#open();
    run.arm();
    const done = Promise.all(lines.map((line) => this.#drive(line)));
    const isDone = await Promise.race([done, run.givenUp]);
    const areAllDone = isDone?.every(Boolean) ?? false;
    const isComplete = areAllDone && run.hasEnded;
    await run.close();
    const verdict = run.verdict(isComplete);
    run.tell({ type: "settled", status: verdict.status });
    // A watcher may have thrown just now.
    const { status, error } = run.verdict(isComplete);
    const elapsedMs = clock.nowMs() - startedAtMs;
    return {
      status,
      isComplete: isComplete && status === "succeeded",
      ...(error === undefined ? {} : { error }),
      ...totals(run.books),
      elapsedMs,
    };
  }

  async #open(): Promise<readonly Line[]> {
    const run = this.#run;
    const lines: Line[] = [];
    try {
      const desk = run.resolved.edges === "queue" ? new EdgeDesk(run) : undefined;
      await desk?.ready;
      const site = new Site(run, this.#names, desk, lines);
      const { feed } = site.open(this.#root);
      if (this.#take !== undefined) {
        const book = run.book("sink", "sink");
        const take = this.#take as (chunk: Chunk<never>) => MaybePromise<void>;
        site.add({ feed, book, take, end: undefined });
      }
    } catch (thrown) {
      // No room for a queue, say, or a stream that somebody else reads: nothing has been taken in.
      if (!isFabricError(thrown)) throw thrown;
      run.fail(thrown);
    }
    return lines;
  }

  // True when all of it has come through.
  async #drive({ feed, book, take, end }: Line): Promise<boolean> {
    const run = this.#run;
    try {
      while (!run.isOver) {
        const pulled = feed.pull();
        const chunk = pulled instanceof Promise ? await pulled : pulled;
        if (run.isOver) {
          if (take !== undefined) book.itemsIn += chunk?.items.length ?? 0;
          return false;
        }
        if (chunk === undefined) {
          await end?.();
          return !run.isOver;
        }
        if (take !== undefined && chunk.items.length > 0) {
          const { length } = chunk.items;
          book.itemsIn += length;
          const taking = take(chunk as Chunk<never>);
          if (taking !== undefined) await taking;
          book.itemsOut += length;
          book.done += length;
        }
        if (chunk.failure !== undefined) {
          run.fail(chunk.failure);
          return false;
        }
        const breath = run.breath();
        if (breath !== undefined) await breath;
      }
    } catch (thrown) {
      run.fail(stageError(book.name, undefined, thrown, "DISCONNECTED"));
    }
    return false;
  }
}

function totals(
  books: readonly StageBook[],
): Omit<PipelineResult, "status" | "isComplete" | "error" | "elapsedMs"> {
  const stages = books.map(toResult);
  const sum = (pick: (stage: StageResult) => number, kind?: StageResult["kind"]): number =>
    stages.reduce(
      (total, stage) => total + (kind === undefined || stage.kind === kind ? pick(stage) : 0),
      0,
    );
  return {
    stages,
    itemsIn: sum(({ itemsOut }) => itemsOut, "source"),
    itemsOut: sum(({ itemsOut }) => itemsOut, "sink"),
    retries: sum(({ retries }) => retries),
    deadLettered: sum(({ deadLettered }) => deadLettered),
    dropped: sum(({ dropped }) => dropped),
  };
}

function toResult(book: StageBook): StageResult {
  const { name, kind, itemsIn, itemsOut, retries, deadLettered, done } = book;
  const dropped = kind === "source" ? 0 : itemsIn - done - deadLettered;
  return { name, kind, itemsIn, itemsOut, retries, deadLettered, dropped };
}
