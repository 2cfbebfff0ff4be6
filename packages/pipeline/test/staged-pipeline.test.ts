import { rawCodec, type Codec } from "@selvage/fabric";
import {
  MemoryCheckpointStore,
  STAGE_DEFAULTS,
  StagedPipeline,
  type CheckpointStore,
  type StagedEvent,
  type StagedOptions,
  type StageState,
} from "@selvage/pipeline";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { decodeRun, encodeRun } from "../src/staged/staged-checkpoint.ts";
import { StagedProcess, VirtualTime } from "./staged-rig.ts";

const id = "nightly";

function open<In = unknown>(
  options: StagedOptions = {},
  time: VirtualTime = new VirtualTime(),
): StagedPipeline<In> {
  const { ports } = new StagedProcess(time, new MemoryCheckpointStore(), 7);
  return new StagedPipeline<In>(options, ports);
}

/** A store over another one: any of its calls can be replaced. */
function storeWith(store: CheckpointStore, calls: Partial<CheckpointStore>): CheckpointStore {
  return {
    read: (key) => store.read(key),
    write: (key, bytes, expected) => store.write(key, bytes, expected),
    remove: (key, expected) => store.remove(key, expected),
    ...calls,
  };
}

/** What a stage throws until it has been tried so often. */
function failing(times: number): () => string {
  let left = times;
  return () => {
    if (left-- > 0) throw new Error(`${left} left`);
    return "done";
  };
}

