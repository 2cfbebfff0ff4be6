/** A host whose time moves only when a test pumps it, and threads that do there what a test says. */
import { bufferMemoryProvider, Fabric, FabricError, type FabricOptions } from "@selvage/fabric";
import type { RunningTask, TaskHost, TaskReply, TaskRequest, TaskRunner } from "@selvage/leasekit";
import type { JobPorts } from "@selvage/jobs";

const startMs = 1_800_000_000_000;
/** A job that is not over by then, in virtual milliseconds, hangs. */
const hangMs = 600_000;

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
  nowMs: number = startMs;
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
      for (let index = 0; index < words.length; index++) {
        this.#seed ^= this.#seed << 13;
        this.#seed ^= this.#seed >>> 17;
        this.#seed ^= this.#seed << 5;
        words[index] = this.#seed;
      }
    },
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

  /** Moves time until `promise` is settled; fails where it never is. */
  async pump<T>(promise: Promise<T>): Promise<T> {
    const run = { isOver: false };
    const over = (): void => {
      run.isOver = true;
    };
    promise.then(over, over);
    const untilMs = this.nowMs + hangMs;
    await turn();
    while (!run.isOver) {
      if (this.nowMs >= untilMs) throw new Error(`it hangs: not over after ${hangMs} ms`);
      await this.next();
    }
    return promise;
  }

  /** Rings the next alarm, and moves time to it. */
  async next(): Promise<void> {
    let first: Alarm | undefined;
    for (const alarm of this.#alarms)
      if (first === undefined || alarm.atMs < first.atMs) first = alarm;
    if (first !== undefined) {
      this.nowMs = Math.max(this.nowMs, first.atMs);
      if (first.everyMs === undefined) this.#alarms.delete(first);
      else first.atMs += first.everyMs;
      first.ring();
    }
    await turn();
  }

  #set(delayMs: number, everyMs: number | undefined, ring: () => void): () => void {
    // Clocks tell whole milliseconds.
    const alarm: Alarm = { atMs: this.nowMs + Math.ceil(delayMs), everyMs, ring };
    this.#alarms.add(alarm);
    return () => void this.#alarms.delete(alarm);
  }
}

/** What an attempt does on a thread of a {@link FakeThreads}. */
export type Deed =
  /** Makes its output after so many milliseconds. */
  | { readonly do: "make"; readonly ms: number }
  | { readonly do: "throw"; readonly ms: number }
  /** Its thread dies: as it starts, in the body, or once it has leased its output. */
  | {
      readonly do: "die";
      readonly at: "starting" | "running" | "committing";
      readonly ms: number;
    }
  /** Never ends by itself, and listens to its signal or not. */
  | { readonly do: "hang"; readonly listens: boolean };

interface FakeJob {
  readonly request: TaskRequest;
  readonly host: TaskHost;
  readonly resolve: (reply: TaskReply) => void;
  readonly reject: (error: unknown) => void;
  isBegun: boolean;
  isOver: boolean;
  listens: boolean;
}

/** Threads that do what a test says, on the test's own thread. */
export class FakeThreads implements TaskRunner {
  /** Attempts at work now, by chunk. */
  readonly working: Map<string, number> = new Map<string, number>();
  mostWorking = 0;
  doubled = 0;
  closes = 0;
  readonly #host: VirtualHost;
  readonly #fabric: Fabric;
  readonly #threads: number;
  readonly #deed: (chunk: string, attempt: number) => Deed;
  readonly #make: (bytes: Uint8Array) => Uint8Array;
  readonly #queue: FakeJob[] = [];
  #busy = 0;

  constructor(
    host: VirtualHost,
    fabric: Fabric,
    threads: number,
    deed: (chunk: string, attempt: number) => Deed,
    make: (bytes: Uint8Array) => Uint8Array,
  ) {
    this.#host = host;
    this.#fabric = fabric;
    this.#threads = threads;
    this.#deed = deed;
    this.#make = make;
  }

