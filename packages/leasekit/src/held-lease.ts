/**
 * A lease from a store that shares no clock with its holder.
 *
 * Invariant L3: the holder stops first. Its own deadline is when the last request that was answered was *sent*, and
 * TTL * (1 - rho) - margin from there; the store waits TTL * (1 + rho) from when it processed it, which was later.
 * Invariant L4: once the deadline has passed, or the store has refused, the lease is over for good, whatever answer is
 * still to come.
 */
import {
  FabricError,
  invalidArgument,
  isFabricError,
  type Clock,
  type FabricErrorCode,
  type Random,
  type Timer,
} from "@selvage/fabric";
import type { LeaseGrant, LeaseStore } from "./lease-store.ts";
import { resolveRetryPolicy, retryDelayMs, type RetryPolicy } from "./retry-policy.ts";

/** What is to be held, and how. */
export interface HeldLeaseOptions {
  readonly store: LeaseStore;
  readonly resource: string;
  readonly holder: string;
  readonly ttlMs: number;
  /** How far any clock may run from true time, as a part of 1. As the store's. Default 0.1. */
  readonly rho?: number;
  /** Stops so much earlier, for what a clock shows late: 6 ms or more with a `HolderClock`. Default 10. */
  readonly marginMs?: number;
  /** Renews once this part of its own time is over, between 0 and 1. Default 0.4. */
  readonly renewAtFraction?: number;
  /** How acquiring is tried again. Default 10 retries, from 50 ms, doubling, at most 2 s, full jitter. */
  readonly retry?: number | Partial<RetryPolicy>;
}

/** What a holder needs from its host. */
export interface HeldLeasePorts {
  /** A `HolderClock`, which believes the clock that is ahead. */
  readonly clock: Clock;
  readonly timer: Timer;
  readonly random: Random;
}

/** Why a lease ended. */
export interface LeaseEnd {
  readonly reason: "released" | "deadline" | "refused";
  /** What the store said, where it refused. */
  readonly error?: FabricError;
}

/** The store may not have heard, or not have answered: asking again is safe. */
const transient: ReadonlySet<FabricErrorCode> = new Set([
  "STORE_UNAVAILABLE",
  "TIMED_OUT",
  "DISCONNECTED",
]);
/** What a new request may change. */
const passing: ReadonlySet<FabricErrorCode> = new Set([
  ...transient,
  "CONFLICT",
  "LEASE_EXPIRED",
  "REVOKED",
]);
/** Shortest wait before a renewal is tried again. */
const retryLeastMs = 5;

/**
 * A lease that is being kept.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { Fabric, SystemClock, systemTimer } from "selvage";
 * import { HeldLease, HolderClock, LeaseAuthority } from "@selvage/leasekit";
 *
 * const timer = systemTimer;
 * await using fabric = Fabric.open({ memoryBytes: 1 << 20, blocks: 64 });
 * const blocks = await fabric.block().minBlocks(8).acquire();
 * await using store = await LeaseAuthority.open(blocks, { clock: new SystemClock(), timer });
 *
 * const clock = new HolderClock({ monotonicMs: () => performance.now(), wallMs: () => Date.now() });
 * const random = { fill: (words: Int32Array<ArrayBuffer>) => void crypto.getRandomValues(words) };
 * const wanted = { store, resource: "orders", holder: "a", ttlMs: 5_000 };
 * const lease = await HeldLease.acquire(wanted, { clock, timer, random });
 * assert.equal(lease.guard((epoch) => `written with epoch ${epoch}`), "written with epoch 1");
 * await lease.release();
 * assert.throws(() => lease.guard(() => "too late"), { code: "LEASE_EXPIRED" });
 * ```
 */
export class HeldLease {
  readonly resource: string;
  readonly holder: string;
  /** What goes with every effect, for the sinks to compare. */
  readonly epoch: number;
  /** Resolves when the lease is over. */
  readonly ended: Promise<LeaseEnd>;
  readonly #options: Required<HeldLeaseOptions>;
  readonly #ports: HeldLeasePorts;
  readonly #end: (end: LeaseEnd) => void;
  #deadlineMs: number;
  #isOver = false;
  #renewed = 0;
  #cancelTimer: () => void = () => {};

  private constructor(
    options: Required<HeldLeaseOptions>,
    ports: HeldLeasePorts,
    { epoch, ttlMs }: LeaseGrant,
    sentAtMs: number,
  ) {
    const { promise, resolve } = Promise.withResolvers<LeaseEnd>();
    this.ended = promise;
    this.#end = resolve;
    this.resource = options.resource;
    this.holder = options.holder;
    this.epoch = epoch;
    this.#options = options;
    this.#ports = ports;
    this.#deadlineMs = this.#deadlineOf(sentAtMs, ttlMs);
  }

  /**
   * Acquires the resource and keeps it. An attempt that the store did not answer may still have been granted: it is
   * asked again by the same request, so that no lease is left behind while it retries.
   * @throws FabricError `INVALID_ARGUMENT`; when the retries are used up, what the store refused with last.
   */
  static async acquire(options: HeldLeaseOptions, ports: HeldLeasePorts): Promise<HeldLease> {
    const all = withDefaults(options);
    const { store, resource, holder, ttlMs } = all;
    const policy = resolveRetryPolicy(all.retry);
    let requestId = drawId(ports.random);
    for (let retry = 1; ; retry++) {
      const sentAtMs = ports.clock.nowMs();
      let refusal: unknown;
      try {
        const grant = await store.acquire({ resource, holder, requestId, ttlMs });
        const lease = new HeldLease(all, ports, grant, sentAtMs);
        if (lease.isHeld) {
          lease.#schedule();
          return lease;
        }
        // The same request again: the store renews what it has granted.
        refusal = lease.#over("Cannot hold the lease: the answer came too late");
      } catch (error) {
        refusal = error;
        if (isOver(error)) requestId = drawId(ports.random);
      }
      const waitMs = waitOf(policy, retry, refusal, ports.random);
      if (waitMs === undefined) throw refusal;
      await new Promise<void>((done) => void ports.timer.after(waitMs, done));
    }
  }

