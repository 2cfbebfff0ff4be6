import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { Worker } from "node:worker_threads";
import { MemoryJobStore, type JobQueueOptions, type QueuedJob } from "@selvage/jobs";
import { JobQueue, openTaskThreads, SqliteJobStore } from "@selvage/node";
import { afterAll, afterEach, describe, expect, it } from "vitest";

const folder = mkdtempSync(join(tmpdir(), "selvage-queue-"));
let files = 0;
const newPath = (): string => join(folder, `${files++}`, "jobs.sqlite");
const opened: JobQueue[] = [];
afterEach(async () => {
  for (const queue of opened.splice(0)) await queue.close();
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function open(path: string = newPath(), options: JobQueueOptions = {}): Promise<JobQueue> {
  const queue = await JobQueue.open(
    { path, ...options },
    { openRunner: (threads) => openTaskThreads({ threads, heapMiB: 64 }) },
  );
  opened.push(queue);
  return queue;
}

async function ended(job: QueuedJob): Promise<QueuedJob> {
  await job.result().catch(() => {});
  return job;
}

describe("JobQueue.open", () => {
  it("makes the folder, keeps jobs in one file, and finds them again", async () => {
    const path = newPath();
    const before = await open(path);
    const job = await before.enqueue("echo", [
      { at: new Date(5), bytes: Uint8Array.of(1, 2), big: 2n ** 60n },
    ]);
    await before.close();
    const queue = await open(path);
    const echo = queue.task(
      "echo",
      async (_ctx, value: { at: Date; bytes: Uint8Array; big: bigint }) => value,
    );
    queue.runWorker();
    const found = await queue.getJob(job.id);
    expect(await found?.result()).toEqual({
      at: new Date(5),
      bytes: Uint8Array.of(1, 2),
      big: 2n ** 60n,
    });
    expect(echo.name).toBe("echo");
  });

  it("wants a path or a store, and takes either", async () => {
    await expect(JobQueue.open({})).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await expect(
      JobQueue.open({ path: newPath(), store: new MemoryJobStore() }),
    ).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await expect(JobQueue.open({ path: newPath(), pollMs: 20_000 })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
    });
    await using queue = await JobQueue.open({ store: new MemoryJobStore() });
    const one = queue.task("one", async () => 1);
    queue.runWorker();
    expect(await (await one.enqueue([])).result()).toBe(1);
  });

  it("refuses arguments and results that do not become bytes, with what they were", async () => {
    const queue = await open();
    await expect(queue.enqueue("t", [() => 1])).rejects.toMatchObject({
      code: "ENCODE",
      details: { task: "t" },
    });
    const task = queue.task("t", async () => new Map([[1, 2]]) as unknown);
    const job = await task.enqueue([]);
    queue.runWorker();
    await ended(job);
    expect([job.status, job.errors]).toMatchObject(["dead", [{ code: "ENCODE" }]]);
  });

  it("carries 10 MiB in leased blocks, both ways, and gives them back with their job", async () => {
    const path = newPath();
    const queue = await open(path);
    const bytes = new Uint8Array(10 * 1024 * 1024).map((_, at) => at % 251);
    const flip = queue.task("flip", async (_ctx, given: Uint8Array) =>
      given.map((byte) => 255 - byte),
    );
    const job = await flip.enqueue([bytes]);
    queue.runWorker();
    const result = await job.result();
    expect(result.length).toBe(bytes.length);
    expect(result.every((byte, at) => byte === 255 - (at % 251))).toBe(true);
    await queue.purgeJob(job.id);
    using database = new DatabaseSync(path);
    expect(database.prepare("SELECT count(*) AS n FROM blocks").get()).toEqual({ n: 0 });
    await expect(queue.enqueue("flip", [new Uint8Array(65 * 1024 * 1024)])).rejects.toMatchObject({
      code: "CAPACITY_EXCEEDED",
    });
  });
});

describe("tasks that are modules", () => {
  const module = new URL("./poison-worker.ts", import.meta.url);

  it("run on threads, with their arguments, their context and their result", async () => {
    const queue = await open();
    const task = queue.task<[string]>("far", {}, module);
    const job = await task.enqueue(["fine"], { metadata: "m" });
    queue.runWorker();
    expect(await job.result()).toEqual({
      how: "fine",
      attempt: 1,
      epoch: 1,
      job: job.id,
      at: new Date(0),
      metadata: "m",
    });
  });

  it("poison ends as dead letters, and costs no other job: exit, out of memory, a loop without end, a throw", async () => {
    const queue = await open(undefined, { defaultRetries: 1, graceMs: 50, concurrency: 4 });
    const backoff = { baseMs: 1 };
    const task = queue.task<[string]>("far", { backoff, timeoutMs: 20_000 }, module);
    const jobs = await task.enqueueMany([["exit"], ["memory"], ["throw"]]);
    const loop = await task.enqueue(["loop"], { timeoutMs: 300 });
    const fine = await Promise.all([task.enqueue(["fine"]), task.enqueue(["fine"])]);
    queue.runWorker();
    for (const job of [...jobs, loop]) {
      await ended(job);
      expect([job.status, job.attempts, job.errors.length]).toEqual(["dead", 2, 2]);
    }
    expect(jobs[2]?.errors[0]).toMatchObject({ error: "thrown there", name: "RangeError" });
    expect(loop.errors[0]).toMatchObject({ code: "TIMED_OUT" });
    for (const job of fine) expect(await job.result()).toMatchObject({ how: "fine" });
    expect(await queue.deadLetters()).toHaveLength(4);
  });

  it("without a timeout, a loop without end loses its claim by its silence", async () => {
    const queue = await open(undefined, { defaultRetries: 0, leaseMs: 1_000, pollMs: 100 });
    const task = queue.task<[string]>("far", { timeoutMs: 0 }, module);
    const job = await task.enqueue(["loop"]);
    queue.runWorker();
    await ended(job);
    expect(job.status).toBe("dead");
  });

  it("are told to stop when their job is cancelled", async () => {
    const queue = await open();
    const task = queue.task<[string]>("far", {}, module);
    const job = await task.enqueue(["wait"]);
    const started = new Promise<void>((resolve) => {
      queue.onEvent(({ type }) => void (type === "started" && resolve()));
    });
    queue.runWorker();
    await started;
    await queue.cancel(job.id);
    await ended(job);
    expect(job.status).toBe("cancelled");
  });
});

describe("a keeper", () => {
  it("B5: keeps the claims of a loop that is busy with work that reports progress, for many TTLs", async () => {
    const path = newPath();
    const options = { leaseMs: 900, pollMs: 50 };
    const queue = await open(path, options);
    const task = queue.task("busy", { retries: 0 }, (ctx) => {
      const untilMs = performance.now() + 4_000;
      for (let percent = 0; performance.now() < untilMs; percent = (percent + 1) % 100) {
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 50);
        ctx.updateProgress(percent);
      }
      return "honest";
    });
    const job = await task.enqueue([]);
    // Another process's view: its worker would take what is given up. It looks from a thread of its own.
    queue.runWorker();
    const rival = new Worker(new URL("./rival-worker.ts", import.meta.url), {
      workerData: { path, ...options },
    });
    await once(rival, "message");
    expect(await job.result({ timeoutMs: 30_000 })).toBe("honest");
    rival.postMessage("stop");
    // How often it ran the job, or gave its owner up.
    expect(await once(rival, "message")).toEqual([0]);
    expect(job.attempts).toBe(1);
    await rival.terminate();
  });
});

