/** Leases that belong together: to one wave, task or stage. */
import type { BlockLease, MemLease } from "@selvage/fabric";
import { InvariantError } from "@selvage/fabric";
import type { Hold, HoldOptions, RenewalManager } from "./renewal-manager.ts";

/** A consumer's membership of a scope. */
export interface Membership extends Disposable {
  /** Leaves the scope. Idempotent: leaving twice does not count twice. */
  leave(): void;
}

/**
 * Keeps its leases renewed while it has consumers. The last consumer leaving stops the renewals, for good; expiry
 * does the rest. Without a {@link RenewalManager} it keeps nothing, and only counts.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { Fabric, LeaseScope, RenewalManager } from "selvage";
 *
 * using fabric = Fabric.open({ memoryBytes: 1 << 20, tick: "manual" });
 * const scope = new LeaseScope(new RenewalManager(fabric));
 * const consumer = scope.join();
 * scope.add(fabric.mem().leaseMs(500).acquire());
 * consumer.leave();
 * assert.ok(scope.isOver);
 * ```
 */
export class LeaseScope implements Disposable {
  readonly #renewals: RenewalManager | undefined;
  readonly #options: HoldOptions;
  readonly #leases = new Set<MemLease | BlockLease>();
  readonly #holds: Hold[] = [];
  #consumers = 0;
  #isOver = false;
  // Renewals of the holds that have ended.
  #endedRenewed = 0;

  constructor(renewals: RenewalManager | undefined, options: HoldOptions = {}) {
    this.#renewals = renewals;
    this.#options = options;
  }

  /** True once the last consumer has left: nothing is renewed any more. */
  get isOver(): boolean {
    return this.#isOver;
  }

  /** How many consumers there are. */
  get consumers(): number {
    return this.#consumers;
  }

  /** Renewals for this scope so far. */
  get renewed(): number {
    return this.#holds.reduce((sum, hold) => sum + hold.renewed, this.#endedRenewed);
  }

  /** The leases of the scope. */
  get leases(): ReadonlySet<MemLease | BlockLease> {
    return this.#leases;
  }

  /**
   * Adds a lease; it is kept from now on. The caller still has it when this throws.
   * @throws InvariantError when the scope is over; FabricError as {@link RenewalManager.hold}.
   */
  add(lease: MemLease | BlockLease): void {
    this.#checkOpen("add a lease to");
    if (this.#renewals !== undefined) this.#holds.push(this.#renewals.hold(lease, this.#options));
    this.#leases.add(lease);
  }

  /** Adds a consumer. @throws InvariantError when the scope is over. */
  join(): Membership {
    this.#checkOpen("join");
    this.#consumers++;
    let isMember = true;
    const leave = (): void => {
      if (!isMember) return;
      isMember = false;
      this.#consumers--;
      if (this.#consumers === 0) this.end();
    };
    return { leave, [Symbol.dispose]: leave };
  }

  /** Ends the scope, whoever is in it: nothing is renewed any more. Idempotent. */
  end(): void {
    this.#isOver = true;
    for (const hold of this.#holds.splice(0)) {
      hold.end();
      this.#endedRenewed += hold.renewed;
    }
  }

  /** Releases every lease now instead of waiting for its TTL. Ends the scope. */
  release(): void {
    this.end();
    for (const lease of this.#leases) lease.release();
  }

  /** As {@link end}. */
  [Symbol.dispose](): void {
    this.end();
  }

  #checkOpen(what: string): void {
    if (this.#isOver) throw new InvariantError(`Cannot ${what} a scope that is over`);
  }
}
