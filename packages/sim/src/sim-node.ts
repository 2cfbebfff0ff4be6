/**
 * One simulated machine: a process with a clock, timers, randomness, a network address and disks, that can be paused,
 * crashed and restarted. Programs get nothing else from their host.
 *
 * N1: a crash ends an *incarnation*. Nothing that belongs to it happens any more: its timers, its messages, its disk
 * operations; what awaits one of them waits for ever. Code that was at work when it came runs on to its next `await`, and
 * what it asks for is not done. A restart begins the next.
 * N2: while a node is paused, what would happen to it is put off. When it goes on, all of that is due at once.
 * N3: timers count by the node's own monotonic clock: it may drift, and stand still.
 */
import {
  SystemClock,
  type Clock,
  type Disk,
  type DiskRequest,
  type MemoryProvider,
  type Timer,
  type TimeSource,
} from "@selvage/fabric";
import type { Kernel } from "./kernel.ts";
import type { Network } from "./network.ts";
import type { RandomStream } from "./random.ts";
import { SimDisks } from "./sim-disk.ts";
import { simMemory } from "./sim-memory.ts";
import { SimThreads } from "./sim-threads.ts";
import type { Detail } from "./trace.ts";

/** When every node believes that it is, as the run begins: a date, as deadlines are. */
export const START_MS = 1_800_000_000_000;

/** What runs on a node: called when it starts, and at each restart. */
export type Program = (node: SimNode) => void | Promise<void>;

/** Takes what another node has sent. */
type Listener = (from: string, message: unknown) => void;

/** In which order a paused node finds what was put off. */
export type ResumeOrder = "timers-first" | "io-first";

interface Put {
  readonly kind: string;
  readonly isQuiet: boolean;
  readonly run: () => void;
}

const nothing = (): void => {};

