/** `selvage bench queue`: how fast this installation is here. */
import { availableParallelism, cpus, loadavg, platform, release, totalmem } from "node:os";
import { InvalidArgumentError, type Command } from "commander";
import { benchQueue, type BenchResult } from "./queue.ts";
import { parseCount } from "../option-values.ts";
import type { CommonOptions, Reply, Streams } from "../reply.ts";
import { JSON_OPTION, type Session } from "../session.ts";
import { table, type Column } from "../table.ts";

interface BenchQueueOptions extends CommonOptions {
  readonly size: readonly number[];
  readonly capacity: number;
  readonly rounds: number;
  readonly messages?: number;
}

/** Adds the command. */
export function addBench(program: Command, session: Session): void {
  const bench = program
    .command("bench")
    .description("measure this installation on this machine, against what Node has");
  bench
    .command("queue")
    .description("messages between two threads: FabricQueue against postMessage, both bounded")
    .option("--size <bytes>", "sizes of messages, separated by commas", parseSizes, [64, 1_024])
    .option("--capacity <n>", "messages on the way at most", parseCapacity, 1_024)
    .option("--rounds <n>", "rounds of each", parseCount, 5)
    .option("--messages <n>", "messages a round; default: some 0.3 s of them", parseCount)
    .option(...JSON_OPTION)
    .action(session.telling((options: BenchQueueOptions) => run(options, session.streams)));
}

function parseSizes(text: string): readonly number[] {
  const sizes = text.split(",").map(Number);
  if (!sizes.every((size) => Number.isInteger(size) && size >= 4 && size <= 2 ** 20))
    throw new InvalidArgumentError("Expected whole bytes from 4 to 1048576, separated by commas.");
  return sizes;
}

function parseCapacity(text: string): number {
  const capacity = parseCount(text);
  if (capacity > 65_536) throw new InvalidArgumentError("Expected at most 65536 messages.");
  return capacity;
}

async function run(options: BenchQueueOptions, { stderr }: Streams): Promise<Reply> {
  const { size: sizes, capacity, rounds, messages } = options;
  const results: BenchResult[] = [];
  for (const size of sizes) {
    stderr.write(`bench: ${size} bytes\n`);
    const effort = { size, capacity, rounds, ...(messages !== undefined && { messages }) };
    results.push(await benchQueue(effort));
  }
  return { document: { machine: machine(), results }, text: textOf(results) };
}

/** What the figures were taken on. Others at work on it show in the load. */
function machine(): object {
  return {
    node: process.version,
    v8: process.versions.v8,
    cpu: cpus()[0]?.model ?? "unknown",
    cores: availableParallelism(),
    memoryBytes: totalmem(),
    platform: `${platform()} ${release()} ${process.arch}`,
    loadAverage: loadavg()[0],
    at: new Date().toISOString(),
  };
}

const columns: readonly Column[] = [
  "NAME",
  { figure: "FabricQueue/s" },
  { figure: "postMessage/s" },
  { figure: "RATIO" },
  "OVER THE ROUNDS",
];

function textOf(results: readonly BenchResult[]): string {
  const rows = results.map(({ name, opsPerSecond, peers, ratios, bounds }) => {
    const [low, high] = bounds["postMessage"] ?? [0, 0];
    return [
      name,
      perSecond(opsPerSecond),
      perSecond(peers["postMessage"]?.opsPerSecond ?? 0),
      `${(ratios["postMessage"] ?? 0).toFixed(2)}x`,
      `${low.toFixed(2)}x to ${high.toFixed(2)}x`,
    ];
  });
  return `${table(columns, rows, "No sizes.")}\nA ratio above 1: FabricQueue is faster. Both carry each message once, copied, one by one.`;
}

function perSecond(ops: number): string {
  return Math.round(ops).toLocaleString("en");
}
