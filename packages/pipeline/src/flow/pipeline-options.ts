/** What a run of a pipeline is told, what a stage is told, and what both need of their host. */
import {
  checkTtl,
  invalidArgument,
  type AbortSignalLike,
  type Clock,
  type Codec,
  type Fabric,
  type Random,
  type Timer,
} from "@selvage/fabric";
import { resolveRetryPolicy, type RenewalManager, type RetryPolicy } from "@selvage/leasekit";
import type { PipelineEvent } from "./pipeline-events.ts";

/** `"fused"`: stages are one loop over chunks. `"queue"`: a `FabricQueue` stands between any two. */
export type Edges = "fused" | "queue";

/** The queues between stages. */
export interface QueueEdgeOptions {
  /** Items that a queue holds. Default 256. */
  readonly capacity?: number;
  /** The longest item, in encoded bytes. Default 1,024. A longer one is `CAPACITY_EXCEEDED`. */
  readonly stride?: number;
  /** What items become between stages that name no codec of their own. Default: the host's; without one, JSON. */
  readonly codec?: Codec<unknown>;
  /** TTL of the queues' leases, which the run keeps renewed, in milliseconds. Default 2,000. */
  readonly ttlMs?: number;
}

/** Options of a run. */
export interface PipelineOptions extends QueueEdgeOptions {
  /** Default `"fused"`. */
  readonly edges?: Edges;
  /** Where queues are leased. Default: a fabric of the run's own, opened when one is needed, closed at its end. */
  readonly fabric?: Fabric;
  /** What keeps the queues' leases. Default: a manager of the run's own. False: nothing does. */
  readonly renewals?: RenewalManager | false;
  /** Cancels the run: nothing more is taken in, what is on its way is dropped, stages are told by their signal. */
  readonly signal?: AbortSignalLike;
  /** Ends the intake: what has been taken in goes through, for `drainMs` at most. */
  readonly stop?: AbortSignalLike;
  /** How long the run may take in, in milliseconds; then it drains, and ends `timedOut`. Default: no limit. */
  readonly deadlineMs?: number;
  /** How long a run whose intake was ended may go on, in milliseconds; then it is cancelled. Default 10,000. */
  readonly drainMs?: number;
  /** How long a cancelled stage, source or sink may take to end before it is given up, in milliseconds. Default 1,000. */
  readonly graceMs?: number;
  /** Items that move together, at most: how far a source is read ahead. Default 1,024. 1: one after the other. */
  readonly chunkItems?: number;
  /** Where sources that can be read from an offset begin. Default 0. */
  readonly fromOffset?: number;
  /** Called with every event, synchronously. What it throws ends the run. */
  readonly onEvent?: (event: PipelineEvent) => void;
}

/** Where items are set aside: `DeadLetters` of `@selvage/collections`, or whatever has this of it. */
export interface DeadLetterPort {
  send(subject: string, bytes: Uint8Array, about: { readonly error: unknown }): unknown;
}

/** How a stage sets aside what it cannot do. */
export interface DeadLetterOptions<T> {
  readonly letters: DeadLetterPort;
  /** Default: the stage's name. */
  readonly subject?: string;
  /** Writes the item. Default: bytes as they are, and else as between stages. */
  readonly codec?: Codec<T>;
}

/** Options of any stage. */
export interface PipelineStageOptions {
  /** Names it in errors, events and counts. Default: its kind and number. One of a kind in a pipeline. */
  readonly name?: string;
  /** What its items become in the queue behind it. Default: the run's. */
  readonly codec?: Codec<unknown>;
}

/** Options of a stage that calls a function. */
export interface WorkOptions<T> extends PipelineStageOptions {
  /** How often an item that fails is tried again, and when. Default: not at all. */
  readonly retry?: number | Partial<RetryPolicy>;
  /** Where an item goes that failed for good. Default: the run fails. */
  readonly deadLetter?: DeadLetterOptions<T>;
}

/** What a stage's function is told beside its item. */
export interface WorkContext {
  /** The stage's name. */
  readonly stage: string;
  /** Aborted when the run is over early: what is under way may stop. */
  readonly signal: AbortSignalLike;
}

/** The host, as a pipeline needs it. */
export interface PipelinePorts {
  readonly clock: Clock;
  readonly timer: Timer;
  readonly random: Random;
  /** Resolves at the next turn of the event loop: a long run lets others have theirs. */
  nextTurn(): Promise<void>;
  /** A new `AbortController`. */
  abortSource(): { readonly signal: AbortSignalLike; abort(reason?: unknown): void };
  /** Opens a run's own fabric. */
  openFabric(): Fabric;
  /** What items become where nothing else is said. */
  readonly codec?: Codec<unknown>;
}

/** {@link PipelineOptions} that have defaults. */
export interface ResolvedPipeline {
  readonly edges: Edges;
  readonly capacity: number;
  readonly stride: number;
  readonly ttlMs: number;
  readonly drainMs: number;
  readonly graceMs: number;
  readonly chunkItems: number;
  readonly fromOffset: number;
}

