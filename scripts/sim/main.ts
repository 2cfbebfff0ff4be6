/**
 * `npm run sim [-- FILE] [--seeds N] [--seed S] [--plan FILE] [--require-sometimes] [--mutants] [--audit] [--json]`: the
 * project's campaigns, or those of a file of yours. Progress goes to stderr, the summary to stdout; with `--json` the summary
 * goes to stderr too, and one document to stdout. Exit status 0: seeds were run, and nothing was violated.
 */
import { readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { resolve } from "node:path";
import { Worker } from "node:worker_threads";
import { Command, InvalidArgumentError } from "commander";
import { FAILURES_FOLDER, parsePlan, type FaultPlan, type KeptFailure } from "@selvage/sim";
import { asTyped, ownFiles, Unusable } from "./campaigns.ts";
import { merged, type LineCoverage } from "./coverage.ts";
import { shortcomings } from "./gate.ts";
import { runMutants } from "./mutants.ts";
import type { Share, ShareMode, Told } from "./sim-worker.ts";
import { summarize, table, type Summary } from "./summary.ts";

/** Seeds of a run by which coverage is measured: a sample, since that slows them down. */
const COVERED_SEEDS = 10;

/** Failures after which a campaign stops. */
const FAILURES_MAX = 5;

/** Campaigns of a run. */
const CAMPAIGNS_MAX = 1_000;

interface Options {
  readonly seeds: number;
  readonly seed: string;
  readonly plan?: Planned;
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

/** A plan, and where it is that of a kept failure, the run that it belongs to. */
type Planned = Pick<KeptFailure, "plan"> & Partial<Pick<KeptFailure, "seed" | "scenario">>;

function readPlan(path: string): Planned {
  let read: unknown;
  try {
    read = JSON.parse(readFileSync(asTyped(path), "utf8"));
  } catch (error) {
    throw new InvalidArgumentError((error as Error).message);
  }
  const planned = (Array.isArray(read) ? { plan: read } : (read ?? {})) as Planned;
  if (!Array.isArray(planned.plan))
    throw new InvalidArgumentError("expected a kept failure, or a list of faults");
  try {
    return { ...planned, plan: parsePlan(planned.plan) };
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

type Done = Extract<Told, { told: "done" }>;

/** One thread. */
function runShare(share: Share, onSeed: (failed: boolean) => void): Promise<Done> {
  const worker = new Worker(new URL("./sim-worker.ts", import.meta.url), { workerData: share });
  return new Promise((settle, reject) => {
    worker.once("error", reject);
    worker.on("message", (told: Told) => {
      if (told.told === "done") settle(told);
      else if (told.told === "refused") reject(new Unusable(told.message));
      else onSeed(told.failed);
    });
    worker.once("exit", (code) => {
      reject(new Error(`a thread of the campaign exited with code ${code}`));
    });
  });
}

interface Ran {
  readonly shares: readonly Done[];
  readonly covered: LineCoverage;
}

/** Runs what is kept, then all seeds on all threads, and then the sample for coverage. */
async function runShares(files: readonly string[], options: Options): Promise<Ran> {
  const { seeds, seed, audit = false, plan, campaign, keep } = options;
  let [done, failed] = [0, 0];
  const what = audit ? "seeds audited" : "seeds";
  const common = {
    files,
    firstSeed: seed,
    keep: keep === undefined ? resolve(FAILURES_FOLDER) : asTyped(keep),
    ...(plan && { plan: plan.plan satisfies FaultPlan }),
    ...(campaign !== undefined && { only: campaign }),
  };
  const onAll = (
    mode: ShareMode,
    share: Pick<Share, "seeds" | "mostFailures">,
    onSeed: (failed: boolean) => void = () => {},
  ): Promise<readonly Done[]> => {
    const words = new Int32Array(new SharedArrayBuffer(4 * (1 + CAMPAIGNS_MAX)));
    const threads = Math.min(options.threads, Math.max(1, share.seeds));
    const one = (): Promise<Done> => runShare({ ...common, ...share, mode, words }, onSeed);
    return Promise.all(Array.from({ length: threads }, one));
  };
  const onSeed = (isFailed: boolean): void => {
    if (isFailed) failed++;
    progress(++done, seeds, failed, what);
  };
  const whole = { seeds, mostFailures: FAILURES_MAX };
  if (audit) return { shares: await onAll("audit", whole, onSeed), covered: {} };
  const kept = plan === undefined ? await onAll("kept", { ...whole, seeds: 0 }) : [];
  const shares = [...kept, ...(await onAll("run", whole, onSeed))];
  const sample = { seeds: Math.min(seeds, COVERED_SEEDS), mostFailures: 1 };
  const covering = await onAll("cover", sample);
  return {
    shares,
    covered: covering
      .map(({ coverage }) => coverage)
      .reduce((one, other) => merged(one, other), {}),
  };
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
  const summary = summarize(shares, covered, { ...options, file });
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
    if (!(error instanceof Unusable)) throw error;
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
  .option("--plan <file>", "a kept failure, or a list of faults, in place of drawn plans", readPlan)
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
