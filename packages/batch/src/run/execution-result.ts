/** What a run gives: one outcome a task, and where the bytes went. */
import type { KeptOutput } from "../data/kept-outputs.ts";
import type { ByteCounts, LeaseCounts } from "./run-ledger.ts";
import type { RunStatus, TaskOutcome } from "../machine/run-machine.ts";

/** A failed attempt. */
export interface AttemptError {
  /** From 1. */
  readonly attempt: number;
  readonly error: unknown;
  readonly failedAtMs: number;
}

/** How a task ended. */
export interface TaskResult {
  readonly name: string;
  readonly status: TaskOutcome;
  /** Attempts after the first. */
  readonly retriesUsed: number;
  /** Attempts that started. */
  readonly attempts: number;
  /** What the last attempt ended with, if it failed. */
  readonly error?: unknown;
  /** The task whose failure caused this skip; or this cancellation, where a failure stopped the run. */
  readonly because?: string;
  /** Every failed attempt, in order. */
  readonly errors: readonly AttemptError[];
  /** Start of the first attempt and end of the last; undefined for a task that never started. */
  readonly startedAtMs: number | undefined;
  readonly endedAtMs: number | undefined;
}

/** How a run ended. */
export interface ExecutionResult {
  /** `failed`: a task without `continueOnFailure` failed or timed out. `timedOut`: the run did. */
  readonly status: RunStatus;
  /** Counts of tasks, by outcome. */
  readonly succeeded: number;
  readonly failed: number;
  readonly skipped: number;
  readonly cancelled: number;
  readonly timedOut: number;
  /** In the order in which the tasks were added. */
  readonly tasks: readonly TaskResult[];
  /** Renewals of the run's leases. */
  readonly renewals: number;
  readonly leases: LeaseCounts;
  readonly bytes: ByteCounts;
  /** From the start to `settled`. */
  readonly elapsedMs: number;
  /** From `settled` until every lease of the run was terminal and its bytes back. */
  readonly teardownMs: number;
  /**
   * Takes an output that the option `keep` named: its lease is the caller's from then on, with a whole `ttlMs` left.
   * Until then it is renewed, for `stallMs` after the run at most. Asked again, it gives the same.
   * @throws FabricError `NOT_FOUND` (not named, or its task did not succeed), `LEASE_EXPIRED`, `REVOKED`.
   */
  readonly keep: (name: string) => KeptOutput;
}
