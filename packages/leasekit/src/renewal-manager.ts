/** Keeps leases of one fabric alive, and says how that goes. */
import {
  FabricError,
  invalidArgument,
  OWNER_THREAD,
  THREADS_MAX,
  type BlockLease,
  type Fabric,
  type MemLease,
} from "@selvage/fabric";
import { DESK_TTL_MAX_MS, RenewalDesk, type DeskReading } from "./renewal-desk.ts";
import { RenewalPolicy, type RenewalFigures } from "./renewal-policy.ts";

/** What one `tick` saw, since the one before. */
export interface RenewalSummary {
  /** Renewals that succeeded, by whichever thread. */
  readonly renewed: number;
  /** Registrations whose renewal was refused: the lease is over or being revoked, or its holder was silent too long. */
  readonly failed: number;
  /** Registrations that are over, each told once. Their leases are no longer kept by them. */
  readonly expired: number;
  /** Leases whose renewal is overdue, and that end unless one comes. */
  readonly nearExpiry: number;
  /** Renewals asked for and not answered yet. */
  readonly pending: number;
  /** When the next renewal is due; undefined when nothing is registered. */
  readonly nextDueAtMs: number | undefined;
}

/** Options of a {@link RenewalManager}. */
export interface RenewalOptions {
  /** How long a holder may be silent before its leases are no longer renewed, in milliseconds. Default 30,000. */
  readonly stallMs?: number;
}

/** How a lease is held. */
export interface HoldOptions {
  /** What each renewal asks for, in milliseconds. Default: what is left of the lease now. */
  readonly ttlMs?: number;
  readonly policy?: Partial<RenewalFigures>;
  /** Whose progress keeps it: an attached thread's number. Default: the fabric's owner. */
  readonly thread?: number;
  readonly stallMs?: number;
}

/** One holder's claim to have a lease renewed while it works. */
export interface Hold extends Disposable {
  /** True once the holder was silent past `stallMs` and its last renewal ran out, or the lease ended. */
  readonly isLapsed: boolean;
  /** Renewals for this hold so far. */
  readonly renewed: number;
  /** Stops renewing for this holder. Idempotent. */
  end(): void;
}

/** Default of {@link RenewalOptions.stallMs}. */
export const STALL_MS_DEFAULT = 30_000;

interface Registration {
  readonly lease: MemLease | BlockLease;
  readonly entry: number;
  seenRenewed: number;
  renewed: number;
  isOpen: boolean;
  /** How it stood when it was closed. */
  lapsed: boolean;
  /** The lease's id, if it was registered by that. */
  readonly leaseId: string | undefined;
}

/** A manager, as its holds reach it. */
interface HoldBooks {
  isLapsed(registration: Registration): boolean;
  renewed(registration: Registration): number;
  close(registration: Registration): void;
}

// One shape for all: there are as many as leases in memory.
class OpenHold implements Hold {
  readonly #registration: Registration;
  readonly #books: HoldBooks;

  constructor(registration: Registration, books: HoldBooks) {
    this.#registration = registration;
    this.#books = books;
  }

  get isLapsed(): boolean {
    return this.#books.isLapsed(this.#registration);
  }

  get renewed(): number {
    return this.#books.renewed(this.#registration);
  }

  end(): void {
    this.#books.close(this.#registration);
  }

  [Symbol.dispose](): void {
    this.end();
  }
}

/**
 * Renews registered leases: beside the work where the fabric has a keeper thread, and at each `tick` in any case.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { Fabric, RenewalManager } from "selvage";
 *
 * using fabric = Fabric.open({ memoryBytes: 1 << 20, tick: "manual" });
 * const renewals = new RenewalManager(fabric);
 * const lease = fabric.mem().leaseSecs(60).acquire();
 * renewals.register(lease.leaseId, lease.expiresAtMs);
 * const dueAtMs = renewals.tick(fabric.nowMs()).nextDueAtMs!;
 * assert.equal(renewals.tick(dueAtMs).renewed, 1);
 * assert.equal(lease.expiresAtMs, Math.floor(dueAtMs) + 60_000);
 * ```
 */