  /** True while the holder may act, by its own clock, now. Ask again after anything that is awaited. */
  get isHeld(): boolean {
    return !this.#isOver && this.#ports.clock.nowMs() < this.#deadlineMs;
  }

  /** Milliseconds until it must have stopped, unless it is renewed before; 0 when it is over. */
  get remainingMs(): number {
    return this.#isOver ? 0 : Math.max(0, this.#deadlineMs - this.#ports.clock.nowMs());
  }

  /** How often it was renewed. */
  get renewed(): number {
    return this.#renewed;
  }

  /**
   * Calls `work` with the epoch if the lease is held. What `work` sends must carry the epoch, and its sinks must compare
   * it: the process may be stopped between this look and the effect. @throws FabricError `LEASE_EXPIRED`.
   */
  guard<T>(work: (epoch: number) => T): T {
    if (!this.isHeld) throw this.#over("Cannot act on the lease: it is over");
    return work(this.epoch);
  }

  /**
   * Stops holding, at once, and tells the store. Idempotent.
   * @throws FabricError what the store throws: then it frees the resource when the TTL is over.
   */
  async release(): Promise<void> {
    if (this.#isOver) return;
    this.#finish({ reason: "released" });
    const { resource, holder, epoch } = this;
    await this.#options.store.release({ resource, holder, epoch });
  }

  #deadlineOf(sentAtMs: number, ttlMs: number): number {
    return sentAtMs + ttlMs * (1 - this.#options.rho) - this.#options.marginMs;
  }

  #over(message: string): FabricError {
    const { resource, epoch } = this;
    return new FabricError("LEASE_EXPIRED", message, { resource, epoch });
  }

  #finish(end: LeaseEnd): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#cancelTimer();
    this.#end(end);
  }

  // Renews when its part of the time left is over; ends when nothing is left.
  #schedule(waitMs = this.remainingMs * this.#options.renewAtFraction): void {
    this.#cancelTimer = this.#ports.timer.after(Math.max(1, waitMs), () => {
      if (!this.isHeld) this.#finish({ reason: "deadline" });
      else this.#renew();
    });
  }

  #renew(): void {
    const { resource, holder, epoch } = this;
    // The end is watched while the store is asked.
    this.#schedule(this.remainingMs);
    const sentAtMs = this.#ports.clock.nowMs();
    this.#options.store.renew({ resource, holder, epoch }).then(
      ({ ttlMs }) => this.#answered(sentAtMs, ttlMs),
      (error: unknown) => this.#refused(error),
    );
  }

  #answered(sentAtMs: number, ttlMs: number): void {
    if (!this.isHeld) return this.#finish({ reason: "deadline" });
    this.#deadlineMs = Math.max(this.#deadlineMs, this.#deadlineOf(sentAtMs, ttlMs));
    this.#renewed++;
    this.#cancelTimer();
    this.#schedule();
  }

  #refused(error: unknown): void {
    if (this.#isOver) return;
    if (isFabricError(error) && transient.has(error.code)) {
      this.#cancelTimer();
      this.#schedule(Math.min(this.remainingMs, Math.max(retryLeastMs, this.remainingMs / 4)));
      return;
    }
    this.#finish({ reason: "refused", ...(isFabricError(error) ? { error } : {}) });
  }
}

function withDefaults(options: HeldLeaseOptions): Required<HeldLeaseOptions> {
  const { rho = 0.1, marginMs = 10, renewAtFraction = 0.4, ttlMs } = options;
  const { retry = { retries: 10, baseMs: 50, maxMs: 2_000 } } = options;
  if (!(rho >= 0 && rho < 1)) throw invalidArgument("rho", "a number from 0 and below 1", rho);
  if (!(marginMs >= 0)) throw invalidArgument("marginMs", "milliseconds from 0 up", marginMs);
  if (!(renewAtFraction > 0 && renewAtFraction < 1))
    throw invalidArgument("renewAtFraction", "a number between 0 and 1", renewAtFraction);
  if (!(Number.isSafeInteger(ttlMs) && ttlMs * (1 - rho) > marginMs))
    throw invalidArgument("ttlMs", "whole milliseconds, more than the margin", ttlMs);
  return { ...options, rho, marginMs, renewAtFraction, retry };
}

function isOver(error: unknown): boolean {
  return isFabricError(error) && (error.code === "LEASE_EXPIRED" || error.code === "REVOKED");
}

function waitOf(
  policy: RetryPolicy,
  retry: number,
  error: unknown,
  random: Random,
): number | undefined {
  if (!isFabricError(error) || !passing.has(error.code)) return undefined;
  const [word] = draw(random, 1);
  const delayMs = retryDelayMs(policy, retry, error, ((word as number) >>> 0) / 2 ** 32);
  const { retryAfterMs } = error.details;
  if (delayMs === undefined || typeof retryAfterMs !== "number") return delayMs;
  // It may be released before, so no wait is longer than the policy's longest.
  return Math.max(delayMs, Math.min(retryAfterMs, policy.maxMs));
}

function drawId(random: Random): string {
  return Array.from(draw(random, 4), (word) => (word >>> 0).toString(16).padStart(8, "0")).join("");
}

function draw(random: Random, count: number): Int32Array<ArrayBuffer> {
  const words = new Int32Array(count);
  random.fill(words);
  return words;
}
