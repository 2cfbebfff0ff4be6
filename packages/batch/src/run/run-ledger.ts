/** The leases and bytes of one run, counted from the fabric's own events. */
import type { BlockLease, Fabric, FabricEvent, MemLease } from "@selvage/fabric";

/** How a run's leases ended. `fenced`: ended, but the bytes cannot be had back. `active`: still standing, kept or not. */
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
  /** In leases that outlive the run: the caller's (option `keep`), or the checkpoint of one that can be resumed. */
  readonly kept: number;
  readonly fenced: number;
  /** In leases that stand, or on their way back. */
  readonly active: number;
  /** Most memory that was leased at a time. */
  readonly peakLeased: number;
  /** Of outputs that were written to blocks because memory was full, and that were read back. */
  readonly spilled: number;
  readonly unspilled: number;
}

/** What a run leased, and for what. Both are empty for blocks, which hold outputs of several tasks. */
export interface LeaseOrigin {
  readonly task: string;
  readonly output: string;
}

/** A lease of the run, until its bytes are back. */
interface Line {
  readonly origin: LeaseOrigin;
  /**
   * Undefined once it has ended, as far as was told, or is none of the run's to end. Taken out of the line, not only with
   * it: a map that lines come to and go from leaves old tables behind, and what is in those, for the next full collection.
   */
  lease: MemLease | BlockLease | undefined;
}

/** The ledger of one run. */
export class RunLedger {
  readonly #leases = { granted: 0, expired: 0, released: 0, revoked: 0, fenced: 0 };
  readonly #bytes = { leased: 0, returned: 0, fenced: 0, peakLeased: 0, spilled: 0, unspilled: 0 };
  readonly #lines = new Map<string, Line>();
  // Those that outlive the run, with their bytes.
  readonly #kept = new Map<string, number>();
  readonly #tell: (event: FabricEvent, origin: LeaseOrigin) => void;
  readonly #unsubscribe: () => void;
  // Leases whose bytes are neither back nor fenced.
  #open = 0;
  #live = 0;
  // Of memory: in leases that stand, and in those that have ended and are not free yet.
  #liveBytes = 0;
  #returningBytes = 0;

  constructor(fabric: Fabric, tell: (event: FabricEvent, origin: LeaseOrigin) => void) {
    this.#tell = tell;
    this.#unsubscribe = fabric.subscribe((event) => this.#book(event));
  }

  /** Takes a lease that was just granted into the run. */
  add(lease: MemLease | BlockLease, origin: LeaseOrigin, atMs: number): void {
    const { kind, leaseId, generation, tenant, label, bytes, expiresAtMs } = lease;
    this.#lines.set(leaseId, { origin, lease });
    this.#leases.granted++;
    this.#open++;
    this.#live++;
    this.#bytes.leased += bytes;
    if (kind === "mem") this.#liveBytes += bytes;
    this.#bytes.peakLeased = Math.max(this.#bytes.peakLeased, this.#liveBytes);
    const about = { kind, leaseId, generation, tenant, label, bytes } as const;
    this.#tell({ type: "granted", ...about, atMs, expiresAtMs }, origin);
  }

  /** A lease outlives the run: nobody waits for its end. */
  keep(lease: MemLease | BlockLease): void {
    const { leaseId, bytes } = lease;
    if (this.#lines.get(leaseId)?.lease === undefined) return;
    this.#kept.set(leaseId, bytes);
    this.#open--;
  }

  /** As {@link keep}, whatever becomes of the run: a rejected one does not release it, either. */
  leave(lease: MemLease | BlockLease): void {
    this.keep(lease);
    const line = this.#lines.get(lease.leaseId);
    if (line !== undefined) line.lease = undefined;
  }

  /** True while a lease stands or its bytes are on their way back. */
  get isOpen(): boolean {
    return this.#open > 0;
  }

  /** Bytes of memory in leases that have ended and are not free yet. */
  get returningBytes(): number {
    return this.#returningBytes;
  }

  /** An output went to blocks, or came back. */
  moved(direction: "out" | "back", bytes: number): void {
    this.#bytes[direction === "out" ? "spilled" : "unspilled"] += bytes;
  }

  leases(): LeaseCounts {
    return { ...this.#leases, active: this.#live };
  }

  bytes(): ByteCounts {
    const { leased, returned, fenced, ...more } = this.#bytes;
    const kept = [...this.#kept.values()].reduce((sum, bytes) => sum + bytes, 0);
    const active = leased - returned - kept - fenced;
    return { leased, returned, kept, fenced, active, ...more };
  }

  /** Releases every lease of the run that stands; those that are kept only if `keptToo`. */
  releaseAll(keptToo: boolean): void {
    for (const [leaseId, { lease }] of [...this.#lines])
      if (keptToo || !this.#kept.has(leaseId)) lease?.release();
  }

  /** Stops listening. */
  close(): void {
    this.#unsubscribe();
  }

  #book(event: FabricEvent): void {
    const line = this.#lines.get(event.leaseId);
    if (line === undefined) return;
    const { type, bytes } = event;
    switch (type) {
      case "expired":
      case "released":
      case "revoked":
        this.#leases[type]++;
        // One that ends before it is taken is returned like any other.
        if (this.#kept.delete(event.leaseId)) this.#open++;
        line.lease = undefined;
        this.#live--;
        if (event.kind === "mem") {
          this.#liveBytes -= bytes;
          this.#returningBytes += bytes;
        }
        break;
      case "reclaimed":
        this.#bytes.returned += bytes;
        this.#open--;
        if (event.kind === "mem") this.#returningBytes -= bytes;
        // The last that is heard of a lease.
        this.#lines.delete(event.leaseId);
        break;
      case "fenced":
        this.#leases.fenced++;
        this.#bytes.fenced += bytes;
        if (event.kind === "mem") this.#returningBytes -= bytes;
        this.#open--;
        break;
      case "unfenced":
        this.#leases.fenced--;
        this.#bytes.fenced -= bytes;
        if (event.kind === "mem") this.#returningBytes += bytes;
        this.#open++;
        break;
      case "granted":
      case "renewed":
      case "warned":
        break;
    }
    this.#tell(event, line.origin);
  }
}
