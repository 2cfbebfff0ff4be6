/**
 * Runs of the main job in a process of their own, to its last task: `etl-run.ts <sides> <rows> <folder>`. Sends its
 * parent the milliseconds of each, a checksum of the tables, and the peak of the process' resident memory.
 *
 * All sides run the same functions of `examples/etl`, with two worker threads that start at once. `leases`: the threads work
 * on the columns where they lie. `arrays`: each gets a copy, by structured clone, as `postMessage` makes. `pool`:
 * piscina's threads get the columns as their tasks' arguments. `poolMoves`: one task gets copies of the two columns it
 * reads, and the other one the columns themselves, transferred.
 */
import { createHash } from "node:crypto";
import { once } from "node:events";
import { mkdirSync } from "node:fs";
import path from "node:path";
import { DatabaseSync } from "node:sqlite";
import { Worker } from "node:worker_threads";
import { Piscina } from "piscina";
import { Executor, Fabric } from "selvage";
import { decodeFlights, openFlights } from "../examples/etl/decode.ts";
import type { Flights } from "../examples/etl/flights.ts";
import { buildJob, exampleData } from "../examples/etl/job.ts";
import { loadDatabase, type Delays } from "../examples/etl/load.ts";

export type EtlSide = "leases" | "arrays" | "pool" | "poolMoves";

/** What a run came to. */
interface EtlRun {
  readonly side: EtlSide;
  readonly ms: number;
  /** Of them, from the last flight decoded to both workers' answers. */
  readonly middleMs: number;
  readonly checksum: number;
}

/** What a process came to. */
export interface EtlRuns {
  readonly runs: readonly EtlRun[];
  readonly rssBytes: number;
}

const { flights: input, airports } = exampleData();

/** When the flights were decoded, and when both workers had answered, by `performance.now()`. */
interface Middle {
  readonly decodedMs: number;
  readonly answeredMs: number;
}

async function onLeases(rows: number, database: string): Promise<Middle> {
  const job = buildJob({ input, airports, out: path.dirname(database), rows });
  const fabric = Fabric.open({ memoryBytes: 512 * 2 ** 20, blocks: 0 });
  let decodedMs = 0;
  let answeredMs = 0;
  await new Promise<void>((resolve, reject) => {
    Executor.run(job.plan, {
      fabric,
      onEvent(event) {
        // Up to here: what follows is the leases' own time, in which nobody works.
        if (event.type === "settled") resolve();
        if (event.type !== "task") return;
        if (event.name === "extract" && event.newState === "succeeded")
          decodedMs = performance.now();
        if (event.name === "load" && event.newState === "running") answeredMs = performance.now();
      },
    }).then(({ status }) => {
      if (status !== "succeeded") reject(new Error(`the run ended ${status}`));
    }, reject);
  });
  return { decodedMs, answeredMs };
}

/** The same job over arrays: `ask` has two threads work on the flights. */
async function withoutLeases(
  rows: number,
  database: string,
  ask: (flights: Flights) => Promise<readonly Partial<Delays>[]>,
): Promise<Middle> {
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
  const decodedMs = performance.now();
  const delays = Object.assign({}, ...(await ask(flights))) as Delays;
  const answeredMs = performance.now();
  loadDatabase(database, delays);
  return { decodedMs, answeredMs };
}

function onArrays(rows: number, database: string): Promise<Middle> {
  const workers = [startWorker("aggregate"), startWorker("enrich")] as const;
  return withoutLeases(rows, database, (flights) =>
    Promise.all(
      workers.map(async (worker) => {
        worker.postMessage(flights);
        const [answer] = (await once(worker, "message")) as [Partial<Delays>];
        return answer;
      }),
    ),
  );
}

function onPool(rows: number, database: string, moves: boolean): Promise<Middle> {
  const { href: filename } = new URL("./etl-pool-worker.ts", import.meta.url);
  const pool = new Piscina({ filename, name: "enrich", minThreads: 2, maxThreads: 2 });
  return withoutLeases(rows, database, (flights) => {
    const { origin, destination } = flights;
    const read = moves ? { origin, destination } : flights;
    // In this order: what is transferred can be copied no more.
    const enriched = pool.run({ flights: read, airports }, { name: "enrich" });
    const transferList = moves
      ? Object.values(flights).map(({ buffer }) => buffer as ArrayBuffer)
      : [];
    return Promise.all([pool.run(flights, { name: "aggregate", transferList }), enriched]);
  });
}

function startWorker(task: "aggregate" | "enrich"): Worker {
  return new Worker(new URL("./etl-array-worker.ts", import.meta.url), {
    workerData: { task, airports },
  });
}

/** Of every value of both tables. */
function checksumOf(database: string): number {
  using connection = new DatabaseSync(database, { readOnly: true });
  const hash = createHash("sha256");
  for (const table of ["airport_delays ORDER BY iata", "route_delays ORDER BY origin, destination"])
    hash.update(JSON.stringify(connection.prepare(`SELECT * FROM ${table}`).all()));
  return hash.digest().readUIntBE(0, 6);
}

const sides: Readonly<Record<EtlSide, (rows: number, database: string) => Promise<Middle>>> = {
  leases: onLeases,
  arrays: onArrays,
  pool: (rows, database) => onPool(rows, database, false),
  poolMoves: (rows, database) => onPool(rows, database, true),
};

async function runOf(side: EtlSide, rows: number, out: string): Promise<EtlRun> {
  // Each side's own, under the name that the job gives it.
  const database = path.join(out, side, "flights.sqlite");
  mkdirSync(path.dirname(database), { recursive: true });
  const beginMs = performance.now();
  const { decodedMs, answeredMs } = await sides[side](rows, database);
  const ms = performance.now() - beginMs;
  return { side, ms, middleMs: answeredMs - decodedMs, checksum: checksumOf(database) };
}

const [names = "", rows, out = "."] = process.argv.slice(2);
const runs: EtlRun[] = [];
for (const side of names.split(",")) runs.push(await runOf(side as EtlSide, Number(rows), out));
const told: EtlRuns = { runs, rssBytes: process.resourceUsage().maxRSS * 1024 };
process.send?.(told, () => process.exit());
