/** Job queues on a host whose time a test moves. */
import { jsonCodec } from "@selvage/fabric";
import {
  JobQueue,
  MemoryJobStore,
  type JobQueueEvent,
  type JobQueueOptions,
  type JobQueuePorts,
  type JobStore,
  type QueuedJob,
} from "@selvage/jobs";
import { VirtualHost } from "./rig.ts";

/** What is not over by then, in virtual milliseconds, hangs. */
const hangMs = 3_600_000;
/** So many turns of the loop, and nothing is under way that does not wait for time. */
const turnsMax = 12;

function refuse(): never {
  throw new Error("the test gives these");
}

/** The ports of a virtual host. */
function queuePorts(host: VirtualHost): JobQueuePorts {
  return {
    clock: host.clock,
    monotonicMs: () => host.nowMs,
    timer: host.timer,
    random: host.random,
    codec: jsonCodec<unknown>(),
    parallelism: 2,
    label: "test",
    nextTurn: () => new Promise((resolve) => void setImmediate(resolve)),
    abortSource: () => new AbortController(),
    openFabric: refuse,
    openRunner: refuse,
    warn: (thrown) => {
      throw thrown;
    },
  };
}

/** A store, and queues of as many processes as a test wants over it. */
export class Rig {
  readonly host: VirtualHost = new VirtualHost();
  readonly store: JobStore;
  readonly events: JobQueueEvent[] = [];

  constructor(store: JobStore = new MemoryJobStore()) {
    this.store = store;
  }

  /** The queue of a new process. */
  open(options: JobQueueOptions = {}, ports: Partial<JobQueuePorts> = {}): JobQueue {
    const queue = new JobQueue(this.store, { ...queuePorts(this.host), ...ports }, options);
    queue.onEvent((event) => this.events.push(event));
    return queue;
  }

  /** Moves time until `promise` is settled, only when nothing can happen without; fails where it never is. */
  async pump<T>(promise: Promise<T> | PromiseLike<T>): Promise<T> {
    const run = { isOver: false };
    const over = (): void => {
      run.isOver = true;
    };
    promise.then(over, over);
    const untilMs = this.host.nowMs + hangMs;
    for (;;) {
      for (let turn = 0; turn < turnsMax && !run.isOver; turn++)
        await new Promise((resolve) => void setImmediate(resolve));
      if (run.isOver) return promise;
      if (this.host.nowMs >= untilMs) throw new Error(`it hangs: not over after ${hangMs} ms`);
      await this.host.next();
    }
  }

  /** Lets `ms` pass. */
  async pass(ms: number): Promise<void> {
    await this.pump(this.host.later(ms));
  }

  /** Waits until a job has ended and returns its status. */
  async statusOf(job: QueuedJob): Promise<string> {
    await this.pump(job.result({ timeoutMs: 500_000 }).catch(() => {}));
    return job.status;
  }

  /** Types of the events of a job, in order. */
  told(job: { readonly id: string }): string[] {
    return this.events.flatMap((event) =>
      "jobId" in event && event.jobId === job.id ? [event.type] : [],
    );
  }
}

/** A promise that a test settles. */
export function gate<T = void>(): PromiseWithResolvers<T> {
  return Promise.withResolvers<T>();
}
