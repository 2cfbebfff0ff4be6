/**
 * Edges on nodes that crash and stand still: their rings run out, are revoked, released and damaged, their ends die and are
 * replaced, two controllers move them at once, and the record of their rings is on slow, full or failing blocks.
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
import { bothRow, consumerRow, Deaths, producerRow } from "./edge-deaths.ts";
import { rivalsEpisode, rivalsProperty } from "./edge-rivals.ts";
import { edgeSinkProgram } from "./edge-sink.ts";
import { EdgeStage } from "./edge-stage.ts";
import { steadyEpisode, steadyRow } from "./edge-steady.ts";
import { a1, as } from "./named.ts";
import { Rpc } from "./rpc.ts";

const SINK = "sink";
const e1 = "E1: no sink applies an epoch older than one that it promised, whatever restarted";
const e2 = "E2: no effect before the sink has promised its epoch";
const e4 = "E4: offers and polls are those of one queue, wherever it moves";
const e6 = "E6: once all is well edges are drained";

function nodesOf(random: RandomStream): readonly string[] {
  return ["a", "b"].slice(0, random.between(1, 2));
}

async function program(node: SimNode, world: World, historyOf: () => History): Promise<void> {
  const rpc = new Rpc(node);
  const tickMs = node.random.spread(20, 200);
  const guard = node.random.chance(1, 4);
  const fabric = world.fabric(node, { memoryBytes: 1 << 16, blocks: 32, tickMs, guard });
  for (let episodes = 1; ; episodes++) {
    const stage = await EdgeStage.open(node, fabric);
    const draw = node.random.below(4);
    if (draw === 0)
      await steadyEpisode(stage, historyOf(), `${node.name}.${node.incarnation}.${episodes}`);
    else if (draw === 1) await rivalsEpisode(stage);
    else await new Deaths(stage, rpc, SINK).run();
    stage.close();
    node.record("edge.drained");
    await node.sleep(node.random.between(4_000, 15_000));
  }
}

/** A seed is soon done. */
export const share = 4;

/** See above. */
export const campaign: Campaign = {
  name: "edge",
  swarm: (random) => ({
    nodes: [...nodesOf(random), SINK],
    kinds: [
      "crash",
      "pause",
      "suspend",
      "isolate",
      "delay",
      "doubling",
      "loss",
      "clockStep",
      "diskSlow",
      "syncError",
    ],
    moments: ["lease.granted", "lease.expired", "edge.drained", "sink.promised", "sink.applied"],
  }),
  scenario(random) {
    const nodes = nodesOf(random);
    let history: History | undefined;
    const historyOf = (): History => {
      if (history === undefined)
        throw new Violation("no history", "a program began before the run");
      return history;
    };
    return {
      world(world) {
        for (const resource of nodes) world.record("sink.declared", { resource, sink: SINK });
        world.node(SINK, (node) => edgeSinkProgram(world, node));
        for (const name of nodes) world.node(name, (node) => program(node, world, historyOf));
      },
      drive(_world, given) {
        history = given;
        return Promise.resolve();
      },
      invariants: [
        as(a1, check.conservation()),
        as(e1, check.noStaleEffect()),
        as(e2, check.sealBeforeServe()),
      ],
      finally: [
        ...nodes.map((name) =>
          check.eventually("edge.drained", 28_000, {
            where: ({ node }) => node === name,
            name: e6,
          }),
        ),
        as(e4, check.linearizable(models.fifo())),
      ],
    };
  },
  properties: [a1, e1, e2, steadyRow, consumerRow, producerRow, bothRow, e4, rivalsProperty, e6],
  sometimes: [
    "a ring was released",
    "a ring was revoked",
    "a ring was damaged",
    "an edge moved: lease-expired",
    "an edge moved: disconnected",
    "an edge moved: corrupt",
    "an edge moved: consumer-died",
    "an edge moved: producer-died",
    "an edge moved: asked",
    "a move was tried again",
    "an edge gave up",
    "items were put into a new ring again",
    "items that came again were dropped",
    "items were told as lost",
    "a stream was read to its end",
    "the controller that came later won",
    "both ends were resumed from what the sink has",
    "a consumer that cannot know was told so",
    "a consumer was replaced",
    "a dead consumer's late effect was refused",
    "a producer took over a ring that stands",
    "a producer began in a ring of its own",
    "a sink dropped what it had",
  ],
};
