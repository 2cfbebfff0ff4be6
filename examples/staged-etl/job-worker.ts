/** A process that runs the job, and is killed where it is told: `job-worker.ts FOLDER [STAGE begun|done|kept]`. */
import { writeSync } from "node:fs";
import { runJob } from "./job.ts";

const [folder = ".", stage, point] = process.argv.slice(2);

function killIf(here: string, at: string): void {
  if (here === stage && at === point) process.kill(process.pid, "SIGKILL");
}

const rows = await runJob({
  folder,
  onWork: (name, isDone) => {
    // At once: what a killed process has not written is lost.
    if (!isDone) writeSync(1, `${name}\n`);
    killIf(name, isDone ? "done" : "begun");
  },
  onEvent: (event) => {
    if (event.type === "checkpoint") killIf(event.name, "kept");
  },
});
writeSync(1, `${rows} regions\n`);
