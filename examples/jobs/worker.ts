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

const queue = await JobQueue.open({
  path: values.db,
  concurrency: Number(values.concurrency),
  leaseMs: 1_000,
  pollMs: 200,
});
declare(queue, values.fail);
const { status } = await queue.runWorker({ queues, signal: stop.signal, drainMs: 5_000 });
await queue.close();
// A body that was handed back may go on: it does not keep the process.
process.exit(status === "drained" ? 0 : 3);
