/** One thread of a campaign: takes seeds as long as there are any, and tells how far it is. */
import { parentPort, workerData } from "node:worker_threads";
import {
  audit,
  runCampaign,
  seedAfter,
  type Campaign,
  type CampaignTally,
  type Divergence,
  type FaultPlan,
} from "@selvage/sim";
import { campaignsOf } from "./campaigns.ts";
import { watchCoverage, type LineCoverage } from "./coverage.ts";

/** Seeds that a thread takes at a time: few, so that no thread has much to do when the others have nothing. */
const SEEDS_AT_ONCE = 4;

/** What a thread has to do. Seed `index` goes to campaign `index % campaigns`. */
export interface Share {
  readonly files: readonly string[];
  readonly firstSeed: string;
  readonly seeds: number;
  /** Shared by all threads: how many lots of seeds have been taken, then how many failures each campaign had. */
  readonly words: Int32Array;
  readonly plan?: FaultPlan;
  readonly isAudit: boolean;
  /** Whether to note which lines run: that makes a run five times slower. */
  readonly isCovered: boolean;
  /** Only this campaign. */
  readonly only?: string;
  readonly mostFailures: number;
  /** Folder for failures. */
  readonly keep: string;
}

/** What a worker tells. */
export type Told =
  | { readonly told: "seed"; readonly failed: boolean }
  | {
      readonly told: "done";
      readonly tallies: readonly CampaignTally[];
      /** Of campaigns that simulate no nodes. */
      readonly besides: readonly CampaignTally[];
      readonly divergences: readonly Divergence[];
      readonly coverage: LineCoverage;
      readonly properties: readonly string[];
    };

const share = workerData as Share;
const tell = (told: Told): void => parentPort?.postMessage(told);
const coverage = share.isCovered
  ? await watchCoverage()
  : (): Promise<LineCoverage> => Promise.resolve({});
const files = await Promise.all(share.files.map(campaignsOf));
const { words, only, isAudit } = share;
// One that is asked for by its name is counted like any other.
const asked = ({ name }: Campaign): boolean => only === undefined || name === only;
const apart = files.flatMap((file) => file.beside);
const campaigns = [
  ...files.flatMap((file) => file.campaigns),
  ...(only === undefined ? [] : apart),
].filter(asked);
const besides = only === undefined && !isAudit ? apart : [];
const tallies: CampaignTally[] = [];
const besideTallies: CampaignTally[] = [];
const divergences: Divergence[] = [];

/** A few seeds of one campaign. */
interface Lot {
  readonly campaign: Campaign;
  readonly at: number;
  readonly step: number;
  readonly isBeside: boolean;
  readonly isFirst: boolean;
  readonly firstSeed: string;
  readonly seeds: number;
}

// Every `step`th seed from `first` on, in lots: what one has warmed up serves the next.
function lotsOf(campaign: Campaign, at: number, first: number, step: number): readonly Lot[] {
  const seeds = Math.max(0, Math.ceil((share.seeds - first) / step));
  return Array.from({ length: Math.ceil(seeds / SEEDS_AT_ONCE) }, (_, nth) => ({
    campaign,
    at,
    step,
    isBeside: at >= campaigns.length,
    isFirst: nth === 0,
    firstSeed: seedAfter(share.firstSeed, first + nth * SEEDS_AT_ONCE * step),
    seeds: Math.min(SEEDS_AT_ONCE, seeds - nth * SEEDS_AT_ONCE),
  }));
}

async function auditLot({ campaign, firstSeed, seeds, step }: Lot): Promise<void> {
  for (let index = 0; index < seeds; index++) {
    const divergence = await audit(campaign, seedAfter(firstSeed, index * step));
    if (divergence !== undefined) divergences.push(divergence);
    tell({ told: "seed", failed: divergence !== undefined });
  }
}

async function runLot(lot: Lot): Promise<void> {
  const { campaign, at, firstSeed, seeds, step, isFirst, isBeside } = lot;
  const failedBefore = Atomics.load(words, 1 + at);
  if (failedBefore >= share.mostFailures) return;
  const tally = await runCampaign(campaign, {
    firstSeed,
    seeds,
    step,
    mostFailures: share.mostFailures - failedBefore,
    ...(share.mostFailures === 1
      ? { minimiseRuns: 0 }
      : { keepIn: share.keep, replaysKept: isFirst && !share.isCovered }),
    ...(share.plan && { plan: share.plan }),
    ...(isBeside
      ? {}
      : { onSeed: ({ property }) => tell({ told: "seed", failed: property !== undefined }) }),
  });
  Atomics.add(words, 1 + at, tally.failures.length);
  (isBeside ? besideTallies : tallies).push(tally);
}

const lots = [
  ...campaigns.flatMap((campaign, at) => lotsOf(campaign, at, at, campaigns.length)),
  ...besides.flatMap((campaign, index) => lotsOf(campaign, campaigns.length + index, 0, 1)),
];
for (;;) {
  const lot = lots[Atomics.add(words, 0, 1)];
  if (lot === undefined) break;
  await (isAudit ? auditLot(lot) : runLot(lot));
}
const properties = [...campaigns, ...besides].flatMap((campaign) => campaign.properties);
tell({
  told: "done",
  tallies,
  besides: besideTallies,
  divergences,
  coverage: await coverage(),
  properties,
});
