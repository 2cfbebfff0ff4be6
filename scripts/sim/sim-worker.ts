/** One thread of a campaign whose lines are counted. */
import { parentPort, workerData } from "node:worker_threads";
import { toldOfShare, workShare, type CampaignShare, type ShareReport } from "@selvage/sim";
import { watchCoverage, type LineCoverage } from "./coverage.ts";

/** What came of the thread's share, and which lines it ran. */
export interface CoveredReport extends ShareReport {
  readonly coverage: LineCoverage;
}

const tell = (told: object): void => parentPort?.postMessage(told);
await toldOfShare(tell, async (onSeed): Promise<CoveredReport> => {
  const stopWatching = await watchCoverage();
  const report = await workShare(workerData as CampaignShare, onSeed);
  return { ...report, coverage: await stopWatching() };
});
