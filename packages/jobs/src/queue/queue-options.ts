/** What a job queue, its tasks and its jobs are told, and what a queue needs of its host. */
import {
  invalidArgument,
  type AbortSignalLike,
  type Clock,
  type Codec,
  type Fabric,
  type Random,
  type Timer,
} from "@selvage/fabric";
import { RETRY_DEFAULTS, type RetryPolicy, type TaskRunner } from "@selvage/leasekit";
import type { JobAbortSource } from "../chunks/coordinator-options.ts";
import type { JobStore } from "./job-store.ts";
import type { JobQueueEvent } from "./queue-events.ts";
import { parseRate, type RateLimit } from "./rate-limit.ts";

/** The longest time that hosts' timers can wait, in milliseconds: 24 days. */
const timerMsMax = 2 ** 31 - 1;

/** Options of a queue. Times are in milliseconds. */
export interface JobQueueOptions {
  /** Most jobs that a worker of this process runs at a time: they share its loop, or its threads. Default 16. */
  readonly concurrency?: number;
  /** Retries of a task that says nothing of its own, after the first attempt. Default 3. */
  readonly defaultRetries?: number;
  /** Timeout of an attempt of a task that says nothing of its own; 0 is none. Default 300,000. */
  readonly defaultTimeoutMs?: number;
  /** TTL of a worker's claims: silent for so long, it is given up. Default 10,000. */
  readonly leaseMs?: number;
  /** A worker's tick: how often it looks for what nobody told it of. At most 15,000. Default 1,000. */
  readonly pollMs?: number;
  /** How long a body that was told to stop may take to end. Default 5,000. */
  readonly graceMs?: number;
  /** Arguments and results longer than that stand in blocks of their own. Default 65,536 bytes. */
  readonly inlineBytesMax?: number;
  /** Longer arguments and results are refused. Default 64 MiB. */
  readonly payloadBytesMax?: number;
  /** How long ended jobs are kept; null is for ever. Default: 7 days, dead letters 30 days. */
  readonly retention?: Retention;
  /** Called with every event of this process, once the store has it. What it throws is told as a warning. */
  readonly onEvent?: (event: JobQueueEvent) => void;
}

/** How long ended jobs are kept, in milliseconds; null is for ever. */
export interface Retention {
  readonly complete?: number | null;
  readonly cancelled?: number | null;
  readonly failed?: number | null;
  readonly dead?: number | null;
}

/** {@link JobQueueOptions}, all of them. */
export interface ResolvedQueue {
  readonly concurrency: number;
  readonly defaultRetries: number;
  readonly defaultTimeoutMs: number;
  readonly leaseMs: number;
  readonly pollMs: number;
  readonly graceMs: number;
  readonly inlineBytesMax: number;
  readonly payloadBytesMax: number;
  readonly retention: Required<Retention>;
}

/** No payload is longer: a database's blobs end there, and a thread is handed it whole. */
const payloadBytesMost = 512 * 1024 * 1024;

const dayMs = 86_400_000;

/** The defaults of {@link JobQueueOptions}. */
export const JOB_QUEUE_DEFAULTS: ResolvedQueue = Object.freeze({
  concurrency: 16,
  defaultRetries: 3,
  defaultTimeoutMs: 300_000,
  leaseMs: 10_000,
  pollMs: 1_000,
  graceMs: 5_000,
  inlineBytesMax: 65_536,
  payloadBytesMax: 64 * 1024 * 1024,
  retention: Object.freeze({
    complete: 7 * dayMs,
    cancelled: 7 * dayMs,
    failed: 7 * dayMs,
    dead: 30 * dayMs,
  }),
});

/** Says that a worker is alive, also while its event loop is busy with work that makes progress. */
export interface ClaimKeeper {
  /** Resolves once it can; until then the worker's loop says that it is alive. Absent: it can at once. */
  readonly ready?: Promise<void>;
  /** The store knows the worker from now on. */
  begin?(): void;
  /** The worker's work advances, or its loop turns. */
  stamp(): void;
  /** Ends the keeping. Resolves once it says nothing any more. */
  stop(): Promise<void>;
}

/** What a keeper is to keep. */
export interface Keeping {
  readonly worker: string;
  /** How often it says so. */
  readonly beatMs: number;
  /** Called when the store no longer knows the worker: it was given up. */
  readonly onLost: () => void;
}

