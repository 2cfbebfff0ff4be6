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
import { TTL_MAX_MS, type LeaseSite } from "./lease-handle.ts";
import { EXPIRED, isLiveState, RELEASED, REVOKED, WARNED } from "./lease-word.ts";
import type { LeaseRequest } from "./builders.ts";
import type { Pool } from "./pool.ts";
import type { Clock, Random, Timer } from "./ports.ts";
import { Quarantine } from "./quarantine.ts";
import { LeaseRecord, SlotTable, type AnyLease } from "./slot-table.ts";
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

/** What a lessor is made of. */
export interface LessorOptions {
  readonly control: ControlPlane;
  readonly events: FabricEvents;
  readonly random: Random;
  readonly guard: boolean;
  readonly fenceAfterMs: number;
  readonly ownerThread: number;
  readonly clock: Clock;
  readonly timer: Timer;
  readonly nudge: () => void;
  /** How many slots a block file has taken for itself. */
  readonly reservedSlots: number;
}

/** A lease that another process was granted, as its block file knows it. */
export interface Adoption {
  readonly slot: number;
  readonly generation: number;
  readonly id: Int32Array;
  readonly bytes: number;
  readonly label: string;
  readonly deadlineMs: number;
  readonly isWarned: boolean;
}

/** How many lease ids are drawn at a time: a draw costs a call to the host. */
const idsDrawn = 256;

const emptyCounts = {
  expired: 0,
  released: 0,
  revoked: 0,
  reclaimed: 0,
  reclaimedBytes: 0,
  fenced: 0,
};

/** Grants leases over its pools, and gives their bytes back. */
export class Lessor implements LeaseSite {
  readonly control: ControlPlane;
  readonly pulse: ThreadPulse;
  readonly guard: boolean;
  readonly ownerThread: number;
  readonly timer: Timer;
  readonly slots: SlotTable;
  readonly #events: FabricEvents;
  readonly #random: Random;
  readonly #clock: Clock;
  readonly #wheel: TimingWheel;
  readonly #quarantine: Quarantine;
  readonly #ids: Int32Array<ArrayBuffer> = new Int32Array(idsDrawn * 4);
  #idsLeft = 0;
  #counts = { ...emptyCounts };

