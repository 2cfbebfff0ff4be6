/** Worker threads for work whose body is a module: a pool that tasks and jobs share. */
import { availableParallelism } from "node:os";
import {
  MessageChannel,
  receiveMessageOnPort,
  Worker,
  type MessagePort,
} from "node:worker_threads";
import { FabricError, fromWire, invalidArgument, isFabricError, toWire } from "@selvage/fabric";
import type { RunningTask, TaskHost, TaskReply, TaskRequest, TaskRunner } from "@selvage/leasekit";
import type { FromTask, TaskWorkerData, ToTask } from "./task-messages.ts";
import { workerFlags } from "./worker-flags.ts";

/** Options of {@link openTaskThreads}. */
export interface TaskThreadsOptions {
  /** Most threads at a time. Default: as many as the machine runs in parallel, at least 2. */
  readonly threads?: number;
  /** Most heap that a thread may use, in MiB: one that needs more is ended. Default: Node's own limit. */
  readonly heapMiB?: number;
}

/** How a pool stands. */
export interface TaskThreadsStats {
  /** Threads there are, also those that start or end. */
  readonly threads: number;
  /** Requests that a thread has. */
  readonly working: number;
  /** Requests that wait for a thread. */
  readonly queued: number;
}

/**
 * Threads that run tasks and chunks. A thread that dies, of whatever, costs the request that it has begun, and nothing else:
 * another one is started for the next.
 */
export interface TaskThreads extends TaskRunner, AsyncDisposable {
  readonly stats: TaskThreadsStats;
  /**
   * Sets how many threads there may be, from 0 up. What is above that is taken away: idle threads at once, others when
   * their request has ended, or after `graceMs` (0), which costs it an attempt. Requests wait while there is none.
   * Resolves once there are no more than that.
   * @throws FabricError `INVALID_ARGUMENT`.
   */
  resize(threads: number, graceMs?: number): Promise<void>;
  /**
   * Takes nothing new, lets what it has end, and ends the threads: those that are still at work after `deadlineMs`, too.
   * Resolves with how many requests that cut off.
   */
  drain(deadlineMs: number): Promise<number>;
}

interface Job {
  readonly request: TaskRequest;
  readonly host: TaskHost;
  readonly resolve: (reply: TaskReply) => void;
  readonly reject: (error: unknown) => void;
  thread: TaskThread | undefined;
  hasStarted: boolean;
}

/**
 * Starts threads as requests come, keeps them warm between requests, and ends them at `close`.
 * @throws FabricError `INVALID_ARGUMENT`.
 */
export function openTaskThreads(options: TaskThreadsOptions = {}): TaskThreads {
  const pool = new Pool(options);
  // Functions of its own, so that whoever wraps it can spread it.
  return {
    get stats() {
      return pool.stats;
    },
    warm: (count, modules) => pool.warm(count, modules),
    run: (request, host) => pool.run(request, host),
    resize: (threads, graceMs) => pool.resize(threads, graceMs),
    drain: (deadlineMs) => pool.drain(deadlineMs),
    close: () => pool.close(),
    [Symbol.asyncDispose]: () => pool.close(),
  };
}

class Pool {
  readonly #heapMiB: number | undefined;
  readonly #threads = new Set<TaskThread>();
  readonly #idle: TaskThread[] = [];
  readonly #queue: Job[] = [];
  // Whoever waits for threads or requests to end: called at each end.
  readonly #waiting = new Set<() => void>();
  #most: number;
  #isClosed = false;

  constructor(options: TaskThreadsOptions) {
    const { threads = Math.max(2, availableParallelism()), heapMiB } = options;
    this.#most = checkCount("threads", threads, 1);
    this.#heapMiB = heapMiB === undefined ? undefined : checkCount("heapMiB", heapMiB, 1);
  }

  get threadsMax(): number {
    return this.#most;
  }

