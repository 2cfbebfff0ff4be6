/**
 * Two CPU-bound tasks on two threads, and one after the other, in one process: `batch-threads-worker.ts <rounds>`. A turn is
 * every way once, each time's order another: who stands beside whom in time has the same machine under it.
 */
import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { TaskGraph, type ExecutionPlan, type ExecutorPorts } from "@selvage/batch";
import { Executor, Fabric, openTaskThreads } from "@selvage/node";
import { bare, burn, burnUrl, type Burn } from "./batch-burn-worker.ts";
import { serveTurns } from "./children.ts";
import type { Step } from "./harness.ts";

const seeds = [1, 2] as const;

/** Two tasks on threads, and one that adds up what they came to, for `heard`. */
function planOf(rounds: number, heard: (sum: number) => void): ExecutionPlan {
  const graph = new TaskGraph();
  const outputs = seeds.map((seed) => ({ name: `burn${seed}`, format: "json" }) as const);
  const burns = seeds.map((seed, at) =>
    graph.addTask({
      name: `burn${seed}`,
      outputs: outputs.slice(at, at + 1),
      run: burnUrl({ rounds, seed }),
    }),
  );
  const added = graph.addTask({
    name: "add",
    inputs: outputs,
    run: (context) =>
      heard(outputs.reduce((sum, { name }) => sum + context.input<number>(name), 0)),
  });
  for (const one of burns) graph.addDependency(one, added);
  return graph.build();
}

/** Asks bare threads, and adds up their answers. */
async function askAll(threads: readonly Worker[], all: readonly Burn[]): Promise<number> {
  const answers = all.map(async (told, at) => {
    const thread = threads[at] as Worker;
    thread.postMessage(told);
    const [sum] = (await once(thread, "message")) as [number];
    return sum;
  });
  return (await Promise.all(answers)).reduce((sum, one) => sum + one, 0);
}

function main([text]: readonly string[]): void {
  const rounds = Number(text);
  const all: readonly Burn[] = seeds.map((seed) => ({ rounds, seed }));
  const expected = all.reduce((sum, told) => sum + burn(told), 0);
  let sum = 0;
  const plan = planOf(rounds, (heard) => {
    sum = heard;
  });
  const fabric = Fabric.open({ memoryBytes: 1_048_576, blocks: 0 });
  const pool = openTaskThreads({ threads: 2 });
  // A run closes what it opened; these threads are kept for the next one.
  const warm: Partial<ExecutorPorts> = { openRunner: () => ({ ...pool, close: async () => {} }) };
  const run = (maxConcurrency: number, ports: Partial<ExecutorPorts>) => async () => {
    sum = 0;
    const settled = Promise.withResolvers<number>();
    const running = Executor.run(
      plan,
      {
        fabric,
        teardown: "eager",
        schedule: "ready",
        maxConcurrency,
        onEvent: ({ type }) => type === "settled" && settled.resolve(performance.now()),
      },
      ports,
    );
    const { status } = await running;
    if (status !== "succeeded") throw new Error(`the run ended ${status}`);
    return settled.promise;
  };
  const threads = seeds.map(
    () => new Worker(new URL("./batch-burn-worker.ts", import.meta.url), { workerData: bare }),
  );
  const ways: readonly (readonly [step: string, run: () => Promise<number>])[] = [
    ["parallel", run(2, warm)],
    ["sequential", run(1, warm)],
    ["cold", run(2, {})],
    [
      "bareParallel",
      async () => {
        sum = await askAll(threads, all);
        return performance.now();
      },
    ],
    [
      "bareSequential",
      async () => {
        sum = 0;
        for (const told of all) sum += await askAll(threads.slice(0, 1), [told]);
        return performance.now();
      },
    ],
  ];
  let turns = 0;
  serveTurns(async () => {
    const steps: Record<string, Step> = {};
    turns++;
    for (let way = 0; way < ways.length; way++) {
      const [step, take] = ways[(way + turns) % ways.length] as (typeof ways)[number];
      const beginMs = performance.now();
      const endMs = await take();
      if (sum !== expected) throw new Error(`${step}: came to ${sum}, not ${expected}`);
      steps[step] = { ns: (endMs - beginMs) * 1e6, ops: 1, checksum: sum };
    }
    return steps;
  });
}

main(process.argv.slice(2));
