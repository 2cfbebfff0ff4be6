/** How far a run is, as lines for a terminal. Where they are drawn, and how often, is its host's business. */
import type { ExecutionPlan } from "../graph/execution-plan.ts";
import type { ExecutionEvent, LeaseEvent, TaskEvent } from "../run/run-events.ts";
import { signOf } from "./draw-graph.ts";
import {
  counted,
  describeFailure,
  formatBytes,
  formatCount,
  formatMs,
  shortened,
  visible,
} from "./visible-text.ts";

/** Room for {@link RunProgress.screen}, in characters. */
export interface ScreenSize {
  readonly columns: number;
  readonly rows: number;
}

interface RunningTask {
  readonly name: string;
  readonly sinceMs: number;
  readonly attempt: number;
  fraction: number | undefined;
}

const barWidth = 20;
const nameMax = 40;
const messageMax = 160;
/** Outcomes in the order in which they are shown, with what they are called. */
const shownStates = [
  ["succeeded", "succeeded"],
  ["failed", "failed"],
  ["timedOut", "timed out"],
  ["skipped", "skipped"],
  ["cancelled", "cancelled"],
] as const;

/**
 * Hears a run's events, and says how far it is. An event costs a few counts, however many tasks there are. `liveView`
 * draws it.
 */
export class RunProgress {
  readonly #states = new Map<string, number>();
  readonly #running = new Map<string, RunningTask>();
  #startedMs: number | undefined;
  #settledMs: number | undefined;
  #retries = 0;
  #leases = 0;
  #leasedBytes = 0;
  #peakBytes = 0;
  #lastFailure: TaskEvent | undefined;

  /** With the plan, what is to come is shown as well. */
  constructor(plan?: ExecutionPlan) {
    if (plan !== undefined) this.#states.set("pending", plan.taskCount());
  }

  /** Whether every task has its outcome. */
  get isSettled(): boolean {
    return this.#settledMs !== undefined;
  }

  /** Leases whose bytes are not back yet. */
  get openLeases(): number {
    return this.#leases;
  }

  /** Takes an event. Never throws. */
  take(event: ExecutionEvent): void {
    this.#startedMs ??= event.atMs;
    if (event.type === "task") this.#hearTask(event);
    else if (event.type === "lease") this.#hearLease(event);
    else if (event.type === "progress") {
      const task = this.#running.get(event.name);
      if (task !== undefined && event.fraction !== undefined) task.fraction = event.fraction;
    } else if (event.type === "settled") {
      this.#settledMs = event.atMs;
      this.#running.clear();
    }
  }

