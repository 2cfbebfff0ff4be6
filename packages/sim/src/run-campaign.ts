/** Campaigns: one scenario, many seeds. */
import type { Campaign } from "./campaign.ts";
import { minimise } from "./minimise.ts";
import { RandomStream } from "./random.ts";
import type { FaultPlan } from "./faults.ts";
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

/** What a part of a campaign came to: plain data, to be merged. */
export interface CampaignTally {
  readonly campaign: string;
  readonly seeds: number;
  readonly failures: readonly CampaignFailure[];
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
  /** Whether those that are kept there are run first. Default true. */
  readonly replaysKept?: boolean;
  /** Told after each seed. */
  readonly onSeed?: (report: SimReport) => void;
}

/** Runs a campaign over its seeds. Each failure is made smaller before it is told. */
export async function runCampaign(campaign: Campaign, run: CampaignRun): Promise<CampaignTally> {
  const {
    firstSeed,
    seeds,
    step = 1,
    plan,
    minimiseRuns = 200,
    mostFailures = 5,
    onSeed,
    replaysKept = true,
    keepIn,
  } = run;
  const counters = new Counters();
  counters.require(...campaign.sometimes);
  const faults = new Counters();
  const failures: CampaignFailure[] = [];
  const hashes: string[] = [];
  let [simulatedMs, events, tookMs] = [0, 0, 0];
  const note = async (report: SimReport): Promise<SimReport> => {
    counters.merge(report.counters);
    faults.merge(report.faults);
    simulatedMs += report.simulatedMs;
    events += report.events;
    tookMs += report.tookMs;
    if (report.property === undefined) return report;
    const again = await simulate(runOf(campaign, report.seed, report.plan));
    if (again.traceHash !== report.traceHash || again.property !== report.property) {
      failures.push(unrepeated(campaign, report, again));
      return report;
    }
    const least = await minimise(() => runOf(campaign, report.seed), again, minimiseRuns);
    failures.push({
      campaign: campaign.name,
      property: least.property ?? report.property,
      message: messageOf(least),
      seed: report.seed,
      plan: least.plan,
      drawnFaults: report.plan.length,
      path: keepIn === undefined ? undefined : least.keep(keepIn),
    });
    return again;
  };
  const kept = keepIn === undefined || !replaysKept ? [] : keptFailures(keepIn, campaign.name);
  for (const [, failure] of kept)
    await note(await runQuickly(runOf(campaign, failure.seed, failure.plan)));
  for (let index = 0; index < seeds && failures.length < mostFailures; index++) {
    const report = await runQuickly(runOf(campaign, seedAfter(firstSeed, index * step), plan));
    hashes.push(report.traceHash);
    const told = await note(report);
    onSeed?.(told);
  }
  return {
    campaign: campaign.name,
    seeds: hashes.length,
    failures,
    faults: faults.toJSON(),
    sometimes: counters.toJSON(),
    simulatedMs,
    events,
    tookMs,
    hashes,
  };
}

function messageOf({ violation }: SimReport): string {
  return violation?.message ?? "nothing was violated";
}

// Neither made smaller nor kept: another run of it would show something else.
function unrepeated(campaign: Campaign, report: SimReport, again: SimReport): CampaignFailure {
  const { seed, plan } = report;
  const [first, second] = [report, again].map(
    (run) => `"${messageOf(run)}" with trace ${run.traceHash}`,
  );
  return {
    campaign: campaign.name,
    property: "T1",
    message: `T1: a run of the same seed and plan was another: ${first}, then ${second}`,
    seed,
    plan,
    drawnFaults: plan.length,
    path: undefined,
  };
}

function runQuickly(options: SimulateOptions): Promise<SimReport> {
  return withoutStacks(() => simulate(options));
}

/** Two runs of a seed that ought to be the same. */
export interface Divergence {
  readonly campaign: string;
  readonly seed: string;
  /** The first checkpoint at which they part, of 256 entries each. */
  readonly checkpoint: number;
  /**
   * The first occurrence that differs, in each; `null` where that run had ended. Where all occurrences are the same, they part
   * in messages, histories, counters or the times of events: then their hashes.
   */
  readonly lasts: readonly [string, string];
}

function occurrenceAt({ occurrences }: SimReport, index: number): string {
  return JSON.stringify(occurrences[index] ?? null);
}

/** Runs a seed twice and compares. Undefined: the same. */
export async function audit(campaign: Campaign, seed: string): Promise<Divergence | undefined> {
  const [one, two] = [
    await runQuickly(runOf(campaign, seed)),
    await runQuickly(runOf(campaign, seed)),
  ] as const;
  if (one.traceHash === two.traceHash) return undefined;
  const { length } = one.checkpoints;
  let checkpoint = one.checkpoints.findIndex((hash, index) => hash !== two.checkpoints[index]);
  if (checkpoint < 0) checkpoint = length;
  // One run may be the other's beginning.
  const most = Math.max(one.occurrences.length, two.occurrences.length);
  let parting = 0;
  while (parting < most && occurrenceAt(one, parting) === occurrenceAt(two, parting)) parting++;
  const last = (report: SimReport): string =>
    parting < most
      ? occurrenceAt(report, parting)
      : `as recorded the same, trace ${report.traceHash}`;
  return { campaign: campaign.name, seed, checkpoint, lasts: [last(one), last(two)] };
}
