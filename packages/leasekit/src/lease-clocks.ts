/**
 * Two ways to count the time of a lease. Whoever holds one must stop early, so it believes whichever clock says that more
 * time has passed. Whoever grants the next one must wait, so it counts only time that it has lived through.
 */
import { invalidArgument, type Clock, type TimeSource } from "@selvage/fabric";

/** By how much the wall clock must run ahead before a holder believes it: more than two readings differ by rounding. */
const toleranceMs = 5;

/**
 * A holder's time. The two clocks are compared at every look. Where the wall clock has run ahead of the monotonic one by
 * more than 5 ms (the machine slept, or its monotonic clock stood still), time jumps with it. A wall clock that is set
 * back moves nothing, and is followed from where it now stands.
 *
 * Its promise: this clock is never more than 5 ms behind the larger of what the two clocks have counted since any earlier look.
 * Its limit: where the wall clock is set back *and* the monotonic one stands still between the same two looks, both
 * lie, and no program on that machine can tell. Only the sinks' fence holds then.
 */
export class HolderClock implements Clock {
  readonly #source: TimeSource;
  #offsetMs: number;
  // Wall time less monotonic time when they were last thought to agree.
  #apartMs: number;

  constructor(source: TimeSource) {
    this.#source = source;
    this.#apartMs = source.wallMs() - source.monotonicMs();
    this.#offsetMs = this.#apartMs;
  }

  /** With a fraction. About 100 ns. */
  nowMs(): number {
    const monotonicMs = this.#source.monotonicMs();
    const aheadMs = this.#source.wallMs() - monotonicMs - this.#apartMs;
    if (Math.abs(aheadMs) > toleranceMs) {
      this.#apartMs += aheadMs;
      if (aheadMs > 0) this.#offsetMs += aheadMs;
    }
    return monotonicMs + this.#offsetMs;
  }
}

/** How long an authority may be away before it counts as having stalled, in ticks. */
export const STALL_TICKS = 3;
/** A clock that believes a step of the wall clock jumps by more than this; see `SystemClock`. */
const clockJumpMs = 1_000;

/**
 * An authority's time, from 0. A gap between two looks that is longer than {@link STALL_TICKS} ticks counts as one tick:
 * the process stood still, or the clock jumped, and nobody's lease ends by that.
 */
export class LivedTime {
  readonly #clock: Clock;
  readonly #tickMs: number;
  #seenMs: number;
  #nowMs = 0;
  #stalledAtMs = -Infinity;

  /** @throws FabricError `INVALID_ARGUMENT`: so many ticks would not tell a stall from a clock's jump. */
  constructor(clock: Clock, tickMs: number) {
    if (!(tickMs >= 1 && tickMs * STALL_TICKS < clockJumpMs))
      throw invalidArgument("tickMs", "milliseconds from 1 to 333", tickMs);
    this.#clock = clock;
    this.#tickMs = tickMs;
    this.#seenMs = clock.nowMs();
  }

  /** Looks at the clock. */
  nowMs(): number {
    const clockMs = this.#clock.nowMs();
    const gapMs = Math.max(0, clockMs - this.#seenMs);
    this.#seenMs = clockMs;
    if (gapMs <= this.#tickMs * STALL_TICKS) this.#nowMs += gapMs;
    else {
      this.#nowMs += this.#tickMs;
      this.#stalledAtMs = this.#nowMs;
    }
    return this.#nowMs;
  }

  /** True for two ticks after a stall: what came meanwhile may still wait to be read (L6). */
  isDraining(nowMs: number): boolean {
    return nowMs - this.#stalledAtMs < 2 * this.#tickMs;
  }
}
