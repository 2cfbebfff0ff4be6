/** One run of a plan: does what the machine decides, and tells it what came of it. */
import type { Fabric } from "@selvage/fabric";
import type { TaskRunner } from "@selvage/leasekit";
import { Attempt } from "./attempt.ts";
import type { ExecutionResult } from "./execution-result.ts";
import { LiveAttempts, type Live } from "./live-attempts.ts";
import { RunData, type RunDataParts } from "./run-data.ts";
import type { ExecutionEvent } from "./run-events.ts";
import type { ShelvedOutput } from "../data/shelf-entry.ts";
import { lookEveryMs, Teardown } from "./teardown.ts";
import {
  RunMachine,
  type RunStep,
  type StopReason,
  type TaskOutcome,
  type TaskStatus,
} from "../machine/run-machine.ts";
import { modulesAhead, threadsWanted, type RunResources } from "./run-resources.ts";
import {
  late,
  noteError,
  openBook,
  readersIn,
  retryDelayOf,
  tally,
  toResult,
  type TaskBook,
} from "./task-book.ts";
import { isModule } from "../graph/task.ts";

/** How long a run waits at least for threads that it ended to be gone, in milliseconds. */
const exitMs = 1_000;

/** What a run is made of. */
export interface RunParts extends RunDataParts {
  readonly resources: RunResources;
}

/** One run. */
export class Run {
  readonly #parts: RunParts;
  readonly #fabric: Fabric;
  readonly #machine: RunMachine;
  readonly #books: readonly TaskBook[];
  // Who may still read an output.
  readonly #readers: (output: string) => string[];
  readonly #data: RunData;
  readonly #live = new LiveAttempts();
  readonly #pausing = new Set<TaskBook>();
  readonly #settled = Promise.withResolvers<void>();
  #isPumping = false;
  #isStopping = false;
  #stopReason: unknown;
  #lastError: unknown;
  // What ends the run with an error. The first one counts; the watcher is told nothing more.
  #failure: { readonly thrown: unknown } | undefined;
  readonly #waiter = new Teardown();
  #runner: TaskRunner | undefined;

