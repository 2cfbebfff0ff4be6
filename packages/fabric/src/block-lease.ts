/** A lease over a run of blocks. Every operation returns a promise: a block may live on a disk. */
import { FabricError, invalidArgument } from "./errors.ts";
import { checkTtl, LeaseHandle, type LeaseParts, type RevokeOptions } from "./lease-handle.ts";
import { BLOCK_BYTES, type BlockDevice } from "./ports.ts";
import type { BlockTicket } from "./ticket.ts";

/** Whoever keeps a block lease beyond its process. */
export interface BlockAuthority {
  /** Which file. */
  readonly storeId: string;
  readonly isReadOnly: boolean;
  /** True once nothing reaches the disk any more. */
  readonly isClosing: boolean;
  /** Makes a later deadline durable. */
  extend(lease: BlockLease, deadlineMs: number): Promise<void>;
  /** Resolves once the disk knows how the lease stands. */
  settle(lease: BlockLease): Promise<void>;
  /** Brings the lease to what its writer has made of it. */
  refresh(lease: BlockLease): Promise<void>;
  /** @throws FabricError `DISCONNECTED`. */
  assertOpen(what: string): void;
  /** @throws FabricError `DISCONNECTED`, `UNSUPPORTED`. */
  assertWritable(what: string): void;
}

/** Where a block lease's blocks are. */
export interface BlockRegion {
  readonly device: BlockDevice;
  /** First block on the device. */
  readonly first: number;
  /** How many. */
  readonly count: number;
  /** Who keeps the lease, where it outlives its process. */
  readonly authority?: BlockAuthority;
}

/**
 * A lease over blocks of 512 bytes.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { Fabric } from "selvage";
 *
 * using fabric = Fabric.open({ memoryBytes: 1 << 20, blocks: 64 });
 * const disk = await fabric.block().minBlocks(2).leaseSecs(60).acquire();
 * await disk.writeBlock(1, new TextEncoder().encode("kept"));
 * assert.equal((await disk.readBlock(1)).length, 512);
 * assert.equal(disk.numBlocks, 2);
 * ```
 */
export class BlockLease extends LeaseHandle implements Disposable {
  readonly kind = "block";
  /** How many blocks the lease has. */
  readonly numBlocks: number;
  readonly #device: BlockDevice;
  readonly #first: number;
  readonly #authority: BlockAuthority | undefined;

  /** For the fabric: leases are acquired through `fabric.block()`. */
  constructor(parts: LeaseParts, region: BlockRegion) {
    super(parts);
    this.numBlocks = region.count;
    this.#device = region.device;
    this.#first = region.first;
    this.#authority = region.authority;
  }

  /** The same object for all leases of one fabric: it tells them from another fabric's over the same file. */
  get home(): object {
    return this.site.control.handle;
  }

  /**
   * As `MemLease.renew`, but promised: in a block file the new deadline is durable before it counts, and before this
   * resolves. Errors as there, and `STORE_UNAVAILABLE`; the lease then stands as before.
   */
  async renew(ttlMs: number): Promise<number> {
    const authority = this.#authority;
    if (authority === undefined) return this.extend(ttlMs);
    authority.assertWritable("renew the lease");
    const deadlineMs = this.site.nowMs() + checkTtl("ttlMs", ttlMs);
    // What would be refused afterwards is refused now.
    this.extendTo(this.site.control.baseMs);
    await authority.extend(this, deadlineMs);
    return this.extendTo(deadlineMs);
  }

