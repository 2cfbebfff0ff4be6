import { FabricError } from "@selvage/fabric";
import {
  chunkId,
  JobCoordinator,
  MemoryOutputStore,
  type ChunkOutput,
  type ChunkWork,
  type CoordinatorEvent,
  type CoordinatorOptions,
  type OutputStore,
} from "@selvage/jobs";
import { describe, expect, it } from "vitest";
import { FakeThreads, missingBytes, openOn, portsOf, VirtualHost, type Deed } from "./rig.ts";

const bytes = (...numbers: number[]): Uint8Array => Uint8Array.from(numbers);
const double: ChunkWork = (chunk) => chunk.map((byte) => 2 * byte);
const firsts = (outputs: readonly ChunkOutput[]): (number | undefined)[] =>
  outputs.map((output) => output.bytes[0]);

const hopeless: ChunkWork = () => {
  throw new Error("hopeless");
};
const broken = (): never => {
  throw new Error("no sum");
};
const never = (): Promise<never> => new Promise(() => {});
const forever: ChunkWork = (_chunk, { signal }) =>
  new Promise((_resolve, reject) => {
    signal.addEventListener("abort", () => reject(signal.reason));
  });
const make = (chunk: Uint8Array): Uint8Array => chunk.map((byte) => byte + 1);

/** A coordinator on a virtual host, whose events are kept. */
function makeRig(retryPolicy: ConstructorParameters<typeof JobCoordinator>[0] = 0) {
  const host = new VirtualHost();
  const coordinator = new JobCoordinator(retryPolicy, portsOf(host));
  const events: CoordinatorEvent[] = [];
  const onEvent = (event: CoordinatorEvent): void => void events.push(event);
  const moves = (): string[] =>
    events.flatMap((event) =>
      event.type === "chunk" ? [`${event.index}:${event.oldState}>${event.newState}`] : [],
    );
  return { host, coordinator, events, onEvent, moves };
}

/** A store whose calls fail as a test says. */
class FlakyStore extends MemoryOutputStore {
  readonly failing: Record<"has" | "get" | "put", number>;
  /** Whether a put that fails has stored. */
  stores = false;

  constructor(failing: Partial<FlakyStore["failing"]>) {
    super();
    this.failing = { has: 0, get: 0, put: 0, ...failing };
  }

  override async has(id: string): Promise<boolean> {
    this.#fail("has");
    return super.has(id);
  }

  override async put(id: string, output: Uint8Array): Promise<boolean> {
    if (this.stores) await super.put(id, output);
    this.#fail("put");
    return super.put(id, output);
  }

  #fail(call: "has" | "put"): void {
    if (this.failing[call]-- > 0) throw new FabricError("STORE_UNAVAILABLE", `no ${call}`);
  }
}

