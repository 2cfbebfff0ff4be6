/**
 * Runs threads, one access at a time, without stopping them: a thread that is to wait is unwound by a throw, and when its
 * turn comes it is run again from its beginning, each access answered as it was the first time, up to the one that has
 * not been made yet.
 *
 * X1: what a thread does depends on nothing but what its accesses return. It is checked: a thread that makes another
 * access than the last time is an error. X2: an access of a run that is over does nothing and throws, so whatever
 * `finally` blocks do while the thread is unwound leaves no trace.
 */
import { assert, bufferMemoryProvider, type MemoryProvider } from "@selvage/fabric";
import { Accesses, textOf, wordPlace } from "./accesses.ts";
import type { Scheduler } from "./schedule.ts";
import { ModelMemory, steppingMemory, type AccessKind } from "./stepping-memory.ts";
import { WeakWords, type PlainReads } from "./weak-words.ts";

/** What a stepped thread has besides its memory. */
export interface Host {
  /** Which of the threads it is; whoever looks at the outcome comes after the last of them. */
  readonly thread: number;
  /** Memories whose every access is a step. They are reserved while threads prepare themselves, not later. */
  readonly memory: MemoryProvider;
  /** For what one thread prepares and a later one needs, a ticket perhaps. Read while preparing, not later. */
  readonly board: Map<string, unknown>;
  /** Milliseconds since the schedule began: time passes only while every thread waits. An access. */
  nowMs(): number;
  /** Whether a thread has died: what its exit tells. An access. */
  hasDied(thread: number): boolean;
  /** Notes something for the check, also of a thread that dies afterwards. */
  note(value: unknown): void;
}

/** A thread: prepares itself, unstepped, and returns what is stepped. */
export type SteppedThread<S> = (shared: S, host: Host) => () => unknown;

/** What became of a thread. */
export interface ThreadOutcome {
  /** What it returned; undefined for one that did not get so far. */
  readonly result: unknown;
  readonly notes: readonly unknown[];
  readonly hasDied: boolean;
  /** Waits that nobody ended. */
  readonly timeouts: number;
}

/** What became of a schedule. */
export interface Outcome<S> {
  readonly shared: S;
  readonly threads: readonly ThreadOutcome[];
  /** Reaches the memories as they were left. */
  readonly host: Host;
}

/** What a schedule came to. */
export interface Ending {
  readonly steps: number;
  readonly deaths: number;
  /** Given up: another schedule is the same but for the order of independent steps. */
  readonly isRedundant: boolean;
  /** Why no schedule may end like this, if so. */
  readonly message: string | undefined;
}

/** What is run. */
export interface Program<S> {
  readonly setUp: (memory: MemoryProvider) => S;
  readonly threads: readonly SteppedThread<S>[];
  readonly check?: (outcome: Outcome<S>) => string | undefined;
  readonly mayDie?: readonly number[];
  readonly plainReads?: PlainReads;
  readonly betweenRuns?: () => void;
  readonly mostSteps?: number;
}

interface Thread {
  readonly index: number;
  state: "ready" | "waiting" | "done" | "dead";
  // What its accesses were, and returned; the first `prepared` of them came before the schedule.
  readonly log: number[];
  readonly kinds: AccessKind[];
  readonly places: number[];
  prepared: number;
  waitsAt: number;
  deadlineMs: number;
  timeouts: number;
  notes: unknown[];
  result: unknown;
}

interface Run {
  readonly thread: Thread;
  position: number;
  isOver: boolean;
}

// Thrown through a thread that is unwound. Nobody catches it but by catching everything, and X2 holds then too.
const unwinding = new Error("this run of the thread is over");

const timePlace = -1;
const fatePlace = (thread: number): number => -2 - thread;
const stepsMaxDefault = 20_000;

/** The memories and threads of one exploration; runs schedule after schedule. */
export class Execution<S> {
  /** Of the last schedule: the thread of each step, and its outcome; -1: its death. */
  readonly madeBy: number[] = [];
  readonly outcomes: number[] = [];
  /** What each step did, while this is an array. */
  trace: string[] | undefined;
  readonly #program: Program<S>;
  readonly #shared: S;
  readonly #threads: readonly Thread[];
  readonly #judge: Thread;
  readonly #accesses: Accesses;
  readonly #memories: ModelMemory[] = [];
  readonly #reserved = new Map<string, ModelMemory>();
  readonly #board = new Map<string, unknown>();
  readonly #stepsMax: number;
  readonly #mayDie: readonly boolean[];
  #scheduler: Scheduler | undefined;
  #run: Run | undefined;
  // While threads prepare themselves, and while the outcome is judged: accesses are made at once.
  #isDirect = true;
  // The thread whose access comes next, if one has been chosen.
  #chosen = -1;
  #hasDied = false;
  #isRedundant = false;
  #nowMs = 0;
  #message: string | undefined;

