import {
  MemoryJobStore,
  type JobQueue,
  type JobStore,
  type JobTx,
  type QueuedJob,
  type QueuedTask,
} from "@selvage/jobs";
import { FabricError } from "@selvage/fabric";
import { describe, expect, it } from "vitest";
import { gate, Rig } from "./queue-rig.ts";

const never = new Promise<never>(() => {});

/** Counts the bodies that run at a time. */
class Bodies {
  now = 0;
  most = 0;
  starts = 0;

  async run<T>(work: () => Promise<T>): Promise<T> {
    this.starts++;
    this.most = Math.max(this.most, ++this.now);
    try {
      return await work();
    } finally {
      this.now--;
    }
  }
}

describe("timeouts", () => {
  it("(l) abort the signal, and the attempt counts as failed, also when its body returns in its grace", async () => {
    const rig = new Rig();
    const queue = rig.open();
    const reasons: unknown[] = [];
    const task = queue.task(
      "slow",
      { timeoutMs: 100, retries: 1, backoff: { baseMs: 1 } },
      async (ctx) => {
        if (ctx.attempt === 2) return "second";
        await new Promise<void>((resolve) => ctx.signal.addEventListener("abort", resolve));
        reasons.push(ctx.signal.reason);
        expect(ctx.isActive()).toBe(false);
        return "late";
      },
    );
    const job = await rig.pump(task.enqueue([]));
    queue.runWorker();
    expect(await rig.pump(job.result())).toBe("second");
    expect(reasons).toMatchObject([{ code: "TIMED_OUT" }]);
    expect(job.errors).toMatchObject([{ attempt: 1, code: "TIMED_OUT" }]);
  });

  it("of 0 is none", async () => {
    const rig = new Rig();
    const queue = rig.open({ defaultTimeoutMs: 50 });
    const task = queue.task("long", { timeoutMs: 0 }, async () =>
      rig.host.later(600_000).then(() => "done"),
    );
    const job = await rig.pump(task.enqueue([]));
    queue.runWorker();
    expect(await rig.pump(job.result({ timeoutMs: 700_000 }))).toBe("done");
    expect(job.attempts).toBe(1);
  });

  it("(l) a body that does not stop keeps its slot and its place under limits, and is never doubled", async () => {
    const rig = new Rig();
    const queue = rig.open({ concurrency: 2, graceMs: 500, defaultRetries: 5 });
    const bodies = new Bodies();
    const go = gate();
    const task = queue.task("deaf", { timeoutMs: 100, maxConcurrent: 1 }, async () =>
      bodies.run(() => go.promise),
    );
    const [first, second] = (await rig.pump(task.enqueueMany([[], []]))) as [QueuedJob, QueuedJob];
    const other = await rig.pump(queue.task("other", async () => "ran").enqueue([]));
    const dependent = await rig.pump(queue.enqueue("other", [], { dependsOn: first }));
    queue.runWorker();
    const elsewhere = rig.open();
    elsewhere.task("deaf", { timeoutMs: 100, maxConcurrent: 1 }, async () =>
      bodies.run(() => go.promise),
    );
    elsewhere.runWorker();
    expect(await rig.statusOf(first)).toBe("dead");
    expect(await rig.statusOf(dependent)).toBe("cancelled");
    expect(first.errors).toHaveLength(1);
    expect(first.errors[0]?.error).toContain("may still run");
    expect(await rig.statusOf(other)).toBe("complete");
    await rig.pass(60_000);
    await second.refresh();
    expect([bodies.starts, bodies.most, second.status]).toEqual([1, 1, "pending"]);
    await expect(rig.pump(queue.replay(first.id))).rejects.toMatchObject({ code: "CONFLICT" });
    go.resolve();
    await rig.pump(second.result());
    expect([bodies.starts, bodies.most]).toEqual([2, 1]);
    await rig.pump(queue.replay(first.id));
    await rig.pump(first.result());
    expect(bodies.most).toBe(1);
  });
});

