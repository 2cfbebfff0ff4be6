/** The command line: which commands there are. */
import { readFileSync } from "node:fs";
import { Command } from "commander";
import { tellFailure } from "./failure.ts";
import { addBench } from "./bench/bench-command.ts";
import { addDoctor } from "./doctor/doctor-command.ts";
import { addJobs } from "./jobs/jobs-command.ts";
import { addMonitor } from "./jobs/monitor-command.ts";
import { addQueues } from "./jobs/queues-command.ts";
import { addWorker } from "./jobs/worker-command.ts";
import { addLeases } from "./leases-command.ts";
import type { Streams } from "./reply.ts";
import { addRun } from "./run-command.ts";
import { addSim } from "./sim-command.ts";
import { Session } from "./session.ts";

const exitCodes = `
Exit codes:
  0  it went well; a worker finished all that it had claimed
  1  what was run failed, or could not be run
  2  what was typed is no command
  3  a worker handed back jobs that it had not finished in time`;

/**
 * Runs the command with `args` (what comes after its name), and resolves with its exit code (`EXIT_CODES`). Never
 * rejects: what fails is told on `streams.stderr`. Commands that go on until they are told to end (`worker`, `monitor`)
 * listen to the process's SIGINT and SIGTERM meanwhile.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { runCli } from "@selvage/cli";
 *
 * assert.equal(await runCli(["doctor"], process), 0);
 * assert.equal(await runCli(["docter"], process), 2); // told: did you mean doctor?
 * ```
 */
export async function runCli(args: readonly string[], streams: Streams): Promise<number> {
  const session = new Session(streams, args.includes("--json"));
  try {
    await programOf(session).parseAsync([...args], { from: "user" });
    return session.exitCode;
  } catch (thrown) {
    return tellFailure(thrown, session.json, streams);
  }
}

function programOf(session: Session): Command {
  const { stdout, stderr } = session.streams;
  const program = new Command("selvage")
    .description("Runs plans, simulations and workers, and looks into what they leave.")
    .version(version())
    .exitOverride()
    .configureOutput({
      writeOut: (text) => void stdout.write(text),
      writeErr: (text) => void stderr.write(text),
      // Told by its catcher.
      outputError: () => {},
    })
    .addHelpText("after", exitCodes);
  addJobs(program, session);
  addQueues(program, session);
  addWorker(program, session);
  addMonitor(program, session);
  addRun(program, session);
  addSim(program, session);
  addBench(program, session);
  addLeases(program, session);
  addDoctor(program, session);
  return program;
}

// The same way from `src` and from `dist`.
function version(): string {
  const manifest = readFileSync(new URL("../package.json", import.meta.url), "utf8");
  return (JSON.parse(manifest) as { readonly version: string }).version;
}