describe("StagedPipeline", () => {
  it("gives each stage the state of the one before, and resolves with the last", async () => {
    const pipeline = open<number>()
      .stage("double", (n) => n * 2)
      .stage("text", async (n) => `${n}`)
      .stage("shout", { retries: 0 }, (text) => [`${text}!`]);
    expect(pipeline.stages).toEqual(["double", "text", "shout"]);
    expect(await pipeline.run(21)).toEqual(["42!"]);
  });

  it("stores nothing without a pipelineId: a state need not even have a form that could be stored", async () => {
    const calls: string[] = [];
    const refuse = (name: string) => async (): Promise<never> => {
      calls.push(name);
      throw new Error("asked");
    };
    const checkpointStore: CheckpointStore = {
      read: refuse("read"),
      write: refuse("write"),
      remove: refuse("remove"),
    };
    const made = { itself: undefined as unknown, call: () => 1n };
    made.itself = made;
    const pipeline = open({ checkpointStore })
      .stage("make", () => made)
      .stage("pass", (state) => state);
    expect(await pipeline.run(undefined)).toBe(made);
    expect(calls).toEqual([]);
  });

  it("keeps nothing once it has succeeded", async () => {
    const checkpointStore = new MemoryCheckpointStore();
    const pipeline = open<number>({ checkpointStore }).stage("one", (n) => n + 1);
    expect(await pipeline.run(1, { pipelineId: id })).toBe(2);
    expect(await checkpointStore.read(id)).toBeUndefined();
    // The id is free for another payload.
    expect(await pipeline.run(5, { pipelineId: id })).toBe(6);
  });

  it("tries a stage again: three retries unless told otherwise, baseMs times backoff to the retry before each", async () => {
    const time = new VirtualTime();
    const atMs: number[] = [];
    const pipeline = open({}, time).stage("a", () => {
      atMs.push(time.nowMs());
      throw new Error("always");
    });
    await expect(pipeline.run(0)).rejects.toThrow("always");
    const waits = atMs.slice(1).map((at, index) => at - (atMs[index] as number));
    const { baseMs, backoff, retries } = STAGE_DEFAULTS;
    expect([retries, backoff]).toEqual([3, 2]);
    expect(waits).toEqual([baseMs, baseMs * 2, baseMs * 4]);
  });

  it("waits as it is told, and no longer than maxMs", async () => {
    const time = new VirtualTime();
    const startMs = time.nowMs();
    const options = { retries: 4, baseMs: 10, backoff: 3, maxMs: 100 };
    const pipeline = open({}, time).stage("a", options, failing(4));
    expect(await pipeline.run(0)).toBe("done");
    expect(time.nowMs() - startMs).toBe(10 + 30 + 90 + 100);
  });

  it("does not try again what retryOn does not, and throws what the stage threw", async () => {
    const thrown = new TypeError("not worth it");
    let attempts = 0;
    const pipeline = open().stage("a", { retryOn: (error) => error !== thrown }, () => {
      attempts++;
      throw thrown;
    });
    await expect(pipeline.run(0)).rejects.toBe(thrown);
    expect(attempts).toBe(1);
  });

  it("tells each change of a stage and of the run, from its old state to its new one", async () => {
    const events: StagedEvent[] = [];
    const pipeline = open({ checkpointStore: new MemoryCheckpointStore() })
      .stage("a", () => "x")
      .stage("b", { retries: 1 }, failing(1));
    await pipeline.run(0, { pipelineId: id, onEvent: (event) => events.push(event) });
    const told = events.map((event) => {
      if (event.type === "run") return `run ${event.oldState} ${event.newState}`;
      if (event.type === "stage")
        return `${event.name} ${event.oldState} ${event.newState} ${event.attempt}`;
      return event.type;
    });
    expect(told).toEqual([
      "run idle running",
      "a pending running 1",
      "checkpoint",
      "a running succeeded 1",
      "b pending running 1",
      "b running waiting 1",
      "b waiting running 2",
      "checkpoint",
      "b running succeeded 2",
      "run running succeeded",
    ]);
    const checkpoint = events.find((event) => event.type === "checkpoint");
    expect(checkpoint).toMatchObject({ name: "a", bytes: 3, place: "inline" });
  });

  it("tells progress while the attempt lasts, and refuses a fraction that is none", async () => {
    const events: StagedEvent[] = [];
    let late: ((fraction?: number) => void) | undefined;
    const pipeline = open().stage("a", { retries: 0 }, (_state, context) => {
      const progress = (fraction?: number): void => context.progress(fraction);
      late = progress;
      progress(0.5);
      progress();
      expect(() => progress(2)).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
    });
    await pipeline.run(0, { onEvent: (event) => events.push(event) });
    late?.(1);
    const told = events.filter((event) => event.type === "progress");
    expect(told.map(({ fraction }) => fraction)).toEqual([0.5, undefined]);
  });

  it("gives a stage what a resume would give it: the codec's form, an undefined one as it is", async () => {
    const seen: unknown[] = [];
    const pipeline = open({ checkpointStore: new MemoryCheckpointStore() })
      .stage("a", (state) => {
        seen.push(state);
        return { at: new Date(0), gone: undefined };
      })
      .stage("b", (state) => void seen.push(state))
      .stage("c", (state) => void seen.push(state));
    expect(await pipeline.run(undefined, { pipelineId: id })).toBeUndefined();
    expect(seen).toEqual([undefined, { at: "1970-01-01T00:00:00.000Z" }, undefined]);
    expect(Object.keys(seen[1] as object)).toEqual(["at"]);
  });

  it("keeps states by another codec, bytes as they are", async () => {
    const checkpointStore = new MemoryCheckpointStore();
    const codec = rawCodec as Codec<unknown>;
    const broken = failing(1);
    const pipeline = open<Uint8Array>({ checkpointStore, codec })
      .stage("a", (bytes) => bytes.map((byte) => byte ^ 0xff))
      .stage("b", { retries: 0 }, (bytes) => (broken(), bytes));
    const payload = Uint8Array.of(0, 255, 7);
    await expect(pipeline.run(payload, { pipelineId: id })).rejects.toThrow("0 left");
    expect(await pipeline.run(payload, { pipelineId: id })).toEqual(Uint8Array.of(255, 0, 248));
  });
});

