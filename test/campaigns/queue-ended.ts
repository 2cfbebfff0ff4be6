/** R7: a queue whose lease has ended. Both ends are told, and the bytes are the next tenant's alone. */
import { FabricQueue } from "@selvage/collections";
import { isFabricError, type MemLease } from "@selvage/fabric";
import { sometimes, Violation, type RandomStream } from "@selvage/sim";
import { isSamePlace, type QueueBook, type Side, type Stage } from "./queue-book.ts";
import { r7 } from "./collections-held.ts";

const triesMax = 40;

/** Leases the bytes to another, and lets every handle do what it can. */
export async function checkEnded(book: QueueBook, sides: readonly Side[]): Promise<void> {
  const { stage, lease } = book;
  const isClaimed = sides.some(({ claimed }) => claimed !== undefined);
  const next = await tenantOf(book);
  if (next === undefined) return;
  const isSame = isSamePlace(lease, next);
  if (isSame && isClaimed) throw new Violation(r7, "they went to another tenant");
  sometimes("a claim held its bytes back", isClaimed);
  sometimes("the next tenant got a queue's bytes", isSame);
  next.write(0, new Uint8Array(next.bytes).fill(0xa5));
  for (const side of sides) {
    refuses(side, stage.node.random);
    side.queue.close();
    side.queue[Symbol.dispose]();
  }
  // What a turn's end publishes.
  await stage.node.sleep(2);
  const other = next.read(0, next.bytes).findIndex((byte) => byte !== 0xa5);
  if (other >= 0) throw new Violation(r7, `byte ${other} was written`);
  stage.node.record("queue.ended");
  next.release();
}

/** R7: what a turn has accepted and not published is not written once the lease has ended in that turn. */
export async function checkReleased({ fabric, node }: Stage): Promise<void> {
  const { random } = node;
  const options = random.pick([{}, { many: true }, { records: true }]);
  const bytes = FabricQueue.bytesFor(24, 16, options);
  const lease = fabric.mem().minBytes(bytes).leaseSecs(1_000_000).acquire();
  const queue = new FabricQueue(lease, 24, 16, undefined, options);
  for (let values = random.between(1, 4); values > 0; values--) queue.push(new Uint8Array(16));
  if (random.chance(1, 2)) queue.pop();
  lease.release();
  fabric.tick(fabric.nowMs());
  const next = fabric.mem().minBytes(bytes).leaseSecs(1_000_000).acquire();
  sometimes("a lease ended in the turn of a push", isSamePlace(lease, next));
  next.write(0, new Uint8Array(next.bytes).fill(0xa5));
  await node.sleep(1);
  const other = next.read(0, next.bytes).findIndex((byte) => byte !== 0xa5);
  if (other >= 0) throw new Violation(r7, `byte ${other} was written`);
  next.release();
}

async function tenantOf({ stage, lease }: QueueBook): Promise<MemLease | undefined> {
  for (let tries = 0; tries < triesMax; tries++) {
    await stage.node.sleep(50);
    try {
      return stage.fabric.mem().minBytes(lease.bytes).leaseSecs(1_000_000).acquire();
    } catch (thrown) {
      if (!isFabricError(thrown) || thrown.code !== "CAPACITY_EXCEEDED") throw thrown;
    }
  }
  return undefined;
}

function refuses(side: Side, random: RandomStream): void {
  const { queue, claimed } = side;
  const all: Readonly<Record<string, () => unknown>> = {
    ...(claimed === undefined ? {} : { commit: () => queue.commit(4) }),
    push: () => queue.push(new Uint8Array(4)),
    pushBatch: () => queue.pushBatch([new Uint8Array(4)]),
    pop: () => queue.pop(),
    popBatch: () => queue.popBatch(2),
    popInto: () => queue.popInto(new Uint8Array(256)),
    claim: () => queue.claim(),
    peek: () => queue.peek(),
    flush: () => queue.flush(),
    size: () => queue.size,
    isClosed: () => queue.isClosed,
    stats: () => queue.stats(),
  };
  for (const [name, run] of Object.entries(all)) {
    // A few of them each time: an error takes its stack along.
    if (name !== "commit" && random.chance(2, 3)) continue;
    try {
      run();
      throw new Violation(r7, `${name} passed on a lease that has ended`);
    } catch (thrown) {
      if (!isFabricError(thrown)) throw thrown;
      if (thrown.code !== "LEASE_EXPIRED" && thrown.code !== "REVOKED") throw thrown;
    }
  }
  side.claimed = undefined;
}
