/** A thread that owns a fabric, to which a thread of its own attaches, and is ended before anybody hears of it. */
import { once } from "node:events";
import { parentPort } from "node:worker_threads";
import { Fabric } from "@selvage/node";
import { attachUnheard } from "./unheard.ts";

using fabric = Fabric.open({ memoryBytes: 1 << 16, blocks: 0, maxLeases: 64 });
const lease = fabric.mem().acquire();
const { worker } = attachUnheard(lease);
void worker.terminate();
await once(worker, "exit");
const reclaimed = new Promise<void>((resolve) => {
  fabric.subscribe(({ type }) => {
    if (type === "reclaimed") resolve();
  });
});
// Nothing else keeps this thread's loop turning.
const turning = setInterval(() => {}, 1_000);
lease.release();
await reclaimed;
clearInterval(turning);
parentPort?.postMessage("reclaimed");
