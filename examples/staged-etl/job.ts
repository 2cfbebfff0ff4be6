/**
 * Extract, transform, load: a week of earthquakes becomes a table of regions. Each stage's state is kept in a file, so a
 * process that is killed anywhere is followed by one that goes on behind the last stage that ended.
 */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { DatabaseSync } from "node:sqlite";
import { SqliteCheckpointStore, StagedPipeline, type StagedEvent } from "selvage";

/** One region's week. */
export interface Region {
  readonly region: string;
  readonly quakes: number;
  readonly strongest: number;
  readonly depthKm: number;
}

interface Quake {
  readonly place: string;
  readonly magnitude: number;
  readonly depthKm: number;
}

interface Feed {
  readonly features: readonly {
    readonly properties: { readonly mag: number | null; readonly place: string | null };
    readonly geometry: { readonly coordinates: readonly number[] };
  }[];
}

/** The stages, in order. */
export const STAGES = ["extract", "transform", "load"] as const;

/** Under which the run is kept. */
export const PIPELINE_ID = "earthquakes";

/** How a job is run. */
export interface JobOptions {
  /** Where the checkpoints and the table are kept. */
  readonly folder: string;
  /** Called as each stage begins to work, and with what it has made, before that is kept. */
  readonly onWork?: (stage: string, isDone: boolean) => void;
  readonly onEvent?: (event: StagedEvent) => void;
}

/** Runs the job, or goes on with it; resolves with the rows that it has loaded. */
export async function runJob({ folder, onWork, onEvent }: JobOptions): Promise<number> {
  using checkpointStore = new SqliteCheckpointStore(path.join(folder, "checkpoints.sqlite"));
  const working = <In, Out>(name: string, work: (state: In) => Out) => {
    return (state: In): Out => {
      onWork?.(name, false);
      const made = work(state);
      onWork?.(name, true);
      return made;
    };
  };
  // A process that dies is waited for as long as its lease: half a second is enough for stages of milliseconds.
  const pipeline = new StagedPipeline<{ readonly minMagnitude: number }>({
    checkpointStore,
    leaseMs: 500,
  })
    .stage(
      "extract",
      working("extract", ({ minMagnitude }: { readonly minMagnitude: number }) =>
        extract(minMagnitude),
      ),
    )
    .stage("transform", working("transform", transform))
    .stage(
      "load",
      working("load", (regions: readonly Region[]) => load(folder, regions)),
    );
  // Awaited here: the store is closed when this returns.
  return await pipeline.run(
    { minMagnitude: 1 },
    { pipelineId: PIPELINE_ID, ...(onEvent === undefined ? {} : { onEvent }) },
  );
}

/** The feed's file: `vega-datasets` hides it behind its `exports`. */
export function feedFile(): string {
  const entry = createRequire(import.meta.url).resolve("vega-datasets");
  return path.join(path.dirname(entry), "..", "data", "earthquakes.json");
}

function extract(minMagnitude: number): readonly Quake[] {
  const feed = JSON.parse(readFileSync(feedFile(), "utf8")) as Feed;
  return feed.features.flatMap(({ properties: { mag, place }, geometry }) =>
    mag === null || mag < minMagnitude || place === null
      ? []
      : [{ place, magnitude: mag, depthKm: geometry.coordinates[2] ?? 0 }],
  );
}

function transform(quakes: readonly Quake[]): readonly Region[] {
  const regions = new Map<string, Quake[]>();
  for (const quake of quakes) {
    // "4km W of Castaic, CA": what is behind the last comma.
    const region = quake.place.split(", ").at(-1) as string;
    regions.set(region, [...(regions.get(region) ?? []), quake]);
  }
  return [...regions]
    .map(([region, of]) => ({
      region,
      quakes: of.length,
      strongest: Math.max(...of.map(({ magnitude }) => magnitude)),
      depthKm: Math.round(of.reduce((sum, { depthKm }) => sum + depthKm, 0) / of.length),
    }))
    .toSorted((a, b) => b.quakes - a.quakes || a.region.localeCompare(b.region));
}

// All rows in one transaction, and over the ones that are there: a stage that is run again leaves what it left.
function load(folder: string, regions: readonly Region[]): number {
  using database = openTable(folder);
  database.exec("BEGIN IMMEDIATE; DELETE FROM regions");
  const insert = database.prepare("INSERT INTO regions VALUES (?, ?, ?, ?)");
  for (const { region, quakes, strongest, depthKm } of regions)
    insert.run(region, quakes, strongest, depthKm);
  database.exec("COMMIT");
  return regions.length;
}

/** What was loaded. */
export function loadedRows(folder: string): readonly Region[] {
  using database = openTable(folder);
  const rows = database.prepare("SELECT * FROM regions ORDER BY quakes DESC, region").all();
  return rows.map((row) => ({ ...row }) as unknown as Region);
}

function openTable(folder: string): DatabaseSync {
  const database = new DatabaseSync(path.join(folder, "regions.sqlite"));
  database.exec(
    "CREATE TABLE IF NOT EXISTS regions (region TEXT PRIMARY KEY, quakes INTEGER, strongest REAL, depthKm INTEGER)",
  );
  return database;
}
