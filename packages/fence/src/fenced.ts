/** Values that carry their epoch, and the check that turns stale ones away. */
import { FabricError } from "@selvage/fabric";
import { FenceEpoch } from "./fence-epoch.ts";

/** A value and the epoch of whoever made it. */
export class Fenced<T> {
  readonly epoch: FenceEpoch;
  readonly value: T;

  private constructor(epoch: FenceEpoch, value: T) {
    this.epoch = epoch;
    this.value = value;
  }

  /** A value of an epoch. */
  static at<T>(epoch: FenceEpoch, value: T): Fenced<T> {
    return new Fenced(epoch, value);
  }

  /** A value from before the first grant. */
  static atZero<T>(value: T): Fenced<T> {
    return new Fenced(FenceEpoch.zero(), value);
  }

  /** Another value of the same epoch. */
  map<U>(change: (value: T) => U): Fenced<U> {
    return new Fenced(this.epoch, change(this.value));
  }
}

/**
 * The check of one write target. It stands where the write is done, in one step with it: on the thread that owns the
 * target, with nothing awaited between the two; or, in a database, as a condition of the same statement.
 *
 * Invariant F1: the guard's epoch never decreases.
 * Invariant F2: once it has promised an epoch (`seal`, `advance`), no older one passes. A new owner seals every
 * target that it will use before it serves: a target that has not heard of it would still take its predecessor's
 * writes.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { FenceEpoch, FenceGuard } from "@selvage/fence";
 *
 * const guard = new FenceGuard();
 * const paused = guard.advance();
 * const successor = guard.advance();
 * assert.equal(guard.check(paused), false);
 * assert.equal(guard.check(successor), true);
 * ```
 */
export class FenceGuard {
  #epoch: FenceEpoch;

  /** A guard that has promised `epoch`, or none. */
  constructor(epoch: FenceEpoch = FenceEpoch.zero()) {
    this.#epoch = epoch;
  }

  /** The epoch that it has promised: what is to be stored where the guard must outlive its process. */
  get epoch(): FenceEpoch {
    return this.#epoch;
  }

  /** True unless `epoch` is older than what was promised. A newer one passes, and is promised by that. */
  check(epoch: FenceEpoch): boolean {
    if (this.#epoch.isStale(epoch)) return false;
    this.#epoch = epoch;
    return true;
  }

  /** Promises `epoch`: from now on nothing older passes. False if a newer one was promised before. */
  seal(epoch: FenceEpoch): boolean {
    return this.check(epoch);
  }

  /** Promises the next epoch, and gives it: for the one who grants. @throws FabricError `EXHAUSTED`. */
  advance(): FenceEpoch {
    this.#epoch = this.#epoch.next();
    return this.#epoch;
  }

  /** Applies a write if its epoch passes, in one step. @throws FabricError `STALE_EPOCH` otherwise. */
  apply<T, R>(write: Fenced<T>, effect: (value: T) => R): R {
    if (this.check(write.epoch)) return effect(write.value);
    throw new FabricError("STALE_EPOCH", "Cannot write: a later holder has been admitted", {
      epoch: write.epoch.value,
      promised: this.#epoch.value,
    });
  }
}
