/** Campaigns on threads: their seeds are taken by whichever thread has nothing to do. */
import { Worker } from "node:worker_threads";
import { fromWire, isFabricError, toWire, type FabricErrorWire } from "@selvage/fabric";
import type { CampaignShare, ShareReport } from "./campaign-share.ts";

/** Campaigns of a run. */
const campaignsMax = 1_000;

/** What a thread tells. */
type Told<Report> =
  | { readonly told: "seed"; readonly isFailed: boolean }
  /** There is nothing to run, or the plan does not go. */
  | { readonly told: "refused"; readonly error: FabricErrorWire }
  | { readonly told: "done"; readonly report: Report };

/** How a campaign is shared out. */
export interface ThreadsOptions {
  /** How many, at most one a seed. */
  readonly threads: number;
  /** Told after each seed that counts. */
  readonly onSeed?: (isFailed: boolean) => void;
  /** What threads start on; it ends in {@link toldOfShare}. Default: what does the share, and nothing else. */
  readonly worker?: URL;
}

/**
 * Does a campaign's work on threads, and resolves with what came of each. Threads of another `worker` may report more.
 * @throws FabricError `NOT_FOUND`, `INVALID_ARGUMENT`: what `workShare` throws.
 */
export function runOnThreads<Report extends ShareReport = ShareReport>(
  share: Omit<CampaignShare, "words">,
  { threads, onSeed = () => {}, worker = ownWorker }: ThreadsOptions,
): Promise<readonly Report[]> {
  const words = new Int32Array(new SharedArrayBuffer(4 * (1 + campaignsMax)));
  const length = Math.min(threads, Math.max(1, share.seeds));
  const data = { ...share, words } satisfies CampaignShare;
  return Promise.all(Array.from({ length }, () => onThread<Report>(worker, data, onSeed)));
}

const ownWorker = new URL("./campaign-worker.ts", import.meta.url);

function onThread<Report>(
  file: URL,
  workerData: CampaignShare,
  onSeed: (isFailed: boolean) => void,
): Promise<Report> {
  const worker = new Worker(file, { workerData });
  return new Promise((settle, reject) => {
    worker.once("error", reject);
    worker.on("message", (told: Told<Report>) => {
      if (told.told === "done") settle(told.report);
      else if (told.told === "refused") reject(fromWire(told.error));
      else onSeed(told.isFailed);
    });
    worker.once("exit", (code) => {
      reject(new Error(`a thread of the campaign exited with code ${code}`));
    });
  });
}

/** What a thread that `runOnThreads` has started does: its work, of which it tells by `tell`. */
export async function toldOfShare<Report extends ShareReport>(
  tell: (told: object) => void,
  work: (onSeed: (isFailed: boolean) => void) => Promise<Report>,
): Promise<void> {
  const send = (told: Told<Report>): void => tell(told);
  try {
    const report = await work((isFailed) => send({ told: "seed", isFailed }));
    send({ told: "done", report: { ...report } });
  } catch (error) {
    if (!isFabricError(error)) throw error;
    send({ told: "refused", error: toWire(error) });
  }
}
