/** A thread that has attached while this one's loop stood still: its introduction has not been heard. */
import { Worker } from "node:worker_threads";
import type { MemLease } from "@selvage/fabric";
import type { PeerData } from "./peer-worker.ts";

const peer = new URL("./peer-worker.ts", import.meta.url);

/** The worker stands still as well until `go` is called, or it is ended. */
export function attachUnheard(lease: MemLease): { worker: Worker; go: () => void } {
  const gate = new Int32Array(new SharedArrayBuffer(4));
  const workerData: PeerData = { tickets: [lease.ticket()], gate };
  const worker = new Worker(peer, { workerData });
  Atomics.wait(gate, 0, 0);
  const go = (): void => {
    Atomics.store(gate, 0, 2);
    Atomics.notify(gate, 0);
  };
  return { worker, go };
}
