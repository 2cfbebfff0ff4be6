/** What the jobs of a schedule are told: what whoever set it declared. */
import type { JobQueue, JobRow } from "@selvage/jobs";
import { describe, expect, it } from "vitest";
import { Rig } from "./queue-rig.ts";

const minuteMs = 60_000;
/** As often as the expression says, in minutes. */
const cronNextMs = (expression: string, _timeZone: string, afterMs: number): number => {
  const everyMs = Number(expression) * minuteMs;
  return (Math.floor(afterMs / everyMs) + 1) * everyMs;
};

const backoff = { baseMs: 7, factor: 3, maxMs: 70, jitter: "none", delaysMs: [5, 10] } as const;
const set = { timeoutMs: 1_234, retries: 2, backoff, priority: 4, queue: "night" } as const;
const kept = { timeoutMs: 1_234, retries: 2, ...backoff };

/** Lets the process that sets a schedule do so, and end. */
async function schedule(rig: Rig, options: object = {}): Promise<void> {
  const queue = rig.open({}, { cronNextMs });
  const task = queue.task("report", set, async (_ctx, what: string) => what);
  await rig.pump(task.cron("10", { name: "nightly", args: ["all"], ...options }));
  await rig.pump(queue.close());
}

/** The jobs that were made since, the first one first. */
function made(rig: Rig): Promise<readonly JobRow[]> {
  return rig.store.look((tx) => tx.list({ limit: 9, task: "report" }).toReversed());
}

async function fired(rig: Rig, queue: JobQueue): Promise<readonly JobRow[]> {
  queue.runWorker({ queues: ["default", "night", "other"] });
  await rig.pass(11 * minuteMs);
  return made(rig);
}

describe("a job that a schedule makes", () => {
  it("has the options with which its task was declared where the schedule was set, also where it is declared otherwise", async () => {
    const rig = new Rig();
    await schedule(rig);
    const queue = rig.open({ defaultRetries: 9, defaultTimeoutMs: 99 }, { cronNextMs });
    const startsMs: number[] = [];
    const otherwise = { timeoutMs: 9, retries: 0, backoff: { baseMs: 1 }, priority: -1 };
    queue.task("report", { ...otherwise, queue: "other" }, async (_ctx, what: string) => {
      expect(what).toBe("all");
      startsMs.push(rig.host.nowMs);
      // Longer than its task's timeout here.
      await rig.host.later(20);
      throw new Error("no luck");
    });
    const [job] = await fired(rig, queue);
    expect(job).toMatchObject({ queue: "night", priority: 4, attempts: 3, phase: 5 });
    expect(job?.spec).toEqual(kept);
    const waits = startsMs.slice(1).map((atMs, at) => atMs - (startsMs[at] as number) - 20);
    expect(waits.map((ms) => Math.round(ms / 5))).toEqual([1, 2]);
    const found = await queue.getJob(job?.id ?? "");
    expect(found?.errors.map(({ error }) => error)).toEqual(["no luck", "no luck", "no luck"]);
    await rig.pump(queue.close());
  });

  it("has them where its task is not declared at all", async () => {
    const rig = new Rig();
    await schedule(rig);
    const [job] = await fired(rig, rig.open({ defaultRetries: 9 }, { cronNextMs }));
    expect(job).toMatchObject({ queue: "night", priority: 4, phase: 0, retriesLeft: 2 });
    expect(job?.spec).toEqual(kept);
  });

  it("times out after the time that the schedule keeps", async () => {
    const rig = new Rig();
    await schedule(rig);
    const queue = rig.open({}, { cronNextMs });
    queue.task("report", { timeoutMs: 0 }, async ({ signal }) => {
      await new Promise<void>((resolve) => signal.addEventListener("abort", resolve));
    });
    const [job] = await fired(rig, queue);
    const found = await queue.getJob(job?.id ?? "");
    expect(found?.errors.map(({ code }) => code)).toEqual(["TIMED_OUT", "TIMED_OUT", "TIMED_OUT"]);
    await rig.pump(queue.close());
  });

  it("is of the queue that the schedule names rather than its task's", async () => {
    const rig = new Rig();
    await schedule(rig, { queue: "other" });
    const [job] = await fired(rig, rig.open({}, { cronNextMs }));
    expect(job).toMatchObject({ queue: "other", priority: 4 });
  });

  it("has other options from when its schedule was set again, and its time stays", async () => {
    const rig = new Rig();
    await schedule(rig);
    const queue = rig.open({ defaultTimeoutMs: 77 }, { cronNextMs });
    const task = queue.task("report", { retries: 1 }, async (_ctx, what: string) => what);
    const [before] = await queue.crons();
    // It was due meanwhile, and nobody was there: that is not forgotten.
    await rig.pass(15 * minuteMs);
    await rig.pump(task.cron("10", { name: "nightly", args: ["some"] }));
    const after = await queue.crons();
    expect(after).toMatchObject([
      { name: "nightly", queue: "default", priority: 0, spec: { timeoutMs: 77, retries: 1 } },
    ]);
    expect(after[0]?.nextMs).toBe(before?.nextMs);
    const [job] = await fired(rig, queue);
    expect(job).toMatchObject({ queue: "default", priority: 0, spec: { retries: 1 } });
    expect(await queue.argsOf(job?.id ?? "")).toEqual(["some"]);
    await rig.pump(queue.close());
  });
});