describe("A job", () => {
  it("J2: aggregates the outputs in chunk order, whichever ends first", async () => {
    const { host, coordinator, onEvent, events } = makeRig();
    const work: ChunkWork = async (chunk) => {
      await host.later(100 - (chunk[0] ?? 0) * 10);
      return chunk;
    };
    const chunks = [bytes(1), bytes(2), bytes(3), bytes(4)];
    const run = coordinator.run(chunks, new MemoryOutputStore(), work, firsts, { onEvent });
    const result = await host.pump(run);
    expect(result).toEqual({
      aggregate: [1, 2, 3, 4],
      ...{ chunks: 4, computed: 4, found: 0, attempts: 4, retries: 0 },
      elapsedMs: 150,
    });
    expect(events.at(-1)).toMatchObject({ type: "settled", status: "succeeded" });
    expect(host.alarms).toBe(0);
  });

  it("J2: aggregates many outputs in chunk order", async () => {
    const { coordinator } = makeRig();
    const chunks = Array.from({ length: 100 }, (_, at) => bytes(at));
    const { aggregate } = await coordinator.run(chunks, new MemoryOutputStore(), double, firsts);
    expect(aggregate).toEqual(chunks.map((_, at) => 2 * at));
  });

  it("J2: counts equal chunks twice, and chunks of one id once", async () => {
    const { coordinator } = makeRig();
    const store = new MemoryOutputStore();
    const equal = await coordinator.run([bytes(7), bytes(7)], store, double, firsts);
    expect([equal.aggregate, store.size]).toEqual([[14, 14], 2]);
    const named = [
      { id: "a", bytes: bytes(1) },
      { id: "b", bytes: bytes(1) },
      { id: "a", bytes: bytes(1) },
    ];
    const { aggregate } = await coordinator.run(named, store, double, (outputs) =>
      outputs.map(({ id, index }) => `${id}${index}`),
    );
    expect(aggregate).toEqual(["a0", "b1"]);
  });

  it("refuses one id for chunks that differ, before anything starts", async () => {
    const { coordinator } = makeRig();
    const store = new MemoryOutputStore();
    const chunks = [bytes(5), { id: "a", bytes: bytes(1) }, { id: "a", bytes: bytes(2) }];
    await expect(coordinator.run(chunks, store, double, firsts)).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      details: { id: "a", place: 2 },
    });
    expect(store.size).toBe(0);
  });

  it("gives chunks without an id one of their place and content, the same in every run", () => {
    expect(chunkId(bytes(1, 2, 3), 4)).toBe("4-039058c6f2c0cb492c533b0a4d14ef77");
  });

  it("of no chunks aggregates nothing", async () => {
    const { coordinator, host } = makeRig();
    const module = { href: "file:///nowhere.ts" };
    const result = await coordinator.run([], new MemoryOutputStore(), module, (outputs) => outputs);
    expect([result.aggregate, host.alarms]).toEqual([[], 0]);
  });

  it("J1: does not work again on what the store has, and does on the rest", async () => {
    const { coordinator, onEvent, moves } = makeRig();
    const store = new MemoryOutputStore();
    await store.put("b", bytes(99));
    const chunks = ["a", "b", "c"].map((id) => ({ id, bytes: bytes(1) }));
    const result = await coordinator.run(chunks, store, double, firsts, { onEvent });
    expect(result).toMatchObject({ aggregate: [2, 99, 2], computed: 2, found: 1, attempts: 2 });
    expect(moves()).toContain("1:pending>found");
  });

  it("J1: takes the output that another stored meanwhile", async () => {
    const { coordinator, host } = makeRig();
    const store = new MemoryOutputStore();
    const work: ChunkWork = async () => {
      await host.later(10);
      return bytes(1);
    };
    const run = coordinator.run([{ id: "a", bytes: bytes(0) }], store, work, firsts);
    await store.put("a", bytes(2));
    expect((await host.pump(run)).aggregate).toEqual([2]);
  });

  it("J3: works on as many chunks at a time as it may", async () => {
    for (const concurrency of [1, 3, 100]) {
      const { coordinator, host } = makeRig();
      let working = 0;
      let most = 0;
      const work: ChunkWork = async (chunk) => {
        most = Math.max(most, ++working);
        await host.later(5);
        working--;
        return chunk;
      };
      const chunks = Array.from({ length: 9 }, (_, at) => bytes(at));
      const store = new MemoryOutputStore();
      await host.pump(coordinator.run(chunks, store, work, firsts, { concurrency }));
      expect(most).toBe(Math.min(concurrency, 9));
    }
  });

  it("J4: tries a chunk again by its policy, while others are worked on in its place", async () => {
    const { coordinator, host, onEvent, moves } = makeRig({
      ...{ retries: 2, baseMs: 50, jitter: "none" },
    });
    const seen: string[] = [];
    const work: ChunkWork = (chunk, { attempt }) => {
      seen.push(`${chunk[0]} ${attempt} ${host.nowMs % 1_000}`);
      if (chunk[0] === 0 && attempt < 3) throw new Error("not yet");
      return chunk;
    };
    const options = { onEvent, concurrency: 1 };
    const run = coordinator.run(
      [bytes(0), bytes(1)],
      new MemoryOutputStore(),
      work,
      firsts,
      options,
    );
    const result = await host.pump(run);
    expect(seen).toEqual(["0 1 0", "1 1 0", "0 2 50", "0 3 150"]);
    expect(result).toMatchObject({ aggregate: [0, 1], attempts: 4, retries: 2 });
    expect(moves()).toEqual([
      "0:pending>running",
      "0:running>waiting",
      "1:pending>running",
      "1:running>stored",
      "0:waiting>running",
      "0:running>waiting",
      "0:waiting>running",
      "0:running>stored",
    ]);
  });

  it("J4: fails with what the last attempt threw, begins no other chunk, and keeps what it stored", async () => {
    const { coordinator, host, onEvent, events, moves } = makeRig({ retries: 1, baseMs: 1 });
    const store = new MemoryOutputStore();
    let isWell = false;
    const work: ChunkWork = (chunk, { attempt }) => {
      if (chunk[0] === 1 && !isWell) throw new Error(`attempt ${attempt}`);
      return chunk;
    };
    const chunks = [0, 1, 2, 3].map((at) => bytes(at));
    const options = { onEvent, concurrency: 1 };
    const run = coordinator.run(chunks, store, work, firsts, options);
    await expect(host.pump(run)).rejects.toThrow("attempt 2");
    expect(events.at(-1)).toMatchObject({ type: "settled", status: "failed" });
    expect(moves().filter((move) => move.startsWith("1:"))).toEqual([
      "1:pending>running",
      "1:running>waiting",
      "1:waiting>running",
      "1:running>failed",
    ]);
    isWell = true;
    const again = await coordinator.run(chunks, store, work, firsts);
    expect([again.aggregate, again.found + again.computed]).toEqual([[0, 1, 2, 3], 4]);
    expect(again.found).toBeGreaterThan(0);
    expect(host.alarms).toBe(0);
  });

  it("J4: spends its retry budget on all chunks together", async () => {
    const { coordinator, host } = makeRig({ retries: 10, baseMs: 1 });
    let calls = 0;
    const work: ChunkWork = () => {
      calls++;
      throw new Error("never");
    };
    const options = { retryBudget: 3, concurrency: 1 };
    const chunks = [bytes(0), bytes(1), bytes(2)];
    const run = coordinator.run(chunks, new MemoryOutputStore(), work, firsts, options);
    await expect(host.pump(run)).rejects.toThrow("never");
    expect(calls).toBe(4);
  });

  it("does not try again what its policy says is hopeless, and fails when the policy throws", async () => {
    for (const retryOn of [
      () => false,
      () => {
        throw new Error("hopeless");
      },
    ]) {
      const { coordinator, host } = makeRig({ retries: 5, retryOn });
      const run = coordinator.run([bytes(0)], new MemoryOutputStore(), hopeless, firsts);
      await expect(host.pump(run)).rejects.toThrow("hopeless");
    }
  });

  it("refuses output that is no bytes: ENCODE", async () => {
    const { coordinator } = makeRig();
    const run = coordinator.run([bytes(0)], new MemoryOutputStore(), () => "text" as never, firsts);
    await expect(run).rejects.toMatchObject({ code: "ENCODE" });
  });

  it.each(["has", "put"] as const)(
    "J4: tries again when the store fails to %s, and fails with it",
    async (call) => {
      const well = new FlakyStore({ [call]: 2 });
      const { coordinator, host } = makeRig({ retries: 2, baseMs: 1 });
      const run = coordinator.run([bytes(4)], well, double, firsts);
      expect(await host.pump(run)).toMatchObject({ aggregate: [8], attempts: 3, retries: 2 });
      const down = new FlakyStore({ [call]: 3 });
      const lost = coordinator.run([bytes(4)], down, double, firsts);
      await expect(host.pump(lost)).rejects.toMatchObject({ code: "STORE_UNAVAILABLE" });
    },
  );

  it("J1: does not work again when a put that failed has stored after all", async () => {
    const store = new FlakyStore({ put: 1 });
    store.stores = true;
    const { coordinator, host } = makeRig({ retries: 1, baseMs: 1 });
    const run = coordinator.run([bytes(4)], store, double, firsts);
    expect(await host.pump(run)).toMatchObject({
      aggregate: [8],
      attempts: 1,
      retries: 1,
      found: 0,
    });
  });

  it("fails when the store has lost an output: NOT_FOUND", async () => {
    const store: OutputStore = {
      has: async () => true,
      get: async () => undefined,
      put: async () => true,
    };
    const { coordinator } = makeRig();
    const run = coordinator.run([bytes(4)], store, double, firsts);
    await expect(run).rejects.toMatchObject({ code: "NOT_FOUND" });
  });

  it("fails with what the aggregate or a watcher throws", async () => {
    const { coordinator, events, onEvent, host } = makeRig();
    const store = new MemoryOutputStore();
    const run = coordinator.run([bytes(1)], store, double, broken, { onEvent });
    await expect(run).rejects.toThrow("no sum");
    expect(events.at(-1)).toMatchObject({ type: "settled", status: "failed" });
    for (const when of ["running", "stored", "settled"]) {
      const watch = (event: CoordinatorEvent): void => {
        if (event.type === when || (event.type === "chunk" && event.newState === when))
          throw new Error(`at ${when}`);
      };
      const watched = coordinator.run([bytes(2)], new MemoryOutputStore(), double, firsts, {
        onEvent: watch,
      });
      await expect(host.pump(watched)).rejects.toThrow(`at ${when}`);
    }
    expect(host.alarms).toBe(0);
  });

  it("tells its progress: a fraction that never falls, and is 1 at the end only", async () => {
    const { coordinator, host, onEvent, events } = makeRig({ retries: 1, baseMs: 5 });
    const work: ChunkWork = async (chunk, context) => {
      context.progress(0.5);
      context.log(`at ${chunk[0]}`);
      await host.later(5);
      if (context.attempt === 1) throw new Error("once more");
      context.progress(7);
      return chunk;
    };
    const chunks = [bytes(0), bytes(1)];
    await host.pump(coordinator.run(chunks, new MemoryOutputStore(), work, firsts, { onEvent }));
    const fractions = events.flatMap((event) =>
      event.type === "progress" ? [[event.done, event.fraction]] : [],
    );
    expect(fractions).toEqual([
      [0, 0.25],
      [0, 0.5],
      [0, 0.5],
      [0, 0.5],
      [1, 0.75],
      [2, 1],
    ]);
    expect(events.filter(({ type }) => type === "log")).toHaveLength(4);
  });

  it.each<[what: string, given: Record<string, unknown>]>([
    ["chunks", { chunks: 5 }],
    ["chunk 0", { chunks: ["text"] }],
    ["id of chunk 0", { chunks: [{ id: "", bytes: bytes(1) }] }],
    ["id of chunk 0", { chunks: [{ id: 1, bytes: bytes(1) }] }],
    ["store", { store: {} }],
    ["work", { work: 5 }],
    ["aggregate", { aggregate: undefined }],
    ["options", { options: { concurency: 1 } }],
    ["concurrency", { options: { concurrency: 0 } }],
    ["retryBudget", { options: { retryBudget: -1 } }],
    ["timeoutMs", { options: { timeoutMs: 0 } }],
    ["graceMs", { options: { graceMs: Infinity } }],
    ["stallMs", { options: { stallMs: 0 } }],
    ["ttlMs", { options: { ttlMs: 0 } }],
    ["signal", { options: { signal: {} } }],
    ["onEvent", { options: { onEvent: {} } }],
    ["fabric", { options: { fabric: {} } }],
    ["runner", { options: { runner: {} } }],
  ])("refuses %s that are none: %o", async (what, given) => {
    const { coordinator } = makeRig();
    const { chunks, store, work, aggregate, options } = {
      ...{ chunks: [], store: new MemoryOutputStore(), work: double, aggregate: firsts },
      options: {},
      ...given,
    };
    const run = coordinator.run(chunks as never, store, work, aggregate, options);
    await expect(run).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await expect(run).rejects.toThrow(what);
  });
});

