/**
 * `node spill-process.ts <tasks>`: runs a plan of so many tasks whose outputs are far more than the memory, and tells on one
 * line of JSON what came of it.
 */
import { tmpdir } from "node:os";
import { scratchBlockDevice } from "@selvage/node";
import { Executor, Fabric, TaskGraph, type TaskId } from "selvage";

/** What the program tells. */
export interface SpillReport {
  readonly status: string;
  readonly succeeded: number;
  /** Readers that found what was made for them. */
  readonly right: number;
  readonly bytes: {
    readonly leased: number;
    readonly returned: number;
    readonly peakLeased: number;
    readonly spilled: number;
    readonly unspilled: number;
  };
  /** Of memory and blocks, when the run was over. */
  readonly missingBytes: number;
  readonly elapsedMs: number;
  /** Before the run, and at its peak. */
  readonly residentBytes: number;
  readonly peakResidentBytes: number;
}

export const MEMORY_BYTES: number = 64 * 2 ** 20;
/** Chosen so that a few thousand tasks are more than the memory, too. */
const outputBytesOf = (tasks: number): number => (tasks < 20_000 ? 48 * 1_024 : 4 * 1_024);

async function main(tasks: number): Promise<void> {
  const pairs = tasks / 2;
  const length = outputBytesOf(tasks);
  const graph = new TaskGraph();
  let right = 0;
  const makers: TaskId[] = [];
  for (let at = 0; at < pairs; at++) {
    const name = `x${at}`;
    const ref = { name, format: "raw" } as const;
    const run = (): { [name: string]: Uint8Array } => ({ [name]: new Uint8Array(length).fill(at) });
    makers.push(graph.addTask({ name: `make ${at}`, outputs: [ref], run }));
  }
  for (const [at, maker] of makers.entries()) {
    const name = `x${at}`;
    const read = graph.addTask({
      name: `read ${at}`,
      inputs: [{ name, format: "raw" }],
      run: (context) => {
        const x = context.input(name);
        if (x.length === length && x[0] === at % 256 && x[length - 1] === at % 256) right++;
      },
    });
    graph.addDependency(maker, read);
  }
  const plan = graph.build();
  const blocks = Math.ceil((pairs * length) / 512) + 8_192;
  const fabric = Fabric.open(
    { memoryBytes: MEMORY_BYTES, blocks },
    { blockDevice: (count) => scratchBlockDevice(tmpdir(), count) },
  );
  const residentBytes = process.memoryUsage.rss();
  const result = await Executor.run(plan, { fabric, spill: true, teardown: "eager" });
  const { memory, blocks: disk } = fabric.stats();
  const report: SpillReport = {
    status: result.status,
    succeeded: result.succeeded,
    right,
    bytes: result.bytes,
    missingBytes: memory.capacityBytes - memory.freeBytes + disk.capacityBytes - disk.freeBytes,
    elapsedMs: Math.round(result.elapsedMs),
    residentBytes,
    peakResidentBytes: process.resourceUsage().maxRSS * 1_024,
  };
  await fabric.close();
  console.log(JSON.stringify(report));
}

if (process.argv[1]?.endsWith("spill-process.ts") === true) await main(Number(process.argv[2]));
