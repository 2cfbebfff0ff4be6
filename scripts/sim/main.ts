/**
 * `npm run sim [-- FILE] [--seeds N] [--seed S] [--plan FILE] [--require-sometimes] [--mutants] [--audit] [--json]`: the
 * project's campaigns, or those of a file of yours. Progress goes to stderr, the summary to stdout; with `--json` the summary
 * goes to stderr too, and one document to stdout. Exit status 0: seeds were run, and nothing was violated.
 */
import { availableParallelism } from "node:os";
import { Command, InvalidArgumentError } from "commander";
import { isFabricError } from "@selvage/fabric";
import {
  FAILURES_FOLDER,
  readPlan,
  runCampaignFiles,
  runOnThreads,
  summarizeCampaigns,
  type CampaignShare,
  type PlannedRun,
  type ShareReport,
} from "@selvage/sim";
import { asShown, asTyped, ownFiles } from "./campaigns.ts";
import { coverageByPackage, merged, type LineCoverage } from "./coverage.ts";
import { shortcomings } from "./gate.ts";
import { runMutants } from "./mutants.ts";
import type { CoveredReport } from "./sim-worker.ts";
import { table, type Summary } from "./summary.ts";

/** Seeds of a run by which coverage is measured: a sample, since that slows them down. */
const COVERED_SEEDS = 10;

interface Options {
  readonly seeds: number;
  readonly seed: string;
  readonly plan?: PlannedRun;
  readonly campaign?: string;
  readonly threads: number;
  readonly requireSometimes?: true;
  readonly mutants?: true;
  readonly table?: string;
  readonly audit?: true;
  readonly keep?: string;
  readonly json?: true;
}

function parseCount(text: string): number {
  const count = Number(text);
  if (!Number.isSafeInteger(count) || count < 1)
    throw new InvalidArgumentError("expected a whole number above 0");
  return count;
}

function parseSeed(text: string): string {
  if (!/^\d{1,20}$/.test(text) || BigInt(text) >= 2n ** 64n)
    throw new InvalidArgumentError("expected a whole number of up to 64 bits");
  return text;
}

function parsePlanFile(path: string): PlannedRun {
  try {
    return readPlan(asTyped(path));
  } catch (error) {
    throw new InvalidArgumentError((error as Error).message);
  }
}

// A kept failure is run as it was, where nothing else is asked for.
function withKept(options: Options, command: Command): Options {
  const { plan } = options;
  if (plan?.seed === undefined) return options;
  const isGiven = (name: string): boolean => command.getOptionValueSource(name) !== "default";
  return {
    ...options,
    seed: isGiven("seed") ? options.seed : parseSeed(plan.seed),
    seeds: isGiven("seeds") ? options.seeds : 1,
    campaign: options.campaign ?? (plan.scenario as string),
  };
}

function progress(done: number, of: number, failed: number, what: string): void {
  const failures = failed === 0 ? "" : `, ${failed} failed`;
  const line = `sim: ${done} of ${of} ${what}${failures}`;
  if (process.stderr.isTTY) process.stderr.write(`\r${line}${done === of ? "\n" : ""}`);
  else if (done === of || done % Math.max(1, Math.round(of / 10)) === 0)
    process.stderr.write(`${line}\n`);
}

interface Ran {
  readonly shares: readonly ShareReport[];
  readonly covered: LineCoverage;
}

