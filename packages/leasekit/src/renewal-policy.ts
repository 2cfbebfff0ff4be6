/** When a lease is renewed, and for how long. */
import { invalidArgument } from "@selvage/fabric";

/** How a lease is kept, in figures. */
export interface RenewalFigures {
  /** Renew once this part of the TTL is over, 0 to 1. Default 0.75. */
  readonly renewAtFraction: number;
  /** Move that moment by up to this part of the TTL either way, so that leases granted together part. Default 0.10. */
  readonly jitterFraction: number;
  /** Ask for at least this many seconds; a lease with a shorter TTL asks for its own TTL. Default 30. */
  readonly minRenewSecs: number;
  /**
   * After a renewal that an authority did not answer wait, doubling, at most this long. Default 5. The authority over a
   * fabric's own leases is shared memory, which always answers: there it changes nothing.
   */
  readonly maxBackoffSecs: number;
}

/** The default figures. */
export const RENEWAL_DEFAULTS: RenewalFigures = Object.freeze({
  renewAtFraction: 0.75,
  jitterFraction: 0.1,
  minRenewSecs: 30,
  maxBackoffSecs: 5,
});

/** The last part of a TTL is kept free of jitter, so that a renewal has time to arrive: 5 %. */
const latestFraction = 0.95;

/**
 * When a lease is renewed, and for how long. A value.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { RenewalPolicy } from "@selvage/leasekit";
 *
 * const policy = new RenewalPolicy({ jitterFraction: 0 });
 * assert.equal(policy.renewalDeadline(1_000, 1_400, 7), 1_300);
 * ```
 */
export class RenewalPolicy implements RenewalFigures {
  readonly renewAtFraction: number;
  readonly jitterFraction: number;
  readonly minRenewSecs: number;
  readonly maxBackoffSecs: number;

  /** Figures that are left out have their defaults. @throws FabricError `INVALID_ARGUMENT`. */
  constructor(figures: Partial<RenewalFigures> = {}) {
    // A figure given as undefined means its default, as an absent one does.
    const {
      renewAtFraction = RENEWAL_DEFAULTS.renewAtFraction,
      jitterFraction = RENEWAL_DEFAULTS.jitterFraction,
      minRenewSecs = RENEWAL_DEFAULTS.minRenewSecs,
      maxBackoffSecs = RENEWAL_DEFAULTS.maxBackoffSecs,
    } = figures;
    if (!(isNumber(renewAtFraction) && renewAtFraction > 0 && renewAtFraction < 1))
      throw invalidArgument("renewAtFraction", "a number between 0 and 1", renewAtFraction);
    if (!(isNumber(jitterFraction) && jitterFraction >= 0 && jitterFraction < 1))
      throw invalidArgument("jitterFraction", "a number from 0 and below 1", jitterFraction);
    if (!(isNumber(minRenewSecs) && minRenewSecs >= 0))
      throw invalidArgument("minRenewSecs", "seconds from 0 up", minRenewSecs);
    if (!(isNumber(maxBackoffSecs) && maxBackoffSecs >= 0))
      throw invalidArgument("maxBackoffSecs", "seconds from 0 up", maxBackoffSecs);
    this.renewAtFraction = renewAtFraction;
    this.jitterFraction = jitterFraction;
    this.minRenewSecs = minRenewSecs;
    this.maxBackoffSecs = maxBackoffSecs;
  }

  /**
   * When a lease that was granted (or renewed) at `createdAt` and ends at `expiresAt` is due for renewal, in the same
   * unit and from the same zero. The jitter is a function of `jitterSeed` alone (32 bits, such as a part of the lease
   * id): the same lease is always due at the same moment.
   */
  renewalDeadline(createdAt: number, expiresAt: number, jitterSeed: number): number {
    const ttl = Math.max(0, expiresAt - createdAt);
    const jitter = (scramble(jitterSeed) / 0xffff_ffff) * 2 - 1;
    const fraction = this.renewAtFraction + jitter * this.jitterFraction;
    return createdAt + ttl * Math.min(Math.max(fraction, 0), latestFraction);
  }
}

// A string would pass the comparisons.
function isNumber(value: unknown): boolean {
  return typeof value === "number";
}

/** The 32-bit finaliser of MurmurHash3 (Appleby): neighbouring seeds give unlike words. */
function scramble(seed: number): number {
  let word = seed | 0;
  word = Math.imul(word ^ (word >>> 16), 0x85eb_ca6b);
  word = Math.imul(word ^ (word >>> 13), 0xc2b2_ae35);
  return (word ^ (word >>> 16)) >>> 0;
}
