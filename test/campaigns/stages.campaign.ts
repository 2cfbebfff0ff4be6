/**
 * Stages with state, and rows of stages, on block files of nodes that die, stall and lose power, and whose disks fail: what a
 * checkpoint says is the exact effect of its inputs, whoever was replaced writes nothing, and a run ends in its result.
 */
import { BLOCK_BYTES, isFabricError, jsonCodec, type RecordBlocks } from "@selvage/fabric";
import { FencedRecordReader } from "@selvage/fence";
import {
  BlockCheckpointStore,
  CheckpointedStage,
  StagedPipeline,
  type StageInput,
  type StageOutput,
  type StageStep,
  type StagedPorts,
} from "@selvage/pipeline";
import {
  check,
  sometimes,
  SURVIVABLE,
  Violation,
  type Campaign,
  type RandomStream,
  type SimNode,
  type World,
} from "@selvage/sim";
import { a1, a5, leaseChecks } from "./named.ts";
import { onDisk } from "./on-disk.ts";
import { Rpc } from "./rpc.ts";

interface Sizes {
  readonly counters: readonly string[];
  readonly runners: readonly string[];
  readonly every: number;
  readonly paceMs: number;
  /** How often a second instance takes a stage over beside the first; undefined: never. */
  readonly replaceMs: number | undefined;
  /** Whether a checkpoint is now and then damaged while nobody has it. */
  readonly isDamaging: boolean;
}

const SINK = "sink";

const names = (prefix: string, count: number): readonly string[] =>
  Array.from({ length: count }, (_, index) => `${prefix}${index + 1}`);

function sizesOf(random: RandomStream): Sizes {
  return {
    counters: names("counter", random.between(1, 3)),
    runners: names("runner", random.between(1, 3)),
    every: random.spread(1, 20),
    paceMs: random.spread(20, 600),
    replaceMs: random.chance(1, 2) ? random.between(2_000, 9_000) : undefined,
    isDamaging: random.chance(1, 2),
  };
}

interface Sum {
  readonly sum: number;
  readonly seen: number;
}

const itemAt = (number: number): number => ((number * 7_919) % 101) + 1;
/** Results per item: none, one or two. */
const resultsOf = (item: number): number => item % 3;

/** What the first `count` items come to: what a checkpoint must say. */
function effectOf(count: number): { readonly state: Sum; readonly output: number } {
  let [sum, output] = [0, 0];
  for (let number = 0; number < count; number++) {
    sum += itemAt(number);
    output += resultsOf(itemAt(number));
  }
  return { state: { sum, seen: count }, output };
}

const p1 =
  "P1: offsets and state move together: a checkpoint is the effect of its inputs, each once";
const p1sink = "P1: each result arrives under its own number, the same however often";
const p1run = "P1: a run of stages ends in its result, resumed or not";
const p2 = "P2: an instance that was replaced overwrites no newer checkpoint";
const p3 = "P3: an earlier checkpoint is taken only where the newest is damaged, and that is told";
const live = "P1: once all is well, stages go on";

/** The results of all items, as far as anybody has asked. */
class Results {
  readonly #values: number[] = [];
  #items = 0;
  #sum = 0;

  /** Result number `at`. */
  at(at: number): number | undefined {
    while (this.#values.length <= at) {
      const item = itemAt(this.#items++);
      for (let index = 0; index < resultsOf(item); index++)
        this.#values.push(this.#sum * 10 + index);
      this.#sum += item;
    }
    return this.#values[at];
  }
}

/** What outlives every process. */
class Outside {
  // By stage: results by number; the last checkpoint that was acknowledged; whether an end was seen of it.
  readonly #results = new Map<string, number[]>();
  readonly #kept = new Map<string, number>();
  readonly #expected = new Results();

  resultsOf(stage: string): number[] {
    const results = this.#results.get(stage) ?? [];
    this.#results.set(stage, results);
    return results;
  }

  /** A sink that stores each result with its number. Returns how many it has. */
  store(stage: string, number: number, values: readonly number[]): number {
    const results = this.resultsOf(stage);
    for (const [index, value] of values.entries()) {
      const at = number + index;
      if (at > results.length) throw new Violation(p1sink, `${at} after ${results.length} results`);
      const expected = this.#expected.at(at);
      if (value !== expected)
        throw new Violation(p1sink, `result ${at} is ${expected}, and came as ${value}`);
      if (at === results.length) results.push(value);
      else sometimes("a result came again, and was known");
    }
    return results.length;
  }

