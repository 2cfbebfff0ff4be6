/**
 * An edge between two processes, on a block file each, which the other reads. Either process dies, stands still, or loses
 * its power, its disk fails and its leases run out, and it goes on where it was.
 */
import { Fabric, isFabricError, jsonCodec, type BlockLease } from "@selvage/fabric";
import { BlockEdgeConsumer, BlockEdgeProducer } from "@selvage/pipeline";
import {
  check,
  sometimes,
  Violation,
  type Campaign,
  type RandomStream,
  type SimNode,
  type World,
} from "@selvage/sim";
import { peerDisk } from "./block-edge-files.ts";
import { durableRow, itemAt, onceRow, Outside } from "./block-edge-sink.ts";
import { a1, as } from "./named.ts";

const typedRow = "E3: an end that cannot go on says why, by a code that its documentation has";
const liveRow = "E6: once all is well streams end";
const [PRODUCER, CONSUMER, FILE] = ["producer", "consumer", "blocks"];
const codec = jsonCodec<number>();
const reopenMs = 50;

interface Sizes {
  readonly slots: number;
  readonly slotBlocks: number;
  readonly lingerMs: number;
  readonly pollMs: number;
  readonly leaseMs: number;
  readonly items: number;
  readonly paceMs: number;
  /** Whether the producer's lease is now and then taken away. */
  readonly isDisturbed: boolean;
}

function sizesOf(random: RandomStream): Sizes {
  return {
    slots: random.between(1, 6),
    slotBlocks: random.between(1, 3),
    lingerMs: random.spread(5, 200),
    pollMs: random.spread(20, 200),
    leaseMs: random.spread(500, 5_000),
    items: random.spread(20, 200),
    paceMs: random.spread(10, 400),
    isDisturbed: random.chance(1, 2),
  };
}

/** What an end may say that was opened with the right arguments, on a disk that keeps what it has synced. */
const outcomes: ReadonlySet<string> = new Set([
  "STORE_UNAVAILABLE",
  "LEASE_EXPIRED",
  "REVOKED",
  "DISCONNECTED",
  "CAPACITY_EXCEEDED",
  "TIMED_OUT",
]);

/** One process: opens its file and serves, again whenever that has come to an end. */
async function life(
  world: World,
  node: SimNode,
  serve: (fabric: Fabric) => Promise<void>,
): Promise<never> {
  const tickMs = node.random.spread(50, 500);
  for (;;) {
    try {
      await using fabric = opened(world, node, tickMs);
      await serve(fabric);
    } catch (error) {
      if (!isFabricError(error)) throw error;
      if (!outcomes.has(error.code))
        throw new Violation(typedRow, `${error.code}: ${error.message}`);
      sometimes(`an end said ${error.code}`);
      node.record("edge.failed", { code: error.code });
    }
    await node.sleep(reopenMs);
  }
}

function opened(world: World, node: SimNode, tickMs: number): Fabric {
  const shape = { memoryBytes: 4_096, blocks: 128, blockLeases: 16, maxLeases: 32 };
  return world.fabric(node, { ...shape, tickMs, blockFile: FILE });
}

function peerOf(world: World, node: SimNode, name: string): () => Fabric {
  return () => {
    const disk = peerDisk(node, world.nodes.get(name) as SimNode);
    const { clock, random, memory } = node;
    // Read, and nothing else: no event of it says anything of the leases that it finds.
    return Fabric.open(
      { memoryBytes: 4_096, maxLeases: 32, tickMs: 1_000, blockFile: FILE, blockAccess: "read" },
      { clock, random, memory, disk, timer: node.timer },
    );
  };
}

function leaseAt(fabric: Fabric, label: string): BlockLease | undefined {
  const found = fabric.leases().find((lease) => lease.label === label);
  return found as BlockLease | undefined;
}

