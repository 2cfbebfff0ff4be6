import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { from, NonRetryableError, type JobContext, type StandardSchema } from "@selvage/jobs";
import { describe, expect, expectTypeOf, it } from "vitest";
import { gate, Rig } from "./queue-rig.ts";

function boom(): never {
  throw new Error("boom");
}

describe("a job", () => {
  it("runs with its arguments, and what it returns is its result, with its type", async () => {
    const rig = new Rig();
    const queue = rig.open();
    const add = queue.task("add", async (_ctx, a: number, b: number) => a + b);
    const job = await rig.pump(add.enqueue([2, 3]));
    expect([job.status, job.taskName, job.queue, job.attempts]).toEqual([
      "pending",
      "add",
      "default",
      0,
    ]);
    queue.runWorker();
    const sum = await rig.pump(job.result());
    expectTypeOf(sum).toEqualTypeOf<number>();
    expect(sum).toBe(5);
    expect([job.status, job.progress, job.attempts, job.errors]).toEqual(["complete", 100, 1, []]);
    // @ts-expect-error -- arguments are checked by the compiler
    void add.enqueue(["2", 3]).catch(() => {});
    await rig.pump(queue.close());
  });

  it("is found by its id in any process, and unknown ids are undefined", async () => {
    const rig = new Rig();
    const queue = rig.open();
    const echo = queue.task("echo", async (_ctx, text: string) => text);
    const job = await rig.pump(
      echo.enqueue(["x"], { metadata: "m", notes: { size: 3 }, priority: 4, queue: "other" }),
    );
    const other = rig.open();
    const found = await other.getJob(job.id);
    expect(found).toMatchObject({
      id: job.id,
      metadata: "m",
      notes: { size: 3 },
      priority: 4,
      queue: "other",
    });
    expect(await other.argsOf(job.id)).toEqual(["x"]);
    expect(await other.getJob("no such")).toBeUndefined();
  });

  it("shows its progress, and what it published, while it runs", async () => {
    const rig = new Rig();
    const queue = rig.open();
    const go = gate();
    const task = queue.task("slow", async (ctx: JobContext) => {
      ctx.updateProgress(40);
      await ctx.publish({ rows: 1 });
      await ctx.publish({ rows: 2 });
      await go.promise;
      return "done";
    });
    const job = await rig.pump(task.enqueue([]));
    queue.runWorker();
    await rig.pass(1_000);
    await job.refresh();
    expect([job.status, job.progress]).toEqual(["running", 40]);
    go.resolve();
    const seen: unknown[] = [];
    const reading = (async () => {
      for await (const part of job.partials()) seen.push(part);
    })();
    await rig.pump(reading);
    expect(seen).toEqual([{ rows: 1 }, { rows: 2 }]);
    expect(await rig.pump(job.result())).toBe("done");
    expect(() => new Rig().open().task("", async () => 1)).toThrow(
      expect.objectContaining({ code: "INVALID_ARGUMENT" }),
    );
  });

  it("refuses a progress that is no percentage", async () => {
    const rig = new Rig();
    const queue = rig.open({ defaultRetries: 0 });
    const job = await rig.pump(
      queue.task("bad", async (ctx) => ctx.updateProgress(101)).enqueue([]),
    );
    queue.runWorker();
    expect(await rig.statusOf(job)).toBe("dead");
    expect(job.errors[0]).toMatchObject({ attempt: 1, code: "INVALID_ARGUMENT" });
  });

  it("says in result() why there is none: too early, dead, cancelled, purged", async () => {
    const rig = new Rig();
    const queue = rig.open({ defaultRetries: 0 });
    const failing = queue.task("boom", async () => {
      throw new Error("boom");
    });
    const waiting = await rig.pump(failing.enqueue([], { delayMs: 5_000 }));
    await expect(rig.pump(waiting.result({ timeoutMs: 0 }))).rejects.toMatchObject({
      code: "TIMED_OUT",
    });
    await expect(rig.pump(waiting.result({ timeoutMs: 300 }))).rejects.toMatchObject({
      code: "TIMED_OUT",
    });
    const job = await rig.pump(failing.enqueue([]));
    queue.runWorker();
    await expect(rig.pump(job.result())).rejects.toMatchObject({
      code: "EXHAUSTED",
      message: expect.stringContaining("boom"),
    });
    expect(await rig.pump(queue.cancel(waiting.id))).toBe(true);
    await expect(rig.pump(waiting.result())).rejects.toMatchObject({ code: "REVOKED" });
    expect(await rig.pump(queue.purgeJob(waiting.id))).toBe(true);
    await expect(rig.pump(waiting.result())).rejects.toMatchObject({ code: "NOT_FOUND" });
    expect(await rig.pump(queue.purgeJob(waiting.id))).toBe(false);
  });
});

