/** Runs plans. */
import { invalidArgument, type Fabric } from "@selvage/fabric";
import {
  RenewalManager,
  resolveRetryPolicy,
  retryDelayMs,
  type RetryPolicy,
  type TaskRunner,
} from "@selvage/leasekit";
import { Attempt } from "./attempt.ts";
import { checkFormats, codecsOf, type CodecOf } from "./data-codecs.ts";
import {
  resolveExecution,
  type ExecutorOptions,
  type ExecutorPorts,
  type ResolvedExecution,
} from "./execution-options.ts";
import type { ExecutionPlan, PlannedTask } from "./execution-plan.ts";
import type { AttemptError, ExecutionResult, TaskResult } from "./execution-result.ts";
import { checkKeep, KeptOutputs, withKeep } from "./kept-outputs.ts";
import { matchInputs } from "./leased-inputs.ts";
import { OutputShelf, type ShelvedOutput } from "./output-shelf.ts";
import type { ExecutionEvent, RunStatus } from "./run-events.ts";
import { RunLedger } from "./run-ledger.ts";
import { RunMachine, type RunEffect, type TaskOutcome, type TaskStatus } from "./run-machine.ts";
import { isModule } from "./task.ts";

/** Runs plans, wave by wave. */
// oxlint-disable-next-line typescript/no-extraneous-class -- hosts extend it with their ports: `Executor.run(plan)`
export class Executor {
  /**
   * Runs a plan once. Resolves when every task has its outcome and every lease of the run has ended and given its
   * bytes back; a task that fails does not reject. Times: normally the work, plus the TTL, plus two ticks.
   * @throws FabricError `INVALID_ARGUMENT`; what `onEvent` threw; a broken invariant. Then, too, nothing is left.
   */
  static async run(
    plan: ExecutionPlan,
    options: ExecutorOptions,
    ports: ExecutorPorts,
  ): Promise<ExecutionResult> {
    if (typeof (plan as ExecutionPlan | undefined)?.waves !== "function")
      throw invalidArgument("plan", "an execution plan: what TaskGraph.build() gives", plan);
    const resolved = resolveExecution(options);
    checkFormats(plan.tasks, ports.codecs);
    checkKeep(plan, options.keep);
    const inputs = matchInputs(plan.inputs, options.inputs, options.fabric);
    const fabric = options.fabric ?? ports.openFabric();
    try {
      return await new Run(plan, options, resolved, fabric, ports).run(inputs);
    } finally {
      if (options.fabric === undefined) fabric[Symbol.dispose]();
    }
  }
}

/** How often a run looks whether its leases are gone, and renews where no keeper does, in milliseconds. */
const lookEveryMs = 5;

/** How long a cancelled run waits at least for threads that it ended to be gone, in milliseconds. */
const exitMs = 1_000;

interface TaskBook {
  readonly task: PlannedTask;
  readonly policy: RetryPolicy;
  status: TaskStatus;
  attempts: number;
  errors: AttemptError[];
  because: string | undefined;
  startedAtMs: number | undefined;
  endedAtMs: number | undefined;
  running: Attempt | undefined;
}

class Run {
  readonly #options: ExecutorOptions;
  readonly #resolved: ResolvedExecution;
  readonly #fabric: Fabric;
  readonly #ports: ExecutorPorts;
  readonly #codecOf: CodecOf;
  readonly #machine: RunMachine;
  readonly #waves: readonly (readonly string[])[];
  readonly #books = new Map<string, TaskBook>();
  // Which tasks read an output.
  readonly #readersOf = new Map<string, TaskBook[]>();
  readonly #ledger: RunLedger;
  readonly #shelf: OutputShelf;
  readonly #kept: KeptOutputs;
  readonly #renewals: RenewalManager | undefined;
  // How running attempts are told that the run is cancelled. A set: a signal's listeners cost a walk of all of them each.
  readonly #onCancel = new Set<(reason: unknown) => void>();
  readonly #settled = Promise.withResolvers<void>();
  // What the machine wants done, in its order: an effect may bring about the next ones before it is over.
  readonly #effects: RunEffect[] = [];
  #isPerforming = false;
  // What ends the run with an error. The first one counts; the watcher is told nothing more.
  #failure: { readonly thrown: unknown } | undefined;
  readonly #wakers = new Set<() => void>();
  #runner: TaskRunner | undefined;
  #epoch = 0;