  constructor(parts: RunParts) {
    const { plan, resolved, fabric, resources } = parts;
    this.#parts = parts;
    this.#fabric = fabric;
    this.#books = plan.tasks.map(openBook);
    this.#machine = new RunMachine(plan.shape, {
      ...resolved,
      tolerated: Uint8Array.from(plan.tasks, ({ def }) => (def.continueOnFailure === true ? 1 : 0)),
      resources: resources.resources,
    });
    this.#readers = readersIn(this.#books);
    this.#data = new RunData(parts, this.#readers, (event) => this.#tell(event));
  }

  /** See `Executor.run`. Once. */
  async run(inputs: readonly ShelvedOutput[]): Promise<ExecutionResult> {
    const { ports, options } = this.#parts;
    const startedAtMs = this.#fabric.nowMs();
    const stopLooking = ports.timer.every(lookEveryMs, () => this.#look());
    const { signal, timeoutMs } = options;
    const onAbort = (): void => this.#stop("cancelled", signal?.reason);
    signal?.addEventListener("abort", onAbort);
    const stopTimer =
      timeoutMs === undefined
        ? undefined
        : ports.timer.after(timeoutMs, () => this.#stop("timedOut", late("The run", timeoutMs)));
    try {
      this.#warm();
      await this.#data.open(inputs);
      if (signal?.aborted === true) onAbort();
      else this.#pump();
      await this.#settled.promise;
      stopTimer?.();
      const settledAtMs = this.#fabric.nowMs();
      const renewals = this.#data.shelf.renewed;
      await this.#runner?.close();
      const isWhole = this.#failure === undefined;
      await this.#data.settle(isWhole, isWhole && this.#machine.status === "succeeded");
      await this.#teardown();
      // Not before: what a failed run leased is given back like any other's.
      if (this.#failure !== undefined) throw this.#failure.thrown;
      const teardownMs = this.#fabric.nowMs() - settledAtMs;
      const tasks = this.#books.map(toResult);
      return this.#data.resultOf({
        status: this.#machine.status,
        ...tally(tasks),
        tasks,
        renewals,
        leases: this.#data.ledger.leases(),
        bytes: this.#data.ledger.bytes(),
        elapsedMs: settledAtMs - startedAtMs,
        teardownMs,
      });
    } finally {
      stopTimer?.();
      signal?.removeEventListener("abort", onAbort);
      await this.#data.letGo();
      for (const live of this.#live.all()) {
        live.stopTimer?.();
        live.attempt.giveUp();
      }
      for (const book of this.#pausing) book.pause?.stop();
      await this.#runner?.close();
      this.#data.close(this.#failure !== undefined, stopLooking);
    }
  }

  // Worker threads start while the first waves work.
  #warm(): void {
    const threads = threadsWanted(this.#parts.plan);
    if (threads === 0) return;
    this.#runner = this.#parts.ports.openRunner();
    this.#runner.warm(threads, modulesAhead(this.#parts.plan));
  }

  // Does what the machine wants done, until it wants nothing: a step may bring about the next ones before it is over.
  #pump(): void {
    if (this.#isPumping) return;
    this.#isPumping = true;
    try {
      this.#measure();
      for (let step = this.#machine.next(); step !== "idle"; step = this.#machine.next())
        this.#do(step);
    } catch (thrown) {
      this.#break(thrown);
    } finally {
      this.#isPumping = false;
    }
  }

  #do(step: RunStep): void {
    const { task, cause, wave } = this.#machine;
    switch (step) {
      case "start":
        this.#start(this.#books[task] as TaskBook);
        break;
      case "skip":
      case "cancel": {
        const book = this.#books[task] as TaskBook;
        if (cause >= 0) book.because = (this.#books[cause] as TaskBook).task.name;
        this.#endPause(book);
        this.#outcome(book, step === "skip" ? "skipped" : "cancelled");
        break;
      }
      case "stop":
        // A failure that stops the run is what its other attempts are told.
        this.#stopReason ??= this.#lastError;
        this.#stopLive();
        break;
      case "waveStarted":
      case "waveEnded": {
        const tasks = this.#parts.plan.wave(wave);
        const state = step === "waveStarted" ? "started" : "ended";
        this.#tell({ type: "wave", index: wave, state, tasks, atMs: this.#fabric.nowMs() });
        break;
      }
      case "settle":
        this.#tell({
          type: "settled",
          status: this.#machine.status,
          atMs: this.#fabric.nowMs(),
        });
        this.#settled.resolve();
        break;
      case "ready":
      case "idle":
        break;
    }
  }

  #start(book: TaskBook): void {
    if (this.#data.restore(book.task)) {
      this.#outcome(book, "succeeded");
      this.#machine.succeed(book.index);
      return;
    }
    const { fabric, ports } = this.#parts;
    const number = book.attempts + 1;
    const about = { name: book.task.name, attempt: number };
    const attempt = new Attempt({
      task: book.task,
      attempt: number,
      epoch: this.#machine.epochOf(book.index),
      fabric,
      shelf: this.#data.shelf,
      readers: this.#readers,
      commit: this.#data.commit,
      abort: ports.abortSource(),
      codecOf: this.#data.codecOf,
      budget: this.#parts.options.budget,
      runner: () => (this.#runner ??= ports.openRunner()),
      onStart: () => this.#began(live),
      onProgress: (fraction) =>
        this.#tell({ type: "progress", ...about, fraction, atMs: fabric.nowMs() }),
      onLog: (message) => this.#tell({ type: "log", ...about, message, atMs: fabric.nowMs() }),
    });
    const live: Live = {
      book,
      number,
      attempt,
      isOver: false,
      stopTimer: undefined,
      before: undefined,
      after: undefined,
    };
    this.#live.add(live);
    attempt
      .run()
      .then(
        () => this.#succeeded(live),
        (error: unknown) => this.#broke(live, error),
      )
      .catch((thrown: unknown) => this.#break(thrown));
  }

  // The body is about to start. One whose thread or input was gone before that was an attempt, too.
  #began(live: Live): void {
    const { book, number } = live;
    if (book.attempts === number) return;
    book.attempts = number;
    book.startedAtMs ??= this.#fabric.nowMs();
    this.#change(book, "running");
    const { timeoutMs } = book.task.def;
    if (timeoutMs === undefined || live.isOver || this.#isStopping) return;
    live.stopTimer = this.#parts.ports.timer.after(timeoutMs, () => this.#timeOut(live, timeoutMs));
  }

  #succeeded(live: Live): void {
    const { book } = live;
    this.#ended(live);
    this.#outcome(book, "succeeded");
    this.#machine.succeed(book.index);
    this.#pump();
  }

  // The body has ended without a result that counts.
  #broke(live: Live, error: unknown): void {
    const { book, number } = live;
    this.#ended(live);
    if (live.isOver) {
      // What it made comes too late: its epoch is over. Its slot is free now.
      this.#machine.leave(book.index);
      if (book.pause !== undefined) book.pause.isLeft = true;
      this.#resume(book);
    } else if (this.#machine.stopped !== undefined) this.#cut(live, error, false);
    else {
      this.#began(live);
      live.stopTimer?.();
      noteError(book, { attempt: number, error, failedAtMs: this.#fabric.nowMs() });
      this.#fall(book, "failed", error, false);
    }
    this.#pump();
  }

  #timeOut(live: Live, timeoutMs: number): void {
    const { book, number, attempt } = live;
    const error = late(`Attempt ${number} of "${book.task.name}"`, timeoutMs, book.task.name);
    live.isOver = true;
    live.stopTimer = this.#parts.ports.timer.after(this.#parts.resolved.graceMs, () =>
      this.#graceOver(live, error),
    );
    noteError(book, { attempt: number, error, failedAtMs: this.#fabric.nowMs() });
    attempt.refuse(error);
    this.#fall(book, "timedOut", error, true);
    this.#pump();
  }

  // A timed-out body did not end within its grace. A thread is ended, and may have its task again once it is gone.
  #graceOver(live: Live, error: unknown): void {
    live.attempt.giveUp();
    if (isModule(live.book.task.def.run) && !this.#isStopping)
      live.stopTimer = this.#parts.ports.timer.after(exitMs, () => this.#lose(live, error));
    else this.#lose(live, error);
  }

  // Nobody knows whether the body will ever end: a second one beside it is not started.
  #lose(live: Live, error: unknown): void {
    const { book } = live;
    if (book.pause !== undefined) {
      this.#endPause(book);
      this.#outcome(book, "timedOut", error);
      this.#machine.end(book.index, "timedOut");
    }
    this.#machine.giveUp(book.index);
    this.#pump();
  }

  // An attempt failed: the task is tried again, or has ended.
  #fall(book: TaskBook, outcome: "failed" | "timedOut", error: unknown, lingers: boolean): void {
    const delayMs = this.#retryDelayMs(book, error);
    if (delayMs === undefined || this.#machine.stopped !== undefined) {
      this.#outcome(book, outcome, error);
      this.#machine.end(book.index, outcome, lingers);
      return;
    }
    this.#machine.wait(book.index, lingers);
    this.#change(book, "waiting", { error });
    // A watcher may have stopped the run when it was told.
    if (this.#isStopping) return;
    const stop = this.#parts.ports.timer.after(delayMs, () => {
      if (book.pause !== undefined) book.pause.isDue = true;
      this.#resume(book);
      this.#pump();
    });
    book.pause = { isDue: false, isLeft: !lingers, stop };
    this.#pausing.add(book);
  }

  #resume(book: TaskBook): void {
    if (book.pause?.isDue !== true || !book.pause.isLeft) return;
    this.#endPause(book);
    this.#machine.again(book.index);
  }

  #endPause(book: TaskBook): void {
    book.pause?.stop();
    book.pause = undefined;
    this.#pausing.delete(book);
  }

  // The run was stopped while an attempt was at work.
  #cut({ book }: Live, error: unknown, lingers: boolean): void {
    const outcome = this.#machine.stopped === "timedOut" ? "timedOut" : "cancelled";
    this.#outcome(book, outcome, error);
    this.#machine.end(book.index, outcome, lingers);
  }

  #ended(live: Live): void {
    this.#live.delete(live);
    live.stopTimer?.();
    live.stopTimer = undefined;
  }

  #retryDelayMs(book: TaskBook, error: unknown): number | undefined {
    if (this.#machine.stopped !== undefined) return undefined;
    try {
      return retryDelayOf(book, error, this.#parts.ports.random);
    } catch (thrown) {
      // `retryOn` is the caller's.
      this.#fail(thrown);
      return undefined;
    }
  }

  // Ends the run with an error, at the next moment that is safe for its books.
  #fail(thrown: unknown): void {
    this.#failure ??= { thrown };
    this.#stop("cancelled", this.#parts.options.signal?.reason);
  }

  // A broken invariant: the machine may never settle now.
  #break(thrown: unknown): void {
    this.#fail(thrown);
    this.#settled.resolve();
  }

  #stop(why: StopReason, reason: unknown): void {
    this.#stopReason ??= reason;
    this.#machine.stop(why);
    this.#stopLive();
    this.#waiter.wake();
    this.#pump();
  }

  // Tells running attempts to end. One that outlives this by the grace is given up.
  #stopLive(): void {
    if (this.#isStopping) return;
    this.#isStopping = true;
    const { graceMs } = this.#parts.resolved;
    for (const live of this.#live.all()) {
      // Its own grace runs already.
      if (live.isOver) continue;
      live.stopTimer?.();
      live.stopTimer = this.#parts.ports.timer.after(graceMs, () => {
        live.isOver = true;
        live.attempt.giveUp();
        this.#cut(live, this.#stopReason, true);
        this.#machine.giveUp(live.book.index);
        this.#pump();
      });
      live.attempt.abort(this.#stopReason);
    }
  }

  #outcome(book: TaskBook, outcome: TaskOutcome, error?: unknown): void {
    book.endedAtMs = book.startedAtMs === undefined ? undefined : this.#fabric.nowMs();
    const { because } = book;
    this.#data.shelf.leave(book.task.name, book.task.inputs);
    this.#change(book, outcome, {
      ...(error === undefined ? {} : { error }),
      ...(because === undefined ? {} : { because }),
    });
    if (outcome === "failed" || outcome === "timedOut") this.#lastError = error;
  }

  #change(
    book: TaskBook,
    newState: TaskStatus,
    more: { error?: unknown; because?: string } = {},
  ): void {
    const { status: oldState, attempts: attempt, task } = book;
    if (oldState === newState) return;
    book.status = newState;
    const atMs = this.#fabric.nowMs();
    this.#tell({ type: "task", name: task.name, oldState, newState, attempt, ...more, atMs });
  }

  #tell(event: ExecutionEvent): void {
    if (this.#failure !== undefined) return;
    try {
      this.#parts.options.onEvent?.(event);
    } catch (thrown) {
      this.#fail(thrown);
    }
  }

  // The run's own loop turns: renews what no keeper does, and starts what memory has come free for.
  #look(): void {
    this.#data.sweep();
    if (this.#parts.resources.hold(this.#machine, lookEveryMs, this.#boundMs())) this.#pump();
  }

  #measure(): void {
    const { resources } = this.#parts;
    resources.look(this.#machine, () => {
      let bytes = 0;
      for (const { attempt, book } of this.#live.all())
        bytes += Math.min(attempt.leasedBytes, resources.memoryOf(book.index));
      return bytes;
    });
  }

  // Past any deadline of a lease of this run that nobody renews.
  #boundMs(): number {
    const { fenceAfterMs, tickMs } = this.#fabric.options;
    return this.#parts.resolved.ttlMs + fenceAfterMs + 100 * tickMs;
  }

  #teardown(): Promise<void> {
    const { options, resolved, ports } = this.#parts;
    this.#data.shelf.close();
    return this.#waiter.untilGone(this.#data.ledger, {
      boundMs: this.#boundMs(),
      // Whoever cancels wants to go.
      isHurried: () =>
        options.signal?.aborted === true ||
        this.#machine.stopped === "timedOut" ||
        this.#failure !== undefined,
      keepsNone: () => this.#failure !== undefined,
      goMs: Math.max(resolved.graceMs, exitMs),
      timer: ports.timer,
    });
  }
}