describe("Stopping a job", () => {
  it("cancels what runs by its signal, and begins nothing else", async () => {
    const { coordinator, host, onEvent, moves, events } = makeRig();
    const controller = new AbortController();
    const options: CoordinatorOptions = { onEvent, signal: controller.signal, concurrency: 2 };
    const chunks = [0, 1, 2].map((at) => bytes(at));
    const store = new MemoryOutputStore();
    const run = coordinator.run(chunks, store, forever, firsts, options);
    host.timer.after(30, () => controller.abort(new Error("enough")));
    await expect(host.pump(run)).rejects.toThrow("enough");
    expect(moves()).toEqual([
      "0:pending>running",
      "1:pending>running",
      "2:pending>cancelled",
      "0:running>cancelled",
      "1:running>cancelled",
    ]);
    expect(events.at(-1)).toMatchObject({ type: "settled", status: "cancelled" });
    expect(host.alarms).toBe(0);
  });

  it("starts nothing when it was cancelled before", async () => {
    const { coordinator, onEvent, moves } = makeRig();
    const options = { onEvent, signal: AbortSignal.abort(new Error("before")) };
    const run = coordinator.run([bytes(0)], new MemoryOutputStore(), forever, firsts, options);
    await expect(run).rejects.toThrow("before");
    expect(moves()).toEqual(["0:pending>cancelled"]);
  });

  it("cancels what waits for a retry, and an aggregate that does not end", async () => {
    const { coordinator, host } = makeRig({ retries: 5, baseMs: 5_000, jitter: "none" });
    const controller = new AbortController();
    const { signal } = controller;
    const waiting = coordinator.run([bytes(1)], new MemoryOutputStore(), hopeless, firsts, {
      signal,
    });
    host.timer.after(30, () => controller.abort(new Error("enough")));
    await expect(host.pump(waiting)).rejects.toThrow("enough");
    const other = new AbortController();
    const run = coordinator.run([bytes(0)], new MemoryOutputStore(), double, never, {
      signal: other.signal,
    });
    host.timer.after(30, () => other.abort(new Error("no sum")));
    await expect(host.pump(run)).rejects.toThrow("no sum");
    expect(host.alarms).toBe(0);
  });

  it("J5: leaves work that does not listen after the grace, and stores nothing of it", async () => {
    const { coordinator, host, onEvent, events, moves } = makeRig();
    const controller = new AbortController();
    const store = new MemoryOutputStore();
    const deaf: ChunkWork = async (chunk) => {
      await host.later(1_000);
      return chunk;
    };
    const options = { onEvent, signal: controller.signal, graceMs: 100 };
    const run = coordinator.run([bytes(0)], store, deaf, firsts, options);
    host.timer.after(10, () => controller.abort(new Error("enough")));
    const startMs = host.nowMs;
    await expect(host.pump(run)).rejects.toThrow("enough");
    expect(host.nowMs - startMs).toBe(110);
    expect(moves()).toEqual(["0:pending>running", "0:running>cancelled"]);
    const count = events.length;
    await host.pump(host.later(2_000));
    expect([store.size, events.length]).toEqual([0, count]);
  });

  it("ends an attempt that takes too long, and tries again", async () => {
    const { coordinator, host } = makeRig({ retries: 1, baseMs: 1 });
    const work: ChunkWork = (chunk, context) =>
      context.attempt === 1 ? forever(chunk, context) : chunk;
    const options = { timeoutMs: 200 };
    const run = coordinator.run([bytes(3)], new MemoryOutputStore(), work, firsts, options);
    expect(await host.pump(run)).toMatchObject({ aggregate: [3], attempts: 2 });
    const lost = coordinator.run([bytes(3)], new MemoryOutputStore(), forever, firsts, options);
    await expect(host.pump(lost)).rejects.toMatchObject({ code: "TIMED_OUT" });
  });

  it("J5: what comes after the time does not count, also within the grace", async () => {
    const { coordinator, host } = makeRig();
    const store = new MemoryOutputStore();
    const late: ChunkWork = async (chunk) => {
      await host.later(220);
      return chunk;
    };
    const run = coordinator.run([bytes(3)], store, late, firsts, { timeoutMs: 200 });
    await expect(host.pump(run)).rejects.toMatchObject({ code: "TIMED_OUT" });
    expect(store.size).toBe(0);
  });

  it("J3: fails when timed-out work on this thread does not stop: it would run beside its next attempt", async () => {
    const { coordinator, host } = makeRig({ retries: 3, baseMs: 1 });
    const options = { timeoutMs: 200, graceMs: 50 };
    const run = coordinator.run([bytes(3)], new MemoryOutputStore(), never, firsts, options);
    await expect(host.pump(run)).rejects.toMatchObject({
      code: "TIMED_OUT",
      details: { isOverrunning: true, attempt: 1 },
    });
  });
});

