/**
 * Which resource is granted to whom, as a state machine: what an authority decides, without clocks or disks. Times are
 * milliseconds of the authority's own count.
 *
 * Invariant L1: a resource's epoch only rises, and its row stays when the lease is over.
 * Invariant L3: the next grant waits until the last renewal's processing + TTL * (1 + rho) + lock delay.
 * Invariant L4: a change names the epoch that it means, and is refused when that is over.
 */
import { FabricError, jsonCodec } from "@selvage/fabric";
import { FenceEpoch } from "@selvage/fence";
import type { GrantRequest, LeaseGrant, LeaseName, LeaseReading } from "./lease-store.ts";

type State = "held" | "revoked" | "released" | "expired";

interface Row {
  readonly epoch: number;
  readonly holder: string;
  readonly requestId: string;
  readonly ttlMs: number;
  readonly state: State;
  // Not stored: after a restart every lease counts as renewed then.
  readonly renewedAtMs: number;
}

/** How a book waits. */
export interface BookRules {
  /** How much faster than true time any clock may run, or slower: 0.1 is 10 %. */
  readonly rho: number;
  readonly lockDelayMs: number;
  /** Longest stored form, in bytes. */
  readonly bytesMax: number;
}

/** A row, stored: resource, epoch, holder, request, TTL, state. */
type StoredRow = readonly [string, number, string, string, number, number];

const states: readonly State[] = ["held", "revoked", "released", "expired"];
const codec = jsonCodec<readonly StoredRow[]>();

/** All grants of one authority. */
export class GrantBook {
  readonly #rules: BookRules;
  readonly #rows = new Map<string, Row>();
  #isChanged = false;

  /** `stored`: what {@link encode} gave; every lease in it counts as renewed at `nowMs`. @throws FabricError `DECODE`. */
  constructor(rules: BookRules, stored: Uint8Array | undefined, nowMs: number) {
    this.#rules = rules;
    if (stored === undefined) return;
    for (const row of codec.decode(stored)) {
      const [resource, epoch, holder, requestId, ttlMs, code] = row;
      const state = states[code];
      if (state === undefined || !Number.isSafeInteger(epoch))
        throw new FabricError("DECODE", "Cannot read the grants: a row is none", { resource });
      this.#rows.set(resource, { epoch, holder, requestId, ttlMs, state, renewedAtMs: nowMs });
    }
  }

  /** True when there is something to store since {@link encode}. */
  get isChanged(): boolean {
    return this.#isChanged;
  }

