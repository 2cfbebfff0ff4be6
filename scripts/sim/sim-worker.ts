/** One thread of a campaign: runs its share of the seeds, and tells how far it is. */
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

/** A worker's share: seed `index` goes to campaign `index % campaigns`, and to this thread if its turn has come. */
export interface Share {
  readonly files: readonly string[];
  readonly firstSeed: string;
  readonly seeds: number;
  readonly thread: number;
  readonly threads: number;
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
for (const [at, campaign] of campaigns.entries()) {
  const first = at + campaigns.length * share.thread;
  const step = campaigns.length * share.threads;
  const seeds = Math.max(0, Math.ceil((share.seeds - first) / step));
  const firstSeed = seedAfter(share.firstSeed, first);
  if (share.isAudit)
    for (let index = 0; index < seeds; index++) {
      const divergence = await audit(campaign, seedAfter(firstSeed, index * step));
      if (divergence !== undefined) divergences.push(divergence);
      tell({ told: "seed", failed: divergence !== undefined });
    }
  else
    tallies.push(
      await runCampaign(campaign, {
        firstSeed,
        seeds,
        step,
        mostFailures: share.mostFailures,
        ...(share.mostFailures === 1
          ? { minimiseRuns: 0 }
          : {
              keepIn: share.keep,
              replaysKept: share.thread === 0 && !share.isCovered,
            }),
        ...(share.plan && { plan: share.plan }),
        onSeed: ({ property }) => tell({ told: "seed", failed: property !== undefined }),
      }),
    );
}
const properties = campaigns.flatMap((campaign) => campaign.properties);
tell({ told: "done", tallies, divergences, coverage: await coverage(), properties });
