/** One thread of a campaign: takes seeds as long as there are any, and tells how far it is. */
import { parentPort, workerData } from "node:worker_threads";
import { isFabricError } from "@selvage/fabric";
import {
  audit,
  replayKept,
  runCampaign,
  seedAfter,
  type Campaign,
  type CampaignTally,
  type Divergence,
  type FaultPlan,
  type KeptTally,
  type SimReport,
} from "@selvage/sim";
import { campaignsOf, Unusable } from "./campaigns.ts";
import { watchCoverage, type LineCoverage } from "./coverage.ts";

/** Seeds that a thread takes at a time: few, so that no thread has much to do when the others have nothing. */
const SEEDS_AT_ONCE = 4;

/** What a thread does: runs seeds; runs each twice; notes which lines they run, five times slower; or runs kept failures. */
export type ShareMode = "run" | "audit" | "cover" | "kept";

/** What a thread has to do. Seed `index` goes to campaign `index % campaigns`. */
export interface Share {
  readonly mode: ShareMode;
  readonly files: readonly string[];
  readonly firstSeed: string;
  readonly seeds: number;
  /** Shared by all threads: how many lots of seeds have been taken, then how many failures each campaign had. */
  readonly words: Int32Array;
  readonly plan?: FaultPlan;
  /** Only this campaign. */
  readonly only?: string;
  readonly mostFailures: number;
  /** Folder for failures. */
  readonly keep: string;
}

/** What a worker tells. */
export type Told =
  | { readonly told: "seed"; readonly failed: boolean }
  /** There is nothing to run, or the plan does not go: what the user has to be told. */
  | { readonly told: "refused"; readonly message: string }
  | {
      readonly told: "done";
      readonly tallies: readonly CampaignTally[];
      /** Of campaigns that simulate no nodes. */
      readonly besides: readonly CampaignTally[];
      readonly divergences: readonly Divergence[];
      readonly kept: readonly KeptTally[];
      readonly coverage: LineCoverage;
      readonly properties: readonly string[];
    };

const share = workerData as Share;
const { mode, words, only, keep, plan } = share;
const tell = (told: Told): void => parentPort?.postMessage(told);

/** What is run. */
interface Chosen {
  readonly campaigns: readonly Campaign[];
  /** Each gets all seeds, beside the others. */
  readonly besides: readonly Campaign[];
}

async function chosen(): Promise<Chosen> {
  const files = await Promise.all(share.files.map(campaignsOf));
  const all = files.flatMap(({ campaigns, share: seeds }) =>
    Array.from({ length: only === undefined ? seeds : 1 }, () => campaigns).flat(),
  );
  const besides = files.flatMap((file) => file.beside);
  if (only === undefined)
    return all.length > 0 ? { campaigns: all, besides } : { campaigns: besides, besides: [] };
  // One that is asked for by its name is counted like any other.
  const named = [...all, ...besides];
  const campaigns = named.filter(({ name }) => name === only);
  if (campaigns.length > 0) return { campaigns, besides: [] };
  const names = named.map(({ name }) => name).join(", ");
  throw new Unusable(`there is no campaign ${only}: there are ${names}`);
}

/** A few seeds of one campaign. */
interface Lot {
  readonly campaign: Campaign;
  readonly at: number;
  readonly step: number;
  readonly isBeside: boolean;
  readonly firstSeed: string;
  readonly seeds: number;
}

// Every `step`th seed from `first` on, in lots: what one has warmed up serves the next.
function lotsOf(
  campaign: Campaign,
  at: number,
  { first, step, isBeside }: { first: number; step: number; isBeside: boolean },
): readonly Lot[] {
  const seeds = Math.max(0, Math.ceil((share.seeds - first) / step));
  return Array.from({ length: Math.ceil(seeds / SEEDS_AT_ONCE) }, (_, nth) => ({
    campaign,
    at,
    step,
    isBeside,
    firstSeed: seedAfter(share.firstSeed, first + nth * SEEDS_AT_ONCE * step),
    seeds: Math.min(SEEDS_AT_ONCE, seeds - nth * SEEDS_AT_ONCE),
  }));
}

const tallies: CampaignTally[] = [];
const besideTallies: CampaignTally[] = [];
const divergences: Divergence[] = [];
const kept: KeptTally[] = [];

async function auditLot({ campaign, firstSeed, seeds, step, isBeside }: Lot): Promise<void> {
  for (let index = 0; index < seeds; index++) {
    const divergence = await audit(campaign, seedAfter(firstSeed, index * step), {
      ...(plan && { plan }),
      onRun: (report) => (isBeside ? besideTallies : tallies).push(tallyOf(campaign, report)),
    });
    if (divergence !== undefined) divergences.push(divergence);
    if (!isBeside) tell({ told: "seed", failed: divergence !== undefined });
  }
}

// An audit compares: what a run violates is for the campaign to find.
function tallyOf(campaign: Campaign, report: SimReport): CampaignTally {
  return {
    campaign: campaign.name,
    seeds: 1,
    failures: [],
    kept: { run: 0, failures: [], unreadable: [] },
    faults: report.faults,
    sometimes: report.counters.toJSON(),
    simulatedMs: report.simulatedMs,
    events: report.events,
    tookMs: report.tookMs,
    hashes: [report.traceHash],
  };
}

async function runLot(lot: Lot): Promise<void> {
  const { campaign, at, firstSeed, seeds, step, isBeside } = lot;
  const failedBefore = Atomics.load(words, 1 + at);
  if (failedBefore >= share.mostFailures) return;
  const tally = await runCampaign(campaign, {
    firstSeed,
    seeds,
    step,
    replaysKept: false,
    mostFailures: share.mostFailures - failedBefore,
    ...(mode === "cover" ? { minimiseRuns: 0 } : { keepIn: keep }),
    ...(plan && { plan }),
    ...(isBeside
      ? {}
      : { onSeed: ({ property }) => tell({ told: "seed", failed: property !== undefined }) }),
  });
  Atomics.add(words, 1 + at, tally.failures.length);
  (isBeside ? besideTallies : tallies).push(tally);
}

async function takeLots(
  campaigns: readonly Campaign[],
  besides: readonly Campaign[],
): Promise<void> {
  const step = campaigns.length;
  const lots = [
    ...campaigns.flatMap((one, at) => lotsOf(one, at, { first: at, step, isBeside: false })),
    ...besides.flatMap((one, index) =>
      lotsOf(one, step + index, { first: 0, step: 1, isBeside: true }),
    ),
  ];
  const run = mode === "audit" ? auditLot : runLot;
  for (;;) {
    const lot = lots[Atomics.add(words, 0, 1)];
    if (lot === undefined) return;
    await run(lot);
  }
}

async function work(): Promise<void> {
  const stopWatching = mode === "cover" ? await watchCoverage() : undefined;
  const { campaigns, besides } = await chosen();
  const all = [...new Set([...campaigns, ...besides])];
  if (mode === "kept") for (const campaign of all) kept.push(await replayKept(campaign, keep));
  else await takeLots(campaigns, besides);
  const properties = all.flatMap((campaign) => campaign.properties);
  const coverage = (await stopWatching?.()) ?? {};
  const told = { tallies, besides: besideTallies, divergences, kept, coverage, properties };
  tell({ told: "done", ...told });
}

try {
  await work();
} catch (error) {
  if (!(error instanceof Unusable) && !isFabricError(error)) throw error;
  tell({ told: "refused", message: error.message });
}
