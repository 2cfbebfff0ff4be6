/** A block file whose holder is gone. */
import { setTimeout as sleep } from "node:timers/promises";
import { Fabric } from "@selvage/node";

/** Makes a block file with a lease that has ended and one that stands, and nobody who holds them. */
export async function leaveFile(blockFile: string): Promise<string> {
  {
    await using fabric = Fabric.open({ blockFile, blocks: 64, tick: "manual" });
    await fabric.block().minBlocks(2).leaseMs(1).label("short").acquire();
    await fabric.block().minBlocks(4).leaseSecs(600).label("long").acquire();
  }
  await sleep(5);
  return blockFile;
}
