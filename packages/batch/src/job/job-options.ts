/** What a job is made of, and what it tells. */
import { invalidArgument, type AbortSignalLike, type Clock, type Timer } from "@selvage/fabric";
import {
  checkConcurrency,
  checkTimeout,
  EXECUTION_DEFAULTS,
  type AbortSource,
} from "../run/execution-options.ts";
import type { AttemptError } from "../run/execution-result.ts";
import type { JobMap } from "./job-context.ts";

/** What a task's body may ask while it runs. */
export interface TaskControls {
  /** False once the attempt's time is up, or the job is over: what the body returns then counts no more. */
  readonly isActive: () => boolean;
  /** Aborted at the same moment. */
  readonly signal: AbortSignalLike;
  /** The task's name. */
  readonly name: string;
  /** From 1. */
  readonly attempt: number;
}

/** A task of a job. */
export interface JobTask<C extends JobMap = JobMap> {
  /** Unique in its job. */
  readonly name: string;
  /**
   * Gets a frozen map of what the job was given and the tasks before it returned, and returns a map of its own; a plain
   * object. Anything else is an `invalid-result`.
   */
  readonly fn: (context: Readonly<C>, controls: TaskControls) => JobMap | PromiseLike<JobMap>;
  /** Names of the tasks that must have completed before. */
  readonly dependencies?: readonly string[] | ReadonlySet<string>;
  /** How often it is tried again after its first attempt. Default: the job's. */
  readonly maxRetries?: number;
  /** How long an attempt may take, in milliseconds. */
  readonly timeoutMs?: number;
  /** Whether its failure is none of the job's. Only for a task that no other depends on. Default false. */
  readonly continueOnFailure?: boolean;
}

/** How a task of a job stands. `exception` and `timed-out` are followed by `ready`, if it is tried again, or `failed`. */
export type JobTaskState =
  | "unscheduled"
  | "ready"
  | "running"
  | "completed"
  | "exception"
  | "timed-out"
  | "invalid-result"
  | "conflict"
  | "failed"
  | "skipped"
  | "cancelled";

/** How a job stands. */
export type JobState = "idle" | "running" | "completed" | "failed" | "timed-out" | "cancelled";

/** Why a job failed: its first task that failed threw, was late, returned no map, or a key that was another's. */
export type JobFailureReason = "exception" | "timed-out" | "invalid-result" | "conflict";

/** A task, or the job, changed its state. */
export type JobEvent =
  | {
      readonly type: "task";
      readonly name: string;
      readonly oldState: JobTaskState;
      readonly newState: JobTaskState;
      /** From 1; 0 before the first. */
      readonly attempt: number;
      readonly error?: unknown;
      /** What it returned, in place of a map. */
      readonly result?: unknown;
      /** The task whose failure skipped or cancelled this one. */
      readonly because?: string;
    }
  | { readonly type: "job"; readonly oldState: JobState; readonly newState: JobState };

/** Options of `runTasks`. */
export interface JobOptions<C extends JobMap = JobMap> {
  /** What every task sees. Default: nothing. */
  readonly ctx?: C;
  /** Most bodies at a time. Default 1,024. */
  readonly maxConcurrency?: number;
  /** How long the job may take, in milliseconds. */
  readonly timeoutMs?: number;
  /** How often a task is tried again after its first attempt, at once. Default 5. */
  readonly maxRetries?: number;
  /** How long a body that was told to end may take for it, in milliseconds. Default 1,000. */
  readonly graceMs?: number;
  /** Cancels the job. */
  readonly signal?: AbortSignalLike;
  /** Called with every change of state, synchronously. What it throws ends the job, and rejects it. */
  readonly onEvent?: (event: JobEvent) => void;
  /** Whether the first failure ends the job. Default true. */
  readonly failFast?: boolean;
  /** Runs a body somewhere, and gives what it gave. Default: at once, on this thread. */
  readonly executor?: (body: () => JobMap | PromiseLike<JobMap>) => unknown;
}

/** {@link JobOptions} that have defaults. */
export interface ResolvedJob {
  readonly ctx: JobMap;
  readonly maxConcurrency: number;
  readonly maxRetries: number;
  readonly graceMs: number;
  readonly failFast: boolean;
}

