/** A program that lives on blocks of its node's disk, and opens them anew whenever they fail it. */
import { TTL_MAX_MS, type BlockLease, type RecordBlocks } from "@selvage/fabric";
import type { SimNode, World } from "@selvage/sim";

/** Where a node's blocks are, in its disk. */
export const BLOCK_FILE = "blocks";
const label = "state";
const reopenMs = 50;

/**
 * Calls `serve` with the blocks, as often as it returns: each time on a fabric that was opened anew. `serve` returns when it
 * cannot go on; what it throws is taken for that too, where `mayFail` says so.
 */
export async function onDisk(
  w: World,
  node: SimNode,
  serve: (blocks: RecordBlocks, opened: number) => Promise<void>,
): Promise<never> {
  for (let opened = 1; ; opened++) {
    try {
      const fabric = w.fabric(node, {
        memoryBytes: 4_096,
        blocks: 16,
        blockLeases: 8,
        maxLeases: 16,
        tickMs: 1_000,
        blockFile: BLOCK_FILE,
      });
      try {
        const kept = fabric.leases().find((lease) => lease.label === label);
        const blocks =
          kept === undefined
            ? await fabric.block().minBlocks(4).leaseMs(TTL_MAX_MS).label(label).acquire()
            : await fabric.attachBlock((kept as BlockLease).ticket());
        await serve(blocks, opened);
      } finally {
        await fabric.close();
      }
    } catch (thrown) {
      node.record("disk.gave-up", { message: (thrown as Error).message });
    }
    await node.sleep(reopenMs);
  }
}
