/** What a run is told, and what it needs of its host. */
import {
  checkTtl,
  invalidArgument,
  resolveBudget,
  type AbortSignalLike,
  type DecodeBudget,
  type Fabric,
  type Random,
  type Timer,
} from "@selvage/fabric";
import { STALL_MS_DEFAULT, type RenewalManager, type TaskRunner } from "@selvage/leasekit";
import { checkRunId } from "../data/checkpoint.ts";
import type { CodecPorts } from "../data/data-codecs.ts";
import type { ExecutionEvent } from "./run-events.ts";
import type { LeasedInputs } from "../data/leased-inputs.ts";
import type { Schedule } from "../machine/run-machine.ts";
import { TIMER_MS_MAX } from "../graph/task.ts";

/** `"expiry"`: intermediate leases end at their TTL. `"eager"`: they are released when the last consumer ends. */
export type Teardown = "expiry" | "eager";

/** Options of `Executor.run`. */
export interface ExecutorOptions {
  /** Where outputs are leased. Default: a fabric of the run's own, closed at its end. */
  readonly fabric?: Fabric;
  /** What keeps the leases of the run. Default: a manager of the run's own. False: nothing does. */
  readonly renewals?: RenewalManager | false;
  /** TTL of every output's lease, in milliseconds. Default 2,000. */
  readonly ttlMs?: number;
  readonly teardown?: Teardown;
  /** How long a holder may be silent before its leases are no longer renewed, in milliseconds. Default 30,000. */
  readonly stallMs?: number;
  /** Cancels the run: running attempts are told, and given up after `graceMs`. */
  readonly signal?: AbortSignalLike;
  /** How long an attempt that was told to end may take for it, in milliseconds. Default 1,000. */
  readonly graceMs?: number;
  /** How long the run may take until its last outcome, in milliseconds. Then it ends as if cancelled, as `timedOut`. */
  readonly timeoutMs?: number;
  /** Stops the run at the first failure: what runs is told, what has not started is cancelled. Default false. */
  readonly failFast?: boolean;
  /** Most attempts at a time. Default 1,024: a plan of a million tasks does not start them all at once. */
  readonly maxConcurrency?: number;
  /** How many units there are of what tasks `use`, by name. What is not here is not limited. */
  readonly limits?: Readonly<Record<string, number>>;
  /** Called with every event, synchronously. What it throws ends the run. */
  readonly onEvent?: (event: ExecutionEvent) => void;
  /** Outputs that outlive the run: see `ExecutionResult.keep`. Only with a `fabric`. */
  readonly keep?: readonly string[];
  /** Leases for the plan's own inputs (`TaskGraph.addInput`), kept while a task may read them. Only with a `fabric`. */
  readonly inputs?: LeasedInputs;
  /**
   * Has what the tasks commit made durable on blocks of the `fabric`, so that a run of the same plan under the same id, also
   * by another process over the same block file, does not do it again. Cleared when the run succeeds.
   */
  readonly runId?: string;
  /** TTL of the leases that hold a run's checkpoint, in milliseconds: how long it waits to be resumed. Default 3,600,000. */
  readonly checkpointTtlMs?: number;
  /** What decoding one input (json, msgpack) may cost, and so what encoding one output may. Default: `DECODE_BUDGET`. */
  readonly budget?: DecodeBudget;
  /** When tasks start: by waves, with a barrier between, or each when those before it have succeeded. Default `"waves"`. */
  readonly schedule?: Schedule;
  /**
   * Whether outputs that find no memory go to leased blocks, and come back when they are read. Without it they fail their
   * attempt with `CAPACITY_EXCEEDED`. Default false.
   */
  readonly spill?: boolean;
}

/** {@link ExecutorOptions} that have defaults. */
export interface ResolvedExecution {
  readonly ttlMs: number;
  readonly teardown: Teardown;
  readonly stallMs: number;
  readonly graceMs: number;
  readonly schedule: Schedule;
  readonly maxConcurrency: number;
  readonly failFast: boolean;
  readonly spill: boolean;
  readonly checkpointTtlMs: number;
}

/** The defaults of {@link ExecutorOptions}. */
export const EXECUTION_DEFAULTS: ResolvedExecution = Object.freeze({
  ttlMs: 2_000,
  teardown: "expiry",
  stallMs: STALL_MS_DEFAULT,
  graceMs: 1_000,
  schedule: "waves",
  maxConcurrency: 1_024,
  failFast: false,
  spill: false,
  checkpointTtlMs: 3_600_000,
});

/** The part of the platform's `AbortController` that a run uses. */
export interface AbortSource {
  readonly signal: AbortSignalLike;
  abort(reason?: unknown): void;
}

/** The host, as an executor needs it. */
export interface ExecutorPorts {
  readonly timer: Timer;
  readonly random: Random;
  /** A new `AbortController`. */
  abortSource(): AbortSource;
  /** Opens the run's own fabric. */
  openFabric(): Fabric;
  /** Codecs of the host. Default: JSON only. */
  readonly codecs?: CodecPorts;
  /** How many threads tasks may keep busy at a time. Default: as many as they like. */
  readonly threads?: number;
  /** Starts threads for tasks whose body is a module; called when the first one starts. */
  openRunner(): TaskRunner;
}

