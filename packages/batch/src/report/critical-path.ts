/** Which chain of tasks took a run's time, and how late each task might have been. */
import type { ExecutionPlan, PlannedTask } from "../graph/execution-plan.ts";

/** When a task ran: the part of a `TaskResult` that counts here. */
export interface TaskTimes {
  readonly name: string;
  /** Undefined for a task that never started: it took no time. */
  readonly startedAtMs: number | undefined;
  readonly endedAtMs: number | undefined;
}

/** A task of the critical path. */
export interface CriticalStep {
  readonly name: string;
  /** From the start of its first attempt to the end of its last: waits between attempts included. */
  readonly tookMs: number;
  /** From the end of the step before it, for the first one from the first start of any task, to its start. */
  readonly waitedMs: number;
  /**
   * Why it did not start before the step ahead of it had ended: it depends on it, or it is in a later wave. Undefined for
   * the first step.
   */
  readonly after: "dependency" | "wave" | undefined;
}

/** What {@link criticalPath} gives. Times are in milliseconds. */
export interface CriticalPath {
  /** The chain, first task first; empty where nothing started. Its times and waits add up to `elapsedMs`. */
  readonly steps: readonly CriticalStep[];
  /** From the first start to the last end. */
  readonly elapsedMs: number;
  /** The longest chain of dependencies, by the times that its tasks took: what no schedule would have been under. */
  readonly leastMs: number;
  /** How much later each task that started could have ended without the last one being later. Zero on the chain, but for waits. */
  readonly slackMs: ReadonlyMap<string, number>;
}

interface Timed {
  readonly name: string;
  readonly task: PlannedTask;
  readonly fromMs: number;
  readonly toMs: number;
  readonly order: number;
}

/**
 * The chain of tasks that took a run's time: from the task that ended last back to whatever let it start. That is the
 * predecessor that ended last; where waves kept to their barriers, it is the task that ended last in the wave before.
 * Takes time in tasks plus dependencies.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { criticalPath, TaskGraph } from "selvage";
 *
 * const graph = new TaskGraph();
 * const slow = graph.addTask({ name: "slow", run: () => {} });
 * const quick = graph.addTask({ name: "quick", run: () => {} });
 * const last = graph.addTask({ name: "last", run: () => {} });
 * graph.addDependency(slow, last);
 * graph.addDependency(quick, last);
 * const { steps, slackMs } = criticalPath(graph.build(), [
 *   { name: "slow", startedAtMs: 0, endedAtMs: 90 },
 *   { name: "quick", startedAtMs: 0, endedAtMs: 20 },
 *   { name: "last", startedAtMs: 90, endedAtMs: 100 },
 * ]); // or `result.tasks`
 * assert.deepEqual(steps.map(({ name }) => name), ["slow", "last"]);
 * assert.equal(slackMs.get("quick"), 70);
 * ```
 */
export function criticalPath(plan: ExecutionPlan, times: Iterable<TaskTimes>): CriticalPath {
  const timed = timedTasks(plan, times);
  const waves = wavesOf(timed);
  const barriers = hasBarriers(waves);
  const last = latest(timed.values());
  if (last === undefined) return { steps: [], elapsedMs: 0, leastMs: 0, slackMs: new Map() };
  const steps: CriticalStep[] = [];
  const startMs = firstStart(timed.values());
  for (let at: Timed | undefined = last; at !== undefined;) {
    const ahead: Timed | undefined = latest(
      barriers ? waveBefore(at, waves) : predecessors(at, timed),
    );
    steps.push({
      name: at.name,
      tookMs: at.toMs - at.fromMs,
      waitedMs: at.fromMs - (ahead?.toMs ?? startMs),
      after:
        ahead === undefined
          ? undefined
          : at.task.after.includes(ahead.name)
            ? "dependency"
            : "wave",
    });
    at = ahead;
  }
  return {
    steps: steps.toReversed(),
    elapsedMs: last.toMs - startMs,
    leastMs: longestChain(waves, timed),
    slackMs: slacks(waves, timed, barriers, last.toMs),
  };
}

