/** What runs at the far end of a task runner. The port itself stands in leasekit: jobs use it, too. */
import type { AbortSignalLike, Attachments } from "@selvage/fabric";
import { FenceEpoch } from "@selvage/fence";
import type { TaskReply, TaskRequest, TicketedAllocation } from "@selvage/leasekit";
import { AttemptData } from "../data/attempt-data.ts";
import { codecsOf, type CodecPorts } from "../data/data-codecs.ts";
import type { DataRef, DataShape } from "../data/data-format.ts";
import type { TaskContext, TaskFunction } from "../graph/task.ts";

/** What the far end needs from its thread. */
export interface FarPorts {
  readonly attachments: Attachments;
  readonly signal: AbortSignalLike;
  /** Codecs of this thread. */
  readonly codecs?: CodecPorts;
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
      // The plan's own: its formats were checked as the task was added.
      ref: ref as DataRef,
      bytes,
      open: () => attachments.attachMem(ticket),
    })),
    request.outputs as readonly DataRef[],
    (output, bytes) => {
      const { number, ticket } = ports.acquire(output, bytes);
      return { number, lease: attachments.attachMem(ticket) };
    },
    codecsOf(ports.codecs, request.budget),
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
