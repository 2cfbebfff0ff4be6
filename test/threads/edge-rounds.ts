/* oxlint-disable vitest/no-standalone-expect -- called from inside tests only */
/** Edges between real threads, whose rings are lost under full load, and whose threads are ended anywhere. */
import { setTimeout as sleep } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import { fromWire, type BlockLease, type FabricErrorWire, type MemLease } from "@selvage/fabric";
import { HandoffWriter, type QueueLocator } from "@selvage/fence";
import { edgeHost, Fabric, FabricQueue, HandoffReader, type EdgeHost } from "@selvage/node";
import { RelocatableQueueEdge } from "@selvage/pipeline";
import { expect } from "vitest";
import {
  EDGE_LOST,
  EDGE_SEEN,
  EDGE_STOP,
  EDGE_STORED,
  EDGE_STRIDE,
  EDGE_WORDS,
  EDGE_WRONG,
  edgeItem,
  type EdgeTask,
} from "./edge-worker.ts";

const capacity = 256;
/** Longer than anything here takes on a machine that is busy. */
const patienceMs = 30_000;

/** What happened. */
export interface EdgeRounds {
  relocations: number;
  /** Of them, with unread items in the ring. */
  unread: number;
  items: number;
  stallMs: number[];
}

class Stage implements AsyncDisposable {
  readonly fabric: Fabric = Fabric.open({ memoryBytes: 1 << 21, blocks: 16 });
  readonly words: Int32Array<SharedArrayBuffer> = new Int32Array(
    new SharedArrayBuffer(EDGE_WORDS * 4),
  );
  blocks!: BlockLease;
  lease!: MemLease;
  locator!: QueueLocator;

  static async open(): Promise<Stage> {
    const stage = new Stage();
    const { fabric } = stage;
    stage.blocks = await fabric.block().minBlocks(HandoffWriter.BLOCKS).acquire();
    await stage.newRing();
    return stage;
  }

  async newRing(): Promise<void> {
    const { fabric } = this;
    const bytes = FabricQueue.bytesFor(capacity, EDGE_STRIDE);
    this.lease = fabric.mem().minBytes(bytes).acquire();
    this.locator = RelocatableQueueEdge.locatorOf(
      new FabricQueue(this.lease, capacity, EDGE_STRIDE),
    );
    await (await HandoffWriter.open(this.blocks, "stage")).publish(this.locator);
  }

  word(at: number): number {
    return Atomics.load(this.words, at);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.fabric.close();
  }
}

/** A thread at an end. */
class Hand {
  readonly worker: Worker = new Worker(new URL("./edge-worker.ts", import.meta.url));
  readonly host: EdgeHost;
  error: Error | undefined;
  isDone = false;

  constructor(stage: Stage, host: EdgeHost, task: Omit<EdgeTask, "port" | "words">) {
    this.host = host;
    this.worker.on("message", ({ error }: { readonly error: FabricErrorWire | null }) => {
      this.error = error === null ? undefined : fromWire(error);
      this.isDone = true;
    });
    this.worker.on("error", (error: Error) => (this.error = error));
    const { words } = stage;
    this.worker.postMessage({ ...task, port: host.port, words } satisfies EdgeTask, [host.port]);
  }

  async end(): Promise<void> {
    await this.worker.terminate();
    await this.host.closed;
  }
}

async function until(isDone: () => boolean, hands: readonly Hand[], where: string): Promise<void> {
  const startMs = performance.now();
  while (!isDone()) {
    for (const { error } of hands) if (error !== undefined) throw error;
    if (performance.now() - startMs > patienceMs) throw new Error(`waited in vain: ${where}`);
    await sleep(1);
  }
}

