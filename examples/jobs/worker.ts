/** `worker.ts --db FILE [--concurrency N] [--fail TASK:n]`: does jobs until it is told to stop. Code 3: it handed some back. */
import { parseArgs } from "node:util";
import { JobQueue } from "selvage";
import { declare, queues } from "./tasks.ts";

const { values } = parseArgs({
  options: {
    db: { type: "string", default: "out/jobs.sqlite" },
    concurrency: { type: "string", default: "4" },
    fail: { type: "string", default: "" },
  },
});
const stop = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => stop.abort());

await using queue = await JobQueue.open({
  path: values.db,
  concurrency: Number(values.concurrency),
});
declare(queue, values.fail);
const { status } = await queue.runWorker({ queues, signal: stop.signal, drainMs: 5_000 });
process.exitCode = status === "drained" ? 0 : 3;
