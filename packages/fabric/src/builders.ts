/** Asking for leases, step by step. A builder is a value: each step gives a new one. */
import type { BlockLease } from "./block-lease.ts";
import { invalidArgument } from "./errors.ts";
import { checkTtl, TTL_MAX_MS } from "./lease-handle.ts";
import type { MemLease } from "./mem-lease.ts";
import { BLOCK_BYTES } from "./ports.ts";

/** Default TTL of a lease: 300 s. */
export const LEASE_SECS_DEFAULT = 300;

/** What is asked for. */
export interface LeaseRequest {
  readonly bytes: number;
  readonly ttlMs: number;
  readonly tenant: string;
  readonly label: string;
}

const defaults: LeaseRequest = {
  bytes: 1,
  ttlMs: LEASE_SECS_DEFAULT * 1_000,
  tenant: "default",
  label: "",
};

abstract class LeaseBuilder<Self> {
  protected readonly request: LeaseRequest;

  protected constructor(request: LeaseRequest) {
    this.request = request;
  }

  protected abstract copy(request: LeaseRequest): Self;

  /** TTL in seconds. Default 300. */
  leaseSecs(seconds: number): Self {
    if (typeof seconds !== "number" || !(seconds > 0 && seconds * 1_000 <= TTL_MAX_MS))
      throw invalidArgument(
        "leaseSecs",
        `seconds above 0 and up to ${TTL_MAX_MS / 1_000}`,
        seconds,
      );
    return this.leaseMs(seconds * 1_000);
  }

  /** TTL in milliseconds. */
  leaseMs(ttlMs: number): Self {
    return this.copy({ ...this.request, ttlMs: checkTtl("leaseMs", ttlMs) });
  }

  /** Whom the bytes are counted against. Default `"default"`. */
  tenant(name: string): Self {
    if (typeof name !== "string" || name === "") throw invalidArgument("tenant", "a name", name);
    return this.copy({ ...this.request, tenant: name });
  }

  /** What events, errors and tickets call the lease. */
  label(label: string): Self {
    if (typeof label !== "string") throw invalidArgument("label", "a string", label);
    return this.copy({ ...this.request, label });
  }
}

/** Asks for memory. */
export class MemBuilder extends LeaseBuilder<MemBuilder> {
  readonly #acquire: (request: LeaseRequest) => MemLease;

  /** For the fabric: `fabric.mem()`. */
  constructor(acquire: (request: LeaseRequest) => MemLease, request: LeaseRequest = defaults) {
    super(request);
    this.#acquire = acquire;
  }

  /** How many bytes at least; rounded up to a multiple of 64. Default 1. */
  minBytes(bytes: number): MemBuilder {
    if (!Number.isSafeInteger(bytes) || bytes < 1)
      throw invalidArgument("minBytes", "a whole number of bytes above 0", bytes);
    return this.copy({ ...this.request, bytes });
  }

  /**
   * Takes the lease. Its bytes are zero. Never waits.
   * @throws FabricError `CAPACITY_EXCEEDED` with `details.largestFreeBytes`, `DISCONNECTED` once the fabric is closed.
   */
  acquire(): MemLease {
    return this.#acquire(this.request);
  }

  protected override copy(request: LeaseRequest): MemBuilder {
    return new MemBuilder(this.#acquire, request);
  }
}

/** Asks for blocks. */
export class BlockBuilder extends LeaseBuilder<BlockBuilder> {
  readonly #acquire: (request: LeaseRequest) => Promise<BlockLease>;

  /** For the fabric: `fabric.block()`. */
  constructor(
    acquire: (request: LeaseRequest) => Promise<BlockLease>,
    request: LeaseRequest = defaults,
  ) {
    super(request);
    this.#acquire = acquire;
  }

  /** How many blocks of 512 bytes. Default 1. */
  minBlocks(blocks: number): BlockBuilder {
    if (!Number.isSafeInteger(blocks) || blocks < 1)
      throw invalidArgument("minBlocks", "a whole number of blocks above 0", blocks);
    return this.copy({ ...this.request, bytes: blocks * BLOCK_BYTES });
  }

  /** Takes the lease. Its blocks are zero. Errors as {@link MemBuilder.acquire}, by rejection. */
  acquire(): Promise<BlockLease> {
    return this.#acquire(this.request);
  }

  protected override copy(request: LeaseRequest): BlockBuilder {
    return new BlockBuilder(this.#acquire, request);
  }
}
