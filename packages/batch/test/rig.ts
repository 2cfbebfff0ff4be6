/** A host whose time moves only when a test pumps it, and short words for graphs and for what runs say. */
import {
  Executor,
  TaskGraph,
  type CodecPorts,
  type ExecutionEvent,
  type ExecutionPlan,
  type ExecutionResult,
  type ExecutorOptions,
  type ExecutorPorts,
  type RunningTask,
  type TaskDef,
  type TaskEvent,
  type TaskHost,
  type TaskId,
  type TaskReply,
  type TaskRequest,
  type TaskRunner,
} from "@selvage/batch";
import {
  bufferMemoryProvider,
  Fabric,
  isFabricError,
  type Disk,
  type DiskRequest,
  type FabricError,
  type FabricOptions,
} from "@selvage/fabric";

/** When every virtual host starts. */
export const START_MS = 1_800_000_000_000;
/** A run that is not over by then, in virtual milliseconds, hangs. */
const HANG_MS = 120_000;

interface Alarm {
  atMs: number;
  readonly everyMs: number | undefined;
  readonly ring: () => void;
}

/** Lets everything that was promised happen. */
function turn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

/** Clock, timers and randomness that a test moves by hand. */
export class VirtualHost {
  nowMs: number = START_MS;
  readonly #alarms = new Set<Alarm>();
  #seed = 1;

  readonly clock = { nowMs: (): number => this.nowMs };
  readonly timer = {
    after: (delayMs: number, ring: () => void): (() => void) => this.#set(delayMs, undefined, ring),
    every: (periodMs: number, ring: () => void): (() => void) =>
      this.#set(periodMs, periodMs, ring),
  };
  readonly random = {
    fill: (words: Int32Array): void => {
      // xorshift32: a test's ids and jitters are the same in every run.
      for (let index = 0; index < words.length; index++) {
        this.#seed ^= this.#seed << 13;
        this.#seed ^= this.#seed >>> 17;
        this.#seed ^= this.#seed << 5;
        words[index] = this.#seed;
      }
    },
  };

  /** How long an operation of the disk takes that is begun now. */
  diskMs = 0;

  /** The one file of the host's disk, gone with it. */
  readonly disk = ({ image }: DiskRequest): Disk => {
    let bytes = image();
    const after = async <T>(run: () => T): Promise<T> => {
      if (this.diskMs > 0) await this.later(this.diskMs);
      return run();
    };
    const readNow = (offset: number, target: Uint8Array): number => {
      const part = bytes.subarray(offset, offset + target.length);
      target.set(part);
      return part.length;
    };
    const resized = (length: number): Uint8Array => {
      const other = new Uint8Array(length);
      other.set(bytes.subarray(0, length));
      return other;
    };
    return {
      readNow,
      read: (offset, target) => after(() => readNow(offset, target)),
      write: (offset, source) => {
        const copy = source.slice();
        return after(() => {
          if (offset + copy.length > bytes.length) bytes = resized(offset + copy.length);
          bytes.set(copy, offset);
          return copy.length;
        });
      },
      sync: () => after(() => {}),
      truncate: (length) => after(() => void (bytes = resized(length))),
      close: () => {},
    };
  };

  /** Timers that are set. */
  get alarms(): number {
    return this.#alarms.size;
  }

