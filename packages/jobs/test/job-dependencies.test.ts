import { from, type JobQueue, type QueuedJob, type StandardSchema } from "@selvage/jobs";
import { describe, expect, expectTypeOf, it } from "vitest";
import { gate, Rig } from "./queue-rig.ts";

/** The seed: extract, two transforms, load; `broken` says what fails. */
function diamond(queue: JobQueue, broken: Set<string>, ran: string[]) {
  const note = (what: string): void => {
    ran.push(what);
    if (broken.has(what)) throw new Error(`${what} is broken`);
  };
  const quick = { retries: 1, backoff: { baseMs: 1 } };
  const extract = queue.task("extract", quick, async (_ctx, url: string) => {
    note("extract");
    return [url.length, 2, 3];
  });
  const double = queue.task("double", quick, async (_ctx, rows: number[]) => {
    note("double");
    return rows.map((row) => row * 2);
  });
  const negate = queue.task("negate", quick, async (_ctx, rows: number[]) => {
    note("negate");
    return rows.map((row) => -row);
  });
  const load = queue.task("load", quick, async (_ctx, all: number[][]) => {
    note("load");
    return all.flat();
  });
  return async () => {
    const source = await extract.enqueue(["http"]);
    const left = await double.enqueue([from(source)]);
    const right = await negate.enqueue([from(source)]);
    const end = await load.enqueue([from([left, right])]);
    return { source, left, right, end };
  };
}

async function statuses(
  rig: Rig,
  jobs: Readonly<Record<string, QueuedJob>>,
): Promise<Record<string, string>> {
  const told: Record<string, string> = {};
  for (const [name, job] of Object.entries(jobs)) told[name] = await rig.statusOf(job);
  return told;
}

describe("data", () => {
  it("(a) flows along a diamond: load receives both transforms' outputs, in order", async () => {
    const rig = new Rig();
    const queue = rig.open();
    const jobs = await rig.pump(diamond(queue, new Set(), [])());
    expect(jobs.end.dependencies).toEqual([jobs.left.id, jobs.right.id]);
    queue.runWorker();
    expect(await rig.pump(jobs.end.result())).toEqual([8, 4, 6, -4, -2, -3]);
    await jobs.source.refresh();
    expect(jobs.source.dependents).toEqual([jobs.left.id, jobs.right.id]);
  });

  it("is made by a function of several results, whose types it has", async () => {
    const rig = new Rig();
    const queue = rig.open();
    const one = await rig.pump(queue.task("one", async () => 1).enqueue([]));
    const text = await rig.pump(queue.task("text", async () => "x").enqueue([]));
    const show = queue.task("show", async (_ctx, what: string) => what);
    const named = queue.combiner("join", (n: number, s: string) => `${s}${n}`);
    const a = await rig.pump(show.enqueue([from([one, text], (n, s) => `${n}${s}`)]));
    const b = await rig.pump(show.enqueue([from([one, text], named)]));
    expectTypeOf(from([one, text])).toEqualTypeOf(from<[typeof one, typeof text]>([one, text]));
    // @ts-expect-error -- a number is no text
    const c = await rig.pump(show.enqueue([from(one)]));
    queue.runWorker();
    expect([
      await rig.pump(a.result()),
      await rig.pump(b.result()),
      await rig.pump(c.result()),
    ]).toEqual(["1x", "x1", 1]);
  });

  it("is made by each function with what it has in hand, also where their texts are one", async () => {
    const rig = new Rig();
    const queue = rig.open();
    const one = await rig.pump(queue.task("one", async () => 1).enqueue([]));
    const show = queue.task("show", async (_ctx, what: number) => what);
    const times = [10, 20, 30];
    const jobs = await rig.pump(
      Promise.all(times.map((by) => show.enqueue([from([one], (n) => n * by)]))),
    );
    queue.runWorker();
    const made: number[] = [];
    for (const job of jobs) made.push(await rig.pump(job.result()));
    expect(made).toEqual(times);
  });

  it("a process that does not know a function says so, and does not try again", async () => {
    const rig = new Rig();
    const maker = rig.open();
    const one = await rig.pump(maker.task("one", async () => 1).enqueue([]));
    const job = await rig.pump(maker.enqueue("show", [from([one], (n) => n + 1)]));
    const other = rig.open();
    other.task("one", async () => 1);
    other.task("show", async (_ctx, what: number) => what);
    other.runWorker();
    expect(await rig.statusOf(job)).toBe("dead");
    expect(job.errors).toMatchObject([{ code: "UNRESOLVED_REF" }]);
  });

  it("what a body returns nothing for is undefined", async () => {
    const rig = new Rig();
    const queue = rig.open();
    const nothing = await rig.pump(queue.task("nothing", async () => {}).enqueue([]));
    const show = queue.task("show", async (_ctx, what: unknown) => what === undefined);
    const job = await rig.pump(show.enqueue([from(nothing)]));
    queue.runWorker();
    expect([await rig.pump(nothing.result()), await rig.pump(job.result())]).toEqual([
      undefined,
      true,
    ]);
  });

  it("is refused where nothing is a job", () => {
    expect(() => from(7 as never)).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
    expect(() => from([], 7 as never)).toThrow(
      expect.objectContaining({ code: "INVALID_ARGUMENT" }),
    );
  });
});