describe("limits", () => {
  it("exactly so many jobs of a task run at a time, over three processes", async () => {
    const rig = new Rig();
    const bodies = new Bodies();
    const declare = (queue: JobQueue) =>
      queue.task("work", { maxConcurrent: 3 }, async () => bodies.run(() => rig.host.later(50)));
    const queues = [rig.open(), rig.open(), rig.open()];
    const [task] = queues.map(declare);
    const jobs = await rig.pump(
      (task as QueuedTask<[], void>).enqueueMany(Array.from({ length: 40 }, () => [])),
    );
    for (const queue of queues) queue.runWorker();
    for (const job of jobs) await rig.pump(job.result());
    expect([bodies.most, bodies.starts]).toEqual([3, 40]);
  });

  it("of a queue hold over its tasks and processes, and are lifted by null", async () => {
    const rig = new Rig();
    const bodies = new Bodies();
    const queues = [rig.open(), rig.open()];
    for (const queue of queues)
      for (const name of ["a", "b"])
        queue.task(name, { queue: "io" }, async () => bodies.run(() => rig.host.later(50)));
    const [queue] = queues as [JobQueue, JobQueue];
    await rig.pump(queue.limit("io", { maxConcurrent: 2 }));
    const add = (): Promise<QueuedJob[]> =>
      Promise.all(
        Array.from({ length: 20 }, (_, at) =>
          queue.enqueue(at % 2 === 0 ? "a" : "b", [], { queue: "io" }),
        ),
      );
    const jobs = await rig.pump(add());
    for (const one of queues) one.runWorker();
    for (const job of jobs) await rig.pump(job.result());
    expect(bodies.most).toBe(2);
    await rig.pump(queue.limit("io", { maxConcurrent: null }));
    for (const job of await rig.pump(add())) await rig.pump(job.result());
    expect(bodies.most).toBeGreaterThan(2);
    expect(await queue.queues()).toMatchObject([
      { name: "io", maxConcurrent: null, stats: { complete: 40 } },
    ]);
  });

  it("of rate hold over three processes: a burst, then so many a second, and the wait spends no retry", async () => {
    const rig = new Rig();
    const startsMs: number[] = [];
    const queues = [rig.open(), rig.open(), rig.open()];
    const tasks = queues.map((queue) =>
      queue.task("call", { rateLimit: "5/s" }, async () => void startsMs.push(rig.host.nowMs)),
    );
    for (const queue of queues) queue.runWorker();
    const jobs = await rig.pump(
      (tasks[0] as QueuedTask<[], void>).enqueueMany(Array.from({ length: 25 }, () => [])),
    );
    for (const job of jobs) await rig.pump(job.result({ timeoutMs: 60_000 }));
    for (const fromMs of startsMs)
      expect(
        startsMs.filter((at) => at >= fromMs && at < fromMs + 1_000).length,
      ).toBeLessThanOrEqual(10);
    const tookMs = (startsMs.at(-1) as number) - (startsMs[0] as number);
    expect(tookMs).toBeGreaterThanOrEqual(3_900);
    expect(tookMs).toBeLessThan(6_000);
    expect(jobs.every(({ attempts }) => attempts === 1)).toBe(true);
  });

  it("of a queue's rate hold as well", async () => {
    const rig = new Rig();
    const startsMs: number[] = [];
    const queue = rig.open();
    const task = queue.task("call", async () => void startsMs.push(rig.host.nowMs));
    await rig.pump(queue.limit("default", { rateLimit: "120/m" }));
    queue.runWorker();
    const jobs = await rig.pump(task.enqueueMany(Array.from({ length: 130 }, () => [])));
    for (const job of jobs) await rig.pump(job.result({ timeoutMs: 60_000 }));
    expect((startsMs.at(-1) as number) - (startsMs[0] as number)).toBeGreaterThanOrEqual(4_500);
    await expect(rig.pump(queue.limit("default", { rateLimit: "5" }))).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
    });
    expect(() => queue.task("bad", { rateLimit: "x/s" }, async () => 1)).toThrow(
      expect.objectContaining({ code: "INVALID_ARGUMENT" }),
    );
  });

  it("a paused queue starts nothing in any process, lets what runs go on, and starts again", async () => {
    const rig = new Rig();
    const queue = rig.open();
    const other = rig.open();
    const go = gate();
    const task = queue.task("t", async () => 1);
    other.task("t", async () => 1);
    const held = await rig.pump(queue.task("held", async () => go.promise).enqueue([]));
    queue.runWorker();
    other.runWorker();
    await rig.pass(100);
    await rig.pump(queue.pause("default"));
    const job = await rig.pump(task.enqueue([]));
    go.resolve();
    await rig.pump(held.result());
    await rig.pass(30_000);
    await job.refresh();
    expect(job.status).toBe("pending");
    await rig.pump(other.resume("default"));
    expect(await rig.pump(job.result())).toBe(1);
    expect(rig.events.map(({ type }) => type)).toEqual(
      expect.arrayContaining(["paused", "resumed"]),
    );
  });

  it("queues are served in the order of their names, and those not named are left", async () => {
    const rig = new Rig();
    const queue = rig.open({ concurrency: 1 });
    const ran: string[] = [];
    const task = queue.task("note", async (_ctx, what: string) => void ran.push(what));
    await rig.pump(task.enqueue(["b"], { queue: "b", priority: 9 }));
    await rig.pump(task.enqueue(["a"], { queue: "a" }));
    await rig.pump(task.enqueue(["c"], { queue: "c" }));
    queue.runWorker({ queues: ["a", "b"] });
    await rig.pass(5_000);
    expect(ran).toEqual(["a", "b"]);
  });

  it("jobs of a task that this process does not declare are left for one that does", async () => {
    const rig = new Rig();
    const queue = rig.open();
    const job = await rig.pump(queue.enqueue("later", [2]));
    queue.runWorker();
    await rig.pass(10_000);
    await job.refresh();
    expect(job.status).toBe("pending");
    queue.task("later", async (_ctx, n: number) => n + 1);
    expect(await rig.pump(job.result())).toBe(3);
    expect(() => queue.task("later", async () => 1)).toThrow(
      expect.objectContaining({ code: "CONFLICT" }),
    );
  });
});

