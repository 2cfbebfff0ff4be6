/**
 * One run: what its stages share. It knows when to stop, whom to tell, and what has to be given back.
 *
 * Closing has an order, and always finishes: the intake stops; what was taken in drains, for `drainMs`; then the run is
 * cancelled and its stages are told, for `graceMs`; then what still goes on is given up. A run that fails or is aborted
 * begins with the third step. What a stage that was given up does later reaches nobody.
 */
import {
  describe,
  FabricError,
  isFabricError,
  type AbortSignalLike,
  type Codec,
} from "@selvage/fabric";
import type { PipelineEvent, PipelineStatus } from "./pipeline-events.ts";
import type { MaybePromise } from "./pipeline-chunk.ts";
import type { PipelineOptions, PipelinePorts, ResolvedPipeline } from "./pipeline-options.ts";
import type { StageKind } from "./pipeline-result.ts";

/** Counts of one stage. */
export interface StageBook {
  readonly name: string;
  readonly kind: StageKind;
  /** What its items become in a queue. */
  readonly codec: Codec<unknown> | undefined;
  itemsIn: number;
  itemsOut: number;
  /** Items that it has done with, one way or the other. */
  done: number;
  retries: number;
  deadLettered: number;
}

/** Ends the intake of a source. */
export interface Intake {
  stop(): void;
}

/** An event without its time, which the run adds. */
export type Untimed<E> = E extends unknown ? Omit<E, "atMs"> : never;

type StopReason = "stop" | "deadline" | "failure" | "abort";

/** After so long without a turn of the event loop, others get theirs, in milliseconds. */
const breathMs = 10;

/** What the stages of one run share. */
export class PipelineRun {
  readonly options: PipelineOptions;
  readonly resolved: ResolvedPipeline;
  readonly ports: PipelinePorts;
  /** Told to stages: aborted once the run is over early. */
  readonly signal: AbortSignalLike;
  readonly books: StageBook[] = [];
  readonly #abort: ReturnType<PipelinePorts["abortSource"]>;
  readonly #intakes = new Set<Intake>();
  readonly #wakers = new Set<() => void>();
  readonly #closers: (() => MaybePromise<void>)[] = [];
  readonly #stopTimers = new Set<() => void>();
  readonly #givenUp = Promise.withResolvers<void>();
  // How many sinks are still to come to a failure.
  readonly #sharers = new Map<FabricError, number>();
  // What ends the run with a rejection: what a watcher threw. The watcher is told nothing more.
  #crash: { readonly thrown: unknown } | undefined;
  #failure: FabricError | undefined;
  #abortReason: { readonly reason: unknown } | undefined;
  #isOver = false;
  #isStopping = false;
  #isLate = false;
  #lastTurnMs: number;

  constructor(options: PipelineOptions, resolved: ResolvedPipeline, ports: PipelinePorts) {
    this.options = options;
    this.resolved = resolved;
    this.ports = ports;
    this.#abort = ports.abortSource();
    this.signal = this.#abort.signal;
    this.#lastTurnMs = ports.clock.nowMs();
  }

  /** True once nothing more is to be done: whatever comes back now is dropped. */
  get isOver(): boolean {
    return this.#isOver;
  }

  /** Resolves when stages that do not answer are to be left alone. */
  get givenUp(): Promise<void> {
    return this.#givenUp.promise;
  }

  /** Opens a stage's counts. */
  book(name: string, kind: StageKind, codec?: Codec<unknown>): StageBook {
    const counts = { itemsIn: 0, itemsOut: 0, done: 0, retries: 0, deadLettered: 0 };
    const book: StageBook = { name, kind, codec, ...counts };
    this.books.push(book);
    return book;
  }

  /** Has something given back at the end, however that comes about. Last in, first out. */
  onClose(close: () => MaybePromise<void>): void {
    this.#closers.push(close);
  }

  /** Watches the caller's signals and the clock. */
  arm(): void {
    const { signal, stop, deadlineMs = Infinity } = this.options;
    if (deadlineMs !== Infinity) this.#after(deadlineMs, () => this.#miss());
    this.#listen(stop, () => this.#stop("stop"));
    this.#listen(signal, () => this.cancel(signal?.reason));
  }

