/**
 * Counters of what a campaign must have seen at least once: a protected branch that no run ever takes proves nothing.
 * A program counts with {@link sometimes}, which outside of a simulation does nothing.
 */
import { AsyncLocalStorage } from "node:async_hooks";
import { invalidArgument } from "@selvage/fabric";

/** How often each named thing happened. */
export class Counters {
  readonly #counts = new Map<string, number>();

  /** It happened. `times` is a whole number from 0 up. @throws FabricError `INVALID_ARGUMENT`. */
  hit(name: string, times = 1): void {
    if (!Number.isSafeInteger(times) || times < 0)
      throw invalidArgument("times", "a whole number from 0 up", times);
    this.#counts.set(name, this.count(name) + times);
  }

  /** These should happen: they count zero until they do. */
  require(...names: readonly string[]): void {
    for (const name of names) this.hit(name, 0);
  }

  /** How often it happened. */
  count(name: string): number {
    return this.#counts.get(name) ?? 0;
  }

  /** Adds another run's counts, zeros too. */
  merge(other: Counters | Readonly<Record<string, number>>): void {
    const counts = other instanceof Counters ? other.toJSON() : other;
    for (const [name, times] of Object.entries(counts)) this.hit(name, times);
  }

  /** What was required or asked about and never happened, sorted. */
  zeros(): string[] {
    return this.#sorted().flatMap(([name, count]) => (count === 0 ? [name] : []));
  }

  /** Names and counts, sorted by name. */
  toJSON(): Record<string, number> {
    return Object.fromEntries(this.#sorted());
  }

  // By code units: no locale decides.
  #sorted(): [string, number][] {
    return [...this.#counts].toSorted(([one], [two]) => (one < two ? -1 : 1));
  }
}

// Follows a run through its promises, so that two runs that are awaited at the same time do not mix.
const currentRun = new AsyncLocalStorage<Counters | undefined>();

/** Calls `work` as part of a run: {@link sometimes} counts in `counters` within it and within all that it starts. */
export function withCounters<T>(counters: Counters, work: () => T): T {
  return currentRun.run(counters, work);
}

/** The counters of the run that this code is part of; undefined outside of a simulation. */
export function currentCounters(): Counters | undefined {
  return currentRun.getStore();
}

/**
 * Says that this should sometimes be so in a campaign of simulated runs: counts when it is, and makes the name known, at
 * zero, when it is not. Outside of a simulation it does nothing, so leave it in your program.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { Counters, sometimes, withCounters } from "@selvage/sim";
 *
 * const counters = new Counters();
 * withCounters(counters, () => {
 *   for (const size of [0, 3]) sometimes("the queue was empty", size === 0);
 *   sometimes("an effect was refused", false);
 * });
 * assert.deepEqual(counters.toJSON(), { "an effect was refused": 0, "the queue was empty": 1 });
 * assert.deepEqual(counters.zeros(), ["an effect was refused"]);
 * ```
 */
export function sometimes(name: string, isSo: boolean = true): void {
  currentRun.getStore()?.hit(name, isSo ? 1 : 0);
}