describe("enqueue", () => {
  it("runs higher priorities first, then what is due first, then what came first", async () => {
    const rig = new Rig();
    const queue = rig.open({ concurrency: 1 });
    const ran: string[] = [];
    const task = queue.task("note", async (_ctx, what: string) => void ran.push(what));
    await rig.pump(
      Promise.all([
        task.enqueue(["low"], { priority: -1 }),
        task.enqueue(["first"]),
        task.enqueue(["second"]),
        task.enqueue(["high"], { priority: 5 }),
      ]),
    );
    await rig.pump(task.enqueue(["delayed"], { delayMs: 50, priority: 9 }));
    await rig.pass(10);
    queue.runWorker();
    await rig.pass(1_000);
    expect(ran).toEqual(["high", "first", "second", "low", "delayed"]);
  });

  it("delays a job as long as it is told, and not to the next tick", async () => {
    const rig = new Rig();
    const queue = rig.open({ pollMs: 10_000 });
    let ranMs = 0;
    const task = queue.task("note", async () => void (ranMs = rig.host.nowMs));
    queue.runWorker();
    await rig.pass(100);
    const fromMs = rig.host.nowMs;
    const job = await rig.pump(task.enqueue([], { delayMs: 2_500 }));
    await rig.pump(job.result());
    expect(ranMs - fromMs).toBeGreaterThanOrEqual(2_500);
    expect(ranMs - fromMs).toBeLessThan(2_600);
  });

  it("cancels an unstarted job that has expired, with all that waits for it", async () => {
    const rig = new Rig();
    const queue = rig.open();
    const task = queue.task("t", async () => 1);
    const parent = await rig.pump(task.enqueue([], { delayMs: 5_000, expiresMs: 1_000 }));
    const child = await rig.pump(task.enqueue([], { dependsOn: parent }));
    queue.runWorker();
    expect(await rig.statusOf(child)).toBe("cancelled");
    expect(child.because).toBe(`dependency expired: ${parent.id}`);
    expect([await rig.statusOf(parent), parent.because]).toEqual(["cancelled", "expired"]);
  });

  it("returns the unfinished job that holds a unique key, also within one batch, and makes a new one afterwards", async () => {
    const rig = new Rig();
    const queue = rig.open();
    const task = queue.task("t", async () => 1);
    const [a, b] = await rig.pump(task.enqueueMany([[], []], { uniqueKey: "k" }));
    const c = await rig.pump(task.enqueue([], { uniqueKey: "k" }));
    expect([b?.id, c.id]).toEqual([a?.id, a?.id]);
    queue.runWorker();
    await rig.pump(c.result());
    const d = await rig.pump(task.enqueue([], { uniqueKey: "k" }));
    expect(d.id).not.toBe(a?.id);
  });

  it("makes all jobs of a batch or none", async () => {
    const rig = new Rig();
    const queue = rig.open();
    const task = queue.task("t", async (_ctx, n: number) => n);
    const beside = task.enqueue([7]);
    const bad = task.enqueueMany([[1], [2], [3]], (index) =>
      index === 2 ? { dependsOn: "nobody" } : {},
    );
    await expect(rig.pump(bad)).rejects.toMatchObject({
      code: "NOT_FOUND",
      details: { dependency: "nobody" },
    });
    await rig.pump(beside);
    expect(await queue.stats()).toMatchObject({ pending: 1 });
    expect(await rig.pump(task.enqueueMany([]))).toEqual([]);
  });

  it("refuses dependencies that are not there or will not complete", async () => {
    const rig = new Rig();
    const queue = rig.open();
    const task = queue.task("t", async () => 1);
    const gone = await rig.pump(task.enqueue([]));
    await rig.pump(queue.cancel(gone.id));
    await expect(rig.pump(task.enqueue([], { dependsOn: "x" }))).rejects.toMatchObject({
      code: "NOT_FOUND",
    });
    await expect(rig.pump(task.enqueue([], { dependsOn: [gone] }))).rejects.toMatchObject({
      code: "CONFLICT",
    });
    expect(await queue.stats()).toMatchObject({ pending: 0, cancelled: 1 });
  });

  it.each<[string, object, unknown]>([
    ["args", {}, "text"],
    ["priority", { priority: 1.5 }, []],
    ["delayMs", { delayMs: -1 }, []],
    ["retries", { retries: -1 }, []],
    ["timeoutMs", { timeoutMs: Number.NaN }, []],
    ["queue", { queue: "" }, []],
    ["uniqueKey", { uniqueKey: "" }, []],
    ["metadata", { metadata: 7 }, []],
    ["notes", { notes: [] }, []],
    ["notes", { notes: { text: "x".repeat(5_000) } }, []],
    ["dependsOn", { dependsOn: [7] }, []],
  ])("refuses a bad %s, and says what was expected", async (argument, options, args) => {
    const rig = new Rig();
    const queue = rig.open();
    const made = queue.enqueue("t", args as readonly unknown[], options);
    await expect(rig.pump(made)).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      details: { argument },
    });
    expect(await queue.stats()).toMatchObject({ pending: 0 });
  });

  it("refuses arguments that do not become bytes, and those that are too long", async () => {
    const rig = new Rig();
    const queue = rig.open({ payloadBytesMax: 100 });
    const cycle: { self?: unknown } = {};
    cycle.self = cycle;
    await expect(rig.pump(queue.enqueue("t", [cycle]))).rejects.toMatchObject({ code: "ENCODE" });
    await expect(rig.pump(queue.enqueue("t", ["x".repeat(200)]))).rejects.toMatchObject({
      code: "CAPACITY_EXCEEDED",
    });
  });

  it("holds arguments against their schema, and keeps what it makes of them", async () => {
    const rig = new Rig();
    const queue = rig.open({ defaultRetries: 0 });
    const input: StandardSchema<[number]> = {
      "~standard": {
        version: 1,
        vendor: "test",
        validate: (value) => {
          const [n] = value as unknown[];
          return typeof n === "number"
            ? { value: [Math.round(n)] }
            : { issues: [{ message: "no number" }] };
        },
      },
    };
    const round = queue.task("round", { input }, async (_ctx, n: number) => n);
    const text = queue.task("text", async () => "text");
    await expect(rig.pump(queue.enqueue("round", ["x"]))).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      details: { issues: ["no number"] },
    });
    const fine = await rig.pump(round.enqueue([2.6]));
    const source = await rig.pump(text.enqueue([]));
    const bad = await rig.pump(queue.enqueue("round", [from(source)]));
    queue.runWorker();
    expect(await rig.pump(fine.result())).toBe(3);
    expect(await rig.statusOf(bad)).toBe("dead");
    expect(bad.errors).toHaveLength(1);
  });

  it("keeps long arguments and results in blocks, and gives them back with their job", async () => {
    const rig = new Rig();
    const queue = rig.open({ inlineBytesMax: 10 });
    const text = "x".repeat(3_000_000);
    const task = queue.task("double", async (_ctx, what: string) => what + what);
    const job = await rig.pump(task.enqueue([text]));
    queue.runWorker();
    expect(await rig.pump(job.result())).toHaveLength(6_000_000);
    const blocks = (): Promise<unknown[]> =>
      rig.store.look((tx) => [1, 2].map((one) => tx.readBlocks(one)?.length));
    expect(await blocks()).toEqual([expect.any(Number), expect.any(Number)]);
    await rig.pump(queue.purgeJob(job.id));
    expect(await blocks()).toEqual([undefined, undefined]);
  });

  it("gives back the blocks of a job that was refused", async () => {
    const rig = new Rig();
    const queue = rig.open({ inlineBytesMax: 10, leaseMs: 1_000 });
    await expect(
      rig.pump(queue.enqueue("t", ["x".repeat(100)], { dependsOn: "nobody" })),
    ).rejects.toMatchObject({ code: "NOT_FOUND" });
    expect(await rig.store.look((tx) => tx.readBlocks(1))).toBeDefined();
    queue.runWorker();
    await rig.pass(3_000);
    expect(await rig.store.look((tx) => tx.readBlocks(1))).toBeUndefined();
  });
});

