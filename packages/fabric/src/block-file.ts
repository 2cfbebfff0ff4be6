/** Opening a block file: which file it is, and whether it is the one that was asked for. */
import type { BlockFileShape } from "./block-layout.ts";
import { BlockPool, ramBlockDevice } from "./block-pool.ts";
import { BlockStore } from "./block-store.ts";
import { BlockTable } from "./block-table.ts";
import { DurablePool } from "./durable-pool.ts";
import { FabricError } from "./errors.ts";
import type { FabricOptions, ResolvedOptions } from "./fabric-options.ts";
import { Ledger } from "./ledger.ts";
import {
  BLOCK_BYTES,
  type BlockDevice,
  type Disk,
  type DiskRequest,
  type Random,
} from "./ports.ts";

/** What of a host blocks need. */
export interface BlockPorts {
  readonly random: Random;
  readonly blockDevice?: (numBlocks: number) => BlockDevice;
  readonly disk?: (request: DiskRequest) => Disk;
}

/** The fabric's blocks: in a file where `options.blockFile` says so. `asked`: the options before their defaults. */
export function openBlocks(
  options: ResolvedOptions,
  asked: FabricOptions,
  ports: BlockPorts,
): BlockPool | DurablePool {
  if (options.blockFile !== undefined)
    return openBlockFile(options, options.blockFile, asked.blocks, ports);
  const device = (ports.blockDevice ?? ramBlockDevice)(options.blocks);
  return new BlockPool(device, new Ledger(device.numBlocks * BLOCK_BYTES));
}

function openBlockFile(
  options: ResolvedOptions,
  path: string,
  blocksAsked: number | undefined,
  ports: BlockPorts,
): DurablePool {
  const { blockAccess: access, blocks, blockLeases } = options;
  if (ports.disk === undefined)
    throw new FabricError("UNSUPPORTED", "blockFile: this host has no files", { path });
  const image = (): Uint8Array => {
    const storeId = new Int32Array(4);
    ports.random.fill(storeId);
    // A block is leased by one lease: more slots than blocks are of no use. Of 8, as the layout wants.
    const slots = Math.ceil(Math.max(1, Math.min(blockLeases, blocks)) / 8) * 8;
    return BlockTable.image({ storeId, numBlocks: blocks, slots });
  };
  const store = new BlockStore(ports.disk({ path, access, image }), path);
  try {
    const table = new BlockTable(store);
    checkBlocks(table.shape, path, blocksAsked);
    return new DurablePool(store, table, access);
  } catch (thrown) {
    store.close();
    throw thrown;
  }
}

function checkBlocks({ numBlocks }: BlockFileShape, path: string, asked: number | undefined): void {
  if (asked === undefined || asked === numBlocks) return;
  throw new FabricError(
    "CONFLICT",
    `blocks: ${path} was made with ${numBlocks} blocks, got ${asked}`,
    { path, blocks: numBlocks, asked },
  );
}
