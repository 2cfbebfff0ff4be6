/** The leases and bytes of one run, counted from the fabric's own events. */
import type { Fabric, FabricEvent, MemLease } from "@selvage/fabric";

/** How a run's leases ended. `fenced`: ended, but the bytes cannot be had back. `active`: still standing. */
export interface LeaseCounts {
  readonly granted: number;
  readonly expired: number;
  readonly released: number;
  readonly revoked: number;
  readonly fenced: number;
  readonly active: number;
}

/** What became of a run's bytes: `leased = returned + kept + fenced + active`. */
export interface ByteCounts {
  readonly leased: number;
  readonly returned: number;
  /** Taken over by the caller. */
  readonly kept: number;
  readonly fenced: number;
  /** In leases that stand, or on their way back. */
  readonly active: number;
  /** Most that were leased at a time. */
  readonly peakLeased: number;
}

/** What a run leased, and for what. */
export interface LeaseOrigin {
  readonly task: string;
  readonly output: string;
}

/** The ledger of one run. */
export class RunLedger {
  readonly #leases = { granted: 0, expired: 0, released: 0, revoked: 0, fenced: 0 };
  readonly #bytes = { leased: 0, returned: 0, fenced: 0, peakLeased: 0 };
  readonly #origins = new Map<string, LeaseOrigin>();
  // Leases that stand, as far as was told.
  readonly #standing = new Map<string, MemLease>();
  readonly #tell: (event: FabricEvent, origin: LeaseOrigin) => void;
  readonly #unsubscribe: () => void;
  // Leases whose bytes are neither back nor fenced.
  #open = 0;
  #live = 0;
  #liveBytes = 0;

  constructor(fabric: Fabric, tell: (event: FabricEvent, origin: LeaseOrigin) => void) {
    this.#tell = tell;
    this.#unsubscribe = fabric.subscribe((event) => this.#book(event));
  }

  /** Takes a lease that was just granted into the run. */
  add(lease: MemLease, origin: LeaseOrigin, atMs: number): void {
    const { kind, leaseId, generation, tenant, label, bytes, expiresAtMs } = lease;
    this.#origins.set(leaseId, origin);
    this.#standing.set(leaseId, lease);
    this.#leases.granted++;
    this.#open++;
    this.#live++;
    this.#liveBytes += bytes;
    this.#bytes.leased += bytes;
    this.#bytes.peakLeased = Math.max(this.#bytes.peakLeased, this.#liveBytes);
    const about = { kind, leaseId, generation, tenant, label, bytes } as const;
    this.#tell({ type: "granted", ...about, atMs, expiresAtMs }, origin);
  }

  /** True while a lease stands or its bytes are on their way back. */
  get isOpen(): boolean {
    return this.#open > 0;
  }

  leases(): LeaseCounts {
    return { ...this.#leases, active: this.#live };
  }

  bytes(): ByteCounts {
    const { leased, returned, fenced, peakLeased } = this.#bytes;
    return { leased, returned, kept: 0, fenced, active: leased - returned - fenced, peakLeased };
  }

  /** Releases every lease of the run that stands. */
  releaseAll(): void {
    for (const lease of [...this.#standing.values()]) lease.release();
  }

  /** Stops listening. */
  close(): void {
    this.#unsubscribe();
  }

  #book(event: FabricEvent): void {
    const origin = this.#origins.get(event.leaseId);
    if (origin === undefined) return;
    const { type, bytes } = event;
    switch (type) {
      case "expired":
      case "released":
      case "revoked":
        this.#leases[type]++;
        this.#standing.delete(event.leaseId);
        this.#live--;
        this.#liveBytes -= bytes;
        break;
      case "reclaimed":
        this.#bytes.returned += bytes;
        this.#open--;
        break;
      case "fenced":
        this.#leases.fenced++;
        this.#bytes.fenced += bytes;
        this.#open--;
        break;
      case "unfenced":
        this.#leases.fenced--;
        this.#bytes.fenced -= bytes;
        this.#open++;
        break;
      case "granted":
      case "renewed":
      case "warned":
        break;
    }
    this.#tell(event, origin);
  }
}
