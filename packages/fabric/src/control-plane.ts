/**
 * The control memory as one thread sees it: the clock and the authority over leases. Everything here is safe from
 * any thread of the process and never waits.
 */
import {
  ATTENTION_AT,
  CLOCK_AT,
  controlBytes,
  SLOT_ID,
  SLOT_LINK,
  SLOT_PREVIOUS_END,
  slotAt,
  STOP_AT,
} from "./control-layout.ts";
import {
  ACTIVE,
  deadlineOf,
  FREE,
  generationOf,
  isLiveState,
  packHigh,
  packLow,
  RELEASED,
  REVOKED,
  stateOf,
  WARNED,
} from "./lease-word.ts";
import type { ArenaMemory, SharedWords } from "./ports.ts";

/** What a thread needs to reach the control memory of another thread's fabric: plain data. */
export interface ControlHandle {
  /** Which fabric. Unguessable. */
  readonly fabricId: string;
  /** The moment, in milliseconds since the Unix epoch, that deadlines count from. */
  readonly baseMs: number;
  /** Lease slots of the table. */
  readonly slots: number;
  /** Whether the clock is ticked by hand: then no thread reads real time for it. */
  readonly manual: boolean;
  /** Whether `with` hands out private copies. */
  readonly guard: boolean;
}

/** A moment of one lease: its authority word taken apart. */
export interface LeaseMoment {
  readonly generation: number;
  readonly state: number;
  /** Milliseconds since the Unix epoch. */
  readonly deadlineMs: number;
}

/** How a renewal went. `"late"`: the deadline has passed. `"ended"`: another generation, or no live state. */
export type Renewal = "renewed" | "late" | "warned" | "ended";

/** {@link ControlPlane.extend}'s refusals: numbers, because a deadline and its reason come back in one. */
export const LATE = -1;
export const BEING_REVOKED = -2;
const ENDED = -3;

/** The clock word and the authority words, over one control memory. */
export class ControlPlane {
  readonly handle: ControlHandle;
  readonly memory: ArenaMemory;
  readonly words: SharedWords;
  /** The same words for plain reads; a plain read may be stale, never torn. */
  readonly plain: Int32Array;
  /** The moment that deadlines count from; as in the handle. */
  readonly baseMs: number;

  constructor(memory: ArenaMemory, handle: ControlHandle) {
    this.memory = memory;
    this.words = memory.words;
    this.plain = memory.plain;
    this.handle = handle;
    this.baseMs = handle.baseMs;
  }

  /** Word that becomes 1 when the fabric closes. */
  static readonly stopAt: number = STOP_AT;

  /** Bytes of control memory for `slots` leases. */
  static bytesFor(slots: number): number {
    return controlBytes(slots);
  }

  /** The fabric's clock, in milliseconds since the Unix epoch. Trails real time by at most one advance. */
  nowMs(): number {
    return this.baseMs + this.#clock();
  }

  /**
   * Raises the clock to `nowMs`; a smaller time changes nothing. Returns the clock.
   * Lock-free: each retry means that another thread raised it.
   */
  advanceClock(nowMs: number): number {
    const target = Math.floor(nowMs) - this.baseMs;
    for (;;) {
      const high = this.words.load(CLOCK_AT + 1);
      const low = this.words.load(CLOCK_AT);
      const current = high * 0x1_0000_0000 + (low >>> 0);
      // A torn pair (low of one value, high of another) fails the exchange below, or is read again: the high word,
      // which only ever rises, is read on both sides of the low one.
      if (target <= current) {
        if (high === this.words.load(CLOCK_AT + 1)) return this.baseMs + current;
        continue;
      }
      const raised = this.words.compareExchangePair(
        CLOCK_AT,
        low,
        high,
        packLow(target),
        Math.floor(target / 0x1_0000_0000),
      );
      if (raised) return this.baseMs + target;
    }
  }

  /** The lease slot as it stands. */
  moment(slot: number): LeaseMoment {
    const at = slotAt(slot);
    for (;;) {
      const high = this.words.load(at + 1);
      const low = this.words.load(at);
      // W1 of `lease-word.ts`: the same high word around the low one means that the pair is one moment's.
      if (this.words.load(at + 1) !== high) continue;
      return {
        generation: generationOf(high),
        state: stateOf(high),
        deadlineMs: this.baseMs + deadlineOf(low, high),
      };
    }
  }

