/**
 * Large states in leased blocks, so that a checkpoint only names them. Each has a lease of its own, which is renewed while
 * the run goes on. Nobody has to clean up after a run that never resumes: the leases lapse.
 */
import {
  BLOCK_BYTES,
  checksum,
  FabricError,
  invalidArgument,
  checkTtl,
  type BlockLease,
  type Fabric,
} from "@selvage/fabric";
import type { StateRef } from "./staged-checkpoint.ts";

/** Which states go to blocks, and how long they are kept there. */
export interface LargeStates {
  /** Whose blocks. For a run that is to resume in another process: a fabric with a `blockFile`. */
  readonly fabric: Fabric;
  /** States longer than this go to blocks, in bytes. Default 65,536. */
  readonly overBytes?: number;
  /** How long a state is kept after its run was last heard of, in milliseconds. Default a day. */
  readonly keepMs?: number;
}

const overBytesDefault = 65_536;
const keepMsDefault = 86_400_000;

/** The states of one run. */
export class StateShelf {
  readonly #fabric: Fabric;
  readonly overBytes: number;
  readonly #keepMs: number;
  // By the lease's id: what the run's record names, or named just before.
  readonly #held = new Map<string, BlockLease>();

  /** @throws FabricError `INVALID_ARGUMENT`. */
  constructor({ fabric, overBytes = overBytesDefault, keepMs = keepMsDefault }: LargeStates) {
    if (typeof (fabric as Fabric | undefined)?.block !== "function")
      throw invalidArgument("largeStates.fabric", "a Fabric", fabric);
    if (!(Number.isSafeInteger(overBytes) && overBytes >= 0))
      throw invalidArgument("largeStates.overBytes", "a whole number from 0 up", overBytes);
    this.#fabric = fabric;
    this.overBytes = overBytes;
    this.#keepMs = checkTtl("largeStates.keepMs", keepMs);
  }

  /** Keeps a state, durably where the fabric's blocks are. @throws FabricError `CAPACITY_EXCEEDED`, what blocks throw. */
  async put(bytes: Uint8Array): Promise<StateRef> {
    const count = Math.max(1, Math.ceil(bytes.length / BLOCK_BYTES));
    const builder = this.#fabric.block().minBlocks(count).leaseMs(this.#keepMs);
    const lease = await builder.label("stage state").acquire();
    try {
      const padded = new Uint8Array(count * BLOCK_BYTES);
      padded.set(bytes);
      await lease.write(0, padded);
      await lease.flush();
    } catch (thrown) {
      lease[Symbol.dispose]();
      throw thrown;
    }
    this.#held.set(lease.leaseId, lease);
    return { ticket: lease.ticket(), bytes: bytes.length, checksum: checksum(bytes) };
  }

  /** Reads a state, and keeps it. @throws FabricError `LEASE_EXPIRED`, `CORRUPT_RECORD`, what blocks throw. */
  async get({ ticket, bytes, checksum: expected }: StateRef): Promise<Uint8Array> {
    const lease = await this.#fabric.attachBlock(ticket);
    const count = Math.max(1, Math.ceil(bytes / BLOCK_BYTES));
    if (count > lease.numBlocks) throw damaged(ticket.leaseId);
    const padded = new Uint8Array(count * BLOCK_BYTES);
    await lease.readInto(0, padded);
    const state = padded.subarray(0, bytes);
    const [first, second] = checksum(state);
    if (first !== expected[0] || second !== expected[1]) throw damaged(ticket.leaseId);
    this.#held.set(lease.leaseId, lease);
    return state;
  }

  /** Keeps what a record still names, if it is there: to fall back on, and to be given back in the end. */
  async adopt({ ticket }: StateRef): Promise<void> {
    const lease = await this.#fabric.attachBlock(ticket).catch(() => undefined);
    if (lease !== undefined) this.#held.set(lease.leaseId, lease);
  }

  /** Renews the leases that have less than half their time left. One that cannot be is found lapsed when it is read. */
  async keep(nowMs: number): Promise<void> {
    for (const lease of this.#held.values())
      if (lease.expiresAtMs - nowMs < this.#keepMs / 2)
        await lease.renew(this.#keepMs).catch(() => {});
  }

  /** Releases what is held, but for the states of `refs`. */
  release(refs: readonly StateRef[] = []): void {
    const kept = new Set(refs.map(({ ticket }) => ticket.leaseId));
    for (const [leaseId, lease] of this.#held) {
      if (kept.has(leaseId)) continue;
      this.#held.delete(leaseId);
      lease[Symbol.dispose]();
    }
  }
}

function damaged(leaseId: string): FabricError {
  return new FabricError("CORRUPT_RECORD", "Cannot read the state: its blocks are damaged", {
    leaseId,
  });
}
