/**
 * Question: what do sequence numbers, acknowledgements and the replay window cost on a healthy edge, and how long does a
 * relocation stop it?
 *
 * Workload: as the queue suite's, over a `RelocatableQueueEdge`; and a stream at full load whose edge is moved again and again.
 * Baseline: the bare `FabricQueue`, which loses what is in it with its lease.
 * Not measured: what a lease's own expiry adds until somebody notices: a tick of the edge at most.
 */
import { Fabric, FabricQueue, HandoffReader, HandoffWriter, RelocatableQueueEdge } from "selvage";
import type { Effort, Result } from "./harness.ts";
import { capacityFor, measure, Stage, type Plan } from "./queue.bench.ts";
import { workloadsFor } from "./queue-subjects.ts";
import { median, quantile } from "./statistics.ts";
import { atLeast, atMost } from "./suite.ts";

/** How much of the bare queue's rate an edge keeps, at least. */
const floors = { "raw 64": 1 / 1.4, "raw 4096": 1 / 1.1, "msgpack 256": 1 / 1.1 } as const;
const RELOCATIONS = 50;

/** What an edge costs while nothing happens to it. */
export async function healthyEdge({ smoke, rounds = 11, progress }: Effort): Promise<Result[]> {
  const results: Result[] = [];
  for (const [what, floor] of Object.entries(floors)) {
    const [codec, size] = what.split(" ") as [string, string];
    const workloads = workloadsFor(`edge, ${codec}`);
    const stages = workloads.map(({ name }) => new Stage(name));
    try {
      for (const threads of [1, 2] as const) {
        const plan: Plan = {
          size: Number(size),
          threads,
          capacity: capacityFor(Number(size)),
          rounds: smoke ? 1 : rounds,
          warmups: smoke ? 0 : 3,
          turnMs: smoke ? 0 : 150,
          roundTrips: smoke ? 8 : 200,
          workloads,
          progress,
        };
        const { samples } = await measure(plan, stages);
        const [bare, ours] = workloads.map(({ name }) => name) as [string, string];
        const ratio = samples.median(bare, "op") / samples.median(ours, "op");
        const row = samples.result({
          suite: "pipeline",
          name: `healthy edge, ${codec}, ${size} B, ${threads} ${threads === 1 ? "thread" : "threads"}`,
          subject: ours,
          step: "op",
          peers: { "bare FabricQueue": [bare, "op"] },
          targets: threads === 2 ? [atLeast("bare FabricQueue", ratio, floor)] : [],
        });
        results.push({ ...row, size: Number(size), threads });
      }
    } finally {
      for (const stage of stages) await stage.end();
    }
  }
  return results;
}

/** How long a relocation stops a stream that runs at full load: both ends on this thread. */
export async function relocationStall({ smoke, progress }: Effort): Promise<Result> {
  const size = 256;
  const count = smoke ? 2 : RELOCATIONS;
  await using fabric = Fabric.open({ memoryBytes: 2 ** 22, blocks: 16 });
  const blocks = await fabric.block().minBlocks(HandoffWriter.BLOCKS).leaseSecs(600).acquire();
  const lease = fabric.mem().minBytes(FabricQueue.bytesFor(1_024, size)).leaseSecs(600).acquire();
  const queue = new FabricQueue(lease, 1_024, size);
  const locator = RelocatableQueueEdge.locatorOf(queue);
  const writer = new HandoffWriter(blocks, "bench");
  await writer.publish(locator);
  const stallsMs: number[] = [];
  using producer = new RelocatableQueueEdge(queue, locator, writer);
  using consumer = await RelocatableQueueEdge.attach(fabric, new HandoffReader(blocks));
  const message = new Uint8Array(size);
  const number = new Uint32Array(message.buffer, 0, 1);
  const into = new Uint8Array(size);
  const seen = new Uint32Array(into.buffer, 0, 1);
  let sent = 0;
  let received = 0;
  const turn = async (): Promise<boolean> => {
    const before = received;
    while (producer.push(message)) number[0] = ++sent;
    producer.flush();
    // Half of what is there stays in the ring: a relocation has something to replay.
    for (let popped = 0; popped < 512 && consumer.popInto(into) >= 0; popped++)
      if (seen[0] !== received++) throw new Error(`${seen[0]} came instead of ${received - 1}`);
    await new Promise(setImmediate);
    return received > before;
  };
  for (let moved = 0; moved < count; moved++) {
    for (let turns = 0; turns < 50; turns++) await turn();
    if (moved % 10 === 0) progress(`relocation ${moved + 1} of ${count}`);
    const begunAt = performance.now();
    const relocated = producer.relocate();
    // The stall is over when an item has come out of the new ring.
    const { rebinds } = consumer.stats();
    while (consumer.stats().rebinds === rebinds || !(await turn())) await new Promise(setImmediate);
    await relocated;
    stallsMs.push(performance.now() - begunAt);
  }
  const value = median(stallsMs) * 1e6;
  return {
    suite: "pipeline",
    name: "stall of a relocation at full load, 256 B",
    subject: "RelocatableQueueEdge",
    unit: "ns",
    value,
    nsPerOp: value,
    p10: quantile(stallsMs, 0.1) * 1e6,
    p90: quantile(stallsMs, 0.9) * 1e6,
    rounds: count,
    opsPerRound: 1,
    checksum: 0,
    ratios: {},
    bounds: {},
    targets: [atMost("median stall in ms", median(stallsMs), 50)],
  };
}
