/**
 * `npm run bench [-- suite ...] [--json] [--smoke] [--rounds N] [--out folder]`: every suite, or the ones named. The queue
 * suite has options of its own: `--size`, `--capacity`, `--codec`, `--threads`, `--seconds`, `--compare`.
 * Progress goes to stderr, the table to stdout, and with `--json` one document after it.
 */
import { existsSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Command, InvalidArgumentError, Option } from "commander";
import { batchSuite } from "./batch.bench.ts";
import { checkSuite } from "./check.bench.ts";
import { codecsSuite } from "./codecs.bench.ts";
import { etlSuite } from "./etl.bench.ts";
import { handoffSuite } from "./handoff.bench.ts";
import type { QueueEffort, Result } from "./harness.ts";
import { jobsSuite } from "./jobs.bench.ts";
import { leasesSuite } from "./leases.bench.ts";
import { mapsSuite } from "./maps.bench.ts";
import { pipelineSuite } from "./pipeline.bench.ts";
import { codecNames } from "./queue-values.ts";
import { queueSuite } from "./queue.bench.ts";
import { machine, table } from "./report.ts";
import { simSuite } from "./sim.bench.ts";
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
  queueSuite,
  pipelineSuite,
  simSuite,
  batchSuite,
  jobsSuite,
];

interface Options {
  readonly json?: true;
  readonly smoke?: true;
  readonly rounds?: number;
  readonly out: string;
  readonly size?: readonly number[];
  readonly capacity?: number;
  readonly codec: string;
  readonly threads?: readonly (1 | 2)[];
  readonly seconds?: number;
  readonly compare?: string;
}

function parseRounds(text: string): number {
  const rounds = Number(text);
  if (!Number.isInteger(rounds) || rounds < 1)
    throw new InvalidArgumentError("expected a whole number above 0");
  return rounds;
}

function parseFile(text: string): string {
  if (!existsSync(text)) throw new InvalidArgumentError("expected a file that is there");
  return text;
}

function parseSizes(text: string): readonly number[] {
  const sizes = text.split(",").map(Number);
  if (!sizes.every((size) => Number.isInteger(size) && size >= 8 && size <= 2 ** 20))
    throw new InvalidArgumentError("expected whole bytes from 8 to 1048576, separated by commas");
  return sizes;
}

function isThreadCount(count: number): count is 1 | 2 {
  return count === 1 || count === 2;
}

function parseThreads(text: string): readonly (1 | 2)[] {
  const counts = text.split(",").map(Number);
  if (!counts.every(isThreadCount)) throw new InvalidArgumentError("expected 1, 2 or 1,2");
  return counts;
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
  const { smoke = false, rounds, out, size, capacity, codec, threads, seconds, compare } = options;
  const queue: QueueEffort = {
    codec,
    ...(size && { sizes: size }),
    ...(capacity && { capacity }),
    ...(threads && { threads }),
    ...(seconds && { seconds }),
    ...(compare !== undefined && { compare }),
  };
  const effort = { smoke, rounds, out, queue };
  // Where nobody looks at the clock, processes and threads need not compile what others have.
  if (smoke) process.env["NODE_COMPILE_CACHE"] ??= join(out, "compiled");
  for (const suite of choose(names)) {
    process.stderr.write(`${suite.name}: ${suite.question}\n`);
    const progress = progressOf(suite);
    const found = await suite.run({ ...effort, progress });
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
  .option("--size <bytes>", "queue: message sizes, separated by commas", parseSizes)
  .option("--capacity <n>", "queue: messages in a ring", parseRounds)
  .addOption(
    new Option("--codec <name>", "queue: what messages are").choices(codecNames).default("raw"),
  )
  .option("--threads <n>", "queue: 1, 2 or 1,2", parseThreads)
  .option("--seconds <n>", "queue: how long the suite may take, about", parseRounds)
  .option("--compare <file>", "queue: what an earlier run printed with --json", parseFile)
  .action(run);

await program.parseAsync();
