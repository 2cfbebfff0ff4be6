/** The other process's blocks, for reading, and what both sides of an edge over blocks keep on their own. */
import {
  FabricError,
  isFabricError,
  type BlockLease,
  type Codec,
  type Fabric,
  type Timer,
} from "@selvage/fabric";
import { resolveRetryPolicy, retryDelayMs, type RetryPolicy } from "@selvage/leasekit";
import { EDGE_RETRIES } from "../edge/edge-events.ts";
import { sleep } from "../edge/edge-home.ts";

/** How an edge over blocks behaves. */
export interface BlockEdgeOptions<T> {
  /** Opens the other process's fabric for reading: `() => Fabric.open({ blockFile, blockAccess: "read" })`. Called again after failures. */
  readonly peer: () => Fabric;
  /** How items become bytes. Default: they are bytes. */
  readonly codec?: Codec<T>;
  /** TTL of its leases, in milliseconds, renewed at a third of it while the edge lives. Default 60,000. */
  readonly leaseMs?: number;
  /** How often the other side is looked at, in milliseconds. Default 5. */
  readonly pollMs?: number;
  /** How often what fails on the own disk is tried again. Default: 8 retries, 5 to 500 ms apart. */
  readonly retry?: number | Partial<RetryPolicy>;
}

/** Default of {@link BlockEdgeOptions.leaseMs}. */
export const BLOCK_EDGE_LEASE_MS = 60_000;
/** Default of {@link BlockEdgeOptions.pollMs}. */
export const BLOCK_EDGE_POLL_MS = 5;

/** What the consumer has made durable. */
export interface BlockEdgeAck {
  /** Number of the first item that it has not dealt with. */
  readonly next: number;
  /** The lease that the items came on, and the first batch there that it has not dealt with to the end. */
  readonly leaseId: string;
  readonly batch: number;
  /** The stream is over, and all of it dealt with. */
  readonly hasEnded: boolean;
}

/** The record that {@link BlockEdgeAck} is kept in. */
export const ACK_KIND = "BACK";

/** Labels of an edge's leases. */
export const labelsOf = (name: string): { handoff: string; data: string; acks: string } => ({
  handoff: `${name}.handoff`,
  data: `${name}.data`,
  acks: `${name}.acks`,
});

/** The lease of a label in a fabric, where it stands. */
export function leaseOf(fabric: Fabric, label: string): BlockLease | undefined {
  return fabric
    .leases()
    .find((lease): lease is BlockLease => lease.kind === "block" && lease.label === label);
}

/** Another process's fabric, opened when it is needed and again when it fails. */
export class Peer implements AsyncDisposable {
  readonly #open: () => Fabric;
  #fabric: Fabric | undefined;

  constructor(open: () => Fabric) {
    this.#open = open;
  }

  /** The lease of a label; undefined while there is none. */
  async lease(label: string): Promise<BlockLease | undefined> {
    try {
      this.#fabric ??= this.#open();
      const lease = leaseOf(this.#fabric, label);
      // It learns of later leases by being opened anew.
      if (lease === undefined) await this.forget();
      return lease;
    } catch (error) {
      await this.forget();
      if (isAway(error)) return undefined;
      throw error;
    }
  }

  /** A lease by its ticket, in the fabric of `beside`. */
  async attach(
    beside: BlockLease,
    { leaseId, slot, generation }: Pick<BlockLease, "leaseId" | "slot" | "generation">,
  ): Promise<BlockLease> {
    if (this.#fabric === undefined)
      throw new FabricError("DISCONNECTED", "Cannot attach: the other side was lost", {});
    const { fabricId } = beside.ticket();
    return this.#fabric.attachBlock({
      kind: "block",
      version: 1,
      leaseId,
      slot,
      generation,
      fabricId,
    });
  }

  /** Begins anew the next time. */
  async forget(): Promise<void> {
    const fabric = this.#fabric;
    this.#fabric = undefined;
    await fabric?.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.forget();
  }
}

/** The policy of {@link BlockEdgeOptions.retry}. @throws FabricError `INVALID_ARGUMENT`. */
export function persistPolicy(retry: BlockEdgeOptions<unknown>["retry"] = {}): RetryPolicy {
  const given = typeof retry === "number" ? { retries: retry } : retry;
  return resolveRetryPolicy({ retryOn: isPassing, ...EDGE_RETRIES, ...given });
}

function isPassing(error: unknown): boolean {
  return isFabricError(error) && error.code === "STORE_UNAVAILABLE" && !isLost(error);
}

/** Whether a store has failed until it is opened anew: one of its syncs did. */
export function isLost(error: unknown): boolean {
  return isFabricError(error) && error.details["failed"] === true;
}

/** Writes to the own disk, and again while that is off and the policy has it. @throws what the last attempt threw. */
export async function persist<R>(
  timer: Timer,
  policy: RetryPolicy,
  write: () => Promise<R>,
  isLeft: () => boolean,
): Promise<R> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await write();
    } catch (error) {
      const delayMs = isLeft() ? undefined : retryDelayMs(policy, attempt, error, 1);
      if (delayMs === undefined) throw error;
      await sleep(timer, delayMs);
    }
  }
}

/** Whether an error says that the other side is not there at the moment, or not any more. */
export function isAway(error: unknown): boolean {
  return isFabricError(error) && awayCodes.has(error.code);
}
const awayCodes: ReadonlySet<string> = new Set([
  "NOT_FOUND",
  "LEASE_EXPIRED",
  "REVOKED",
  "DISCONNECTED",
  "STORE_UNAVAILABLE",
  "CORRUPT_RECORD",
]);

/** The bytes of an acknowledgement. */
export function encodeAck({ next, leaseId, batch, hasEnded }: BlockEdgeAck): Uint8Array {
  const bytes = new Uint8Array(20 + leaseId.length);
  const view = new DataView(bytes.buffer);
  view.setFloat64(0, next, true);
  view.setFloat64(8, batch, true);
  view.setUint32(16, hasEnded ? 1 : 0, true);
  for (let at = 0; at < leaseId.length; at++) bytes[20 + at] = leaseId.charCodeAt(at);
  return bytes;
}

/** The acknowledgement that bytes hold. @throws FabricError `DECODE`. */
export function decodeAck(bytes: Uint8Array): BlockEdgeAck {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < 20)
    throw new FabricError("DECODE", "Cannot read the acknowledgements: too few bytes", {
      bytes: bytes.length,
    });
  const leaseId = String.fromCharCode(...bytes.subarray(20));
  const [next, batch] = [view.getFloat64(0, true), view.getFloat64(8, true)];
  return { next, batch, leaseId, hasEnded: view.getUint32(16, true) === 1 };
}
