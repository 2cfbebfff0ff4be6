/**
 * What memory leases and block leases share: how a holder asks whether its lease still stands, and ends it.
 * The same code runs on the owner's thread and on threads that attached by ticket; they differ in their
 * {@link LeaseSite} only.
 */
import { BEING_REVOKED, LATE, type ControlPlane } from "./control-plane.ts";
import { CLOCK_AT, slotAt } from "./control-layout.ts";
import { FabricError, invalidArgument } from "./errors.ts";
import {
  ACTIVE,
  EXPIRED,
  FREE,
  generationOf,
  isLiveState,
  RELEASED,
  REVOKED,
  stateName,
  stateOf,
  WARNED,
  type LeaseState,
} from "./lease-word.ts";
import type { Timer } from "./ports.ts";
import type { ThreadPulse } from "./thread-registry.ts";
import { formatId } from "./ticket.ts";

/** The thread that a handle is used on, as the handle sees it. */
export interface LeaseSite {
  readonly control: ControlPlane;
  readonly pulse: ThreadPulse;
  /** Whether `with` hands out private copies (`guard: true`). */
  readonly guard: boolean;
  /** Real time, or the fabric's clock where that is ticked by hand. Never behind the fabric's clock. */
  nowMs(): number;
  /** This thread's timers: what waits without blocking keeps the program alive by one. */
  readonly timer: Timer;
  /** Which thread owns the fabric, as the host numbers them. */
  readonly ownerThread: number;
  /** Tells the owner that this slot has ended, was warned, or is due. */
  attend(slot: number): void;
  /** Tells the owner that its holder has just released it: as `attend`, with less to find out. */
  released(slot: number, generation: number): void;
  /** Keeps the slot's bytes from being reclaimed until `unpin`, for the length of a synchronous call. */
  pin(slot: number): void;
  unpin(slot: number): void;
  /** The same for as long as an engine likes. On an attached thread nothing: there the owner pins for it. */
  pinForLoan(slot: number): void;
  unpinForLoan(slot: number): void;
  /** A lease's id became known as text. */
  named(slot: number, generation: number, leaseId: string): void;
  /** A ticket was made: from now on other threads may hold the lease. */
  ticketed(slot: number): void;
}

/** Everything that a handle is made of. */
export interface LeaseParts {
  readonly site: LeaseSite;
  readonly slot: number;
  readonly generation: number;
  /** The id: four words of `ids` from `idAt` on. */
  readonly ids: Int32Array;
  readonly idAt: number;
  readonly tenant: string;
  readonly label: string;
  /** Bytes granted. */
  readonly bytes: number;
  /** The deadline at this moment, in milliseconds since the Unix epoch. */
  readonly expiresAtMs: number;
}

/** How to take a lease back. */
export interface RevokeOptions {
  /** How long the holder may go on, to checkpoint. Default 0: at once. */
  readonly graceMs?: number;
}

// A binding of this module's own is a constant to V8; an imported one is looked up at every use.
const clockAt: number = CLOCK_AT;

/** Longest TTL, in milliseconds: 17 years. */
export const TTL_MAX_MS: number = 2 ** 39;

/** Checks a TTL. @throws FabricError `INVALID_ARGUMENT`. */
export function checkTtl(name: string, ttlMs: unknown): number {
  if (typeof ttlMs !== "number" || !(ttlMs > 0 && ttlMs <= TTL_MAX_MS))
    throw invalidArgument(name, `milliseconds above 0 and up to ${TTL_MAX_MS}`, ttlMs);
  return Math.ceil(ttlMs);
}

/** A right to use a resource until a time. */
export abstract class LeaseHandle {
  /** `"mem"` or `"block"`. */
  abstract readonly kind: "mem" | "block";
  // Fields lie in memory as they are declared. The ones that a renewal or a release of a lease long untouched needs come
  // first, so that they share a cache line or two.
  /** For the other modules of this package. */
  protected readonly site: LeaseSite;
  /** Slot of the fabric's lease table: small, reused, for diagnosis only. */
  readonly slot: number;
  /** Times the lease's slot has been granted; stale handles differ in it. */
  readonly generation: number;
  // The deadline last seen, in milliseconds from the fabric's base: what `expiresAtMs` answers once the slot belongs to
  // another lease. Not since the Unix epoch: V8 keeps a number above 31 bits in an object of its own.
  #lastDeadline: number;
  /** Bytes granted: what was asked for, rounded up. */
  readonly bytes: number;
  // The authority's high word while the lease stands as this handle last saw it.
  #high: number;
  // The clock's low word when the lease was last found standing (C2).
  #clock: number;
  readonly #plain: Int32Array;
  readonly #at: number;
  readonly #highAt: number;
  /** Whom the bytes are counted against. */
  readonly tenant: string;
  /** What the holder called it; empty if nothing. */
  readonly label: string;
  // The id, as four fields rather than an array: a lease is granted more often than it is named.
  readonly #id0: number;
  readonly #id1: number;
  readonly #id2: number;
  readonly #id3: number;

