/** One attempt of a task, seen from the thread that owns the fabric: here or on a worker thread. */
import {
  FabricError,
  isFabricError,
  OWNER_THREAD,
  type DecodeBudget,
  type Fabric,
  type Loan,
  type MemLease,
  type MemTicket,
} from "@selvage/fabric";
import type { CommittedOutput, Hold, RunningTask, TaskRunner } from "@selvage/leasekit";
import { AttemptData, type Allocation } from "../data/attempt-data.ts";
import type { CodecOf } from "../data/data-codecs.ts";
import type { AbortSource } from "./execution-options.ts";
import type { PlannedTask } from "../graph/execution-plan.ts";
import type { DataRef } from "../data/data-format.ts";
import { isFull } from "../data/block-extents.ts";
import { HeapRoom } from "../data/heap-room.ts";
import type { OutputShelf } from "../data/output-shelf.ts";
import type { OpenedOutputs } from "../data/spill.ts";
import type { BlockCopy, PlacedOutput, ShelvedOutput } from "../data/shelf-entry.ts";
import { isModule, type ModuleUrl, type TaskFunction } from "../graph/task.ts";
import { makeContext } from "./task-runner.ts";

/** What an attempt is made of. */
export interface AttemptParts {
  readonly task: PlannedTask;
  /** From 1. */
  readonly attempt: number;
  readonly epoch: number;
  readonly fabric: Fabric;
  readonly shelf: OutputShelf;
  /** Who will read an output. */
  readonly readers: (output: string) => readonly string[];
  /** Makes outputs durable, and that the task has committed. The copies are made before it returns. */
  readonly commit:
    ((task: string, outputs: readonly Uint8Array[]) => Promise<BlockCopy[]>) | undefined;
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
  readonly #allocations: (MemLease | HeapRoom | undefined)[] = [];
  // What the body reads: the shelf's until this attempt has given it back.
  #inputs: OpenedOutputs | undefined;
  readonly #holds: Hold[] = [];
  // Outputs on blocks, until the shelf has them.
  readonly #copies: PlacedOutput["copy"][] = [];
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

