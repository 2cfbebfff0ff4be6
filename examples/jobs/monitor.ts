/** `monitor.ts --db FILE [--once]`: shows how many jobs there are of each status, what runs, and what failed for good. */
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { JobQueue } from "selvage";

/** What there is to see, as lines. */
export async function look(queue: JobQueue): Promise<readonly string[]> {
  const stats = await queue.stats();
  const lines = [
    Object.entries(stats)
      .map(([status, count]) => `${status} ${count}`)
      .join("  "),
  ];
  for (const job of await queue.listJobs({ status: "running" }))
    lines.push(`  runs ${job.taskName} ${job.progress} %`);
  for (const { taskName, error, attempts } of await queue.deadLetters({ limit: 10 }))
    lines.push(`  dead ${taskName} after ${attempts}: ${error}`);
  return lines;
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: {
      db: { type: "string", default: "out/jobs.sqlite" },
      once: { type: "boolean", default: false },
    },
  });
  await using queue = await JobQueue.open({ path: values.db });
  let last = "";
  do {
    const now = (await look(queue)).join("\n");
    if (now !== last) console.log(now);
    last = now;
    if (!values.once) await sleep(250);
  } while (!values.once);
}
