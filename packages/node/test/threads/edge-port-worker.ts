/** A thread with one end of an edge: pops and adds up, or makes rings and pushes. */
import { parentPort, type MessagePort } from "node:worker_threads";
import { RelocatableQueueEdge, type EdgeOptions } from "@selvage/pipeline";
import { FabricQueue } from "@selvage/node";
import { edgePort, type EdgePort } from "../../src/edge-port.ts";

export interface EdgeTask {
  readonly port: MessagePort;
  /** Items to be pushed; undefined: to be popped, until the stream is over. */
  readonly count?: number;
}

function optionsOf({ acquire, leaseAt, renewals }: EdgePort): EdgeOptions {
  return { acquire, resolve: leaseAt, ...(renewals === undefined ? {} : { renewals }) };
}

async function produce(port: EdgePort, count: number): Promise<number> {
  const lease = await port.acquire(FabricQueue.bytesFor(8, 8));
  const queue = new FabricQueue(lease, 8, 8);
  const locator = RelocatableQueueEdge.locatorOf(queue);
  if (port.writer === undefined) throw new Error("not the producer's end");
  await port.writer.publish(locator);
  const edge = new RelocatableQueueEdge(queue, locator, port.writer, optionsOf(port));
  for (let item = 0; item < count; item++) {
    await edge.send(Uint8Array.of(item));
    if (item % 20 === 10) await edge.relocate();
  }
  await edge.close();
  return edge.generation().value;
}

async function consume(port: EdgePort): Promise<number[]> {
  if (port.reader === undefined) throw new Error("not the consumer's end");
  const edge = await RelocatableQueueEdge.attach(port, port.reader, optionsOf(port));
  const got: number[] = [];
  for await (const item of edge) got.push(item[0] as number);
  return got;
}

async function run({ port: raw, count }: EdgeTask): Promise<void> {
  using port = edgePort(raw);
  const answer = await (count === undefined ? consume(port) : produce(port, count));
  // Nothing else keeps this thread alive.
  parentPort?.postMessage(answer);
}

parentPort?.once("message", (task: EdgeTask) => void run(task));
