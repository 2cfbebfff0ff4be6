/** Running tasks on other threads: the port, and what runs at its far end. */
import type { AbortSignalLike, Attachments, FabricTicket, MemTicket } from "@selvage/fabric";
import { FenceEpoch } from "@selvage/fence";
import { AttemptData, type CommittedOutput } from "./attempt-data.ts";
import type { DataRef, DataShape } from "./data-format.ts";
import type { TaskContext, TaskFunction } from "./task.ts";

/** One attempt, as it is sent to a thread: plain data. */
export interface TaskRequest {
  /** URL of the module whose default export is the body. */
  readonly module: string;
  readonly task: string;
  readonly attempt: number;
  readonly epoch: number;
  readonly fabric: FabricTicket;
  readonly inputs: readonly TicketedInput[];
  readonly outputs: readonly DataRef[];
}

/** An input, as it crosses. */
export interface TicketedInput {
  readonly ref: DataRef;
  readonly bytes: number;
  readonly ticket: MemTicket;
}

/** A lease for an output, as it crosses. */
export interface TicketedAllocation {
  readonly number: number;
  readonly ticket: MemTicket;
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
  /** Starts threads for `count` tasks to come, so that the tasks need not wait for them. */
  warm(count: number): void;
  /** Runs one attempt as soon as a thread is free. */
  run(request: TaskRequest, host: TaskHost): RunningTask;
  /** Ends the threads. */
  close(): Promise<void>;
}

/** What the far end needs from its thread. */
export interface FarPorts {
  readonly attachments: Attachments;
  readonly signal: AbortSignalLike;
  /** Asks the owner for a lease, and waits for it. */
  acquire(output: string, bytes: number): TicketedAllocation;
  started(thread: number): void;
  progress(fraction: number | undefined): void;
  log(message: string): void;
}

/** Runs a request's body, which `load` gives, on this thread: what a worker's loop calls. */
export async function runRequest(
  request: TaskRequest,
  load: () => Promise<TaskFunction>,
  ports: FarPorts,
): Promise<TaskReply> {
  const { attachments } = ports;
  const { pulse } = attachments.attachThread(request.fabric);
  ports.started(pulse.thread);
  const data = new AttemptData(
    request.task,
    request.inputs.map(({ ref, bytes, ticket }) => ({
      ref,
      bytes,
      open: () => attachments.attachMem(ticket),
    })),
    request.outputs,
    (output, bytes) => {
      const { number, ticket } = ports.acquire(output, bytes);
      return { number, lease: attachments.attachMem(ticket) };
    },
  );
  // A body that goes on after its attempt says nothing in the name of the thread's next one.
  let isOver = false;
  const context = makeContext(request, data, ports.signal, {
    progress(fraction) {
      if (isOver) return;
      pulse.progress();
      ports.progress(fraction);
    },
    log(message) {
      if (!isOver) ports.log(message);
    },
  });
  try {
    const body = await load();
    return { outputs: data.commit(await body(context)) };
  } finally {
    isOver = true;
    data.end();
    pulse.announce();
  }
}

/** The context of an attempt. */
export function makeContext(
  about: { readonly task: string; readonly attempt: number; readonly epoch: number },
  data: AttemptData,
  signal: AbortSignalLike,
  tell: { progress(fraction?: number): void; log(message: string): void },
): TaskContext {
  return {
    task: about.task,
    attempt: about.attempt,
    epoch: FenceEpoch.of(about.epoch),
    signal,
    input: (name: string) => data.input(name) as never,
    allocate: (name: string, shape: DataShape) => data.allocate(name, shape) as never,
    progress: (fraction?: number) => tell.progress(fraction),
    log: (message: string) => tell.log(message),
  };
}
