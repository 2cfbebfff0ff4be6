/** A run as its report shows it: each task with its outcome, times and slack, and which of many tasks are shown. */
import type { ExecutionPlan, PlannedTask } from "../graph/execution-plan.ts";
import type { ExecutionResult, TaskResult } from "../run/execution-result.ts";
import { criticalPath, type CriticalPath } from "./critical-path.ts";
import type { RecordedAttempt, RunRecorder } from "./run-recorder.ts";

/** What is said of a task that an earlier run had done. */
export const restoredText = "taken over from an earlier run";

/** Most rows of the table. */
const rowsMax = 400;

/** A task of the report. */
export interface ReportTask {
  /** Its place in the plan: what its row is found by. */
  readonly index: number;
  readonly plan: PlannedTask;
  readonly result: TaskResult;
  readonly attempts: readonly RecordedAttempt[];
  /** When it was found that an earlier run had done it; undefined: this one did, or nobody. */
  readonly restoredMs: number | undefined;
  readonly isCritical: boolean;
  readonly tookMs: number | undefined;
  readonly slackMs: number | undefined;
}

/** All that the parts of a report are drawn from. */
export interface ReportData {
  readonly title: string;
  readonly plan: ExecutionPlan;
  readonly result: ExecutionResult;
  readonly recorder: RunRecorder;
  readonly path: CriticalPath;
  readonly tasks: readonly ReportTask[];
  readonly byName: ReadonlyMap<string, ReportTask>;
  /** The tasks that have a row of the table, with its number. */
  readonly rows: ReadonlyMap<ReportTask, number>;
  /** What times are counted from. */
  readonly startMs: number;
  readonly settledMs: number;
  readonly endMs: number;
}

/** Puts together what is known. */
export function reportData(
  plan: ExecutionPlan,
  recorder: RunRecorder,
  result: ExecutionResult,
  title: string,
): ReportData {
  const path = criticalPath(plan, result.tasks);
  const critical = new Set(path.steps.map(({ name }) => name));
  const results = new Map(result.tasks.map((task) => [task.name, task]));
  const tasks = plan.tasks.flatMap((planned, index): ReportTask[] => {
    const own = results.get(planned.name);
    if (own === undefined) return [];
    const { startedAtMs, endedAtMs } = own;
    const hasRun = startedAtMs !== undefined && endedAtMs !== undefined;
    return [
      {
        index,
        plan: planned,
        result: own,
        attempts: recorder.attempts(planned.name),
        restoredMs: recorder.restoredMs(planned.name),
        isCritical: critical.has(planned.name),
        tookMs: hasRun ? Math.max(0, endedAtMs - startedAtMs) : undefined,
        slackMs: path.slackMs.get(planned.name),
      },
    ];
  });
  const { startedMs, settledMs, endedMs } = recorder.times;
  const starts = tasks.flatMap((task) => task.result.startedAtMs ?? []);
  const ends = tasks.flatMap((task) => task.result.endedAtMs ?? []);
  const startMs = startedMs ?? least(starts) ?? 0;
  const settled = settledMs ?? most(ends) ?? startMs;
  return {
    title,
    plan,
    result,
    recorder,
    path,
    tasks,
    byName: new Map(tasks.map((task) => [task.plan.name, task])),
    rows: new Map(chooseTasks(tasks, rowsMax).map((task) => [task, task.index])),
    startMs,
    settledMs: settled,
    endMs: Math.max(settled, endedMs, startMs + 1),
  };
}

/**
 * Those of the tasks that say most, in the plan's order: a third at most for what failed, a third for the critical path,
 * the rest for what was tried again and what took longest.
 */
export function chooseTasks(tasks: readonly ReportTask[], max: number): readonly ReportTask[] {
  if (tasks.length <= max) return tasks;
  const longestFirst = tasks.toSorted(
    (a, b) => (b.tookMs ?? -1) - (a.tookMs ?? -1) || a.index - b.index,
  );
  const chosen = new Set<ReportTask>();
  const take = (some: readonly ReportTask[], count: number): void => {
    for (const task of some.slice(0, count)) if (chosen.size < max) chosen.add(task);
  };
  const third = Math.floor(max / 3);
  take(longestFirst.filter(hasFailed), third);
  take(
    longestFirst.filter(({ isCritical }) => isCritical),
    third,
  );
  take(
    longestFirst.filter(({ result }) => result.retriesUsed > 0),
    Math.floor(third / 2),
  );
  take(longestFirst, max);
  return [...chosen].toSorted((a, b) => a.index - b.index);
}

/** Whether the task's own work was in vain. */
export function hasFailed({ result }: ReportTask): boolean {
  return result.status === "failed" || result.status === "timedOut";
}

/** `inner` as a link to a row of the table; itself where there is no such row. */
export function linked(inner: string, row: number | undefined): string {
  return row === undefined ? inner : `<a href="#task-${row}">${inner}</a>`;
}

function least(some: readonly number[]): number | undefined {
  return some.length === 0 ? undefined : some.reduce((a, b) => Math.min(a, b));
}

function most(some: readonly number[]): number | undefined {
  return some.length === 0 ? undefined : some.reduce((a, b) => Math.max(a, b));
}
