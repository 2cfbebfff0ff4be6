/**
 * A program on a block file that works until it is killed: it grants, writes, renews and releases, and tells of each step on
 * its standard output once that was acknowledged. Its test kills it at any moment.
 */
import { writeSync } from "node:fs";
import { Fabric, isFabricError, type BlockLease } from "selvage";

/** One line of the program's output. */
export type Told =
  | { readonly told: "granted" | "renewed"; readonly ticket: object; readonly expiresAtMs: number }
  | { readonly told: "written"; readonly leaseId: string; readonly byte: number }
  | { readonly told: "releasing" | "released"; readonly leaseId: string };

const [path, seed] = process.argv.slice(2);
const ttlMs = 1_000;
const most = 8;

// A line of less than a pipe's buffer is written as a whole, or not at all: not while the pipe is full.
function tell(line: Told): void {
  for (;;) {
    try {
      writeSync(1, `${JSON.stringify(line)}\n`);
      return;
    } catch (thrown) {
      if ((thrown as NodeJS.ErrnoException).code !== "EAGAIN") throw thrown;
    }
  }
}

// xorshift32
let state = Number(seed) | 1;
function random(below: number): number {
  state ^= state << 13;
  state ^= state >>> 17;
  state ^= state << 5;
  return (state >>> 0) % below;
}

async function fill(lease: BlockLease): Promise<void> {
  const byte = 1 + random(255);
  await lease.write(0, new Uint8Array(lease.bytes).fill(byte));
  await lease.flush();
  tell({ told: "written", leaseId: lease.leaseId, byte });
}

const fabric = Fabric.open({
  blockFile: path as string,
  blocks: 256,
  blockLeases: 16,
  memoryBytes: 64,
});
const leases: BlockLease[] = [];
async function step(index: number, lease: BlockLease | undefined): Promise<void> {
  if (lease === undefined) {
    const blocks = 1 + random(24);
    const granted = await fabric.block().minBlocks(blocks).leaseMs(ttlMs).acquire();
    leases.push(granted);
    tell({ told: "granted", ticket: granted.ticket(), expiresAtMs: granted.expiresAtMs });
    return fill(granted);
  }
  if (random(3) > 0) {
    const expiresAtMs = await lease.renew(ttlMs);
    tell({ told: "renewed", ticket: lease.ticket(), expiresAtMs });
    if (random(2) === 0) await fill(lease);
    return;
  }
  leases.splice(index, 1);
  tell({ told: "releasing", leaseId: lease.leaseId });
  lease.release();
  await lease.settle();
  tell({ told: "released", leaseId: lease.leaseId });
}

for (;;) {
  const index = random(most);
  try {
    await step(index, leases[index]);
  } catch (thrown) {
    // On a machine that is busy elsewhere a lease may run out between two steps.
    if (!isFabricError(thrown) || thrown.code !== "LEASE_EXPIRED") throw thrown;
    leases.splice(index, 1);
  }
}
