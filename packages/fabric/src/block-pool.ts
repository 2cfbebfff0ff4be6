/** Block leases' blocks: runs of blocks of one device. */
import { BlockLease } from "./block-lease.ts";
import { FabricError } from "./errors.ts";
import type { LeaseParts } from "./lease-handle.ts";
import type { Ledger } from "./ledger.ts";
import { refuse, type Pool } from "./pool.ts";
import { BLOCK_BYTES, type BlockDevice } from "./ports.ts";
import { RangeAllocator } from "./range-allocator.ts";
import type { Tenant } from "./tenant.ts";

/** The blocks of one fabric. A piece is the allocator's block: a run of blocks of the device. */
export class BlockPool implements Pool<BlockLease> {
  readonly kind = "block";
  readonly ledger: Ledger;
  readonly device: BlockDevice;
  /** Which blocks are free; undefined where none can be leased. */
  protected readonly ranges: RangeAllocator | undefined;

  constructor(
    device: BlockDevice,
    ledger: Ledger,
    ranges: RangeAllocator | undefined = device.numBlocks === 0
      ? undefined
      : new RangeAllocator(device.numBlocks),
  ) {
    this.device = device;
    this.ledger = ledger;
    this.ranges = ranges;
  }

  roundUp(bytes: number): number {
    return Math.ceil(bytes / BLOCK_BYTES) * BLOCK_BYTES;
  }

  allocate(tenant: Tenant, asked: number): number {
    const bytes = this.roundUp(asked);
    const most = tenant.quota.blocks;
    if (most !== undefined && tenant.blockBytes + bytes > most * BLOCK_BYTES)
      throw refuse("block", tenant, asked, this.largestFreeBytes(tenant), "quota");
    const piece = this.ranges?.allocate(bytes / BLOCK_BYTES) ?? -1;
    if (piece < 0) throw refuse("block", tenant, asked, this.largestFreeBytes(tenant), "capacity");
    tenant.blockBytes += bytes;
    return piece;
  }

  lease(parts: LeaseParts, _tenant: Tenant, piece: number): BlockLease {
    const count = parts.bytes / BLOCK_BYTES;
    return new BlockLease(parts, { device: this.device, first: this.firstOf(piece), count });
  }

  wipe(_tenant: Tenant, piece: number, bytes: number, _slot: number): void | Promise<void> {
    return this.device.zero(this.firstOf(piece), bytes / BLOCK_BYTES);
  }

  free(tenant: Tenant, piece: number, bytes: number): void {
    this.ranges?.free(piece);
    tenant.blockBytes -= bytes;
  }

  largestFreeBytes(tenant: Tenant | undefined): number {
    const quota = (tenant?.quota.blocks ?? Infinity) * BLOCK_BYTES - (tenant?.blockBytes ?? 0);
    return Math.max(0, Math.min(quota, (this.ranges?.largestFree() ?? 0) * BLOCK_BYTES));
  }

  // A piece that was allocated came from the ranges, so there are some.
  protected firstOf(piece: number): number {
    return this.ranges?.offsetOf(piece) ?? 0;
  }
}

/** Blocks in memory, for scratch data and tests: gone with its thread. Reserved at once, touched as it is written. */
export function ramBlockDevice(numBlocks: number): BlockDevice {
  const bytes = new Uint8Array(numBlocks * BLOCK_BYTES);
  const at = (index: number, length: number): number => {
    if (index < 0 || index * BLOCK_BYTES + length > bytes.length)
      throw new FabricError("INVALID_ARGUMENT", `Cannot reach block ${index}: beyond the device`, {
        index,
        numBlocks,
      });
    return index * BLOCK_BYTES;
  };
  return {
    numBlocks,
    async read(index, target) {
      const start = at(index, target.length);
      target.set(bytes.subarray(start, start + target.length));
    },
    async write(index, source) {
      bytes.set(source, at(index, source.length));
    },
    async zero(index, count) {
      const start = at(index, count * BLOCK_BYTES);
      bytes.fill(0, start, start + count * BLOCK_BYTES);
    },
    async flush() {},
    close() {},
  };
}
