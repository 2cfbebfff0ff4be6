/* oxlint-disable vitest/no-standalone-expect -- called from inside tests only */
/** Queues between real threads, one of which is ended anywhere or whose lease is: each round counts what it saw. */
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import { isFabricError } from "@selvage/fabric";
import { Fabric, FabricQueue } from "@selvage/node";
import { expect } from "vitest";
import { isQuiet, openFabric, tickUntil } from "./fabric-hand.ts";
import {
  ACCEPTED,
  FLAGS,
  idOf,
  INSIDE,
  POPPED,
  PUBLISHED,
  valueOf,
  type Life,
  type QueueAnswer,
  type QueueCommand,
  type QueueRequest,
} from "./queue-worker.ts";

export const queueKinds = ["slots", "records", "many"] as const;
export type QueueKind = (typeof queueKinds)[number];
/** Longer than any wait of these tests takes on a machine that is busy. */
const patienceMs = 20_000;
const stride = 40;

/** A worker at a queue. */
export class QueueHand {
  readonly worker: Worker = new Worker(new URL("./queue-worker.ts", import.meta.url));
  readonly flags: Int32Array<SharedArrayBuffer> = new Int32Array(new SharedArrayBuffer(FLAGS * 4));

  ask(command: QueueCommand, unblockAfterMs = 50): Promise<QueueAnswer> {
    this.flags.fill(0);
    const answered = once(this.worker, "message") as Promise<[QueueAnswer]>;
    this.worker.postMessage({ command, flags: this.flags, unblockAfterMs } satisfies QueueRequest);
    const answer = answered.then(([first]) => first);
    // One that is ended answers nothing.
    answer.catch(() => {});
    return answer;
  }

  flag(word: number): number {
    return Atomics.load(this.flags, word);
  }

  /** Lets loop turns pass until the worker is where it is wanted. */
  async inside(answer: Promise<QueueAnswer>): Promise<void> {
    let early: QueueAnswer | undefined;
    void answer.then((came) => (early = came)).catch(() => {});
    await until(() => early !== undefined || this.flag(INSIDE) === 1);
  }
}

