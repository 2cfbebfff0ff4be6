/** All campaigns of some files: what is kept of them first, then their seeds. */
import { availableParallelism } from "node:os";
import { resolve } from "node:path";
import type { FaultPlan } from "../faults.ts";
import { FAILURES_FOLDER } from "../report.ts";
import type { ShareReport } from "./campaign-share.ts";
import { runOnThreads } from "./campaign-threads.ts";

/** Failures after which a campaign stops. */
const failuresMax = 5;

/** What is run of them. */
export interface CampaignFilesOptions {
  /** How many seeds, all campaigns together. */
  readonly seeds: number;
  /** The first seed: a whole number of up to 64 bits. Default `"1"`. */
  readonly seed?: string;
  /** A plan in place of those that the seeds draw. Then what is kept is not run first. */
  readonly plan?: FaultPlan;
  /** Only the campaign of this name. */
  readonly campaign?: string;
  /** Runs each seed twice and compares, in place of looking for failures. */
  readonly audit?: boolean;
  /** Default: as many as the machine runs in parallel. */
  readonly threads?: number;
  /** Folder in which failures are kept, and replayed from. Default `FAILURES_FOLDER`. */
  readonly keep?: string;
  /** Told after each seed: how many are done, and how many of them failed. */
  readonly onProgress?: (done: number, failed: number) => void;
}

/**
 * Runs the campaigns of files (paths) on threads: failures that are kept first, then `seeds` seeds, shared out among them.
 * Resolves with what each thread had, for `summarizeCampaigns`. It is what `npm run sim` and `selvage sim` do. An example is
 * at {@link summarizeCampaigns}.
 * @throws FabricError `NOT_FOUND`, `INVALID_ARGUMENT`: a file has no campaigns, or none of that name.
 */
export async function runCampaignFiles(
  files: readonly string[],
  options: CampaignFilesOptions,
): Promise<readonly ShareReport[]> {
  const { seeds, seed = "1", plan, campaign, audit = false, keep = FAILURES_FOLDER } = options;
  const { threads = availableParallelism(), onProgress = () => {} } = options;
  let [done, failed] = [0, 0];
  const onSeed = (isFailed: boolean): void => {
    if (isFailed) failed++;
    onProgress(++done, failed);
  };
  const share = {
    files: files.map((file) => resolve(file)),
    firstSeed: seed,
    mostFailures: failuresMax,
    keep: resolve(keep),
    ...(plan && { plan }),
    ...(campaign !== undefined && { only: campaign }),
  };
  if (audit) return runOnThreads({ ...share, mode: "audit", seeds }, { threads, onSeed });
  const kept =
    plan === undefined
      ? await runOnThreads({ ...share, mode: "kept", seeds: 0 }, { threads: 1 })
      : [];
  const ran = await runOnThreads({ ...share, mode: "run", seeds }, { threads, onSeed });
  return [...kept, ...ran];
}
