/** Block leases' blocks: runs of blocks of one device. */
import { FabricError } from "./errors.ts";
import type { Ledger } from "./ledger.ts";
import { refuse, type Piece, type Pool } from "./pool.ts";
import { BLOCK_BYTES, type BlockDevice } from "./ports.ts";
import { RangeAllocator } from "./range-allocator.ts";
import type { Tenant } from "./tenant.ts";

/** A run of blocks. */
export interface BlockPiece extends Piece {
  readonly block: number;
  /** First block on the device, and how many. */
  readonly first: number;
  readonly count: number;
}

/** The blocks of one fabric. */
export class BlockPool implements Pool<BlockPiece> {
  readonly kind = "block";
  readonly ledger: Ledger;
  readonly device: BlockDevice;
  readonly #ranges: RangeAllocator | undefined;

  constructor(device: BlockDevice, ledger: Ledger) {
    this.device = device;
    this.ledger = ledger;
    this.#ranges = device.numBlocks === 0 ? undefined : new RangeAllocator(device.numBlocks);
  }

  allocate(tenant: Tenant, asked: number): BlockPiece {
    const count = Math.ceil(asked / BLOCK_BYTES);
    const bytes = count * BLOCK_BYTES;
    const most = tenant.quota.blocks;
    if (most !== undefined && tenant.blockBytes + bytes > most * BLOCK_BYTES)
      throw refuse("block", tenant, asked, this.largestFreeBytes(tenant), "quota");
    const block = this.#ranges?.allocate(count) ?? -1;
    if (this.#ranges === undefined || block < 0)
      throw refuse("block", tenant, asked, this.largestFreeBytes(tenant), "capacity");
    tenant.blockBytes += bytes;
    return { block, first: this.#ranges.offsetOf(block), count, bytes };
  }

  async wipe(piece: BlockPiece): Promise<void> {
    await this.device.zero(piece.first, piece.count);
  }

  free(tenant: Tenant, piece: BlockPiece): void {
    this.#ranges?.free(piece.block);
    tenant.blockBytes -= piece.bytes;
  }

  largestFreeBytes(tenant: Tenant | undefined): number {
    const quota = (tenant?.quota.blocks ?? Infinity) * BLOCK_BYTES - (tenant?.blockBytes ?? 0);
    return Math.max(0, Math.min(quota, (this.#ranges?.largestFree() ?? 0) * BLOCK_BYTES));
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
