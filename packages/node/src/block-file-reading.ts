/** A block file's leases, read beside whoever writes it. */
import { existsSync, statSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import {
  BlockStore,
  BlockTable,
  formatId,
  invalidArgument,
  readLeases,
  type BlockDamage,
  type BlockLeaseReading,
} from "@selvage/fabric";
import { openDisk } from "./block-file.ts";
import { SystemClock } from "./system-clock.ts";

/** What {@link readBlockFile} gives. */
export interface BlockFileReading {
  readonly path: string;
  /** Made with the file; its tickets carry it. */
  readonly storeId: string;
  /** Blocks of 512 bytes, leased or not. */
  readonly numBlocks: number;
  /** How many leases it holds at a time. */
  readonly slots: number;
  /** When it was read, in milliseconds since the Unix epoch. */
  readonly readAtMs: number;
  /** By slot. */
  readonly leases: readonly BlockLeaseReading[];
  /** Records that cannot be read. */
  readonly damage: readonly BlockDamage[];
  /** A process has it open to write, or was killed while it had. Whether it lives is not asked: that would take its lock. */
  readonly hasWriter: boolean;
}

/** A copy that its writer is writing may not be readable at that moment: what stays so is damage. */
const looks = 4;
const lookAgainMs = 10;

/**
 * Reads which leases a block file holds. Only reads: it takes no lock, ends and renews nothing, and may be called while
 * another process writes the file. What that one is just writing is in it, or not. Reads the whole table: 1 KiB a slot.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { mkdtempSync, rmSync } from "node:fs";
 * import { tmpdir } from "node:os";
 * import { join } from "node:path";
 * import { Fabric, readBlockFile } from "@selvage/node";
 *
 * const folder = mkdtempSync(join(tmpdir(), "selvage-"));
 * const blockFile = join(folder, "blocks");
 * await using fabric = Fabric.open({ blockFile, blocks: 64 });
 * await fabric.block().minBlocks(2).label("progress").acquire();
 * const [lease] = (await readBlockFile(blockFile)).leases;
 * assert.deepEqual([lease?.label, lease?.bytes, lease?.state], ["progress", 1024, "active"]);
 * rmSync(folder, { recursive: true });
 * ```
 * @throws FabricError `NOT_FOUND`, `INVALID_ARGUMENT` (not a file), `CORRUPT_RECORD` (no block file), `STORE_UNAVAILABLE`.
 */
export async function readBlockFile(path: string): Promise<BlockFileReading> {
  if (typeof path !== "string" || path === "") throw invalidArgument("path", "a path", path);
  // A pipe would wait for its other end.
  const found = statSync(path, { throwIfNoEntry: false });
  if (found?.isFile() === false) throw invalidArgument("path", "the path of a file", path);
  for (let look = 1; ; look++) {
    const reading = readNow(path);
    if (reading.damage.length === 0 || look === looks) return reading;
    await sleep(lookAgainMs);
  }
}

function readNow(path: string): BlockFileReading {
  const store = new BlockStore(openDisk({ path, access: "read", image: noImage }), path);
  try {
    const table = new BlockTable(store);
    const readAtMs = clock.nowMs();
    const { storeId, numBlocks, slots } = table.shape;
    return {
      path,
      storeId: formatId(storeId),
      numBlocks,
      slots,
      readAtMs,
      leases: readLeases(table, readAtMs),
      damage: table.damage,
      hasWriter: existsSync(`${path}.writer`),
    };
  } finally {
    store.close();
  }
}

// Readers make no file.
const noImage = (): Uint8Array => new Uint8Array();

const clock = new SystemClock();