async function produce(
  world: World,
  node: SimNode,
  outside: Outside,
  sizes: Sizes,
): Promise<never> {
  const { slots, slotBlocks, lingerMs, pollMs, leaseMs, items, paceMs, isDisturbed } = sizes;
  const { random } = node;
  const sends = async (
    fabric: Fabric,
    edge: BlockEdgeProducer<number>,
    stream: number,
  ): Promise<void> => {
    const data = (): BlockLease | undefined => leaseAt(fabric, `s${stream}.data`);
    while (edge.nextSequence < items) {
      await edge.send(itemAt(stream, edge.nextSequence), { timeoutMs: 20_000 });
      if (random.chance(1, 4)) await node.sleep(random.spread(1, paceMs));
      if (random.chance(1, 12)) {
        const { nextSequence } = edge;
        await edge.flush();
        const lease = data();
        if (lease !== undefined) outside.promised("producer", lease.leaseId, nextSequence);
      }
      if (!isDisturbed || !random.chance(1, 60)) continue;
      if (random.chance(1, 3)) sometimes("the items' lease was revoked", data()?.revoke() === true);
      else sometimes("the items' lease was released", data()?.release() === true);
    }
  };
  return life(world, node, async (fabric) => {
    const { stream } = outside;
    const found = leaseAt(fabric, `s${stream}.data`)?.leaseId;
    await using edge = await BlockEdgeProducer.open(fabric, `s${stream}`, {
      codec,
      peer: peerOf(world, node, CONSUMER),
      from: 0,
      ...{ slots, slotBlocks, lingerMs, pollMs, leaseMs },
    });
    sometimes("a producer went on where it was", edge.nextSequence > 0);
    outside.found("producer", found, edge.nextSequence);
    await sends(fabric, edge, stream);
    await edge.close({ timeoutMs: 60_000 });
    sometimes("items went into a new lease", edge.stats().relocations > 0);
    outside.closed(stream, items);
    node.record("edge.closed");
    await node.sleep(random.between(2_000, 8_000));
  });
}

async function consume(
  world: World,
  node: SimNode,
  outside: Outside,
  sizes: Sizes,
): Promise<never> {
  const { slotBlocks, pollMs, leaseMs } = sizes;
  const { random } = node;
  return life(world, node, async (fabric) => {
    const { stream } = outside;
    const found = leaseAt(fabric, `s${stream}.acks`)?.leaseId;
    const rows = outside.rows(stream);
    await using edge = await BlockEdgeConsumer.open(fabric, `s${stream}`, {
      codec,
      peer: peerOf(world, node, PRODUCER),
      ...(random.chance(1, 2) || found === undefined ? { from: rows.length } : {}),
      onLost: (lost) => {
        throw new Violation(onceRow, `told as lost: ${JSON.stringify(lost)}`);
      },
      ...{ slotBlocks, pollMs, leaseMs },
    });
    sometimes("a consumer went on where it was", edge.sequence >= 0);
    outside.found("consumer", found, edge.stats().acknowledged);
    const acknowledge = async (): Promise<void> => {
      const next = edge.sequence + 1;
      await edge.acknowledge();
      const lease = leaseAt(fabric, `s${stream}.acks`);
      if (lease !== undefined) outside.promised("consumer", lease.leaseId, next);
    };
    for (let before = edge.sequence; outside.stream === stream;) {
      const item = await edge.popAsync({ timeoutMs: 500 });
      if (item !== undefined) {
        if (edge.sequence !== ++before)
          throw new Violation(onceRow, `item ${edge.sequence} came in place of ${before}`);
        outside.store(stream, before, item);
      }
      if (item === undefined || edge.isOver || random.chance(1, 8)) await acknowledge();
      if (edge.isOver) await node.sleep(200);
    }
    leaseAt(fabric, `s${stream}.acks`)?.release();
  });
}

const counted = [
  "a producer went on where it was",
  "a consumer went on where it was",
  "an end found what it had made durable",
  "an item came again, and was known",
  "items went into a new lease",
  "the items' lease was revoked",
  "the items' lease was released",
  "an end said STORE_UNAVAILABLE",
  "an end said LEASE_EXPIRED",
  "an end said REVOKED",
  "a file was read while it was being written",
];

/** See above. */
export const campaign: Campaign = {
  name: "block-edge",
  swarm: () => ({
    nodes: [PRODUCER, CONSUMER],
    // Both are on one machine: what is wrong with its clock is so for both, and there is no network between them.
    kinds: ["crash", "pause", "diskSlow", "diskFull", "shortIo", "syncError", "ioError"],
    moments: ["disk.synced", "edge.closed", "edge.failed", "node.started", "lease.granted"],
  }),
  scenario(random) {
    const sizes = sizesOf(random);
    return {
      world(world) {
        const outside = new Outside();
        world.node(PRODUCER, (node) => produce(world, node, outside, sizes));
        world.node(CONSUMER, (node) => consume(world, node, outside, sizes));
      },
      invariants: [as(a1, check.conservation())],
      finally: [check.eventually("edge.closed", 28_000, { name: liveRow })],
      sometimes: counted,
    };
  },
  properties: [a1, onceRow, durableRow, typedRow, liveRow],
  sometimes: counted,
};