const known: readonly string[] = [
  "fabric",
  "renewals",
  "ttlMs",
  "teardown",
  "stallMs",
  "signal",
  "graceMs",
  "timeoutMs",
  "failFast",
  "maxConcurrency",
  "limits",
  "onEvent",
  "keep",
  "inputs",
  "runId",
  "checkpointTtlMs",
  "budget",
  "schedule",
  "spill",
];

function checkShape(options: ExecutorOptions): void {
  if (typeof options !== "object" || options === null)
    throw invalidArgument("options", "an object", options);
  for (const name of Object.keys(options))
    if (!known.includes(name)) throw invalidArgument("options", `one of ${known.join(", ")}`, name);
  const { fabric, renewals, signal, onEvent, schedule, spill, keep, runId } = options;
  if (fabric !== undefined && typeof fabric?.mem !== "function")
    throw invalidArgument("fabric", "a Fabric", fabric);
  if (renewals !== undefined && renewals !== false && typeof renewals?.hold !== "function")
    throw invalidArgument("renewals", "a RenewalManager, or false", renewals);
  if (signal !== undefined && typeof signal?.addEventListener !== "function")
    throw invalidArgument("signal", "an AbortSignal", signal);
  if (onEvent !== undefined && typeof onEvent !== "function")
    throw invalidArgument("onEvent", "a function", onEvent);
  resolveBudget(options.budget);
  if (keep !== undefined && (!Array.isArray(keep) || (keep.length > 0 && fabric === undefined)))
    throw invalidArgument("keep", "names of outputs, and a fabric that outlives the run", keep);
  if (runId !== undefined) checkRunId(runId);
  if (runId !== undefined && fabric === undefined)
    throw invalidArgument("fabric", "one whose blocks outlive the run, with a runId", fabric);
  if (schedule !== undefined && schedule !== "waves" && schedule !== "ready")
    throw invalidArgument("schedule", '"waves" or "ready"', schedule);
  if (spill !== undefined && typeof spill !== "boolean")
    throw invalidArgument("spill", "true or false", spill);
}

function checkLimits({ timeoutMs, failFast, maxConcurrency, limits }: ExecutorOptions): void {
  checkTimeout("timeoutMs", timeoutMs);
  if (failFast !== undefined && typeof failFast !== "boolean")
    throw invalidArgument("failFast", "true or false", failFast);
  checkConcurrency(maxConcurrency);
  if (limits === undefined) return;
  if (typeof limits !== "object" || limits === null)
    throw invalidArgument("limits", "an object of whole numbers by name", limits);
  for (const [name, units] of Object.entries(limits))
    if (!Number.isSafeInteger(units) || units < 1)
      throw invalidArgument(`limits.${name}`, "a whole number above 0", units);
}

/** Refuses what no host's timer can wait for. @throws FabricError `INVALID_ARGUMENT`. */
export function checkTimeout(name: string, ms: number | undefined): void {
  if (ms !== undefined && !(typeof ms === "number" && ms > 0 && ms <= TIMER_MS_MAX))
    throw invalidArgument(name, `milliseconds above 0, up to ${TIMER_MS_MAX}`, ms);
}

/** @throws FabricError `INVALID_ARGUMENT`. */
export function checkConcurrency(most: number | undefined): void {
  if (most !== undefined && !(most >= 1 && (Number.isSafeInteger(most) || most === Infinity)))
    throw invalidArgument("maxConcurrency", "a whole number above 0, or Infinity", most);
}

/** Fills in the defaults and checks. @throws FabricError `INVALID_ARGUMENT`. */
export function resolveExecution(options: ExecutorOptions): ResolvedExecution {
  checkShape(options);
  checkLimits(options);
  // An option given as undefined means its default, as an absent one does.
  const {
    ttlMs = EXECUTION_DEFAULTS.ttlMs,
    teardown = EXECUTION_DEFAULTS.teardown,
    stallMs = EXECUTION_DEFAULTS.stallMs,
    graceMs = EXECUTION_DEFAULTS.graceMs,
    schedule = EXECUTION_DEFAULTS.schedule,
    maxConcurrency = EXECUTION_DEFAULTS.maxConcurrency,
    failFast = EXECUTION_DEFAULTS.failFast,
    spill = EXECUTION_DEFAULTS.spill,
    checkpointTtlMs = EXECUTION_DEFAULTS.checkpointTtlMs,
  } = options;
  if (typeof stallMs !== "number" || !(stallMs > 0))
    throw invalidArgument("stallMs", "milliseconds above 0", stallMs);
  if (typeof graceMs !== "number" || !(graceMs >= 0 && graceMs <= TIMER_MS_MAX))
    throw invalidArgument("graceMs", `milliseconds from 0 to ${TIMER_MS_MAX}`, graceMs);
  if (teardown !== "expiry" && teardown !== "eager")
    throw invalidArgument("teardown", '"expiry" or "eager"', teardown);
  return {
    ttlMs: checkTtl("ttlMs", ttlMs),
    teardown,
    stallMs,
    graceMs,
    schedule,
    maxConcurrency: Math.min(maxConcurrency, Number.MAX_SAFE_INTEGER),
    failFast,
    spill,
    checkpointTtlMs: checkTtl("checkpointTtlMs", checkpointTtlMs),
  };
}
