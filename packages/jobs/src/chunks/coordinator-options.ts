/** What a job is told, and what it needs of its host. */
import {
  checkTtl,
  invalidArgument,
  type AbortSignalLike,
  type Clock,
  type Fabric,
  type Random,
  type Timer,
} from "@selvage/fabric";
import { STALL_MS_DEFAULT, type TaskRunner } from "@selvage/leasekit";
import type { CoordinatorEvent } from "./coordinator-events.ts";

/** Options of `JobCoordinator.run`. */
export interface CoordinatorOptions {
  /** Most chunks that are worked on at a time. Default: as many as the machine runs in parallel, at least 2. */
  readonly concurrency?: number;
  /** Most retries of all chunks together; what fails after that fails the job. Default: no limit. */
  readonly retryBudget?: number;
  /** How long one attempt's work may take, in milliseconds, once it has a thread. Default: no limit. */
  readonly timeoutMs?: number;
  /** How long work that was told to stop may take to end, in milliseconds. Default 1,000. */
  readonly graceMs?: number;
  /** How long a worker thread may be silent before its attempt is given up, in milliseconds. Default 30,000. */
  readonly stallMs?: number;
  /** TTL of the leases by which chunks and outputs cross to worker threads, in milliseconds. Default 2,000. */
  readonly ttlMs?: number;
  /** Cancels the job. */
  readonly signal?: AbortSignalLike;
  /** Called with every event, synchronously. What it throws fails the job. */
  readonly onEvent?: (event: CoordinatorEvent) => void;
  /** Where chunks and outputs are leased for worker threads. Default: a fabric of the job's own, closed at its end. */
  readonly fabric?: Fabric;
  /** Threads for work that is a module. Default: threads of the job's own, ended with it. */
  readonly runner?: TaskRunner;
}

/** {@link CoordinatorOptions} that have defaults. */
export interface ResolvedJob {
  readonly concurrency: number;
  readonly retryBudget: number;
  readonly timeoutMs: number;
  readonly graceMs: number;
  readonly stallMs: number;
  readonly ttlMs: number;
}

/** The defaults of {@link CoordinatorOptions}, but for `concurrency`, which is the host's. */
export const COORDINATOR_DEFAULTS: Omit<ResolvedJob, "concurrency"> = Object.freeze({
  retryBudget: Infinity,
  timeoutMs: Infinity,
  graceMs: 1_000,
  stallMs: STALL_MS_DEFAULT,
  ttlMs: 2_000,
});

/** The part of the platform's `AbortController` that a job uses. */
export interface JobAbortSource {
  readonly signal: AbortSignalLike;
  abort(reason?: unknown): void;
}

/** The host, as a coordinator needs it. */
export interface JobPorts {
  readonly clock: Clock;
  readonly timer: Timer;
  readonly random: Random;
  /** How much the machine does at a time: the default of `concurrency`. */
  readonly parallelism: number;
  /** A new `AbortController`. */
  abortSource(): JobAbortSource;
  /** Opens a job's own fabric, with room for `memoryBytes`. Called for work that is a module only. */
  openFabric(memoryBytes: number): Fabric;
  /** Opens a job's own threads, `threads` at most. Called for work that is a module only. */
  openRunner(threads: number): TaskRunner;
}

/** The longest time that hosts' timers can wait, in milliseconds: 24 days. */
const timerMsMax = 2 ** 31 - 1;

const known: readonly string[] = [
  ...["concurrency", "retryBudget", "timeoutMs", "graceMs", "stallMs", "ttlMs"],
  ...["signal", "onEvent", "fabric", "runner"],
];

function checkShape(options: CoordinatorOptions): void {
  if (typeof options !== "object" || options === null)
    throw invalidArgument("options", "an object", options);
  for (const name of Object.keys(options))
    if (!known.includes(name)) throw invalidArgument("options", `one of ${known.join(", ")}`, name);
  const { signal, onEvent, fabric, runner } = options;
  if (signal !== undefined && typeof signal?.addEventListener !== "function")
    throw invalidArgument("signal", "an AbortSignal", signal);
  if (onEvent !== undefined && typeof onEvent !== "function")
    throw invalidArgument("onEvent", "a function", onEvent);
  if (fabric !== undefined && typeof fabric?.mem !== "function")
    throw invalidArgument("fabric", "a Fabric", fabric);
  if (runner !== undefined && typeof runner?.run !== "function")
    throw invalidArgument("runner", "a TaskRunner", runner);
}

/** Fills in the defaults and checks. @throws FabricError `INVALID_ARGUMENT`. */
export function resolveJob(options: CoordinatorOptions, parallelism: number): ResolvedJob {
  checkShape(options);
  // An option given as undefined means its default, as an absent one does.
  const {
    concurrency = Math.max(2, parallelism),
    retryBudget = COORDINATOR_DEFAULTS.retryBudget,
    timeoutMs = COORDINATOR_DEFAULTS.timeoutMs,
    graceMs = COORDINATOR_DEFAULTS.graceMs,
    stallMs = COORDINATOR_DEFAULTS.stallMs,
    ttlMs = COORDINATOR_DEFAULTS.ttlMs,
  } = options;
  if (!Number.isSafeInteger(concurrency) || concurrency < 1)
    throw invalidArgument("concurrency", "a whole number from 1 up", concurrency);
  if (!isAtLeast(retryBudget, 0))
    throw invalidArgument("retryBudget", "a number from 0 up", retryBudget);
  if (timeoutMs !== Infinity && !(isAtLeast(timeoutMs, 1) && timeoutMs <= timerMsMax))
    throw invalidArgument("timeoutMs", `milliseconds from 1 to ${timerMsMax}`, timeoutMs);
  if (!(isAtLeast(graceMs, 0) && graceMs <= timerMsMax))
    throw invalidArgument("graceMs", `milliseconds from 0 to ${timerMsMax}`, graceMs);
  if (typeof stallMs !== "number" || !(stallMs > 0))
    throw invalidArgument("stallMs", "milliseconds above 0", stallMs);
  return {
    ...{ concurrency, retryBudget, timeoutMs, graceMs, stallMs },
    ttlMs: checkTtl("ttlMs", ttlMs),
  };
}

function isAtLeast(value: unknown, least: number): boolean {
  return typeof value === "number" && value >= least;
}