describe("a stage's time", () => {
  it("ends an attempt that takes too long, tells it, and tries again once it has stopped", async () => {
    const time = new VirtualTime();
    const running = { now: 0, most: 0 };
    let attempts = 0;
    const reasons: string[] = [];
    const pipeline = open({}, time).stage("a", { timeoutMs: 50 }, async (_state, { signal }) => {
      attempts++;
      running.most = Math.max(running.most, ++running.now);
      if (attempts < 3) {
        const { promise, resolve } = Promise.withResolvers<void>();
        signal.addEventListener("abort", resolve);
        await promise;
        reasons.push((signal.reason as { code: string }).code);
        await time.wait(20);
      }
      running.now--;
      return attempts;
    });
    expect(await pipeline.run(0)).toBe(3);
    expect(running.most).toBe(1);
    expect(reasons).toEqual(["TIMED_OUT", "TIMED_OUT"]);
  });

  it("fails TIMED_OUT when a body does not stop: it would run beside its next attempt", async () => {
    const time = new VirtualTime();
    let attempts = 0;
    const pipeline = open({ graceMs: 100 }, time).stage("a", { timeoutMs: 50 }, async () => {
      attempts++;
      await time.wait(10_000);
    });
    const startMs = time.nowMs();
    await expect(pipeline.run(0)).rejects.toMatchObject({
      code: "TIMED_OUT",
      details: { stage: "a", attempt: 1, timeoutMs: 50, isOverrunning: true },
    });
    expect([attempts, time.nowMs() - startMs]).toEqual([1, 150]);
  });

  it("counts a late result as none, also when its body blocked the thread", async () => {
    const time = new VirtualTime();
    let skewMs = 0;
    const { ports } = new StagedProcess(time, new MemoryCheckpointStore(), 7);
    const clock = { nowMs: () => time.nowMs() + skewMs };
    const pipeline = new StagedPipeline({}, { ...ports, clock }).stage(
      "a",
      { timeoutMs: 50, retries: 0 },
      () => {
        skewMs += 60;
        return "late";
      },
    );
    await expect(pipeline.run(0)).rejects.toMatchObject({
      code: "TIMED_OUT",
      details: { isOverrunning: false },
    });
  });
});

describe("cancelling a run", () => {
  it("tells the stage, rejects with the signal's reason, and keeps what was reached", async () => {
    const time = new VirtualTime();
    const abort = new AbortController();
    const events: StagedEvent[] = [];
    const ran: string[] = [];
    let isSlow = true;
    const pipeline = open({ checkpointStore: new MemoryCheckpointStore() }, time)
      .stage("a", () => void ran.push("a"))
      .stage("b", async (_state, { signal }) => {
        ran.push("b");
        if (!isSlow) return "end";
        time.after(10, () => abort.abort("enough"));
        const { promise, resolve } = Promise.withResolvers<void>();
        signal.addEventListener("abort", resolve);
        await promise;
        return signal.reason;
      });
    const options = { pipelineId: id, signal: abort.signal };
    const onEvent = (event: StagedEvent): void => void events.push(event);
    await expect(pipeline.run(0, { ...options, onEvent })).rejects.toBe("enough");
    expect(events.slice(-2)).toMatchObject([
      { type: "stage", name: "b", oldState: "running", newState: "cancelled", attempt: 1 },
      { type: "run", oldState: "running", newState: "cancelled" },
    ]);
    await expect(pipeline.run(0, options)).rejects.toBe("enough");
    isSlow = false;
    expect(await pipeline.run(0, { pipelineId: id })).toBe("end");
    expect(ran).toEqual(["a", "b", "b"]);
  });

  it("does not wait for a body that does not stop, nor for a retry", async () => {
    const time = new VirtualTime();
    for (const body of [(): Promise<unknown> => time.wait(60_000), failing(9)]) {
      const abort = new AbortController();
      const startMs = time.nowMs();
      time.after(20, () => abort.abort());
      const pipeline = open({ graceMs: 100 }, time).stage("a", { baseMs: 5_000 }, body);
      const thrown: unknown = await pipeline
        .run(0, { signal: abort.signal })
        .catch((error: unknown) => error);
      expect(thrown).toBe(abort.signal.reason);
      expect(time.nowMs() - startMs).toBeLessThanOrEqual(120);
    }
  });

  it("comes too late once the last stage has ended: nothing would be left to go on with", async () => {
    const store = new MemoryCheckpointStore();
    const abort = new AbortController();
    const checkpointStore = storeWith(store, {
      remove: async (key, expected) => {
        const isRemoved = await store.remove(key, expected);
        abort.abort();
        await Promise.resolve();
        return isRemoved;
      },
    });
    const pipeline = open({ checkpointStore }).stage("a", () => "made");
    expect(await pipeline.run(0, { pipelineId: id, signal: abort.signal })).toBe("made");
  });

  it("ends the run with what a watcher throws, and lets the id go", async () => {
    const checkpointStore = new MemoryCheckpointStore();
    const pipeline = open({ checkpointStore })
      .stage("a", () => 1)
      .stage("b", () => 2);
    for (const last of ["checkpoint", "run idle", "b pending", "b running", "run running"]) {
      const thrown = new Error(last);
      const onEvent = (event: StagedEvent): void => {
        const name = event.type === "stage" ? event.name : event.type;
        const what = "oldState" in event ? `${name} ${event.oldState}` : name;
        if (what === last) throw thrown;
      };
      await expect(pipeline.run(0, { pipelineId: id, onEvent })).rejects.toBe(thrown);
      expect(await pipeline.run(0, { pipelineId: id })).toBe(2);
    }
  });
});

