/** A thread at one end of an edge: pushes numbers or pops them as fast as it can, until it is told or ended. */
import { parentPort, type MessagePort } from "node:worker_threads";
import { toWire } from "@selvage/fabric";
import type { QueueLocator } from "@selvage/fence";
import { edgePort, FabricQueue, type EdgePort } from "@selvage/node";
import { RelocatableQueueEdge, type EdgeOptions } from "@selvage/pipeline";

/** Longest value, in bytes. */
export const EDGE_STRIDE = 64;

/** Words that both sides see. */
export const EDGE_SEEN = 0;
export const EDGE_STOP = 1;
/** Numbers that the sink has, with their effects: one more than the last. */
export const EDGE_STORED = 2;
export const EDGE_WRONG = 3;
export const EDGE_LOST = 4;
export const EDGE_WORDS = 5;

/** What a thread is to do. */
export interface EdgeTask {
  readonly side: "produce" | "consume";
  readonly port: MessagePort;
  readonly words: Int32Array<SharedArrayBuffer>;
  /** Where the ring is that a producer takes over; a consumer finds it. */
  readonly locator?: QueueLocator;
  readonly from: number;
  /** A producer ends its stream there. */
  readonly to: number;
}

/** A value that says its number, in bytes that follow from it. */
export function edgeItem(number: number, into: Uint8Array): Uint8Array {
  const bytes = into.subarray(0, 8 + (number % (EDGE_STRIDE - 7)));
  bytes.fill(number);
  new DataView(bytes.buffer, bytes.byteOffset).setInt32(0, number);
  return bytes;
}

/** The number of a value; -1 where it is none. */
export function edgeNumber(bytes: Uint8Array): number {
  if (bytes.length < 8) return -1;
  const number = new DataView(bytes.buffer, bytes.byteOffset).getInt32(0);
  if (bytes.length !== 8 + (number % (EDGE_STRIDE - 7))) return -1;
  for (let at = 4; at < bytes.length; at++) if (bytes[at] !== (number & 0xff)) return -1;
  return number;
}

async function produce(task: EdgeTask, port: EdgePort, options: EdgeOptions): Promise<void> {
  const { locator, words, from, to } = task;
  if (locator === undefined || port.writer === undefined) throw new Error("no producer's end");
  const queue = FabricQueue.attach(await port.leaseAt(locator));
  const edge = new RelocatableQueueEdge(queue, locator, port.writer, { ...options, from });
  const scratch = new Uint8Array(EDGE_STRIDE);
  for (let number = from; number < to && Atomics.load(words, EDGE_STOP) === 0; number++) {
    const item = edgeItem(number, scratch);
    if (!edge.push(item)) await edge.send(item);
    Atomics.store(words, EDGE_SEEN, number + 1);
    if (number % 1_024 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  await edge.close();
}

async function consume(task: EdgeTask, port: EdgePort, options: EdgeOptions): Promise<void> {
  const { words, from } = task;
  if (port.reader === undefined) throw new Error("no consumer's end");
  const edge = await RelocatableQueueEdge.attach(port, port.reader, {
    ...options,
    from,
    timeoutMs: 20_000,
    onEvent: (event) => {
      if (event.type !== "lost") return;
      const count = event.items === "unknown" ? 1 : event.items.to - event.items.from;
      Atomics.add(words, EDGE_LOST, count);
    },
  });
  let popped = 0;
  for (;;) {
    const item = edge.pop() ?? (await edge.popAsync());
    if (item === undefined) break;
    // A sink that keeps the number with its effect: what it has, it drops.
    const number = edgeNumber(item);
    const next = Atomics.load(words, EDGE_STORED);
    if (number !== edge.sequence || number > next) Atomics.add(words, EDGE_WRONG, 1);
    if (number === next) Atomics.store(words, EDGE_STORED, next + 1);
    // Timers and messages want a turn as well.
    if (++popped % 256 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
}

async function run(task: EdgeTask): Promise<void> {
  try {
    using port = edgePort(task.port);
    const { acquire, leaseAt } = port;
    const options: EdgeOptions = { acquire, resolve: leaseAt };
    await (task.side === "produce" ? produce : consume)(task, port, options);
    parentPort?.postMessage({ error: null });
  } catch (error) {
    parentPort?.postMessage({ error: toWire(error) });
  }
}

parentPort?.on("message", (task: EdgeTask) => void run(task));