describe("threads that cannot be opened", () => {
  it("fail the attempts that need them, and neither a stop nor a close hangs", async () => {
    const rig = new Rig();
    let opens = 0;
    const openFabric = (): never => {
      opens++;
      throw new FabricError("CAPACITY_EXCEEDED", "no memory", {});
    };
    const queue = rig.open({ defaultRetries: 1 }, { openFabric });
    const task = queue.task("far", { backoff: { baseMs: 1 } }, new URL("file:///nowhere.ts"));
    const job = await rig.pump(task.enqueue([]));
    const worker = queue.runWorker();
    expect(await rig.statusOf(job)).toBe("dead");
    expect([opens, job.errors[0]?.code]).toEqual([2, "CAPACITY_EXCEEDED"]);
    expect(await rig.pump(worker.stop())).toMatchObject({ failed: 2 });
    await rig.pump(queue.close());
  });
});

describe("a stop", () => {
  it("lets what runs end, claims nothing more, can be asked for again and again, and says that it drained", async () => {
    const rig = new Rig();
    const queue = rig.open({ concurrency: 1 });
    const stop = new AbortController();
    const task = queue.task("t", async () => rig.host.later(1_000).then(() => 1));
    const [first, second] = (await rig.pump(task.enqueueMany([[], []]))) as [QueuedJob, QueuedJob];
    const worker = queue.runWorker({ signal: stop.signal });
    await rig.pass(100);
    stop.abort();
    const again = worker.stop();
    expect(await rig.pump(worker)).toEqual({
      status: "drained",
      completed: 1,
      failed: 0,
      handedBack: 0,
    });
    expect(await again).toEqual(await worker.done);
    await Promise.all([first.refresh(), second.refresh()]);
    expect([first.status, second.status]).toEqual(["complete", "pending"]);
    expect(await queue.workers()).toEqual([]);
  });

  it("hands back what it cannot finish: no retry is spent, whoever works on is refused, another worker does it", async () => {
    const rig = new Rig();
    const queue = rig.open({ graceMs: 100, defaultRetries: 0 });
    const go = gate();
    const bodies = [async () => never, async (): Promise<string> => go.promise.then(() => "late")];
    const listening = queue.task("listening", async (ctx) => {
      await new Promise<void>((_, reject) =>
        ctx.signal.addEventListener("abort", () => reject(new Error("told"))),
      );
    });
    const deaf = queue.task("deaf", async () => bodies[1]?.());
    const jobs: QueuedJob[] = await rig.pump(
      Promise.all<QueuedJob>([listening.enqueue([]), deaf.enqueue([])]),
    );
    const worker = queue.runWorker({ drainMs: 500 });
    await rig.pass(100);
    expect(await rig.pump(worker.stop())).toEqual({
      status: "handed-back",
      completed: 0,
      failed: 0,
      handedBack: 2,
    });
    for (const job of jobs) {
      await job.refresh();
      expect([job.status, job.attempts, job.errors]).toEqual(["pending", 1, []]);
    }
    const next = rig.open();
    next.task("listening", async () => "other");
    next.task("deaf", async () => "other");
    next.runWorker();
    go.resolve();
    for (const job of jobs) expect(await rig.pump(job.result())).toBe("other");
    expect(rig.told(jobs[1] as QueuedJob)).toContain("refused");
    expect(jobs[1]?.attempts).toBe(2);
  });

  it("before it has begun ends at once", async () => {
    const rig = new Rig();
    const queue = rig.open();
    const worker = queue.runWorker({ signal: AbortSignal.abort() });
    expect(await rig.pump(worker)).toMatchObject({ status: "drained", completed: 0 });
    expect(await queue.workers()).toEqual([]);
    await rig.pump(queue.close());
    expect(() => queue.runWorker()).toThrow(expect.objectContaining({ code: "STORE_UNAVAILABLE" }));
  });
});

