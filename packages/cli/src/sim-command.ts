/** `selvage sim FILE`: simulated failures of a program of the user's, each from a seed. */
import { availableParallelism } from "node:os";
import { relative, resolve } from "node:path";
import type { CampaignSummary, PlannedRun } from "@selvage/sim";
import { InvalidArgumentError, type Command } from "commander";
import { EXIT_CODES } from "./exit-codes.ts";
import { parseCount } from "./option-values.ts";
import type { CommonOptions, Reply, Streams } from "./reply.ts";
import { JSON_OPTION, type Session } from "./session.ts";

interface SimOptions extends CommonOptions {
  readonly seeds: number;
  readonly seed: string;
  /** A path. */
  readonly plan?: string;
  readonly campaign?: string;
  readonly threads: number;
  readonly requireSometimes?: true;
  readonly audit?: true;
  readonly keep?: string;
}

/** Adds the command. */
export function addSim(program: Command, session: Session): void {
  program
    .command("sim")
    .description("simulate failures: a module that exports `campaign`, `campaigns` or a default")
    .argument("<file>", "the module")
    .option("--seeds <n>", "how many runs", parseCount, 200)
    .option("--seed <s>", "the first seed; the others follow it", parseSeed, "1")
    .option("--plan <file>", "a kept failure, or a list of faults, in place of drawn plans")
    .option("--campaign <name>", "only this one")
    .option("--threads <n>", "threads to run on", parseCount, availableParallelism())
    .option("--require-sometimes", "fail when a counter stays at zero")
    .option("--audit", "run each seed twice, and compare")
    .option("--keep <folder>", "where failures are kept, and replayed from (.selvage/failures)")
    .option(...JSON_OPTION)
    .action(
      session.telling((file: string, options: SimOptions, command: Command) =>
        simulateFile(file, options, command, session.streams),
      ),
    );
}

function parseSeed(text: string): string {
  if (!/^\d{1,20}$/.test(text) || BigInt(text) >= 2n ** 64n)
    throw new InvalidArgumentError("Expected a whole number of up to 64 bits.");
  return text;
}

// A kept failure is run as it was, where nothing else is asked for.
function withKept(options: SimOptions, command: Command, plan: PlannedRun | undefined): SimOptions {
  if (plan?.seed === undefined) return options;
  const isGiven = (name: string): boolean => command.getOptionValueSource(name) !== "default";
  const campaign = options.campaign ?? plan.scenario;
  return {
    ...options,
    seed: isGiven("seed") ? options.seed : plan.seed,
    seeds: isGiven("seeds") ? options.seeds : 1,
    ...(campaign !== undefined && { campaign }),
  };
}

async function simulateFile(
  file: string,
  options: SimOptions,
  command: Command,
  streams: Streams,
): Promise<Reply> {
  // Only here: it is large, and no other command needs it.
  const sim = await import("@selvage/sim");
  const plan = options.plan === undefined ? undefined : sim.readPlan(resolve(options.plan));
  const { seeds, seed, campaign, threads, audit = false, keep } = withKept(options, command, plan);
  const shares = await sim.runCampaignFiles([file], {
    seeds,
    seed,
    threads,
    audit,
    ...(plan && { plan: plan.plan }),
    ...(campaign !== undefined && { campaign }),
    ...(keep !== undefined && { keep }),
    onProgress: (done, failed) => progress(done, seeds, failed, streams),
  });
  const summary: CampaignSummary = sim.summarizeCampaigns(shares, {
    seeds,
    seed,
    command: `selvage sim ${file}`,
    shown: (path) => relative("", path),
  });
  const properties = new Set(shares.flatMap((share) => share.properties));
  const wrong = summary.failures.map(({ message, replay }) => `${message}\n    ${replay}`);
  if (!audit) wrong.push(...sim.campaignShortcomings(summary, options.requireSometimes === true));
  const text = [
    ...sim.campaignLines(summary),
    "  properties held to",
    ...[...properties].toSorted().map((property) => `    ${property}`),
    ...wrong.map((problem) => `  FAILED ${problem}`),
  ].join("\n");
  const exitCode = wrong.length === 0 ? EXIT_CODES.ok : EXIT_CODES.failed;
  return { document: summary, text, exitCode };
}

function progress(done: number, of: number, failed: number, { stderr }: Streams): void {
  const line = `sim: ${done} of ${of} seeds${failed === 0 ? "" : `, ${failed} failed`}`;
  if (stderr.isTTY === true) stderr.write(`\r${line}${done === of ? "\n" : ""}`);
  else if (done === of || done % Math.max(1, Math.round(of / 10)) === 0) stderr.write(`${line}\n`);
}
