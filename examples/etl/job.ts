/** The main job: flights in, delays by airport and by route out. A diamond whose middle lives in leases. */
import { mkdirSync, rmdirSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import {
  FabricError,
  isFabricError,
  systemText,
  TaskGraph,
  type DataRef,
  type ExecutionPlan,
  type TaskContext,
} from "selvage";
import type { OriginSums, RouteSums } from "./aggregate.ts";
import { decodeFlights, openFlights } from "./decode.ts";
import type { Airport, GreatCircles } from "./enrich.ts";
import { failPlanned, type PlannedFailure } from "./fail.ts";
import { flightShape } from "./flights.ts";
import { loadDatabase, partialOf } from "./load.ts";

/** What the job is told. */
export interface JobOptions {
  /** The parquet file of flights. */
  readonly input: string;
  /** `airports.csv`. */
  readonly airports: string;
  /** Folder of the results. */
  readonly out: string;
  /** Only the first so many flights. */
  readonly rows?: number | undefined;
  readonly fail?: PlannedFailure | undefined;
}

/** The job, ready to run. */
export interface Job {
  readonly plan: ExecutionPlan;
  /** Where the database will be. */
  readonly database: string;
  /** Where the picture of the run belongs, beside the database. */
  readonly timeline: string;
  /** Where the report of the run belongs, unless it is wanted elsewhere. */
  readonly report: string;
  /** Flights decoded so far. */
  rowsRead(): number;
  /** Takes back what a run that did not succeed has left: its files, and the folders that it made. */
  clear(): void;
}

/** The tasks of the job: what `--fail` can name. */
export const TASKS = ["extract", "aggregate", "enrich", "load"] as const;

const retries = 2;
// A file that is missing or broken stays so: only what a retry can help is tried again.
const backoff = {
  baseMs: 50,
  retryOn: (error: unknown): boolean => !isFabricError(error) || error.recovery !== "none",
};

/** Where the example data is that comes with the development dependencies. */
export function exampleData(): { readonly flights: string; readonly airports: string } {
  const entry = createRequire(import.meta.url).resolve("vega-datasets");
  const data = path.join(path.dirname(entry), "..", "data");
  return {
    flights: path.join(data, "flights-3m.parquet"),
    airports: path.join(data, "airports.csv"),
  };
}

/**
 * Builds the job. Removes what the run before left: a run that fails must not pass for one that did not.
 * @throws FabricError `INVALID_ARGUMENT` when the folder of the results cannot be had.
 */
export function buildJob(options: JobOptions): Job {
  const { input, airports, out, fail } = options;
  const database = path.resolve(out, "flights.sqlite");
  const timeline = path.resolve(out, "timeline.svg");
  const report = path.resolve(out, "report.html");
  const clear = takeFolder(out, [database, partialOf(database), timeline, report]);
  let rowsRead = 0;

  const extract = async (context: TaskContext): Promise<void> => {
    failPlanned(context, fail);
    using file = await openFlights(input);
    const rows = Math.min(options.rows ?? file.rows, file.rows);
    const flights = context.allocate("flights", flightShape(rows));
    await decodeFlights(file, flights, (done) => {
      rowsRead = done;
      context.progress(done / rows);
      if (context.signal.aborted) throw context.signal.reason;
    });
  };
  const load = (context: TaskContext): void => {
    failPlanned(context, fail);
    loadDatabase(database, {
      origins: context.input<OriginSums>("origins"),
      routes: context.input<RouteSums>("routes"),
      places: JSON.parse(systemText.decode(context.input("places"))) as Airport[],
      greatCircles: context.input<GreatCircles>("greatCircles"),
    });
  };

  const shared = { retries, backoff, inputs: [columns("flights")] };
  const graph = new TaskGraph();
  const extracted = graph.addTask({
    name: "extract",
    retries,
    backoff,
    outputs: [columns("flights")],
    run: extract,
  });
  const aggregated = graph.addTask({
    name: "aggregate",
    ...shared,
    outputs: [columns("origins"), columns("routes")],
    run: moduleUrl("aggregate", { fail }),
  });
  const enriched = graph.addTask({
    name: "enrich",
    ...shared,
    outputs: [raw("places"), columns("greatCircles")],
    run: moduleUrl("enrich", { fail, airports }),
  });
  const loaded = graph.addTask({
    name: "load",
    retries,
    backoff,
    inputs: [columns("origins"), columns("routes"), raw("places"), columns("greatCircles")],
    run: load,
  });
  graph.addDependency(extracted, aggregated);
  graph.addDependency(extracted, enriched);
  graph.addDependency(aggregated, loaded);
  graph.addDependency(enriched, loaded);
  return { plan: graph.build(), database, timeline, report, rowsRead: () => rowsRead, clear };
}

// Makes the folder, without the files of the run before. What it returns undoes that.
function takeFolder(out: string, results: readonly string[]): () => void {
  const folder = path.resolve(out);
  const removeResults = (): void => {
    for (const file of results) rmSync(file, { force: true });
  };
  let made: string | undefined;
  try {
    made = mkdirSync(folder, { recursive: true });
    removeResults();
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new FabricError(
      "INVALID_ARGUMENT",
      `--out: expected a folder for the results, got "${out}": ${why}`,
      { argument: "--out", actual: out },
      { cause },
    );
  }
  return () => {
    removeResults();
    if (made !== undefined) removeEmpty(folder, path.dirname(made));
  };
}

// Removes empty folders from `folder` up, and leaves `top`.
function removeEmpty(folder: string, top: string): void {
  try {
    for (let at = folder; at !== top; at = path.dirname(at)) rmdirSync(at);
  } catch {
    // Not empty, or gone: then it is not ours to remove.
  }
}

function columns(name: string): DataRef {
  return { name, format: "columns" };
}

function raw(name: string): DataRef {
  return { name, format: "raw" };
}

/** Reads `TASK[:TIMES]`; without TIMES every attempt fails. @throws FabricError `INVALID_ARGUMENT`. */
export function parseFailure(text: string): PlannedFailure {
  const [, task = "", count] = /^([^:]*)(?::([1-9]\d*))?$/.exec(text) ?? [];
  const times = count === undefined ? Infinity : Number(count);
  if (!(TASKS as readonly string[]).includes(task))
    throw new FabricError(
      "INVALID_ARGUMENT",
      `--fail: expected TASK or TASK:TIMES with one of ${TASKS.join(", ")}, got "${text}"`,
      { argument: "--fail", actual: text },
    );
  return { task, times };
}

// A worker's module gets what it needs to know with its URL.
function moduleUrl(
  name: "aggregate" | "enrich",
  told: { readonly fail?: PlannedFailure | undefined; readonly airports?: string },
): URL {
  const url = new URL(`./${name}.ts`, import.meta.url);
  if (told.fail?.task === name) url.searchParams.set("fail", String(told.fail.times));
  if (told.airports !== undefined) url.searchParams.set("airports", told.airports);
  return url;
}