describe("schedules", () => {
  it("fire once a time over several workers, collapse what was missed, and are paused with their queue", async () => {
    const path = newPath();
    let nowMs = Date.UTC(2026, 0, 1, 0, 0, 30);
    const clock = { nowMs: () => nowMs };
    const queues = await Promise.all(
      [1, 2, 3].map(() => JobQueue.open({ path, pollMs: 20 }, { clock })),
    );
    opened.push(...queues);
    const ran: number[] = [];
    for (const queue of queues) queue.task("tick", async (_ctx, n: number) => void ran.push(n));
    const [queue] = queues as [JobQueue];
    const tick = queue.task("tock", async (_ctx, n: number) => void ran.push(n));
    await expect(tick.cron("no such")).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await expect(tick.cron("* * * * *", { timeZone: "Mars/Base" })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
    });
    await tick.cron("*/10 * * * *", { name: "ten", args: [7], timeZone: "Europe/Berlin" });
    expect(await queue.crons()).toMatchObject([
      { name: "ten", nextMs: Date.UTC(2026, 0, 1, 0, 10) },
    ]);
    for (const one of queues)
      if (one !== queue) one.task("tock", async (_ctx, n: number) => void ran.push(n));
    for (const one of queues) one.runWorker();
    // An hour and a bit: six fires were missed, and are one.
    nowMs = Date.UTC(2026, 0, 1, 1, 5);
    await expect.poll(() => ran, { timeout: 30_000 }).toEqual([7]);
    nowMs = Date.UTC(2026, 0, 1, 1, 10, 1);
    await expect.poll(() => ran, { timeout: 30_000 }).toEqual([7, 7]);
    expect(await queue.crons()).toMatchObject([{ nextMs: Date.UTC(2026, 0, 1, 1, 20) }]);
    expect([
      await queue.deleteCron("ten"),
      await queue.deleteCron("ten"),
      await queue.crons(),
    ]).toEqual([true, false, []]);
  });
});

