/** One thread of a campaign: takes seeds as long as there are any, and tells how far it is. */
import { parentPort, workerData } from "node:worker_threads";
import {
  audit,
  runCampaign,
  seedAfter,
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
      readonly divergences: readonly Divergence[];
      readonly coverage: LineCoverage;
      readonly properties: readonly string[];
    };

const share = workerData as Share;
const tell = (told: Told): void => parentPort?.postMessage(told);
const coverage = share.isCovered
  ? await watchCoverage()
  : (): Promise<LineCoverage> => Promise.resolve({});
const all = (await Promise.all(share.files.map(campaignsOf))).flat();
const campaigns = all.filter(({ name }) => share.only === undefined || name === share.only);
const tallies: CampaignTally[] = [];
const divergences: Divergence[] = [];
const { words } = share;
// By campaign, each in lots: what one has warmed up serves the next.
const lots = campaigns.flatMap((campaign, at) => {
  const step = campaigns.length;
  const seeds = Math.max(0, Math.ceil((share.seeds - at) / step));
  return Array.from({ length: Math.ceil(seeds / SEEDS_AT_ONCE) }, (_, nth) => ({
    campaign,
    at,
    step,
    isFirst: nth === 0,
    firstSeed: seedAfter(share.firstSeed, at + nth * SEEDS_AT_ONCE * step),
    seeds: Math.min(SEEDS_AT_ONCE, seeds - nth * SEEDS_AT_ONCE),
  }));
});

type Lot = (typeof lots)[number];

async function auditLot({ campaign, firstSeed, seeds, step }: Lot): Promise<void> {
  for (let index = 0; index < seeds; index++) {
    const divergence = await audit(campaign, seedAfter(firstSeed, index * step));
    if (divergence !== undefined) divergences.push(divergence);
    tell({ told: "seed", failed: divergence !== undefined });
  }
}

async function runLot({ campaign, at, firstSeed, seeds, step, isFirst }: Lot): Promise<void> {
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
    onSeed: ({ property }) => tell({ told: "seed", failed: property !== undefined }),
  });
  Atomics.add(words, 1 + at, tally.failures.length);
  tallies.push(tally);
}

for (;;) {
  const lot = lots[Atomics.add(words, 0, 1)];
  if (lot === undefined) break;
  await (share.isAudit ? auditLot(lot) : runLot(lot));
}
const properties = campaigns.flatMap((campaign) => campaign.properties);
tell({ told: "done", tallies, divergences, coverage: await coverage(), properties });