  /** Runs the body, and puts what it committed on the shelf. @throws what the body threw, or why its work does not count. */
  async run(): Promise<void> {
    const { task, shelf, abort, readers, commit } = this.#parts;
    try {
      const isOver = (): boolean => this.#isOver || abort.signal.aborted;
      const { run } = task.def;
      const threads = isModule(run) ? (this.#parts.runner().threadsMax ?? 1) : undefined;
      const opening = shelf.open(task.name, task.inputs, isOver, threads);
      const opened = opening instanceof Promise ? await opening : opening;
      this.#inputs = opened;
      if (opening instanceof Promise) this.#checkStill();
      const committed = isModule(run)
        ? await this.#runThere(run, opened.outputs)
        : await this.#runHere(run, opened.outputs);
      this.#checkWanted();
      this.#checkHeld();
      const placed = commit === undefined ? [] : await this.#commit(committed, commit);
      if (commit === undefined)
        for (const output of committed) {
          const place = this.#place(output);
          placed.push(place instanceof Promise ? await place : place);
        }
      this.#take(placed);
      // Before it gives its inputs back: who waits for memory finds these outputs to move.
      for (const output of placed) shelf.put(task.name, output, readers(output.ref.name));
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
    if (this.#running !== undefined)
      for (const lease of this.#allocations) if (!(lease instanceof HeapRoom)) lease?.revoke();
    this.#finish();
  }

  /** Bytes that the attempt has leased, and not committed. */
  get leasedBytes(): number {
    return this.#allocations.reduce(
      (sum, lease) => sum + (lease instanceof HeapRoom ? 0 : (lease?.bytes ?? 0)),
      0,
    );
  }

  async #runHere(body: TaskFunction, inputs: readonly ShelvedOutput[]): Promise<CommittedOutput[]> {
    const { task, fabric, abort } = this.#parts;
    this.#start(OWNER_THREAD, inputs);
    const data = new AttemptData(
      task.name,
      inputs.map(({ ref, bytes, lease }) => ({ ref, bytes, open: () => lease })),
      task.outputs,
      (output, bytes) => this.#allocateHere(output, bytes),
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
        makeRoom: (bytes) => this.#parts.shelf.spill.makeRoom(bytes),
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
    if (this.#inputs !== undefined) this.#parts.shelf.spill.start(this.#inputs);
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

  // Where memory is full, a body on this thread has bytes of its own until its output has a place: it cannot wait.
  #allocateHere(output: string, bytes: number): Allocation {
    const { shelf, fabric } = this.#parts;
    try {
      return this.#allocate(output, bytes);
    } catch (thrown) {
      if (!shelf.spill.isOn || !isFull(thrown) || bytes > fabric.options.memoryBytes) throw thrown;
      const lease = new HeapRoom(bytes);
      this.#allocations.push(lease);
      return { number: this.#allocations.length - 1, lease };
    }
  }

  // Does what it makes still count?
  #checkWanted(): void {
    if (this.#isOver || this.#isRefused) throw lost(this.#parts.task.name, "it was given up");
  }

  // Its turn has come: is it still wanted?
  #checkStill(): void {
    const { task, abort } = this.#parts;
    if (abort.signal.aborted) throw abort.signal.reason;
    if (this.#isOver) throw lost(task.name, "it was given up");
  }

  #checkHeld(): void {
    if (this.#notHeld !== undefined) throw this.#notHeld.why;
    if (this.#holds.some((hold) => hold.isLapsed))
      throw lost(this.#parts.task.name, "it was silent for too long, or a lease of it ended");
  }

  #place({ name, allocation, bytes }: CommittedOutput): PlacedOutput | Promise<PlacedOutput> {
    const { task } = this.#parts;
    const ref = task.outputs.find((output) => output.name === name);
    const lease = this.#allocations[allocation];
    if (ref === undefined || lease === undefined) throw this.#ended(name);
    if (!(lease instanceof HeapRoom)) return { ref, lease, bytes };
    return this.#move(ref, allocation, lease.take(bytes));
  }

  // What is durable on blocks needs no place in memory, if it has found none.
  async #commit(
    committed: readonly CommittedOutput[],
    commit: NonNullable<AttemptParts["commit"]>,
  ): Promise<PlacedOutput[]> {
    const { task } = this.#parts;
    const loans: Loan[] = [];
    const outputs = task.outputs.map((ref) => {
      const { allocation = -1, bytes = 0 } = committed.find(({ name }) => name === ref.name) ?? {};
      const room = this.#allocations[allocation];
      if (room === undefined) throw this.#ended(ref.name);
      if (room instanceof HeapRoom) {
        this.#allocations[allocation] = undefined;
        return { ref, bytes, lease: undefined, view: room.take(bytes) };
      }
      const loan = room.lend();
      loans.push(loan);
      return { ref, bytes, lease: room, view: loan.view.subarray(0, bytes) };
    });
    const committing = commit(
      task.name,
      outputs.map(({ view }) => view),
    );
    for (const loan of loans) loan.end();
    const copies = await committing;
    return outputs.map(({ ref, bytes, lease }, at) => ({ ref, bytes, lease, copy: copies[at] }));
  }

  async #move(ref: DataRef, allocation: number, bytes: Uint8Array): Promise<PlacedOutput> {
    const { task, shelf, readers } = this.#parts;
    const need = shelf.needOf(ref.name, readers(ref.name));
    const placed = await shelf.spill.place(task.name, ref, bytes, need);
    this.#allocations[allocation] = placed.lease;
    if (placed.lease !== undefined) this.#hold(placed.lease);
    this.#copies.push(placed.copy);
    return placed;
  }

  // The last word on whether the work counts: every lease it touched must still stand, and be held by it.
  #take(placed: readonly PlacedOutput[]): void {
    const { fabric } = this.#parts;
    this.#checkWanted();
    this.#checkHeld();
    for (const { ref, lease } of placed)
      // Real time counts, too: without a keeper the fabric's clock stands while this thread works.
      if (lease !== undefined && (!lease.isLive || lease.expiresAtMs <= fabric.nowMs()))
        throw this.#ended(ref.name);
    for (const { lease } of placed)
      if (lease !== undefined) this.#allocations[this.#allocations.indexOf(lease)] = undefined;
    this.#copies.length = 0;
  }

  #ended(output: string): FabricError {
    return lost(this.#parts.task.name, `the lease of its output "${output}" has ended`);
  }

  #finish(): void {
    const { shelf } = this.#parts;
    this.#isOver = true;
    for (const hold of this.#holds.splice(0)) shelf.unhold(hold);
    for (const lease of this.#allocations.splice(0))
      if (lease !== undefined && !(lease instanceof HeapRoom)) shelf.abandon(lease);
    for (const copy of this.#copies.splice(0)) copy?.free();
    if (this.#inputs !== undefined) shelf.done(this.#inputs);
    this.#inputs = undefined;
  }
}

/** Why an attempt's work does not count. */
function lost(task: string, why: string): FabricError {
  return new FabricError("LEASE_EXPIRED", `The attempt of "${task}" does not count: ${why}`, {
    task,
  });
}
