/**
 * Where the bytes of one kind of resource are.
 *
 * Invariant A1: leased + free + quarantined + fenced = capacity, after every event. It holds because `free` is what
 * the others leave, and every move below takes from one account what it gives to another.
 */

/** The accounts, as `Fabric.stats()` shows them. */
export interface ResourceStats {
  readonly capacityBytes: number;
  /** In leases that stand. */
  readonly leasedBytes: number;
  readonly freeBytes: number;
  /** In leases that ended, and that a thread may still be touching, or that are being zeroed. */
  readonly quarantinedBytes: number;
  /** In leases that ended and whose teardown cannot finish. */
  readonly fencedBytes: number;
  /** The largest lease that would be granted now to the default tenant. */
  readonly largestFreeBytes: number;
  readonly activeLeases: number;
  /** Leases that ended so, since the fabric was opened. */
  readonly expired: number;
  readonly revoked: number;
  readonly released: number;
}

/** The accounts of one kind. */
export class Ledger {
  readonly capacityBytes: number;
  leasedBytes = 0;
  quarantinedBytes = 0;
  fencedBytes = 0;
  activeLeases = 0;
  expired = 0;
  revoked = 0;
  released = 0;

  constructor(capacityBytes: number) {
    this.capacityBytes = capacityBytes;
  }

  get freeBytes(): number {
    return this.capacityBytes - this.leasedBytes - this.quarantinedBytes - this.fencedBytes;
  }

  grant(bytes: number): void {
    this.leasedBytes += bytes;
    this.activeLeases++;
  }

  end(bytes: number, as: "expired" | "revoked" | "released"): void {
    this.leasedBytes -= bytes;
    this.quarantinedBytes += bytes;
    this.activeLeases--;
    if (as === "expired") this.expired++;
    else if (as === "revoked") this.revoked++;
    else this.released++;
  }

  reclaim(bytes: number): void {
    this.quarantinedBytes -= bytes;
  }

  fence(bytes: number): void {
    this.quarantinedBytes -= bytes;
    this.fencedBytes += bytes;
  }

  unfence(bytes: number): void {
    this.fencedBytes -= bytes;
    this.quarantinedBytes += bytes;
  }

  stats(largestFreeBytes: number): ResourceStats {
    const { capacityBytes, leasedBytes, freeBytes, quarantinedBytes, fencedBytes } = this;
    const { activeLeases, expired, revoked, released } = this;
    return {
      capacityBytes,
      leasedBytes,
      freeBytes,
      quarantinedBytes,
      fencedBytes,
      largestFreeBytes: Math.min(largestFreeBytes, freeBytes),
      activeLeases,
      expired,
      revoked,
      released,
    };
  }
}
