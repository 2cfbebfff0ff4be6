import { jsonCodec, isFabricError, type FabricErrorCode } from "@selvage/fabric";
import { HandoffWriter } from "@selvage/fence";
import { FabricQueue, HandoffReader } from "@selvage/node";
import { describe, expect, it } from "vitest";
import type { EdgeOptions } from "../src/edge/edge-events.ts";
import { RelocatableQueueEdge } from "../src/edge/relocatable-queue-edge.ts";
import {
  itemOf,
  losses,
  numberOf,
  openReader,
  openWriter,
  scribble,
  Stage,
  takeOver,
} from "./edge-rig.ts";

const shape = { capacity: 8, stride: 16, records: false };

function codeOf(run: () => unknown): FabricErrorCode | undefined {
  try {
    run();
    return undefined;
  } catch (error) {
    if (isFabricError(error)) return error.code;
    throw error;
  }
}

function popAll(edge: RelocatableQueueEdge): number[] {
  const got: number[] = [];
  for (let bytes = edge.pop(); bytes !== undefined; bytes = edge.pop()) got.push(numberOf(bytes));
  return got;
}

async function readAll(stage: Stage, edge: RelocatableQueueEdge): Promise<number[]> {
  const got = popAll(edge);
  for (let turn = 0; turn < 20; turn++) {
    await stage.advance(10);
    got.push(...popAll(edge));
  }
  return got;
}

function pushFrom(edge: RelocatableQueueEdge, from: number, to: number): void {
  for (let number = from; number < to; number++)
    if (!edge.push(itemOf(number))) throw new Error(`no room for ${number}`);
}

