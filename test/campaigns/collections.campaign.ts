/**
 * Collections on nodes that crash, stand still and lose time: threads of each process share queues, maps and stores, leave
 * them, die in them, and find their leases ended; what each was told must be explained by one queue, or one map.
 */
import {
  check,
  models,
  Violation,
  type Campaign,
  type History,
  type RandomStream,
  type SimNode,
  type World,
} from "@selvage/sim";
import * as held from "./collections-held.ts";
import { as, leaseChecks } from "./named.ts";
import { ProcessThreads } from "./process-threads.ts";
import { damageEpisode, mapEpisode } from "./map-episode.ts";
import { checkReleased } from "./queue-ended.ts";
import { QueueEpisode } from "./queue-episode.ts";
import { durableEpisode, fenceEpisode, handoffEpisode } from "./record-episodes.ts";
import { storeEpisode } from "./store-episode.ts";

interface Sizes {
  readonly nodes: readonly string[];
  readonly memoryBytes: number;
  readonly tickMs: number;
  readonly pauseMs: number;
  readonly guard: boolean;
}

function sizesOf(random: RandomStream): Sizes {
  return {
    nodes: ["a", "b", "c", "d", "e", "f", "g"].slice(0, random.between(3, 7)),
    memoryBytes: 64 * random.spread(256, 1_024),
    tickMs: random.spread(50, 400),
    pauseMs: random.spread(4_000, 12_000),
    guard: random.chance(1, 2),
  };
}

const others = [durableEpisode, handoffEpisode, fenceEpisode, damageEpisode, checkReleased];

async function program(
  node: SimNode,
  world: World,
  sizes: Sizes,
  historyOf: () => History,
): Promise<void> {
  const threads = new ProcessThreads(node);
  const { memoryBytes, tickMs, guard } = sizes;
  const fabric = world.fabric(
    node,
    { memoryBytes, tickMs, guard, blocks: 512, shared: true },
    { threads: threads.owner },
  );
  for (let episodes = 1; ; episodes++) {
    const key = `${node.name}.${node.incarnation}.${episodes}`;
    const stage = { node, threads, fabric, history: historyOf(), key };
    const draw = node.random.below(12);
    if (draw < 5) await new QueueEpisode(stage).run();
    else if (draw < 7) await mapEpisode(stage);
    else if (draw < 9) await storeEpisode(stage);
    else await node.random.pick(others)(stage);
    node.record("episode.ended");
    await node.sleep(node.random.between(1_000, sizes.pauseMs));
  }
}

function isFifo({ input }: { readonly input: unknown }): boolean {
  return "queue" in (input as object);
}

/** A seed is soon done. */
export const share = 4;

/** See above. */
export const campaign: Campaign = {
  name: "collections",
  swarm: (random) => ({
    nodes: sizesOf(random).nodes,
    kinds: ["crash", "pause", "suspend", "clockStep", "clockDrift", "clockFreeze"],
    moments: ["lease.granted", "lease.expired", "queue.drained", "queue.ended", "store.opened"],
  }),
  scenario(random) {
    const sizes = sizesOf(random);
    let history: History | undefined;
    const historyOf = (): History => {
      if (history === undefined)
        throw new Violation("no history", "a program began before the run");
      return history;
    };
    return {
      world(world) {
        for (const name of sizes.nodes)
          world.node(name, (node) => program(node, world, sizes, historyOf));
      },
      drive(_world, given) {
        history = given;
        return Promise.resolve();
      },
      invariants: leaseChecks(),
      finally: [
        ...sizes.nodes.map((name) =>
          check.eventually("episode.ended", 28_000, {
            where: ({ node }) => node === name,
            name: held.live,
          }),
        ),
        as(held.r1, check.linearizable(models.fifo(), { only: isFifo })),
        as(held.k3, check.linearizable(models.map(), { only: (operation) => !isFifo(operation) })),
      ],
    };
  },
  properties: Object.values(held),
  sometimes: [
    "a queue for many was made",
    "a queue was full",
    "a queue was empty",
    "a batch was cut short",
    "a push waited in vain",
    "a sleeper was woken",
    "a role was refused while another had it",
    "a side was followed by another",
    "a thread died with a claim",
    "a thread died with a value",
    "a value was counted as lost",
    "a dead claim was skipped",
    "a late commit failed",
    "a claim was given up in the end",
    "a claim held its bytes back",
    "a lease ended in the turn of a push",
    "the next tenant got a queue's bytes",
    "a closed queue was read to its end",
    "a map was full",
    "a map's lease ended",
    "damage in memory was noticed",
    "a key expired",
    "a deadline that moved was kept",
    "a store compacted its log in memory",
    "a store evicted a value",
    "a store lost its memory",
    "a store built its memory anew",
    "a store was full",
    "a store was replaced",
    "a value was promoted",
    "a value was found in memory",
    "a value was replaced",
    "a writer was replaced",
    "a watch was ended",
    "a holder that was paused was turned away",
  ],
};
