/** What grants a resource to holders in other processes, one at a time, by numbered leases. */

/** Asks for a resource. */
export interface GrantRequest {
  readonly resource: string;
  /** Who asks: any text. Two processes that use one name are still two holders. */
  readonly holder: string;
  /** Unguessable, and new for each lease: a request that is sent again gets the lease that it has got, or none. */
  readonly requestId: string;
  readonly ttlMs: number;
}

/** A lease, as the store gave it. */
export interface LeaseGrant {
  /** Larger than every epoch that was granted of the resource before: what sinks compare. */
  readonly epoch: number;
  /** From when the request was *sent*: the holder cannot know when it was processed. */
  readonly ttlMs: number;
}

/** Names a lease by its holder and epoch; a store compares both. */
export interface LeaseName {
  readonly resource: string;
  readonly holder: string;
  readonly epoch: number;
}

/** How a resource stands. */
export interface LeaseReading {
  /** Of the last grant; 0 when there was none. */
  readonly epoch: number;
  readonly state: "free" | "held" | "revoked";
  /** Who was granted it last. */
  readonly holder: string | undefined;
}

/**
 * Grants leases by compare-and-set. It shares no clock with holders. Every call may also fail with `STORE_UNAVAILABLE`,
 * `TIMED_OUT` or `DISCONNECTED`: whether it was done is then not known, and doing it again is safe.
 *
 * Invariant L1: the epochs of a resource strictly increase, for ever.
 * Invariant L2: no answer tells what a crash could still undo.
 * Invariant L4: renewing and releasing compare holder and epoch, and never bring a lease back.
 */
export interface LeaseStore {
  /**
   * Grants the resource, durably. The same holder and request again: the same epoch, renewed.
   * @throws FabricError `CONFLICT` (another has it; `retryAfterMs` in `details`: not worth asking sooner),
   * `LEASE_EXPIRED` (this request was granted, and that lease is over: ask with a new one), `CAPACITY_EXCEEDED`,
   * `EXHAUSTED`.
   */
  acquire(request: GrantRequest): Promise<LeaseGrant>;
  /**
   * Gives the lease its whole TTL again, as granted, from when this was sent.
   * @throws FabricError `LEASE_EXPIRED`, `REVOKED`, `STALE_EPOCH` (a later one was granted), `NOT_FOUND`.
   */
  renew(lease: LeaseName): Promise<{ readonly ttlMs: number }>;
  /** Ends the lease for its holder, durably; nothing happens where it is over. @throws FabricError `STALE_EPOCH`, `NOT_FOUND`. */
  release(lease: LeaseName): Promise<void>;
  /**
   * Ends the lease against its holder, durably: it is not renewed any more. The next grant waits all the same until the
   * holder has stopped by its own count. @throws FabricError `STALE_EPOCH`, `NOT_FOUND`.
   */
  revoke(lease: Omit<LeaseName, "holder">): Promise<void>;
  /** How the resource stands. */
  look(resource: string): Promise<LeaseReading>;
}