  protected constructor(parts: LeaseParts) {
    this.site = parts.site;
    this.slot = parts.slot;
    this.generation = parts.generation;
    this.tenant = parts.tenant;
    this.label = parts.label;
    this.bytes = parts.bytes;
    const { control } = parts.site;
    this.#plain = control.plain;
    this.#at = slotAt(parts.slot);
    this.#highAt = this.#at + 1;
    // Only what stands is remembered: the lease may have ended since whoever makes this handle looked. No live word is 0.
    const high = control.plain[this.#at + 1] as number;
    this.#high = this.#isOwnLive(high) ? high : 0;
    // Not now: nothing has been checked yet.
    this.#clock = ((control.plain[CLOCK_AT] as number) - 1) | 0;
    this.#lastDeadline = parts.expiresAtMs - control.baseMs;
    this.#id0 = parts.ids[parts.idAt] as number;
    this.#id1 = parts.ids[parts.idAt + 1] as number;
    this.#id2 = parts.ids[parts.idAt + 2] as number;
    this.#id3 = parts.ids[parts.idAt + 3] as number;
  }

  /** 128 unguessable bits as 32 hexadecimal digits. */
  get leaseId(): string {
    const leaseId = formatId(Int32Array.of(this.#id0, this.#id1, this.#id2, this.#id3));
    this.site.named(this.slot, this.generation, leaseId);
    return leaseId;
  }

  /** How the lease stands now. A deadline that has passed counts, also before the fabric has got round to it. */
  get state(): LeaseState {
    const { control } = this.site;
    const { generation, state, deadlineMs } = control.moment(this.slot);
    if (generation === this.generation && isLiveState(state)) {
      if (control.nowMs() < deadlineMs) return state === ACTIVE ? "active" : "warned";
      return state === ACTIVE ? "expired" : "revoked";
    }
    const end = control.endOf(this.slot, this.generation);
    // The slot has been granted again since: what is left to say is that this lease is over.
    return (end === undefined ? undefined : stateName(end)) ?? "expired";
  }

  /**
   * When the lease ends unless it is renewed, in milliseconds since the Unix epoch. Another thread may renew it
   * between this call and the next line; nobody makes it earlier but by `revoke`.
   */
  get expiresAtMs(): number {
    const { control } = this.site;
    const { generation, state, deadlineMs } = control.moment(this.slot);
    // A free slot has lost the upper bits of its deadline.
    if (generation === this.generation && state !== FREE)
      this.#lastDeadline = deadlineMs - control.baseMs;
    return control.baseMs + this.#lastDeadline;
  }

  /** True while every operation would pass its lease check. */
  get isLive(): boolean {
    return isLiveState(ordinal(this.state));
  }

  /**
   * Gives the lease back now. Returns whether this call ended it: false if it had ended before, however.
   * Safe from any thread; the bytes go back once no thread can touch them.
   */
  release(): boolean {
    const { site, slot } = this;
    const outcome = site.control.release(slot, this.generation);
    if (outcome >= 0) {
      this.#lastDeadline = outcome - site.control.baseMs;
      site.released(slot, this.generation);
      return true;
    }
    // A lease whose deadline has passed has expired, even if its owner has not got round to saying so.
    if (outcome === LATE) this.#endIfDue();
    return false;
  }

  /**
   * Takes the lease back before its time. With a grace the holder is warned and may go on until it ends; without
   * renewing. Returns whether this call did it.
   */
  revoke(options: RevokeOptions = {}): boolean {
    const graceMs = options.graceMs ?? 0;
    if (typeof graceMs !== "number" || !(graceMs >= 0 && graceMs <= TTL_MAX_MS))
      throw invalidArgument("graceMs", `milliseconds from 0 to ${TTL_MAX_MS}`, graceMs);
    const { site, slot } = this;
    void this.expiresAtMs;
    if (this.#endIfDue()) return false;
    const done =
      graceMs === 0
        ? site.control.end(slot, this.generation, REVOKED)
        : site.control.warn(slot, this.generation, site.nowMs() + Math.ceil(graceMs));
    if (done) site.attend(slot);
    return done;
  }

  /** Releases the lease, if it still stands. Idempotent. */
  [Symbol.dispose](): void {
    this.release();
  }

  /** What a log line needs. */
  toJSON(): object {
    const { kind, leaseId, generation, state, tenant, label, bytes, expiresAtMs } = this;
    return { kind, leaseId, generation, state, tenant, label, bytes, expiresAtMs };
  }

  /**
   * Passes if the lease stands: what every operation asks first. About 1 ns.
   * @throws FabricError `LEASE_EXPIRED`, `REVOKED`.
   */
  assertLive(): void {
    this.check();
  }

  /**
   * Passes if the lease stands, else throws. Two plain loads while the clock stands still: its low word, and the
   * authority's high word.
   *
   * C2: at `#clock` this handle found the lease standing, with `#high`. While the clock has not moved and the high word
   * is the same, it stands still: a deadline comes nearer only by the step to WARNED, which changes the high word (W1).
   * Order C1. A stale plain load can let an operation pass that an atomic one would refuse, never make it touch
   * another tenant's bytes: those are handed out only after this thread has announced (Q2), and its announcement
   * synchronises with the end of the lease.
   */
  protected check(): void {
    const plain = this.#plain;
    if (plain[clockAt] !== this.#clock || plain[this.#highAt] !== this.#high) this.#checkAnew();
  }

  /** The error that an operation on this lease ends with, now that it no longer stands. */
  protected lapse(): FabricError {
    const state = this.state;
    const details = {
      leaseId: this.leaseId,
      label: this.label,
      generation: this.generation,
      state,
      expiresAtMs: this.expiresAtMs,
      nowMs: this.site.control.nowMs(),
    };
    const name = this.label === "" ? `lease ${details.leaseId}` : `lease "${this.label}"`;
    if (state === "revoked")
      return new FabricError("REVOKED", `Cannot use ${name}: it was revoked`, details);
    const why = state === "released" ? "it was released" : "its deadline has passed";
    return new FabricError("LEASE_EXPIRED", `Cannot use ${name}: ${why}`, details);
  }

  /** Renews in the authority; throws when it cannot. */
  protected extend(ttlMs: number): number {
    const { site, slot } = this;
    const targetTtlMs = checkTtl("ttlMs", ttlMs);
    const nowMs = site.nowMs();
    const outcome = site.control.extend(slot, this.generation, nowMs, nowMs + targetTtlMs);
    if (outcome >= 0) {
      this.#lastDeadline = outcome - site.control.baseMs;
      return outcome;
    }
    return this.#refuse(outcome);
  }

  /** As `extend`, to a deadline. One that has passed extends nothing, and still throws where a renewal would. */
  protected extendTo(deadlineMs: number): number {
    const { site, slot } = this;
    const outcome = site.control.extend(slot, this.generation, site.nowMs(), deadlineMs);
    if (outcome < 0) return this.#refuse(outcome);
    this.#lastDeadline = outcome - site.control.baseMs;
    return outcome;
  }

  #refuse(outcome: number): never {
    if (outcome === LATE) this.#endIfDue();
    if (outcome === BEING_REVOKED)
      throw new FabricError("REVOKED", "Cannot renew: the lease is being revoked", {
        leaseId: this.leaseId,
        expiresAtMs: this.expiresAtMs,
      });
    if (outcome === LATE && this.isLive)
      // The fabric's clock trails real time, by which the deadline has passed already.
      throw new FabricError("LEASE_EXPIRED", "Cannot renew: the deadline has passed", {
        leaseId: this.leaseId,
        expiresAtMs: this.expiresAtMs,
      });
    throw this.lapse();
  }

  // Low words compare while the clock and the deadline agree in the upper ones; else the slow way. A difference of low
  // words alone would take a deadline that a jump of the clock (a machine's sleep) left 25 days behind for one to come.
  #checkAnew(): void {
    const plain = this.#plain;
    const clock = plain[CLOCK_AT] as number;
    const isBefore = clock >>> 0 < (plain[this.#at] as number) >>> 0;
    const isSameEra = plain[CLOCK_AT + 1] === (this.#high & 0xff);
    if (plain[this.#at + 1] !== this.#high || !isBefore || !isSameEra) this.#checkSlowly();
    this.#clock = clock;
    const { pulse } = this.site;
    if (clock !== pulse.clock) pulse.beat(clock);
  }

  #checkSlowly(): void {
    const { control } = this.site;
    for (;;) {
      const high = control.words.load(this.#at + 1);
      if (this.#endIfDue() || !this.#isOwnLive(high)) break;
      this.#high = high;
      if (control.words.load(this.#at + 1) === high) return;
    }
    this.site.pulse.announce();
    throw this.lapse();
  }

  #isOwnLive(high: number): boolean {
    return generationOf(high) === this.generation && isLiveState(stateOf(high));
  }

  // W3: an operation that finds that the deadline has passed ends the lease before it is refused. Else a renewal that compared the
  // time just before, and exchanges the word just after, would bring back a lease that somebody was refused.
  #endIfDue(): boolean {
    const { site, slot } = this;
    const { control } = site;
    for (;;) {
      const { generation, state, deadlineMs } = control.moment(slot);
      const nowMs = control.nowMs();
      if (generation !== this.generation || !isLiveState(state) || nowMs < deadlineMs) return false;
      const terminal = state === WARNED ? REVOKED : EXPIRED;
      if (!control.end(slot, generation, terminal, nowMs)) continue;
      site.attend(slot);
      return true;
    }
  }
}

function ordinal(state: LeaseState): number {
  switch (state) {
    case "active":
      return ACTIVE;
    case "warned":
      return WARNED;
    case "expired":
      return EXPIRED;
    case "released":
      return RELEASED;
    case "revoked":
      return REVOKED;
  }
}