  /** What is to be stored; it counts as stored. */
  encode(): Uint8Array {
    this.#isChanged = false;
    return codec.encode(toStored(this.#rows));
  }

  /** @throws FabricError as `LeaseStore.acquire`. */
  grant({ resource, holder, requestId, ttlMs }: GrantRequest, nowMs: number): LeaseGrant {
    const row = this.#rows.get(resource);
    if (row !== undefined && row.holder === holder && row.requestId === requestId) {
      // H-e: the answer was lost, or the request came twice.
      if (row.state === "held") this.#rows.set(resource, { ...row, renewedAtMs: nowMs });
      else throw this.#over(row, "grant", resource);
      return { epoch: row.epoch, ttlMs: row.ttlMs };
    }
    if (row?.state === "held" || row?.state === "revoked") {
      const retryAfterMs = Math.max(1, Math.ceil(this.#endMs(row) - nowMs));
      throw new FabricError("CONFLICT", "Cannot grant the lease: another has it", {
        resource,
        holder: row.holder,
        epoch: row.epoch,
        retryAfterMs,
      });
    }
    const epoch = FenceEpoch.of(row?.epoch ?? 0).next().value;
    const next: Row = { epoch, holder, requestId, ttlMs, state: "held", renewedAtMs: nowMs };
    const { bytesMax } = this.#rules;
    const { length: bytes } = codec.encode(toStored(new Map(this.#rows).set(resource, next)));
    if (bytes > bytesMax)
      throw new FabricError("CAPACITY_EXCEEDED", "Cannot grant the lease: no room for its row", {
        resource,
        bytes,
        bytesMax,
      });
    this.#put(resource, next);
    return { epoch, ttlMs };
  }

  /** @throws FabricError as `LeaseStore.renew`. */
  renew(lease: LeaseName, nowMs: number): { readonly ttlMs: number } {
    const row = this.#named(lease, "renew", lease.holder);
    if (row.state !== "held") throw this.#over(row, "renew", lease.resource);
    this.#rows.set(lease.resource, { ...row, renewedAtMs: nowMs });
    return { ttlMs: row.ttlMs };
  }

  /** @throws FabricError as `LeaseStore.release`. */
  release(lease: LeaseName): void {
    const row = this.#named(lease, "release", lease.holder);
    if (row.state === "held" || row.state === "revoked")
      this.#put(lease.resource, { ...row, state: "released" });
  }

  /** @throws FabricError as `LeaseStore.revoke`. */
  revoke(lease: Omit<LeaseName, "holder">): void {
    const row = this.#named(lease, "revoke");
    if (row.state === "held") this.#put(lease.resource, { ...row, state: "revoked" });
  }

  /** How a resource stands. */
  look(resource: string): LeaseReading {
    const row = this.#rows.get(resource);
    if (row === undefined) return { epoch: 0, state: "free", holder: undefined };
    const { epoch, holder, state } = row;
    return { epoch, holder, state: state === "held" || state === "revoked" ? state : "free" };
  }

  /** True when a lease has come to its end, and that is not booked. */
  isDue(nowMs: number): boolean {
    for (const row of this.#rows.values()) if (this.#isOverdue(row, nowMs)) return true;
    return false;
  }

  /** Books the end of all that have come to it. Returns their names. */
  expire(nowMs: number): readonly LeaseName[] {
    const ended: LeaseName[] = [];
    for (const [resource, row] of this.#rows) {
      if (!this.#isOverdue(row, nowMs)) continue;
      this.#put(resource, { ...row, state: "expired" });
      ended.push({ resource, holder: row.holder, epoch: row.epoch });
    }
    return ended;
  }

  #isOverdue(row: Row, nowMs: number): boolean {
    return (row.state === "held" || row.state === "revoked") && nowMs > this.#endMs(row);
  }

  #endMs({ renewedAtMs, ttlMs }: Row): number {
    return renewedAtMs + ttlMs * (1 + this.#rules.rho) + this.#rules.lockDelayMs;
  }

  #put(resource: string, row: Row): void {
    this.#rows.set(resource, row);
    this.#isChanged = true;
  }

  // L4. The holder is compared where the holder asks.
  #named({ resource, epoch }: Omit<LeaseName, "holder">, verb: string, holder?: string): Row {
    const row = this.#rows.get(resource);
    if (row === undefined || epoch > row.epoch)
      throw new FabricError("NOT_FOUND", `Cannot ${verb} the lease: it was never granted`, {
        resource,
        epoch,
      });
    if (epoch < row.epoch || (holder !== undefined && holder !== row.holder))
      throw new FabricError("STALE_EPOCH", `Cannot ${verb} the lease: another was granted`, {
        resource,
        epoch,
        granted: row.epoch,
      });
    return row;
  }

  #over({ state, epoch }: Row, verb: string, resource: string): FabricError {
    const code = state === "revoked" ? "REVOKED" : "LEASE_EXPIRED";
    return new FabricError(code, `Cannot ${verb} the lease: it is ${state}`, { resource, epoch });
  }
}

function toStored(rows: ReadonlyMap<string, Row>): readonly StoredRow[] {
  return Array.from(rows, ([resource, { epoch, holder, requestId, ttlMs, state }]) => [
    resource,
    epoch,
    holder,
    requestId,
    ttlMs,
    states.indexOf(state),
  ]);
}
