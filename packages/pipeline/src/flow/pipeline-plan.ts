/** A pipeline as it was written down: stages and what they read. Nothing is opened before a run. */
import { FabricError, invalidArgument, jsonCodec, type Codec } from "@selvage/fabric";
import type { Chunk, Feed, MaybePromise } from "./pipeline-chunk.ts";
import { EdgeFeed, type EdgeDesk } from "./pipeline-edge.ts";
import { stageError, type PipelineRun, type StageBook } from "./pipeline-run.ts";
import type { StageKind } from "./pipeline-result.ts";

/** One stage. Plain data, and a function that opens it for a run. */
export interface PlanNode<T> {
  readonly kind: StageKind;
  readonly name: string | undefined;
  readonly codec: Codec<unknown> | undefined;
  /** What it reads, in order. */
  readonly ups: readonly PlanNode<never>[];
  /** A sink that is opened with it, on the side, and where what leads to that begins. */
  readonly branch?: { readonly entry: PlanNode<never>; readonly end: PlanNode<never> };
  /** In place of a stage that is opened by another: where a side branch begins. */
  readonly isEntry?: true;
  open(site: Site, book: StageBook, feeds: readonly Feed<never>[]): Feed<T>;
}

/** What is pulled for its own sake: a sink's end. */
export interface Line {
  readonly feed: Feed<unknown>;
  readonly book: StageBook;
  /** Takes each chunk, where the stage has not taken the items itself. */
  readonly take?: (chunk: Chunk<never>) => MaybePromise<void>;
  /** After the last item. */
  readonly end: (() => MaybePromise<void>) | undefined;
}

const json = jsonCodec<unknown>();

/** A stage that is open. */
export interface Opened<T> {
  readonly feed: Feed<T>;
  readonly book: StageBook;
}

/** Opens the stages of one run, from the sources on. */
export class Site {
  readonly run: PipelineRun;
  readonly #lines: Line[];
  readonly #names: ReadonlyMap<PlanNode<never>, string>;
  readonly #entries = new Map<PlanNode<never>, Opened<unknown>>();
  readonly #desk: EdgeDesk | undefined;

  /** `desk`: where the queues are leased; undefined: there are none. `lines`: where what is to be pulled goes. */
  constructor(
    run: PipelineRun,
    names: ReadonlyMap<PlanNode<never>, string>,
    desk: EdgeDesk | undefined,
    lines: Line[],
  ) {
    this.#lines = lines;
    this.run = run;
    this.#names = names;
    this.#desk = desk;
  }

  /** Opens a stage, and before it what it reads. A stage that two others read is opened for each. */
  open<T>(node: PlanNode<T>): Opened<T> {
    if (node.isEntry === true) return this.#entries.get(node as PlanNode<never>) as Opened<T>;
    const below = node.ups.map((up) => this.open(up));
    const name = this.#names.get(node as PlanNode<never>) as string;
    const book = this.run.book(name, node.kind, node.codec);
    const feeds = below.map(({ feed, book: writer }) => this.#join(feed, writer, book));
    try {
      return { feed: node.open(this, book, feeds), book };
    } catch (thrown) {
      throw stageError(name, undefined, thrown, "CONFLICT");
    }
  }

  /** Says what stands where a side branch begins. */
  provide<T>(entry: PlanNode<T>, opened: Opened<T>): void {
    this.#entries.set(entry as PlanNode<never>, opened);
  }

  /** Pulls a feed for its own sake. */
  add(line: Line): void {
    this.#lines.push(line);
  }

  #join<T>(feed: Feed<T>, writer: StageBook, reader: StageBook): Feed<T> {
    const { options, ports } = this.run;
    if (this.#desk === undefined) return feed;
    const codec = (writer.codec ?? options.codec ?? ports.codec ?? json) as Codec<T>;
    return new EdgeFeed(this.run, this.#desk, feed, { writer, reader, codec });
  }
}

/** Every stage before `node`, and it, each once, in the order in which they are opened. */
function* walk(node: PlanNode<never>, seen: Set<PlanNode<never>>): Generator<PlanNode<never>> {
  if (seen.has(node)) return;
  seen.add(node);
  for (const up of node.ups) yield* walk(up, seen);
  yield node;
  if (node.branch === undefined) return;
  seen.add(node.branch.entry);
  yield* walk(node.branch.end, seen);
}

/**
 * Names the stages that have no name. @throws FabricError `CONFLICT`: two have the same; `INVALID_ARGUMENT`: a side branch
 * without what it branches off.
 */
export function nameStages(root: PlanNode<never>): Map<PlanNode<never>, string> {
  const names = new Map<PlanNode<never>, string>();
  const taken = new Set<string>();
  const seen = new Set<PlanNode<never>>();
  let position = 0;
  let sources = 0;
  let sinks = 0;
  const automatic = ({ kind }: PlanNode<never>): string => {
    if (kind === "source") return sources === 1 ? kind : `${kind}-${sources}`;
    if (kind === "sink") return sinks === 1 ? kind : `${kind}-${sinks}`;
    return `${kind}-${position}`;
  };
  for (const node of walk(root, seen)) {
    if (node.isEntry === true)
      throw invalidArgument("pipeline", "one that begins with a source", "a side branch");
    if (node.kind === "source") sources++;
    else if (node.kind === "sink") sinks++;
    else position++;
    const name = node.name ?? automatic(node);
    if (taken.has(name))
      throw new FabricError("CONFLICT", `Cannot run the pipeline: two stages are "${name}"`, {
        name,
      });
    taken.add(name);
    names.set(node, name);
  }
  return names;
}
