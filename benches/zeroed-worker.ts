/**
 * One side of the resident-memory curve, in a process of its own: `zeroed-worker.ts <leases | buffers> <count>`.
 * Prints a JSON array of resident bytes, and the bytes of the slab.
 */
import { setTimeout } from "node:timers/promises";
import { Fabric } from "@selvage/node";

const MIB = 1_048_576;
const PAGE_BYTES = 4_096;
/** What the leases are taken from. */
const SLAB_BYTES = 64 * MIB;
/** Samples of the curve. */
const SAMPLES = 300;

/** Touches every page; comes to the number of bytes that were not zero, which must be 0. */
function touch(bytes: Uint8Array): number {
  let dirty = 0;
  for (let at = 0; at < bytes.length; at += PAGE_BYTES) {
    dirty += bytes[at] as number;
    bytes[at] = 1;
  }
  return dirty;
}

function byLeases(): () => number {
  const fabric = Fabric.open({ memoryBytes: SLAB_BYTES, blocks: 0 });
  const builder = fabric.mem().minBytes(MIB).leaseSecs(60);
  return () => {
    const lease = builder.acquire();
    const dirty = lease.with(touch, { write: true });
    lease.release();
    return dirty;
  };
}

async function main([side, countText]: readonly string[]): Promise<void> {
  const count = Number(countText);
  const once =
    side === "leases" ? byLeases() : () => touch(new Uint8Array(new SharedArrayBuffer(MIB)));
  // What the program itself takes, its compiled code and the keeper's thread among it, is no buffer's.
  for (let warmup = 0; warmup < 20; warmup++) once();
  await setTimeout(500);
  const baseBytes = process.memoryUsage.rss();
  const rssBytes: number[] = [];
  let dirty = 0;
  const every = Math.max(1, Math.floor(count / SAMPLES));
  for (let index = 0; index < count; index++) {
    dirty += once();
    if (index % every === 0) rssBytes.push(process.memoryUsage.rss());
  }
  process.send?.({ baseBytes, slabBytes: SLAB_BYTES, rssBytes, dirty }, () => process.exit());
}

await main(process.argv.slice(2));
