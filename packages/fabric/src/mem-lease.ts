/** A lease over bytes of an arena. Operations are synchronous and checked one by one. */
import { copyIn, copyOut } from "./copy-bytes.ts";
import { FabricError, invalidArgument } from "./errors.ts";
import { LeaseHandle, type LeaseParts, type LeaseSite } from "./lease-handle.ts";
import { viewOf, type ReadonlyBytes } from "./lease-view.ts";
import type { ArenaMemory } from "./ports.ts";
import type { MemTicket } from "./ticket.ts";

/** Asks `with` for bytes that can be written. */
export interface WriteOption {
  readonly write: true;
}

/** Bytes lent to an engine for the length of one attempt. They outlive the lease, never the loan. */
export interface Loan extends Disposable {
  /** The lease's bytes themselves. Its `buffer` is the arena: an engine hands out typed views of it, and ends them. */
  readonly view: Uint8Array;
  /** True once the lease no longer stands: whatever was read or written since may be lost. */
  readonly lapsed: boolean;
  /** Ends the loan: the bytes may be reclaimed. Idempotent. */
  end(): void;
}

/**
 * Where a lease's bytes are, for structures that live in it (rings, maps). It reaches the whole arena: whoever has one
 * stays within `bytes` from `offset`, asks `lease.assertLive()` before every operation, keeps the lease pinned while a
 * view of it is lent out, and hands none of this on.
 */
export interface LeaseRegion {
  readonly memory: ArenaMemory;
  /** First byte, a multiple of 64. */
  readonly offset: number;
  /** How many. */
  readonly bytes: number;
  /** The thread that the handle is used on. */
  readonly site: LeaseSite;
  /** The lease's slot, for `site.pin` and `site.unpin`. */
  readonly slot: number;
}

let regionIn: (lease: MemLease) => LeaseRegion;

/** The region of a lease. For collections and engines, not for user code: see {@link LeaseRegion}. */
export function regionOf(lease: MemLease): LeaseRegion {
  if (!(lease instanceof MemLease)) throw invalidArgument("lease", "a MemLease", lease);
  return regionIn(lease);
}

/**
 * Up to so many bytes a copy takes less than a clock's millisecond by far: it happens at the moment of its check. A
 * longer one is checked again at its end, so that none succeeds that began long before the deadline. Safety needs no
 * second check: the bytes are nobody else's until this thread has announced (Q2), and it does not within a copy.
 */
const shortBytesMax = 4_096;

/**
 * A lease over memory.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { Fabric } from "selvage";
 *
 * using fabric = Fabric.open({ memoryBytes: 1 << 20 });
 * const lease = fabric.mem().minBytes(100).leaseMs(1_000).acquire();
 * lease.write(0, Uint8Array.of(1, 2, 3));
 * assert.deepEqual([...lease.read(0, 3)], [1, 2, 3]);
 * assert.equal(lease.with((view) => view[0]! + view[1]! + view[2]!), 6);
 * lease.release();
 * assert.equal(lease.state, "released");
 * ```
 */
export class MemLease extends LeaseHandle implements Disposable {
  static {
    regionIn = (lease: MemLease): LeaseRegion => ({
      memory: lease.#memory,
      offset: lease.#offset,
      bytes: lease.bytes,
      site: lease.site,
      slot: lease.slot,
    });
  }

  readonly kind = "mem";
  readonly #memory: ArenaMemory;
  readonly #arena: Uint8Array;
  readonly #offset: number;
  // Views are made once: making one costs more than most callbacks (`anchors`: 40 to 120 ns).
  #readable: Uint8Array | undefined;
  #writable: Uint8Array | undefined;

  /** For the fabric: leases are acquired through `fabric.mem()`. */
  constructor(parts: LeaseParts, memory: ArenaMemory, offset: number) {
    super(parts);
    this.#memory = memory;
    this.#arena = memory.bytes;
    this.#offset = offset;
  }

  /**
   * Moves the deadline to `ttlMs` from now and returns it; a deadline that is later already stays.
   * @throws FabricError `LEASE_EXPIRED` once the deadline has passed, `REVOKED` while and after it is revoked.
   */
  renew(ttlMs: number): number {
    return this.extend(ttlMs);
  }