/** The host, as a queue needs it. */
export interface JobQueuePorts {
  readonly clock: Clock;
  /** Milliseconds that only rise with time, from any origin: what silence is measured by. */
  readonly monotonicMs: () => number;
  readonly timer: Timer;
  readonly random: Random;
  /** How arguments and results become bytes. */
  readonly codec: Codec<unknown>;
  /** How much the machine does at a time: so many threads run tasks that are modules. */
  readonly parallelism: number;
  /** Who a worker of this process is, for people. */
  readonly label: string;
  /** Resolves in the host's next turn. */
  nextTurn(): Promise<void>;
  /** A new `AbortController`. */
  abortSource(): JobAbortSource;
  /** Starts to say that a worker is alive. Absent: the queue does so itself, whenever its loop turns. */
  readonly keep?: (store: JobStore, keeping: Keeping) => ClaimKeeper;
  /** When an expression of cron fires next after `afterMs`. @throws on one that is none. Absent: no cron. */
  readonly cronNextMs?: (
    expression: string,
    timeZone: string,
    afterMs: number,
  ) => number | undefined;
  /** Opens the fabric by which arguments reach worker threads. */
  openFabric(memoryBytes: number): Fabric;
  /** Opens the threads for tasks that are modules. */
  openRunner(threads: number): TaskRunner;
  /** Is told what a watcher threw. */
  warn(thrown: unknown): void;
}

/** The part of Standard Schema (version 1) that validates. */
export interface StandardSchema<T> {
  readonly "~standard": {
    readonly version: 1;
    readonly vendor: string;
    readonly validate: (value: unknown) => SchemaResult<T> | Promise<SchemaResult<T>>;
    readonly types?: { readonly input: unknown; readonly output: T } | undefined;
  };
}

/** What a Standard Schema says of a value. */
export type SchemaResult<T> =
  | { readonly value: T; readonly issues?: undefined }
  | { readonly issues: readonly { readonly message: string }[] };

/** Options of a task. Times are in milliseconds. */
export interface QueuedTaskOptions<A extends readonly unknown[] = readonly unknown[]> {
  /** The queue of its jobs. Default `"default"`. */
  readonly queue?: string;
  /** Retries after the first attempt. Default: the queue's. */
  readonly retries?: number;
  /** How the waits before retries grow. Default: from 1 s, doubling, at most 300 s, full jitter. `delaysMs` are taken exactly. */
  readonly backoff?: Partial<Omit<RetryPolicy, "retries" | "retryOn">>;
  /** Which failures are worth a retry. Default: all but those marked as not. One that throws means yes. */
  readonly retryOn?: (error: unknown) => boolean;
  /** Timeout of an attempt; 0 is none. Default: the queue's. */
  readonly timeoutMs?: number;
  /** Higher first. Default 0. */
  readonly priority?: number;
  /** Most of its jobs that run at a time, in all processes. Default: no limit. */
  readonly maxConcurrent?: number;
  /** How many of its jobs may start in a time, in all processes: `"10/s"`, `"100/m"`, `"5/h"`. Default: no limit. */
  readonly rateLimit?: string;
  /** Validates the arguments, as an array: before a job is kept, and again where they are made of results. */
  readonly input?: StandardSchema<A>;
}

/** Options of one job. Times are in milliseconds. */
export interface EnqueueOptions {
  /** Jobs that have to complete first, by id or as they are. */
  readonly dependsOn?:
    string | { readonly id: string } | readonly (string | { readonly id: string })[];
  readonly queue?: string;
  readonly priority?: number;
  readonly retries?: number;
  readonly timeoutMs?: number;
  /** Not before so long from now. */
  readonly delayMs?: number;
  /** Unstarted after so long from now, it is cancelled. */
  readonly expiresMs?: number;
  /** While an unfinished job has this key, that one is returned instead of a new one. */
  readonly uniqueKey?: string;
  /** A text that stays with the job and means nothing to the queue. */
  readonly metadata?: string;
  /** Small facts, shown where jobs are shown: at most 4,096 bytes of JSON. */
  readonly notes?: Readonly<Record<string, unknown>>;
}

/** Options of a worker. Times are in milliseconds. */
export interface WorkerOptions {
  /** Which queues it serves; those named first are served first. Default: `"default"` and those of the declared tasks. */
  readonly queues?: readonly string[];
  /** Stops it: nothing new is claimed, and what runs may end within `drainMs`. */
  readonly signal?: AbortSignalLike;
  /** Most jobs at a time. Default: the queue's. */
  readonly concurrency?: number;
  /** How long what runs may take to end after a stop; then it is told to stop, and handed back. Default 30,000. */
  readonly drainMs?: number;
}

/** What a resolved task's jobs are made with. */
export interface ResolvedTask {
  readonly queue: string;
  readonly retries: number;
  readonly timeoutMs: number;
  readonly priority: number;
  readonly maxConcurrent: number;
  readonly rate: RateLimit | undefined;
  readonly backoff: Omit<RetryPolicy, "retries" | "retryOn">;
  readonly retryOn: ((error: unknown) => boolean) | undefined;
  readonly input: StandardSchema<readonly unknown[]> | undefined;
}

