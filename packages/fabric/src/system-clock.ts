/**
 * Real time for leases. The same instant reads the same on every thread of the process, within a millisecond.
 *
 * Time advances by the monotonic clock, so a step of the wall clock neither ends a lease early nor keeps one alive.
 * Two gaps it must still notice: the monotonic clock of Linux stands still while the machine sleeps, the wall clock
 * does not (nodejs/node#47724). So when the wall clock has run ahead of the monotonic one by more than a second,
 * time jumps forward with it: leases that ran out meanwhile count as expired until their holders prove otherwise.
 * A wall clock that is set back changes nothing.
 */
import type { Clock } from "./ports.ts";

/** By how much the wall clock must run ahead before it is believed. NTP slews far less. */
const jumpMs = 1_000;
/** How often the two clocks are compared; a comparison costs another 65 ns. */
const comparedEveryMs = 10;

/** Where time is read from: the host, or a simulation. */
export interface TimeSource {
  /** Monotonic milliseconds from any origin. */
  monotonicMs(): number;
  /** Milliseconds since the Unix epoch, as the host believes them. */
  wallMs(): number;
}

/** A clock that leases can be given. */
export class SystemClock implements Clock {
  readonly #source: TimeSource;
  // Wall time less monotonic time, as last believed. Only ever raised.
  #offsetMs: number;
  #comparedAtMs: number;

  /** `offsetMs`: what another thread's clock believes, so that this one tells the same time whatever the wall says. */
  constructor(source: TimeSource, offsetMs?: number) {
    this.#source = source;
    this.#comparedAtMs = source.monotonicMs();
    this.#offsetMs = offsetMs ?? source.wallMs() - this.#comparedAtMs;
  }

  /** Wall time less monotonic time, as this clock believes it. */
  get offsetMs(): number {
    return this.#offsetMs;
  }

  nowMs(): number {
    const monotonicMs = this.#source.monotonicMs();
    if (monotonicMs - this.#comparedAtMs >= comparedEveryMs) this.#compare(monotonicMs);
    return Math.floor(monotonicMs + this.#offsetMs);
  }

  #compare(monotonicMs: number): void {
    this.#comparedAtMs = monotonicMs;
    const offsetMs = this.#source.wallMs() - monotonicMs;
    if (offsetMs - this.#offsetMs > jumpMs) this.#offsetMs = offsetMs;
  }
}
