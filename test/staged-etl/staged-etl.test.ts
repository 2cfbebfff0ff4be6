import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { SqliteCheckpointStore } from "selvage";
import { afterAll, expect, test } from "vitest";
import { feedFile, loadedRows, PIPELINE_ID, STAGES } from "../../examples/staged-etl/job.ts";

const worker = fileURLToPath(new URL("../../examples/staged-etl/job-worker.ts", import.meta.url));
const folder = mkdtempSync(path.join(tmpdir(), "selvage-staged-etl-test-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Runs a process to its end, or to where it is killed; what it told. */
async function run(...kill: readonly string[]): Promise<{ told: string[]; signal: string | null }> {
  const child = spawn(process.execPath, [...process.execArgv, worker, folder, ...kill], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let told = "";
  child.stdout.on("data", (text) => void (told += String(text)));
  const exit = once(child, "exit") as Promise<[number | null, string | null]>;
  await once(child.stdout, "close");
  const [, signal] = await exit;
  return { told: told.split("\n").filter((line) => line !== ""), signal };
}

/** The rows that must come of it, found in another way than the job's. */
function expectedRows(): string[] {
  const { features } = JSON.parse(readFileSync(feedFile(), "utf8")) as {
    features: {
      properties: { mag: number | null; place: string };
      geometry: { coordinates: [number, number, number] };
    }[];
  };
  const strong = features.filter(({ properties: { mag } }) => mag !== null && mag >= 1);
  const names = new Set(strong.map(({ properties: { place } }) => place.replace(/^.*, /, "")));
  return [...names]
    .map((name) => {
      const of = strong.filter(
        ({ properties: { place } }) => place === name || place.endsWith(`, ${name}`),
      );
      let strongest = -Infinity;
      let depth = 0;
      for (const { properties, geometry } of of) {
        strongest = Math.max(strongest, properties.mag as number);
        depth += geometry.coordinates[2];
      }
      return `${name} ${of.length} ${strongest} ${Math.round(depth / of.length)}`;
    })
    .toSorted();
}

// Killed as each stage begins, when its work is done and nobody has heard of it, and when its checkpoint is kept.
test("P1: killed before, in and after each stage, the next process goes on there, to the same rows", async () => {
  for (const stage of STAGES)
    for (const point of ["begun", "done", "kept"])
      expect({ point, ...(await run(stage, point)) }).toEqual({
        point,
        told: [stage],
        signal: "SIGKILL",
      });
  // Every stage has been kept: the last process only tells, and clears.
  const rows = expectedRows();
  expect(await run()).toEqual({ told: [`${rows.length} regions`], signal: null });
  expect(
    loadedRows(folder)
      .map((row) => Object.values(row).join(" "))
      .toSorted(),
  ).toEqual(rows);
  using store = new SqliteCheckpointStore(path.join(folder, "checkpoints.sqlite"));
  expect(await store.read(PIPELINE_ID)).toBeUndefined();
}, 120_000);
