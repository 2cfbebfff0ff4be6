/** A lease over a run of blocks. Every operation returns a promise: a block may live on a disk. */
import { FabricError, invalidArgument } from "./errors.ts";
import { LeaseHandle, type LeaseParts } from "./lease-handle.ts";
import { BLOCK_BYTES, type BlockDevice } from "./ports.ts";
import type { BlockTicket } from "./ticket.ts";

/** Where a block lease's blocks are. */
export interface BlockRegion {
  readonly device: BlockDevice;
  /** First block on the device. */
  readonly first: number;
  /** How many. */
  readonly count: number;
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

  /** For the fabric: leases are acquired through `fabric.block()`. */
  constructor(parts: LeaseParts, region: BlockRegion) {
    super(parts);
    this.numBlocks = region.count;
    this.#device = region.device;
    this.#first = region.first;
  }

  /** As `MemLease.renew`, but promised: the authority over blocks may live on a disk. */
  async renew(ttlMs: number): Promise<number> {
    return this.extend(ttlMs);
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
    await this.#during(() =>
      this.#device.write(this.#first + this.#checkIndex(index, wholeBlocks(bytes)), bytes),
    );
  }

  /** Resolves once what was written survives a crash, where the device survives one at all. */
  async flush(): Promise<void> {
    await this.#during(() => this.#device.flush());
  }

  /** Plain data that reaches this lease through `fabric.attachBlock(ticket)`. */
  ticket(): BlockTicket {
    this.check();
    const { leaseId, slot, generation } = this;
    const { fabricId } = this.site.control.handle;
    return { kind: "block", version: 1, leaseId, slot, generation, fabricId };
  }

  async #during(operation: () => Promise<void>): Promise<void> {
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