export class RenewalManager implements Disposable {
  readonly #fabric: Fabric;
  readonly #desk = new RenewalDesk();
  readonly #stallMs: number;
  // By their entries at the desk. A list, not a set: a table that holds come to and go from leaves old tables behind, and
  // what is in those, for the next full collection.
  readonly #registrations: (Registration | undefined)[] = [];
  readonly #byId = new Map<string, Registration>();
  // Takes the desk away from the keeper again; undefined until the keeper has it.
  #unwatch: (() => void) | undefined;
  // What the next tick has to tell, of registrations that are no longer there.
  #untoldRenewed = 0;
  #totalRenewed = 0;
  #closedFailed = 0;
  #closedExpired = 0;
  // What holds ask for.
  readonly #books: HoldBooks = {
    isLapsed: (registration) => this.#isLapsed(registration),
    renewed: (registration) => {
      if (registration.isOpen) this.#take(registration, this.#read(registration));
      return registration.renewed;
    },
    close: (registration) => this.#close(registration),
  };

  constructor(fabric: Fabric, options: RenewalOptions = {}) {
    if (typeof (fabric as Fabric | undefined)?.find !== "function")
      throw invalidArgument("fabric", "a Fabric", fabric);
    this.#fabric = fabric;
    this.#stallMs = checkMs("stallMs", options.stallMs ?? STALL_MS_DEFAULT);
  }

  /** Renewals so far, by whichever thread. */
  get renewedTotal(): number {
    for (const registration of this.#registrations)
      if (registration !== undefined) this.#take(registration, this.#read(registration));
    return this.#totalRenewed;
  }

  /**
   * Keeps the lease of an id, whose TTL is what is left of it now. Registering again replaces the policy.
   * @throws FabricError `NOT_FOUND` when no such lease stands, `LEASE_EXPIRED`, `REVOKED`, `INVALID_ARGUMENT`,
   * `CAPACITY_EXCEEDED`. After an error an earlier registration stays as it was.
   */
  register(leaseId: string, expiresAtMs: number, policy?: Partial<RenewalFigures>): void {
    if (!Number.isFinite(expiresAtMs))
      throw invalidArgument("expiresAtMs", "milliseconds since the Unix epoch", expiresAtMs);
    const lease = this.#fabric.find(leaseId);
    if (lease === undefined)
      throw new FabricError("NOT_FOUND", "Cannot keep a lease that does not stand", { leaseId });
    const ttlMs = expiresAtMs - this.#fabric.nowMs();
    const options = policy === undefined ? { ttlMs } : { ttlMs, policy };
    const registration = this.#open(lease, options, leaseId);
    this.unregister(leaseId);
    this.#byId.set(leaseId, registration);
  }

  /** Stops keeping a lease. Returns whether it was kept. */
  unregister(leaseId: string): boolean {
    const registration = this.#byId.get(leaseId);
    if (registration === undefined) return false;
    this.#close(registration);
    return true;
  }

  /**
   * Keeps a lease while one holder makes progress. Several holds on one lease are independent.
   * @throws FabricError `LEASE_EXPIRED` or `REVOKED` when the lease is over, `INVALID_ARGUMENT`, `CAPACITY_EXCEEDED`.
   */
  hold(lease: MemLease | BlockLease, options: HoldOptions = {}): Hold {
    return new OpenHold(this.#open(lease, options, undefined), this.#books);
  }

  /** Renews what is due, as one who is at work now, and leaves the counting to the next `tick`. */
  sweep(nowMs: number): void {
    this.#desk.sweep(this.#fabric.control, nowMs, true);
  }

  /** Renews what is due, as one who is at work now. */
  tick(nowMs: number): RenewalSummary {
    this.sweep(nowMs);
    let failed = this.#closedFailed;
    let expired = this.#closedExpired;
    this.#closedFailed = this.#closedExpired = 0;
    let nearExpiry = 0;
    let nextDueAtMs: number | undefined;
    for (const registration of this.#registrations) {
      if (registration === undefined) continue;
      const reading = this.#desk.read(this.#fabric.control, registration.entry, nowMs);
      this.#take(registration, reading);
      if (reading.state === "armed") {
        const dueAtMs = nowMs + reading.dueInMs;
        if (reading.dueInMs <= 0) nearExpiry++;
        nextDueAtMs = nextDueAtMs === undefined ? dueAtMs : Math.min(nextDueAtMs, dueAtMs);
        continue;
      }
      failed++;
      expired++;
      // A hold is asked for its verdict later, by whoever has it; a registration by id ends here.
      if (registration.leaseId === undefined) this.#registrations[registration.entry] = undefined;
      else this.#drop(registration);
    }
    const renewed = this.#untoldRenewed;
    this.#untoldRenewed = 0;
    return { renewed, failed, expired, nearExpiry, pending: 0, nextDueAtMs };
  }

  /** Stops keeping every lease, and gives the desk back. Idempotent. */
  [Symbol.dispose](): void {
    for (const registration of this.#registrations)
      if (registration !== undefined) this.#close(registration);
    this.#unwatch?.();
    this.#unwatch = undefined;
  }

  #open(
    lease: MemLease | BlockLease,
    options: HoldOptions,
    leaseId: string | undefined,
  ): Registration {
    const nowMs = this.#fabric.nowMs();
    const { expiresAtMs, state } = lease;
    const policy = new RenewalPolicy(options.policy);
    if (!lease.isLive || expiresAtMs <= nowMs)
      throw new FabricError(
        state === "revoked" ? "REVOKED" : "LEASE_EXPIRED",
        "Cannot keep a lease that is over",
        { leaseId: lease.leaseId, state, expiresAtMs },
      );
    const ownMs = checkMs("ttlMs", options.ttlMs ?? expiresAtMs - nowMs);
    const stallMs = checkMs("stallMs", options.stallMs ?? this.#stallMs);
    const thread = options.thread ?? OWNER_THREAD;
    if (!Number.isInteger(thread) || thread < 0 || thread >= THREADS_MAX)
      throw invalidArgument("thread", `an attached thread, below ${THREADS_MAX}`, thread);
    // A renewal asks for at least minRenewSecs, clamped to the lease's own TTL: so, for its own TTL.
    const ttlMs = Math.min(ownMs, DESK_TTL_MAX_MS);
    const seed = Number.parseInt(lease.leaseId.slice(0, 8), 16);
    const renewAfterMs = policy.renewalDeadline(0, ttlMs, seed);
    const { control } = this.#fabric;
    if (this.#desk.isFull) this.#dropEnded();
    const entry = this.#desk.add(control, {
      slot: lease.slot,
      generation: lease.generation,
      thread,
      ttlMs,
      renewAfterMs,
      stallMs,
      dueAtMs: Math.min(nowMs + renewAfterMs, policy.renewalDeadline(nowMs, expiresAtMs, seed)),
    });
    this.#watch();
    const { renewed: seenRenewed } = this.#desk.read(control, entry, nowMs);
    const registration = {
      lease,
      entry,
      seenRenewed,
      renewed: 0,
      isOpen: true,
      lapsed: false,
      leaseId,
    };
    this.#registrations[entry] = registration;
    return registration;
  }

  #watch(): void {
    this.#unwatch ??= this.#fabric.keeper()?.watch(this.#desk.share());
  }

  #isLapsed(registration: Registration): boolean {
    if (!registration.isOpen) return registration.lapsed;
    return this.#read(registration).state !== "armed" || !registration.lease.isLive;
  }

  #read(registration: Registration): DeskReading {
    return this.#desk.read(this.#fabric.control, registration.entry, this.#fabric.nowMs());
  }

  // Notes what the entry renewed since it was last looked at, for the next tick to tell.
  #take(registration: Registration, reading: DeskReading): void {
    const renewed = reading.renewed - registration.seenRenewed;
    registration.seenRenewed = reading.renewed;
    registration.renewed += renewed;
    this.#untoldRenewed += renewed;
    this.#totalRenewed += renewed;
  }

  #close(registration: Registration): void {
    if (!registration.isOpen) return;
    const reading = this.#read(registration);
    this.#take(registration, reading);
    registration.lapsed = this.#isLapsed(registration);
    // Unless a tick has told of it already.
    if (reading.state !== "armed" && this.#registrations[registration.entry] === registration) {
      this.#closedExpired++;
      this.#closedFailed++;
    }
    this.#drop(registration);
  }

  // Registrations by id whose leases are over, and that no tick has told of yet.
  #dropEnded(): void {
    for (const registration of this.#registrations)
      if (registration?.leaseId !== undefined && this.#isLapsed(registration))
        this.#close(registration);
  }

  #drop(registration: Registration): void {
    registration.isOpen = false;
    this.#registrations[registration.entry] = undefined;
    if (registration.leaseId !== undefined) this.#byId.delete(registration.leaseId);
    this.#desk.remove(registration.entry);
  }
}

function checkMs(name: string, ms: unknown): number {
  if (typeof ms !== "number" || !(ms > 0)) throw invalidArgument(name, "milliseconds above 0", ms);
  return ms;
}
