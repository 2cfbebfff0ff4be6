/** What stages and their runs are told, and what they need of their host. */
import {
  describe,
  FabricError,
  invalidArgument,
  type AbortSignalLike,
  type Clock,
  type Codec,
  type Random,
  type Timer,
} from "@selvage/fabric";
import { resolveRetryPolicy, type RetryPolicy } from "@selvage/leasekit";
import type { CheckpointStore } from "./checkpoint-store.ts";
import type { StagedEvent } from "./staged-events.ts";
import type { LargeStates } from "./state-shelf.ts";

/** What a handler is told beside its state. */
export interface StageContext {
  /** The stage. */
  readonly name: string;
  /** From 1. */
  readonly attempt: number;
  /** Of the run's lease: what goes with every effect, for its sinks to compare. 0 without a `pipelineId`. */
  readonly epoch: number;
  readonly pipelineId: string | undefined;
  /** Aborted when the attempt has timed out, the run was cancelled, or its lease was lost. */
  readonly signal: AbortSignalLike;
  /** Tells how far the attempt is: from 0 to 1, or only that it advances. */
  progress(fraction?: number): void;
}

/** Makes a stage's state of the one before it. */
export type StageHandler<In, Out> = (state: In, context: StageContext) => Out | Promise<Out>;

/** How a stage is run. */
export interface StageOptions {
  /** Retries after the first attempt. Default 3. */
  readonly retries?: number;
  /** The wait before retry `n`, counted from 0, is `baseMs · backoff^n`. Default 2. */
  readonly backoff?: number;
  /** In milliseconds. Default 100. */
  readonly baseMs?: number;
  /** No wait is longer, in milliseconds. Default 300,000. */
  readonly maxMs?: number;
  /** How long an attempt may take, in milliseconds. Default: as long as it likes. */
  readonly timeoutMs?: number;
  /** Which failures are worth a retry. Default: all. */
  readonly retryOn?: (error: unknown) => boolean;
}

/** Options of a `StagedPipeline`. */
export interface StagedOptions {
  /** Where runs with a `pipelineId` keep their checkpoints. */
  readonly checkpointStore?: CheckpointStore;
  /** How payloads and states are kept. Default: JSON. */
  readonly codec?: Codec<unknown>;
  /** Where large states are kept. Default: in the checkpoint, whatever their size. */
  readonly largeStates?: LargeStates;
  /** How long after a runner's last sign another may take its run over, in milliseconds. Default 5,000. */
  readonly leaseMs?: number;
  /** How long an attempt that was told to stop may take to end, in milliseconds. Default 1,000. */
  readonly graceMs?: number;
}

/** Options of `StagedPipeline.run`. */
export interface StagedRunOptions {
  /** Resumes the run of this id, or begins it. Without one nothing is stored. */
  readonly pipelineId?: string;
  /** Cancels the run. What it has reached stays, for the next run of its id. */
  readonly signal?: AbortSignalLike;
  /** Called with every event, synchronously. What it throws ends the run. */
  readonly onEvent?: (event: StagedEvent) => void;
  /** What to do when the stages or the payload are not those of the run that is to be resumed. Default `"fail"`: `CONFLICT`. */
  readonly onMismatch?: "fail" | "restart";
}

/** The part of the platform's `AbortController` that a run uses. */
export interface StageAbort {
  readonly signal: AbortSignalLike;
  abort(reason?: unknown): void;
}

/** The host, as a staged pipeline needs it. */
export interface StagedPorts {
  readonly clock: Clock;
  readonly timer: Timer;
  readonly random: Random;
  /** A new `AbortController`. */
  abortSource(): StageAbort;
}

/** A stage, with its defaults. */
export interface Stage {
  readonly name: string;
  readonly policy: RetryPolicy;
  readonly timeoutMs: number | undefined;
  readonly handler: StageHandler<unknown, unknown>;
}

/** The longest time that hosts' timers can wait, in milliseconds: 24 days. */
const timerMsMax = 2 ** 31 - 1;

/** The defaults of {@link StageOptions}. */
export const STAGE_DEFAULTS: Required<Omit<StageOptions, "timeoutMs" | "retryOn">> = Object.freeze({
  retries: 3,
  backoff: 2,
  baseMs: 100,
  maxMs: 300_000,
});