  /** Jobs that a thread or the queue still has. */
  get held(): number {
    return this.#busy + this.#queue.length;
  }

  warm(): void {}

  run(request: TaskRequest, host: TaskHost): RunningTask {
    const { promise, resolve, reject } = Promise.withResolvers<TaskReply>();
    const job = { request, host, resolve, reject, isBegun: false, isOver: false, listens: false };
    this.#queue.push(job);
    this.#next();
    const end = (how: string): void => this.#end(job, () => reject(died(how)));
    return {
      reply: promise,
      abort: (reason) => {
        if (!job.isBegun || job.listens) end(reason);
      },
      terminate: () => end("ended"),
    };
  }

  async close(): Promise<void> {
    this.closes++;
  }

  #next(): void {
    while (this.#busy < this.#threads) {
      const job = this.#queue.shift();
      if (job === undefined) return;
      this.#busy++;
      job.isBegun = true;
      void this.#serve(job);
    }
  }

  async #serve(job: FakeJob): Promise<void> {
    const { request, host } = job;
    const deed = this.#deed(request.task, request.attempt);
    await this.#host.later(1);
    const die = (): void => this.#end(job, () => job.reject(died(deed.do)));
    if (job.isOver) return;
    if (deed.do === "die" && deed.at === "starting") return die();
    this.#count(request.task, 1);
    host.started(0);
    job.listens = deed.do === "hang" && deed.listens;
    if (deed.do === "hang") return;
    await this.#host.later(deed.ms);
    if (job.isOver) return;
    host.progress(0.5);
    if (deed.do === "throw") return this.#end(job, () => job.reject(new Error("thrown")));
    if (deed.do === "die" && deed.at === "running") return die();
    try {
      const [input] = request.inputs;
      if (input === undefined) throw new Error("no input");
      const output = this.#make(this.#fabric.attachMem(input.ticket).read(0, input.bytes));
      const { number, ticket } = host.acquire("output", output.length);
      if (deed.do === "die") return die();
      this.#fabric.attachMem(ticket).write(0, output);
      const outputs = [{ name: "output", allocation: number, bytes: output.length }];
      this.#end(job, () => job.resolve({ outputs }));
    } catch (thrown) {
      this.#end(job, () => job.reject(thrown));
    }
  }

  #end(job: FakeJob, settle: () => void): void {
    if (job.isOver) return;
    job.isOver = true;
    const { task } = job.request;
    if (this.working.has(task)) this.#count(task, -1);
    const at = this.#queue.indexOf(job);
    if (at >= 0) this.#queue.splice(at, 1);
    else this.#busy--;
    settle();
    this.#next();
  }

  #count(chunk: string, by: number): void {
    const now = (this.working.get(chunk) ?? 0) + by;
    if (now > 1) this.doubled++;
    if (now === 0) this.working.delete(chunk);
    else this.working.set(chunk, now);
    this.mostWorking = Math.max(this.mostWorking, this.working.size);
  }
}

function died(how: string): FabricError {
  return new FabricError("DISCONNECTED", `the thread is gone: ${how}`);
}

/** Opens a fabric on a virtual host. */
export function openOn(host: VirtualHost, options: FabricOptions = {}): Fabric {
  const { clock, timer, random } = host;
  return Fabric.open(
    { memoryBytes: 1 << 20, ...options },
    { clock, timer, random, memory: bufferMemoryProvider },
  );
}

function refuse(): never {
  throw new Error("the test gives these");
}

/** The ports of a virtual host. A job of a module must be given its fabric and its threads. */
export function portsOf(host: VirtualHost): JobPorts {
  return {
    clock: host.clock,
    timer: host.timer,
    random: host.random,
    parallelism: 2,
    abortSource: () => new AbortController(),
    openFabric: refuse,
    openRunner: refuse,
  };
}

/** Bytes of a fabric that are not free. */
export function missingBytes(fabric: Fabric): number {
  const { capacityBytes, freeBytes } = fabric.stats().memory;
  return capacityBytes - freeBytes;
}