describe("RelocatableQueueEdge", () => {
  it.each([true, false])("a writer may pop, too (records: %s)", async (records) => {
    const stage = await Stage.open();
    const { edge, lease } = await openWriter(stage, { ...shape, records });
    pushFrom(edge, 0, 3);
    expect(edge.pop()).toEqual(itemOf(0));
    lease.release();
    expect(await readAll(stage, edge)).toEqual([1, 2]);
    expect(edge.sequence).toBe(2);
    expect(edge.stats()).toMatchObject({ rebinds: 1, accepted: 3, delivered: 3, dropped: 1 });
    expect(edge.generation().value).toBe(2);
  });

  it("takes values by a codec, and copies them to a buffer of the caller's", async () => {
    const stage = await Stage.open();
    const bytes = FabricQueue.bytesFor(8, 64);
    const lease = stage.fabric.mem().minBytes(bytes).acquire();
    const codec = jsonCodec<{ readonly id: number }>();
    const queue = new FabricQueue(lease, 8, 64, codec);
    const locator = RelocatableQueueEdge.locatorOf(queue);
    const writer = new HandoffWriter(stage.blocks, "stage");
    await writer.publish(locator);
    const producer = new RelocatableQueueEdge(queue, locator, writer);
    const reader = new HandoffReader(stage.blocks);
    const consumer = await RelocatableQueueEdge.attach(stage.fabric, reader, { codec });
    for (const id of [1, 2, 3]) expect(producer.push({ id })).toBe(true);
    producer.flush();
    expect(consumer.pop()).toEqual({ id: 1 });
    const target = new Uint8Array(64);
    const length = consumer.popInto(target);
    expect(JSON.parse(new TextDecoder().decode(target.subarray(0, length)))).toEqual({ id: 2 });
    lease.release();
    await stage.advance(50);
    expect([consumer.pop(), consumer.pop()]).toEqual([undefined, { id: 3 }].toReversed());
  });

  it("a revoked lease is told, and relocate() goes on once it is admitted again", async () => {
    const stage = await Stage.open();
    const { edge, lease } = await openWriter(stage, shape);
    pushFrom(edge, 0, 2);
    lease.revoke();
    await stage.advance(50);
    expect(codeOf(() => edge.push(itemOf(2)))).toBe("REVOKED");
    expect(codeOf(() => edge.pop())).toBe("REVOKED");
    await stage.until(edge.relocate());
    expect(await readAll(stage, edge)).toEqual([0, 1]);
  });

  it("without memory for a new ring it tries again, ends typed, and goes on when it is told to", async () => {
    const stage = await Stage.open(4_096);
    const { edge, lease } = await openWriter(stage, shape);
    pushFrom(edge, 0, 2);
    lease.release();
    stage.fabric.tick(stage.nowMs);
    const other = stage.fabric.mem().minBytes(4_096).leaseMs(1_000_000).acquire();
    expect(edge.push(itemOf(2))).toBe(false);
    await stage.advance(5_000);
    expect(codeOf(() => edge.push(itemOf(2)))).toBe("CAPACITY_EXCEEDED");
    other.release();
    await stage.until(edge.relocate());
    pushFrom(edge, 2, 3);
    expect(await readAll(stage, edge)).toEqual([0, 1, 2]);
  });

  it("E5: of two writers one goes on; the other hears what it had, and its memory is given back", async () => {
    const stage = await Stage.open();
    const { edge } = await openWriter(stage, shape);
    pushFrom(edge, 0, 3);
    await stage.advance(1);
    const { edge: other } = await takeOver(stage, { from: 3 });
    await stage.until(other.relocate());
    const moved = edge.relocate().catch((error: unknown) => error);
    await stage.advance(50);
    expect(await moved).toMatchObject({
      code: "STALE_EPOCH",
      details: { unacknowledgedFrom: 0, unacknowledgedTo: 3 },
    });
    expect(codeOf(() => edge.push(itemOf(3)))).toBe("STALE_EPOCH");
    expect(stage.memLeases.length).toBeLessThanOrEqual(2);
    pushFrom(other, 3, 4);
    const consumer = await stage.until(openReader(stage));
    expect(await readAll(stage, consumer)).toEqual([3]);
  });

  it("close() waits for the last acknowledgement, says TIMED_OUT, and gives the memory back", async () => {
    const stage = await Stage.open();
    const { edge } = await openWriter(stage, shape);
    pushFrom(edge, 0, 2);
    await expect(stage.until(edge.close({ timeoutMs: 100 }))).rejects.toMatchObject({
      code: "TIMED_OUT",
      details: { unacknowledged: 2 },
    });
    expect(codeOf(() => edge.push(itemOf(2)))).toBe("DISCONNECTED");
    const closed = edge.close();
    const consumer = await stage.until(openReader(stage));
    expect(await readAll(stage, consumer)).toEqual([0, 1]);
    expect(consumer.isOver).toBe(true);
    await stage.until(closed);
    expect(stage.memLeases).toEqual([]);
    await expect(stage.until(openReader(stage))).rejects.toMatchObject({ code: "DISCONNECTED" });
  });

  it("hears of acknowledgements by a bell: no time passes", async () => {
    const stage = await Stage.open();
    const { edge } = await openWriter(stage, shape, { tickMs: 1_000 });
    const consumer = await openReader(stage, { acknowledge: "manual", tickMs: 1_000 });
    pushFrom(edge, 0, 2);
    expect(popAll(consumer)).toEqual([0, 1]);
    expect(edge.acknowledgedTo).toBe(0);
    const heard = edge.acknowledgedSoon();
    consumer.acknowledge(0);
    consumer.flush();
    await heard;
    expect(edge.acknowledgedTo).toBe(1);
    const closed = edge.close();
    while (!consumer.isOver) expect(await consumer.popAsync()).toBe(undefined);
    consumer.acknowledge();
    await closed;
  });

  it("a producer that waits to be done hears of a consumer that took over, and needs more", async () => {
    const stage = await Stage.open();
    const { edge } = await openWriter(stage, shape);
    pushFrom(edge, 0, 2);
    const closed = edge.close();
    const first = await openReader(stage, { acknowledge: "manual" });
    expect(popAll(first)).toEqual([0, 1]);
    first[Symbol.dispose]();
    const second = await openReader(stage, { acknowledge: "manual" });
    expect(await readAll(stage, second)).toEqual([0, 1]);
    second.acknowledge();
    await stage.until(closed);
  });

  it.each([true, false])(
    "E3: long items come again as they were, from slots that are used again (records: %s)",
    async (records) => {
      const stage = await Stage.open();
      const stride = 512;
      const long = { capacity: 8, stride, records };
      const { edge } = await openWriter(stage, long);
      const consumer = await openReader(stage, { acknowledge: "manual" });
      const got: number[] = [];
      let pushed = 0;
      for (let turn = 0; turn < 60; turn++) {
        for (let count = turn % 7; count >= 0 && edge.push(itemOf(pushed * 7, stride)); count--)
          pushed++;
        for (let count = turn % 5; count >= 0; count--) {
          const bytes = consumer.pop();
          if (bytes !== undefined) got.push(numberOf(bytes, stride));
        }
        if (turn % 3 === 0 && got.length > 0) consumer.acknowledge();
        if (turn % 4 === 3) stage.memLeases.at(-1)?.release();
        await stage.advance(12);
      }
      for (let turn = 0; turn < 20; turn++) {
        await stage.advance(12);
        for (let bytes = consumer.pop(); bytes !== undefined; bytes = consumer.pop())
          got.push(numberOf(bytes, stride));
        consumer.acknowledge();
      }
      expect(got).toEqual(Array.from({ length: pushed }, (_, number) => number * 7));
      expect(edge.stats().replayed).toBeGreaterThan(10);
    },
  );

  it("waits no longer than it is told to", async () => {
    const stage = await Stage.open();
    const { edge } = await openWriter(stage, shape);
    const atMs = stage.nowMs;
    expect(await stage.until(edge.popAsync(5).then(() => stage.nowMs - atMs))).toBe(5);
    for (;;) if (!edge.push(itemOf(0))) break;
    expect(await stage.until(edge.send(itemOf(0), { timeoutMs: 5 }))).toBe(false);
  });

  it("waits no longer behind another send either, and those that still wait keep their order", async () => {
    const stage = await Stage.open();
    const { edge } = await openWriter(stage, shape);
    let pushed = 0;
    while (edge.push(itemOf(pushed))) pushed++;
    const atMs = stage.nowMs;
    const first = edge.send(itemOf(pushed));
    const second = edge.send(itemOf(99), { timeoutMs: 45 });
    const third = edge.send(itemOf(pushed + 1));
    expect(await stage.until(second.then((done) => [done, stage.nowMs - atMs]))).toEqual([
      false,
      45,
    ]);
    const fourth = edge.send(itemOf(pushed + 2));
    const consumer = await openReader(stage);
    expect(await readAll(stage, consumer)).toEqual(
      Array.from({ length: pushed + 3 }, (_, number) => number),
    );
    expect(await stage.until(Promise.all([first, third, fourth]))).toEqual([true, true, true]);
    expect(edge.push(itemOf(pushed + 3))).toBe(true);
  });

  it("waits no longer where its ring is over and no other ever follows", async () => {
    const stage = await Stage.open();
    const { edge, lease } = await openWriter(stage, shape);
    const consumer = await openReader(stage);
    edge[Symbol.dispose]();
    lease.release();
    expect(consumer.pop()).toBe(undefined);
    const took = async (waiting: Promise<unknown>): Promise<number> => {
      const atMs = stage.nowMs;
      return stage.until(waiting.then(() => stage.nowMs - atMs));
    };
    expect(await took(consumer.popAsync(5))).toBe(5);
    expect(await took(consumer.popAsync({ timeoutMs: 150 }))).toBe(150);
    expect(await took(consumer.itemSoon())).toBe(20);
    const control = new AbortController();
    const cancelled = consumer
      .popAsync({ signal: control.signal })
      .catch((error: unknown) => error);
    await stage.advance(5);
    control.abort("enough");
    expect(await stage.until(cancelled)).toBe("enough");
  });

  it("waits no longer while no memory comes for the next ring", async () => {
    const stage = await Stage.open(4_096);
    const { edge, lease } = await openWriter(stage, shape, { retry: 1_000 });
    lease.release();
    stage.fabric.tick(stage.nowMs);
    stage.fabric.mem().minBytes(4_096).leaseMs(1_000_000).acquire();
    const atMs = stage.nowMs;
    const sent = edge.send(itemOf(0), { timeoutMs: 45 });
    expect(await stage.until(sent.then((done) => [done, stage.nowMs - atMs]))).toEqual([false, 45]);
    edge[Symbol.dispose]();
  });

  it.each([
    { window: undefined, most: 16 },
    { window: 3, most: 3 },
  ])(
    "takes no more than $most items that are not acknowledged (window: $window)",
    async ({ window, most }) => {
      const stage = await Stage.open();
      const options = window === undefined ? {} : { window };
      const { edge } = await openWriter(stage, shape, options);
      const consumer = await openReader(stage, { acknowledge: "manual" });
      let pushed = 0;
      for (let turn = 0; turn < 4; turn++) {
        while (edge.push(itemOf(pushed))) pushed++;
        popAll(consumer);
      }
      expect(pushed).toBe(most);
      expect(edge.waitForRoom(0)).toBe(false);
      consumer.acknowledge();
      consumer.flush();
      expect(edge.waitForRoom(0)).toBe(true);
      expect(edge.push(itemOf(pushed))).toBe(true);
    },
  );

  it("a consumer that acknowledges by hand may do so after the end", async () => {
    const stage = await Stage.open();
    const { edge } = await openWriter(stage, shape);
    pushFrom(edge, 0, 2);
    const closed = edge.close();
    const consumer = await stage.until(openReader(stage, { acknowledge: "manual" }));
    expect(await readAll(stage, consumer)).toEqual([0, 1]);
    expect(consumer.isOver).toBe(true);
    consumer.acknowledge();
    await stage.until(closed);
  });

  it("refuses a locator of another queue, and a queue for many", async () => {
    const stage = await Stage.open();
    const lease = stage.fabric.mem().minBytes(8_192).acquire();
    const many = new FabricQueue(lease, 8, 16, undefined, { many: true });
    const { writer, lease: ring } = await openWriter(stage, shape);
    const locator = RelocatableQueueEdge.locatorOf(many);
    expect(codeOf(() => new RelocatableQueueEdge(many, locator, writer))).toBe("UNSUPPORTED");
    const queue = FabricQueue.attach(ring);
    expect(codeOf(() => new RelocatableQueueEdge(queue, locator, writer))).toBe("CONFLICT");
  });

  it("an item that cannot be decoded, and comes again, takes no other with it", async () => {
    const stage = await Stage.open();
    const lease = stage.fabric.mem().minBytes(FabricQueue.bytesFor(8, 64)).acquire();
    const codec = jsonCodec<number>();
    const picky = {
      ...codec,
      decode(bytes: Uint8Array): number {
        const value = codec.decode(bytes);
        if (value === 1) codec.decode(Uint8Array.of(0x7b));
        return value;
      },
    };
    const queue = new FabricQueue(lease, 8, 64, picky);
    const locator = RelocatableQueueEdge.locatorOf(queue);
    const writer = new HandoffWriter(stage.blocks, "stage");
    await writer.publish(locator);
    const edge = new RelocatableQueueEdge(queue, locator, writer, { acknowledge: "manual" });
    for (const value of [0, 1, 2]) edge.push(value);
    expect(edge.pop()).toBe(0);
    expect(codeOf(() => edge.pop())).toBe("DECODE");
    await stage.until(edge.relocate());
    await stage.advance(20);
    expect(edge.pop()).toBe(2);
  });
});

