/** One attempt of a stage: its body against its time and the run's end. */
import type { Clock, Timer } from "@selvage/fabric";
import type { Halt } from "./halt.ts";
import type { StageAbort } from "./staged-options.ts";

/** How an attempt ended. `isSettled` is false when its body is still at work, though it was told to stop. */
export type AttemptEnd =
  | { readonly kind: "returned"; readonly value: unknown }
  | { readonly kind: "threw"; readonly error: unknown }
  | { readonly kind: "timedOut"; readonly isSettled: boolean }
  | { readonly kind: "halted"; readonly isSettled: boolean };

/** What an attempt runs under. */
export interface AttemptTerms {
  readonly abort: StageAbort;
  readonly halt: Halt;
  readonly clock: Clock;
  readonly timer: Timer;
  readonly timeoutMs: number | undefined;
  readonly graceMs: number;
  /** What the body's signal is aborted with on a time-out. */
  readonly timedOut: unknown;
}

/**
 * Runs `body`. When its time is over or the run is halted, its signal is aborted, and it has `graceMs` to end; what it
 * then still returns does not count.
 */
export async function runAttempt(body: () => unknown, terms: AttemptTerms): Promise<AttemptEnd> {
  const { abort, halt, clock, timer, timeoutMs, graceMs } = terms;
  const startedAtMs = clock.nowMs();
  const settled = settle(body);
  const { promise: stopped, resolve: stop } = Promise.withResolvers<"timedOut" | "halted">();
  const cancelHalt = halt.onHalt(() => stop("halted"));
  const cancelTimer =
    timeoutMs === undefined ? (): void => {} : timer.after(timeoutMs, () => stop("timedOut"));
  // A body that blocked the thread has ended before its timer could fire.
  const isLate = (): boolean => timeoutMs !== undefined && clock.nowMs() - startedAtMs >= timeoutMs;
  try {
    const first = await Promise.race([settled, stopped]);
    if (halt.isHalted) return await wind("halted", halt.reason);
    if (first === "timedOut" || isLate()) return await wind("timedOut", terms.timedOut);
    return first === "halted" ? await wind("halted", halt.reason) : first;
  } finally {
    cancelHalt();
    cancelTimer();
  }

  async function wind(kind: "timedOut" | "halted", reason: unknown): Promise<AttemptEnd> {
    abort.abort(reason);
    const { promise: graceOver, resolve } = Promise.withResolvers<boolean>();
    const cancelGrace = timer.after(graceMs, () => resolve(false));
    const isSettled = await Promise.race([settled.then(() => true), graceOver]);
    cancelGrace();
    return { kind, isSettled };
  }
}

async function settle(body: () => unknown): Promise<AttemptEnd> {
  try {
    return { kind: "returned", value: await body() };
  } catch (error) {
    return { kind: "threw", error };
  }
}
