/**
 * One side of the batch benchmark, in a process of its own, because one code that serves several sides is compiled for
 * none of them: `batch-worker.ts <sides> <shape> <tasks>`. A turn runs one graph of tasks that do nothing for each side named;
 * what a side needs is loaded with it.
 */
import {
  DagShape,
  Lanes,
  RunMachine,
  shapeOf,
  TaskGraph,
  type ExecutionPlan,
  type ExecutorOptions,
  type JobOptions,
  type JobTask,
} from "@selvage/batch";
import { Executor, Fabric, runTasks } from "@selvage/node";
import type { Effect } from "effect/Effect";
import type { Observable } from "rxjs";
import { serveTurns } from "./children.ts";
import type { Step } from "./harness.ts";
import { edgesOf, predecessorsOf } from "./batch-workload.ts";

/** Bodies at a time, for those who bound it. */
const lanes = 64;

let ran = 0;
/** What each task does: nothing, but it is counted. */
const asyncBody = async (): Promise<void> => {
  ran++;
};
const syncBody = (): void => {
  ran++;
};

type Before = readonly (readonly number[])[];
/** Makes what a turn needs, and gives the turn. */
type Turned = () => Promise<unknown>;
type Side = (before: Before) => Turned | Promise<Turned>;

function shapeOrThrow(before: Before): DagShape {
  const shape = shapeOf(before.length, edgesOf(before));
  if (shape instanceof DagShape) return shape;
  throw new Error("a cycle");
}

/** Runs the scheduling core alone. */
function core(shape: DagShape, body: () => unknown): Promise<void> {
  return new Promise((resolve, reject) => {
    const machine = new RunMachine(shape, { maxConcurrency: lanes });
    new Lanes(machine, {
      start: body,
      done: (task) => machine.succeed(task),
      failed: (_task, _epoch, error) => reject(error),
      step: (step) => {
        if (step === "settle") resolve();
      },
      broke: reject,
    }).pump();
  });
}

const nothing = {};

function job(before: Before, options: JobOptions, fail = false): () => Promise<unknown> {
  const boom = new Error("once");
  const tasks: JobTask[] = before.map((dependencies, at) => ({
    name: `t${at}`,
    dependencies: dependencies.map((one) => `t${one}`),
    fn: async (_, { attempt }) => {
      if (fail && attempt === 1) throw boom;
      ran++;
      return nothing;
    },
  }));
  return async () => {
    const { state } = await runTasks(tasks, { maxConcurrency: lanes, ...options });
    if (state !== "completed") throw new Error(state);
  };
}

function planOf(before: Before, withOutputs: boolean): ExecutionPlan {
  const graph = new TaskGraph();
  const bytes = new Uint8Array(8);
  const ids = before.map((_, at) =>
    graph.addTask({
      name: `t${at}`,
      ...(withOutputs && { outputs: [{ name: `o${at}`, format: "raw" }] }),
      run: async () => {
        ran++;
        return withOutputs ? { [`o${at}`]: bytes } : undefined;
      },
    }),
  );
  for (const [at, all] of before.entries())
    for (const one of all) graph.addDependency(ids[one] as never, ids[at] as never);
  return graph.build();
}

function executor(before: Before, options: ExecutorOptions, withOutputs = false) {
  const plan = planOf(before, withOutputs);
  const fabric = Fabric.open();
  return async () => {
    const { status } = await Executor.run(plan, {
      fabric,
      schedule: "ready",
      teardown: "eager",
      maxConcurrency: lanes,
      ...options,
    });
    if (status !== "succeeded") throw new Error(status);
  };
}

/** Tasks of a turn, where one graph of them is over before the compiler has looked at it. */
const tasksATurn: Readonly<Record<string, number>> = {
  core: 400_000,
  coreSync: 400_000,
  coreBuilt: 200_000,
  job: 50_000,
  jobEvents: 50_000,
  promises: 100_000,
  awaits: 100_000,
};

let told = 0;
const onEvent = (): void => {
  told++;
};