describe("who died, and what is told", () => {
  it.each(["auto", "manual"] as const)(
    "the consumer (%s): its successor gets what it had not dealt with",
    async (acknowledge) => {
      const stage = await Stage.open();
      const { edge } = await openWriter(stage, shape);
      pushFrom(edge, 0, 6);
      const first = await stage.until(openReader(stage, { acknowledge }));
      for (let count = 0; count < 4; count++) first.pop();
      if (acknowledge === "manual") first.acknowledge(1);
      first[Symbol.dispose]();
      const second = await stage.until(openReader(stage, { acknowledge }));
      // Asking for the next one says that the last one was dealt with: of four, three.
      const from = acknowledge === "manual" ? 2 : 3;
      const got = await readAll(stage, second);
      expect(got).toEqual([0, 1, 2, 3, 4, 5].slice(from));
      expect(edge.stats().relocations).toEqual({ "consumer-died": 1 });
    },
  );

  it.each([
    ["goes on where the ring does", {}, 3, [0, 1, 2, 3, 4], []],
    ["begins before what is there", { from: 1 }, 1, [0, 1, 2, 3, 4], []],
    ["begins beyond what is there", { from: 5 }, 5, [0, 1, 2, 5, 6], [{ from: 3, to: 5 }]],
  ] as const)(
    "the producer, its ring alive: the next one %s",
    async (_what, options: EdgeOptions, next, wanted, wantedLost) => {
      const stage = await Stage.open();
      const { edge } = await openWriter(stage, shape);
      pushFrom(edge, 0, 3);
      const { lost, onEvent } = losses();
      const consumer = await stage.until(openReader(stage, { onEvent }));
      edge[Symbol.dispose]();
      const { edge: other } = await takeOver(stage, options);
      expect(other.nextSequence).toBe(next);
      await stage.advance(20);
      const last = wanted.at(-1) as number;
      pushFrom(other, next, last + 1);
      expect(await readAll(stage, consumer)).toEqual(wanted);
      expect(lost).toEqual(wantedLost);
      const closed = other.close();
      await readAll(stage, consumer);
      await stage.until(closed);
      expect(stage.memLeases).toEqual([]);
    },
  );

  it.each([
    ["a number", { from: 4 }, [{ from: 3, to: 4 }]],
    ["none", {}, ["unknown"]],
    ['"unknown"', { from: "unknown" }, ["unknown"]],
  ] as const)(
    "the producer and its ring: the next one begins with %s",
    async (_what, options: EdgeOptions, wantedLost) => {
      const stage = await Stage.open();
      const { edge, lease } = await openWriter(stage, shape);
      pushFrom(edge, 0, 3);
      await stage.advance(1);
      const { lost, onEvent } = losses();
      const consumer = await stage.until(openReader(stage, { onEvent }));
      expect(popAll(consumer)).toEqual([0, 1, 2]);
      edge[Symbol.dispose]();
      lease.release();
      const { edge: other } = await openWriter(stage, shape, options);
      other.push(itemOf(9));
      expect(await readAll(stage, consumer)).toEqual([9]);
      expect(lost).toEqual(wantedLost);
    },
  );

  it("a consumer that cannot know where it was is told so", async () => {
    const stage = await Stage.open();
    const { edge } = await openWriter(stage, shape);
    pushFrom(edge, 0, 1);
    const { lost, onEvent } = losses();
    const consumer = await stage.until(openReader(stage, { onEvent, from: "unknown" }));
    expect(await readAll(stage, consumer)).toEqual([0]);
    expect(lost).toEqual(["unknown"]);
    expect(consumer.stats().lost).toBe("unknown");
  });
});

