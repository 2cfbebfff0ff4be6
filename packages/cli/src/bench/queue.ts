/** How fast messages go from one thread to another here: by `FabricQueue`, and by `postMessage`. */
import { once } from "node:events";
import { MessageChannel, Worker } from "node:worker_threads";
import { assert } from "@selvage/fabric";
import { Fabric, FabricQueue } from "@selvage/node";
import { portSender, queueSender, type Side, type Subject } from "./queue-sides.ts";
import type { Answer, Order, ReceiverData } from "./bench-queue-worker.ts";

/** How much is measured. */
export interface BenchOptions {
  /** Of a message, in bytes. */
  readonly size: number;
  /** Messages on the way at most. */
  readonly capacity: number;
  readonly rounds: number;
  /** Messages a round; default: as many as take some `roundMs`. */
  readonly messages?: number;
}

/** What was measured. */
export interface BenchResult {
  readonly name: string;
  readonly subject: Subject;
  readonly size: number;
  readonly capacity: number;
  readonly rounds: number;
  /** The medians over the rounds, of ours. */
  readonly nsPerOp: number;
  readonly opsPerSecond: number;
  /** The same of the peers. */
  readonly peers: Readonly<
    Record<string, { readonly nsPerOp: number; readonly opsPerSecond: number }>
  >;
  /** The peer's cost by ours, median over the rounds: above 1, we are faster. */
  readonly ratios: Readonly<Record<string, number>>;
  /** The least and the greatest of the rounds' ratios. */
  readonly bounds: Readonly<Record<string, readonly [number, number]>>;
}

const peer = "postMessage" satisfies Subject;
const warmUpMessages = 20_000;
const roundMs = 300;
const messagesMax = 5_000_000;

/** Measures one size: rounds of both in turn, each round of the same pair of threads. */
export async function benchQueue(options: BenchOptions): Promise<BenchResult> {
  const { size, capacity, rounds } = options;
  await using pair = await openPair(size, capacity);
  const warm = options.messages ?? warmUpMessages;
  const messagesOf = async (subject: Subject): Promise<number> => {
    const nsPerOp = await pair.run(subject, warm);
    return options.messages ?? Math.min(messagesMax, Math.ceil((roundMs * 1e6) / nsPerOp));
  };
  const counts = { FabricQueue: await messagesOf("FabricQueue"), [peer]: await messagesOf(peer) };
  const [ours, theirs, ratios]: [number[], number[], number[]] = [[], [], []];
  for (let round = 0; round < rounds; round++) {
    // Each goes first every other round.
    const order: readonly Subject[] =
      round % 2 === 0 ? ["FabricQueue", peer] : [peer, "FabricQueue"];
    const took = { FabricQueue: 0, [peer]: 0 };
    for (const subject of order) took[subject] = await pair.run(subject, counts[subject]);
    ours.push(took.FabricQueue);
    theirs.push(took[peer]);
    ratios.push(took[peer] / took.FabricQueue);
  }
  return {
    name: `queue/${size}B`,
    subject: "FabricQueue",
    size,
    capacity,
    rounds,
    ...figuresOf(ours),
    peers: { [peer]: figuresOf(theirs) },
    ratios: { [peer]: medianOf(ratios) },
    bounds: { [peer]: [Math.min(...ratios), Math.max(...ratios)] },
  };
}

function figuresOf(times: readonly number[]): { nsPerOp: number; opsPerSecond: number } {
  const nsPerOp = medianOf(times);
  return { nsPerOp, opsPerSecond: 1e9 / nsPerOp };
}

function medianOf(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] as number;
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[middle - 1] as number)) / 2;
}

/** Two threads with a queue and a port between them. */
interface Pair extends AsyncDisposable {
  /** Sends so many messages; nanoseconds each, until the last one was received. */
  run(subject: Subject, messages: number): Promise<number>;
}

async function openPair(size: number, capacity: number): Promise<Pair> {
  const bytes = FabricQueue.bytesFor(capacity, size);
  const fabric = Fabric.open({ memoryBytes: bytes + 65_536, blocks: 0 });
  const lease = fabric.mem().minBytes(bytes).leaseSecs(86_400).acquire();
  const queue = new FabricQueue(lease, capacity, size);
  const { port1, port2 } = new MessageChannel();
  const words = new Int32Array(new SharedArrayBuffer(8));
  const workerData: ReceiverData = { ticket: queue.ticket(), port: port2, words };
  const worker = new Worker(new URL("./bench-queue-worker.ts", import.meta.url), {
    workerData,
    transferList: [port2],
  });
  const sides: Readonly<Record<Subject, Side>> = {
    FabricQueue: queueSender(queue),
    [peer]: portSender(port1, words, size, capacity),
  };
  await once(worker, "online");
  const answerOf = async (): Promise<Answer> => (await once(worker, "message"))[0] as Answer;
  return {
    async run(subject, messages) {
      worker.postMessage({ subject, messages } satisfies Order);
      await answerOf();
      const startNs = process.hrtime.bigint();
      sides[subject](messages);
      const done = await answerOf();
      assert(done.answer === "done", "the receiver has ended its round");
      const sum = (messages * (messages - 1)) / 2;
      assert(done.sum === sum, `every message of ${subject} arrived once`);
      return Number(done.endNs - startNs) / messages;
    },
    async [Symbol.asyncDispose]() {
      port1.close();
      await worker.terminate();
      await fabric.close({ deadlineMs: 0 });
    },
  };
}