describe("a schedule's job", () => {
  it("has the options of the task as it was declared where the schedule was set, also after a restart", async () => {
    const path = newPath();
    let nowMs = Date.UTC(2026, 0, 1, 0, 0, 30);
    // Time passes by being asked for.
    const clock = { nowMs: () => nowMs++ };
    const backoff = { baseMs: 3, factor: 5, maxMs: 70, jitter: "none", delaysMs: [1, 2] } as const;
    const before = await JobQueue.open({ path }, { clock });
    await before
      .task("t", { timeoutMs: 1_234, retries: 2, backoff, priority: 4, queue: "night" }, () => 1)
      .cron("*/10 * * * *", { name: "ten" });
    await before.close();
    const store = new SqliteJobStore(path);
    const queue = await JobQueue.open({ store, defaultRetries: 9, pollMs: 20 }, { clock });
    opened.push(queue);
    queue.task("t", { timeoutMs: 9_999, retries: 0, priority: -1, queue: "day" }, () => {
      throw new Error("no luck");
    });
    nowMs = Date.UTC(2026, 0, 1, 0, 10);
    const fired = Promise.withResolvers<string>();
    queue.onEvent((event) => void (event.type === "enqueued" && fired.resolve(event.jobId)));
    queue.runWorker({ queues: ["night"] });
    const id = await fired.promise;
    const job = await store.look((tx) => tx.jobById(id));
    expect(job).toMatchObject({ queue: "night", priority: 4, task: "t" });
    expect(job?.spec).toEqual({ timeoutMs: 1_234, retries: 2, ...backoff });
    const found = await queue.getJob(id);
    await expect(found?.result()).rejects.toMatchObject({ code: "EXHAUSTED" });
    expect(found?.attempts).toBe(3);
  });

  it("of a file of an older version has what was the default then", async () => {
    const path = newPath();
    await (await open(path)).close();
    {
      using database = new DatabaseSync(path);
      database.exec(`DROP INDEX jobs_failed; ALTER TABLE crons DROP COLUMN spec;
        ALTER TABLE crons DROP COLUMN priority; PRAGMA user_version = 2;
        INSERT INTO crons VALUES ('old', 't', 'default', '*/10 * * * *', 'UTC', x'00', 1, 0)`);
    }
    const queue = await open(path, { pollMs: 20, defaultRetries: 9 });
    const old = { timeoutMs: 300_000, retries: 3, baseMs: 1_000, factor: 2, maxMs: 300_000 };
    const spec = { ...old, jitter: "full" };
    expect(await queue.crons()).toMatchObject([{ name: "old", nextMs: 1, priority: 0, spec }]);
    const fired = Promise.withResolvers<string>();
    queue.onEvent((event) => void (event.type === "enqueued" && fired.resolve(event.jobId)));
    queue.runWorker();
    expect(await queue.getJob(await fired.promise)).toMatchObject({ taskName: "t", priority: 0 });
    expect(await queue.crons()).toMatchObject([{ name: "old", priority: 0, spec }]);
  });
});

describe("a file", () => {
  it("that another process has locked says so, loses nothing, and is served again", async () => {
    const path = newPath();
    const queue = await open(path);
    using other = new DatabaseSync(path);
    other.exec("BEGIN EXCLUSIVE");
    await expect(queue.enqueue("t", [])).rejects.toMatchObject({ code: "STORE_UNAVAILABLE" });
    other.exec("ROLLBACK");
    const job = await queue.enqueue("t", []);
    expect((await queue.listJobs()).map(({ id }) => id)).toEqual([job.id]);
  });

  it("that is full says so, loses nothing, and goes on once there is room", async () => {
    const path = newPath();
    const small = await JobQueue.open({ store: new SqliteJobStore(path, { bytesMax: 400_000 }) });
    const kept = await small.enqueue("t", ["kept"]);
    const long = ["x".repeat(1_000_000)];
    const [refused, fits] = await Promise.allSettled([
      small.enqueue("t", long),
      small.enqueue("t", ["fits"]),
    ]);
    expect(refused).toMatchObject({ reason: { code: "CAPACITY_EXCEEDED" } });
    expect(fits).toMatchObject({ status: "fulfilled" });
    await small.close();
    const queue = await open(path);
    const then = await queue.enqueue("t", long);
    const ids = (await queue.listJobs()).map(({ id }) => id);
    expect([ids.length, ids[0], ids.at(-1)]).toEqual([3, then.id, kept.id]);
  });
});