describe("what is off", () => {
  it("CONFLICT: the stage list or the payload has changed; onMismatch begins anew, and says so", async () => {
    const checkpointStore = new MemoryCheckpointStore();
    const ran: string[] = [];
    const make = (names: readonly string[], fails = false): StagedPipeline => {
      const pipeline = open({ checkpointStore });
      for (const name of names)
        pipeline.stage(name, { retries: 0 }, () => {
          ran.push(name);
          if (fails && name === names.at(-1)) throw new Error("broken");
          return name;
        });
      return pipeline;
    };
    await expect(make(["a", "b"], true).run({ n: 1 }, { pipelineId: id })).rejects.toThrow(
      "broken",
    );
    await expect(make(["a", "b"]).run({ n: 2 }, { pipelineId: id })).rejects.toMatchObject({
      code: "CONFLICT",
      details: { pipelineId: id, because: "payload", finished: 1, stages: ["a", "b"] },
    });
    for (const names of [["a", "c"], ["b", "a"], ["a"], ["a", "b", "c"]])
      await expect(make(names).run({ n: 1 }, { pipelineId: id })).rejects.toMatchObject({
        code: "CONFLICT",
        details: { because: "stages" },
      });
    expect(ran).toEqual(["a", "b"]);
    const events: StagedEvent[] = [];
    const options = { pipelineId: id, onMismatch: "restart" } as const;
    const onEvent = (event: StagedEvent): void => void events.push(event);
    expect(await make(["a", "c"]).run({ n: 2 }, { ...options, onEvent })).toBe("c");
    expect(ran).toEqual(["a", "b", "a", "c"]);
    expect(events.filter(({ type }) => type === "restarted")).toMatchObject([{ finished: 0 }]);
    // The same stages and payload are no mismatch.
    await expect(make(["a", "b"], true).run(0, { pipelineId: id })).rejects.toThrow("broken");
    ran.length = 0;
    await make(["a", "b"]).run(0, options);
    expect(ran).toEqual(["b"]);
  });

  it("CONFLICT: a second run of one id beside the first, at once", async () => {
    const time = new VirtualTime();
    const pipeline = open({ checkpointStore: new MemoryCheckpointStore() }, time).stage("a", () =>
      time.wait(50),
    );
    const first = pipeline.run(0, { pipelineId: id });
    await expect(pipeline.run(0, { pipelineId: id })).rejects.toMatchObject({ code: "CONFLICT" });
    expect(await pipeline.run(0, { pipelineId: "another" })).toBeUndefined();
    await first;
  });

  it("STORE_UNAVAILABLE: a store that fails at any of its calls fails the run, which never begins anew by itself", async () => {
    let failedRuns = 0;
    for (let failsAt = 1; failsAt <= 8; failsAt++)
      for (const isDone of [false, true]) {
        const store = new MemoryCheckpointStore();
        let calls = 0;
        const ask = async <T>(call: () => Promise<T>): Promise<T> => {
          const isFirst = ++calls === failsAt;
          if (isFirst && isDone) await call();
          if (calls >= failsAt && calls < failsAt + 50) throw new Error("connection refused");
          return call();
        };
        const checkpointStore: CheckpointStore = {
          read: (key) => ask(() => store.read(key)),
          write: (key, bytes, expected) => ask(() => store.write(key, bytes, expected)),
          remove: (key, expected) => ask(() => store.remove(key, expected)),
        };
        const ran: string[] = [];
        const pipeline = open({ checkpointStore, leaseMs: 1_000 })
          .stage("a", () => void ran.push("a"))
          .stage("b", () => void ran.push("b"));
        const outcome: unknown = await pipeline
          .run(0, { pipelineId: id })
          .catch((error: unknown) => error);
        if (outcome === undefined) continue;
        failedRuns++;
        expect(outcome).toMatchObject({ code: "STORE_UNAVAILABLE", cause: { name: "Error" } });
        // Up again: it goes on where it was acknowledged; at most the stage that was not comes again.
        calls = 1_000;
        const finished = await finishedIn(store);
        const before = ran.length;
        await pipeline.run(0, { pipelineId: id });
        const wasGone = finished === undefined && before === 2;
        expect(ran.slice(before)).toEqual(["a", "b"].slice(wasGone ? 0 : (finished ?? 0)));
      }
    expect(failedRuns).toBeGreaterThanOrEqual(8);
  });

  it("STALE_EPOCH: a thread that was blocked past its lease looks first whether it still has the run", async () => {
    const time = new VirtualTime();
    const store = new MemoryCheckpointStore();
    let skewMs = 0;
    const { ports } = new StagedProcess(time, store, 7);
    const clock = { nowMs: () => time.nowMs() + skewMs };
    let attempts = 0;
    const pipeline = new StagedPipeline({ checkpointStore: store }, { ...ports, clock }).stage(
      "a",
      { baseMs: 0 },
      async () => {
        attempts++;
        skewMs += 10_000;
        const found = await store.read(id);
        const state = decodeRun(found?.bytes as Uint8Array);
        const theirs = { ...state, header: { ...state.header, runner: "another", epoch: 0 } };
        await store.write(id, encodeRun(theirs), found?.revision ?? 0);
        throw new Error("blocked");
      },
    );
    await expect(pipeline.run(0, { pipelineId: id })).rejects.toMatchObject({
      code: "STALE_EPOCH",
      details: { pipelineId: id, epoch: 1, found: 2 },
    });
    expect(attempts).toBe(1);
    expect(decodeRun((await store.read(id))?.bytes as Uint8Array).header.runner).toBe("another");
  });

  it("STORE_UNAVAILABLE: a store that never answers loses the run its lease, and hangs nothing", async () => {
    const time = new VirtualTime();
    const store = new MemoryCheckpointStore();
    let writes = 0;
    const checkpointStore = storeWith(store, {
      write: (key, bytes, expected) =>
        ++writes === 1 ? store.write(key, bytes, expected) : Promise.withResolvers<never>().promise,
    });
    const pipeline = open({ checkpointStore, leaseMs: 1_000 }, time).stage("a", () => 1);
    const startMs = time.nowMs();
    await expect(pipeline.run(0, { pipelineId: id })).rejects.toMatchObject({
      code: "STORE_UNAVAILABLE",
    });
    expect(time.nowMs() - startMs).toBeLessThan(2_500);
  });

  it("a store that fails for a while costs nothing, as long as the lease lasts", async () => {
    const time = new VirtualTime();
    const store = new MemoryCheckpointStore();
    let failed = 0;
    const startMs = time.nowMs();
    const checkpointStore = storeWith(store, {
      write: async (key, bytes, expected) => {
        const atMs = time.nowMs() - startMs;
        if (atMs > 300 && atMs < 700) {
          // Every other one is done, and not heard of.
          if (failed++ % 2 === 0) await store.write(key, bytes, expected);
          throw new Error("connection reset");
        }
        return store.write(key, bytes, expected);
      },
    });
    const pipeline = open({ checkpointStore, leaseMs: 1_000 }, time).stage("a", () =>
      time.wait(3_000),
    );
    await pipeline.run(0, { pipelineId: id });
    expect(failed).toBeGreaterThan(1);
    expect(await store.read(id)).toBeUndefined();
  });

  it("CAPACITY_EXCEEDED: a state that the store has no room for fails the run where it is", async () => {
    const store = new MemoryCheckpointStore();
    const checkpointStore = storeWith(store, {
      write: async (key, bytes, expected) => {
        const { FabricError } = await import("@selvage/fabric");
        if (bytes.length > 1_000)
          throw new FabricError("CAPACITY_EXCEEDED", "too long", { bytes: bytes.length });
        return store.write(key, bytes, expected);
      },
    });
    const pipeline = open({ checkpointStore })
      .stage("small", () => "x")
      .stage("large", () => "x".repeat(2_000));
    await expect(pipeline.run(0, { pipelineId: id })).rejects.toMatchObject({
      code: "CAPACITY_EXCEEDED",
    });
    expect(await finishedIn(store)).toBe(1);
  });

  it("ENCODE: a state or a payload that has no stored form, told at its stage, not tried again", async () => {
    const store = new MemoryCheckpointStore();
    let attempts = 0;
    const events: StagedEvent[] = [];
    const pipeline = open({ checkpointStore: store })
      .stage("small", () => "x")
      .stage("odd", () => {
        attempts++;
        return 10n;
      });
    const onEvent = (event: StagedEvent): void => void events.push(event);
    await expect(pipeline.run(0, { pipelineId: id, onEvent })).rejects.toMatchObject({
      code: "ENCODE",
    });
    expect(attempts).toBe(1);
    expect(events.slice(-2)).toMatchObject([
      { name: "odd", oldState: "running", newState: "failed" },
      { type: "run", newState: "failed" },
    ]);
    await expect(pipeline.run(1n, { pipelineId: "other" })).rejects.toMatchObject({
      code: "ENCODE",
    });
    expect(await store.read("other")).toBeUndefined();
  });

  it("P3: a damaged checkpoint gives way to the one before, and says so; two of them fail the run", async () => {
    let fallbacks = 0;
    for (const damagedBytes of [0, 5, 13, 20, -1]) {
      const store = new MemoryCheckpointStore();
      const ran: string[] = [];
      let fails = 1;
      const pipeline = open<number>({ checkpointStore: store })
        .stage("a", (n) => (ran.push("a"), n + 1))
        .stage("b", (n) => (ran.push("b"), n + 1))
        .stage("c", { retries: 0 }, (n) => {
          ran.push("c");
          if (fails-- > 0) throw new Error("broken");
          return n + 1;
        });
      await expect(pipeline.run(0, { pipelineId: id })).rejects.toThrow("broken");
      const damaged = storeWith(store, {
        read: async (key) => {
          const found = await store.read(key);
          const at = damagedBytes < 0 ? (found?.bytes.length ?? 0) + damagedBytes : damagedBytes;
          if (found !== undefined) (found.bytes[at] as number) ^= 0x10;
          return found;
        },
      });
      const events: StagedEvent[] = [];
      const onEvent = (event: StagedEvent): void => void events.push(event);
      let isFirst = true;
      const once = storeWith(store, {
        read: (key) => {
          const from = isFirst ? damaged : store;
          isFirst = false;
          return from.read(key);
        },
      });
      const again = open<number>({ checkpointStore: once })
        .stage("a", (n) => (ran.push("a"), n + 1))
        .stage("b", (n) => (ran.push("b"), n + 1))
        .stage("c", (n) => (ran.push("c"), n + 1));
      expect(await again.run(0, { pipelineId: id, onEvent })).toBe(3);
      expect(ran.slice(0, 3)).toEqual(["a", "b", "c"]);
      expect(ran.slice(3)).toEqual(["c"]);
      fallbacks += events.filter(({ type }) => type === "recovered").length;
    }
    expect(fallbacks).toBe(5);

    const store = new MemoryCheckpointStore();
    const rubbish = storeWith(store, {
      read: async () => ({
        revision: 4,
        bytes: Uint8Array.of(1),
        previous: { revision: 3, bytes: new Uint8Array(40) },
      }),
    });
    const ran: string[] = [];
    const pipeline = open({ checkpointStore: rubbish }).stage("a", () => void ran.push("a"));
    const restart = { pipelineId: id, onMismatch: "restart" } as const;
    await expect(pipeline.run(0, restart)).rejects.toMatchObject({ code: "CORRUPT_RECORD" });
    expect(ran).toEqual([]);
  });

  it("clear() gives an id back: of a run that failed, and of one that cannot be read", async () => {
    const store = new MemoryCheckpointStore();
    const ran: string[] = [];
    let fails = 3;
    const pipeline = open({ checkpointStore: store })
      .stage("a", () => void ran.push("a"))
      .stage("b", { retries: 0 }, () => {
        if (fails-- > 0) throw new Error("broken");
      });
    expect(await pipeline.clear(id)).toBe(false);
    for (const spoil of [false, true]) {
      await expect(pipeline.run(0, { pipelineId: id })).rejects.toThrow("broken");
      const found = await store.read(id);
      if (spoil) {
        await store.write(id, Uint8Array.of(1), found?.revision ?? 0);
        await store.write(id, Uint8Array.of(2), (await store.read(id))?.revision ?? 0);
      }
      const code = await pipeline.run(0, { pipelineId: id }).then(
        () => "",
        (error: { code?: string }) => error.code ?? "broken",
      );
      expect(code).toBe(spoil ? "CORRUPT_RECORD" : "broken");
      expect(await pipeline.clear(id)).toBe(true);
      expect(await store.read(id)).toBeUndefined();
    }
    await pipeline.run(0, { pipelineId: id });
    expect(ran).toEqual(["a", "a", "a"]);
  });

  it("INVALID_ARGUMENT: says which argument is off", async () => {
    const checkpointStore = new MemoryCheckpointStore();
    const pipeline = open({ checkpointStore }).stage("a", () => 1);
    const code = { code: "INVALID_ARGUMENT" };
    const runs: (() => Promise<unknown>)[] = [
      () => open({ checkpointStore }).run(0),
      () =>
        open()
          .stage("a", () => 1)
          .run(0, { pipelineId: id }),
      () => pipeline.run(0, { pipelineId: "" }),
      () => pipeline.run(0, { pipelineId: "\ud800" }),
      () => pipeline.run(0, { onMismatch: "ignore" as never }),
      () => pipeline.run(0, { signal: {} as never }),
      () => pipeline.run(0, { onEvent: 1 as never }),
      () => pipeline.run(0, { pipelineID: id } as never),
      () => open().clear(id),
      () => pipeline.clear(""),
    ];
    for (const run of runs) await expect(run()).rejects.toMatchObject(code);
    const makes: (() => unknown)[] = [
      () => open({ checkpointStore: {} as never }),
      () => open({ codec: {} as never }),
      () => open({ leaseMs: 0 }),
      () => open({ graceMs: -1 }),
      () => open({ store: checkpointStore } as never),
      () => open({ largeStates: { fabric: {} as never } }),
      () => open(null as never),
      () => open().stage("", () => 1),
      () => open().stage("a", 1 as never),
      () => open().stage("a", { retries: -1 }, () => 1),
      () => open().stage("a", { backoff: 0.5 }, () => 1),
      () => open().stage("a", { baseMs: -1 }, () => 1),
      () => open().stage("a", { timeoutMs: 0 }, () => 1),
      () => open().stage("a", { timeout: 5 } as never, () => 1),
    ];
    for (const make of makes) expect(make).toThrow(expect.objectContaining(code));
    expect(() => pipeline.stage("a", () => 2)).toThrow(
      expect.objectContaining({ code: "CONFLICT" }),
    );
  });
});