/** A process whose loop can be stopped: its timers do not ring, and what it waits for does not come. */
function frozen(rig: Rig, options: object = {}) {
  const state = { isFrozen: false };
  const hold = async (): Promise<void> => {
    while (state.isFrozen) await rig.host.later(10);
  };
  const { timer } = rig.host;
  const queue = rig.open(options, {
    timer: {
      after: (ms, ring) => timer.after(ms, () => void hold().then(ring)),
      every: (ms, ring) => timer.every(ms, () => (state.isFrozen ? undefined : ring())),
    },
    nextTurn: async () => {
      await new Promise((resolve) => void setImmediate(resolve));
      await hold();
    },
  });
  return { queue, state };
}

describe("a worker that is silent", () => {
  const options = { leaseMs: 3_000, pollMs: 500 };

  it("B5: is given up after its TTL and two ticks, and its job runs elsewhere; B2: what it says then is refused", async () => {
    const rig = new Rig();
    const { queue, state } = frozen(rig, options);
    const go = gate();
    const task = queue.task("t", async () => go.promise.then(() => "zombie"));
    const job = await rig.pump(task.enqueue([]));
    const worker = queue.runWorker();
    await rig.pass(1_000);
    const other = rig.open(options);
    other.task("t", async (ctx) => `alive ${ctx.epoch}`);
    other.runWorker();
    await rig.pass(5_000);
    const { id } = worker;
    expect((await job.refresh())?.status).toBe("running");
    state.isFrozen = true;
    const fromMs = rig.host.nowMs;
    expect(await rig.pump(job.result())).toBe("alive 3");
    expect(rig.host.nowMs - fromMs).toBeLessThanOrEqual(3_000 + 2 * 500 + 50);
    state.isFrozen = false;
    go.resolve();
    await rig.pass(10_000);
    await job.refresh();
    expect([await job.result(), job.attempts, job.errors.length]).toEqual(["alive 3", 2, 1]);
    expect(job.errors[0]).toMatchObject({ code: "LEASE_EXPIRED" });
    // It has begun anew, under another name, and works.
    expect(worker.id).not.toBe(id);
    expect((await queue.workers()).map((one) => one.id)).toContain(worker.id);
  });

  it("B5: is not given up when it says something between the look that found it silent and the transaction", async () => {
    const rig = new Rig();
    // It says nothing by itself.
    const mute = { keep: () => ({ stamp: () => {}, stop: async () => {} }) };
    const queue = rig.open({ ...options, defaultRetries: 0 }, mute);
    const go = gate();
    const job = await rig.pump(queue.task("t", async () => go.promise).enqueue([]));
    const worker = queue.runWorker();
    await rig.pass(10);
    const lost = (): unknown[] => rig.events.filter(({ type }) => type === "worker-lost");
    // Who watches asks for the time once it has looked, and before it gives anybody up.
    const seen = { fromMs: 0, looks: 0, spokenMs: 0, isKnown: false };
    const monotonicMs = (): number => {
      const { nowMs } = rig.host;
      if (seen.looks++ === 0) seen.fromMs = nowMs;
      if (nowMs - seen.fromMs >= options.leaseMs && seen.spokenMs === 0) {
        seen.spokenMs = nowMs;
        void rig.store.transact((tx) => void (seen.isKnown = tx.beat(worker.id, nowMs)));
      }
      return nowMs;
    };
    const watching = rig.open(options, { monotonicMs });
    watching.runWorker();
    await rig.pass(options.leaseMs + 2 * options.pollMs);
    expect(seen.spokenMs).toBeGreaterThan(0);
    expect(seen.isKnown).toBe(true);
    expect(lost()).toEqual([]);
    // What it says is no more than that: silent again for a TTL, it is given up.
    await rig.pass(options.leaseMs + options.pollMs);
    expect(lost()).toEqual([expect.objectContaining({ worker: worker.id })]);
    expect((await job.refresh())?.status).toBe("dead");
    go.resolve();
  });

  it("B5: is not given up while it beats, however far the wall clocks jump", async () => {
    const rig = new Rig();
    const queue = rig.open(options);
    const task = queue.task("t", async () => rig.host.later(60_000).then(() => 1));
    const job = await rig.pump(task.enqueue([]));
    queue.runWorker();
    let skewMs = 0;
    const jumping = rig.open(options, { clock: { nowMs: () => rig.host.nowMs + skewMs } });
    jumping.task("t", async () => 2);
    jumping.runWorker();
    for (const jump of [3_600_000, -7_200_000, 0]) {
      await rig.pass(10_000);
      skewMs = jump;
    }
    expect(await rig.pump(job.result({ timeoutMs: 100_000 }))).toBe(1);
    expect(job.attempts).toBe(1);
  });

  it("B3: a job that silences every worker ends as a dead letter, its attempts bounded and counted before they begin", async () => {
    const rig = new Rig();
    const counted: number[] = [];
    let poison: QueuedJob | undefined;
    const states: { isFrozen: boolean }[] = [];
    for (let process = 0; process < 6; process++) {
      const { queue, state } = frozen(rig, { ...options, defaultRetries: 2 });
      states.push(state);
      const task = queue.task("poison", async (ctx) => {
        counted.push((await rig.store.look((tx) => tx.jobById(ctx.jobId)?.attempts)) ?? 0);
        state.isFrozen = true;
        await never;
      });
      queue.task("fine", async () => "fine");
      poison ??= (await rig.pump(task.enqueue([]))) as QueuedJob;
      queue.runWorker();
    }
    const survivor = rig.open(options);
    survivor.task("fine", async () => "fine");
    survivor.runWorker();
    const fine = await rig.pump(survivor.enqueue("fine", []));
    expect(await rig.statusOf(poison as QueuedJob)).toBe("dead");
    expect(counted).toEqual([1, 2, 3]);
    expect(await rig.pump(fine.result())).toBe("fine");
  });

  it("B4: a worker never adopts what it has itself, and of two that find a dead one's job one proceeds", async () => {
    const rig = new Rig();
    const bodies = new Bodies();
    const { queue, state } = frozen(rig, options);
    const task = queue.task("t", async () => never);
    const job = await rig.pump(task.enqueue([]));
    queue.runWorker();
    await rig.pass(100);
    state.isFrozen = true;
    for (const other of [rig.open(options), rig.open(options), rig.open(options)]) {
      other.task("t", async () => bodies.run(() => rig.host.later(20_000).then(() => "once")));
      other.runWorker();
    }
    expect(await rig.pump(job.result({ timeoutMs: 60_000 }))).toBe("once");
    expect([bodies.starts, job.attempts]).toEqual([1, 2]);
  });
});