describe("a backoff", () => {
  it.each([
    ["baseMs", { baseMs: -1 }],
    ["factor", { factor: 0.5 }],
    ["maxMs", { maxMs: Infinity }],
    ["jitter", { jitter: "some" as never }],
    ["delaysMs", { delaysMs: [1, Number.NaN] }],
  ])("is refused with a bad %s", (name, backoff) => {
    const queue = new Rig().open();
    expect(() => queue.task("t", { backoff }, boom)).toThrow(
      expect.objectContaining({
        code: "INVALID_ARGUMENT",
        details: expect.objectContaining({ argument: `backoff.${name}` }),
      }),
    );
  });
});

describe("retries", () => {
  it("tries again as often as it is told, keeps the id, and tells each failure", async () => {
    const rig = new Rig();
    const queue = rig.open();
    const task = queue.task(
      "flaky",
      { retries: 2, backoff: { delaysMs: [100, 200] } },
      async (ctx) => {
        if (ctx.attempt < 3) throw new TypeError(`no ${ctx.attempt}`);
        return ctx.epoch;
      },
    );
    const job = await rig.pump(task.enqueue([]));
    queue.runWorker();
    expect(await rig.pump(job.result())).toBe(3);
    expect(job.errors.map(({ attempt, error, name }) => [attempt, error, name])).toEqual([
      [1, "no 1", "TypeError"],
      [2, "no 2", "TypeError"],
    ]);
    const [first, second] = job.errors.map(({ failedAt }) => failedAt) as [number, number];
    expect(second - first).toBeGreaterThanOrEqual(100);
    expect(rig.told(job).filter((type) => type !== "progress")).toEqual([
      ...["enqueued", "started", "retrying", "started", "retrying", "started", "completed"],
    ]);
  });

  it("never retries with 0 retries, what is marked as not worth it, or what retryOn refuses; one that throws means yes", async () => {
    const rig = new Rig();
    const queue = rig.open({ defaultRetries: 1 });
    const quick = { backoff: { baseMs: 1 } };
    const jobs = await rig.pump(
      Promise.all([
        queue.task("zero", { ...quick, retries: 0 }, boom).enqueue([]),
        queue
          .task("marked", quick, () => {
            throw new NonRetryableError("never");
          })
          .enqueue([]),
        queue.task("refused", { ...quick, retryOn: () => false }, boom).enqueue([]),
        queue.task("broken", { ...quick, retryOn: boom }, boom).enqueue([]),
        queue.task("plain", quick, boom).enqueue([], { retries: 3 }),
      ]),
    );
    queue.runWorker();
    for (const job of jobs) expect(await rig.statusOf(job)).toBe("dead");
    expect(jobs.map(({ attempts }) => attempts)).toEqual([1, 1, 1, 2, 4]);
  });

  it("waits with full jitter: between nothing and twice as long each time", async () => {
    const rig = new Rig();
    const queue = rig.open({ concurrency: 64 });
    const starts = new Map<string, number[]>();
    const task = queue.task("jitter", { retries: 3, backoff: { baseMs: 1_000 } }, async (ctx) => {
      starts.set(ctx.jobId, [...(starts.get(ctx.jobId) ?? []), rig.host.nowMs]);
      throw new Error("again");
    });
    const jobs = await rig.pump(task.enqueueMany(Array.from({ length: 60 }, () => [])));
    queue.runWorker();
    for (const job of jobs) await rig.statusOf(job);
    for (const retry of [1, 2, 3]) {
      const waits = [...starts.values()].map(
        (at) => (at[retry] as number) - (at[retry - 1] as number),
      );
      const most = 1_000 * 2 ** (retry - 1);
      expect(Math.max(...waits)).toBeLessThanOrEqual(most + 5);
      expect(Math.max(...waits)).toBeGreaterThan(most / 2);
      expect(Math.min(...waits)).toBeLessThan(most / 4 + 5);
    }
  });
});

