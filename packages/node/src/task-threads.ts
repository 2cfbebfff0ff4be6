/** Worker threads for tasks whose body is a module. */
import { availableParallelism } from "node:os";
import { MessageChannel, Worker, type MessagePort } from "node:worker_threads";
import type { RunningTask, TaskHost, TaskReply, TaskRequest, TaskRunner } from "@selvage/batch";
import { workerFlags } from "./worker-flags.ts";
import { FabricError, fromWire, toWire } from "@selvage/fabric";
import type { FromTask, TaskWorkerData, ToTask } from "./task-messages.ts";

/** Options of {@link openTaskThreads}. */
export interface TaskThreadsOptions {
  /** Most threads at a time. Default: as many as the machine runs in parallel, at least 2. */
  readonly threads?: number;
}

interface Job {
  readonly request: TaskRequest;
  readonly host: TaskHost;
  readonly resolve: (reply: TaskReply) => void;
  readonly reject: (error: unknown) => void;
  thread: TaskThread | undefined;
}

/** Starts threads as tasks come, keeps them warm between tasks, and ends them at `close`. */
export function openTaskThreads(options: TaskThreadsOptions = {}): TaskRunner {
  const most = options.threads ?? Math.max(2, availableParallelism());
  const threads = new Set<TaskThread>();
  const idle: TaskThread[] = [];
  const queue: Job[] = [];
  let isClosed = false;

  const next = (): void => {
    while (queue.length > 0) {
      const thread = idle.pop() ?? (threads.size < most ? start() : undefined);
      if (thread === undefined) return;
      thread.serve(queue.shift() as Job);
    }
  };
  const start = (): TaskThread => {
    const thread = new TaskThread({
      onIdle: () => {
        idle.push(thread);
        next();
      },
      onExit: () => {
        threads.delete(thread);
        const at = idle.indexOf(thread);
        if (at >= 0) idle.splice(at, 1);
        next();
      },
    });
    threads.add(thread);
    return thread;
  };

  return {
    warm(count) {
      while (threads.size < Math.min(count, most)) idle.push(start());
    },
    run(request: TaskRequest, host: TaskHost): RunningTask {
      const { promise, resolve, reject } = Promise.withResolvers<TaskReply>();
      const job: Job = { request, host, resolve, reject, thread: undefined };
      if (isClosed) reject(closed(request));
      else queue.push(job);
      next();
      return {
        reply: promise,
        abort(reason) {
          // What no thread has begun is not begun any more.
          const at = queue.indexOf(job);
          if (at >= 0) queue.splice(at, 1)[0]?.reject(died(request, reason));
          else job.thread?.abort(reason);
        },
        terminate() {
          const at = queue.indexOf(job);
          if (at >= 0) queue.splice(at, 1);
          // A thread that is at it may touch leased bytes until it has exited: only then is the reply in.
          if (job.thread === undefined) reject(died(request, "it was ended"));
          else void job.thread.terminate();
        },
      };
    },
    async close() {
      isClosed = true;
      for (const job of queue.splice(0)) job.reject(closed(job.request));
      await Promise.all([...threads].map((thread) => thread.terminate()));
    },
  };
}

class TaskThread {
  readonly #worker: Worker;
  readonly #port: MessagePort;
  readonly #answers: Int32Array;
  readonly #onIdle: () => void;
  #job: Job | undefined;
  #error: unknown;
  #isEnding = false;

  constructor(told: { readonly onIdle: () => void; readonly onExit: () => void }) {
    const { port1, port2 } = new MessageChannel();
    const answered = new SharedArrayBuffer(4);
    const workerData: TaskWorkerData = { port: port2, answered };
    this.#onIdle = told.onIdle;
    this.#answers = new Int32Array(answered);
    this.#port = port1;
    this.#port.on("message", (message: FromTask) => this.#hear(message));
    this.#worker = new Worker(new URL("./task-worker.ts", import.meta.url), {
      workerData,
      transferList: [port2],
      name: "selvage-task",
      ...workerFlags(),
    });
    this.#worker.on("error", (error) => {
      this.#error = error;
    });
    this.#worker.on("exit", (code) => {
      this.#port.close();
      const job = this.#job;
      this.#job = undefined;
      job?.reject(died(job.request, `its thread exited with code ${code}`, this.#error));
      told.onExit();
    });
  }

  serve(job: Job): void {
    this.#job = job;
    job.thread = this;
    this.#send({ type: "run", request: job.request });
  }

  abort(reason: string): void {
    this.#send({ type: "abort", reason });
  }

  async terminate(): Promise<void> {
    this.#isEnding = true;
    await this.#worker.terminate();
  }

  #hear(message: FromTask): void {
    const job = this.#job;
    // A body that goes on after its attempt may still ask; it waits for an answer, and with it the thread.
    if (job === undefined) return message.type === "acquire" ? this.#answer(refusal()) : undefined;
    switch (message.type) {
      case "started":
        return job.host.started(message.thread);
      case "acquire":
        return this.#answer(granted(job, message.output, message.bytes));
      case "progress":
        return job.host.progress(message.fraction);
      case "log":
        return job.host.log(message.message);
      case "done":
        this.#end(job);
        return job.resolve({ outputs: message.outputs });
      case "failed":
        this.#end(job);
        return job.reject(fromWire(message.error));
    }
  }

  #answer(answer: ToTask): void {
    this.#send(answer);
    // Order: the message is in the port before the word rises, so the thread that sees it rise finds it.
    Atomics.add(this.#answers, 0, 1);
    Atomics.notify(this.#answers, 0);
  }

  #end(job: Job): void {
    job.thread = undefined;
    this.#job = undefined;
    // A reply that crossed with the thread's end must not bring it the next job.
    if (!this.#isEnding) this.#onIdle();
  }

  #send(message: ToTask): void {
    this.#port.postMessage(message);
  }
}

function granted({ host }: Job, output: string, bytes: number): ToTask {
  try {
    return { type: "granted", allocation: host.acquire(output, bytes) };
  } catch (thrown) {
    return { type: "refused", error: toWire(thrown) };
  }
}

function refusal(): ToTask {
  const over = new FabricError("LEASE_EXPIRED", "Cannot allocate: the attempt is over");
  return { type: "refused", error: toWire(over) };
}

function died(request: TaskRequest, how: string, cause?: unknown): FabricError {
  const { task, attempt } = request;
  const options = cause === undefined ? undefined : { cause };
  return new FabricError(
    "DISCONNECTED",
    `Attempt ${attempt} of "${task}" did not end: ${how}`,
    { task, attempt },
    options,
  );
}

function closed(request: TaskRequest): FabricError {
  const { task } = request;
  return new FabricError("DISCONNECTED", `Cannot run "${task}": the threads are closed`, { task });
}