/** A store that fails when a test says so. */
class Failing implements JobStore {
  readonly inner = new MemoryJobStore();
  fails = 0;
  code: "STORE_UNAVAILABLE" | "CAPACITY_EXCEEDED" = "STORE_UNAVAILABLE";

  async transact<T>(work: (tx: JobTx) => T): Promise<T> {
    if (this.fails > 0) {
      this.fails--;
      throw new FabricError(this.code, "the store fails", {});
    }
    return this.inner.transact(work);
  }

  look<T>(work: (tx: JobTx) => T): Promise<T> {
    return this.inner.look(work);
  }

  watch(onChange: () => void): () => void {
    return this.inner.watch(onChange);
  }

  close(): Promise<void> {
    return this.inner.close();
  }
}

describe("a store that fails", () => {
  it.each(["STORE_UNAVAILABLE", "CAPACITY_EXCEEDED"] as const)(
    "with %s refuses what is asked of it, and a worker goes on when it is back",
    async (code) => {
      const store = new Failing();
      store.code = code;
      const rig = new Rig(store);
      const queue = rig.open({ leaseMs: 60_000 });
      const go = gate();
      const task = queue.task("t", { backoff: { baseMs: 1 } }, async () =>
        go.promise.then(() => "done"),
      );
      store.fails = 1;
      await expect(rig.pump(task.enqueue([]))).rejects.toMatchObject({ code });
      const job = await rig.pump(task.enqueue([]));
      queue.runWorker();
      await rig.pass(500);
      store.fails = 6;
      go.resolve();
      expect(await rig.pump(job.result({ timeoutMs: 100_000 }))).toBe("done");
      expect(rig.events.some(({ type }) => type === "trouble")).toBe(true);
    },
  );

  it("when a worker begins is waited for: nobody need await the worker, and it works once the store is back", async () => {
    const store = new Failing();
    const rig = new Rig(store);
    const queue = rig.open();
    const job = await rig.pump(queue.task("t", async () => 1).enqueue([]));
    store.fails = 3;
    queue.runWorker();
    expect(await rig.pump(job.result())).toBe(1);
    expect(rig.events.filter(({ type }) => type === "trouble").length).toBeGreaterThan(1);
    await rig.pump(queue.close());
  });

  it("and takes its time keeps a worker's ticks going: delayed jobs start, and a stop ends", async () => {
    const inner = new MemoryJobStore();
    const rig: Rig = new Rig({
      transact: async (work) => {
        await rig.host.later(8);
        return inner.transact(work);
      },
      look: (work) => inner.look(work),
      watch: (onChange) => inner.watch(onChange),
      close: () => inner.close(),
    });
    const queue = rig.open({ pollMs: 50 });
    const task = queue.task("t", async () => 1);
    const worker = queue.runWorker();
    const jobs = await rig.pump(
      Promise.all(Array.from({ length: 60 }, (_, at) => task.enqueue([], { delayMs: 7 * at }))),
    );
    for (const job of jobs) expect(await rig.pump(job.result({ timeoutMs: 60_000 }))).toBe(1);
    expect(await rig.pump(worker.stop())).toMatchObject({ status: "drained", completed: 60 });
  });

  it("and is locked for longer than a TTL robs nobody: while nobody could look, nobody could beat", async () => {
    const inner = new MemoryJobStore();
    let lock: PromiseWithResolvers<void> | undefined;
    const rig: Rig = new Rig({
      transact: async (work) => {
        await lock?.promise;
        return inner.transact(work);
      },
      look: (work) => inner.look(work),
      watch: (onChange) => inner.watch(onChange),
      close: () => inner.close(),
    });
    const options = { leaseMs: 1_000, pollMs: 100, defaultRetries: 0 };
    const queues = [rig.open(options), rig.open(options), rig.open(options)];
    const tasks = queues.map((queue) =>
      queue.task("t", async () => rig.host.later(20_000).then(() => "once")),
    );
    for (const queue of queues) queue.runWorker({ concurrency: 1 });
    const jobs = await rig.pump((tasks[0] as QueuedTask<[], string>).enqueueMany([[], [], []]));
    await rig.pass(2_000);
    lock = Promise.withResolvers();
    await rig.pass(3_000);
    lock.resolve();
    lock = undefined;
    for (const job of jobs) expect(await rig.pump(job.result({ timeoutMs: 60_000 }))).toBe("once");
    expect(rig.events.filter(({ type }) => type === "worker-lost")).toEqual([]);
  });
});
