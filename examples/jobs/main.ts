/** The three programs as one command: two workers, of which one is killed, a run with an attempt that fails, and what came of it. */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { JobQueue } from "selvage";
import { look } from "./monitor.ts";
import { enqueuePipeline } from "./pipeline.ts";
import { declare } from "./tasks.ts";

const folder = mkdtempSync(path.join(tmpdir(), "selvage-jobs-"));
const db = path.join(folder, "jobs.sqlite");
const out = path.join(folder, "weather.json");

function startWorker(...args: readonly string[]): ChildProcess {
  const file = fileURLToPath(new URL("./worker.ts", import.meta.url));
  return spawn(process.execPath, [...process.execArgv, file, "--db", db, ...args], {
    stdio: "inherit",
  });
}

let workers: readonly ChildProcess[] = [];
try {
  await using queue = await JobQueue.open({ path: db });
  const jobs = await enqueuePipeline(declare(queue), out);
  workers = [startWorker("--fail", "extract:1"), startWorker("--fail", "extract:1")];
  await jobs.extract.result({ timeoutMs: 120_000 });
  // In the middle of the run: what it was at is done by the other one, once it has been silent for a second.
  workers[0]?.kill("SIGKILL");
  await jobs.load.result({ timeoutMs: 120_000 });
  workers[1]?.kill("SIGTERM");
  await once(workers[1] as ChildProcess, "exit");
  await jobs.extract.refresh();
  for (const { attempt, error } of jobs.extract.errors) console.log(`attempt ${attempt}: ${error}`);
  console.log((await look(queue)).join("\n"));
  const { months, kinds } = JSON.parse(readFileSync(out, "utf8")) as {
    months: unknown[];
    kinds: unknown[];
  };
  console.log(`${months.length} months, the first: ${JSON.stringify(months[0])}`);
  console.log(`${kinds.length} kinds, the first: ${JSON.stringify(kinds[0])}`);
} finally {
  for (const worker of workers) worker.kill("SIGKILL");
  rmSync(folder, { recursive: true, force: true });
}

// attempt 1: extract fails, as it was told
// pending 0  running 0  complete 4  failed 0  dead 0  cancelled 0
// 48 months, the first: ["2012-01",31,7.1]
// 5 kinds, the first: ["drizzle",53,0]
