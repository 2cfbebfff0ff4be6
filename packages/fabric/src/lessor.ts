/**
 * The owner's side of a fabric: it grants, notices ends, and gives bytes back. One thread runs it.
 *
 * Invariant L1: a lease ends in exactly one of expired, released, revoked. The authority word decides which: only one
 * compare-exchange away from a live state succeeds (`control-plane.ts`, `end`).
 * Invariant L2: what L1 decided is booked once: `#conclude` runs once a record, when it first sees a terminal word.
 */
import type { ControlPlane } from "./control-plane.ts";
import { invalidArgument } from "./errors.ts";
import type { FabricEvents, FabricEventType } from "./events.ts";
import type { LeaseParts } from "./lease-handle.ts";
import type { LeaseSite } from "./lease-handle.ts";
import { EXPIRED, isLiveState, RELEASED, REVOKED, WARNED } from "./lease-word.ts";
import type { BlockLease } from "./block-lease.ts";
import type { MemLease } from "./mem-lease.ts";
import type { Piece, Pool } from "./pool.ts";
import type { Random } from "./ports.ts";
import { Quarantine } from "./quarantine.ts";
import { SlotTable, type LeaseRecord } from "./slot-table.ts";
import type { Tenant } from "./tenant.ts";
import { ThreadPulse } from "./thread-registry.ts";
import { TimingWheel } from "./timing-wheel.ts";

/** What one `tick` did. */
export interface ReclaimSummary {
  /** The fabric's clock after it. */
  readonly nowMs: number;
  /** Leases that ended, by how. */
  readonly expired: number;
  readonly released: number;
  readonly revoked: number;
  /** Leases whose bytes became free, and those bytes. Includes what slow devices finished since the last tick. */
  readonly reclaimed: number;
  readonly reclaimedBytes: number;
  /** Leases whose bytes were fenced. */
  readonly fenced: number;
  /** Ended leases whose bytes are not back yet. */
  readonly pending: number;
}

/** What a grant needs. */
export interface GrantRequest<P extends Piece> {
  readonly pool: Pool<P>;
  readonly tenant: Tenant;
  readonly bytes: number;
  readonly ttlMs: number;
  readonly label: string;
  readonly make: (parts: LeaseParts, piece: P) => MemLease | BlockLease;
}

/** What a lessor is made of. */
export interface LessorOptions {
  readonly control: ControlPlane;
  readonly events: FabricEvents;
  readonly random: Random;
  readonly guard: boolean;
  readonly fenceAfterMs: number;
  /** Real time, never behind the fabric's clock where that is not ticked by hand. */
  readonly nowMs: () => number;
  readonly nudge: () => void;
}

/** How many lease ids are drawn at a time: a draw costs a call to the host. */
const idsDrawn = 256;

const emptyCounts = { expired: 0, released: 0, revoked: 0, reclaimed: 0, reclaimedBytes: 0, fenced: 0 };

/** Grants leases over its pools, and gives their bytes back. */
export class Lessor implements LeaseSite {
  readonly control: ControlPlane;
  readonly pulse: ThreadPulse;
  readonly guard: boolean;
  readonly slots: SlotTable;
  readonly #events: FabricEvents;
  readonly #random: Random;
  readonly #realMs: () => number;
  readonly #wheel: TimingWheel;
  readonly #quarantine: Quarantine;
  readonly #ids: Int32Array<ArrayBuffer> = new Int32Array(idsDrawn * 4);
  #idsLeft = 0;
  #counts = { ...emptyCounts };