  get stats(): TaskThreadsStats {
    const working = [...this.#threads].filter(({ isWorking }) => isWorking).length;
    return { threads: this.#threads.size, working, queued: this.#queue.length };
  }

  warm(count: number, modules?: readonly string[]): void {
    if (this.#isClosed) return;
    while (this.#threads.size < Math.min(count, this.#most)) this.#idle.push(this.#start(modules));
  }

  run(request: TaskRequest, host: TaskHost): RunningTask {
    const { promise, resolve, reject } = Promise.withResolvers<TaskReply>();
    const job: Job = { request, host, resolve, reject, thread: undefined, hasStarted: false };
    if (this.#isClosed) reject(closed(request));
    else this.#queue.push(job);
    this.#next();
    return {
      reply: promise,
      abort: (reason) => {
        // What no thread has begun is not begun any more.
        if (this.#drop(job)) reject(died(request, reason));
        else job.thread?.abort(reason);
      },
      terminate: () => {
        // A thread that is at it may touch leased bytes until it has exited: only then is the reply in.
        if (this.#drop(job) || job.thread === undefined) reject(died(request, "it was ended"));
        else void job.thread.terminate();
      },
    };
  }

  async resize(threads: number, graceMs = 0): Promise<void> {
    this.#most = checkCount("threads", threads, 0);
    if (!(graceMs >= 0)) throw invalidArgument("graceMs", "milliseconds from 0 up", graceMs);
    let surplus = this.#threads.size - this.#most;
    while (surplus-- > 0) {
      const thread = this.#idle.pop() ?? [...this.#threads].find(({ isLeaving }) => !isLeaving);
      if (thread === undefined) break;
      thread.leave(graceMs);
    }
    this.#next();
    await this.#until(() => this.#threads.size <= this.#most);
  }

  async drain(deadlineMs: number): Promise<number> {
    if (!(deadlineMs >= 0))
      throw invalidArgument("deadlineMs", "milliseconds from 0 up", deadlineMs);
    this.#isClosed = true;
    const late = Promise.withResolvers<void>();
    const timer = setTimeout(late.resolve, deadlineMs);
    const isOver = this.#until(() => this.stats.working + this.#queue.length === 0);
    await Promise.race([isOver, late.promise]);
    clearTimeout(timer);
    const { working, queued } = this.stats;
    await this.close();
    return working + queued;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    for (const job of this.#queue.splice(0)) job.reject(closed(job.request));
    await Promise.all([...this.#threads].map((thread) => thread.terminate()));
    this.#ended();
  }

  #next(): void {
    while (this.#queue.length > 0) {
      const isRoom = this.#threads.size < this.#most;
      const thread = this.#idle.pop() ?? (isRoom ? this.#start() : undefined);
      if (thread === undefined) return;
      thread.serve(this.#queue.shift() as Job);
    }
  }

  #start(modules: readonly string[] = []): TaskThread {
    const thread = new TaskThread(this.#heapMiB, modules, {
      onIdle: () => {
        this.#idle.push(thread);
        this.#next();
        this.#ended();
      },
      onExit: (unbegun) => {
        this.#threads.delete(thread);
        const at = this.#idle.indexOf(thread);
        if (at >= 0) this.#idle.splice(at, 1);
        if (unbegun !== undefined) this.#queue.unshift(unbegun);
        this.#next();
        this.#ended();
      },
    });
    this.#threads.add(thread);
    return thread;
  }

  /** Takes a job out of the queue; false when it is not there. */
  #drop(job: Job): boolean {
    const at = this.#queue.indexOf(job);
    if (at < 0) return false;
    this.#queue.splice(at, 1);
    this.#ended();
    return true;
  }

  #until(isSo: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      const look = (): void => {
        if (!isSo()) return;
        this.#waiting.delete(look);
        resolve();
      };
      this.#waiting.add(look);
      look();
    });
  }

  #ended(): void {
    for (const look of this.#waiting) look();
  }
}

class TaskThread {
  readonly #worker: Worker;
  readonly #port: MessagePort;
  readonly #answers: Int32Array;
  readonly #onIdle: () => void;
  #job: Job | undefined;
  #error: unknown;
  #isEnding = false;
  #isLeaving = false;
  // Whether what else it has done may have left something to happen: requests that have ended here, and modules imported ahead.
  #hasPast: boolean;
  #leaving: NodeJS.Timeout | undefined;

  constructor(
    heapMiB: number | undefined,
    modules: readonly string[],
    told: { readonly onIdle: () => void; readonly onExit: (unbegun: Job | undefined) => void },
  ) {
    const { port1, port2 } = new MessageChannel();
    const answered = new SharedArrayBuffer(4);
    const workerData: TaskWorkerData = { port: port2, answered, modules };
    this.#hasPast = modules.length > 0;
    this.#onIdle = told.onIdle;
    this.#answers = new Int32Array(answered);
    this.#port = port1;
    this.#port.on("message", (message: FromTask) => this.#hear(message));
    this.#worker = new Worker(new URL("./task-worker.ts", import.meta.url), {
      workerData,
      transferList: [port2],
      name: "selvage-task",
      ...(heapMiB === undefined ? {} : { resourceLimits: { maxOldGenerationSizeMb: heapMiB } }),
      ...workerFlags(),
    });
    this.#worker.on("error", (error) => {
      this.#error = error;
    });
    this.#worker.on("exit", (code) => told.onExit(this.#exit(code)));
  }

  get isWorking(): boolean {
    return this.#job !== undefined;
  }

  /** True once it takes no more requests. */
  get isLeaving(): boolean {
    return this.#isLeaving;
  }

  serve(job: Job): void {
    this.#job = job;
    job.thread = this;
    this.#send({ type: "run", request: job.request });
  }

  abort(reason: string): void {
    this.#send({ type: "abort", reason });
  }

  /** Ends the thread once its request has ended, or after the grace. */
  leave(graceMs: number): void {
    this.#isLeaving = true;
    if (this.#job === undefined || graceMs === 0) void this.terminate();
    else this.#leaving = setTimeout(() => void this.terminate(), graceMs);
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
        job.hasStarted = true;
        return job.host.started(message.thread);
      case "acquire":
        return void granted(job, message.output, message.bytes).then((answer) =>
          this.#answer(answer),
        );
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

  /** Gives the job back that it was sent and did not begin, because of what went before it here. */
  #exit(code: number): Job | undefined {
    clearTimeout(this.#leaving);
    const isEnding = this.#isEnding;
    this.#isEnding = true;
    // The end may be heard of before what the thread had said until then: that it had begun, for one.
    for (
      let said = receiveMessageOnPort(this.#port);
      said !== undefined;
      said = receiveMessageOnPort(this.#port)
    )
      this.#hear(said.message as FromTask);
    this.#port.close();
    const job = this.#job;
    this.#job = undefined;
    if (job === undefined) return undefined;
    job.thread = undefined;
    if (!isEnding && !job.hasStarted && this.#hasPast) return job;
    job.reject(died(job.request, `its thread exited with code ${code}`, this.#error));
    return undefined;
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
    this.#hasPast = true;
    // A reply that crossed with the thread's end must not bring it the next job.
    if (this.#isEnding) return;
    if (this.#isLeaving) void this.terminate();
    else this.#onIdle();
  }

  #send(message: ToTask): void {
    this.#port.postMessage(message);
  }
}

function checkCount(name: string, count: number, least: number): number {
  if (Number.isSafeInteger(count) && count >= least) return count;
  throw invalidArgument(name, `a whole number from ${least} up`, count);
}

async function granted({ host }: Job, output: string, bytes: number): Promise<ToTask> {
  try {
    for (;;)
      try {
        return { type: "granted", allocation: host.acquire(output, bytes) };
      } catch (thrown) {
        const isFull = isFabricError(thrown) && thrown.code === "CAPACITY_EXCEEDED";
        if (!isFull || !(await host.makeRoom?.(bytes))) throw thrown;
      }
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