  /** Opens a free slot to a holder; its id is the four words of `ids` from `idAt` on. Owner only. */
  grant(slot: number, generation: number, deadlineMs: number, ids: Int32Array, idAt: number): void {
    const at = slotAt(slot);
    const deadline = deadlineMs - this.baseMs;
    const { plain } = this;
    plain[at + SLOT_ID] = ids[idAt] as number;
    plain[at + SLOT_ID + 1] = ids[idAt + 1] as number;
    plain[at + SLOT_ID + 2] = ids[idAt + 2] as number;
    plain[at + SLOT_ID + 3] = ids[idAt + 3] as number;
    plain[at] = packLow(deadline);
    // Order G1: the id and the low word (plain) come before the authority's high word (atomic): who sees the new
    // generation, sees them. Nobody exchanges a free slot's pair, so the plain store overwrites nobody's.
    this.words.store(at + 1, packHigh(generation, ACTIVE, deadline));
  }

  /** Sets a slot that was never granted to what another process left: free, after its lease of `generation`. Owner only. */
  seed(slot: number, generation: number, id: Int32Array, terminal: number): void {
    const at = slotAt(slot);
    for (let word = 0; word < 4; word++) this.plain[at + SLOT_ID + word] = id[word] as number;
    this.plain[at + SLOT_PREVIOUS_END] = terminal;
    // Order G2.
    this.words.store(at + 1, packHigh(generation, FREE, 0));
  }

  /** How often a free slot has been granted so far. Owner only: nobody else moves a free slot's word. */
  generationOf(slot: number): number {
    return generationOf(this.plain[slotAt(slot) + 1] as number);
  }

  /** True if the slot's id is `id`; takes the same time wherever they differ. */
  hasId(slot: number, id: Int32Array): boolean {
    const at = slotAt(slot) + SLOT_ID;
    let difference = 0;
    for (let word = 0; word < 4; word++)
      difference |= this.words.load(at + word) ^ (id[word] as number);
    return difference === 0;
  }

  /**
   * Moves the deadline of (slot, generation) to `deadlineMs`, unless it is later already. `nowMs` is the caller's
   * time: a lease whose deadline has passed, by it or by the fabric's clock, is never revived.
   */
  renew(slot: number, generation: number, nowMs: number, deadlineMs: number): Renewal {
    const outcome = this.extend(slot, generation, Math.max(nowMs, this.nowMs()), deadlineMs);
    if (outcome >= 0) return "renewed";
    return outcome === LATE ? "late" : outcome === BEING_REVOKED ? "warned" : "ended";
  }

  /**
   * As {@link renew}, but returns the deadline that stands now; `LATE`, `BEING_REVOKED` or `ENDED` if it refused.
   * `nowMs` is not behind the fabric's clock.
   *
   * Order W2: the words are read plainly, which may be stale or torn, and the exchange, which is not, holds them
   * against what stands there: it succeeds only if they are current. A refusal is not exchanged, so it is read again
   * with order before it counts.
   */
  extend(slot: number, generation: number, nowMs: number, deadlineMs: number): number {
    const at = slotAt(slot);
    const { plain, words, baseMs } = this;
    const target = deadlineMs - baseMs;
    const now = nowMs - baseMs;
    let high = plain[at + 1] as number;
    let low = plain[at] as number;
    for (;;) {
      const deadline = deadlineOf(low, high);
      const isOwn = generationOf(high) === generation && stateOf(high) === ACTIVE;
      if (isOwn && now < deadline && target > deadline) {
        const next = packHigh(generation, ACTIVE, target);
        if (words.compareExchangePair(at, low, high, packLow(target), next)) return deadlineMs;
      } else if (high === words.load(at + 1) && low === words.load(at)) {
        // W1: the same high word before and after the low one is one moment's pair.
        if (high === words.load(at + 1)) {
          if (generationOf(high) !== generation) return ENDED;
          if (!isOwn) return stateOf(high) === WARNED ? BEING_REVOKED : ENDED;
          return now >= deadline ? LATE : baseMs + deadline;
        }
      }
      high = words.load(at + 1);
      low = words.load(at);
    }
  }

  /**
   * Ends (slot, generation) as released and returns its deadline, unless that has passed by the fabric's clock: then
   * it has expired, and the answer is `LATE`. `ENDED`: it had ended before. Order W2.
   */
  release(slot: number, generation: number): number {
    const at = slotAt(slot);
    const { plain, words } = this;
    let high = plain[at + 1] as number;
    let low = plain[at] as number;
    for (;;) {
      const deadline = deadlineOf(low, high);
      const isOwn = generationOf(high) === generation && isLiveState(stateOf(high));
      const isLate = deadline <= this.#clock();
      if (isOwn && !isLate) {
        const next = packHigh(generation, RELEASED, deadline);
        if (words.compareExchangePair(at, low, high, low, next)) return this.baseMs + deadline;
      } else if (high === words.load(at + 1) && low === words.load(at)) {
        if (high === words.load(at + 1)) return isOwn ? LATE : ENDED;
      }
      high = words.load(at + 1);
      low = words.load(at);
    }
  }

