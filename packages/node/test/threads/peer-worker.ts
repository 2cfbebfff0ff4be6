/** A thread that attaches to leases by ticket, then does what it is told. */
import { parentPort, workerData } from "node:worker_threads";
import { isFabricError, type MemLease, type MemTicket } from "@selvage/fabric";
import { Fabric } from "@selvage/node";

export interface PeerData {
  readonly tickets: readonly MemTicket[];
  /** Set to 1 once the thread has attached, which then stands still until it is something else. */
  readonly gate?: Int32Array;
}

export type PeerCommand =
  | { readonly type: "block"; readonly until: Int32Array }
  | { readonly type: "attach"; readonly ticket: MemTicket }
  | { readonly type: "spin" | "end" | "exit" | "throw" };

const { tickets, gate } = workerData as PeerData;
const leases: MemLease[] = tickets.map((ticket) => {
  const lease = Fabric.attachMem(ticket);
  lease.write(0, Uint8Array.of(7));
  return lease;
});

if (gate !== undefined) {
  Atomics.store(gate, 0, 1);
  Atomics.notify(gate, 0);
  Atomics.wait(gate, 0, 1);
}

function attach(ticket: MemTicket): string {
  try {
    leases.push(Fabric.attachMem(ticket));
    return "attached";
  } catch (thrown) {
    if (isFabricError(thrown)) return thrown.code;
    throw thrown;
  }
}

parentPort?.on("message", (command: PeerCommand) => {
  if (command.type === "exit") process.exit(3);
  if (command.type === "throw") throw new Error("told to");
  if (command.type === "end") return parentPort?.close();
  if (command.type === "attach") return parentPort?.postMessage(attach(command.ticket));
  parentPort?.postMessage(command.type);
  if (command.type === "block") Atomics.wait(command.until, 0, 0);
  // Ended from outside.
  else for (;;);
});
parentPort?.postMessage("attached");