/** Fills in the defaults and checks. @throws FabricError `INVALID_ARGUMENT`. */
export function resolveQueue(options: JobQueueOptions): ResolvedQueue {
  const d = JOB_QUEUE_DEFAULTS;
  const retention = { ...d.retention, ...options.retention };
  for (const [status, ms] of Object.entries(retention))
    if (ms !== null) checkMs(`retention.${status}`, ms, 0, Number.MAX_SAFE_INTEGER);
  if (options.onEvent !== undefined && typeof options.onEvent !== "function")
    throw invalidArgument("onEvent", "a function", options.onEvent);
  return {
    concurrency: checkCount("concurrency", options.concurrency ?? d.concurrency, 1),
    defaultRetries: checkCount("defaultRetries", options.defaultRetries ?? d.defaultRetries, 0),
    defaultTimeoutMs: checkMs(
      "defaultTimeoutMs",
      options.defaultTimeoutMs ?? d.defaultTimeoutMs,
      0,
    ),
    leaseMs: checkMs("leaseMs", options.leaseMs ?? d.leaseMs, 30),
    pollMs: checkMs("pollMs", options.pollMs ?? d.pollMs, 1, 15_000),
    graceMs: checkMs("graceMs", options.graceMs ?? d.graceMs, 0),
    inlineBytesMax: checkCount("inlineBytesMax", options.inlineBytesMax ?? d.inlineBytesMax, 0),
    payloadBytesMax: checkMost(
      "payloadBytesMax",
      options.payloadBytesMax ?? d.payloadBytesMax,
      payloadBytesMost,
    ),
    retention,
  };
}

/** Longer waits than the retry policy's own: a durable job has time. */
const backoffDefaults = { baseMs: 1_000, maxMs: 300_000 } as const;

/** Fills in the defaults and checks. @throws FabricError `INVALID_ARGUMENT`. */
export function resolveTask(options: QueuedTaskOptions, queue: ResolvedQueue): ResolvedTask {
  const { backoff = {}, rateLimit, retryOn } = options;
  const { retries: _, retryOn: __, ...defaults } = RETRY_DEFAULTS;
  if (retryOn !== undefined && typeof retryOn !== "function")
    throw invalidArgument("retryOn", "a function", retryOn);
  const maxConcurrent = options.maxConcurrent ?? Infinity;
  const resolved = { ...defaults, ...backoffDefaults, ...backoff };
  checkBackoff(resolved);
  return {
    queue: checkName("queue", options.queue ?? "default"),
    retries: checkCount("retries", options.retries ?? queue.defaultRetries, 0),
    timeoutMs: checkMs("timeoutMs", options.timeoutMs ?? queue.defaultTimeoutMs, 0),
    priority: checkPriority(options.priority ?? 0),
    maxConcurrent:
      maxConcurrent === Infinity ? maxConcurrent : checkCount("maxConcurrent", maxConcurrent, 1),
    rate: rateLimit === undefined ? undefined : parseRate("rateLimit", rateLimit),
    backoff: resolved,
    retryOn,
    input: options.input,
  };
}

// What a file keeps as JSON: an endless wait has no form there.
function checkBackoff({ baseMs, factor, maxMs, jitter, delaysMs }: ResolvedTask["backoff"]): void {
  const most = Number.MAX_SAFE_INTEGER;
  checkMs("backoff.baseMs", baseMs, 0, most);
  checkMs("backoff.maxMs", maxMs, 0, most);
  if (!(factor >= 1 && factor <= most))
    throw invalidArgument("backoff.factor", `a number from 1 to ${most}`, factor);
  if (jitter !== "full" && jitter !== "none")
    throw invalidArgument("backoff.jitter", '"full" or "none"', jitter);
  for (const delayMs of delaysMs ?? []) checkMs("backoff.delaysMs", delayMs, 0, most);
}

function checkMost(name: string, value: number, most: number): number {
  if (checkCount(name, value, 1) <= most) return value;
  throw invalidArgument(name, `a whole number from 1 to ${most}`, value);
}

/** @throws FabricError `INVALID_ARGUMENT`. */
export function checkCount(name: string, value: number, least: number): number {
  if (!Number.isSafeInteger(value) || value < least)
    throw invalidArgument(name, `a whole number from ${least} up`, value);
  return value;
}

/** @throws FabricError `INVALID_ARGUMENT`. */
export function checkMs(
  name: string,
  value: number,
  least: number,
  most: number = timerMsMax,
): number {
  if (typeof value !== "number" || !(value >= least && value <= most))
    throw invalidArgument(name, `milliseconds from ${least} to ${most}`, value);
  return value;
}

/** @throws FabricError `INVALID_ARGUMENT`. */
export function checkPriority(value: number): number {
  if (!Number.isSafeInteger(value)) throw invalidArgument("priority", "a whole number", value);
  return value;
}

/** @throws FabricError `INVALID_ARGUMENT`. */
export function checkName(name: string, value: string): string {
  if (typeof value !== "string" || value === "" || value.length > 200)
    throw invalidArgument(name, "a text of 1 to 200 characters", value);
  return value;
}
