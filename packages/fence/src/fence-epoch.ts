/** Fence epochs: the numbers by which a resource tells a holder from its successor. */
import { FabricError, invalidArgument } from "@selvage/fabric";

/** The last epoch. `next()` of it is a typed error, never a wrap: a wrapped epoch would look stale for ever. */
export const EPOCH_MAX: number = Number.MAX_SAFE_INTEGER;

/**
 * One grant of one resource, counted from 0. A value: epochs are compared, never changed.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { FenceEpoch } from "@selvage/fence";
 *
 * const paused = FenceEpoch.of(33); // granted, then stopped by a long collection
 * const successor = paused.next();
 * assert.ok(successor.isStale(paused)); // it wakes, and is turned away
 * assert.ok(!successor.isStale(successor));
 * ```
 */
export class FenceEpoch {
  /** The number itself, 0 to {@link EPOCH_MAX}: what is stored and sent. */
  readonly value: number;

  private constructor(value: number) {
    this.value = value;
  }

  /** Before the first grant. */
  static zero(): FenceEpoch {
    return new FenceEpoch(0);
  }

  /** The epoch of a number that was stored or sent. @throws FabricError `INVALID_ARGUMENT`. */
  static of(value: number): FenceEpoch {
    if (!Number.isSafeInteger(value) || value < 0)
      throw invalidArgument("epoch", `a whole number from 0 to ${EPOCH_MAX}`, value);
    return new FenceEpoch(value);
  }

  /** The epoch of the next grant. @throws FabricError `EXHAUSTED` after {@link EPOCH_MAX}. */
  next(): FenceEpoch {
    if (this.value === EPOCH_MAX)
      throw new FabricError("EXHAUSTED", "Cannot advance: the epoch is the last one", {
        epoch: this.value,
      });
    return new FenceEpoch(this.value + 1);
  }

  /** Negative when this epoch is older than `other`, positive when newer, 0 when they are one. */
  compare(other: FenceEpoch): number {
    return this.value - other.value;
  }

  /** True exactly when `other` is older than this epoch: what a holder of `other` still sends is to be refused. */
  isStale(other: FenceEpoch): boolean {
    return other.value < this.value;
  }

  /** The number, for JSON. */
  toJSON(): number {
    return this.value;
  }

  /** For a message. */
  toString(): string {
    return `epoch ${this.value}`;
  }
}