const stageNames: readonly string[] = [...Object.keys(STAGE_DEFAULTS), "timeoutMs", "retryOn"];
const optionNames: readonly string[] = [
  "checkpointStore",
  "codec",
  "largeStates",
  "leaseMs",
  "graceMs",
];
const runNames: readonly string[] = ["pipelineId", "signal", "onEvent", "onMismatch"];

/** Fills in a stage's defaults and checks. @throws FabricError `INVALID_ARGUMENT`. */
export function resolveStage(name: string, options: StageOptions, handler: unknown): Stage {
  if (typeof name !== "string" || name === "")
    throw invalidArgument("name", "a text that is not empty", name);
  checkNames(options, stageNames);
  if (typeof handler !== "function") throw invalidArgument("handler", "a function", handler);
  const { timeoutMs, retryOn } = options;
  const { retries, backoff, baseMs, maxMs } = STAGE_DEFAULTS;
  const { backoff: factor = backoff } = options;
  if (!(typeof factor === "number" && factor >= 1))
    throw invalidArgument("backoff", "a number from 1 up", factor);
  const policy = resolveRetryPolicy({
    retries: options.retries ?? retries,
    baseMs: options.baseMs ?? baseMs,
    maxMs: options.maxMs ?? maxMs,
    factor,
    jitter: "none",
    ...(retryOn === undefined ? {} : { retryOn }),
  });
  if (timeoutMs !== undefined) checkMs("timeoutMs", timeoutMs, 1);
  return { name, policy, timeoutMs, handler: handler as StageHandler<unknown, unknown> };
}

/** Checks. @throws FabricError `INVALID_ARGUMENT`. */
export function checkOptions(options: StagedOptions): void {
  checkNames(options, optionNames);
  const { checkpointStore, codec, leaseMs = 5_000, graceMs = 1_000 } = options;
  if (checkpointStore !== undefined && typeof checkpointStore?.write !== "function")
    throw invalidArgument("checkpointStore", "a CheckpointStore", checkpointStore);
  if (codec !== undefined && typeof codec?.encode !== "function")
    throw invalidArgument("codec", "a Codec", codec);
  checkMs("leaseMs", leaseMs, 50);
  checkMs("graceMs", graceMs, 0);
}

/** Checks. @throws FabricError `INVALID_ARGUMENT`. */
export function checkRun(options: StagedRunOptions, hasStore: boolean): void {
  checkNames(options, runNames);
  const { pipelineId, signal, onEvent, onMismatch } = options;
  if (pipelineId !== undefined) {
    checkPipelineId(pipelineId);
    if (!hasStore)
      throw new FabricError(
        "INVALID_ARGUMENT",
        `Cannot keep checkpoints of ${describe(pipelineId)}: the pipeline has no checkpointStore`,
        { argument: "pipelineId" },
      );
  }
  if (signal !== undefined && typeof signal?.addEventListener !== "function")
    throw invalidArgument("signal", "an AbortSignal", signal);
  if (onEvent !== undefined && typeof onEvent !== "function")
    throw invalidArgument("onEvent", "a function", onEvent);
  if (onMismatch !== undefined && onMismatch !== "fail" && onMismatch !== "restart")
    throw invalidArgument("onMismatch", '"fail" or "restart"', onMismatch);
}

/** Checks. @throws FabricError `INVALID_ARGUMENT`. */
export function checkPipelineId(pipelineId: unknown): void {
  // A lone surrogate has no bytes: it would be another id when it is read again.
  if (typeof pipelineId !== "string" || pipelineId === "" || !pipelineId.isWellFormed())
    throw invalidArgument("pipelineId", "a text that is not empty", pipelineId);
}

function checkMs(name: string, value: unknown, least: number): void {
  if (!(typeof value === "number" && value >= least && value <= timerMsMax))
    throw invalidArgument(name, `milliseconds from ${least} to ${timerMsMax}`, value);
}

function checkNames(options: unknown, known: readonly string[]): void {
  if (typeof options !== "object" || options === null)
    throw invalidArgument("options", "an object", options);
  for (const name of Object.keys(options))
    if (!known.includes(name)) throw invalidArgument("options", `one of ${known.join(", ")}`, name);
}
