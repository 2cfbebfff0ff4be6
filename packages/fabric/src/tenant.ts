/** Who leases: bytes are counted against a tenant, and come from arenas of its own. */
import { FabricError } from "./errors.ts";

/** How much a tenant may hold at a time. What is left out is bounded by the fabric's capacity only. */
export interface Quota {
  /** Bytes of leased memory. Also the size of the tenant's arenas. */
  readonly memoryBytes?: number;
  /** Leased blocks. */
  readonly blocks?: number;
  /** Leases of both kinds. */
  readonly leases?: number;
}

/** Most tenants of one fabric. */
export const TENANTS_MAX = 64;

/** One tenant's quota and what it holds. */
export class Tenant {
  readonly name: string;
  /** The fabric's number for it, from 0 up. */
  readonly index: number;
  readonly quota: Quota;
  /** Leases whose bytes are not back yet. */
  leases = 0;
  memoryBytes = 0;
  blockBytes = 0;

  constructor(name: string, index: number, quota: Quota) {
    this.name = name;
    this.index = index;
    this.quota = quota;
  }

  /** Refuses a lease more than the quota allows. @throws FabricError `CAPACITY_EXCEEDED`. */
  admitLease(pool: { largestFreeBytes(tenant: Tenant): number }): void {
    const most = this.quota.leases;
    if (most === undefined || this.leases < most) return;
    throw new FabricError(
      "CAPACITY_EXCEEDED",
      `Cannot grant tenant "${this.name}" another lease: it holds ${this.leases} of ${most}`,
      {
        tenant: this.name,
        limit: "leases",
        leases: this.leases,
        leasesMax: most,
        largestFreeBytes: pool.largestFreeBytes(this),
      },
    );
  }
}