/** The defaults of {@link JobOptions}. */
export const JOB_DEFAULTS: ResolvedJob = Object.freeze({
  ctx: Object.freeze({}),
  maxConcurrency: EXECUTION_DEFAULTS.maxConcurrency,
  maxRetries: 5,
  graceMs: EXECUTION_DEFAULTS.graceMs,
  failFast: true,
});

/** How a job ended. */
export interface JobResult<C extends JobMap = JobMap> {
  readonly state: Exclude<JobState, "idle" | "running">;
  /** What it was given, and all that its completed tasks returned: also where the job did not complete. */
  readonly ctx: C & Record<string, unknown>;
  /** Why it failed. */
  readonly reason?: JobFailureReason;
  /** The first task that failed. */
  readonly name?: string;
  /** What that threw: the same object. Of the last attempt. */
  readonly error?: unknown;
  /** What it returned in place of a map. */
  readonly result?: unknown;
  /** Tasks whose bodies were told to end, and run still. */
  readonly overrunning?: readonly string[];
}

/** How one task of a job ended, or stands. */
export interface JobTaskReport {
  readonly name: string;
  readonly state: JobTaskState;
  readonly attempts: number;
  /** Every failed attempt, in order. */
  readonly errors: readonly AttemptError[];
  /** The task whose failure skipped or cancelled this one. */
  readonly because?: string;
}

/** The host, as a job needs it. */
export interface JobPorts {
  readonly timer: Timer;
  readonly clock: Clock;
  /** A new `AbortController`. */
  abortSource(): AbortSource;
}

const known: readonly string[] = [
  "ctx",
  "maxConcurrency",
  "timeoutMs",
  "maxRetries",
  "graceMs",
  "signal",
  "onEvent",
  "failFast",
  "executor",
];

/** Fills in the defaults and checks. @throws FabricError `INVALID_ARGUMENT`. */
export function resolveJob(options: JobOptions): ResolvedJob {
  if (typeof options !== "object" || options === null)
    throw invalidArgument("options", "an object", options);
  for (const name of Object.keys(options))
    if (!known.includes(name)) throw invalidArgument("options", `one of ${known.join(", ")}`, name);
  const { signal, onEvent, executor, timeoutMs } = options;
  const {
    ctx = JOB_DEFAULTS.ctx,
    maxConcurrency = JOB_DEFAULTS.maxConcurrency,
    maxRetries = JOB_DEFAULTS.maxRetries,
    graceMs = JOB_DEFAULTS.graceMs,
    failFast = JOB_DEFAULTS.failFast,
  } = options;
  if (typeof ctx !== "object" || ctx === null) throw invalidArgument("ctx", "a map", ctx);
  checkConcurrency(maxConcurrency);
  checkTimeout("timeoutMs", timeoutMs);
  if (graceMs !== 0) checkTimeout("graceMs", graceMs);
  if (!Number.isSafeInteger(maxRetries) || maxRetries < 0)
    throw invalidArgument("maxRetries", "a whole number from 0 up", maxRetries);
  if (typeof failFast !== "boolean") throw invalidArgument("failFast", "true or false", failFast);
  if (signal !== undefined && typeof signal?.addEventListener !== "function")
    throw invalidArgument("signal", "an AbortSignal", signal);
  if (onEvent !== undefined && typeof onEvent !== "function")
    throw invalidArgument("onEvent", "a function", onEvent);
  if (executor !== undefined && typeof executor !== "function")
    throw invalidArgument("executor", "a function", executor);
  const most = Math.min(maxConcurrency, Number.MAX_SAFE_INTEGER);
  return { ctx, maxConcurrency: most, maxRetries, graceMs, failFast };
}

/** A watcher for `onEvent` that writes a line for each change: `JOB > running -> completed`, `a > ready -> running`. */
export function eventLogger(write: (line: string) => void): (event: JobEvent) => void {
  return (event) => {
    const name = event.type === "job" ? "JOB" : event.name;
    write(`${name} > ${event.oldState} -> ${event.newState}`);
  };
}