  /** A line for a log about an event that was taken, where it is worth one. */
  line(event: ExecutionEvent): string | undefined {
    const text = describeEvent(event);
    if (text === undefined) return undefined;
    const seconds = Math.max(0, event.atMs - (this.#startedMs ?? event.atMs)) / 1_000;
    return `[${`${seconds.toFixed(2)} s`.padStart(7)}] ${text}`;
  }

  /** Where the run stands, in one line. */
  summary(nowMs: number): string {
    const running = this.#running.size;
    const waiting = this.#count("waiting");
    const toCome = this.#count("pending") + this.#count("ready");
    const parts = [
      ...shownStates.flatMap(([state, called]) => {
        const count = this.#count(state);
        return count === 0 ? [] : [`${signOf(state)} ${formatCount(count)} ${called}`];
      }),
      ...(running > 0 ? [`▸ ${formatCount(running)} running`] : []),
      ...(waiting > 0 ? [`↻ ${formatCount(waiting)} to be tried again`] : []),
      ...(toCome > 0 ? [`○ ${formatCount(toCome)} to come`] : []),
    ];
    const untilMs = this.#settledMs ?? nowMs;
    return [...parts, formatMs(Math.max(0, untilMs - (this.#startedMs ?? untilMs)))].join("   ");
  }

  /** The lines of a screen: what runs and how far it is, counts of tasks, bytes that are leased, retries. */
  screen(nowMs: number, { columns, rows }: ScreenSize): string[] {
    const room = Math.max(1, rows - 4);
    const running = [...this.#running.values()];
    const shown = running.length <= room ? running : running.slice(0, room - 1);
    const width = Math.max(8, Math.min(nameMax, columns - barWidth - 24));
    const lines = shown.map((task) => runningLine(task, nowMs, width));
    if (running.length > shown.length)
      lines.push(`  and ${formatCount(running.length - shown.length)} more running`);
    lines.push(this.summary(nowMs), this.#ledger());
    if (this.#lastFailure !== undefined) {
      const failure = `${signOf("failed")} ${describeTask(this.#lastFailure)}`;
      lines.push(shortened(failure, Math.max(8, columns - 1)));
    }
    return lines;
  }

  #ledger(): string {
    const retries =
      this.#retries === 0
        ? ""
        : `   ↻ ${this.#retries === 1 ? "1 retry" : `${formatCount(this.#retries)} retries`}`;
    return `  ${formatBytes(this.#leasedBytes)} in ${counted(this.#leases, "lease")}, at most ${formatBytes(this.#peakBytes)}${retries}`;
  }

  #count(state: string): number {
    return this.#states.get(state) ?? 0;
  }

  #hearTask(event: TaskEvent): void {
    const { name, oldState, newState, attempt, atMs } = event;
    const before = this.#count(oldState);
    if (before > 0) this.#states.set(oldState, before - 1);
    this.#states.set(newState, this.#count(newState) + 1);
    if (newState === "running") {
      if (attempt > 1) this.#retries++;
      this.#running.set(name, { name, sinceMs: atMs, attempt, fraction: undefined });
      return;
    }
    this.#running.delete(name);
    if (newState === "failed" || newState === "timedOut" || newState === "waiting")
      this.#lastFailure = event;
  }

  #hearLease({ event: { type, bytes } }: LeaseEvent): void {
    if (type === "granted") {
      this.#leases++;
      this.#leasedBytes += bytes;
      this.#peakBytes = Math.max(this.#peakBytes, this.#leasedBytes);
    } else if (type === "reclaimed") {
      this.#leases--;
      this.#leasedBytes -= bytes;
    }
  }
}

function shownName(name: string): string {
  return shortened(name, nameMax);
}

function shownNames(names: readonly string[]): string {
  const first = names.slice(0, 8).map(shownName).join(", ");
  return names.length > 8 ? `${first} and ${formatCount(names.length - 8)} more` : first;
}

function runningLine(
  { name, sinceMs, attempt, fraction }: RunningTask,
  nowMs: number,
  width: number,
): string {
  const done = Math.min(1, Math.max(0, fraction ?? 0));
  const full = Math.round(done * barWidth);
  const bar =
    fraction === undefined
      ? " ".repeat(barWidth + 6)
      : `${"█".repeat(full)}${"░".repeat(barWidth - full)} ${String(Math.round(done * 100)).padStart(3)} %`;
  const again = attempt > 1 ? `   attempt ${attempt}` : "";
  return `▸ ${shortened(name, width).padEnd(width)} ${bar} ${formatMs(Math.max(0, nowMs - sinceMs)).padStart(8)}${again}`;
}

function describeEvent(event: ExecutionEvent): string | undefined {
  if (event.type === "task") return describeTask(event);
  if (event.type === "log")
    return `${shownName(event.name)}: ${shortened(event.message, messageMax)}`;
  if (event.type === "wave" && event.state === "started")
    return `wave ${event.index + 1}: ${shownNames(event.tasks)}`;
  return event.type === "settled" ? `settled: ${event.status}` : undefined;
}

function describeTask(event: TaskEvent): string {
  const { name, newState, attempt } = event;
  if (newState !== "running") return `${shownName(name)} ${reason(event)}`;
  return `${shownName(name)} started${attempt > 1 ? ` (attempt ${attempt})` : ""}`;
}

/** How a task ended, with its cause. */
function reason({ newState, error, because }: TaskEvent): string {
  if (because !== undefined) return `${newState} because of ${shownName(because)}`;
  const what = newState === "waiting" ? "will try again" : visible(newState);
  return error === undefined ? what : `${what} (${shortened(describeFailure(error), messageMax)})`;
}
