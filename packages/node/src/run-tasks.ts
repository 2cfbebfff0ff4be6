/** `runTasks` with this host's ports filled in. */
import {
  eventLogger as pureEventLogger,
  runTasks as pureRunTasks,
  type Job,
  type JobEvent,
  type JobMap,
  type JobOptions,
  type JobPorts,
  type JobTask,
} from "@selvage/batch";
import { systemTimer } from "./host-ports.ts";
import { SystemClock } from "./system-clock.ts";

const hostPorts: JobPorts = {
  timer: systemTimer,
  clock: new SystemClock(),
  abortSource: () => new AbortController(),
};

/**
 * Runs functions that hand on maps: each sees what the job was given and what the tasks before it returned. Await the job.
 * @throws FabricError that tells everything that is wrong with the tasks, in `details.problems`.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { runTasks } from "selvage";
 *
 * const { state, ctx } = await runTasks(
 *   [
 *     { name: "add", fn: ({ n }) => ({ sum: Number(n) + 2 }) },
 *     { name: "show", dependencies: ["add"], fn: ({ sum }) => ({ text: `it is ${sum}` }) },
 *   ],
 *   { ctx: { n: 1 } },
 * );
 * assert.deepEqual([state, ctx], ["completed", { n: 1, sum: 3, text: "it is 3" }]);
 * ```
 */
export function runTasks<C extends JobMap = JobMap>(
  tasks: readonly JobTask<C>[],
  options: JobOptions<C> = {},
  ports: Partial<JobPorts> = {},
): Job<C> {
  return pureRunTasks(tasks, options, { ...hostPorts, ...ports });
}

/** A watcher for `onEvent` that writes a line for each change of state. Default: to the console. */
export function eventLogger(
  // oxlint-disable-next-line no-console -- that is what it is for
  write: (line: string) => void = (line) => console.log(line),
): (event: JobEvent) => void {
  return pureEventLogger(write);
}