  /**
   * Copies `length` bytes from `offset` into an array of their own.
   * @throws FabricError `LEASE_EXPIRED`, `REVOKED`, `INVALID_ARGUMENT` (a range beyond the lease).
   */
  read(offset: number, length: number): Uint8Array<ArrayBuffer> {
    this.#checkRange(offset, length);
    this.check();
    const copy = new Uint8Array(length);
    copyOut(this.#arena, this.#offset + offset, copy);
    if (length > shortBytesMax) this.check();
    return copy;
  }

  /** Copies bytes from `offset` into `target`, filling it; allocates nothing up to 96 bytes. Errors as `read`. */
  readInto(offset: number, target: Uint8Array): void {
    checkBytes("target", target);
    const length = target.length;
    this.#checkRange(offset, length);
    this.check();
    copyOut(this.#arena, this.#offset + offset, target);
    if (length > shortBytesMax) this.check();
  }

  /** Copies `bytes` to `offset`; allocates nothing. Errors as `read`; after an error some bytes may have been written. */
  write(offset: number, bytes: Uint8Array): void {
    checkBytes("bytes", bytes);
    const length = bytes.length;
    this.#checkRange(offset, length);
    this.check();
    copyIn(this.#arena, this.#offset + offset, bytes);
    if (length > shortBytesMax) this.check();
  }

  /**
   * Calls `use` with the lease's bytes themselves, without a copy, and returns what it returns. The view is for
   * the length of this call: a stashed one is not revoked, so `use` must be synchronous. In guard mode it gets a
   * private copy that is emptied afterwards.
   * @throws FabricError `LEASE_EXPIRED` and `REVOKED` (also when the lease ended meanwhile), `INVALID_ARGUMENT` when
   * `use` returns a promise.
   */
  with<T>(use: (view: ReadonlyBytes) => T): T;
  with<T>(use: (view: Uint8Array) => T, options: WriteOption): T;
  with<T>(use: (view: Uint8Array) => T, options?: { readonly write?: boolean }): T {
    const write = options?.write === true;
    if (typeof use !== "function") throw invalidArgument("use", "a synchronous callback", use);
    this.check();
    this.site.pin(this.slot);
    try {
      const result = this.site.guard
        ? this.#withCopy(use, write)
        : use(write ? this.#writableView() : this.#readableView());
      if (isThenable(result)) throw invalidArgument("use", "a synchronous callback", result);
      this.check();
      return result;
    } finally {
      this.site.unpin(this.slot);
    }
  }

  /** Plain data that reaches this lease from another thread of the process, by `fabric.attachMem(ticket)`. */
  ticket(): MemTicket {
    this.check();
    this.site.ticketed(this.slot);
    return {
      kind: "mem",
      version: 1,
      leaseId: this.leaseId,
      slot: this.slot,
      generation: this.generation,
      offset: this.#offset,
      bytes: this.bytes,
      tenant: this.tenant,
      label: this.label,
      arena: this.#memory.handle,
      arenaBytes: this.#memory.byteLength,
      control: this.site.control.memory.handle,
      fabric: this.site.control.handle,
      ownerThread: this.site.ownerThread,
    };
  }

  /**
   * Lends the bytes to an engine until `end()`. Until then they are not reclaimed, also when the lease ends; the
   * engine must then throw away what came of them (`lapsed`). Not for user code: the view cannot be revoked. In guard
   * mode it is a private copy, which `end` copies back if it was lent for writing, and empties. On an attached thread
   * the owner must `pin` the lease for as long.
   */
  lend(options?: { readonly write?: boolean }): Loan {
    this.check();
    const { site, slot } = this;
    const arena = this.#arena;
    const start = this.#offset;
    const own = new Uint8Array(arena.buffer, arena.byteOffset + start, this.bytes);
    const view = site.guard ? new Uint8Array(own) : own;
    const isLapsed = (): boolean => !this.isLive;
    let open = true;
    site.pinForLoan(slot);
    const end = (): void => {
      if (!open) return;
      open = false;
      if (site.guard && view.byteLength > 0) {
        if (options?.write === true && !isLapsed()) own.set(view);
        (view.buffer as ArrayBuffer).transfer();
      }
      site.unpinForLoan(slot);
    };
    return {
      view,
      get lapsed() {
        return isLapsed();
      },
      end,
      [Symbol.dispose]: end,
    };
  }

  /**
   * Keeps the bytes from being reclaimed until the returned function is called, also when the lease ends: for an
   * engine that lends them on another thread. Owner only.
   */
  pin(): () => void {
    this.check();
    const { site, slot } = this;
    let open = true;
    site.pinForLoan(slot);
    return () => {
      if (!open) return;
      open = false;
      site.unpinForLoan(slot);
    };
  }

  #withCopy<T>(use: (view: Uint8Array) => T, write: boolean): T {
    const start = this.#offset;
    const copy = new Uint8Array(this.bytes);
    copy.set(this.#arena.subarray(start, start + this.bytes));
    try {
      const result = use(copy);
      this.check();
      // `copy` is empty if the callback transferred its buffer away; then there is nothing to copy back.
      if (write) this.#arena.set(copy, start);
      return result;
    } finally {
      if (copy.byteLength > 0) copy.buffer.transfer();
    }
  }

  #readableView(): Uint8Array {
    return (this.#readable ??= viewOf(this.#arena, this.#offset, this.bytes, false));
  }

  #writableView(): Uint8Array {
    return (this.#writable ??= viewOf(this.#arena, this.#offset, this.bytes, true));
  }

  #checkRange(offset: number, length: number): void {
    // One comparison a side, so that NaN, fractions beyond the end and negative numbers all fail.
    if (
      offset >= 0 &&
      length >= 0 &&
      offset + length <= this.bytes &&
      (offset | 0) === offset &&
      (length | 0) === length
    )
      return;
    if (
      Number.isInteger(offset) &&
      Number.isInteger(length) &&
      offset >= 0 &&
      length >= 0 &&
      offset + length <= this.bytes
    )
      return;
    throw new FabricError(
      "INVALID_ARGUMENT",
      `range: expected integers within 0..${this.bytes}, got ${offset} + ${length}`,
      { argument: "range", offset: String(offset), length: String(length), bytes: this.bytes },
    );
  }
}

// Anything else could run code of its own between a check and the last byte copied.
function checkBytes(name: string, value: unknown): void {
  if (!(value instanceof Uint8Array)) throw invalidArgument(name, "a Uint8Array", value);
}

function isThenable(value: unknown): boolean {
  return (
    typeof value === "object" &&
    value !== null &&
    typeof (value as { then?: unknown }).then === "function"
  );
}
