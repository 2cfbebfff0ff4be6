/**
 * The port to threads that run work: what an engine asks of them, and what they ask of the engine. It stands here because
 * graphs of tasks and jobs of chunks both use it.
 */
import type { DecodeBudget, FabricTicket, MemTicket } from "@selvage/fabric";

/** A named piece of data, in a format that the far end knows. The port hands it on and does not look at it. */
export interface NamedData {
  readonly name: string;
  readonly format: string;
}

/** One attempt, as it is sent to a thread: plain data. */
export interface TaskRequest {
  /** URL of the module whose default export is the body. */
  readonly module: string;
  /**
   * How the body is called. `"task"`, the default: with its context. `"chunk"`: with the bytes of its one input and its
   * context; what it returns is its one output. `"job"`: as a chunk, whose bytes are a job's arguments.
   */
  readonly form?: "task" | "chunk" | "job";
  readonly task: string;
  readonly attempt: number;
  readonly epoch: number;
  readonly fabric: FabricTicket;
  readonly inputs: readonly TicketedInput[];
  readonly outputs: readonly NamedData[];
  /** What decoding an input may cost. */
  readonly budget?: DecodeBudget;
}

/** An input, as it crosses. */
export interface TicketedInput {
  readonly ref: NamedData;
  readonly bytes: number;
  readonly ticket: MemTicket;
}

/** A lease for an output, as it crosses. */
export interface TicketedAllocation {
  readonly number: number;
  readonly ticket: MemTicket;
}

/** An output that stands in a lease. */
export interface CommittedOutput {
  readonly name: string;
  /** Which allocation holds it. */
  readonly allocation: number;
  /** How many of its bytes count. */
  readonly bytes: number;
}

/** What the far end made. */
export interface TaskReply {
  readonly outputs: readonly CommittedOutput[];
}

/** What a running task asks of the thread that owns the fabric. */
export interface TaskHost {
  /** The body is about to start, on the thread that attached to the fabric as `thread`. */
  started(thread: number): void;
  /** Leases room for an output. @throws FabricError. */
  acquire(output: string, bytes: number): TicketedAllocation;
  /**
   * After `acquire` was refused for want of memory: waits for room. Resolves with whether to try again.
   * Absent: there is nothing to wait for.
   * @throws FabricError.
   */
  makeRoom?(bytes: number): Promise<boolean>;
  progress(fraction: number | undefined): void;
  log(message: string): void;
}

/** A task on its way. */
export interface RunningTask {
  /** Rejects with what the body threw, or `DISCONNECTED` when its thread died. */
  readonly reply: Promise<TaskReply>;
  /** Aborts the body's signal. */
  abort(reason: string): void;
  /** Ends the thread, whatever it does. The reply then rejects. */
  terminate(): void;
}

/** Threads that run tasks. */
export interface TaskRunner {
  /** How many attempts run at a time: where memory is short, no more are readied. Default 1. */
  readonly threadsMax?: number;
  /**
   * Starts threads for `count` tasks to come, so that the tasks need not wait for them. A thread that has nothing else to
   * do imports `modules`, URLs, one by one; what comes of it, the requests hear that name them.
   */
  warm(count: number, modules?: readonly string[]): void;
  /** Runs one attempt as soon as a thread is free. */
  run(request: TaskRequest, host: TaskHost): RunningTask;
  /** Ends the threads. */
  close(): Promise<void>;
}
