/** What one thread of a campaign does: takes seeds as long as there are any, and tells how far it is. */
import { FabricError } from "@selvage/fabric";
import type { Campaign } from "../campaign.ts";
import type { FaultPlan } from "../faults.ts";
import type { SimReport } from "../report.ts";
import {
  audit,
  replayKept,
  runCampaign,
  seedAfter,
  type CampaignTally,
  type Divergence,
  type KeptTally,
} from "../run-campaign.ts";
import { loadCampaigns } from "./campaign-file.ts";

/** Seeds that a thread takes at a time: few, so that no thread has much to do when the others have nothing. */
const seedsAtOnce = 4;

/** What a thread does: runs seeds; runs each twice; or runs kept failures. */
export type ShareMode = "run" | "audit" | "kept";

/** What a thread has to do. Seed `index` goes to campaign `index % campaigns`. */
export interface CampaignShare {
  readonly mode: ShareMode;
  readonly files: readonly string[];
  readonly firstSeed: string;
  readonly seeds: number;
  /** Shared by all threads: how many lots of seeds have been taken, then how many failures each campaign had. */
  readonly words: Int32Array;
  readonly plan?: FaultPlan;
  /** Only this campaign. */
  readonly only?: string;
  /** Failures after which a campaign stops. */
  readonly mostFailures: number;
  /** Folder for failures. Undefined: they are neither kept nor made smaller. */
  readonly keep: string | undefined;
}

/** What came of a thread's share. */
export interface ShareReport {
  readonly tallies: readonly CampaignTally[];
  /** Of campaigns that simulate no nodes. */
  readonly besides: readonly CampaignTally[];
  readonly divergences: readonly Divergence[];
  readonly kept: readonly KeptTally[];
  /** What the campaigns hold a program to. */
  readonly properties: readonly string[];
}

/**
 * Does a share of a campaign's seeds on this thread. For `runOnThreads`, and for threads that watch what they run.
 * @throws FabricError as `loadCampaigns`, and `NOT_FOUND`: no campaign is named `only`.
 */
export async function workShare(
  share: CampaignShare,
  onSeed: (isFailed: boolean) => void,
): Promise<ShareReport> {
  const work = new ShareWork(share, onSeed);
  await work.run(await chosen(share));
  return work;
}

/** What is run. */
interface Chosen {
  readonly campaigns: readonly Campaign[];
  /** Each gets all seeds, beside the others. */
  readonly besides: readonly Campaign[];
}

async function chosen({ files: paths, only }: CampaignShare): Promise<Chosen> {
  const files = await Promise.all(paths.map(loadCampaigns));
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
  const names = named.map(({ name }) => name);
  const what = `there is no campaign ${only}: there are ${names.join(", ")}`;
  throw new FabricError("NOT_FOUND", what, { campaign: only, names });
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

class ShareWork implements ShareReport {
  readonly tallies: CampaignTally[] = [];
  readonly besides: CampaignTally[] = [];
  readonly divergences: Divergence[] = [];
  readonly kept: KeptTally[] = [];
  properties: readonly string[] = [];
  readonly #share: CampaignShare;
  readonly #onSeed: (isFailed: boolean) => void;

  constructor(share: CampaignShare, onSeed: (isFailed: boolean) => void) {
    this.#share = share;
    this.#onSeed = onSeed;
  }

  async run({ campaigns, besides }: Chosen): Promise<void> {
    const { mode, keep } = this.#share;
    const all = [...new Set([...campaigns, ...besides])];
    this.properties = all.flatMap((campaign) => campaign.properties);
    if (mode !== "kept") await this.#takeLots(campaigns, besides);
    else if (keep !== undefined)
      for (const campaign of all) this.kept.push(await replayKept(campaign, keep));
  }

  async #takeLots(campaigns: readonly Campaign[], besides: readonly Campaign[]): Promise<void> {
    const { mode, words } = this.#share;
    const step = campaigns.length;
    const lots = [
      ...campaigns.flatMap((one, at) =>
        this.#lotsOf(one, at, { first: at, step, isBeside: false }),
      ),
      ...besides.flatMap((one, index) =>
        this.#lotsOf(one, step + index, { first: 0, step: 1, isBeside: true }),
      ),
    ];
    for (;;) {
      const lot = lots[Atomics.add(words, 0, 1)];
      if (lot === undefined) return;
      await (mode === "audit" ? this.#auditLot(lot) : this.#runLot(lot));
    }
  }

  // Every `step`th seed from `first` on, in lots: what one has warmed up serves the next.
  #lotsOf(
    campaign: Campaign,
    at: number,
    { first, step, isBeside }: { first: number; step: number; isBeside: boolean },
  ): readonly Lot[] {
    const { firstSeed, seeds: all } = this.#share;
    const seeds = Math.max(0, Math.ceil((all - first) / step));
    return Array.from({ length: Math.ceil(seeds / seedsAtOnce) }, (_, nth) => ({
      campaign,
      at,
      step,
      isBeside,
      firstSeed: seedAfter(firstSeed, first + nth * seedsAtOnce * step),
      seeds: Math.min(seedsAtOnce, seeds - nth * seedsAtOnce),
    }));
  }

  async #auditLot({ campaign, firstSeed, seeds, step, isBeside }: Lot): Promise<void> {
    const { plan } = this.#share;
    for (let index = 0; index < seeds; index++) {
      const divergence = await audit(campaign, seedAfter(firstSeed, index * step), {
        ...(plan && { plan }),
        onRun: (report) => this.#talliesOf(isBeside).push(tallyOf(campaign, report)),
      });
      if (divergence !== undefined) this.divergences.push(divergence);
      if (!isBeside) this.#onSeed(divergence !== undefined);
    }
  }

  async #runLot({ campaign, at, firstSeed, seeds, step, isBeside }: Lot): Promise<void> {
    const { words, mostFailures, keep, plan } = this.#share;
    const failedBefore = Atomics.load(words, 1 + at);
    if (failedBefore >= mostFailures) return;
    const tally = await runCampaign(campaign, {
      firstSeed,
      seeds,
      step,
      replaysKept: false,
      mostFailures: mostFailures - failedBefore,
      ...(keep === undefined ? { minimiseRuns: 0 } : { keepIn: keep }),
      ...(plan && { plan }),
      ...(isBeside
        ? {}
        : { onSeed: ({ property }: SimReport) => this.#onSeed(property !== undefined) }),
    });
    Atomics.add(words, 1 + at, tally.failures.length);
    this.#talliesOf(isBeside).push(tally);
  }

  #talliesOf(isBeside: boolean): CampaignTally[] {
    return isBeside ? this.besides : this.tallies;
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