async function finishedIn(store: CheckpointStore): Promise<number | undefined> {
  const found = await store.read(id);
  return found === undefined ? undefined : decodeRun(found.bytes).header.finished;
}

describe("a run's events", () => {
  const legal: Readonly<Record<StageState, readonly StageState[]>> = {
    pending: ["running", "restored"],
    restored: [],
    running: ["waiting", "succeeded", "failed", "cancelled"],
    waiting: ["running", "failed", "cancelled"],
    succeeded: [],
    failed: [],
    cancelled: [],
  };

  it("each change follows the one before it, and is a legal one, whatever stages do", async () => {
    const act = fc.constantFrom("ok", "throw", "hang", "slow", "abort");
    const stage = fc.record({ acts: fc.array(act, { maxLength: 4 }), retries: fc.nat(2) });
    const plan = fc.tuple(fc.array(stage, { minLength: 1, maxLength: 4 }), fc.boolean());
    await fc.assert(
      fc.asyncProperty(plan, async ([stages, isKept]) => {
        const time = new VirtualTime();
        const abort = new AbortController();
        const checkpointStore = new MemoryCheckpointStore();
        const pipeline = open({ checkpointStore, graceMs: 20 }, time);
        for (const [index, { acts, retries }] of stages.entries()) {
          const left = [...acts];
          pipeline.stage(`s${index}`, { retries, baseMs: 5, timeoutMs: 30 }, async () => {
            const next = left.shift() ?? "ok";
            if (next === "throw") throw new Error("thrown");
            if (next === "abort") abort.abort();
            if (next !== "ok") await time.wait(next === "slow" ? 40 : 500);
            return index;
          });
        }
        const events: StagedEvent[] = [];
        const options = {
          signal: abort.signal,
          onEvent: (event: StagedEvent) => events.push(event),
        };
        const run = pipeline.run(0, isKept ? { ...options, pipelineId: id } : options);
        const isDone = await run.then(
          () => true,
          () => false,
        );
        const now = new Map<string, string>();
        const illegal: StagedEvent[] = [];
        for (const event of events)
          if (event.type === "stage") {
            const old = now.get(event.name) ?? "pending";
            if (old !== event.oldState || !legal[event.oldState].includes(event.newState))
              illegal.push(event);
            now.set(event.name, event.newState);
          }
        expect(illegal).toEqual([]);
        expect(events.at(-1)).toMatchObject({ type: "run" });
        expect([...now.values()].every((state) => state === "succeeded")).toBe(isDone);
        const found = await checkpointStore.read(id);
        const header = found && decodeRun(found.bytes).header;
        expect(header?.runner ?? null).toBeNull();
        expect(header === undefined || !isDone).toBe(true);
      }),
      { numRuns: 100 },
    );
  });
});

describe("a run's record", () => {
  const state = {
    header: {
      runner: "r",
      epoch: 3,
      beat: 2,
      ttlMs: 1_000,
      stages: ["a", "b"],
      payload: "00",
      finished: 1,
      place: { kind: "inline" },
    },
    inline: Uint8Array.of(9, 8, 7),
  } as const;

  it("comes back as it was written; with any byte changed, or cut off, it is CORRUPT_RECORD", () => {
    const bytes = encodeRun(state);
    expect(decodeRun(bytes)).toEqual(state);
    for (let at = 0; at < bytes.length; at++) {
      const changed = bytes.slice();
      (changed[at] as number) ^= 1;
      for (const bad of [changed, bytes.slice(0, at)])
        expect(() => decodeRun(bad)).toThrow(expect.objectContaining({ code: "CORRUPT_RECORD" }));
    }
  });

  it("S1: any bytes are CORRUPT_RECORD", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        expect(() => decodeRun(bytes)).toThrow(expect.objectContaining({ code: "CORRUPT_RECORD" }));
      }),
    );
  });
});