  constructor(
    plan: ExecutionPlan,
    options: ExecutorOptions,
    resolved: ResolvedExecution,
    fabric: Fabric,
    ports: ExecutorPorts,
  ) {
    this.#options = options;
    this.#resolved = resolved;
    this.#fabric = fabric;
    this.#ports = ports;
    this.#codecOf = codecsOf(ports.codecs, options.budget);
    this.#machine = new RunMachine(plan);
    this.#waves = plan.waves();
    for (const task of plan.tasks) {
      const { retries = 0, backoff } = task.def;
      const book: TaskBook = {
        task,
        policy: resolveRetryPolicy({ ...backoff, retries }),
        status: "pending",
        attempts: 0,
        errors: [],
        because: undefined,
        startedAtMs: undefined,
        endedAtMs: undefined,
        running: undefined,
      };
      this.#books.set(task.name, book);
      for (const { name } of task.inputs) {
        const readers = this.#readersOf.get(name);
        if (readers === undefined) this.#readersOf.set(name, [book]);
        else readers.push(book);
      }
    }
    const { renewals } = options;
    this.#renewals = renewals === false ? undefined : (renewals ?? new RenewalManager(fabric));
    this.#ledger = new RunLedger(fabric, (event, origin) =>
      this.#tell({ type: "lease", ...origin, event, atMs: event.atMs }),
    );
    this.#shelf = new OutputShelf({
      ...resolved,
      fabric,
      renewals: this.#renewals,
      ledger: this.#ledger,
      keep: new Set(options.keep),
    });
    this.#kept = new KeptOutputs({ ...resolved, timer: ports.timer, codecOf: this.#codecOf });
  }

  async run(inputs: readonly ShelvedOutput[]): Promise<ExecutionResult> {
    const startedAtMs = this.#fabric.nowMs();
    const stopLooking = this.#ports.timer.every(lookEveryMs, () => this.#look());
    const { signal } = this.#options;
    const onAbort = (): void => this.#cancel();
    signal?.addEventListener("abort", onAbort);
    try {
      this.#warm();
      // Leases are kept by a thread beside this one: nothing starts before it is at work.
      if (this.#renewals !== undefined) await this.#fabric.keeper()?.ready;
      for (const input of inputs) this.#shelf.lend(input, this.#readers(input.ref.name));
      if (signal?.aborted === true) this.#perform(this.#machine.cancel());
      else this.#perform(this.#machine.start());
      await this.#settled.promise;
      const settledAtMs = this.#fabric.nowMs();
      const renewals = this.#shelf.renewed;
      await this.#runner?.close();
      if (this.#failure === undefined) this.#shelf.handOver(this.#kept);
      await this.#teardown();
      // Not before: what a failed run leased is given back like any other's.
      if (this.#failure !== undefined) throw this.#failure.thrown;
      const teardownMs = this.#fabric.nowMs() - settledAtMs;
      const figures = { renewals, elapsedMs: settledAtMs - startedAtMs, teardownMs };
      return withKeep({ ...this.#count(), ...figures }, this.#kept);
    } finally {
      signal?.removeEventListener("abort", onAbort);
      this.#shelf.close();
      for (const book of this.#books.values()) book.running?.giveUp();
      await this.#runner?.close();
      if (this.#failure !== undefined) this.#ledger.releaseAll(true);
      this.#ledger.close();
      this.#kept.wait(() => {
        if (this.#options.renewals === undefined) this.#renewals?.[Symbol.dispose]();
        stopLooking();
      });
    }
  }

  // Worker threads start while the first waves work.
  #warm(): void {
    let widest = 0;
    for (const wave of this.#waves) {
      const modules = wave.filter((name) => isModule(this.#book(name).task.def.run));
      widest = Math.max(widest, modules.length);
    }
    if (widest === 0) return;
    this.#runner = this.#ports.openRunner();
    this.#runner.warm(widest);
  }

  #perform(effects: readonly RunEffect[]): void {
    for (const effect of effects) this.#effects.push(effect);
    if (this.#isPerforming) return;
    this.#isPerforming = true;
    for (let at = 0; at < this.#effects.length; at++) this.#do(this.#effects[at] as RunEffect);
    this.#effects.length = 0;
    this.#isPerforming = false;
  }

  #do(effect: RunEffect): void {
    switch (effect.do) {
      case "start":
        this.#drive(this.#book(effect.task)).catch((thrown: unknown) => {
          // A broken invariant: the machine may never settle now.
          this.#fail(thrown);
          this.#settled.resolve();
        });
        break;
      case "skip":
        this.#book(effect.task).because = effect.because;
        this.#outcome(this.#book(effect.task), "skipped");
        break;
      case "cancel":
        this.#outcome(this.#book(effect.task), "cancelled");
        break;
      case "wave": {
        const { index, state } = effect;
        const tasks = this.#waves[index] ?? [];
        this.#tell({ type: "wave", index, state, tasks, atMs: this.#fabric.nowMs() });
        break;
      }
      case "settle":
        this.#tell({ type: "settled", status: this.#status(), atMs: this.#fabric.nowMs() });
        this.#settled.resolve();
        break;
    }
  }

  // Tries a task until it has an outcome.
  async #drive(book: TaskBook): Promise<void> {
    for (;;) {
      // Whoever cancels while a wave is being started cancels the rest of it, too.
      if (this.#machine.isCancelled) return this.#end(book, "cancelled");
      const { outcome, error } = await this.#attempt(book);
      const delayMs = outcome === "failed" ? this.#retryDelayMs(book, error) : undefined;
      if (delayMs === undefined) return this.#end(book, outcome, error);
      this.#change(book, "waiting", { error });
      await this.#wait(delayMs);
    }
  }

  #end(book: TaskBook, outcome: TaskOutcome, error?: unknown): void {
    this.#outcome(book, outcome, error);
    this.#perform(this.#machine.end(book.task.name, outcome));
  }

  #retryDelayMs(book: TaskBook, error: unknown): number | undefined {
    if (this.#machine.isCancelled) return undefined;
    try {
      return retryDelayMs(book.policy, book.attempts, error, this.#randomFraction());
    } catch (thrown) {
      // `retryOn` is the caller's.
      this.#fail(thrown);
      return undefined;
    }
  }

  async #attempt(book: TaskBook): Promise<{ outcome: TaskOutcome; error?: unknown }> {
    const { task } = book;
    const attempt = book.attempts + 1;
    const about = { name: task.name, attempt };
    const start = (): void => {
      if (book.attempts === attempt) return;
      book.attempts = attempt;
      book.startedAtMs ??= this.#fabric.nowMs();
      this.#change(book, "running");
    };
    const running = new Attempt({
      task,
      attempt,
      epoch: ++this.#epoch,
      fabric: this.#fabric,
      shelf: this.#shelf,
      abort: this.#ports.abortSource(),
      codecOf: this.#codecOf,
      budget: this.#options.budget,
      runner: () => (this.#runner ??= this.#ports.openRunner()),
      onStart: start,
      onProgress: (fraction) =>
        this.#tell({ type: "progress", ...about, fraction, atMs: this.#fabric.nowMs() }),
      onLog: (message) =>
        this.#tell({ type: "log", ...about, message, atMs: this.#fabric.nowMs() }),
    });
    book.running = running;
    try {
      const outputs = await this.#withGrace(running);
      for (const output of outputs) this.#shelf.put(output, this.#readers(output.ref.name));
      return { outcome: "succeeded" };
    } catch (error) {
      if (this.#machine.isCancelled) return { outcome: "cancelled", error };
      // One whose thread or input was gone before its body started was an attempt, too.
      start();
      book.errors.push({ attempt, error, failedAtMs: this.#fabric.nowMs() });
      return { outcome: "failed", error };
    } finally {
      book.running = undefined;
    }
  }

  // An attempt that outlives the run's cancellation by the grace is given up.
  #withGrace(running: Attempt): Promise<Awaited<ReturnType<Attempt["run"]>>> {
    const { graceMs } = this.#resolved;
    return new Promise((resolve, reject) => {
      let stopTimer: (() => void) | undefined;
      const onCancel = (reason: unknown): void => {
        running.abort(reason);
        stopTimer = this.#ports.timer.after(graceMs, () => {
          running.giveUp();
          reject(reason);
        });
      };
      this.#onCancel.add(onCancel);
      const done = (): void => {
        this.#onCancel.delete(onCancel);
        stopTimer?.();
      };
      running.run().then(resolve, reject).finally(done);
    });
  }

  // Who may still read an output.
  #readers(output: string): string[] {
    const books = this.#readersOf.get(output) ?? [];
    return books.filter(({ status }) => !isOver(status)).map(({ task }) => task.name);
  }

  // Ends the run with an error, at the next moment that is safe for its books.
  #fail(thrown: unknown): void {
    this.#failure ??= { thrown };
    this.#cancel();
  }

  #cancel(): void {
    const effects = this.#machine.cancel();
    const reason = this.#options.signal?.reason;
    for (const tell of [...this.#onCancel]) tell(reason);
    this.#onCancel.clear();
    for (const wake of this.#wakers) wake();
    this.#perform(effects);
  }

  #outcome(book: TaskBook, outcome: TaskOutcome, error?: unknown): void {
    book.endedAtMs = book.startedAtMs === undefined ? undefined : this.#fabric.nowMs();
    const { because } = book;
    this.#shelf.leave(book.task.name, book.task.inputs);
    this.#change(book, outcome, {
      ...(error === undefined ? {} : { error }),
      ...(because === undefined ? {} : { because }),
    });
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
      this.#options.onEvent?.(event);
    } catch (thrown) {
      this.#fail(thrown);
    }
  }

  // The run's own loop turns: renews what no keeper does.
  #look(): void {
    if (this.#fabric.keeper() === undefined) this.#renewals?.sweep(this.#fabric.nowMs());
  }

  #wait(delayMs: number): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        this.#wakers.delete(wake);
        stop();
        resolve();
      };
      const stop = this.#ports.timer.after(delayMs, wake);
      this.#wakers.add(wake);
    });
  }

  // Waits until the run's leases have ended and their bytes are back. The bound is past any deadline that can still
  // come: what is open then is somebody else's to end (kept alive by another manager, or a thread that never answers).
  async #teardown(): Promise<void> {
    this.#shelf.close();
    const { ttlMs, graceMs } = this.#resolved;
    const { fenceAfterMs, tickMs } = this.#fabric.options;
    const boundMs = ttlMs + fenceAfterMs + 100 * tickMs;
    // Counted in looks, not by the fabric's clock: where that is ticked by hand, it may stand still.
    let goingMs = 0;
    for (let waitedMs = 0; this.#ledger.isOpen && waitedMs < boundMs; waitedMs += lookEveryMs) {
      // Whoever cancels wants to go: what can be given back now is, and what a body that was given up still has in its
      // hands is told as active.
      if (this.#options.signal?.aborted === true || this.#failure !== undefined) {
        this.#ledger.releaseAll(this.#failure !== undefined);
        if (goingMs >= Math.max(graceMs, exitMs)) return;
        goingMs += lookEveryMs;
      }
      await this.#wait(lookEveryMs);
    }
  }

  #count(): Omit<ExecutionResult, "renewals" | "elapsedMs" | "teardownMs" | "keep"> {
    const tasks = [...this.#books.values()].map(toResult);
    const count = (outcome: TaskOutcome): number =>
      tasks.filter(({ status }) => status === outcome).length;
    return {
      status: this.#status(),
      succeeded: count("succeeded"),
      failed: count("failed"),
      skipped: count("skipped"),
      cancelled: count("cancelled"),
      timedOut: count("timedOut"),
      tasks,
      leases: this.#ledger.leases(),
      bytes: this.#ledger.bytes(),
    };
  }

  #status(): RunStatus {
    const statuses = new Set([...this.#books.values()].map(({ status }) => status));
    if (statuses.has("cancelled")) return "cancelled";
    if (statuses.has("timedOut")) return "timedOut";
    return statuses.has("failed") ? "failed" : "succeeded";
  }

  #randomFraction(): number {
    const words = new Int32Array(1);
    this.#ports.random.fill(words);
    return ((words[0] as number) >>> 0) / 0x1_0000_0000;
  }

  #book(name: string): TaskBook {
    return this.#books.get(name) as TaskBook;
  }
}

function isOver(status: TaskStatus): boolean {
  return status !== "pending" && status !== "running" && status !== "waiting";
}

function toResult(book: TaskBook): TaskResult {
  const { task, attempts, errors, because, startedAtMs, endedAtMs } = book;
  const last = errors.at(-1);
  const status = book.status as TaskOutcome;
  return {
    name: task.name,
    status,
    retriesUsed: Math.max(0, attempts - 1),
    attempts,
    errors,
    startedAtMs,
    endedAtMs,
    ...(last === undefined || status === "succeeded" ? {} : { error: last.error }),
    ...(because === undefined ? {} : { because }),
  };
}