describe("an end that could not be opened", () => {
  // Found by a simulated run: its timer went on, and it made rings that nobody had, and published them.
  it("E5: leaves nothing behind that looks after the ring, or publishes another", async () => {
    const stage = await Stage.open();
    const { edge, lease } = await openWriter(stage, shape);
    pushFrom(edge, 0, 3);
    edge[Symbol.dispose]();
    scribble(lease, 9, 7_777);
    await expect(takeOver(stage)).rejects.toMatchObject({ code: "CORRUPT_RECORD" });
    await stage.advance(10_000);
    const state = await new HandoffReader(stage.blocks).poll();
    expect([state?.generation, stage.memLeases.length]).toEqual([1, 0]);
  });
});

describe("a stray write to the ring", { timeout: 120_000 }, () => {
  it.each([0, 7_777, -1])(
    "E3: %i in any word of its header or a seal: every item once, in order",
    async (value) => {
      // Every word that says something, some that say nothing, and three seals.
      const groups = [0, 8, 32, 64, 96, 128, 160, 192, 224];
      const words = groups.flatMap((at) => [0, 1, 2, 3, 4, 5, 6].map((word) => at + word));
      words.push(257, 263, 269);
      for (const word of words) {
        const stage = await Stage.open();
        const { edge } = await openWriter(stage, shape);
        const { lost, onEvent } = losses();
        const consumer = await stage.until(openReader(stage, { onEvent }));
        pushFrom(edge, 0, 4);
        await stage.advance(1);
        const got = [consumer.pop()].map((bytes) => numberOf(bytes as Uint8Array));
        scribble(stage.memLeases[0] as never, word, value);
        await stage.advance(15);
        for (let number = 4; number < 7; number++)
          for (let turn = 0; turn < 50 && !edge.push(itemOf(number)); turn++)
            await stage.advance(5);
        got.push(...(await readAll(stage, consumer)));
        expect(got, `word ${word}`).toEqual([0, 1, 2, 3, 4, 5, 6]);
        expect(lost, `word ${word}`).toEqual([]);
        edge[Symbol.dispose]();
        consumer[Symbol.dispose]();
      }
    },
  );
});

it("a ring that is damaged before its first push is left, and its role is nobody's", async () => {
  const stage = await Stage.open();
  const { edge, lease } = await openWriter(stage, shape);
  scribble(lease, 32, 4);
  expect(edge.push(itemOf(0))).toBe(false);
  await stage.advance(20);
  pushFrom(edge, 0, 1);
  const consumer = await stage.until(openReader(stage));
  expect(await readAll(stage, consumer)).toEqual([0]);
});
