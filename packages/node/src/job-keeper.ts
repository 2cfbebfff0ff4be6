/** Keeps a job worker's claims from a thread beside it: a busy event loop loses nothing, a stuck one does. */
import { Worker } from "node:worker_threads";
import { assert } from "@selvage/fabric";
import type { ClaimKeeper, JobStore, Keeping } from "@selvage/jobs";
import type { JobKeeperData, KeeperSaid, KeeperTold } from "./job-keeper-worker.ts";
import { SqliteJobStore } from "./sqlite-job-store.ts";
import { workerFlags } from "./worker-flags.ts";

/** Starts a keeper for a worker on a SQLite store. */
export function startJobKeeper(store: JobStore, { worker, beatMs, onLost }: Keeping): ClaimKeeper {
  assert(store instanceof SqliteJobStore, "a keeper writes to a file");
  const stamp = new SharedArrayBuffer(4);
  const words = new Int32Array(stamp);
  const workerData: JobKeeperData = { path: store.path, worker, beatMs, stamp };
  const thread = new Worker(new URL("./job-keeper-worker.ts", import.meta.url), {
    workerData,
    name: "selvage-job-keeper",
    ...workerFlags(),
  });
  const { promise: ready, resolve: isReady } = Promise.withResolvers<void>();
  thread.on("message", (said: KeeperSaid) => (said === "ready" ? isReady() : onLost()));
  // A keeper that dies takes nobody along: the worker is given up after its TTL, and begins anew.
  thread.on("error", (error) => process.emitWarning(error, { code: "SELVAGE_JOB_KEEPER" }));
  const exited = new Promise<void>((resolve) => void thread.once("exit", () => resolve()));
  void exited.then(isReady);
  const stamped = (): void => void Atomics.add(words, 0, 1);
  // The loop turns: that is work too, of those who wait.
  const turning = setInterval(stamped, beatMs / 2);
  turning.unref();
  stamped();
  return {
    ready,
    stamp: stamped,
    begin() {
      thread.unref();
      thread.postMessage("begin" satisfies KeeperTold);
    },
    async stop() {
      clearInterval(turning);
      thread.postMessage("stop" satisfies KeeperTold);
      thread.ref();
      await exited;
    },
  };
}