describe("failure", () => {
  it("(b) cancels descendants only: a sibling branch completes, errors and the dead letter are there", async () => {
    const rig = new Rig();
    const queue = rig.open();
    const broken = new Set(["double"]);
    const jobs = await rig.pump(diamond(queue, broken, [])());
    queue.runWorker();
    expect(await statuses(rig, jobs)).toEqual({
      source: "complete",
      left: "dead",
      right: "complete",
      end: "cancelled",
    });
    expect(jobs.end.because).toBe(`dependency dead: ${jobs.left.id}`);
    expect(jobs.left.errors.map(({ error }) => error)).toEqual([
      "double is broken",
      "double is broken",
    ]);
    const [letter] = await queue.deadLetters({ limit: 5 });
    expect(letter).toMatchObject({
      id: jobs.left.id,
      taskName: "double",
      error: "double is broken",
      attempts: 2,
    });
    expect(await queue.stats()).toMatchObject({ complete: 2, dead: 1, cancelled: 1, pending: 0 });
  });

  it("(b) of the root cancels all that waits for it", async () => {
    const rig = new Rig();
    const queue = rig.open();
    const ran: string[] = [];
    const jobs = await rig.pump(diamond(queue, new Set(["extract"]), ran)());
    queue.runWorker();
    expect(await statuses(rig, jobs)).toEqual({
      source: "dead",
      left: "cancelled",
      right: "cancelled",
      end: "cancelled",
    });
    expect(jobs.end.because).toBe(`dependency dead: ${jobs.source.id}`);
    expect(ran).toEqual(["extract", "extract"]);
  });

  it("(c) is replayed: what it cancelled is revived, the run finishes, and the sibling is not run again", async () => {
    const rig = new Rig();
    const queue = rig.open();
    const broken = new Set(["double"]);
    const ran: string[] = [];
    const jobs = await rig.pump(diamond(queue, broken, ran)());
    queue.runWorker();
    await statuses(rig, jobs);
    broken.clear();
    const again = await rig.pump(queue.replay(jobs.left.id));
    expect([again.id, again.status]).toEqual([jobs.left.id, "pending"]);
    expect(await rig.pump(jobs.end.result())).toEqual([8, 4, 6, -4, -2, -3]);
    expect(ran).toEqual(["extract", "double", "negate", "double", "double", "load"]);
    expect(rig.told(jobs.end)).toContain("revived");
    await expect(rig.pump(queue.replay(jobs.left.id))).rejects.toMatchObject({ code: "NOT_FOUND" });
  });

  it("(c) of two branches: the end is revived by the last of the two replays", async () => {
    const rig = new Rig();
    const queue = rig.open();
    const broken = new Set(["double", "negate"]);
    const jobs = await rig.pump(diamond(queue, broken, [])());
    queue.runWorker();
    expect(await statuses(rig, jobs)).toEqual({
      source: "complete",
      left: "dead",
      right: "dead",
      end: "cancelled",
    });
    broken.clear();
    const root =
      jobs.end.because?.includes(jobs.left.id) === true
        ? [jobs.left, jobs.right]
        : [jobs.right, jobs.left];
    await rig.pump(queue.replay((root[0] as QueuedJob).id));
    expect(await rig.statusOf(root[0] as QueuedJob)).toBe("complete");
    expect(await rig.statusOf(jobs.end)).toBe("cancelled");
    await rig.pump(queue.replay((root[1] as QueuedJob).id));
    expect(await rig.pump(jobs.end.result())).toHaveLength(6);
  });

  it("a dead letter that was purged has failed, and is replayed no more", async () => {
    const rig = new Rig();
    const queue = rig.open();
    const jobs = await rig.pump(diamond(queue, new Set(["extract"]), [])());
    queue.runWorker();
    await statuses(rig, jobs);
    expect(await rig.pump(queue.purgeDeadLetters({ olderThanMs: 1_000_000 }))).toBe(0);
    expect(await queue.deadLetter(jobs.source.id)).toMatchObject({ id: jobs.source.id });
    expect(await rig.pump(queue.purgeDeadLetters())).toBe(1);
    expect(await rig.statusOf(jobs.source)).toBe("failed");
    expect([await queue.deadLetter(jobs.source.id), await queue.deadLetters()]).toEqual([
      undefined,
      [],
    ]);
    await expect(rig.pump(queue.replay(jobs.source.id))).rejects.toMatchObject({
      code: "NOT_FOUND",
    });
  });
});