/** The defaults of {@link PipelineOptions}. */
export const PIPELINE_DEFAULTS: ResolvedPipeline = Object.freeze({
  edges: "fused",
  capacity: 256,
  stride: 1_024,
  ttlMs: 2_000,
  drainMs: 10_000,
  graceMs: 1_000,
  chunkItems: 1_024,
  fromOffset: 0,
});

/** The longest time that hosts' timers can wait, in milliseconds: 24 days. */
const timerMsMax = 2 ** 31 - 1;
const itemsMax = 2 ** 20;

const known: readonly string[] = [
  ...Object.keys(PIPELINE_DEFAULTS),
  "codec",
  "fabric",
  "renewals",
  "signal",
  "stop",
  "deadlineMs",
  "onEvent",
];

/** Refuses what is no object, or has members that nobody reads. @throws FabricError `INVALID_ARGUMENT`. */
export function checkKeys(what: string, options: object, names: readonly string[]): void {
  if (typeof options !== "object" || options === null)
    throw invalidArgument(what, "an object", options);
  for (const name of Object.keys(options))
    if (!names.includes(name)) throw invalidArgument(what, `one of ${names.join(", ")}`, name);
}

function checkShape(options: PipelineOptions): void {
  checkKeys("options", options, known);
  const { fabric, renewals, onEvent, codec } = options;
  if (fabric !== undefined && typeof fabric?.mem !== "function")
    throw invalidArgument("fabric", "a Fabric", fabric);
  if (renewals !== undefined && renewals !== false && typeof renewals?.hold !== "function")
    throw invalidArgument("renewals", "a RenewalManager, or false", renewals);
  for (const name of ["signal", "stop"] as const)
    if (options[name] !== undefined && typeof options[name]?.addEventListener !== "function")
      throw invalidArgument(name, "an AbortSignal", options[name]);
  if (onEvent !== undefined && typeof onEvent !== "function")
    throw invalidArgument("onEvent", "a function", onEvent);
  checkCodec(codec);
}

/** @throws FabricError `INVALID_ARGUMENT`. */
function checkCodec(codec: Codec<never> | Codec<unknown> | undefined): void {
  if (codec === undefined) return;
  if (typeof codec?.encode !== "function" || typeof codec.decode !== "function")
    throw invalidArgument("codec", "a codec", codec);
}

/** Checks a whole number. @throws FabricError `INVALID_ARGUMENT`. */
export function checkWhole(name: string, value: unknown, least: number, most: number): number {
  if (Number.isSafeInteger(value) && (value as number) >= least && (value as number) <= most)
    return value as number;
  throw invalidArgument(name, `a whole number from ${least} to ${most}`, value);
}

function checkMs(name: string, value: unknown): number {
  if (typeof value === "number" && value >= 0 && value <= timerMsMax) return value;
  throw invalidArgument(name, `milliseconds from 0 to ${timerMsMax}`, value);
}

/** Fills in the defaults and checks. @throws FabricError `INVALID_ARGUMENT`. */
export function resolvePipeline(options: PipelineOptions): ResolvedPipeline {
  checkShape(options);
  // An option given as undefined means its default, as an absent one does.
  const given = Object.entries(options).filter(([, value]) => value !== undefined);
  const all = { ...PIPELINE_DEFAULTS, ...(Object.fromEntries(given) as Partial<PipelineOptions>) };
  const { edges, capacity, stride, ttlMs, drainMs, graceMs, chunkItems, fromOffset } = all;
  if (edges !== "fused" && edges !== "queue")
    throw invalidArgument("edges", '"fused" or "queue"', edges);
  if (all.deadlineMs !== undefined && all.deadlineMs !== Infinity)
    checkMs("deadlineMs", all.deadlineMs);
  return {
    edges,
    capacity: checkWhole("capacity", capacity, 1, itemsMax),
    stride: checkWhole("stride", stride, 1, 2 ** 30),
    ttlMs: checkTtl("ttlMs", ttlMs),
    drainMs: checkMs("drainMs", drainMs),
    graceMs: checkMs("graceMs", graceMs),
    chunkItems: checkWhole("chunkItems", chunkItems, 1, itemsMax),
    fromOffset: checkWhole("fromOffset", fromOffset, 0, Number.MAX_SAFE_INTEGER),
  };
}

/** Checks what a stage is told. @throws FabricError `INVALID_ARGUMENT`. */
export function checkStage<T>(options: WorkOptions<T>, names: readonly string[] = []): void {
  checkKeys("options", options, ["name", "codec", ...names]);
  const { name, codec, retry, deadLetter } = options;
  if (name !== undefined && (typeof name !== "string" || name === ""))
    throw invalidArgument("name", "a text that is not empty", name);
  checkCodec(codec);
  resolveRetryPolicy(retry);
  if (deadLetter === undefined) return;
  checkKeys("deadLetter", deadLetter, ["letters", "subject", "codec"]);
  if (typeof deadLetter.letters?.send !== "function")
    throw invalidArgument("deadLetter.letters", "DeadLetters", deadLetter.letters);
  checkCodec(deadLetter.codec);
}
