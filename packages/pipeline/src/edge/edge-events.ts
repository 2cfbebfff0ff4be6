/** What an edge between two stages is made with, and what it tells of itself. */
import type { Codec, MemLease } from "@selvage/fabric";
import type { QueueLocator } from "@selvage/fence";
import type { RetryPolicy } from "@selvage/leasekit";

/** Why an edge moves to a new ring. */
export type RelocationCause =
  /** The ring's lease ran out, or was released. */
  | "lease-expired"
  /** The ring was closed by another writer, or its fabric is gone. */
  | "disconnected"
  /** The ring's memory says what cannot be. */
  | "corrupt"
  /** A consumer that took over asked for what its predecessor had taken and not dealt with. */
  | "consumer-died"
  /** A producer that took over begins elsewhere than the ring it found. */
  | "producer-died"
  /** `relocate()` was called. */
  | "asked"
  /** The ring has carried as many items as it may. */
  | "renumbered";

/** A range of sequence numbers, `from` included and `to` not; `"unknown"` where nobody can say. */
export type LostItems = { readonly from: number; readonly to: number } | "unknown";

/** What happens to an edge. Generations are of the handoff record; times are milliseconds. */
export type EdgeEvent =
  | { readonly type: "relocating"; readonly cause: RelocationCause; readonly generation: number }
  | {
      readonly type: "relocated";
      readonly cause: RelocationCause;
      readonly generation: number;
      /** How long this end could not go on. */
      readonly stallMs: number;
      /** Items put into the new ring that had been in the old one, or taken from it and not acknowledged. */
      readonly replayed: number;
    }
  /** A try at relocating failed, and will be made again. */
  | { readonly type: "retrying"; readonly error: unknown; readonly attempt: number }
  /** This end was given items that it had seen, and dropped them. */
  | { readonly type: "dropped"; readonly count: number }
  /** Items that nobody has any more. */
  | { readonly type: "lost"; readonly items: LostItems }
  /** The edge is over. */
  | { readonly type: "failed"; readonly error: unknown };

/** What one end of an edge has seen. */
export interface EdgeStats {
  /** Of the handoff record. */
  readonly generation: number;
  /** Rings that this end has moved to. */
  readonly rebinds: number;
  /** The same, by cause. */
  readonly relocations: Readonly<Partial<Record<RelocationCause, number>>>;
  /** Items pushed here and accepted. */
  readonly accepted: number;
  /** Items popped here, without those that were dropped. */
  readonly delivered: number;
  /** Items that this end keeps because they are not acknowledged. */
  readonly unacknowledged: number;
  /** Items put into a later ring again. */
  readonly replayed: number;
  /** Items that came again, and were dropped as seen. */
  readonly dropped: number;
  /** Items known to be lost; `"unknown"` once a number of them cannot be told. */
  readonly lost: number | "unknown";
  /** How long this end could not go on, longest and last, in milliseconds. */
  readonly stallMsMax: number;
  readonly stallMsLast: number;
}

/** What keeps an edge's lease alive. A `RenewalManager` is one. */
export interface EdgeRenewals {
  register(leaseId: string, expiresAtMs: number): unknown;
  unregister(leaseId: string): unknown;
}

/** How an edge behaves. */
export interface EdgeOptions {
  /** TTL of the leases that it acquires, in milliseconds. Default 30,000. */
  readonly leaseMs?: number;
  /** How often an end that nobody calls looks around, in milliseconds. Default 10. */
  readonly tickMs?: number;
  /**
   * When the consumer has dealt with an item: `"auto"`, when it asks for the next one, or `"manual"`, when it says `acknowledge`.
   * Default `"auto"`.
   */
  readonly acknowledge?: "auto" | "manual";
  /**
   * Sequence number of the next item of this end: for a producer that resumes, of the next item that it will push; for a
   * consumer, of the first that it has not dealt with. An end that cannot know says `"unknown"`: then what may be missing is told
   * as lost. Default: what the ring says; for a producer at a blank ring that is not the record's first, `"unknown"`.
   */
  readonly from?: number | "unknown";
  /**
   * Most items that a producer keeps because they are not acknowledged: beyond them it takes none. Default: as many as the ring
   * has slots, and as many again up to 1,024.
   */
  readonly window?: number;
  /** Keeps the ring's lease alive. Default: nobody does, and the edge moves each time that it ends. */
  readonly renewals?: EdgeRenewals;
  /** How often a relocation that fails is tried again. Default: 8 retries from 5 ms, at most 500 ms apart. */
  readonly retry?: number | Partial<RetryPolicy>;
  /** Where new memory comes from. Default: the fabric of the first ring's lease. */
  readonly acquire?: (bytes: number) => MemLease | Promise<MemLease>;
  /** What a locator leads to. Default: the lease that the fabric has granted under it. */
  readonly resolve?: (locator: QueueLocator) => MemLease | Promise<MemLease>;
  /** Is told what happens. What it throws is ignored. */
  readonly onEvent?: (event: EdgeEvent) => void;
}

/** How to attach. */
export interface EdgeAttachOptions<T> extends EdgeOptions {
  readonly codec?: Codec<T>;
}

/** Default of {@link EdgeOptions.leaseMs}. */
export const EDGE_LEASE_MS = 30_000;
/** Default of {@link EdgeOptions.tickMs}. */
export const EDGE_TICK_MS = 10;

/** How often what fails is tried again, unless told otherwise. */
export const EDGE_RETRIES: Partial<RetryPolicy> = {
  retries: 8,
  baseMs: 5,
  maxMs: 500,
  jitter: "none",
};