/** Three jobs, each of which waits for the ones before it. */
async function chain(rig: Rig, queue: JobQueue, options: object = {}): Promise<QueuedJob[]> {
  const task = queue.task("link", async (ctx) => {
    await new Promise<void>((_, reject) =>
      ctx.signal.addEventListener("abort", () => reject(new Error("stopped"))),
    );
  });
  const first = await rig.pump(task.enqueue([], options));
  const second = await rig.pump(task.enqueue([], { dependsOn: first }));
  return [first, second, await rig.pump(task.enqueue([], { dependsOn: [second, first] }))];
}

describe("(d) no dependent is left waiting", () => {
  it("when a running parent is cancelled", async () => {
    const rig = new Rig();
    const queue = rig.open();
    const [first, , last] = (await chain(rig, queue)) as [QueuedJob, QueuedJob, QueuedJob];
    queue.runWorker();
    await rig.pass(100);
    await first.refresh();
    expect(first.status).toBe("running");
    expect(await rig.pump(queue.cancel(first.id))).toBe(true);
    expect(await rig.statusOf(last)).toBe("cancelled");
    expect([await rig.statusOf(first), last.because]).toEqual([
      "cancelled",
      `dependency cancelled: ${first.id}`,
    ]);
    expect(await rig.pump(queue.cancel(first.id))).toBe(false);
  });

  it("when a running parent is cancelled from another process", async () => {
    const rig = new Rig();
    const queue = rig.open();
    const [first, , last] = (await chain(rig, queue)) as [QueuedJob, QueuedJob, QueuedJob];
    queue.runWorker();
    await rig.pass(100);
    expect(await rig.pump(rig.open().cancel(first.id))).toBe(true);
    expect(await rig.statusOf(last)).toBe("cancelled");
  });

  it("when a parent expires", async () => {
    const rig = new Rig();
    const queue = rig.open();
    const [, , last] = (await chain(rig, queue, { delayMs: 10_000, expiresMs: 100 })) as [
      QueuedJob,
      QueuedJob,
      QueuedJob,
    ];
    queue.runWorker();
    expect(await rig.statusOf(last)).toBe("cancelled");
  });

  it("when a parent is purged, and a running one is not", async () => {
    const rig = new Rig();
    const queue = rig.open();
    const [first, second, last] = (await chain(rig, queue)) as [QueuedJob, QueuedJob, QueuedJob];
    queue.runWorker();
    await rig.pass(100);
    await expect(rig.pump(queue.purgeJob(first.id))).rejects.toMatchObject({ code: "CONFLICT" });
    await rig.pump(queue.purgeJob(second.id));
    expect([await rig.statusOf(last), last.because]).toEqual([
      "cancelled",
      `dependency purged: ${second.id}`,
    ]);
  });

  it("when a parent completes although it was cancelled: what is done counts", async () => {
    const rig = new Rig();
    const queue = rig.open();
    const go = gate();
    const task = queue.task("deaf", async () => go.promise.then(() => 7));
    const first = await rig.pump(task.enqueue([]));
    queue.runWorker();
    await rig.pass(100);
    await rig.pump(queue.cancel(first.id));
    go.resolve();
    expect(await rig.pump(first.result())).toBe(7);
  });
});

