import { Fabric, type FabricQueue } from "@selvage/node";
import { describe, expect, it } from "vitest";
import { isQuiet, tickUntil } from "./fabric-hand.ts";
import {
  consumerDeathRounds,
  lapseRounds,
  openQueue,
  pause,
  producerDeathRounds,
  QueueHand,
  queueKinds,
} from "./queue-rounds.ts";
import { valueOf } from "./queue-worker.ts";

const openAuto = (): Fabric => Fabric.open({ memoryBytes: 1 << 20, blocks: 0, maxLeases: 256 });

describe("threads at a queue", { timeout: 120_000 }, () => {
  it("R1, R2, R4: a producer is ended anywhere, and a successor goes on", async () => {
    const { byLife, torn } = await producerDeathRounds(36);
    expect(Object.values(byLife)).toEqual([9, 9, 9, 9]);
    expect(torn).toBeGreaterThanOrEqual(9);
  });

  it("R1: a consumer is ended anywhere, and a successor goes on", async () => {
    const { byLife, torn } = await consumerDeathRounds(18);
    expect(Object.values(byLife)).toEqual([6, 6, 6]);
    expect(torn).toBeGreaterThanOrEqual(2);
  });

  it("R7: both ends are told of the lease's end, and no byte lands in the next tenant's region", async () => {
    expect(await lapseRounds(500)).toBeGreaterThan(500);
  });

  it.each(queueKinds.flatMap((kind) => [1, 2].map((capacity) => [kind, capacity] as const)))(
    "R6: wake each other 20,000 times, %s of %i",
    async (kind, capacity) => {
      using fabric = openAuto();
      const there = openQueue(fabric, kind, capacity);
      const back = openQueue(fabric, kind, capacity);
      const hand = new QueueHand();
      const count = 10_000;
      const answer = hand.ask({ do: "echo", queue: there.ticket(), back: back.ticket(), count });
      await hand.inside(answer);
      for (let turn = 0; turn < count; turn++) {
        const value = valueOf(turn, there.stride);
        if (!there.pushWait(value, 20_000)) throw new Error(`no room at ${turn}`);
        const echo = back.popWait(20_000);
        if (echo?.length !== value.length || echo[0] !== value[0]) throw new Error(`lost ${turn}`);
      }
      expect(await answer).toEqual({ value: count, code: null });
      await hand.worker.terminate();
    },
  );

  it.each(queueKinds)(
    "a blocked thread is woken by close, and ends by its timeout: %s",
    async (kind) => {
      using fabric = openAuto();
      const queue = openQueue(fabric, kind, 2);
      const hand = new QueueHand();
      const ask = (timeoutMs: number): Promise<unknown> =>
        hand.ask({ do: "popWait", queue: queue.ticket(), timeoutMs });
      expect(await ask(50)).toEqual({ value: undefined, code: null });
      const waiting = ask(Infinity);
      await pause();
      queue.close();
      expect(await waiting).toEqual({ value: undefined, code: null });
      await hand.worker.terminate();
    },
  );

  it("a blocked thread announces itself: what it holds besides can be reclaimed", async () => {
    using fabric = openAuto();
    const queue = openQueue(fabric, "slots", 2);
    const other = fabric.mem().minBytes(4_096).acquire();
    other.ticket();
    const hand = new QueueHand();
    const waiting = hand.ask({ do: "popWait", queue: queue.ticket(), timeoutMs: Infinity });
    await hand.inside(waiting);
    await pause();
    other.release();
    await tickUntil(fabric, isQuiet(fabric));
    expect(queue.push(Uint8Array.of(7))).toBe(true);
    expect(await waiting).toEqual({ value: 7, code: null });
    await hand.worker.terminate();
  });

  it.each([1, 3, 64])(
    "two push and two pop: every value once, in order (capacity %i)",
    async (capacity) => {
      using fabric = openAuto();
      // Nobody dies here: a thread that the machine leaves waiting is not to be given up.
      const queue: FabricQueue = openQueue(fabric, "many", capacity, 60_000);
      const hands = [0, 1, 2, 3].map(() => new QueueHand());
      const ticket = queue.ticket();
      const count = 4_000;
      const answers = hands.map((hand, index) =>
        hand.ask(
          index < 2
            ? { do: "send", queue: ticket, producer: index, count }
            : { do: "receive", queue: ticket },
          60_000,
        ),
      );
      expect(await Promise.all(answers.slice(0, 2))).toEqual([
        { value: count, code: null },
        { value: count, code: null },
      ]);
      queue.close();
      const received = (await Promise.all(answers.slice(2))).map(({ value }) => value as number[]);
      for (const got of received)
        for (const producer of [0, 1]) {
          const ids = got.filter((id) => id % 2 === producer);
          expect(ids).toEqual(ids.toSorted((a, b) => a - b));
        }
      expect(received.flat().toSorted((a, b) => a - b)).toEqual([...Array(2 * count).keys()]);
      expect(queue.stats()).toMatchObject({ skipped: 0, lost: 0, size: 0 });
      await Promise.all(hands.map(({ worker }) => worker.terminate()));
    },
  );
});