/** The ring's lease ends, or it is asked to move, `rounds` times while another thread pops: every item once, in order. */
export async function relocationRounds(rounds: number): Promise<EdgeRounds> {
  await using stage = await Stage.open();
  const { fabric, words } = stage;
  const counts: EdgeRounds = { relocations: 0, unread: 0, items: 0, stallMs: [] };
  const writer = await HandoffWriter.open(stage.blocks, "stage");
  const queue = FabricQueue.attach(stage.lease);
  const edge = new RelocatableQueueEdge(queue, stage.locator, writer, {
    onEvent: (event) => {
      if (event.type === "relocated") counts.stallMs.push(event.stallMs);
    },
  });
  const host = edgeHost(fabric, new HandoffReader(stage.blocks));
  const hand = new Hand(stage, host, { side: "consume", from: 0, to: 0 });
  const scratch = new Uint8Array(EDGE_STRIDE);
  let number = 0;
  const push = async (): Promise<void> => {
    const item = edgeItem(number, scratch);
    if (!edge.push(item)) expect(await edge.send(item, { timeoutMs: patienceMs })).toBe(true);
    number++;
  };
  await push();
  await until(() => stage.word(EDGE_STORED) > 0, [hand], "the consumer's first item");
  for (let round = 0; round < rounds; round++) {
    const target = number + 100 + (round % 300);
    for (let left = target - number; left > 0; left--) await push();
    // What nobody has read when the ring is lost.
    if (number > stage.word(EDGE_STORED) + 1) counts.unread++;
    if (round % 3 === 0) await edge.relocate();
    else for (const lease of fabric.leases()) if (lease.kind === "mem") lease.release();
    if (hand.error !== undefined) throw hand.error;
  }
  await edge.close({ timeoutMs: patienceMs });
  await until(() => hand.isDone, [hand], "the consumer's end");
  expect(Atomics.load(words, EDGE_WRONG), "E3: none twice, in order").toBe(0);
  expect(Atomics.load(words, EDGE_LOST), "E3: none lost").toBe(0);
  expect(stage.word(EDGE_STORED), "E3: every item").toBe(number);
  counts.items = number;
  counts.relocations = edge.stats().rebinds;
  await hand.end();
  return counts;
}

/** What became of the threads. */
export interface EdgeDeaths {
  producers: number;
  consumers: number;
  both: number;
  items: number;
}

/** A producer's, a consumer's thread, or both, are terminated anywhere, and replaced: the sink has every item once. */
export async function edgeDeathRounds(rounds: number): Promise<EdgeDeaths> {
  await using stage = await Stage.open();
  const { fabric, blocks, words } = stage;
  const deaths: EdgeDeaths = { producers: 0, consumers: 0, both: 0, items: 0 };
  const consumer = (): Hand =>
    new Hand(stage, edgeHost(fabric, new HandoffReader(blocks)), {
      side: "consume",
      // A consumer goes on from what the sink has stored.
      from: stage.word(EDGE_STORED),
      to: 0,
    });
  const producer = async (to: number): Promise<Hand> => {
    const state = await new HandoffReader(blocks).poll();
    let from = stage.word(EDGE_STORED);
    if (state?.locator.kind !== "queue") throw new Error("the stream is over");
    stage.locator = state.locator;
    try {
      fabric.leaseAt(stage.locator);
    } catch {
      await stage.newRing();
    }
    // The source begins again where the sink is; somewhere before that does no harm.
    from = Math.max(0, from - 5);
    const host = edgeHost(fabric, await HandoffWriter.open(blocks, "stage"));
    return new Hand(stage, host, { side: "produce", from, to, locator: stage.locator });
  };
  let [pushes, pops] = [await producer(2 ** 30), consumer()];
  let stored = 0;
  for (let round = 0; round < rounds; round++) {
    const where = `round ${round}`;
    const before = stage.word(EDGE_STORED);
    const hands = [pushes, pops];
    await until(() => stage.word(EDGE_STORED) > before + 20, hands, where);
    await sleep(Math.random() * 3);
    if (round % 4 === 3)
      for (const lease of fabric.leases()) if (lease.kind === "mem") lease.release();
    const who = round % 3;
    if (who !== 1) await pushes.end();
    if (who !== 0) await pops.end();
    stored = stage.word(EDGE_STORED);
    if (who !== 1)
      pushes = await producer(round === rounds - 1 ? stage.word(EDGE_STORED) + 5_000 : 2 ** 30);
    if (who !== 0) pops = consumer();
    if (who === 0) deaths.producers++;
    else if (who === 1) deaths.consumers++;
    else deaths.both++;
    expect(Atomics.load(words, EDGE_WRONG), `${where}: E3`).toBe(0);
  }
  // What a producer that is dead now had pushed is given again, before the last one is told to stop.
  // And the last consumer is there: else it would find the stream over.
  const seen = Math.max(stage.word(EDGE_SEEN), stored + 1);
  await until(() => stage.word(EDGE_STORED) >= seen, [pushes, pops], "the last round");
  Atomics.store(words, EDGE_STOP, 1);
  await until(() => pushes.isDone && pops.isDone, [pushes, pops], "the end");
  expect(pushes.error ?? pops.error).toBeUndefined();
  expect(Atomics.load(words, EDGE_WRONG), "E3: none twice, none left out").toBe(0);
  expect(
    Atomics.load(words, EDGE_LOST),
    "nothing was told as lost: the source gives it again",
  ).toBe(0);
  expect(stage.word(EDGE_STORED), "every item that was pushed").toBeGreaterThanOrEqual(
    stage.word(EDGE_SEEN),
  );
  deaths.items = stage.word(EDGE_STORED);
  await Promise.all([pushes.end(), pops.end()]);
  return deaths;
}