describe("(e) blocked jobs", () => {
  it("10,000 of higher priority never delay a ready one", async () => {
    const rig = new Rig();
    const queue = rig.open({ concurrency: 1 });
    const go = gate();
    const held = queue.task("held", async () => go.promise);
    const task = queue.task("t", async () => 1);
    const parent = await rig.pump(held.enqueue([], { queue: "elsewhere" }));
    await rig.pump(
      task.enqueueMany(
        Array.from({ length: 10_000 }, () => []),
        { dependsOn: parent, priority: 100 },
      ),
    );
    const ready = await rig.pump(task.enqueue([]));
    queue.runWorker({ queues: ["default"] });
    expect(await rig.pump(ready.result())).toBe(1);
    expect(await queue.stats()).toMatchObject({ pending: 10_001, complete: 1 });
  });
});

describe("fan-out and fan-in", () => {
  it("one job an item, and their results in the order of the items", async () => {
    const rig = new Rig();
    const queue = rig.open({ concurrency: 3 });
    const list = queue.task("list", async () => [30, 10, 20]);
    const wait = queue.task("wait", async (_ctx, ms: number) => {
      await rig.host.later(ms);
      return `waited ${ms}`;
    });
    const show = queue.task("show", async (_ctx, all: string[]) => all.join(", "));
    const source = await rig.pump(list.enqueue([]));
    const fan = await rig.pump(wait.fanOut(source, { priority: 3 }));
    const end = await rig.pump(show.enqueue([from(fan)]));
    queue.runWorker();
    expect(await rig.pump(end.result())).toBe("waited 30, waited 10, waited 20");
    await fan.refresh();
    expect([fan.status, fan.dependencies.length, await fan.result()]).toEqual([
      "complete",
      4,
      ["waited 30", "waited 10", "waited 20"],
    ]);
  });

  it("holds each item against the task's schema, and waits as long as it is told", async () => {
    const rig = new Rig();
    const queue = rig.open({ defaultRetries: 0 });
    const input: StandardSchema<[number]> = {
      "~standard": {
        version: 1,
        vendor: "test",
        validate: (value) =>
          typeof (value as unknown[])[0] === "number"
            ? { value: value as [number] }
            : { issues: [{ message: "no number" }] },
      },
    };
    const square = queue.task("square", { input }, async (_ctx, n: number) => n * n);
    const good = await rig.pump(queue.task("good", async () => [1, 2]).enqueue([]));
    const bad = await rig.pump(queue.task("bad", async () => [1, "x" as never]).enqueue([]));
    const fan = await rig.pump(square.fanOut(good, { delayMs: 2_000 }));
    const dead = await rig.pump(square.fanOut(bad));
    const fromMs = rig.host.nowMs;
    queue.runWorker();
    expect(await rig.statusOf(dead)).toBe("cancelled");
    expect(await rig.pump(fan.result())).toEqual([1, 4]);
    expect(rig.host.nowMs - fromMs).toBeGreaterThanOrEqual(2_000);
  });

  it("an empty list is gathered at once, also where it is there already", async () => {
    const rig = new Rig();
    const queue = rig.open();
    const source = await rig.pump(queue.task("list", async () => [] as number[]).enqueue([]));
    const square = queue.task("square", async (_ctx, n: number) => n * n);
    const fan = await rig.pump(square.fanOut(source));
    queue.runWorker();
    expect(await rig.pump(fan.result())).toEqual([]);
    expect(await rig.pump((await rig.pump(square.fanOut(source))).result())).toEqual([]);
  });

  it("what is no list is a dead letter; a dead item cancels what gathers, and its replay finishes it", async () => {
    const rig = new Rig();
    const queue = rig.open({ defaultRetries: 0 });
    let isBroken = true;
    const square = queue.task("square", async (_ctx, n: number) => {
      if (n === 2 && isBroken) throw new Error("no twos");
      return n * n;
    });
    const text = await rig.pump(queue.task("text", async () => "text" as never).enqueue([]));
    const bad = await rig.pump(square.fanOut(text));
    const source = await rig.pump(queue.task("list", async () => [1, 2, 3]).enqueue([]));
    const fan = await rig.pump(square.fanOut(source));
    queue.runWorker();
    expect(await rig.statusOf(bad)).toBe("dead");
    expect(bad.errors[0]?.error).toContain("no array");
    expect(await rig.statusOf(fan)).toBe("cancelled");
    isBroken = false;
    const letter = (await queue.deadLetters()).find(({ error }) => error === "no twos");
    await rig.pump(queue.replay(letter?.id ?? ""));
    expect(await rig.pump(fan.result())).toEqual([1, 4, 9]);
  });

  it("cancelled, it takes its items along", async () => {
    const rig = new Rig();
    const queue = rig.open({ concurrency: 1 });
    const source = await rig.pump(queue.task("list", async () => [1, 2, 3, 4]).enqueue([]));
    const slow = queue.task("slow", async (_ctx, n: number) =>
      rig.host.later(10_000).then(() => n),
    );
    const fan = await rig.pump(slow.fanOut(source));
    queue.runWorker();
    await rig.pass(1_000);
    await rig.pump(queue.cancel(fan.id));
    expect(await rig.statusOf(fan)).toBe("cancelled");
    await rig.pass(60_000);
    const { pending, running } = await queue.stats();
    expect([pending, running]).toEqual([0, 0]);
  });
});