async function until(isDone: () => boolean, where = ""): Promise<void> {
  const startMs = performance.now();
  while (!isDone()) {
    if (performance.now() - startMs > patienceMs) throw new Error(`waited in vain: ${where}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

export function openQueue(
  fabric: Fabric,
  kind: QueueKind,
  capacity: number,
  unblockAfterMs = 50,
): FabricQueue {
  const options = { many: kind === "many", records: kind === "records", unblockAfterMs };
  const bytes = FabricQueue.bytesFor(capacity, stride, options);
  const lease = fabric.mem().minBytes(bytes).acquire();
  return new FabricQueue(lease, capacity, stride, undefined, options);
}

const openAuto = (): Fabric => Fabric.open({ memoryBytes: 1 << 20, blocks: 0, maxLeases: 256 });
const capacities = [1, 2, 3, 16, 100];
const lives: readonly Life[] = ["between", "claim", "wrap", "waits"];

/** Tries until this thread is admitted in the place of one that has exited. */
async function succeed(run: () => boolean): Promise<void> {
  await until(() => {
    try {
      return run();
    } catch (thrown) {
      if (isFabricError(thrown) && thrown.code === "CONFLICT") return false;
      throw thrown;
    }
  });
}

export interface Deaths {
  readonly byLife: Record<string, number>;
  torn: number;
}

/** R1, R2, R4: a producer is ended somewhere; the consumer gets a prefix of what it pushed, and a successor goes on. */
export async function producerDeathRounds(rounds: number): Promise<Deaths> {
  using fabric = openAuto();
  const deaths: Deaths = { byLife: {}, torn: 0 };
  for (let round = 0; round < rounds; round++) {
    const kind = queueKinds[round % 3] as QueueKind;
    const life = lives[Math.floor(round / 3) % 4] as Life;
    const capacity = capacities[round % 5] as number;
    const where = `round ${round}: ${kind}, ${life}, capacity ${capacity}`;
    const queue = openQueue(fabric, kind, capacity);
    const hand = new QueueHand();
    const answer = hand.ask({ do: "produce", queue: queue.ticket(), life });
    const got: number[] = [];
    const note = (value: Uint8Array | undefined): void => {
      if (value !== undefined) got.push(idOf(value, stride));
    };
    let early: QueueAnswer | undefined;
    void answer.then((came) => (early = came)).catch(() => {});
    await until(() => {
      note(queue.pop());
      return hand.flag(INSIDE) === 1 || early !== undefined;
    }, `${where}, ${got.length} values so far`);
    expect(early, where).toBeUndefined();
    const startMs = performance.now();
    for (const endMs = startMs + Math.random() * 3; performance.now() < endMs;) note(queue.pop());
    const ended = hand.worker.terminate();
    // The consumer waits while the producer dies.
    if (life === "waits") note(await queue.popAsync(20));
    await ended;
    expect(performance.now() - startMs).toBeLessThan(patienceMs);
    const sentinels = Array.from({ length: 5 }, (_, index) => 1_000_000 + index);
    for (const id of sentinels)
      await succeed(() => {
        note(queue.pop());
        return queue.push(valueOf(id, stride));
      });
    await until(() => {
      note(queue.pop());
      return got.at(-1) === sentinels.at(-1);
    }, `${where}, the last value`);
    const count = got.length - sentinels.length;
    expect(got, where).toEqual([...Array(count).keys(), ...sentinels]);
    expect(count, where).toBeGreaterThanOrEqual(hand.flag(PUBLISHED));
    expect(count, where).toBeLessThanOrEqual(hand.flag(ACCEPTED) + 1);
    const { skipped, lost, size } = queue.stats();
    // Exactly the torn claim. In a ring for many a plain push may be torn as well.
    if (life === "claim") expect(skipped, where).toBe(1);
    else expect(skipped, where).toBeLessThanOrEqual(kind === "many" ? 1 : 0);
    expect(lost, where).toBe(0);
    if (kind !== "records") expect(size, where).toBe(0);
    deaths.torn += skipped;
    deaths.byLife[life] = (deaths.byLife[life] ?? 0) + 1;
    queue[Symbol.dispose]();
    queue.lease.release();
  }
  return deaths;
}

/** R1: a consumer is ended somewhere; its successor goes on, from the last publication or with what it held counted. */
export async function consumerDeathRounds(rounds: number): Promise<Deaths> {
  using fabric = openAuto();
  const deaths: Deaths = { byLife: {}, torn: 0 };
  for (let round = 0; round < rounds; round++) {
    const kind = queueKinds[round % 3] as QueueKind;
    const life = (["between", "holds", "waits"] as const)[Math.floor(round / 3) % 3] as Life;
    const capacity = capacities[round % 5] as number;
    const where = `round ${round}: ${kind}, ${life}, capacity ${capacity}`;
    const queue = openQueue(fabric, kind, capacity);
    const hand = new QueueHand();
    void hand.ask({ do: "consume", queue: queue.ticket(), life });
    let pushed = 0;
    const feed = (): void => {
      if (queue.push(valueOf(pushed, stride))) pushed++;
      else queue.flush();
    };
    await until(() => {
      feed();
      return hand.flag(INSIDE) === 1;
    });
    for (const endMs = performance.now() + Math.random() * 3; performance.now() < endMs;) feed();
    await hand.worker.terminate();
    const popped = hand.flag(POPPED);
    const got: number[] = [];
    const takeOne = (): boolean => {
      const value = queue.pop();
      if (value !== undefined) got.push(idOf(value, stride));
      return true;
    };
    await succeed(takeOne);
    const last = pushed + capacity + 3;
    await until(() => {
      if (pushed < last) feed();
      else queue.flush();
      takeOne();
      return pushed === last && got.at(-1) === last - 1;
    });
    const first = got[0] as number;
    expect(got, where).toEqual(Array.from({ length: last - first }, (_, index) => first + index));
    const { lost, skipped } = queue.stats();
    if (kind === "many") {
      // What it popped is gone; what it held is lost, and counted, once its slot has been wanted again.
      expect(first, where).toBeGreaterThanOrEqual(popped);
      expect(first, where).toBeLessThanOrEqual(popped + 1);
      if (life === "holds") expect(lost, where).toBe(1);
      expect(lost, where).toBeLessThanOrEqual(first - popped);
    } else {
      expect(first, where).toBeLessThanOrEqual(popped + 1);
      expect(lost, where).toBe(0);
    }
    expect(skipped, where).toBe(0);
    deaths.torn += lost;
    deaths.byLife[life] = (deaths.byLife[life] ?? 0) + 1;
    queue[Symbol.dispose]();
    queue.lease.release();
  }
  return deaths;
}

/** R7: one thread goes on pushing or popping while the lease ends and its bytes go to the next tenant. */
export async function lapseRounds(rounds: number): Promise<number> {
  const bytes = FabricQueue.bytesFor(3, stride);
  const arena = Math.ceil(bytes / 64) * 64;
  const hand = new QueueHand();
  using fabric = openFabric("wasm", { memoryBytes: arena });
  let operations = 0;
  try {
    for (let round = 0; round < rounds; round++) {
      const kind = queueKinds[round % 2 === 0 ? 0 : 2] as QueueKind;
      const side = round % 4 < 2 ? "push" : "pop";
      const options = { many: kind === "many" };
      const lease = fabric.mem().minBytes(arena).leaseMs(10).acquire();
      const queue = new FabricQueue(lease, 3, stride, undefined, options);
      const answer = hand.ask({ do: "hammer", queue: queue.ticket(), side });
      const value = new Uint8Array(stride).fill(0x11);
      await hand.inside(answer);
      const work = (): unknown => (side === "push" ? queue.pop() : queue.push(value));
      for (let turn = 0; turn < round % 50; turn++) work();
      const how = round % 3;
      if (how === 0) fabric.tick(lease.expiresAtMs);
      else if (how === 1) lease.release();
      else lease.revoke();
      const code = how === 2 ? "REVOKED" : "LEASE_EXPIRED";
      expect(codeOf(work), `round ${round}`).toBe(code);
      await tickUntil(fabric, isQuiet(fabric));
      const next = fabric.mem().minBytes(arena).leaseMs(1_000).acquire();
      const filled = new Uint8Array(arena).fill(0x22);
      next.write(0, filled);
      expect((await answer).code, `round ${round}`).toBe(code);
      expect(codeOf(work), `round ${round}`).toBe(code);
      expect(next.read(0, arena), `round ${round}: R7`).toEqual(filled);
      operations += hand.flag(ACCEPTED);
      queue[Symbol.dispose]();
      next.release();
    }
  } finally {
    await hand.worker.terminate();
  }
  return operations;
}

function codeOf(run: () => unknown): string {
  try {
    run();
  } catch (thrown) {
    if (isFabricError(thrown)) return thrown.code;
    throw thrown;
  }
  return "none";
}

/** A short pause, for a worker to fall asleep in. */
export const pause = (): Promise<unknown> => sleep(30);