  /** A source takes in until it ends, or is told to stop. */
  open(intake: Intake): void {
    this.#intakes.add(intake);
    if (this.#isStopping) intake.stop();
  }

  /** A source came to its end by itself. */
  ended(intake: Intake): void {
    if (!this.#intakes.delete(intake) || this.#intakes.size > 0 || this.#isStopping) return;
    this.#isStopping = true;
    this.tell({ type: "stopping", because: "ended" });
  }

  /** True when every source came to its end by itself. */
  get hasEnded(): boolean {
    return this.#intakes.size === 0;
  }

  /** Says that one more sink than before will come to a failure: it happened before they parted. */
  share(failure: FabricError): void {
    this.#sharers.set(failure, (this.#sharers.get(failure) ?? 1) + 1);
  }

  /**
   * A sink came to a failure. The run ends with it, once all sinks have that will: what is before it is theirs. One that
   * comes to another failure meanwhile does so at an item before, so that one counts.
   */
  fail(error: FabricError): void {
    if (this.#isOver) return;
    this.#failure = error;
    const others = (this.#sharers.get(error) ?? 1) - 1;
    this.#sharers.set(error, others);
    if (others > 0) this.#stop("failure");
    else this.#cancel("failure", error);
  }

  /** Ends the run for whoever wants no more of it. */
  cancel(reason: unknown): void {
    this.#abortReason ??= { reason };
    this.#cancel("abort", reason);
  }

  /** Ends the run with a rejection. */
  crash(thrown: unknown): void {
    this.#crash ??= { thrown };
    this.#cancel("failure", thrown);
  }

  tell(event: Untimed<PipelineEvent>): void {
    const { onEvent } = this.options;
    if (onEvent === undefined || this.#crash !== undefined) return;
    try {
      onEvent({ ...event, atMs: this.ports.clock.nowMs() });
    } catch (thrown) {
      this.crash(thrown);
    }
  }

  /** Resolves after `ms`, or as soon as the run is over. */
  wait(ms: number): Promise<void> {
    return new Promise((resolve) => {
      if (this.#isOver) return resolve();
      const wake = (): void => {
        this.#wakers.delete(wake);
        stop();
        resolve();
      };
      const stop = this.ports.timer.after(ms, wake);
      this.#wakers.add(wake);
    });
  }

  /** Something to wait for, when it is time that others have a turn. */
  breath(): Promise<void> | undefined {
    const nowMs = this.ports.clock.nowMs();
    if (nowMs - this.#lastTurnMs < breathMs) return undefined;
    return this.ports.nextTurn().then(() => {
      this.#lastTurnMs = this.ports.clock.nowMs();
    });
  }

  /** How the run ended, so far as is known. @throws what a watcher threw. */
  verdict(isComplete: boolean): { readonly status: PipelineStatus; readonly error?: unknown } {
    if (this.#crash !== undefined) throw this.#crash.thrown;
    if (this.#failure !== undefined) return { status: "failed", error: this.#failure };
    if (isComplete) return { status: "succeeded" };
    if (this.#abortReason !== undefined)
      return { status: "cancelled", error: this.#abortReason.reason };
    return this.#isLate ? { status: "timedOut", error: this.#late() } : { status: "succeeded" };
  }

  /** Gives everything back, for `graceMs` at most. What goes wrong now is a failure only if nothing else is. */
  async close(): Promise<void> {
    const errors: unknown[] = [];
    const closing = this.#closers.toReversed().map(async (close) => {
      try {
        await close();
      } catch (thrown) {
        errors.push(thrown);
      }
    });
    this.#closers.length = 0;
    let stopTimer: (() => void) | undefined;
    const grace = new Promise<void>((resolve) => {
      stopTimer = this.ports.timer.after(this.resolved.graceMs, resolve);
    });
    await Promise.race([Promise.all(closing), grace]);
    stopTimer?.();
    for (const stop of this.#stopTimers) stop();
    this.#stopTimers.clear();
    if (errors.length > 0 && !this.#isOver) this.#failure ??= closeFailed(errors[0]);
    // What was given up and comes back finds that it is too late.
    this.#isOver = true;
  }

  #listen(signal: AbortSignalLike | undefined, heard: () => void): void {
    if (signal === undefined) return;
    if (signal.aborted) return heard();
    signal.addEventListener("abort", heard);
    this.#stopTimers.add(() => signal.removeEventListener("abort", heard));
  }

  #after(ms: number, ring: () => void): void {
    this.#stopTimers.add(this.ports.timer.after(ms, ring));
  }

  #miss(): void {
    this.#isLate = true;
    this.#stop("deadline");
  }

  #stop(because: StopReason): void {
    if (!this.#endIntake(because)) return;
    this.#after(this.resolved.drainMs, () => {
      this.#isLate = true;
      this.#cancel("deadline", this.#late());
    });
  }

  // Sources that have ended by themselves are no longer among the intakes.
  #endIntake(because: StopReason): boolean {
    if (this.#intakes.size > 0 && !this.#isStopping) {
      this.#isStopping = true;
      this.tell({ type: "stopping", because });
    }
    for (const intake of this.#intakes) intake.stop();
    return !this.#isOver;
  }

  #cancel(because: StopReason, reason: unknown): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#endIntake(because);
    this.#isStopping = true;
    this.#abort.abort(reason);
    for (const wake of this.#wakers) wake();
    this.#after(this.resolved.graceMs, () => this.#givenUp.resolve());
  }

  #late(): FabricError {
    const { deadlineMs = Infinity } = this.options;
    const { drainMs } = this.resolved;
    return new FabricError("TIMED_OUT", "The pipeline was not through in time", {
      drainMs,
      ...(deadlineMs === Infinity ? {} : { deadlineMs }),
    });
  }
}

/** Names the stage and the item at which something was thrown; what was thrown is the cause. Keeps its code. */
export function stageError(
  stage: string,
  offset: number | undefined,
  thrown: unknown,
  code: FabricError["code"] = "INVALID_ARGUMENT",
): FabricError {
  const known = isFabricError(thrown) ? thrown : undefined;
  const what = thrown instanceof Error ? thrown.message : describe(thrown);
  const where = offset === undefined ? "" : ` at offset ${offset}`;
  return new FabricError(
    known?.code ?? code,
    `Stage "${stage}" failed${where}: ${what}`,
    { ...known?.details, stage, ...(offset === undefined ? {} : { offset }) },
    { cause: thrown },
  );
}

function closeFailed(thrown: unknown): FabricError {
  return isFabricError(thrown) ? thrown : stageError("close", undefined, thrown, "DISCONNECTED");
}
