/** A run on a terminal, redrawn in place; lines elsewhere. */
import {
  RunProgress,
  type ExecutionEvent,
  type ExecutionPlan,
  type ScreenSize,
} from "@selvage/batch";
import { redraw, type Redraw, type ViewStream } from "./redraw.ts";

/** Options of {@link liveView}. */
export interface LiveViewOptions {
  /** With the plan, what is to come is shown as well. */
  readonly plan?: ExecutionPlan;
  /** Default `process.stdout`. */
  readonly stream?: ViewStream;
  /** Whether it is redrawn in place. Default: where the stream is a terminal. */
  readonly redraw?: boolean;
  /** How long there is at least between two drawings, in milliseconds. Default 100. */
  readonly everyMs?: number;
}

/** What {@link liveView} gives. */
export interface LiveView extends Disposable {
  /** For `Executor.run`. Bound: it can be handed on as it is. Never throws. */
  readonly onEvent: (event: ExecutionEvent) => void;
  /** Draws the last state, and leaves the terminal as it was. Idempotent. */
  end(): void;
}

/** So many lines are told one by one where nothing is redrawn; then there is a summary now and then, and what failed. */
const linesMax = 200;
const failuresMax = 100;
const summaryEveryMs = 1_000;
const rowsMax = 16;

/**
 * Shows a run while it goes on: which tasks run and how far they are, how many have ended and how, bytes that are leased,
 * retries. On a terminal it is redrawn in place; elsewhere there are lines, 200 one by one and then a summary a second.
 * An event costs a few counts, a drawing comes ten times a second at most. It ends by itself once every lease of the run
 * is back; `using` ends it whatever happens.
 *
 * @example
 * ```ts
 * import { Executor, liveView, TaskGraph } from "selvage";
 *
 * const graph = new TaskGraph();
 * graph.addTask({ name: "only", run: (ctx) => ctx.progress(0.5) });
 * const plan = graph.build();
 * using view = liveView({ plan });
 * await Executor.run(plan, { onEvent: view.onEvent });
 * ```
 */
export function liveView(options: LiveViewOptions = {}): LiveView {
  const { stream = process.stdout } = options;
  const { redraw: isRedrawn = stream.isTTY === true, everyMs = 100 } = options;
  const progress = new RunProgress(options.plan);
  return isRedrawn ? new Screen(progress, stream, everyMs) : new Lines(progress, stream);
}

/** A line an event; once there are too many, a summary now and then. */
class Lines implements LiveView {
  readonly #progress: RunProgress;
  readonly #stream: ViewStream;
  #told = 0;
  #failures = 0;
  #nextSummaryMs = 0;

  constructor(progress: RunProgress, stream: ViewStream) {
    this.#progress = progress;
    this.#stream = stream;
  }

  readonly onEvent = (event: ExecutionEvent): void => {
    this.#progress.take(event);
    if (this.#told < linesMax || event.type === "settled" || this.#isNewFailure(event)) {
      const line = this.#progress.line(event);
      if (line === undefined) return;
      this.#told++;
      this.#stream.write(`${line}\n`);
      return;
    }
    if (event.type !== "task") return;
    if (event.atMs < this.#nextSummaryMs) return;
    this.#nextSummaryMs = event.atMs + summaryEveryMs;
    this.#stream.write(`${this.#progress.summary(event.atMs)}\n`);
  };

  end(): void {}

  [Symbol.dispose](): void {}

  // What was skipped or cancelled is in the summary.
  #isNewFailure(event: ExecutionEvent): boolean {
    const isFailure =
      event.type === "task" && (event.newState === "failed" || event.newState === "timedOut");
    return isFailure && this.#failures++ < failuresMax;
  }
}

/** Redrawn by time, not by events. */
class Screen implements LiveView {
  readonly #progress: RunProgress;
  readonly #redraw: Redraw;
  #nowMs = 0;
  #heardAt = 0;
  #isOver = false;

  constructor(progress: RunProgress, stream: ViewStream, everyMs: number) {
    this.#progress = progress;
    this.#redraw = redraw({ stream, everyMs, lines: (size) => this.#lines(size) });
  }

  readonly onEvent = (event: ExecutionEvent): void => {
    if (this.#isOver) return;
    this.#progress.take(event);
    this.#nowMs = event.atMs;
    this.#heardAt = performance.now();
    // Nothing more will come.
    if (this.#progress.isSettled && this.#progress.openLeases === 0) this.end();
  };

  end(): void {
    this.#isOver = true;
    this.#redraw.end();
  }

  [Symbol.dispose](): void {
    this.end();
  }

  #lines({ columns, rows }: ScreenSize): readonly string[] {
    // Times are the fabric's: between two events this thread's own clock goes on with them.
    const nowMs = this.#heardAt === 0 ? 0 : this.#nowMs + performance.now() - this.#heardAt;
    return this.#progress.screen(nowMs, { columns, rows: Math.min(rows, rowsMax) });
  }
}