  /**
   * Ends (slot, generation) with a terminal state, keeping its deadline. With `dueMs`, only if its deadline is at
   * or before that. Returns whether this call ended it: exactly one caller is told so.
   */
  end(slot: number, generation: number, terminal: number, dueMs: number = Infinity): boolean {
    const at = slotAt(slot);
    for (;;) {
      const high = this.words.load(at + 1);
      const low = this.words.load(at);
      if (generationOf(high) !== generation || !isLiveState(stateOf(high))) return false;
      const deadline = deadlineOf(low, high);
      if (this.baseMs + deadline > dueMs) {
        if (this.words.load(at + 1) === high) return false;
        continue;
      }
      const next = packHigh(generation, terminal, deadline);
      if (this.words.compareExchangePair(at, low, high, low, next)) return true;
    }
  }

  /** Warns the holder and shortens the deadline to `graceEndsMs` at most. False if the lease is not active. */
  warn(slot: number, generation: number, graceEndsMs: number): boolean {
    const at = slotAt(slot);
    for (;;) {
      const high = this.words.load(at + 1);
      const low = this.words.load(at);
      if (generationOf(high) !== generation || stateOf(high) !== ACTIVE) return false;
      const deadline = Math.min(deadlineOf(low, high), graceEndsMs - this.baseMs);
      const next = packHigh(generation, WARNED, deadline);
      if (this.words.compareExchangePair(at, low, high, packLow(deadline), next)) return true;
    }
  }

  /** Ends whatever is left of the generation's slot: it becomes free. Owner only, after teardown. */
  free(slot: number, terminal: number): void {
    const at = slotAt(slot);
    const high = this.words.load(at + 1);
    // Order G2: how it ended (plain) comes before the high word (atomic): who sees FREE, sees that.
    this.plain[at + SLOT_PREVIOUS_END] = terminal;
    this.words.store(at + 1, packHigh(generationOf(high), FREE, 0));
  }

  /** How (slot, generation) ended, if it is known still: only the last ended generation of a slot is. */
  endOf(slot: number, generation: number): number | undefined {
    const { generation: current, state } = this.moment(slot);
    if (current === generation && state > WARNED) return state;
    const lastEnded = state === FREE ? current : current - 1;
    if (lastEnded !== generation) return undefined;
    const end = this.words.load(slotAt(slot) + SLOT_PREVIOUS_END);
    return end > WARNED && end <= REVOKED ? end : undefined;
  }

  /**
   * Tells the owner that a slot wants its attention. Lock-free (a Treiber stack: pushes race by compare-exchange,
   * the owner takes the whole stack at once, so no node is ever popped singly and ABA cannot arise).
   * A thread that is terminated inside leaves the slot off the stack; the owner then finds it at its deadline.
   */
  callAttention(slot: number): void {
    const link = slotAt(slot) + SLOT_LINK;
    // A slot is on the stack at most once: whoever raises its link from 0 pushes it. The end of the stack is -1.
    if (this.words.compareExchange(link, 0, -1) !== 0) return;
    for (;;) {
      const head = this.words.load(ATTENTION_AT);
      this.words.store(link, head === 0 ? -1 : head);
      if (this.words.compareExchange(ATTENTION_AT, head, slot + 1) === head) return;
    }
  }

  /** Takes all slots that want attention, last come first. Owner only. */
  takeAttention(visit: (slot: number) => void): void {
    let next = this.words.exchange(ATTENTION_AT, 0);
    while (next > 0) {
      const slot = next - 1;
      // Cleared before the visit: a later call for attention pushes the slot anew.
      next = this.words.exchange(slotAt(slot) + SLOT_LINK, 0);
      visit(slot);
    }
  }

  // The clock, in milliseconds from the base. Read plainly: it may trail by what the hardware takes to tell, which is
  // less than it trails anyway. The high word, which only rises, is the same around the low one.
  #clock(): number {
    const { plain } = this;
    for (;;) {
      const high = plain[CLOCK_AT + 1] as number;
      const low = plain[CLOCK_AT] as number;
      if (plain[CLOCK_AT + 1] === high) return high * 0x1_0000_0000 + (low >>> 0);
    }
  }
}