const sides: Readonly<Record<string, Side>> = {
  core(before) {
    const shape = shapeOrThrow(before);
    return () => core(shape, asyncBody);
  },
  coreSync(before) {
    const shape = shapeOrThrow(before);
    return () => core(shape, syncBody);
  },
  coreBuilt: (before) => () => core(shapeOrThrow(before), asyncBody),
  job: (before) => job(before, {}),
  jobEvents: (before) => job(before, { onEvent }),
  jobHistory: (before) => job(before, { maxRetries: 1 }, true),
  executor: (before) => executor(before, { renewals: false }),
  executorEvents: (before) => executor(before, { renewals: false, onEvent }),
  executorLeases: (before) => executor(before, {}, true),
  promises: (before) => async () => {
    const made: Promise<void>[] = [];
    for (const all of before)
      made.push(Promise.all(all.map((one) => made[one] as Promise<void>)).then(asyncBody));
    await Promise.all(made);
  },
  awaits: (before) => async () => {
    const made: Promise<void>[] = [];
    const node = async (all: readonly number[]): Promise<void> => {
      for (const one of all) await made[one];
      await asyncBody();
    };
    for (const all of before) made.push(node(all));
    await Promise.all(made);
  },
  async effect(before) {
    const { Effect } = await import("effect");
    return () =>
      Effect.runPromise(
        Effect.gen(function* () {
          const made: Effect<void>[] = [];
          for (const all of before)
            made.push(
              yield* Effect.cached(
                Effect.all(all.map((one) => made[one] as Effect<void>)).pipe(
                  Effect.flatMap(() => Effect.promise(asyncBody)),
                ),
              ),
            );
          // Each at once: a chain is not walked from its end.
          for (const one of made) yield* Effect.forkChild(one);
          yield* Effect.all(made);
        }),
      );
  },
  async rxjs(before) {
    const rx = await import("rxjs");
    return async () => {
      const made: Observable<void>[] = [];
      for (const all of before) {
        const inputs = all.map((one) => made[one] as Observable<void>);
        const first = inputs.length === 0 ? rx.of([]) : rx.forkJoin(inputs);
        const one = first.pipe(rx.mergeMap(asyncBody), rx.shareReplay(1));
        one.subscribe();
        made.push(one);
      }
      await rx.lastValueFrom(rx.forkJoin(made));
    };
  },
  async pGraph(before) {
    const { PGraph } = await import("p-graph");
    return async () => {
      const nodes = new Map(before.map((_, at) => [String(at), { run: asyncBody }]));
      const edges = before.flatMap((all, at) =>
        all.map((one): [string, string] => [String(one), String(at)]),
      );
      await new PGraph(nodes, edges).run({ concurrency: lanes });
    };
  },
  async asyncAuto(before) {
    const { default: async } = await import("async");
    return async () => {
      const graph = Object.fromEntries(
        before.map((all, at) => [
          `t${at}`,
          all.length === 0
            ? async () => asyncBody()
            : [...all.map((one) => `t${one}`), async () => asyncBody()],
        ]),
      );
      await async.auto(graph as never, lanes);
    };
  },
};

/** Bytes that are held once the garbage is gone. */
function heldBytes(): number {
  globalThis.gc?.();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}

/** What a graph of so many tasks holds while it runs, in bytes, for those of whom that can be told before it does. */
function memoryOf(name: string, before: Before): number {
  const was = heldBytes();
  let held: unknown;
  if (name === "core") {
    const shape = shapeOrThrow(before);
    held = [shape, new RunMachine(shape, { maxConcurrency: lanes })];
  } else {
    const made: Promise<void>[] = [];
    const never = new Promise<void>(() => {});
    for (const all of before)
      made.push(
        Promise.all(all.length === 0 ? [never] : all.map((one) => made[one] as Promise<void>)).then(
          asyncBody,
        ),
      );
    held = made;
  }
  const bytes = heldBytes() - was;
  if (held === undefined) throw new Error("nothing is held");
  // Of a small graph the garbage collector's own doings may be more.
  return Math.max(1, bytes);
}

async function turnOf(name: string, before: Before): Promise<() => Promise<Step>> {
  const ops = before.length;
  if (name === "coreMemory" || name === "promisesMemory")
    // Counted as if bytes were nanoseconds: what is told is bytes by tasks.
    return async () => ({ ns: memoryOf(name.replace("Memory", ""), before), ops, checksum: 0 });
  const side = sides[name];
  if (side === undefined) throw new Error(`no side ${name}`);
  const turn = await side(before);
  return async () => {
    ran = 0;
    told = 0;
    globalThis.gc?.();
    const runs = Math.max(1, Math.floor((tasksATurn[name] ?? 0) / ops));
    const begin = process.hrtime.bigint();
    for (let run = 0; run < runs; run++) await turn();
    const ns = Number(process.hrtime.bigint() - begin);
    const all = runs * ops;
    if (ran !== all) throw new Error(`${name}: ran ${ran} of ${all}`);
    if (name.endsWith("Events") && told < all) throw new Error(`${name}: told ${told}`);
    return { ns, ops: all, checksum: all };
  };
}

function main([names = "", shape = "", count = ""]: readonly string[]): void {
  const before = predecessorsOf(shape, Number(count));
  const turns = new Map<string, () => Promise<Step>>();
  serveTurns(async () => {
    const steps: Record<string, Step> = {};
    for (const name of names.split(",")) {
      const turn = turns.get(name) ?? (await turnOf(name, before));
      turns.set(name, turn);
      steps[name] = await turn();
    }
    return steps;
  });
}

main(process.argv.slice(2));