  /** What an instance found when it took the stage up. */
  restored(stage: string, { checkpoint, recovered }: CheckpointedStage<Sum, RecordBlocks>): void {
    const { input, output, state } = checkpoint;
    const expected = effectOf(input);
    if (state.sum !== expected.state.sum || state.seen !== input || output !== expected.output)
      throw new Violation(
        p1,
        `${JSON.stringify(checkpoint)}, where ${input} items come to ${JSON.stringify(expected)}`,
      );
    const kept = this.#kept.get(stage) ?? 0;
    sometimes("a stage was resumed", input > 0);
    sometimes("a damaged checkpoint was told", recovered !== undefined);
    if (input < kept && recovered === undefined)
      throw new Violation(
        p3,
        `${kept} inputs were acknowledged, ${input} were found, and nothing was told`,
      );
    this.#kept.set(stage, input);
  }

  kept(stage: string, input: number): void {
    const before = this.#kept.get(stage) ?? 0;
    if (input < before) throw new Violation(p2, `${input} inputs were kept after ${before}`);
    this.#kept.set(stage, input);
  }
}

/** Items by their number: whoever asks again gets the same. */
function inputFrom(
  outside: Outside,
  node: SimNode,
  stage: CheckpointedStage<Sum, RecordBlocks>,
  paceMs: number,
): StageInput<number> {
  let next = stage.checkpoint.input;
  // What is not acknowledged comes again: sometimes more of it than the stage has to do anew.
  if (next > 0 && node.random.chance(1, 3)) next -= 1;
  return {
    get sequence() {
      return next - 1;
    },
    popAsync: async ({ signal }) => {
      await node.sleep(node.random.between(1, paceMs));
      return signal?.aborted === true ? undefined : itemAt(next++);
    },
    acknowledge: () => {
      outside.kept(node.name, stage.checkpoint.input);
      node.record("stage.kept", { stage: node.name, input: stage.checkpoint.input });
    },
  };
}

/** Results by message, until the sink says that it has them. */
function outputTo(rpc: Rpc, node: SimNode, has: number): StageOutput<number> {
  const pending: number[] = [];
  let stored = has;
  return {
    get nextSequence() {
      return stored + pending.length;
    },
    send: (value) => {
      pending.push(value);
      return Promise.resolve(true);
    },
    flush: async () => {
      const values = pending.splice(0);
      stored += values.length;
      const body = { stage: node.name, number: stored - values.length, values };
      while (!(await answered(rpc.call(SINK, "store", body, 300)))) await node.sleep(200);
    },
  };
}

async function answered(call: Promise<unknown>): Promise<boolean> {
  try {
    await call;
    return true;
  } catch (error) {
    if (isFabricError(error) && error.code === "TIMED_OUT") return false;
    throw error;
  }
}

const step = ({ sum, seen }: Sum, item: number): StageStep<Sum, number> => ({
  state: { sum: sum + item, seen: seen + 1 },
  outputs: Array.from({ length: resultsOf(item) }, (_, at) => sum * 10 + at),
});

async function counter(world: World, node: SimNode, outside: Outside, sizes: Sizes): Promise<void> {
  const rpc = new Rpc(node);
  await onDisk(world, node, async (blocks) => {
    const working: Promise<unknown>[] = [];
    const begin = async (): Promise<void> => {
      const stage = await CheckpointedStage.restore(blocks, () => ({ sum: 0, seen: 0 }));
      outside.restored(node.name, stage);
      const input = inputFrom(outside, node, stage, sizes.paceMs);
      const output = outputTo(rpc, node, await resultsAt(rpc, node));
      const run = stage.run({ input, output, step, every: sizes.every });
      working.push(run.catch((error: unknown) => told(node, error)));
    };
    if (sizes.isDamaging && node.random.chance(1, 4)) await damage(node, blocks);
    await begin();
    const { replaceMs } = sizes;
    if (replaceMs !== undefined)
      while (world.nowMs < calmMs) {
        await node.sleep(replaceMs);
        await begin();
      }
    // Until whoever is left cannot go on.
    await Promise.all(working);
  });
}

// One of the record's two slots, where both are whole: nobody writes at the moment.
async function damage(node: SimNode, blocks: RecordBlocks): Promise<void> {
  const { generation, recovered } = await new FencedRecordReader(blocks, "DURA").read();
  if (generation < 2 || recovered !== undefined) return;
  const at = node.random.below(2) * Math.floor(blocks.numBlocks / 2);
  await blocks.write(at, new Uint8Array(BLOCK_BYTES).fill(0xd5));
  await blocks.flush();
}

/** When nothing is replaced any more. */
const calmMs = 31_000;

function told(node: SimNode, error: unknown): void {
  if (!isFabricError(error)) throw error;
  sometimes("a replaced instance was refused", error.code === "STALE_EPOCH");
  node.record("stage.ended", { code: error.code });
}

// What the sink has of this stage's results.
async function resultsAt(rpc: Rpc, node: SimNode): Promise<number> {
  for (;;)
    try {
      return await rpc.call<number>(SINK, "count", { stage: node.name }, 300);
    } catch (error) {
      if (!isFabricError(error) || error.code !== "TIMED_OUT") throw error;
      await node.sleep(200);
    }
}

/** Runs three stages over and over, each run under an id that its next incarnation resumes. */
async function runner(world: World, node: SimNode, outside: Outside): Promise<void> {
  const ports: StagedPorts = {
    clock: node.clock,
    timer: node.timer,
    random: node.random,
    abortSource: () => new AbortController(),
  };
  const work = async <T>(make: () => T): Promise<T> => {
    await node.sleep(node.random.between(10, 400));
    if (node.random.chance(1, 5)) throw new RangeError("a stage fails now and then");
    return make();
  };
  await onDisk(world, node, async (blocks) => {
    const store = new BlockCheckpointStore(blocks);
    let extracted = false;
    const options = { checkpointStore: store, leaseMs: 500, codec: jsonCodec<unknown>() };
    const stage = { baseMs: 20, maxMs: 200, retries: 6 };
    const pipeline = new StagedPipeline<number>(options, ports)
      .stage("extract", stage, (seed) => {
        extracted = true;
        return work(() => [seed, seed + 1, seed + 2]);
      })
      .stage("transform", stage, (rows) => work(() => rows.map((row) => row * 2)))
      .stage("load", stage, (rows) => work(() => rows.reduce((sum, row) => sum + row, 0)));
    for (let id = outside.resultsOf(node.name).length; ; id = outside.resultsOf(node.name).length) {
      extracted = false;
      try {
        const result = await pipeline.run(id, { pipelineId: `run ${id}` });
        sometimes("a run was resumed", !extracted);
        if (result !== id * 6 + 6) throw new Violation(p1run, `run ${id} came to ${result}`);
        outside.resultsOf(node.name).push(result);
        node.record("stage.kept", { stage: node.name, input: id });
      } catch (error) {
        if (error instanceof RangeError) continue;
        if (!isFabricError(error)) throw error;

        if (error.code === "STORE_UNAVAILABLE") throw error;
        if (error.code === "CORRUPT_RECORD")
          throw new Violation(p3, `${error.message}, on a sound disk`);
      }
    }
  });
}

const counted = [
  "a stage was resumed",
  "a result came again, and was known",
  "a replaced instance was refused",
  "a damaged checkpoint was told",
  "a run was resumed",
];

/** See above. */
export const campaign: Campaign = {
  name: "stages",
  swarm(random) {
    const { counters, runners } = sizesOf(random);
    return {
      nodes: [...counters, ...runners, SINK],
      kinds: [...SURVIVABLE],
      moments: ["disk.synced", "stage.kept", "node.started", "stage.ended"],
      longestMs: 3_000,
    };
  },
  scenario(random) {
    const sizes = sizesOf(random);
    return {
      world(world) {
        const outside = new Outside();
        world.node(SINK, (node) =>
          Rpc.serve(node, {
            count: ({ stage }: { stage: string }) => outside.resultsOf(stage).length,
            store: (body: { stage: string; number: number; values: readonly number[] }) =>
              outside.store(body.stage, body.number, body.values),
          }),
        );
        for (const name of sizes.counters)
          world.node(name, (node) => counter(world, node, outside, sizes));
        for (const name of sizes.runners) world.node(name, (node) => runner(world, node, outside));
      },
      invariants: leaseChecks(),
      finally: [...sizes.counters, ...sizes.runners].map((stage) =>
        check.eventually("stage.kept", 25_000, {
          where: ({ details }) => details["stage"] === stage,
          name: live,
        }),
      ),
      sometimes: counted,
    };
  },
  properties: [a1, a5, p1, p1sink, p1run, p2, p3, live],
  sometimes: counted,
};
