/** One attempt of a task, seen from the thread that owns the fabric: here or on a worker thread. */
import {
  FabricError,
  isFabricError,
  OWNER_THREAD,
  type DecodeBudget,
  type Fabric,
  type MemLease,
  type MemTicket,
} from "@selvage/fabric";
import type { CommittedOutput, Hold, RunningTask, TaskRunner } from "@selvage/leasekit";
import { AttemptData } from "./attempt-data.ts";
import type { CodecOf } from "./data-codecs.ts";
import type { AbortSource } from "./execution-options.ts";
import type { PlannedTask } from "./execution-plan.ts";
import type { OutputShelf, ShelvedOutput } from "./output-shelf.ts";
import { isModule, type ModuleUrl, type TaskFunction } from "./task.ts";
import { makeContext } from "./task-runner.ts";

/** What an attempt is made of. */
export interface AttemptParts {
  readonly task: PlannedTask;
  /** From 1. */
  readonly attempt: number;
  readonly epoch: number;
  readonly fabric: Fabric;
  readonly shelf: OutputShelf;
  readonly abort: AbortSource;
  readonly codecOf: CodecOf;
  /** What decoding may cost, on whichever thread. */
  readonly budget: DecodeBudget | undefined;
  /** The run's worker threads, opened at the first use. */
  readonly runner: () => TaskRunner;
  readonly onStart: () => void;
  readonly onProgress: (fraction: number | undefined) => void;
  readonly onLog: (message: string) => void;
}

/** What crosses to another thread instead of the reason of an abort. */
const abortMessage = "the run was cancelled";

/** One attempt. */
export class Attempt {
  readonly #parts: AttemptParts;
  readonly #allocations: MemLease[] = [];
  readonly #holds: Hold[] = [];
  // What a worker thread has lent, pinned until its reply or its end: giving an attempt up does not unpin.
  readonly #pins: (() => void)[] = [];
  #thread = OWNER_THREAD;
  #running: RunningTask | undefined;
  // Why an input could not be held when the body started.
  #notHeld: { readonly why: unknown } | undefined;
  // Its work does not count any more, but it may still read what it was lent.
  #isRefused = false;
  // Whatever the body still does once this is set is not the run's any more.
  #isOver = false;

  constructor(parts: AttemptParts) {
    this.#parts = parts;
  }

  /** Runs the body and gives what it committed. @throws what the body threw, or why its work does not count. */
  async run(): Promise<ShelvedOutput[]> {
    const { task } = this.#parts;
    try {
      const inputs = task.inputs.map(({ name }) => this.#input(name));
      const { run } = task.def;
      const committed = isModule(run)
        ? await this.#runThere(run, inputs)
        : await this.#runHere(run, inputs);
      if (this.#isOver || this.#isRefused) throw lost(task.name, "it was given up");
      return this.#take(committed);
    } finally {
      this.#finish();
    }
  }

  /** Tells the body to stop. A body on this thread sees `reason`, one on another thread an `AbortError`. */
  abort(reason: unknown): void {
    this.#parts.abort.abort(reason);
    this.#running?.abort(isFabricError(reason) ? reason.message : abortMessage);
  }

  /** Tells the body to stop, and refuses whatever it still makes. */
  refuse(reason: unknown): void {
    this.#isRefused = true;
    this.abort(reason);
  }

  /**
   * Gives the attempt up: a worker thread is ended, and what it leased is revoked; a body on this thread is left to
   * itself, its results refused.
   */
  giveUp(): void {
    this.#running?.terminate();
    // The bytes stay where they are until the thread has gone: they are pinned.
    if (this.#running !== undefined) for (const lease of this.#allocations) lease?.revoke();
    this.#finish();
  }

  /** Bytes that the attempt has leased, and not committed. */
  get leasedBytes(): number {
    return this.#allocations.reduce((sum, lease) => sum + (lease?.bytes ?? 0), 0);
  }

  #input(name: string): ShelvedOutput {
    const input = this.#parts.shelf.get(name);
    if (input !== undefined) return input;
    throw lost(this.#parts.task.name, `its input "${name}" is gone`);
  }

  async #runHere(body: TaskFunction, inputs: readonly ShelvedOutput[]): Promise<CommittedOutput[]> {
    const { task, fabric, abort } = this.#parts;
    this.#start(OWNER_THREAD, inputs);
    const data = new AttemptData(
      task.name,
      inputs.map(({ ref, bytes, lease }) => ({ ref, bytes, open: () => lease })),
      task.outputs,
      (output, bytes) => this.#allocate(output, bytes),
      this.#parts.codecOf,
    );
    const context = makeContext({ ...this.#parts, task: task.name }, data, abort.signal, {
      progress: (fraction) => {
        fabric.progress();
        this.#progress(fraction);
      },
      log: (message) => this.#log(message),
    });
    try {
      // A watcher may have cancelled the run when it was told of this start.
      if (abort.signal.aborted) throw abort.signal.reason;
      return data.commit(await body(context));
    } finally {
      data.end();
    }
  }

  async #runThere(
    run: ModuleUrl,
    inputs: readonly ShelvedOutput[],
  ): Promise<readonly CommittedOutput[]> {
    const { task, attempt, epoch, fabric, abort, runner, budget } = this.#parts;
    try {
      for (const { lease } of inputs) this.#pins.push(lease.pin());
      const request = {
        module: run.href,
        task: task.name,
        attempt,
        epoch,
        fabric: fabric.ticket(),
        inputs: inputs.map(({ ref, bytes, lease }) => ({ ref, bytes, ticket: lease.ticket() })),
        outputs: task.outputs,
        ...(budget === undefined ? {} : { budget }),
      };
      this.#running = runner().run(request, {
        started: (thread) => this.#start(thread, inputs),
        acquire: (output, bytes) => {
          const { number, lease } = this.#allocate(output, bytes);
          this.#pins.push(lease.pin());
          const ticket: MemTicket = lease.ticket();
          return { number, ticket };
        },
        progress: (fraction) => this.#progress(fraction),
        log: (message) => this.#log(message),
      });
      if (abort.signal.aborted) this.#running.abort(abortMessage);
      const { outputs } = await this.#running.reply;
      return outputs;
    } finally {
      for (const unpin of this.#pins.splice(0)) unpin();
    }
  }

