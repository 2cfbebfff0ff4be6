/**
 * Which task starts, waits, is skipped or is given up, and when a run is settled: a state machine without I/O, in flat
 * arrays. Tasks are numbers, as in its {@link DagShape}. Whoever drives it says what happened, and asks `next()` until
 * that is `"idle"`; nothing here allocates on the way.
 *
 * Invariant D1: a task starts only when every task before it has succeeded, and ends in exactly one outcome, whatever
 * comes: `end` refuses a second one.
 * Invariant D3: a failure skips exactly the tasks that depend on it, once, and names itself as the cause; no more tasks
 * run at a time than there are slots, and a body that goes on after its attempt keeps its slot until it ends.
 */
import { assert } from "@selvage/fabric";
import { Admission, type Resource } from "./admission.ts";
import { ReadyQueue } from "./ready-queue.ts";
import type { DagShape } from "../graph/topology.ts";

/** How a task ended. */
export type TaskOutcome = "succeeded" | "failed" | "skipped" | "cancelled" | "timedOut";
/** How a task stands. `ready`: it waits for a slot, or for what it needs. `waiting` is between two attempts. */
export type TaskStatus = "pending" | "ready" | "running" | "waiting" | TaskOutcome;
/** How a run, or a task of it, ended. */
export type RunStatus = "succeeded" | "failed" | "cancelled" | "timedOut";
/** Why a run stops before its end. */
export type StopReason = "cancelled" | "timedOut" | "failed";

/** `"waves"`: a wave starts when the one before has ended. `"ready"`: a task starts when those before it have. */
export type Schedule = "waves" | "ready";

/**
 * What whoever drives a machine is to do. `start`, `skip`, `cancel` and `ready` are about `machine.task`; `skip` and
 * `cancel` because of `machine.cause`, where that is not -1; waves are `machine.wave`. `stop`: tell what runs to end.
 * `idle`: nothing, until something happens. `settle` comes once, last.
 */
export type RunStep =
  "start" | "skip" | "cancel" | "ready" | "stop" | "waveStarted" | "waveEnded" | "settle" | "idle";

/** What a machine is told. */
export interface MachineOptions {
  /** Default `"ready"`. */
  readonly schedule?: Schedule;
  /** Most tasks that run at a time. Default: as many as are ready. */
  readonly maxConcurrency?: number;
  /** Stop at the first failure. Default false. */
  readonly failFast?: boolean;
  /** 1 for tasks whose failure is none of the run's. */
  readonly tolerated?: Uint8Array;
  /** What tasks need, and how much of it there is. A task that can never have it is never started. */
  readonly resources?: readonly Resource[];
  /** Whether `next` tells `ready`. Default false. */
  readonly tellsReady?: boolean;
}

const statuses: readonly TaskStatus[] = [
  "pending",
  "ready",
  "running",
  "waiting",
  "succeeded",
  "failed",
  "skipped",
  "cancelled",
  "timedOut",
];
const pending = 0;
const ready = 1;
const running = 2;
const waiting = 3;
const succeeded = 4;
const failed = 5;
const skipped = 6;
const cancelled = 7;
const timedOut = 8;
const codes = { failed, cancelled, timedOut } as const;

/** What a task has of a slot: none; one; one, after its attempt, which will be left; one that may never be left. */
const none = 0;
const held = 1;
const lingering = 2;
const lost = 3;

const told: readonly RunStep[] = ["skip", "cancel", "ready", "stop"];
const toldSkip = 0;
const toldCancel = 1;
const toldReady = 2;
const toldStop = 3;

/** The machine of one run. */
export class RunMachine {
  /** What the last step is about. */
  task = -1;
  cause = -1;
  wave = -1;
  readonly #shape: DagShape;
  readonly #tolerated: Uint8Array | undefined;
  readonly #isByWaves: boolean;
  readonly #isFailFast: boolean;
  readonly #tellsReady: boolean;
  readonly #status: Uint8Array;
  readonly #slots: Uint8Array;
  readonly #waitsFor: Int32Array;
  readonly #epochs: Int32Array;
  // Why a task was skipped or cancelled; made when first needed.
  #causes: Int32Array | undefined;
  readonly #queue: ReadyQueue | Admission;
  readonly #admission: Admission | undefined;
  // What is to be told, in order: task * 4 + what.
  #notes: number[] = [];
  #notesTold = 0;
  #free: number;
  #epoch = 0;
  #open: number;
  #openInWave = 0;
  #isWaveOpen = false;
  #running = 0;
  #waiting = 0;
  #lingering = 0;
  #lost = 0;
  #lastLost = -1;
  #failures = 0;
  // Tasks whose end is the stop's doing.
  #cut = 0;
  #hasGivenUp = false;
  #stopped: StopReason | undefined;
  #isStarted = false;
  #isSettled = false;

