/** What a job's body is, and what it sees. */
import { invalidArgument, type AbortSignalLike, type Codec } from "@selvage/fabric";

/** One attempt's view of the world. It is over when the attempt ends: what it gave is not to be kept. */
export interface JobBodyContext {
  readonly jobId: string;
  readonly taskName: string;
  readonly queue: string;
  /** From 1. */
  readonly attempt: number;
  /** Rises with every claim of the job: what a store has seen with a higher one, it refuses with this one. */
  readonly epoch: number;
  /** Aborted when the attempt takes too long, its job is cancelled, its worker stops, or its claim is lost. */
  readonly signal: AbortSignalLike;
  readonly metadata: string | undefined;
  /** False once what it returns will not count. */
  isActive(): boolean;
  /** Shows how far the work is, 0 to 100, and says that it advances. @throws FabricError `INVALID_ARGUMENT`. */
  updateProgress(percent: number): void;
  /** Says that the work advances, which keeps its claim while the event loop is busy. */
  progress(): void;
}

/** The context of a body on its worker's own thread. */
export interface JobContext extends JobBodyContext {
  /** Keeps a partial result, for `QueuedJob.partials`. Resolves once the store has it. @throws FabricError `ENCODE`, `LEASE_EXPIRED`. */
  publish(value: unknown): Promise<void>;
}

/** Does a job's work. */
export type JobBody<A extends readonly unknown[], R> = (
  ctx: JobContext,
  ...args: A
) => R | Promise<R>;

/** Does a job's work on a worker thread: what a task's module default-exports. */
export type JobModuleBody<A extends readonly unknown[], R> = (
  ctx: JobBodyContext,
  ...args: A
) => R | Promise<R>;

/** Checks what is told of progress. @throws FabricError `INVALID_ARGUMENT`. */
export function checkPercent(percent: number): number {
  if (typeof percent !== "number" || !(percent >= 0 && percent <= 100))
    throw invalidArgument("percent", "a number from 0 to 100", percent);
  return percent;
}

/** What crosses to a worker thread beside the arguments. */
export interface FarJob {
  readonly args: readonly unknown[];
  readonly queue: string;
  readonly taskName: string;
  readonly metadata: string | null;
  readonly epoch: number;
}

/** Encodes a result: that of a body that returns nothing is empty. @throws FabricError `ENCODE`. */
export function encodeResult(codec: Codec<unknown>, value: unknown): Uint8Array {
  return value === undefined ? new Uint8Array(0) : codec.encode(value);
}

/** The part of a task's context that a job's far end uses. */
export interface JobFarEnd {
  readonly task: string;
  readonly attempt: number;
  readonly signal: AbortSignalLike;
  input(name: string): Uint8Array;
  progress(fraction?: number): void;
}

/** Names of the one input and the one output of a request that a job makes: those of a chunk. */
const input = "chunk";
const output = "output";

/** Makes a task's body of a job's: what a worker's loop runs for a request of form `"job"`. */
export function jobTask(
  body: JobModuleBody<readonly unknown[], unknown>,
  codec: Codec<unknown>,
): (far: JobFarEnd) => Promise<Readonly<Record<string, Uint8Array>>> {
  return async (far) => {
    const job = codec.decode(far.input(input)) as FarJob;
    const context: JobBodyContext = {
      jobId: far.task,
      taskName: job.taskName,
      queue: job.queue,
      attempt: far.attempt,
      epoch: job.epoch,
      signal: far.signal,
      metadata: job.metadata ?? undefined,
      isActive: () => !far.signal.aborted,
      updateProgress: (percent) => far.progress(checkPercent(percent) / 100),
      progress: () => far.progress(),
    };
    return { [output]: encodeResult(codec, await body(context, ...job.args)) };
  };
}
