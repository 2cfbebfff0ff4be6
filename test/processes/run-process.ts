/**
 * `node run-process.ts <block file> <run id>`: runs a plan under an id until it is done or killed. One line of JSON for what
 * it found of an earlier life, one for each task that has committed, and one for its end. Every output says who made it, and
 * of what: so two who did one task can be told apart.
 */
import { randomBytes } from "node:crypto";
import { writeSync } from "node:fs";
import { Executor, Fabric, isFabricError, TaskGraph, type TaskId } from "selvage";

/** An output: whose it is, which time its task was done, and the ones that it was made of. */
export interface Made {
  readonly task: string;
  readonly nonce: string;
  readonly of: readonly string[];
  readonly filling: string;
}

/** A line of the program. */
export type RunTold =
  | { readonly ready: true }
  | { readonly restored: string }
  | { readonly damaged: string | undefined }
  | { readonly began: string }
  | { readonly committed: string; readonly nonce: string }
  | { readonly settled: string }
  | { readonly done: readonly Made[]; readonly status: string; readonly missingBytes: number };

/** Layers of tasks, each of which reads all of the layer before. */
export const LAYERS = 4;
export const WIDTH = 3;
const names = Array.from({ length: LAYERS }, (_layer, layer) =>
  Array.from({ length: WIDTH }, (_task, at) => `t${layer}.${at}`),
);
const ref = (name: string): { name: string; format: "json" } => ({ name, format: "json" });

const tell = (line: RunTold): void => void writeSync(1, `${JSON.stringify(line)}\n`);
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Opens the file, which the one that was killed may hold for a moment still. */
async function open(path: string): Promise<Fabric> {
  for (;;) {
    try {
      return Fabric.open({ memoryBytes: 1 << 20, blocks: 8_192, blockFile: path });
    } catch (error) {
      if (!isFabricError(error) || error.code !== "CONFLICT") throw error;
      await pause(5);
    }
  }
}

async function main(path: string, runId: string): Promise<void> {
  const nonces = new Map<string, string>();
  const graph = new TaskGraph();
  const ids = new Map<string, TaskId>();
  for (const [layer, tasks] of names.entries())
    for (const [at, task] of tasks.entries()) {
      const before = names[layer - 1] ?? [];
      const run = async (context: { input<T>(name: string): T }) => {
        tell({ began: task });
        const of = before.map((name) => context.input<Made>(name).nonce);
        await pause(3 + at * 4);
        const nonce = randomBytes(8).toString("hex");
        nonces.set(task, nonce);
        // Over several blocks, and of another length each time.
        return { [task]: { task, nonce, of, filling: nonce.repeat(20 + 10 * at) } };
      };
      const id = graph.addTask({ name: task, inputs: before.map(ref), outputs: [ref(task)], run });
      for (const name of before) graph.addDependency(ids.get(name) as TaskId, id);
      ids.set(task, id);
    }
  const last = graph.addTask({
    name: "all",
    inputs: names.flat().map(ref),
    outputs: [ref("report")],
    run: (context) => ({ report: names.flat().map((name) => context.input<Made>(name)) }),
  });
  for (const id of ids.values()) graph.addDependency(id, last);
  const fabric = await open(path);
  tell({ ready: true });
  const result = await Executor.run(graph.build(), {
    fabric,
    runId,
    teardown: "eager",
    keep: ["report"],
    checkpointTtlMs: 60_000,
    onEvent: (event) => {
      if (event.type === "resume")
        tell(event.state === "restored" ? { restored: event.name ?? "" } : { damaged: event.name });
      if (event.type === "settled") tell({ settled: event.status });
      if (event.type !== "task" || event.newState !== "succeeded") return;
      const nonce = nonces.get(event.name);
      if (nonce !== undefined) tell({ committed: event.name, nonce });
    },
  });
  const { capacityBytes, freeBytes } = fabric.stats().blocks;
  const done = result.keep("report").read<Made[]>();
  tell({ done, status: result.status, missingBytes: capacityBytes - freeBytes });
  await fabric.close();
}

if (process.argv[1]?.endsWith("run-process.ts") === true)
  await main(process.argv[2] ?? "", process.argv[3] ?? "");
