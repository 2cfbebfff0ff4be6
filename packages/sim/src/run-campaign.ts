/** Campaigns: one scenario, many seeds. */
import type { Campaign } from "./campaign.ts";
import { FAULT_KINDS, type FaultPlan } from "./faults.ts";
import { minimise } from "./minimise.ts";
import { RandomStream } from "./random.ts";
import { keptFailures, type SimReport } from "./report.ts";
import { simulate, type SimulateOptions } from "./simulate.ts";
import { Counters } from "./sometimes.ts";
import { withoutStacks } from "./stacks.ts";
import { drawPlan } from "./swarm.ts";

/** A run that a campaign's seed gives: the same for the same seed, with a plan of its own or the one that is given. */
export function runOf(campaign: Campaign, seed: string, plan?: FaultPlan): SimulateOptions {
  const stream = (part: string): RandomStream =>
    new RandomStream(seed, `campaign/${campaign.name}/${part}`);
  return {
    ...campaign.scenario(stream("scenario")),
    name: campaign.name,
    seed,
    plan: plan ?? drawPlan(stream("plan"), campaign.swarm(stream("scenario"))),
  };
}

/** The seeds after a first one: whole numbers, counted on within 64 bits. */
export function seedAfter(first: string, by: number): string {
  return BigInt.asUintN(64, BigInt(first) + BigInt(by)).toString();
}

/** A seed that violated something. */
export interface CampaignFailure {
  readonly campaign: string;
  /** {@link REPEATS} where the seed's second run was not the same. */
  readonly property: string;
  readonly message: string;
  readonly seed: string;
  /** The plan, made as small as it goes. */
  readonly plan: FaultPlan;
  /** Faults of the plan as it was drawn. */
  readonly drawnFaults: number;
  /** Where it is kept, if it is. */
  readonly path: string | undefined;
}

/** The property of a failure that did not come again: nothing that is kept of it would show it. */
export const REPEATS: string = "T1: a seed gives the same run twice";

/** What became of the failures that were kept. */
export interface KeptTally {
  /** How many were run again. */
  readonly run: number;
  /** Those that still fail. */
  readonly failures: readonly CampaignFailure[];
  /** Files that hold no failure, or none that this program can run, and why. */
  readonly unreadable: readonly { readonly path: string; readonly message: string }[];
}

/** What a part of a campaign came to: plain data, to be merged. */
export interface CampaignTally {
  readonly campaign: string;
  readonly seeds: number;
  /** Of the seeds, without those that were kept before. */
  readonly failures: readonly CampaignFailure[];
  /** Of those that were kept before, in `keepIn`. */
  readonly kept: KeptTally;
  /** Faults that struck, by kind: all kinds, at zero too. */
  readonly faults: Readonly<Record<string, number>>;
  readonly sometimes: Readonly<Record<string, number>>;
  readonly simulatedMs: number;
  readonly events: number;
  /** Real time in the runs, in milliseconds. */
  readonly tookMs: number;
  /** Of each seed, in order. */
  readonly hashes: readonly string[];
}

/** Which seeds, and what for. */
export interface CampaignRun {
  readonly firstSeed: string;
  /** How many, each `step` after the one before. */
  readonly seeds: number;
  /** Default 1. */
  readonly step?: number;
  /** A plan in place of those that the seeds draw. */
  readonly plan?: FaultPlan;
  /** Runs that making a failure smaller may take. Default 200. */
  readonly minimiseRuns?: number;
  /** Failures after which the campaign stops. Default 5. */
  readonly mostFailures?: number;
  /** Folder in which failures are kept, each with its smallest plan. Default: none. */
  readonly keepIn?: string;
  /** Whether those that are kept there are run first: they do not count among the seeds or the failures. Default: without `plan`. */
  readonly replaysKept?: boolean;
  /** Told after each seed. */
  readonly onSeed?: (report: SimReport) => void;
}

/** Runs a campaign over its seeds. Each failure is made smaller before it is told. */
export async function runCampaign(campaign: Campaign, run: CampaignRun): Promise<CampaignTally> {
  const { firstSeed, seeds, step = 1, plan, mostFailures = 5, onSeed, keepIn } = run;
  const { replaysKept = plan === undefined } = run;
  const counters = new Counters();
  counters.require(...campaign.sometimes);
  const faults = new Counters();
  faults.require(...FAULT_KINDS);
  const failures: CampaignFailure[] = [];
  const hashes: string[] = [];
  let [simulatedMs, events, tookMs] = [0, 0, 0];
  const kept =
    keepIn !== undefined && replaysKept ? await replayKept(campaign, keepIn, run) : noneKept;
  for (let index = 0; index < seeds && failures.length < mostFailures; index++) {
    const report = await runQuickly(runOf(campaign, seedAfter(firstSeed, index * step), plan));
    hashes.push(report.traceHash);
    counters.merge(report.counters);
    faults.merge(report.faults);
    simulatedMs += report.simulatedMs;
    events += report.events;
    tookMs += report.tookMs;
    if (report.property === undefined) {
      onSeed?.(report);
      continue;
    }
    const { told, failure } = await lookedInto(campaign, report, run);
    failures.push(failure);
    onSeed?.(told);
  }
  return {
    campaign: campaign.name,
    seeds: hashes.length,
    failures,
    kept,
    faults: faults.toJSON(),
    sometimes: counters.toJSON(),
    simulatedMs,
    events,
    tookMs,
    hashes,
  };
}

