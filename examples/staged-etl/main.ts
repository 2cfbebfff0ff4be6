/**
 * Extract, transform, load, each of it killed once: a real process, by SIGKILL, right after a stage's checkpoint. The next process
 * goes on behind that stage, and the table is the one that a run without a crash makes.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { loadedRows, runJob, STAGES } from "./job.ts";

const worker = fileURLToPath(new URL("./job-worker.ts", import.meta.url));
const folder = mkdtempSync(path.join(tmpdir(), "selvage-staged-etl-"));
const whole = mkdtempSync(path.join(tmpdir(), "selvage-staged-etl-"));

try {
  for (const stage of [...STAGES, undefined]) {
    const kill = stage === undefined ? [] : [stage, "kept"];
    const line = [...process.execArgv, worker, folder, ...kill];
    const { stdout, signal } = spawnSync(process.execPath, line, {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "inherit"],
    });
    console.log(
      `ran ${stdout.trim().replaceAll("\n", ", ") || "nothing"}; ended by ${signal ?? "itself"}`,
    );
  }
  await runJob({ folder: whole });
  assert.deepEqual(loadedRows(folder), loadedRows(whole));
  const [most] = loadedRows(folder);
  console.log(
    `${loadedRows(folder).length} regions, most quakes in ${most?.region}: ${most?.quakes}`,
  );
} finally {
  for (const each of [folder, whole]) rmSync(each, { recursive: true });
}

// ran extract; ended by SIGKILL
// ran transform; ended by SIGKILL
// ran load; ended by SIGKILL
// ran 74 regions; ended by itself
// 74 regions, most quakes in CA: 306
