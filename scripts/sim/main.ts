/**
 * `npm run sim [-- FILE] [--seeds N] [--seed S] [--plan FILE] [--require-sometimes] [--mutants] [--audit] [--json]`: the
 * project's campaigns, or those of a file of yours. Progress goes to stderr, the summary to stdout, and with `--json` one
 * document after it. Exit status 0: nothing was violated.
 */
import { readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import { Command, InvalidArgumentError } from "commander";
import { FAILURES_FOLDER, type FaultPlan } from "@selvage/sim";
import { ownFiles } from "./campaigns.ts";
import { merged, type LineCoverage } from "./coverage.ts";
import { runMutants } from "./mutants.ts";
import type { Share, Told } from "./sim-worker.ts";
import { summarize, table, type Summary } from "./summary.ts";

/** Seeds of a run by which coverage is measured: a sample, since that slows them down. */
const COVERED_SEEDS = 10;

/** Failures after which a campaign stops. */
const FAILURES_MAX = 5;

/** Campaigns of a run. */
const CAMPAIGNS_MAX = 1_000;

/** From so many seeds on, a counter that stays at zero fails the run. */
const SOMETIMES_FROM = 2_000;

interface Options {
  readonly seeds: number;
  readonly seed: string;
  readonly plan?: FaultPlan;
  readonly campaign?: string;
  readonly threads: number;
  readonly requireSometimes?: true;
  readonly mutants?: true;
  readonly table?: string;
  readonly audit?: true;
  readonly keep: string;
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

// A kept failure, or a plan alone.
function parsePlan(path: string): FaultPlan {
  const read = JSON.parse(readFileSync(path, "utf8")) as FaultPlan | { readonly plan: FaultPlan };
  const plan = "plan" in read ? read.plan : read;
  if (!Array.isArray(plan)) throw new InvalidArgumentError("expected a list of faults");
  return plan;
}

function progress(done: number, of: number, failed: number, what: string): void {
  const failures = failed === 0 ? "" : `, ${failed} failed`;
  const line = `sim: ${done} of ${of} ${what}${failures}`;
  if (process.stderr.isTTY) process.stderr.write(`\r${line}${done === of ? "\n" : ""}`);
  else if (done === of || done % Math.max(1, Math.round(of / 10)) === 0)
    process.stderr.write(`${line}\n`);
}

type Done = Extract<Told, { told: "done" }>;

/** One thread. */
function runShare(share: Share, onSeed: (failed: boolean) => void): Promise<Done> {
  const worker = new Worker(new URL("./sim-worker.ts", import.meta.url), { workerData: share });
  return new Promise((resolve, reject) => {
    worker.once("error", reject);
    worker.on("message", (told: Told) => {
      if (told.told === "done") resolve(told);
      else onSeed(told.failed);
    });
    worker.once("exit", (code) => {
      reject(new Error(`a thread of the campaign exited with code ${code}`));
    });
  });
}

/** Runs all seeds on all threads, and then the sample for coverage. */
async function runShares(
  files: readonly string[],
  options: Options,
): Promise<{ readonly shares: readonly Done[]; readonly covered: LineCoverage }> {
  const { seeds, seed, audit = false, plan, campaign, keep } = options;
  const threads = Math.min(options.threads, seeds);
  let [done, failed] = [0, 0];
  const what = audit ? "seeds audited" : "seeds";
  const common = {
    files,
    firstSeed: seed,
    isAudit: audit,
    keep,
    ...(plan && { plan }),
    ...(campaign !== undefined && { only: campaign }),
  };
  const onAll = (share: Omit<Share, "words">, onSeed: (failed: boolean) => void) => {
    const words = new Int32Array(new SharedArrayBuffer(4 * (1 + CAMPAIGNS_MAX)));
    const run = (): Promise<Done> => runShare({ ...share, words }, onSeed);
    return Promise.all(Array.from({ length: threads }, run));
  };
  const onSeed = (isFailed: boolean): void => {
    if (isFailed) failed++;
    progress(++done, seeds, failed, what);
  };
  const whole = { seeds, isCovered: false, mostFailures: FAILURES_MAX };
  const shares = await onAll({ ...common, ...whole }, onSeed);
  if (audit) return { shares, covered: {} };
  const sample = { seeds: Math.min(seeds, COVERED_SEEDS), isCovered: true, mostFailures: 1 };
  const covering = await onAll({ ...common, ...sample }, () => {});
  return {
    shares,
    covered: covering
      .map(({ coverage }) => coverage)
      .reduce((one, other) => merged(one, other), {}),
  };
}

function problems(summary: Summary, options: Options): readonly string[] {
  const told = summary.failures.map(({ property, replay }) => `${property}\n    ${replay}`);
  const mustHit = options.requireSometimes === true || options.seeds >= SOMETIMES_FROM;
  const zeros = Object.entries(summary.sometimes).filter(([, count]) => count === 0);
  if (mustHit && options.audit !== true)
    told.push(...zeros.map(([name]) => `never happened: ${name}`));
  return told;
}

async function main(file: string | undefined, options: Options): Promise<void> {
  const files = file === undefined ? ownFiles() : [file];
  if (options.mutants === true) {
    const { outcomes, text } = await runMutants(options);
    process.stdout.write(text);
    if (options.json === true) process.stdout.write(`${JSON.stringify({ mutants: outcomes })}\n`);
    if (outcomes.some(({ killed }) => !killed)) process.exitCode = 1;
    return;
  }
  const { shares, covered } = await runShares(files, options);
  const summary = summarize(shares, covered, { ...options, file });
  const wrong = problems(summary, options);
  process.stdout.write(
    table(
      summary,
      shares.flatMap(({ properties }) => properties),
    ),
  );
  for (const problem of wrong) process.stdout.write(`  FAILED ${problem}\n`);
  if (options.json === true) process.stdout.write(`${JSON.stringify(summary)}\n`);
  if (wrong.length > 0) process.exitCode = 1;
}

await new Command("sim")
  .description("Runs simulated failovers, each from a seed, and says what was violated.")
  .argument("[file]", "a file that exports `campaign` or `campaigns`; default: the project's own")
  .option("--seeds <n>", "how many runs", parseCount, 200)
  .option("--seed <s>", "the first seed; the others follow it", parseSeed, "1")
  .option(
    "--plan <file>",
    "a kept failure, or a list of faults, in place of drawn plans",
    parsePlan,
  )
  .option("--campaign <name>", "only this one")
  .option("--threads <n>", "threads to run on", parseCount, availableParallelism())
  .option("--require-sometimes", "fail when a counter stays at zero; from 2,000 seeds on anyway")
  .option("--mutants", "break each protocol rule in turn, and see its campaign find it")
  .option("--table <file>", "with --mutants: where a table of them goes, in Markdown")
  .option("--audit", "run each seed twice, and compare")
  .option("--keep <folder>", "where failures are kept, and replayed from", FAILURES_FOLDER)
  .option("--json", "print one document at the end")
  .action(main)
  .parseAsync();
