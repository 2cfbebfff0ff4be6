/** Failures on demand, so that a watcher can see what the run makes of them: `--fail TASK[:TIMES]`. */
import type { TaskContext } from "selvage";

/** A planned failure. */
export interface PlannedFailure {
  readonly task: string;
  /** How many attempts fail, from the first on. */
  readonly times: number;
}

/** Throws in the first attempts of a worker's module whose URL says so: `?fail=TIMES`. */
export function failFirst(context: TaskContext, moduleUrl: string): void {
  const times = new URL(moduleUrl).searchParams.get("fail");
  if (times !== null) failPlanned(context, { task: context.task, times: Number(times) });
}

/** Throws in the first attempts of the task that the plan names. */
export function failPlanned(context: TaskContext, planned: PlannedFailure | undefined): void {
  if (planned?.task === context.task && context.attempt <= planned.times)
    throw new Error(`${context.task} fails on demand (attempt ${context.attempt})`);
}