  /** As for memory. In a block file the disk learns of it at once, but not yet when this returns: see {@link settle}. */
  override release(): boolean {
    if (this.#authority?.isClosing === true) return false;
    this.#authority?.assertWritable("release the lease");
    return super.release();
  }

  /** As for memory; as {@link release} in a block file. */
  override revoke(options: RevokeOptions = {}): boolean {
    if (this.#authority?.isClosing === true) return false;
    this.#authority?.assertWritable("revoke the lease");
    return super.revoke(options);
  }

  /**
   * Resolves once a crash would find the lease as it stands now: after `release()`, once its end is durable. At once
   * where blocks are not in a file. @throws FabricError `STORE_UNAVAILABLE`.
   */
  async settle(): Promise<void> {
    await this.#authority?.settle(this);
  }

  /** Releases the lease, if it still stands and is not open for reading only. Idempotent. */
  override [Symbol.dispose](): void {
    if (this.#authority?.isReadOnly !== true) this.release();
  }

  /**
   * Reads block `index` (0 to `numBlocks - 1`) into an array of its own.
   * @throws FabricError `LEASE_EXPIRED`, `REVOKED`, `INVALID_ARGUMENT`, `STORE_UNAVAILABLE`.
   */
  async readBlock(index: number): Promise<Uint8Array<ArrayBuffer>> {
    const target = new Uint8Array(BLOCK_BYTES);
    await this.#during(() => this.#device.read(this.#first + this.#checkIndex(index, 1), target));
    return target;
  }

  /** Writes up to 512 bytes to block `index`; the rest of it becomes zero. Errors as `readBlock`. */
  async writeBlock(index: number, bytes: Uint8Array): Promise<void> {
    if (!(bytes instanceof Uint8Array)) throw invalidArgument("bytes", "a Uint8Array", bytes);
    if (bytes.length > BLOCK_BYTES)
      throw invalidArgument("bytes", `at most ${BLOCK_BYTES} bytes`, bytes.length);
    const block = new Uint8Array(BLOCK_BYTES);
    block.set(bytes);
    this.#authority?.assertWritable("write blocks");
    await this.#during(() => this.#device.write(this.#first + this.#checkIndex(index, 1), block));
  }

  /** Reads as many blocks from `index` on as `target` holds (a multiple of 512 bytes), into it. */
  async readInto(index: number, target: Uint8Array): Promise<void> {
    await this.#during(() =>
      this.#device.read(this.#first + this.#checkIndex(index, wholeBlocks(target)), target),
    );
  }

  /** Writes `bytes` (a multiple of 512) from block `index` on. Blocks are all or nothing one by one, not together. */
  async write(index: number, bytes: Uint8Array): Promise<void> {
    this.#authority?.assertWritable("write blocks");
    await this.#during(() =>
      this.#device.write(this.#first + this.#checkIndex(index, wholeBlocks(bytes)), bytes),
    );
  }

  /** Resolves once what was written survives a crash, where the device survives one at all. */
  async flush(): Promise<void> {
    this.#authority?.assertWritable("flush blocks");
    await this.#during(() => this.#device.flush());
  }

  /** Plain data that reaches this lease through `fabric.attachBlock(ticket)`. */
  ticket(): BlockTicket {
    this.check();
    const { leaseId, slot, generation } = this;
    const fabricId = this.#authority?.storeId ?? this.site.control.handle.fabricId;
    return { kind: "block", version: 1, leaseId, slot, generation, fabricId };
  }

  async #during(operation: () => Promise<void>): Promise<void> {
    this.#authority?.assertOpen("use blocks");
    if (this.#authority?.isReadOnly === true) return this.#duringRead(operation, this.#authority);
    this.check();
    // Pinned while the device works: the blocks are not given to the next holder under its hands.
    this.site.pin(this.slot);
    try {
      await operation();
      this.check();
    } finally {
      this.site.unpin(this.slot);
    }
  }

  // Another process may end the lease of a reader, who can pin nothing there: the disk is asked before and after.
  async #duringRead(operation: () => Promise<void>, authority: BlockAuthority): Promise<void> {
    await authority.refresh(this);
    this.check();
    await operation();
    await authority.refresh(this);
    this.check();
  }

  #checkIndex(index: number, count: number): number {
    if (!Number.isInteger(index) || index < 0 || index + count > this.numBlocks)
      throw new FabricError(
        "INVALID_ARGUMENT",
        `index: expected a block within 0..${this.numBlocks - 1}, got ${index} + ${count}`,
        { argument: "index", index: String(index), count, numBlocks: this.numBlocks },
      );
    return index;
  }
}

function wholeBlocks(bytes: Uint8Array): number {
  if (!(bytes instanceof Uint8Array)) throw invalidArgument("bytes", "a Uint8Array", bytes);
  if (bytes.length % BLOCK_BYTES !== 0)
    throw invalidArgument("bytes", `a multiple of ${BLOCK_BYTES} bytes`, bytes.length);
  return bytes.length / BLOCK_BYTES;
}