  constructor(shape: DagShape, options: MachineOptions = {}) {
    const { count, rankOf, ranks } = shape;
    const { resources = [] } = options;
    this.#shape = shape;
    this.#tolerated = options.tolerated;
    this.#isByWaves = options.schedule === "waves";
    this.#isFailFast = options.failFast ?? false;
    this.#tellsReady = options.tellsReady ?? false;
    this.#status = new Uint8Array(count);
    this.#slots = new Uint8Array(count);
    this.#waitsFor = shape.waitsFor.slice();
    this.#epochs = new Int32Array(count);
    this.#free = options.maxConcurrency ?? Number.MAX_SAFE_INTEGER;
    this.#open = count;
    this.#admission = resources.length === 0 ? undefined : new Admission(resources, shape);
    this.#queue = this.#admission ?? new ReadyQueue(rankOf, ranks, new Int32Array(count));
  }

  /** What is to be done now. Takes constant time, with resources time in kinds of tasks. */
  next(): RunStep {
    if (this.#notesTold < this.#notes.length) return this.#tellNote();
    if (this.#isSettled) return "idle";
    if (!this.#isStarted) this.#begin();
    if (this.#isByWaves && this.#openInWave === 0) {
      const step = this.#nextWave();
      if (step !== undefined) return step;
    }
    if (this.#notesTold < this.#notes.length) return this.#tellNote();
    if (this.#free > 0 && this.#stopped === undefined) {
      const task = this.#queue.pop();
      if (task >= 0) return this.#start(task);
    }
    if (this.#open === 0) {
      if (this.#lingering > 0) return "idle";
      this.#isSettled = true;
      return "settle";
    }
    if (this.#isStarved()) {
      this.#hasGivenUp = true;
      this.stop("failed", this.#lastLost);
      return this.next();
    }
    return "idle";
  }

  /** A running task has succeeded. */
  succeed(task: number): void {
    this.#endAttempt(task, false);
    this.#finish(task, succeeded);
    if (this.#isByWaves) return;
    const { at, to } = this.#shape.after;
    for (let edge = at[task] as number, end = at[task + 1] as number; edge < end; edge++) {
      const after = to[edge] as number;
      const open = (this.#waitsFor[after] as number) - 1;
      this.#waitsFor[after] = open;
      if (open === 0 && this.#status[after] === pending) this.#makeReady(after);
    }
  }

  /**
   * A running or waiting task ended otherwise: what depends on it is skipped. With `lingers` its body goes on, and keeps
   * its slot until `leave`.
   */
  end(task: number, outcome: "failed" | "cancelled" | "timedOut", lingers = false): void {
    if (this.#status[task] === waiting) this.#waiting--;
    else this.#endAttempt(task, lingers);
    this.#finish(task, codes[outcome]);
    this.#skipDependants(task);
    if (outcome === "cancelled") return;
    if (this.#tolerated?.[task] === 1) return;
    this.#failures++;
    if (this.#isFailFast) this.stop("failed", task);
  }

  /** A running task's attempt is over, and another will come: it gives its slot back, unless its body lingers. */
  wait(task: number, lingers = false): void {
    this.#endAttempt(task, lingers);
    this.#status[task] = waiting;
    this.#waiting++;
  }

  /** A waiting task is ready again. */
  again(task: number): void {
    assert(this.#status[task] === waiting, "a task that is ready again has waited", task);
    assert(this.#slots[task] === none, "a task is not ready while a body of it runs", task);
    this.#waiting--;
    this.#makeReady(task);
  }

  /** The body of a task that lingered has ended: its slot is free. */
  leave(task: number): void {
    const slot = this.#slots[task];
    assert(slot === lingering || slot === lost, "a body that leaves has lingered", task);
    if (slot === lingering) this.#lingering--;
    else this.#lost--;
    this.#freeSlot(task);
  }

  /** The body of a task that lingers may never end: the run does not wait for it, and its slot stays taken. */
  giveUp(task: number): void {
    assert(this.#slots[task] === lingering, "a body that is given up lingers", task);
    this.#slots[task] = lost;
    this.#lingering--;
    this.#lost++;
    this.#lastLost = task;
  }

  /** Gives up: what has not started, or waits, is cancelled; what runs is the driver's to stop, and to `end`. */
  stop(reason: StopReason, cause = -1): void {
    if (this.#stopped !== undefined || this.#open === 0) return;
    this.#stopped = reason;
    this.#note(0, toldStop);
    for (let task = 0; task < this.#shape.count; task++) {
      const status = this.#status[task] as number;
      if (status > waiting || status === running) continue;
      if (status === waiting) this.#waiting--;
      if (cause >= 0) this.#setCause(task, cause);
      this.#finish(task, cancelled);
      this.#note(task, toldCancel);
    }
  }

  /** Tells how much of a resource others than this run's tasks have: what is left may be had. */
  setOutside(resource: number, units: number): void {
    this.#admission?.setOutside(resource, units);
  }

  /** True if something would start but for what others have of a resource. */
  get waitsForOutside(): boolean {
    return !this.#isSettled && this.#admission?.waitsForOutside === true;
  }

  /** True while an attempt is at work, or another is to come. */
  get isAtWork(): boolean {
    return this.#running + this.#waiting + this.#lingering > 0;
  }

  /** Has the next `next` start what waits longest, whatever others have. */
  ignoreOutside(): void {
    this.#admission?.force();
  }

  /** How a task stands. */
  statusOf(task: number): TaskStatus {
    return statuses[this.#status[task] as number] as TaskStatus;
  }

  /** Of the task's latest attempt: rises with every attempt of the run. 0 before the first. */
  epochOf(task: number): number {
    return this.#epochs[task] as number;
  }

  /** True if the attempt with this epoch is at work, and its result would count. */
  isCurrent(task: number, epoch: number): boolean {
    return this.#status[task] === running && this.#epochs[task] === epoch;
  }

  /** The task whose failure skipped or cancelled this one; -1 where there is none. */
  causeOf(task: number): number {
    return this.#causes?.[task] ?? -1;
  }

  /** How the run stands: its end, once it is settled. */
  get status(): RunStatus {
    if (this.#cut > 0 && this.#stopped !== undefined && this.#stopped !== "failed")
      return this.#stopped;
    return this.#failures > 0 || this.#hasGivenUp ? "failed" : "succeeded";
  }

  /** Why it stops before its end, if it does. */
  get stopped(): StopReason | undefined {
    return this.#stopped;
  }

  #begin(): void {
    this.#isStarted = true;
    if (this.#isByWaves) return;
    for (let task = 0; task < this.#shape.count; task++)
      if (this.#waitsFor[task] === 0 && this.#status[task] === pending) this.#makeReady(task);
  }

  #start(task: number): "start" {
    this.#status[task] = running;
    this.#slots[task] = held;
    this.#epochs[task] = ++this.#epoch;
    this.#free--;
    this.#running++;
    this.task = task;
    return "start";
  }

  #makeReady(task: number): void {
    this.#status[task] = ready;
    if (this.#tellsReady) this.#note(task, toldReady);
    this.#queue.push(task);
  }

  #endAttempt(task: number, lingers: boolean): void {
    assert((this.#status[task] as number) < succeeded, "a task ends once", task);
    assert(this.#status[task] === running, "a task that ends was started", task);
    this.#running--;
    if (lingers) {
      this.#slots[task] = lingering;
      this.#lingering++;
    } else this.#freeSlot(task);
  }

  #freeSlot(task: number): void {
    this.#slots[task] = none;
    this.#free++;
    this.#admission?.giveBack(task);
  }

  #finish(task: number, outcome: number): void {
    this.#status[task] = outcome;
    this.#open--;
    if (outcome >= cancelled && this.#stopped !== undefined) this.#cut++;
    if (this.#isWaveOpen && this.#shape.waveOf[task] === this.wave) this.#openInWave--;
  }

  #skipDependants(root: number): void {
    const { at, to } = this.#shape.after;
    const stack = [root];
    for (let task = stack.pop(); task !== undefined; task = stack.pop())
      for (let edge = at[task] as number; edge < (at[task + 1] as number); edge++) {
        const after = to[edge] as number;
        if (this.#status[after] !== pending) continue;
        this.#setCause(after, root);
        this.#finish(after, skipped);
        this.#note(after, toldSkip);
        stack.push(after);
      }
  }

  // From wave to wave: one of skipped tasks neither starts nor ends.
  #nextWave(): "waveStarted" | "waveEnded" | undefined {
    if (this.#isWaveOpen) {
      this.#isWaveOpen = false;
      return "waveEnded";
    }
    const { at, to } = this.#shape.waves;
    while (this.#open > 0) {
      this.wave++;
      const first = at[this.wave] as number;
      const end = at[this.wave + 1];
      assert(end !== undefined, "a task that has not ended is in a wave to come", this.#open);
      for (let place = first; place < end; place++)
        if (this.#status[to[place] as number] === pending) {
          this.#openInWave++;
          this.#makeReady(to[place] as number);
        }
      if (this.#openInWave === 0) continue;
      this.#isWaveOpen = true;
      return "waveStarted";
    }
    return undefined;
  }

  // Bodies that may never end have what all others wait for.
  #isStarved(): boolean {
    if (this.isAtWork || this.#stopped !== undefined) return false;
    return this.#lost > 0 && (this.#free === 0 || this.#admission?.waitsForOutside !== true);
  }

  #setCause(task: number, cause: number): void {
    this.#causes ??= new Int32Array(this.#shape.count).fill(-1);
    this.#causes[task] = cause;
  }

  #note(task: number, what: number): void {
    this.#notes.push(task * 4 + what);
  }

  #tellNote(): RunStep {
    const note = this.#notes[this.#notesTold++] as number;
    if (this.#notesTold === this.#notes.length) {
      this.#notes.length = 0;
      this.#notesTold = 0;
    }
    this.task = note >> 2;
    this.cause = this.causeOf(this.task);
    return told[note & 3] as RunStep;
  }
}
