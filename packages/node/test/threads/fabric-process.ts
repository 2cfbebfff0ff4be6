/** A process of its own, for what a test runner's would disturb: how a program ends, and what is left of it. */
import { readdirSync } from "node:fs";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { RenewalManager } from "@selvage/leasekit";
import { Fabric } from "@selvage/node";
import type { MemTicket } from "@selvage/fabric";

const self = new URL(import.meta.url);

function open(tick: "auto" | "manual" = "auto"): Fabric {
  return Fabric.open({ memoryBytes: 1 << 20, blocks: 64, maxLeases: 256, tick });
}

/** Opens, leases and holds, and never closes. */
function leaveOpen(): void {
  const fabric = open();
  const lease = fabric.mem().minBytes(1_000).leaseSecs(300).acquire();
  new RenewalManager(fabric).hold(lease);
  lease.ticket();
}

/** Threads of this process, those of the engine and its pool among them. */
function tasks(): number {
  return readdirSync("/proc/self/task").length;
}

function tellWhen(what: string): void {
  console.log(JSON.stringify({ [what]: Date.now() }));
}

const modes: Record<string, () => void | Promise<void>> = {
  /** Ends with its fabric open. */
  plain() {
    leaveOpen();
  },
  /** Ends with a fabric open whose keeper is at work. */
  async kept() {
    const fabric = open();
    fabric.mem().leaseSecs(300).acquire();
    await fabric.keeper()?.ready;
  },
  /** The same on a worker, which then ends. */
  worker() {
    new Worker(self, { workerData: "leave open" }).on("exit", (code) => {
      if (code !== 0) process.exitCode = code;
    });
  },
  /** A worker that attached to this thread's fabric ends; then this program does. */
  attached() {
    const ticket = open().mem().leaseSecs(300).acquire().ticket();
    const worker = new Worker(self, { workerData: ticket });
    worker.on("message", () => worker.postMessage("go on"));
  },
  /** This thread attached to a worker's fabric, and the worker ended without closing it. */
  outlived() {
    const worker = new Worker(self, { workerData: "tell ticket" });
    worker.once("message", (ticket: MemTicket) => {
      Fabric.attachMem(ticket).read(0, 1);
      worker.postMessage("end");
    });
  },
  /** Opens and disposes of 200 fabrics, leasing from each, every fifth with a keeper; tells what is left. */
  async churn() {
    const before = { tasks: tasks(), listeners: process.listenerCount("workerMessage") };
    let most = 0;
    for (let count = 0; count < 200; count++) {
      const fabric = open(count % 5 === 0 ? "auto" : "manual");
      const lease = fabric.mem().minBytes(1_000).leaseSecs(300).acquire();
      const hold = new RenewalManager(fabric).hold(lease);
      lease.ticket();
      // Half of the keepers are stopped while they start.
      if (count % 10 === 0) await fabric.keeper()?.ready;
      most = Math.max(most, tasks());
      hold.end();
      fabric[Symbol.dispose]();
    }
    // Keepers end within a period of theirs, each once it has started.
    const endMs = Date.now() + 15_000;
    while (tasks() > before.tasks && Date.now() < endMs)
      await new Promise((resolve) => setTimeout(resolve, 20));
    globalThis.gc?.();
    const after = { tasks: tasks(), listeners: process.listenerCount("workerMessage") };
    const ports = process.getActiveResourcesInfo().filter((name) => name === "MessagePort").length;
    console.log(JSON.stringify({ before, after, most, ports, rss: process.memoryUsage.rss() }));
  },
  /** Holds leases of memory and blocks until it is killed. */
  async killed() {
    const fabric = open();
    const lease = fabric.mem().minBytes(100_000).leaseSecs(300).acquire();
    const blocks = await fabric.block().minBlocks(32).leaseSecs(300).acquire();
    await blocks.writeBlock(0, new Uint8Array(512).fill(7));
    new RenewalManager(fabric).hold(lease);
    await fabric.keeper()?.ready;
    tellWhen("ready");
    setInterval(() => lease.write(0, Uint8Array.of(1)), 5);
  },
};

if (isMainThread) {
  await modes[process.argv[2] ?? ""]?.();
  tellWhen("ended");
} else if (workerData === "leave open") {
  leaveOpen();
} else if (workerData === "tell ticket") {
  parentPort?.once("message", () => {});
  parentPort?.postMessage(open().mem().leaseSecs(300).acquire().ticket());
} else {
  Fabric.attachMem(workerData as MemTicket).write(0, Uint8Array.of(1));
  parentPort?.once("message", () => {});
  parentPort?.postMessage("attached");
}
