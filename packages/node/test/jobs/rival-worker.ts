/** A worker of its own thread, on the same file: it would take what another one lost. */
import { parentPort, workerData } from "node:worker_threads";
import { JobQueue } from "@selvage/node";

const { path, leaseMs, pollMs } = workerData as { path: string; leaseMs: number; pollMs: number };
let runs = 0;
const queue = await JobQueue.open({ path, leaseMs, pollMs });
queue.task("other", () => null);
// It declares the task only once it has been watching for a while: until then the job is its first owner's.
setTimeout(() => queue.task("busy", () => `rival ${++runs}`), 500);
const lost: string[] = [];
queue.onEvent((event) => {
  if (event.type === "worker-lost") lost.push(event.worker);
});
queue.runWorker();
parentPort?.postMessage("ready");
parentPort?.once("message", () => {
  void queue.close().then(() => parentPort?.postMessage(runs + lost.length));
});