const noneKept: KeptTally = { run: 0, failures: [], unreadable: [] };

/**
 * Runs the failures of a campaign that are kept in a folder again. One that cannot be read, or whose plan does not go with the
 * program as it is now, is told by its path, and does not keep the others from being run.
 */
export async function replayKept(
  campaign: Campaign,
  folder: string,
  options: Pick<CampaignRun, "minimiseRuns"> = {},
): Promise<KeptTally> {
  const failures: CampaignFailure[] = [];
  const unreadable: { readonly path: string; readonly message: string }[] = [];
  let run = 0;
  const kept = keptFailures(folder, campaign.name, (path, error) =>
    unreadable.push({ path, message: error.message }),
  );
  for (const [path, { seed, plan }] of kept) {
    let report: SimReport;
    try {
      report = await runQuickly(runOf(campaign, seed, plan));
    } catch (error) {
      // Not for what a program does: so the plan is what does not go.
      unreadable.push({ path, message: (error as Error).message });
      continue;
    }
    run++;
    if (report.property === undefined) continue;
    const looked = await lookedInto(campaign, report, { ...options, keepIn: folder });
    failures.push(looked.failure);
  }
  return { run, failures, unreadable };
}

// Once more, with stacks, and then smaller. What does not come again is no failure of the program's alone.
async function lookedInto(
  campaign: Campaign,
  report: SimReport,
  { minimiseRuns = 200, keepIn }: Pick<CampaignRun, "minimiseRuns" | "keepIn">,
): Promise<{ readonly told: SimReport; readonly failure: CampaignFailure }> {
  const { seed, plan } = report;
  const common = { campaign: campaign.name, seed, drawnFaults: plan.length };
  const again = await simulate(runOf(campaign, seed, plan));
  if (again.property !== report.property || again.traceHash !== report.traceHash) {
    const [one, two] = [report, again].map(
      ({ property = "nothing", traceHash }) => `${property} was violated, trace ${traceHash}`,
    );
    const message = `${REPEATS}: ${one}; and then ${two}`;
    return {
      told: report,
      failure: { ...common, property: REPEATS, message, plan, path: undefined },
    };
  }
  const least = await minimise(() => runOf(campaign, seed), again, minimiseRuns);
  const failure: CampaignFailure = {
    ...common,
    property: least.property ?? "",
    message: (least.violation as Error).message,
    plan: least.plan,
    path: keepIn === undefined ? undefined : least.keep(keepIn),
  };
  return { told: again, failure };
}

function runQuickly(options: SimulateOptions): Promise<SimReport> {
  return withoutStacks(() => simulate(options));
}

/** Two runs of a seed that ought to be the same. */
export interface Divergence {
  readonly campaign: string;
  readonly seed: string;
  /** The first checkpoint at which they part, of 256 entries each; and what each has there that the other has not. */
  readonly checkpoint: number;
  /**
   * The first occurrence that differs, in each; `null` where that run had ended. Where all occurrences are the same, they part
   * in messages, histories, counters or the times of events: then their hashes.
   */
  readonly lasts: readonly [string, string];
}

/** What is audited, beside the seed. */
export interface AuditOptions {
  /** A plan in place of the one that the seed draws. */
  readonly plan?: FaultPlan;
  /** Told of the first run. */
  readonly onRun?: (report: SimReport) => void;
}

/** Runs a seed twice and compares. Undefined: the same. */
export async function audit(
  campaign: Campaign,
  seed: string,
  { plan, onRun }: AuditOptions = {},
): Promise<Divergence | undefined> {
  const one = await runQuickly(runOf(campaign, seed, plan));
  const two = await runQuickly(runOf(campaign, seed, plan));
  onRun?.(one);
  if (one.traceHash === two.traceHash) return undefined;
  const { length } = one.checkpoints;
  let checkpoint = one.checkpoints.findIndex((hash, index) => hash !== two.checkpoints[index]);
  if (checkpoint < 0) checkpoint = length;
  const lines = [one, two].map(({ occurrences }) =>
    occurrences.map((each) => JSON.stringify(each)),
  );
  const [first = [], second = []] = lines;
  const most = Math.max(first.length, second.length);
  let parting = 0;
  while (parting < most && first[parting] === second[parting]) parting++;
  // Where one run is a part of the other; or only messages, histories or counters differ, which are not recorded.
  const lastOf = (all: readonly string[], { traceHash }: SimReport): string =>
    parting === most
      ? `as recorded the same, trace ${traceHash}`
      : (all[parting] ?? "nothing more");
  const lasts = [lastOf(first, one), lastOf(second, two)] as const;
  return { campaign: campaign.name, seed, checkpoint, lasts };
}
