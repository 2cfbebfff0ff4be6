/** What an edge is given, checked, with what it is not given filled in. */
import type { FabricQueue } from "@selvage/collections";
import { FabricError, invalidArgument, type Fabric, type MemLease } from "@selvage/fabric";
import type { QueueLocator } from "@selvage/fence";
import { EDGE_LEASE_MS, type EdgeOptions } from "./edge-events.ts";
import type { EdgeFabric, EdgeReader, EdgeWriter } from "./edge-home.ts";

/** Where new memory comes from. @throws FabricError `INVALID_ARGUMENT`. */
export function acquireOf(
  fabric: Fabric | undefined,
  { acquire, leaseMs = EDGE_LEASE_MS }: EdgeOptions,
): (bytes: number) => MemLease | Promise<MemLease> {
  if (acquire !== undefined) return acquire;
  if (fabric === undefined)
    throw invalidArgument(
      "options.acquire",
      "a way to memory: the lease is another thread's",
      acquire,
    );
  return (bytes) => fabric.mem().minBytes(bytes).leaseMs(leaseMs).label("edge").acquire();
}

/** What a locator leads to. @throws FabricError `INVALID_ARGUMENT`. */
export function resolveOf(
  fabric: EdgeFabric | undefined,
  { resolve }: EdgeOptions,
): (locator: QueueLocator) => MemLease | Promise<MemLease> {
  if (resolve !== undefined) return resolve;
  if (fabric === undefined)
    throw invalidArgument(
      "options.resolve",
      "a way to leases: this one is another thread's",
      resolve,
    );
  // A handle of its own: ends that share one would share its pins.
  return (locator) => fabric.leaseAt(locator);
}

/** Whether it publishes. */
export function isWriter(handoff: unknown): handoff is EdgeWriter {
  return typeof (handoff as Partial<EdgeWriter> | undefined)?.publish === "function";
}

/** Whether it reads. */
export function isReader(handoff: unknown): handoff is EdgeReader {
  return typeof (handoff as Partial<EdgeReader> | undefined)?.poll === "function";
}

/** @throws FabricError `INVALID_ARGUMENT`, `CONFLICT`. */
export function checkLocator<T>({ lease }: FabricQueue<T>, locator: QueueLocator): void {
  if (locator?.kind !== "queue") throw invalidArgument("locator.kind", '"queue"', locator?.kind);
  if (locator.leaseId === lease.leaseId && locator.generation === lease.generation) return;
  throw new FabricError("CONFLICT", "Cannot make the edge: the locator is another queue's", {
    leaseId: lease.leaseId,
    found: locator.leaseId,
  });
}

/** @throws FabricError `INVALID_ARGUMENT`. */
export function checkOptions({
  leaseMs = 1,
  tickMs = 1,
  from = 0,
  acknowledge = "auto",
  window = 1,
}: EdgeOptions): void {
  for (const [name, value] of Object.entries({ leaseMs, tickMs }))
    if (!(typeof value === "number" && value > 0 && value < Infinity))
      throw invalidArgument(name, "milliseconds above 0", value);
  if (!(Number.isSafeInteger(window) && window > 0))
    throw invalidArgument("window", "a whole number above 0", window);
  if (from !== "unknown" && !(Number.isSafeInteger(from) && from >= 0))
    throw invalidArgument("from", 'the number of an item, or "unknown"', from);
  if (acknowledge !== "auto" && acknowledge !== "manual")
    throw invalidArgument("acknowledge", '"auto" or "manual"', acknowledge);
}