  constructor(options: LessorOptions) {
    this.control = options.control;
    this.guard = options.guard;
    this.ownerThread = options.ownerThread;
    this.timer = options.timer;
    this.pulse = ThreadPulse.owner(options.control);
    this.slots = new SlotTable(options.control, options.reservedSlots);
    this.#events = options.events;
    this.#random = options.random;
    this.#clock = options.clock;
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
    return Math.max(Math.floor(this.#clock.nowMs()), this.control.nowMs());
  }

  /** Grants a lease. Bytes are zero. @throws FabricError `CAPACITY_EXCEEDED`. */
  grant<L extends AnyLease>(pool: Pool<L>, tenant: Tenant, request: LeaseRequest): L {
    const { label, ttlMs } = request;
    const expiresAtMs = this.nowMs() + ttlMs;
    tenant.admitLease(pool);
    const slot =
      pool.isDurable === true
        ? this.slots.takeReserved(pool, tenant)
        : this.slots.take(pool, tenant);
    let piece: number;
    try {
      piece = pool.allocate(tenant, request.bytes);
    } catch (refused) {
      this.slots.putBack(slot);
      throw refused;
    }
    const bytes = pool.roundUp(request.bytes);
    const generation = this.slots.nextGeneration(slot);
    const ids = this.#ids;
    const idAt = this.#drawId();
    this.control.grant(slot, generation, expiresAtMs, ids, idAt);
    const lease = pool.lease(
      { site: this, slot, generation, ids, idAt, tenant: tenant.name, label, bytes, expiresAtMs },
      tenant,
      piece,
    );
    const deadline = expiresAtMs - this.control.baseMs;
    const record = new LeaseRecord(lease, tenant, pool, piece, deadline);
    this.slots.put(record);
    tenant.leases++;
    pool.ledger.grant(bytes);
    // Later than the new deadline, or not at all: an earlier instant, left by the slot's last lease, will ask again.
    this.#wheel.scheduleBy(slot, expiresAtMs);
    this.#tell("granted", record);
    return lease;
  }

  /** Takes up a lease that another process was granted. Its piece is in the tenant's account already. */
  adopt<L extends AnyLease>(pool: Pool<L>, tenant: Tenant, piece: number, from: Adoption): L {
    const { slot, generation, id, bytes, label, isWarned } = from;
    const { baseMs } = this.control;
    // Within what the lease word holds, however the clock was set in between.
    const expiresAtMs = Math.min(Math.max(from.deadlineMs, baseMs), baseMs + TTL_MAX_MS);
    this.control.grant(slot, generation, expiresAtMs, id, 0);
    if (isWarned) this.control.warn(slot, generation, expiresAtMs);
    const lease = pool.lease(
      {
        site: this,
        slot,
        generation,
        ids: id,
        idAt: 0,
        tenant: tenant.name,
        label,
        bytes,
        expiresAtMs,
      },
      tenant,
      piece,
    );
    const record = new LeaseRecord(lease, tenant, pool, piece, expiresAtMs - baseMs);
    record.isWarned = isWarned;
    this.slots.put(record);
    tenant.leases++;
    pool.ledger.grant(bytes);
    this.#wheel.scheduleBy(slot, expiresAtMs);
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
    if (generation !== record.lease.generation) return;
    if (!isLiveState(state)) return this.#conclude(record, state);
    if (state === WARNED && !record.isWarned) {
      record.isWarned = true;
      this.#wheel.scheduleBy(slot, deadlineMs);
      this.#tell("warned", record);
    }
    const clockMs = this.control.nowMs();
    if (deadlineMs <= clockMs) this.#due(slot, clockMs);
  }

  released(slot: number, generation: number): void {
    const record = this.slots.at(slot);
    if (record === undefined || record.terminal !== 0 || record.lease.generation !== generation)
      return;
    this.#conclude(record, RELEASED);
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

  /** Ends every lease that stands, now, but those that outlive their process; says how many. */
  revokeAll(): number {
    let revoked = 0;
    for (const { lease } of [...this.slots.records()])
      if (!this.slots.isReserved(lease.slot) && lease.revoke()) revoked++;
    return revoked;
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

  // The wheel's question: a slot's instant has come; has its deadline? Arms the slot again if not; returns -1 always.
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
        // Armed before subscribers are told: they may end this lease, and grant its slot anew.
        this.#wheel.scheduleBy(slot, deadlineMs);
        this.#noticeRenewal(record, deadlineMs);
        return -1;
      }
      const terminal = state === WARNED ? REVOKED : EXPIRED;
      // False when another thread moved the word since: look again. Each turn means that one transition more happened.
      if (this.control.end(slot, record.lease.generation, terminal, clockMs)) {
        this.#conclude(record, terminal);
        return -1;
      }
    }
  }

  #noticeRenewal(record: LeaseRecord, deadlineMs: number): void {
    const deadline = deadlineMs - this.control.baseMs;
    if (deadline <= record.toldDeadline) return;
    record.toldDeadline = deadline;
    this.#tell("renewed", record);
  }

  #conclude(record: LeaseRecord, terminal: number): void {
    record.terminal = terminal;
    // Read now: once the slot is free, the handle can no longer ask for its deadline.
    void record.lease.expiresAtMs;
    const how = terminal === EXPIRED ? "expired" : terminal === RELEASED ? "released" : "revoked";
    this.#counts[how]++;
    record.pool.ledger.end(record.lease.bytes, how);
    record.pool.ended?.(record.lease, terminal);
    this.#tell(how, record);
    // The slot stays in the wheel. To take it out would touch its neighbours in their lists, three cache lines at
    // random; when it comes up, `#due` finds the slot free, or another lease in it.
    this.#quarantine.admit(record);
  }

  #freed(record: LeaseRecord): void {
    const { bytes } = record.lease;
    record.pool.free(record.tenant, record.piece, bytes);
    record.pool.ledger.reclaim(bytes);
    record.tenant.leases--;
    this.#counts.reclaimed++;
    this.#counts.reclaimedBytes += bytes;
    this.#tell("reclaimed", record);
    this.slots.giveBack(record);
  }

  #fenced(record: LeaseRecord): void {
    record.pool.ledger.fence(record.lease.bytes);
    this.#counts.fenced++;
    this.#tell("fenced", record);
    // Named, so that an operator can find it by the id that the event told.
    void record.lease.leaseId;
  }

  #unfenced(record: LeaseRecord): void {
    record.pool.ledger.unfence(record.lease.bytes);
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
    const { kind, leaseId, generation, tenant, label, bytes, expiresAtMs } = record.lease;
    // The moment itself: the fabric's clock trails it, and a lease must not seem to end before it was granted.
    const atMs = this.nowMs();
    this.#events.emit({ type, kind, leaseId, generation, tenant, label, bytes, atMs, expiresAtMs });
  }
}
