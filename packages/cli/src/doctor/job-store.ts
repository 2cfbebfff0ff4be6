/** Whether jobs of a queue are held by workers that are silent. */
import { setTimeout as sleep } from "node:timers/promises";
import type { WorkerInfo } from "@selvage/jobs";
import { JobQueue } from "@selvage/node";
import { formatMs } from "../table.ts";
import type { Finding } from "./finding.ts";

const lookEveryMs = 100;
/** Silence that is waited for beside a worker's TTL: the new one has to see it itself. */
const marginMs = 30_000;

/** Looks for silent workers; with `reaps`, gives their jobs to the others. */
export async function checkJobStore(path: string, reaps: boolean): Promise<Finding> {
  await using queue = await JobQueue.open({ path });
  const silent = (await queue.workers()).filter(isSilent);
  const jobs = silent.reduce((sum, { running }) => sum + running, 0);
  const details = { silentWorkers: silent.map(({ id }) => id), jobs };
  if (silent.length === 0) {
    const { pending, running, dead } = await queue.stats();
    const what = `job queue: ${pending} pending, ${running} running, ${dead} dead`;
    return { status: "ok", about: path, what, details: { ...details, pending, running, dead } };
  }
  const what = `job queue: ${silent.length} workers are silent, and hold ${jobs} jobs`;
  if (reaps) return await reap(queue, path, silent, jobs);
  const hint = "the next worker of the queue gives them up; so does `selvage doctor --reap`";
  return { status: "warning", about: path, what, hint, details };
}

// By this machine's clock, so twice the TTL: what counts is what another worker sees.
function isSilent({ beatMs, leaseMs }: WorkerInfo): boolean {
  return Date.now() - beatMs > 2 * leaseMs;
}

async function reap(
  queue: JobQueue,
  path: string,
  silent: readonly WorkerInfo[],
  jobs: number,
): Promise<Finding> {
  const longestMs = Math.max(...silent.map(({ leaseMs }) => leaseMs)) + marginMs;
  const untilMs = Date.now() + longestMs;
  // Without any task it claims nothing, and gives up who is silent.
  const worker = queue.runWorker({ queues: ["default"], concurrency: 1, drainMs: 0 });
  const left = async (): Promise<number> => {
    const known = new Set((await queue.workers()).map(({ id }) => id));
    return silent.filter(({ id }) => known.has(id)).length;
  };
  let remaining = await left();
  for (; remaining > 0 && Date.now() < untilMs; remaining = await left()) await sleep(lookEveryMs);
  await worker.stop();
  const details = { reaped: silent.length - remaining, jobs, left: remaining };
  if (remaining === 0)
    return {
      status: "ok",
      about: path,
      what: `job queue: gave up ${silent.length} silent workers; their ${jobs} jobs wait for another one`,
      details,
    };
  const what = `job queue: ${remaining} silent workers are there after ${formatMs(longestMs)}`;
  return { status: "failed", about: path, what, hint: "they may be alive after all", details };
}