  constructor(options: LessorOptions) {
    this.control = options.control;
    this.guard = options.guard;
    this.pulse = ThreadPulse.owner(options.control);
    this.slots = new SlotTable(options.control);
    this.#events = options.events;
    this.#random = options.random;
    this.#realMs = options.nowMs;
    this.#wheel = new TimingWheel(options.control.handle.slots, options.control.handle.baseMs);
    this.#quarantine = new Quarantine(options.control, options.fenceAfterMs, {
      freed: (record) => this.#freed(record),
      fenced: (record) => this.#fenced(record),
      unfenced: (record) => this.#unfenced(record),
      nudge: options.nudge,
    });
  }

  /** Real time, never behind the fabric's clock. */
  nowMs(): number {
    return Math.max(this.#realMs(), this.control.nowMs());
  }

  /** Grants a lease. Bytes are zero. @throws FabricError `CAPACITY_EXCEEDED`. */
  grant<P extends Piece>(request: GrantRequest<P>): MemLease | BlockLease {
    const { pool, tenant } = request;
    const nowMs = this.nowMs();
    tenant.admitLease(() => pool.largestFreeBytes(tenant));
    const slot = this.slots.take();
    let piece: P;
    try {
      piece = pool.allocate(tenant, request.bytes);
    } catch (refused) {
      this.slots.putBack(slot);
      throw refused;
    }
    const generation = this.slots.nextGeneration(slot);
    const expiresAtMs = nowMs + request.ttlMs;
    const ids = this.#ids;
    const idAt = this.#drawId();
    this.control.grant(slot, generation, expiresAtMs, ids, idAt);
    const { label } = request;
    const { bytes } = piece;
    const lease = request.make(
      { site: this, slot, generation, ids, idAt, tenant: tenant.name, label, bytes, expiresAtMs },
      piece,
    );
    const record: LeaseRecord<P> = {
      slot,
      generation,
      lease,
      tenant,
      pool,
      piece,
      pins: 0,
      isTicketed: false,
      toldExpiresAtMs: expiresAtMs,
      isWarned: false,
      reclaim: "none",
      terminal: 0,
      waitsSinceMs: 0,
      waitsForEpoch: 0,
      leaseId: undefined,
    };
    this.slots.put(record as unknown as LeaseRecord);
    tenant.leases++;
    pool.ledger.grant(piece.bytes);
    this.#wheel.schedule(slot, expiresAtMs);
    this.#tell("granted", record as unknown as LeaseRecord);
    return lease;
  }

  /** Raises the clock, ends what is due, gives bytes back. */
  tick(nowMs: number): ReclaimSummary {
    const clockMs = this.control.advanceClock(nowMs);
    this.pulse.progress();
    this.control.takeAttention((slot) => this.attend(slot));
    this.#wheel.advance(clockMs, (slot) => this.#due(slot, clockMs));
    this.#quarantine.sweep(clockMs);
    const counts = this.#counts;
    this.#counts = { ...emptyCounts };
    return { nowMs: clockMs, ...counts, pending: this.#quarantine.size };
  }

  /** Looks at a slot whose state another piece of code, or another thread, has moved. */
  attend(slot: number): void {
    const record = this.slots.at(slot);
    if (record === undefined || record.terminal !== 0) return;
    const { generation, state, deadlineMs } = this.control.moment(slot);
    if (generation !== record.generation) return;
    if (!isLiveState(state)) return this.#conclude(record, state);
    if (state === WARNED && !record.isWarned) {
      record.isWarned = true;
      this.#wheel.cancel(slot);
      this.#wheel.schedule(slot, deadlineMs);
      this.#tell("warned", record);
    }
    const clockMs = this.control.nowMs();
    if (deadlineMs <= clockMs) this.#due(slot, clockMs);
  }

  pin(slot: number): void {
    const record = this.slots.at(slot);
    if (record !== undefined) record.pins++;
  }

  unpin(slot: number): void {
    const record = this.slots.at(slot);
    if (record !== undefined) record.pins--;
  }

  pinForLoan(slot: number): void {
    this.pin(slot);
  }

  unpinForLoan(slot: number): void {
    this.unpin(slot);
  }

  named(slot: number, generation: number, leaseId: string): void {
    this.slots.name(slot, generation, leaseId);
  }

  ticketed(slot: number): void {
    const record = this.slots.at(slot);
    if (record !== undefined) record.isTicketed = true;
  }

  /** Ends every lease that stands, now. */
  revokeAll(): void {
    for (const { lease } of [...this.slots.records()]) lease.revoke();
  }

  /** Tries a fenced teardown again. @throws FabricError `INVALID_ARGUMENT` when the lease is not fenced. */
  unfence(leaseId: string): void {
    const record = this.slots.find(leaseId);
    if (record === undefined || !this.#quarantine.retry(record))
      throw invalidArgument("leaseId", "a lease whose teardown failed", leaseId);
  }

  /** How many ended leases' bytes are on their way back. */
  get pending(): number {
    return this.#quarantine.size;
  }

  // The wheel's question: a slot's bucket has come; has its deadline? Returns when to ask again, or -1.
  #due(slot: number, clockMs: number): number {
    const record = this.slots.at(slot);
    if (record === undefined || record.terminal !== 0) return -1;
    for (;;) {
      const { state, deadlineMs } = this.control.moment(slot);
      if (!isLiveState(state)) {
        this.#conclude(record, state);
        return -1;
      }
      if (deadlineMs > clockMs) {
        this.#noticeRenewal(record, deadlineMs);
        return deadlineMs;
      }
      const terminal = state === WARNED ? REVOKED : EXPIRED;
      // False when another thread moved the word since: look again. Each turn means that one transition more happened.
      if (this.control.end(slot, record.generation, terminal, clockMs)) {
        this.#conclude(record, terminal);
        return -1;
      }
    }
  }

  #noticeRenewal(record: LeaseRecord, deadlineMs: number): void {
    if (deadlineMs <= record.toldExpiresAtMs) return;
    record.toldExpiresAtMs = deadlineMs;
    this.#tell("renewed", record);
  }

  #conclude(record: LeaseRecord, terminal: number): void {
    record.terminal = terminal;
    // Read now: once the slot is free, the handle can no longer ask for its deadline.
    void record.lease.expiresAtMs;
    this.#wheel.cancel(record.slot);
    const how = terminal === EXPIRED ? "expired" : terminal === RELEASED ? "released" : "revoked";
    this.#counts[how]++;
    record.pool.ledger.end(record.piece.bytes, how);
    this.#tell(how, record);
    this.#quarantine.admit(record, this.control.nowMs());
  }

  #freed(record: LeaseRecord): void {
    record.pool.free(record.tenant, record.piece);
    record.pool.ledger.reclaim(record.piece.bytes);
    record.tenant.leases--;
    this.#counts.reclaimed++;
    this.#counts.reclaimedBytes += record.piece.bytes;
    this.#tell("reclaimed", record);
    this.slots.giveBack(record);
  }

  #fenced(record: LeaseRecord): void {
    record.pool.ledger.fence(record.piece.bytes);
    this.#counts.fenced++;
    this.#tell("fenced", record);
    // Named, so that an operator can find it by the id that the event told.
    void record.lease.leaseId;
  }

  #unfenced(record: LeaseRecord): void {
    record.pool.ledger.unfence(record.piece.bytes);
    this.#tell("unfenced", record);
  }

  // Where in `#ids` the next unused id stands.
  #drawId(): number {
    if (this.#idsLeft === 0) {
      this.#random.fill(this.#ids);
      this.#idsLeft = idsDrawn;
    }
    this.#idsLeft--;
    return this.#idsLeft * 4;
  }

  #tell(type: FabricEventType, record: LeaseRecord): void {
    if (!this.#events.isHeard) return;
    const { lease, generation } = record;
    const { kind, leaseId, tenant, label, bytes, expiresAtMs } = lease;
    const atMs = this.control.nowMs();
    this.#events.emit({ type, kind, leaseId, generation, tenant, label, bytes, atMs, expiresAtMs });
  }
}
