/**
 * `npm run bench [-- suite ...] [--json] [--smoke] [--rounds N] [--out folder]`: every suite, or the ones named.
 * Progress goes to stderr, the table to stdout, and with `--json` one document after it.
 */
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Command, InvalidArgumentError } from "commander";
import { checkSuite } from "./check.bench.ts";
import { codecsSuite } from "./codecs.bench.ts";
import { etlSuite } from "./etl.bench.ts";
import { handoffSuite } from "./handoff.bench.ts";
import type { Result } from "./harness.ts";
import { leasesSuite } from "./leases.bench.ts";
import { mapsSuite } from "./maps.bench.ts";
import { machine, table } from "./report.ts";
import type { Suite } from "./suite.ts";
import { zeroedSuite } from "./zeroed.bench.ts";

const suites: readonly Suite[] = [
  etlSuite,
  handoffSuite,
  leasesSuite,
  checkSuite,
  zeroedSuite,
  codecsSuite,
  mapsSuite,
];

interface Options {
  readonly json?: true;
  readonly smoke?: true;
  readonly rounds?: number;
  readonly out: string;
}

function parseRounds(text: string): number {
  const rounds = Number(text);
  if (!Number.isInteger(rounds) || rounds < 1)
    throw new InvalidArgumentError("expected a whole number above 0");
  return rounds;
}

function choose(names: readonly string[]): readonly Suite[] {
  const unknown = names.filter((name) => !suites.some((suite) => suite.name === name));
  if (unknown.length > 0)
    throw new InvalidArgumentError(
      `no such suite: ${unknown.join(", ")} (there are ${suites.map(({ name }) => name).join(", ")})`,
    );
  return names.length === 0 ? suites : suites.filter(({ name }) => names.includes(name));
}

/** A line that the next one overwrites, on a terminal; elsewhere only a suite's first. */
function progressOf(suite: Suite): (line: string) => void {
  const { stderr } = process;
  if (!stderr.isTTY) return () => {};
  return (line) => stderr.write(`\r\u001b[2K${suite.name}: ${line}`);
}

async function run(names: readonly string[], options: Options): Promise<void> {
  const results: Result[] = [];
  for (const suite of choose(names)) {
    process.stderr.write(`${suite.name}: ${suite.question}\n`);
    const progress = progressOf(suite);
    const { smoke = false, rounds, out } = options;
    const found = await suite.run({ smoke, rounds, out, progress });
    if (process.stderr.isTTY) process.stderr.write("\r\u001b[2K");
    process.stdout.write(`${table(suite, found, smoke)}\n`);
    results.push(...found);
  }
  if (options.json === true)
    process.stdout.write(`${JSON.stringify({ machine: machine(), results }, undefined, 2)}\n`);
}

const program = new Command("bench")
  .description("Compares Selvage with what programs use instead. A ratio above 1: we are faster.")
  .argument("[suite...]", `of ${suites.map(({ name }) => name).join(", ")}; all by default`)
  .option("--json", "print one JSON document, last on stdout")
  .option("--smoke", "run every case small: only what it computes is checked")
  .option("--rounds <n>", "rounds of every comparison", parseRounds)
  .option("--out <folder>", "where curves are written", join(tmpdir(), "selvage-bench"))
  .action(run);

await program.parseAsync();