describe("retention", () => {
  it("forgets what ended long ago, keeps what is waited for, and says before what it would do", async () => {
    const rig = new Rig();
    const queue = rig.open();
    const task = queue.task("t", async () => 1);
    const go = gate();
    const slow = queue.task("slow", async () => go.promise);
    const done = await rig.pump(task.enqueue([]));
    const parent = await rig.pump(task.enqueue([]));
    const running = await rig.pump(slow.enqueue([]));
    const child = await rig.pump(task.enqueue([], { dependsOn: [parent, running] }));
    queue.runWorker();
    await rig.pass(10_000);
    const would = await rig.pump(queue.purge({ dryRun: true, olderThanMs: 5_000 }));
    expect(would).toEqual([done.id]);
    expect(await rig.pump(queue.purge({ olderThanMs: 50_000 }))).toEqual([]);
    expect(await rig.pump(queue.purge({ olderThanMs: 5_000 }))).toEqual([done.id]);
    expect([await queue.getJob(done.id), (await queue.getJob(parent.id))?.status]).toEqual([
      undefined,
      "complete",
    ]);
    go.resolve();
    await rig.pump(child.result());
    await expect(rig.pump(queue.purge({ statuses: ["running"] }))).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
    });
  });

  it("finds what can go behind any number of jobs that are waited for", async () => {
    const rig = new Rig();
    const queue = rig.open();
    const task = queue.task("t", async () => 1);
    const held = await rig.pump(queue.enqueue("nobody", []));
    const parents = await rig.pump(task.enqueueMany(Array.from({ length: 1_200 }, () => [])));
    await rig.pump(
      task.enqueueMany(
        parents.map(() => []),
        (index) => ({ dependsOn: [held, parents[index] as QueuedJob] }),
      ),
    );
    queue.runWorker({ concurrency: 500 });
    await rig.pump((parents.at(-1) as QueuedJob).result());
    const last = await rig.pump(task.enqueue([]));
    await rig.pump(last.result());
    expect(await rig.pump(queue.purge())).toEqual([last.id]);
  });

  it("is swept by workers: each status after its time, null never", async () => {
    const rig = new Rig();
    const queue = rig.open({ retention: { complete: 5_000, cancelled: null } });
    const task = queue.task("t", async () => 1);
    const [done, cancelled] = await rig.pump(task.enqueueMany([[], []]));
    await rig.pump(queue.cancel(cancelled?.id ?? ""));
    queue.runWorker();
    await rig.pump((done as QueuedJob).result());
    await rig.pass(10_000);
    expect([
      await queue.getJob(done?.id ?? ""),
      (await queue.getJob(cancelled?.id ?? ""))?.status,
    ]).toEqual([undefined, "cancelled"]);
  });
});
