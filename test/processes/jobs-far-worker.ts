/** A job's body on a worker thread of a process of `jobs-process.ts`. */
import { writeSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import type { JobBodyContext } from "selvage";
import { beganLine, openLog, type Made } from "./jobs-log.ts";

// oxlint-disable-next-line import/no-default-export -- what a job's module gives is its default export.
export default async function far(
  ctx: JobBodyContext,
  path: string,
  how: "fine" | "exit",
): Promise<Made> {
  using log = openLog(path);
  writeSync(log.fd, beganLine(ctx));
  await sleep(5);
  // Of the thread alone: its process and what else runs there go on.
  if (how === "exit") process.exit(7);
  return { job: ctx.jobId, epoch: ctx.epoch, attempt: ctx.attempt, of: [] };
}
