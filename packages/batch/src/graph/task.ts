/** What a task is, and what it sees while it runs. */
import type { AbortSignalLike, ColumnShape, ColumnsOf, ColumnType } from "@selvage/fabric";
import type { FenceEpoch } from "@selvage/fence";
import type { RetryPolicy } from "@selvage/leasekit";
import type { DataRef } from "../data/data-format.ts";

/** The longest time that hosts' timers can wait, in milliseconds: 24 days. */
export const TIMER_MS_MAX: number = 2 ** 31 - 1;

/** What a task needs. It waits for its turn until all of that is free; whatever can never be, `Executor.run` refuses. */
export interface ResourceReq {
  /** Bytes of the fabric's memory that must be free when an attempt starts, and are kept for it while it runs. */
  readonly minMemoryBytes?: number;
  /** Threads that it keeps busy. Default 1 for a module, 0 for a function. */
  readonly threads?: number;
}

/** What a task returns: its outputs by name. An output filled in place by `allocate` may be left out. */
export type TaskOutput = Readonly<Record<string, unknown>>;

/** A task's body. A worker module default-exports one. */
export type TaskFunction = (
  context: TaskContext,
) => TaskOutput | undefined | void | Promise<TaskOutput | undefined | void>;

/** Where a worker module is: a `URL`. */
export interface ModuleUrl {
  readonly href: string;
}

/** A task, as it is added to a graph. */
export interface TaskDef {
  /** Unique in its graph. */
  readonly name: string;
  /** Outputs of ancestors that it reads. */
  readonly inputs?: readonly DataRef[];
  /** What it makes. Every one must be there when it ends. */
  readonly outputs?: readonly DataRef[];
  /** How often it is tried again after its first attempt. Default 0. */
  readonly retries?: number;
  /** How the waits between attempts grow. */
  readonly backoff?: Partial<Omit<RetryPolicy, "retries">>;
  /** How long an attempt may take from its start, in milliseconds; then it has failed, whatever it still does. */
  readonly timeoutMs?: number;
  /** Whether its failure is none of the run's. Only for a task that no other depends on. Default false. */
  readonly continueOnFailure?: boolean;
  readonly resourceReq?: ResourceReq;
  /** Resources by name, one unit of each while it runs: how many there are is the run's option `limits`. */
  readonly uses?: readonly string[];
  /** A function runs on the calling thread, a module URL on a worker thread; data crosses by ticket, not by copy. */
  readonly run: TaskFunction | ModuleUrl;
}

/** One attempt's view of the world. It is over when the attempt ends: what it gave is not to be kept. */
export interface TaskContext {
  /** The task's name. */
  readonly task: string;
  /** Attempts are counted from 1. */
  readonly attempt: number;
  /** Rises with every attempt: hand it to sinks that refuse stale writers. */
  readonly epoch: FenceEpoch;
  /** Aborted when the run is cancelled, or the attempt's time is up. In Node it is the platform's `AbortSignal`. */
  readonly signal: AbortSignalLike;
  /**
   * A declared input: in place, a Uint8Array (raw) or typed arrays by name (columns), only to be read; or decoded (json,
   * msgpack), once an attempt, into a value of the attempt's own.
   * @throws FabricError `INVALID_ARGUMENT` for a name that the task did not declare, `LEASE_EXPIRED`, `DECODE` (what
   * stands there is not of its format, or beyond the run's `budget`).
   */
  input<T = Uint8Array>(name: string): T;
  /**
   * Leases room for a declared output, raw or columns, and gives it, zero, to be filled in place. Synchronous: on a worker thread it
   * waits for the owner's event loop.
   * @throws FabricError `CAPACITY_EXCEEDED`, `INVALID_ARGUMENT`.
   */
  allocate(name: string, bytes: number): Uint8Array;
  allocate<const T extends Readonly<Record<string, ColumnType>>>(
    name: string,
    shape: ColumnShape<T>,
  ): ColumnsOf<T>;
  /** Says that the work advances: leases held for silent work are not renewed. `fraction`, 0 to 1, is for watchers. */
  progress(fraction?: number): void;
  /** Tells the run's watchers. */
  log(message: string): void;
}

/** Tells a function from a module URL. */
export function isModule(run: TaskFunction | ModuleUrl): run is ModuleUrl {
  return typeof run !== "function";
}
