/**
 * One run of the main job in a process of its own, to its last task: `etl-run.ts <leases | arrays> <rows> <folder>`.
 * Sends its parent the milliseconds, the peak of its resident memory, and a checksum of the tables.
 *
 * Both sides run the same functions of `examples/etl`, with two worker threads that start at once. On leases the
 * threads work on the columns where they lie; on arrays each gets a copy, by structured clone, as `postMessage` makes.
 */
import { once } from "node:events";
import path from "node:path";
import { DatabaseSync } from "node:sqlite";
import { Worker } from "node:worker_threads";
import { Executor, Fabric } from "selvage";
import { decodeFlights, openFlights } from "../examples/etl/decode.ts";
import type { Flights } from "../examples/etl/flights.ts";
import { buildJob, exampleData } from "../examples/etl/job.ts";
import { loadDatabase, type Delays } from "../examples/etl/load.ts";

/** What a run came to. */
export interface EtlRun {
  readonly ms: number;
  readonly rssBytes: number;
  readonly checksum: number;
}

const { flights: input, airports } = exampleData();

async function onLeases(rows: number, out: string): Promise<string> {
  const job = buildJob({ input, airports, out, rows });
  const fabric = Fabric.open({ memoryBytes: 512 * 2 ** 20, blocks: 0 });
  await new Promise<void>((resolve, reject) => {
    Executor.run(job.plan, {
      fabric,
      onEvent(event) {
        // Up to here: what follows is the leases' own time, in which nobody works.
        if (event.type === "settled") resolve();
      },
    }).then(({ status }) => {
      if (status !== "succeeded") reject(new Error(`the run ended ${status}`));
    }, reject);
  });
  return job.database;
}

async function onArrays(rows: number, out: string): Promise<string> {
  const workers = [startWorker("aggregate"), startWorker("enrich")] as const;
  using file = await openFlights(input);
  const count = Math.min(rows, file.rows);
  const flights: Flights = {
    date: new Int32Array(count),
    delay: new Int16Array(count),
    distance: new Int16Array(count),
    origin: new Uint16Array(count),
    destination: new Uint16Array(count),
  };
  await decodeFlights(file, flights, () => {});
  const answers = workers.map(async (worker) => {
    worker.postMessage(flights);
    const [answer] = (await once(worker, "message")) as [Partial<Delays>];
    return answer;
  });
  const delays = Object.assign({}, ...(await Promise.all(answers))) as Delays;
  const database = path.join(out, "arrays.sqlite");
  loadDatabase(database, delays);
  return database;
}

function startWorker(task: "aggregate" | "enrich"): Worker {
  return new Worker(new URL("./etl-array-worker.ts", import.meta.url), {
    workerData: { task, airports },
  });
}

function checksumOf(database: string): number {
  using connection = new DatabaseSync(database, { readOnly: true });
  const sums = connection
    .prepare(
      "SELECT (SELECT SUM(departures) + SUM(late_departures) FROM airport_delays) + SUM(flights) + SUM(distance_miles) + ROUND(SUM(great_circle_miles)) AS sum FROM route_delays",
    )
    .get();
  return Number(sums?.["sum"]);
}

const [side, rowsText, out = "."] = process.argv.slice(2);
const rows = Number(rowsText);
const beginMs = performance.now();
const database = await (side === "leases" ? onLeases(rows, out) : onArrays(rows, out));
const ms = performance.now() - beginMs;
const rssBytes = process.resourceUsage().maxRSS * 1024;
const run: EtlRun = { ms, rssBytes, checksum: checksumOf(database) };
process.send?.(run, () => process.exit());
