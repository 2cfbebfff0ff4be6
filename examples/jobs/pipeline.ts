/**
 * `pipeline.ts --db FILE [--out FILE] [--wait-ms N]`: makes the four jobs of one run, which workers do, and waits for the last of them.
 */
import { parseArgs } from "node:util";
import { from, JobQueue, type QueuedJob } from "selvage";
import { declare, type Tasks } from "./tasks.ts";

/** The jobs of one run. */
export interface PipelineJobs {
  readonly extract: QueuedJob;
  readonly byMonth: QueuedJob;
  readonly byKind: QueuedJob;
  readonly load: QueuedJob<number>;
}

/** Makes the jobs: what one returns is the next one's argument. */
export async function enqueuePipeline(tasks: Tasks, out: string): Promise<PipelineJobs> {
  const extract = await tasks.extract.enqueue(["seattle-weather.csv"], {
    metadata: "seattle-weather",
    priority: 10,
  });
  const byMonth = await tasks.byMonth.enqueue([from(extract)]);
  const byKind = await tasks.byKind.enqueue([from(extract)]);
  const load = await tasks.load.enqueue([from(byMonth), from(byKind), out]);
  return { extract, byMonth, byKind, load };
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: {
      db: { type: "string", default: "out/jobs.sqlite" },
      out: { type: "string", default: "out/weather.json" },
      "wait-ms": { type: "string", default: "60000" },
    },
  });
  await using queue = await JobQueue.open({ path: values.db, defaultRetries: 3 });
  const jobs = await enqueuePipeline(declare(queue), values.out);
  for (const [name, job] of Object.entries(jobs)) console.log(`${name}: ${job.id} ${job.status}`);
  const rows = await jobs.load.result({ timeoutMs: Number(values["wait-ms"]) });
  console.log(`load: ${jobs.load.status}, ${rows} rows in ${values.out}`);
}