describe("A job on threads", () => {
  const module = { href: "file:///work.ts" };

  async function ranOn(
    deed: (chunk: string, attempt: number) => Deed,
    options: CoordinatorOptions = {},
    { retries = 2, threads = 2, memoryBytes = 1 << 20 } = {},
  ) {
    const rig = makeRig({ retries, baseMs: 1 });
    const { host, coordinator, onEvent } = rig;
    using fabric = openOn(host, { memoryBytes });
    const runner = new FakeThreads(host, fabric, threads, deed, make);
    const chunks = ["a", "b", "c"].map((id, at) => ({ id, bytes: bytes(at, at) }));
    const store = new MemoryOutputStore();
    const run = coordinator.run(chunks, store, module, firsts, {
      ...{ fabric, runner, onEvent, ...options },
    });
    const [settled] = await host.pump(Promise.allSettled([run]));
    await host.pump(host.later(100));
    const left = { held: runner.held, bytes: missingBytes(fabric), closes: runner.closes };
    return { ...rig, settled, store, left };
  }
  const nothing = { held: 0, bytes: 0, closes: 0 };

  it("sends chunks and takes outputs by ticket, and leaves nothing leased", async () => {
    const { settled, left } = await ranOn(() => ({ do: "make", ms: 5 }));
    expect(settled).toMatchObject({ value: { aggregate: [1, 2, 3], attempts: 3 } });
    expect(left).toEqual(nothing);
  });

  it.each(["starting", "running", "committing"] as const)(
    "tries again when a thread dies %s, and has its leases back",
    async (at) => {
      const { settled, left } = await ranOn((chunk, attempt) =>
        chunk === "b" && attempt < 3 ? { do: "die", at, ms: 5 } : { do: "make", ms: 5 },
      );
      expect(settled).toMatchObject({ value: { aggregate: [1, 2, 3], attempts: 5, retries: 2 } });
      expect(left).toEqual(nothing);
    },
  );

  it("ends the thread of an attempt that takes too long, and tries again", async () => {
    const { settled, left } = await ranOn(
      (chunk, attempt) =>
        chunk === "b" && attempt === 1 ? { do: "hang", listens: false } : { do: "make", ms: 5 },
      { timeoutMs: 100 },
    );
    expect(settled).toMatchObject({ value: { aggregate: [1, 2, 3], attempts: 4 } });
    expect(left).toEqual(nothing);
  });

  it("does not count the wait for a thread as the attempt's time", async () => {
    const { settled } = await ranOn(
      () => ({ do: "make", ms: 80 }),
      { timeoutMs: 100, concurrency: 3 },
      { threads: 1, retries: 0 },
    );
    expect(settled).toMatchObject({ value: { attempts: 3 } });
  });

  it("cancels: threads that do not listen are ended after the grace", async () => {
    const controller = new AbortController();
    const { settled, left, moves } = await ranOn(
      (chunk) => {
        if (chunk === "b") controller.abort(new Error("enough"));
        return { do: "hang", listens: chunk === "a" };
      },
      { signal: controller.signal, concurrency: 3 },
    );
    expect(settled).toMatchObject({ status: "rejected", reason: { message: "enough" } });
    expect(left).toEqual(nothing);
    expect(moves().filter((move) => move.endsWith("cancelled"))).toHaveLength(3);
  });

  it("J5: does not count work whose lease has ended, and tries again", async () => {
    const host = new VirtualHost();
    using fabric = openOn(host);
    let revoked = 0;
    const runner = new FakeThreads(host, fabric, 1, () => ({ do: "make", ms: 50 }), make);
    host.timer.after(30, () => {
      for (const lease of fabric.leases()) {
        lease.release();
        revoked++;
      }
    });
    const coordinator = new JobCoordinator({ retries: 1, baseMs: 1 }, portsOf(host));
    const errors: unknown[] = [];
    const onEvent = (event: CoordinatorEvent): void => {
      if (event.type === "chunk" && event.error !== undefined) errors.push(event.error);
    };
    const run = coordinator.run([bytes(1)], new MemoryOutputStore(), module, firsts, {
      ...{ fabric, runner, onEvent },
    });
    expect(await host.pump(run)).toMatchObject({ aggregate: [2], attempts: 2 });
    expect([revoked, errors]).toMatchObject([1, [{ code: "LEASE_EXPIRED" }]]);
  });

  it("J5: does not count an output whose chunk's lease ended just before it was taken", async () => {
    const host = new VirtualHost();
    using fabric = openOn(host);
    let calls = 0;
    const ending = (chunk: Uint8Array): Uint8Array => {
      if (calls++ === 0) for (const lease of fabric.leases()) lease.release();
      return make(chunk);
    };
    const runner = new FakeThreads(host, fabric, 1, () => ({ do: "make", ms: 0 }), ending);
    const coordinator = new JobCoordinator({ retries: 1, baseMs: 1 }, portsOf(host));
    const run = coordinator.run([bytes(1)], new MemoryOutputStore(), module, firsts, {
      ...{ fabric, runner },
    });
    expect(await host.pump(run)).toMatchObject({ aggregate: [2], attempts: 2 });
  });

  it("keeps its leases over many TTLs", async () => {
    const { settled, left } = await ranOn(() => ({ do: "make", ms: 2_000 }), { ttlMs: 100 });
    expect(settled).toMatchObject({ value: { attempts: 3 } });
    expect(left).toEqual(nothing);
  });

  it("waits out a fabric that is full, by its retries", async () => {
    const { settled, left } = await ranOn(
      () => ({ do: "make", ms: 5 }),
      { concurrency: 3 },
      { memoryBytes: 256, retries: 20, threads: 3 },
    );
    expect(settled).toMatchObject({ value: { aggregate: [1, 2, 3] } });
    expect(left).toEqual(nothing);
  });
});