/** A node's own time. */
class NodeTime implements TimeSource {
  readonly #kernel: Kernel;
  // The monotonic clock said `#baseUs` at `#sinceUs`, and has counted `#rate` millionths since.
  #sinceUs = 0;
  #baseUs = 0;
  #rate = 1_000_000;
  #frozenUntilUs = 0;
  #wallOffsetUs = 0;

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
  }

  get monotonicUs(): number {
    const { nowUs } = this.#kernel;
    const from = Math.max(this.#sinceUs, Math.min(this.#frozenUntilUs, nowUs));
    return this.#baseUs + Math.floor(((nowUs - from) * this.#rate) / 1_000_000);
  }

  monotonicMs(): number {
    return this.monotonicUs / 1_000;
  }

  wallMs(): number {
    return START_MS + (this.#kernel.nowUs + this.#wallOffsetUs) / 1_000;
  }

  /** Virtual time until the monotonic clock has counted `us`, if nothing changes. */
  virtualUs(us: number): number {
    const frozenUs = Math.max(0, this.#frozenUntilUs - this.#kernel.nowUs);
    return frozenUs + Math.ceil((us * 1_000_000) / this.#rate);
  }

  step(ms: number): void {
    this.#wallOffsetUs += Math.round(ms * 1_000);
  }

  drift(partsPerMillion: number): void {
    this.#rebase();
    this.#rate = 1_000_000 + partsPerMillion;
  }

  freeze(ms: number): void {
    this.#rebase();
    const untilUs = this.#kernel.nowUs + Math.round(ms * 1_000);
    this.#frozenUntilUs = ms === 0 ? 0 : Math.max(this.#frozenUntilUs, untilUs);
  }

  #rebase(): void {
    this.#baseUs = this.monotonicUs;
    this.#sinceUs = this.#kernel.nowUs;
  }
}

/** One machine. */
export class SimNode {
  readonly name: string;
  readonly kernel: Kernel;
  readonly network: Network;
  readonly disks: SimDisks;
  readonly #program: Program;
  readonly #time: NodeTime;
  #incarnation = 0;
  #isUp = false;
  #isPaused = false;
  #clock: Clock;
  #random: RandomStream;
  #threads: SimThreads;
  #memory: MemoryProvider;
  #putOff: Put[] = [];
  #listener: Listener | undefined;
  #isListenerQuiet = false;
  // Timers that wait, each as what arms it anew.
  readonly #armed = new Set<() => void>();

  constructor(kernel: Kernel, network: Network, name: string, program: Program) {
    this.kernel = kernel;
    this.network = network;
    this.name = name;
    this.#program = program;
    this.#time = new NodeTime(kernel);
    this.#clock = new SystemClock(this.#time);
    this.#random = kernel.random(`node/${name}`);
    this.#threads = new SimThreads(this);
    this.#memory = simMemory(this);
    this.disks = new SimDisks(this);
  }

  get isUp(): boolean {
    return this.#isUp;
  }

  get isPaused(): boolean {
    return this.#isPaused;
  }

  /** How often it has started. */
  get incarnation(): number {
    return this.#incarnation;
  }

  /** What the program takes for the time: the same code as in production, over this node's clocks. */
  get clock(): Clock {
    return this.#clock;
  }

  /** Its two clocks, as the host would give them: for clocks of a program's own making. */
  get time(): TimeSource {
    return this.#time;
  }

  /** This incarnation's. */
  get random(): RandomStream {
    return this.#random;
  }

  /** This incarnation's memory. */
  get memory(): MemoryProvider {
    return this.#memory;
  }

  /** The threads of this incarnation's process. */
  get threads(): SimThreads {
    return this.#threads;
  }

  /** This incarnation's timers. */
  get timer(): Timer {
    return this.#timer(false);
  }

  /** Timers whose callbacks wake no `async` code, or record what happened when they do (K2). */
  get quietTimer(): Timer {
    return this.#timer(true);
  }

  /** Monotonic milliseconds, as the program would measure. */
  monotonicMs(): number {
    return this.#time.monotonicMs();
  }

  /** Opens a file of this node's disk: the fabric's `disk` port. */
  readonly disk = (request: DiskRequest): Disk => this.disks.open(request);

  /** Resolves after so many milliseconds of this node's time. */
  sleep(ms: number): Promise<void> {
    return new Promise((resolve) => void this.timer.after(ms, resolve));
  }

  /** Sends plain data to another node. It may be lost, late, or come twice. */
  send(to: string, message: unknown): void {
    this.network.send(this, to, message);
  }

  /** Takes messages from now on. */
  listen(listener: Listener): void {
    this.#listener = listener;
    this.#isListenerQuiet = false;
  }

  /**
   * As `listen`, for a state machine: the listener settles no promise that somebody awaits, and calls no `async` code (K2).
   * With `quietTimer` for its timers, such a program runs several times as fast.
   */
  listenQuietly(listener: Listener): void {
    this.#listener = listener;
    this.#isListenerQuiet = true;
  }

  /** Records something that happened here. What a process that has died still says is not heard. */
  record(kind: string, details?: Readonly<Record<string, Detail>>): void {
    if (this.#isUp) this.kernel.record(this.name, kind, details);
  }

  /** Starts the program. */
  start(): void {
    if (this.#isUp) return;
    this.#isUp = true;
    const incarnation = ++this.#incarnation;
    this.#clock = new SystemClock(this.#time);
    this.#random = this.kernel.random(`node/${this.name}/${incarnation}`);
    this.#threads = new SimThreads(this);
    this.#memory = simMemory(this);
    this.record("node.started", { incarnation });
    const failed = (thrown: unknown): void => {
      if (this.#incarnation === incarnation) this.kernel.fail(thrown);
    };
    // As all that happens to it: not at all if it dies before, and later if it stands still.
    this.after(0, "start", () => {
      void Promise.resolve(this.#program(this)).catch(failed);
    });
  }

  /** Ends the incarnation (N1). What was not synced is lost as `loses` says. */
  crash(loses: "memory" | "unsynced"): void {
    if (!this.#isUp) return;
    this.#isUp = false;
    this.#isPaused = false;
    this.#putOff = [];
    this.#listener = undefined;
    this.#armed.clear();
    this.disks.crash(loses);
    this.kernel.record(this.name, "node.crashed", { incarnation: this.#incarnation, loses });
  }

  /** Stops the node until `resume` (N2). */
  pause(): void {
    if (this.#isUp) this.#isPaused = true;
  }

  /** Lets it go on. */
  resume(order: ResumeOrder): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    const due = this.#putOff;
    this.#putOff = [];
    const isFirst = ({ kind }: Put): boolean => (kind === "timer") === (order === "timers-first");
    const inOrder = [...due.filter(isFirst), ...due.filter((put) => !isFirst(put))];
    for (const { kind, isQuiet, run } of inOrder) this.after(0, kind, run, isQuiet);
  }

  /** The wall clock is set, by so much. */
  stepClock(ms: number): void {
    this.#time.step(ms);
  }

  /** The monotonic clock runs fast, or slow, from now on: by so many millionths; 0: as virtual time does. */
  driftClock(partsPerMillion: number): void {
    this.#time.drift(partsPerMillion);
    this.#rearm();
  }

  /**
   * The monotonic clock stands still for so long, as when a virtual machine is suspended. Where it stands still already, until
   * the later end of both; 0: it goes on now.
   */
  freezeClock(ms: number): void {
    this.#time.freeze(ms);
    this.#rearm();
  }

  /** A message has come. */
  deliver(from: string, message: unknown): void {
    if (!this.#isUp) return;
    const run = (): void => {
      if (this.#listener === undefined) return;
      if (!this.#isListenerQuiet) this.kernel.stir();
      this.#listener(from, message);
    };
    this.#happen({ kind: "message", isQuiet: true, run });
  }

  /** Something that happens to this incarnation, after so much virtual time. Returns what cancels it. */
  after(delayUs: number, kind: string, run: () => void, isQuiet = false): () => void {
    const incarnation = this.#incarnation;
    let isCancelled = false;
    const put: Put = {
      kind,
      isQuiet,
      run: () => {
        if (!isCancelled) run();
      },
    };
    const event = (): void => {
      if (this.#incarnation === incarnation && this.#isUp && !isCancelled) this.#happen(put);
    };
    const cancel = this.kernel.after(delayUs, kind, event, isQuiet);
    return () => {
      isCancelled = true;
      cancel();
    };
  }

  #happen(put: Put): void {
    if (this.#isPaused) this.#putOff.push(put);
    else put.run();
  }

  // N3: what waits for the clock may be due sooner than it was when it was armed.
  #rearm(): void {
    for (const rearm of [...this.#armed]) rearm();
  }

  #timer(isQuiet: boolean): Timer {
    const set = (delayMs: number, isRepeated: boolean, callback: () => void): (() => void) => {
      const periodUs = Math.max(1, Math.round(delayMs * 1_000));
      let dueUs = this.#time.monotonicUs + periodUs;
      let cancel = nothing;
      let isCancelled = false;
      const arm = (): void => {
        const leftUs = Math.max(0, dueUs - this.#time.monotonicUs);
        cancel = this.after(this.#time.virtualUs(leftUs), "timer", ring, isQuiet);
        // What a process that has died asks for is not armed (N1).
        if (this.#isUp) this.#armed.add(rearm);
      };
      const rearm = (): void => {
        // One that is due already stays where it is, put off as it may be.
        if (this.#time.monotonicUs >= dueUs) return;
        cancel();
        arm();
      };
      const ring = (): void => {
        // The clock was slowed down, or stood still, meanwhile (N3).
        if (this.#time.monotonicUs < dueUs) return arm();
        this.#armed.delete(rearm);
        if (isRepeated) dueUs = this.#time.monotonicUs + periodUs;
        callback();
        if (isRepeated && !isCancelled) arm();
      };
      arm();
      return () => {
        isCancelled = true;
        this.#armed.delete(rearm);
        cancel();
      };
    };
    return {
      after: (delayMs, callback) => set(delayMs, false, callback),
      every: (periodMs, callback) => set(periodMs, true, callback),
    };
  }
}