function timedTasks(plan: ExecutionPlan, times: Iterable<TaskTimes>): Map<string, Timed> {
  const timesOf = new Map([...times].map((task) => [task.name, task]));
  const timed = new Map<string, Timed>();
  for (const [order, task] of plan.tasks.entries()) {
    const { startedAtMs: fromMs, endedAtMs: toMs } = timesOf.get(task.name) ?? {};
    if (fromMs === undefined || toMs === undefined) continue;
    timed.set(task.name, { name: task.name, task, fromMs, toMs: Math.max(fromMs, toMs), order });
  }
  return timed;
}

// The tasks that started, by wave. A wave none of whose tasks did is left out.
function wavesOf(timed: ReadonlyMap<string, Timed>): Timed[][] {
  const waves: Timed[][] = [];
  for (const one of timed.values()) (waves[one.task.wave] ??= []).push(one);
  return waves.filter((wave) => wave !== undefined);
}

function firstStart(some: Iterable<Timed>): number {
  let firstMs = Infinity;
  for (const { fromMs } of some) firstMs = Math.min(firstMs, fromMs);
  return firstMs;
}

/**
 * The one that ended last. Of several the one of the last wave, which may have followed another and taken no time that the clock has
 * seen; then the one that took longest, and then the first of the plan.
 */
function latest(some: Iterable<Timed>): Timed | undefined {
  let found: Timed | undefined;
  for (const one of some) if (found === undefined || isLater(one, found)) found = one;
  return found;
}

function isLater(one: Timed, other: Timed): boolean {
  if (one.toMs !== other.toMs) return one.toMs > other.toMs;
  if (one.task.wave !== other.task.wave) return one.task.wave > other.task.wave;
  if (one.fromMs !== other.fromMs) return one.fromMs < other.fromMs;
  return one.order < other.order;
}

function* predecessors({ task }: Timed, timed: ReadonlyMap<string, Timed>): Iterable<Timed> {
  for (const name of task.after) {
    const before = timed.get(name);
    if (before !== undefined) yield before;
  }
}

// Binary search: waves are in order.
function waveBefore({ task }: Timed, waves: readonly Timed[][]): readonly Timed[] {
  let [low, high] = [0, waves.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((waves[middle]?.[0]?.task.wave as number) < task.wave) low = middle + 1;
    else high = middle;
  }
  return waves[low - 1] ?? [];
}

// Whether no task started before all of the wave ahead had ended: so it is with a barrier, and it costs nothing to take
// it for one where it was chance.
function hasBarriers(waves: readonly Timed[][]): boolean {
  let endMs = -Infinity;
  for (const wave of waves) {
    if (wave.some(({ fromMs }) => fromMs < endMs)) return false;
    for (const { toMs } of wave) endMs = Math.max(endMs, toMs);
  }
  return true;
}

function longestChain(waves: readonly Timed[][], timed: ReadonlyMap<string, Timed>): number {
  const chainMs = new Map<string, number>();
  let longestMs = 0;
  for (const wave of waves)
    for (const one of wave) {
      let beforeMs = 0;
      for (const { name } of predecessors(one, timed))
        beforeMs = Math.max(beforeMs, chainMs.get(name) ?? 0);
      const ms = beforeMs + one.toMs - one.fromMs;
      chainMs.set(one.name, ms);
      longestMs = Math.max(longestMs, ms);
    }
  return longestMs;
}

// From the last wave to the first: a task may end as late as the latest starts of what follows it allow.
function slacks(
  waves: readonly Timed[][],
  timed: ReadonlyMap<string, Timed>,
  barriers: boolean,
  endMs: number,
): Map<string, number> {
  const slackMs = new Map<string, number>();
  let barrierMs = endMs;
  for (const wave of waves.toReversed()) {
    let latestStartMs = barrierMs;
    for (const { name, task, fromMs, toMs } of wave) {
      let mayEndMs = barriers ? barrierMs : endMs;
      if (!barriers)
        for (const next of task.before) {
          const after = timed.get(next);
          if (after !== undefined)
            mayEndMs = Math.min(mayEndMs, after.fromMs + (slackMs.get(next) ?? 0));
        }
      slackMs.set(name, mayEndMs - toMs);
      latestStartMs = Math.min(latestStartMs, mayEndMs - (toMs - fromMs));
    }
    barrierMs = latestStartMs;
  }
  return slackMs;
}