/** Runs what is kept, then all seeds on all threads, and then the sample for coverage. */
async function runShares(files: readonly string[], options: Options): Promise<Ran> {
  const { seeds, seed, audit = false, plan, campaign, threads } = options;
  const what = audit ? "seeds audited" : "seeds";
  const shares = await runCampaignFiles(files, {
    seeds,
    seed,
    audit,
    threads,
    ...(options.keep !== undefined && { keep: asTyped(options.keep) }),
    ...(plan && { plan: plan.plan }),
    ...(campaign !== undefined && { campaign }),
    onProgress: (done, failed) => progress(done, seeds, failed, what),
  });
  if (audit) return { shares, covered: {} };
  const sample: Omit<CampaignShare, "words"> = {
    mode: "run",
    files,
    firstSeed: seed,
    seeds: Math.min(seeds, COVERED_SEEDS),
    mostFailures: 1,
    keep: undefined,
    ...(plan && { plan: plan.plan }),
    ...(campaign !== undefined && { only: campaign }),
  };
  const worker = new URL("./sim-worker.ts", import.meta.url);
  const covering = await runOnThreads<CoveredReport>(sample, { threads, worker });
  return { shares, covered: covering.map(({ coverage }) => coverage).reduce(merged, {}) };
}

function problems(summary: Summary, file: string | undefined, options: Options): string[] {
  const { audit, plan, campaign, requireSometimes = false } = options;
  const told = summary.failures.map(({ message, replay }) => `${message}\n    ${replay}`);
  if (audit === true) return told;
  const isWhole = file === undefined && campaign === undefined && plan === undefined;
  told.push(...shortcomings(summary, { seeds: options.seeds, isWhole, requireSometimes }));
  return told;
}

/** With `--json` the document is all that goes to stdout. */
function tell(text: string, { json }: Options, document: object): void {
  (json === true ? process.stderr : process.stdout).write(text);
  if (json === true) process.stdout.write(`${JSON.stringify(document)}\n`);
}

async function run(file: string | undefined, options: Options): Promise<void> {
  if (options.mutants === true) {
    const { table: path } = options;
    const at = path === undefined ? {} : { table: asTyped(path) };
    const { outcomes, text } = await runMutants({ ...options, ...at });
    tell(text, options, { mutants: outcomes });
    if (outcomes.some(({ killed }) => !killed)) process.exitCode = 1;
    return;
  }
  const files = file === undefined ? ownFiles() : [asTyped(file)];
  const { shares, covered } = await runShares(files, options);
  const command = ["npm run sim --", ...(file === undefined ? [] : [file])].join(" ");
  const { seeds, seed } = options;
  const ran = summarizeCampaigns(shares, { seeds, seed, command, shown: asShown });
  const summary = { ...ran, coverage: coverageByPackage(covered) };
  const wrong = problems(summary, file, options);
  const properties = shares.flatMap((share) => share.properties);
  const failed = wrong.map((problem) => `  FAILED ${problem}\n`);
  tell([table(summary, properties), ...failed].join(""), options, summary);
  if (wrong.length > 0) process.exitCode = 1;
}

async function main(file: string | undefined, options: Options, command: Command): Promise<void> {
  try {
    await run(file, withKept(options, command));
  } catch (error) {
    if (!isFabricError(error)) throw error;
    process.stderr.write(`sim: ${error.message}\n`);
    process.exitCode = 1;
  }
}

await new Command("sim")
  .description("Runs simulated failovers, each from a seed, and says what was violated.")
  .argument(
    "[file]",
    "a file that exports `campaign`, `campaigns` or a default; default: the project's own",
  )
  .option("--seeds <n>", "how many runs", parseCount, 200)
  .option("--seed <s>", "the first seed; the others follow it", parseSeed, "1")
  .option(
    "--plan <file>",
    "a kept failure, or a list of faults, in place of drawn plans",
    parsePlanFile,
  )
  .option("--campaign <name>", "only this one")
  .option("--threads <n>", "threads to run on", parseCount, availableParallelism())
  .option("--require-sometimes", "fail when a counter stays at zero; from 2,000 seeds on anyway")
  .option("--mutants", "break each protocol rule in turn, and see its campaign find it")
  .option("--table <file>", "with --mutants: where a table of them goes, in Markdown")
  .option("--audit", "run each seed twice, and compare")
  .option("--keep <folder>", `where failures are kept, and replayed from (${FAILURES_FOLDER})`)
  .option("--json", "print one document at the end")
  .action(main)
  .parseAsync();
