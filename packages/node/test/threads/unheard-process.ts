/**
 * `node unheard-process.ts main|worker`: threads attach to a fabric of the main thread, or of a worker, and are ended
 * while the main thread's loop stands still, so that nobody hears of them. Prints how many exits were noticed.
 */
import { once } from "node:events";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { Fabric } from "@selvage/node";
import { attachUnheard } from "./unheard.ts";

const rounds = 3;

/** What the first of its rounds waits for: the main thread stands still until the thread of that round is gone. */
async function noticed(isGone?: Int32Array): Promise<number> {
  using fabric = Fabric.open({ memoryBytes: 1 << 16, blocks: 0, maxLeases: 64 });
  // Nothing else keeps a worker's loop turning.
  const turning = setInterval(() => {}, 1_000);
  const lapse = AbortSignal.timeout(10_000);
  let count = 0;
  for (; count < rounds && !lapse.aborted; count++) {
    const lease = fabric.mem().acquire();
    const { worker } = attachUnheard(lease);
    void worker.terminate();
    // Long enough for the thread to end before this loop takes anything up.
    if (isMainThread) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 200);
    await once(worker, "exit");
    if (isGone !== undefined) {
      Atomics.store(isGone, 0, 1);
      Atomics.notify(isGone, 0);
    }
    lease.release();
    while (fabric.stats().memory.quarantinedBytes > 0 && !lapse.aborted)
      await new Promise((resolve) => setTimeout(resolve, 2));
    if (lapse.aborted) break;
  }
  clearInterval(turning);
  return count;
}

if (!isMainThread) parentPort?.postMessage(await noticed(workerData as Int32Array));
else if (process.argv[2] === "main") console.log(await noticed());
else {
  const isGone = new Int32Array(new SharedArrayBuffer(4));
  const owner = new Worker(new URL(import.meta.url), { workerData: isGone });
  Atomics.wait(isGone, 0, 0);
  console.log((await once(owner, "message"))[0]);
}
