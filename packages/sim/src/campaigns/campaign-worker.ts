/** One thread of a campaign. */
import { parentPort, workerData } from "node:worker_threads";
import { toldOfShare } from "./campaign-threads.ts";
import { workShare, type CampaignShare } from "./campaign-share.ts";

const tell = (told: object): void => parentPort?.postMessage(told);
await toldOfShare(tell, (onSeed) => workShare(workerData as CampaignShare, onSeed));