  #start(thread: number, inputs: readonly ShelvedOutput[]): void {
    if (this.#isOver) return;
    this.#thread = thread;
    this.#parts.onStart();
    try {
      for (const { lease } of inputs) this.#hold(lease);
    } catch (why) {
      // Told by a worker thread, nobody is there to throw to.
      this.#notHeld = { why };
    }
  }

  // A body that goes on after its attempt is not heard any more.
  #progress(fraction: number | undefined): void {
    if (!this.#isOver) this.#parts.onProgress(fraction);
  }

  #log(message: string): void {
    if (!this.#isOver) this.#parts.onLog(message);
  }

  #allocate(output: string, bytes: number): { number: number; lease: MemLease } {
    const { task, shelf } = this.#parts;
    if (this.#isOver) throw lost(task.name, "it was given up");
    const lease = shelf.acquire(task.name, output, bytes);
    this.#allocations.push(lease);
    this.#hold(lease);
    return { number: this.#allocations.length - 1, lease };
  }

  #hold(lease: MemLease): void {
    const hold = this.#parts.shelf.hold(lease, this.#thread);
    if (hold !== undefined) this.#holds.push(hold);
  }

  // The last word on whether the work counts: every lease it touched must still stand, and be held by it.
  #take(committed: readonly CommittedOutput[]): ShelvedOutput[] {
    const { task, fabric } = this.#parts;
    if (this.#notHeld !== undefined) throw this.#notHeld.why;
    if (this.#holds.some((hold) => hold.isLapsed))
      throw lost(task.name, "it was silent for too long, or a lease of it ended");
    return committed.map(({ name, allocation, bytes }) => {
      const lease = this.#allocations[allocation];
      const ref = task.outputs.find((output) => output.name === name);
      // Real time counts, too: without a keeper the fabric's clock stands while this thread works.
      const isOver = lease === undefined || !lease.isLive || lease.expiresAtMs <= fabric.nowMs();
      if (isOver || ref === undefined)
        throw lost(task.name, `the lease of its output "${name}" has ended`);
      this.#allocations[allocation] = undefined as never;
      return { ref, lease, bytes };
    });
  }

  #finish(): void {
    this.#isOver = true;
    for (const hold of this.#holds.splice(0)) hold.end();
    for (const lease of this.#allocations.splice(0))
      if (lease !== undefined) this.#parts.shelf.abandon(lease);
  }
}

/** Why an attempt's work does not count. */
function lost(task: string, why: string): FabricError {
  return new FabricError("LEASE_EXPIRED", `The attempt of "${task}" does not count: ${why}`, {
    task,
  });
}
