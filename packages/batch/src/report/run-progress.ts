/** How far a run is, as lines for a terminal. Where they are drawn, and how often, is its host's business. */
import type { ExecutionPlan } from "../execution-plan.ts";
import type { ExecutionEvent, LeaseEvent, TaskEvent } from "../run-events.ts";
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
  #settled: { readonly status: string; readonly atMs: number } | undefined;
  #retries = 0;
  #leases = 0;
  #leasedBytes = 0;
  #peakBytes = 0;
  #lastFailure = "";

  /** With the plan, what is to come is shown as well. */
  constructor(plan?: ExecutionPlan) {
    if (plan !== undefined) this.#states.set("pending", plan.taskCount());
  }

  /** Whether every task has its outcome. */
  get isSettled(): boolean {
    return this.#settled !== undefined;
  }

  /** Leases whose bytes are not back yet. */
  get openLeases(): number {
    return this.#leases;
  }

  /** Takes an event. Gives a line for a log, where it is worth one. Never throws. */
  take(event: ExecutionEvent): string | undefined {
    this.#startedMs ??= event.atMs;
    const line = this.#hear(event);
    if (line === undefined) return undefined;
    const seconds = Math.max(0, event.atMs - this.#startedMs) / 1_000;
    return `[${`${seconds.toFixed(2)} s`.padStart(7)}] ${line}`;
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
    const untilMs = this.#settled?.atMs ?? nowMs;
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
    if (this.#lastFailure !== "")
      lines.push(shortened(this.#lastFailure, Math.max(8, columns - 1)));
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

  #hear(event: ExecutionEvent): string | undefined {
    if (event.type === "task") return this.#hearTask(event);
    if (event.type === "lease") this.#hearLease(event);
    else if (event.type === "progress") {
      const task = this.#running.get(event.name);
      if (task !== undefined && event.fraction !== undefined) task.fraction = event.fraction;
    } else if (event.type === "log")
      return `${shownName(event.name)}: ${shortened(event.message, messageMax)}`;
    else if (event.type === "wave" && event.state === "started")
      return `wave ${event.index + 1}: ${shownNames(event.tasks)}`;
    else if (event.type === "settled") {
      this.#settled = { status: event.status, atMs: event.atMs };
      this.#running.clear();
      return `settled: ${event.status}`;
    }
    return undefined;
  }

  #hearTask(event: TaskEvent): string {
    const { name, oldState, newState, attempt, atMs } = event;
    const before = this.#count(oldState);
    if (before > 0) this.#states.set(oldState, before - 1);
    this.#states.set(newState, this.#count(newState) + 1);
    if (newState === "running") {
      if (attempt > 1) this.#retries++;
      this.#running.set(name, { name, sinceMs: atMs, attempt, fraction: undefined });
      return `${shownName(name)} started${attempt > 1 ? ` (attempt ${attempt})` : ""}`;
    }
    this.#running.delete(name);
    const line = `${shownName(name)} ${reason(event)}`;
    if (newState === "failed" || newState === "timedOut" || newState === "waiting")
      this.#lastFailure = `${signOf("failed")} ${line}`;
    return line;
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

/** How a task ended, with its cause. */
function reason({ newState, error, because }: TaskEvent): string {
  if (because !== undefined) return `${newState} because of ${shownName(because)}`;
  const what = newState === "waiting" ? "will try again" : visible(newState);
  return error === undefined ? what : `${what} (${shortened(describeFailure(error), messageMax)})`;
}
