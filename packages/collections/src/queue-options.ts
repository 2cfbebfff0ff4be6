/** What a queue is made with, what leads to it, and what it says of itself. */
import {
  FabricError,
  invalidArgument,
  MemLease,
  regionOf,
  type Codec,
  type MemTicket,
} from "@selvage/fabric";
import { readRing, type RingShape } from "./ring-layout.ts";

/** How long a claim may stay open unless told otherwise, in milliseconds. */
export const UNBLOCK_AFTER_MS: number = 1_000;

/** How a queue is shared, and what its slots are. */
export interface QueueOptions {
  /** Any number of threads push and pop. Default: one pushes, one pops, several times faster. */
  readonly many?: boolean;
  /** Values take what they need, up to `stride`, instead of a slot each. One producer, one consumer. */
  readonly records?: boolean;
  /**
   * How long a claim may stay open before whoever waits for it gives it up for lost, in milliseconds. Default 1,000.
   */
  readonly unblockAfterMs?: number;
}

/** What another thread reaches a queue by. */
export interface QueueTicket {
  readonly kind: "queue";
  readonly version: 1;
  readonly lease: MemTicket;
}

/** What a queue can say of itself, at some moment. */
export interface QueueStats {
  readonly capacity: number;
  /** Values accepted and not popped. */
  readonly size: number;
  /** Claims whose producer died, or was too slow, before it committed: skipped, their values never seen. */
  readonly skipped: number;
  /** Values that a consumer had taken when its thread died. Only with `many`. */
  readonly lost: number;
  readonly isClosed: boolean;
}

/** What a queue was made with. */
export interface QueueSettings<T> extends Required<Pick<QueueOptions, "many" | "records">> {
  readonly codec: Codec<T>;
}

/** How a handle on a queue that is there behaves. */
export interface AttachOptions extends Pick<QueueOptions, "unblockAfterMs"> {
  /** This thread's way to memory. */
  readonly attachMem?: (ticket: MemTicket) => MemLease;
}

/** What a queue is made of. */
export interface FoundQueue {
  readonly lease: MemLease;
  readonly capacity: number;
  readonly stride: number;
  readonly settings: QueueOptions;
}

/** What the queue at `place` is made of. @throws FabricError `INVALID_ARGUMENT`, `CORRUPT_RECORD`, what attaching throws. */
export function findQueue(place: QueueTicket | MemLease, options: AttachOptions): FoundQueue {
  const lease = place instanceof MemLease ? place : leaseOf(place, options.attachMem);
  lease.assertLive();
  const { kind, capacity, stride } = readRing(regionOf(lease));
  const unblockAfterMs = unblockAfterMsOf(options);
  const settings = { many: kind === "many", records: kind === "records", unblockAfterMs };
  return { lease, capacity, stride, settings };
}

/** The lease of a ticket. @throws FabricError `INVALID_ARGUMENT`, what attaching throws. */
function leaseOf(ticket: QueueTicket, attachMem: AttachOptions["attachMem"]): MemLease {
  const { kind, version } = (ticket ?? {}) as { kind?: unknown; version?: unknown };
  if (kind !== "queue") throw invalidArgument("ticket.kind", `"queue"`, kind);
  if (version !== 1) throw invalidArgument("ticket.version", "1", version);
  if (attachMem === undefined)
    throw invalidArgument("options.attachMem", "a way to this thread's memory", attachMem);
  return attachMem(ticket.lease);
}

/** How long a claim may stay open. @throws FabricError `INVALID_ARGUMENT`. */
export function unblockAfterMsOf({ unblockAfterMs = UNBLOCK_AFTER_MS }: QueueOptions): number {
  if (typeof unblockAfterMs === "number" && unblockAfterMs >= 0) return unblockAfterMs;
  throw invalidArgument("unblockAfterMs", "milliseconds from 0 up", unblockAfterMs);
}

/** The ring that options ask for. @throws FabricError `UNSUPPORTED`. */
export function shapeOf(capacity: number, stride: number, options: QueueOptions): RingShape {
  if (typeof options !== "object" || options === null)
    throw invalidArgument("options", "an object", options);
  const { many = false, records = false } = options;
  if (many && records)
    throw new FabricError("UNSUPPORTED", "Cannot make the queue: records for many is not built", {
      many,
      records,
    });
  return { kind: many ? "many" : records ? "records" : "slots", capacity, stride };
}

/** The error for a push beside an open claim. */
export function claimIsOpen(): FabricError {
  return new FabricError("CONFLICT", "Cannot push: a claim is open. Commit or abort it first", {});
}