  /** Resolves `ms` later. */
  later(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.timer.after(ms, resolve);
    });
  }

  /** Rings the next alarm, and moves time to it. */
  async next(): Promise<void> {
    await turn();
    const [first] = [...this.#alarms].toSorted((a, b) => a.atMs - b.atMs);
    if (first === undefined) return;
    this.nowMs = Math.max(this.nowMs, first.atMs);
    if (first.everyMs === undefined) this.#alarms.delete(first);
    else first.atMs += first.everyMs;
    first.ring();
    await turn();
  }

  /** Moves time on by `ms`, ringing on the way what is due. */
  async advance(ms: number): Promise<void> {
    const endMs = this.nowMs + ms;
    await turn();
    while ([...this.#alarms].some(({ atMs }) => atMs <= endMs)) await this.next();
    this.nowMs = endMs;
  }

  /** Moves time until `promise` is settled; fails where it never is. */
  async pump<T>(promise: Promise<T>): Promise<T> {
    const run = { isOver: false };
    const over = (): void => {
      run.isOver = true;
    };
    promise.then(over, over);
    const untilMs = this.nowMs + HANG_MS;
    await turn();
    while (!run.isOver) {
      if (this.nowMs >= untilMs) throw new Error(`it hangs: not over after ${HANG_MS} ms`);
      await this.next();
    }
    return promise;
  }

  #set(delayMs: number, everyMs: number | undefined, ring: () => void): () => void {
    // Clocks tell whole milliseconds.
    const alarm: Alarm = { atMs: this.nowMs + Math.ceil(delayMs), everyMs, ring };
    this.#alarms.add(alarm);
    return () => void this.#alarms.delete(alarm);
  }
}

/** Opens a fabric on a virtual host: it ticks every 10 virtual milliseconds, and no keeper stands beside it. */
function openOn(host: VirtualHost, options: FabricOptions = {}): Fabric {
  const { clock, timer, random, disk } = host;
  return Fabric.open(
    { memoryBytes: 1 << 20, maxLeases: 4_096, ...options },
    { clock, timer, random, disk, memory: bufferMemoryProvider },
  );
}

/** A job that a {@link FakeRunner} was given: a test plays its thread. */
export interface FakeJob {
  readonly request: TaskRequest;
  readonly host: TaskHost;
  readonly reply: (outputs: TaskReply["outputs"]) => void;
  readonly fail: (error: unknown) => void;
  readonly aborts: string[];
  terminated: boolean;
}

/** Threads that do what a test says. */
export class FakeRunner implements TaskRunner {
  readonly jobs: FakeJob[] = [];
  readonly warmed: number[] = [];
  closes = 0;

  warm(count: number): void {
    this.warmed.push(count);
  }

  run(request: TaskRequest, host: TaskHost): RunningTask {
    const { promise, resolve, reject } = Promise.withResolvers<TaskReply>();
    const reply = (outputs: TaskReply["outputs"]): void => resolve({ outputs });
    const job: FakeJob = { request, host, reply, fail: reject, aborts: [], terminated: false };
    this.jobs.push(job);
    return {
      reply: promise,
      abort: (reason) => void job.aborts.push(reason),
      terminate: () => {
        job.terminated = true;
      },
    };
  }

  /** The first job of a task. */
  job(task: string): FakeJob {
    const job = this.jobs.find(({ request }) => request.task === task);
    if (job === undefined) throw new Error(`no job of ${task}`);
    return job;
  }

  async close(): Promise<void> {
    this.closes++;
  }
}

/** A virtual host, a fabric on it, and every event of the runs that it is used for. */
export class Rig {
  readonly host: VirtualHost = new VirtualHost();
  readonly runner: FakeRunner = new FakeRunner();
  readonly events: ExecutionEvent[] = [];
  readonly fabric: Fabric;

  readonly #codecs: CodecPorts;

  constructor(options: FabricOptions = {}, codecs: CodecPorts = {}) {
    this.fabric = openOn(this.host, options);
    this.#codecs = codecs;
  }

  get ports(): ExecutorPorts {
    return {
      timer: this.host.timer,
      random: this.host.random,
      abortSource: () => new AbortController(),
      openFabric: () => openOn(this.host),
      openRunner: () => this.runner,
      codecs: this.#codecs,
    };
  }

  /** Starts a run, and leaves time to the test. */
  start(
    plan: ExecutionPlan,
    options: ExecutorOptions = {},
    ports: ExecutorPorts = this.ports,
  ): Promise<ExecutionResult> {
    const onEvent = (event: ExecutionEvent): void => {
      this.events.push(event);
      options.onEvent?.(event);
    };
    return Executor.run(plan, { fabric: this.fabric, ...options, onEvent }, ports);
  }

  /** Runs a plan to its end. */
  run(plan: ExecutionPlan, options: ExecutorOptions = {}): Promise<ExecutionResult> {
    return this.host.pump(this.start(plan, options));
  }

  /** The task events, as `name:old>new`. */
  get moves(): string[] {
    return this.taskEvents.map(({ name, oldState, newState }) => `${name}:${oldState}>${newState}`);
  }

  get taskEvents(): TaskEvent[] {
    return this.events.filter((event) => event.type === "task");
  }

  /** The lease events, as `task/output:type`. */
  get leaseMoves(): string[] {
    return this.events
      .filter((event) => event.type === "lease")
      .map(({ task, output, event }) => `${task}/${output}:${event.type}`);
  }
}

/** A plan of tasks by name, each with the names of those before it. */
export function planOf(
  tasks: readonly TaskDef[],
  edges: readonly (readonly [before: string, after: string])[] = [],
): ExecutionPlan {
  return graphOf(tasks, edges).build();
}

/** As {@link planOf}, not built yet. */
export function graphOf(
  tasks: readonly TaskDef[],
  edges: readonly (readonly [before: string, after: string])[] = [],
): TaskGraph {
  const graph = new TaskGraph();
  const ids = new Map<string, TaskId>(tasks.map((task) => [task.name, graph.addTask(task)]));
  for (const [before, after] of edges) {
    const [first, second] = [ids.get(before), ids.get(after)];
    if (first === undefined || second === undefined) throw new Error(`no edge ${before} ${after}`);
    graph.addDependency(first, second);
  }
  return graph;
}

/** A task that does nothing. */
export function idle(name: string, more: Partial<TaskDef> = {}): TaskDef {
  return { name, run: () => {}, ...more };
}

/** A raw output or input. */
export function raw(name: string): { readonly name: string; readonly format: "raw" } {
  return { name, format: "raw" };
}

/** The fabric error that `run` throws; fails on any other outcome. */
export function thrownBy(run: () => unknown): FabricError {
  try {
    run();
  } catch (thrown) {
    if (isFabricError(thrown)) return thrown;
    throw new Error("expected a FabricError", { cause: thrown });
  }
  throw new Error("expected a FabricError, nothing was thrown");
}

/** The codes of a task's failed attempts; the message where the error has no code. */
export function codesOf(result: ExecutionResult, name: string): string[] {
  const task = result.tasks.find((one) => one.name === name);
  return (task?.errors ?? []).map(({ error }) =>
    isFabricError(error) ? error.code : error instanceof Error ? error.message : String(error),
  );
}

/** The error of a task. */
export function errorOf(result: ExecutionResult, name: string): unknown {
  return result.tasks.find((one) => one.name === name)?.error;
}

/** Where a run's figures do not add up: none, if all is well. */
export function imbalances(result: ExecutionResult): string[] {
  const { leases, bytes } = result;
  const { leased, returned, kept, fenced, active } = bytes;
  const counted =
    result.succeeded + result.failed + result.skipped + result.cancelled + result.timedOut;
  const wrong: string[] = [];
  if (leased !== returned + kept + fenced + active) wrong.push("bytes");
  if (leases.granted !== leases.expired + leases.released + leases.revoked + leases.active)
    wrong.push("leases");
  if (counted !== result.tasks.length) wrong.push("outcomes");
  return wrong;
}