describe("events", () => {
  it("are told once the store has it, to each watcher whatever the others do, and iterated until the queue closes", async () => {
    const rig = new Rig();
    const warned: unknown[] = [];
    const queue = rig.open({}, { warn: (thrown) => void warned.push(thrown) });
    queue.onEvent(() => {
      throw new Error("mine");
    });
    const feed = queue.events();
    const task = queue.task("t", async () => 1);
    const job = await rig.pump(task.enqueue([]));
    queue.runWorker();
    await rig.pump(job.result());
    await rig.pump(queue.close());
    const types: string[] = [];
    for await (const { type } of feed) types.push(type);
    expect(types.filter((type) => type !== "worker-started")).toEqual([
      ...["enqueued", "started", "completed", "worker-stopped"],
    ]);
    expect(warned.length).toBeGreaterThan(0);
    await expect(queue.getJob(job.id)).rejects.toMatchObject({ code: "STORE_UNAVAILABLE" });
  });

  it("are gathered no more by a feed whose reader has left, read or unread", async () => {
    const rig = new Rig();
    const queue = rig.open();
    const over = { value: undefined, done: true };
    const read = queue.events();
    const thrown = queue.events();
    const unread = queue.events();
    const waiting = queue.events();
    const stays = queue.events();
    await rig.pump(Promise.all([queue.enqueue("t", []), queue.enqueue("t", [])]));
    for await (const event of read) {
      expect(event).toMatchObject({ type: "enqueued" });
      break;
    }
    const throwing = (async () => {
      for await (const event of thrown) throw new Error(`no more than ${JSON.stringify(event)}`);
    })();
    await expect(throwing).rejects.toThrow("no more than");
    expect(await unread.return?.()).toEqual(over);
    await waiting.next();
    await waiting.next();
    const next = waiting.next();
    expect(await waiting.return?.()).toEqual(over);
    expect(await next).toEqual(over);
    await rig.pump(queue.enqueue("t", []));
    for (const feed of [read, thrown, unread, waiting]) expect(await feed.next()).toEqual(over);
    await rig.pump(queue.close());
    const types: string[] = [];
    for await (const { type } of stays) types.push(type);
    expect(types).toEqual(["enqueued", "enqueued", "enqueued"]);
  });

  it("hold no feed in memory whose reader has left", async () => {
    const rig = new Rig();
    const queue = rig.open();
    // In a function of its own: nothing of it stays on the stack.
    const leave = async (): Promise<readonly WeakRef<object>[]> => {
      const feeds = Array.from({ length: 20 }, () => queue.events());
      for (const feed of feeds) await feed.return?.();
      return feeds.map((feed) => new WeakRef(feed));
    };
    const kept = queue.events();
    const left = await leave();
    await rig.pump(queue.enqueue("t", []));
    await rig.pass(10);
    setFlagsFromString("--expose-gc");
    const collect = runInNewContext("gc") as () => void;
    collect();
    expect(left.filter((feed) => feed.deref() !== undefined)).toEqual([]);
    expect((await kept.next()).value).toMatchObject({ type: "enqueued" });
  });
});
