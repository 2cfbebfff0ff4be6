/** `selvage doctor [PATH...] [--reap]`: whether this machine has what it takes, and whether files are sound. */
import type { Command } from "commander";
import { checkFile } from "./files.ts";
import { checkHost } from "./host.ts";
import { worst, type Finding } from "./finding.ts";
import { EXIT_CODES } from "../exit-codes.ts";
import type { CommonOptions, Reply } from "../reply.ts";
import { JSON_OPTION, type Session } from "../session.ts";
import { visible } from "../table.ts";

interface DoctorOptions extends CommonOptions {
  readonly reap?: true;
}

/** Adds the command. */
export function addDoctor(program: Command, session: Session): void {
  program
    .command("doctor")
    .description("check this machine, and block files and SQLite stores")
    .argument("[path...]", "files to check; without --reap nothing in them is changed")
    .option(
      "--reap",
      "give back what has expired in block files, and what silent workers hold in queues",
    )
    .option(...JSON_OPTION)
    .action(session.telling(doctor));
}

async function doctor(paths: readonly string[], options: DoctorOptions): Promise<Reply> {
  const findings: Finding[] = await checkHost();
  for (const path of paths) findings.push(...(await checkFile(path, options.reap === true)));
  const status = worst(findings);
  const exitCode = status === "failed" ? EXIT_CODES.failed : EXIT_CODES.ok;
  return { document: { status, findings }, text: findings.map(lineOf).join("\n"), exitCode };
}

function lineOf({ status, about, what, hint }: Finding): string {
  const line = visible(`${status.padEnd(7)} ${about}: ${what}`);
  return hint === undefined ? line : `${line}\n  hint: ${hint}`;
}