  constructor(program: Program<S>) {
    const { threads, mayDie = [], plainReads = "newest", mostSteps = stepsMaxDefault } = program;
    assert(threads.length >= 1 && threads.length <= 16, "1 to 16 threads", threads.length);
    this.#program = program;
    this.#stepsMax = mostSteps;
    this.#mayDie = threads.map((_, index) => mayDie.includes(index));
    this.#accesses = new Accesses(threads.length + 1, plainReads);
    this.#threads = threads.map((_, index) => newThread(index));
    this.#judge = newThread(threads.length);
    this.#shared = program.setUp({
      reserve: (byteLength) => {
        const { buffer } = this.#reserve(byteLength);
        return bufferMemoryProvider.attach(buffer, byteLength);
      },
      attach: (handle, byteLength) => bufferMemoryProvider.attach(handle, byteLength),
    });
    for (const thread of this.#threads) {
      this.#begin(thread, () =>
        (this.#program.threads[thread.index] as SteppedThread<S>)(...this.#inputs(thread)),
      );
      thread.prepared = thread.log.length;
    }
    for (const { words } of this.#memories) words.begin();
  }

  /** Runs one schedule. */
  run(scheduler: Scheduler): Ending {
    this.#rewind();
    this.#scheduler = scheduler;
    scheduler.begin();
    for (;;) {
      if (this.#chosen < 0) this.#chosen = this.#choose(-1);
      if (this.#chosen < 0) break;
      this.#go(this.#threads[this.#chosen] as Thread);
    }
    const deaths = this.#hasDied ? 1 : 0;
    const steps = this.madeBy.length;
    if (this.#isRedundant) return { steps, deaths, isRedundant: true, message: undefined };
    return { steps, deaths, isRedundant: false, message: this.#message ?? this.#judged() };
  }

  #rewind(): void {
    for (const { words } of this.#memories) words.rewind();
    this.#accesses.clocks.reset();
    for (const thread of this.#threads) {
      for (const list of [thread.log, thread.kinds, thread.places]) list.length = thread.prepared;
      Object.assign(thread, { state: "ready", timeouts: 0, notes: [], result: undefined });
    }
    this.#isDirect = false;
    this.#hasDied = false;
    this.#isRedundant = false;
    this.#chosen = -1;
    this.#nowMs = 0;
    this.#message = undefined;
    this.madeBy.length = 0;
    this.outcomes.length = 0;
    if (this.trace !== undefined) this.trace.length = 0;
  }

  // Which thread makes the next step; -1: none does. Where all wait, time passes for the one that waits least.
  #choose(current: number): number {
    if (this.#message !== undefined || this.#isRedundant) return -1;
    let enabled = 0;
    let first: Thread | undefined;
    for (const thread of this.#threads) {
      if (thread.state === "ready") enabled |= 1 << thread.index;
      else if (thread.state === "waiting" && thread.deadlineMs < (first?.deadlineMs ?? Infinity))
        first = thread;
    }
    if (enabled === 0) {
      if (first === undefined) return -1;
      this.#nowMs = first.deadlineMs;
      first.timeouts++;
      this.#resume(first, -1);
      return this.#choose(current);
    }
    if (this.madeBy.length >= this.#stepsMax) {
      this.#message = `no end after ${this.#stepsMax} steps`;
      return -1;
    }
    const next = (this.#scheduler as Scheduler).next(enabled, current);
    if (next < 0) this.#isRedundant = true;
    return next;
  }

  #go(thread: Thread): void {
    const { index } = thread;
    thread.notes = [];
    const run = this.#begin(thread, (current) => {
      const body = (this.#program.threads[index] as SteppedThread<S>)(...this.#inputs(thread));
      const result = body();
      // One that is unwound and returns all the same has come to nothing (X2).
      if (!current.isOver) thread.result = result;
    });
    if (!run.isOver) {
      thread.state = "done";
      if (run.position < thread.log.length)
        this.#message ??= `${notTheSame(thread)}: it ended early`;
    }
    // It has come to its end without another access: the step that was chosen for it is still to be made.
    if (thread.state === "done" && this.#chosen === index) this.#chosen = -1;
  }

  #begin(thread: Thread, run: (current: Run) => unknown): Run {
    this.#program.betweenRuns?.();
    const current: Run = { thread, position: 0, isOver: false };
    this.#run = current;
    try {
      run(current);
    } catch (thrown) {
      if (!current.isOver) {
        current.isOver = true;
        thread.state = "done";
        if (this.#isDirect) throw thrown;
        this.#message ??= `thread ${thread.index} threw ${String(thrown)}`;
      }
      return current;
    } finally {
      this.#run = undefined;
      this.#program.betweenRuns?.();
    }
    return current;
  }

  #judged(): string | undefined {
    const stuck = this.#threads.filter(({ state }) => state === "waiting");
    if (stuck.length > 0)
      return `thread ${stuck.map(({ index }) => index).join(", ")} waits for ever`;
    const { check } = this.#program;
    if (check === undefined) return undefined;
    this.#isDirect = true;
    this.#judge.log.length = 0;
    let message: string | undefined;
    const threads = this.#threads.map(({ result, notes, state, timeouts }) => {
      return { result, notes, hasDied: state === "dead", timeouts };
    });
    try {
      this.#begin(this.#judge, () => {
        const [shared, host] = this.#inputs(this.#judge);
        message = check({ shared, threads, host });
      });
    } catch (thrown) {
      message = String(thrown);
    }
    return message;
  }

  #inputs(thread: Thread): [S, Host] {
    const run = this.#run as Run;
    let reserved = 0;
    const step = (kind: AccessKind, memory?: ModelMemory, at = 0, a = 0, b = 0, c = 0, d = 0) =>
      this.#access(run, kind, memory, at, a, b, c, d);
    const host: Host = {
      thread: thread.index,
      board: this.#board,
      memory: {
        reserve: (byteLength) => {
          const name = `${thread.index}/${reserved++}`;
          const memory = this.#reserved.get(name) ?? this.#reserve(byteLength);
          this.#reserved.set(name, memory);
          return steppingMemory(memory, step);
        },
        attach: (handle) => {
          const memory = this.#memories.find(({ buffer }) => buffer === handle);
          assert(memory !== undefined, "the memory is one of this exploration's");
          return steppingMemory(memory, step);
        },
      },
      nowMs: () => step("time"),
      hasDied: (other) => step("hasDied", undefined, other) === 1,
      note: (value) => {
        if (!run.isOver) thread.notes.push(value);
      },
    };
    return [this.#shared, host];
  }

  #reserve(byteLength: number): ModelMemory {
    assert(this.#scheduler === undefined, "memories are reserved before the threads begin");
    const buffer = new SharedArrayBuffer(Math.ceil(byteLength / 8) * 8);
    const words = new WeakWords(new Int32Array(buffer));
    const memory = new ModelMemory(this.#memories.length, byteLength, buffer, words);
    this.#memories.push(memory);
    return memory;
  }

  #access(
    run: Run,
    kind: AccessKind,
    memory: ModelMemory | undefined,
    at: number,
    a: number,
    b: number,
    c: number,
    d: number,
  ): number {
    if (run.isOver || this.#run !== run) throw unwinding;
    const { thread } = run;
    const position = run.position++;
    if (position < thread.log.length) {
      const isSame = thread.kinds[position] === kind && thread.places[position] === at;
      if (!isSame) this.#message ??= `${notTheSame(thread)}: ${kind} ${at}`;
      return thread.log[position] as number;
    }
    if (this.#isDirect) {
      const value = this.#perform(thread, kind, memory, at, a, b, c, d, 0);
      if (thread !== this.#judge) this.#note(thread, kind, at, value);
      return value;
    }
    if (this.#chosen < 0) this.#chosen = this.#choose(thread.index);
    if (this.#chosen !== thread.index) return this.#stop(run);
    this.#chosen = -1;
    const outcome = this.#outcome(thread, kind, memory, at);
    if (outcome < 0) return this.#die(run);
    const value = this.#perform(thread, kind, memory, at, a, b, c, d, outcome);
    this.#made(thread.index, outcome);
    this.trace?.push(textOf(thread.index, kind, memory, at, [a, b, c, d], value, outcome));
    if (thread.state === "waiting") {
      thread.places[thread.log.length] = at;
      return this.#stop(run);
    }
    this.#note(thread, kind, at, value);
    return value;
  }

  #stop(run: Run): never {
    run.isOver = true;
    throw unwinding;
  }

  #note(thread: Thread, kind: AccessKind, at: number, value: number): void {
    thread.log.push(value);
    thread.kinds[thread.log.length - 1] = kind;
    thread.places[thread.log.length - 1] = at;
  }

  #made(thread: number, outcome: number): void {
    this.madeBy.push(thread);
    this.outcomes.push(outcome);
    const fate = this.#mayDie[thread] === true && !this.#hasDied ? fatePlace(thread) : undefined;
    (this.#scheduler as Scheduler).made(thread, {
      places: this.#accesses.places,
      writes: this.#accesses.writes,
      fate,
    });
  }

  // Which of the writes that it may find the access finds; -1: the thread dies instead.
  #outcome(
    { index }: Thread,
    kind: AccessKind,
    memory: ModelMemory | undefined,
    at: number,
  ): number {
    const count = this.#accesses.choices(index, kind, memory, at);
    const mayDie = this.#mayDie[index] === true && !this.#hasDied;
    const outcome = (this.#scheduler as Scheduler).choose(mayDie ? count + 1 : count, mayDie);
    return outcome === count ? -1 : outcome;
  }

  #die(run: Run): never {
    const { thread } = run;
    thread.state = "dead";
    this.#hasDied = true;
    this.#accesses.places.length = 0;
    this.#accesses.writes.length = 0;
    this.#accesses.touch(fatePlace(thread.index), true);
    this.#made(thread.index, -1);
    this.trace?.push(`thread ${thread.index} dies`);
    return this.#stop(run);
  }

  #perform(
    thread: Thread,
    kind: AccessKind,
    memory: ModelMemory | undefined,
    at: number,
    a: number,
    b: number,
    c: number,
    d: number,
    outcome: number,
  ): number {
    this.#accesses.places.length = 0;
    this.#accesses.writes.length = 0;
    if (kind === "time") {
      this.#accesses.touch(timePlace, false);
      return this.#nowMs;
    }
    if (kind === "hasDied") {
      this.#accesses.touch(fatePlace(at), false);
      return this.#threads[at]?.state === "dead" ? 1 : 0;
    }
    const model = memory as ModelMemory;
    if (kind === "wait") return this.#wait(thread, model, at, a, b);
    if (kind === "wake") return this.#wake(thread, model, at);
    if (kind === "readDouble" || kind === "writeDouble" || kind === "compareExchangePair")
      return this.#accesses.wide(thread.index, kind, model, at, [a, b, c, d], outcome);
    return this.#accesses.word(thread.index, kind, model, at, a, b, outcome);
  }

  #wait(
    thread: Thread,
    memory: ModelMemory,
    at: number,
    expected: number,
    timeoutMs: number,
  ): number {
    const place = wordPlace(memory, at);
    this.#accesses.touch(place, false);
    this.#accesses.touch(place + 1, true);
    const found = memory.words.read(at, thread.index, this.#accesses.clocks, "ordered", 0);
    if (found !== (expected | 0) || this.#isDirect) return 0;
    thread.state = "waiting";
    thread.waitsAt = place + 1;
    thread.deadlineMs = this.#nowMs + timeoutMs;
    return 0;
  }

  #wake({ index }: Thread, memory: ModelMemory, at: number): number {
    const place = wordPlace(memory, at) + 1;
    this.#accesses.touch(place, true);
    for (const thread of this.#threads) {
      if (thread.state !== "waiting" || thread.waitsAt !== place) continue;
      this.#accesses.clocks.join(thread.index, this.#accesses.clocks.copy(index));
      this.#resume(thread, index);
    }
    return 0;
  }

  #resume(thread: Thread, waker: number): void {
    thread.state = "ready";
    const at = thread.places[thread.log.length] as number;
    this.#note(thread, "wait", at, 0);
    this.#scheduler?.woke(thread.index, waker);
    if (waker < 0) this.trace?.push(`thread ${thread.index} has slept until its time was up`);
  }
}

function notTheSame({ index }: Thread): string {
  return `thread ${index} is not deterministic (X1)`;
}

function newThread(index: number): Thread {
  return {
    index,
    state: "ready",
    log: [],
    kinds: [],
    places: [],
    prepared: 0,
    waitsAt: 0,
    deadlineMs: 0,
    timeouts: 0,
    notes: [],
    result: undefined,
  };
}
