import type { ExecutionResult, TaskDef } from "@selvage/batch";
import { isFabricError } from "@selvage/fabric";
import { describe, expect, it } from "vitest";
import { codesOf, errorOf, graphOf, idle, imbalances, planOf, raw, Rig, thrownBy } from "./rig.ts";

const module = new URL("file:///body.ts");

/** Counts bodies at work, by name. */
class Crowd {
  readonly rig: Rig;
  readonly now = new Set<string>();
  most = 0;
  readonly order: string[] = [];

  constructor(rig: Rig) {
    this.rig = rig;
  }

  /** A task that takes `ms`, and does not listen to its signal. */
  task(name: string, ms: number, more: Partial<TaskDef> = {}): TaskDef {
    return {
      name,
      ...more,
      run: async () => {
        if (this.now.has(name)) throw new Error(`${name} runs beside itself`);
        this.now.add(name);
        this.order.push(name);
        this.most = Math.max(this.most, this.now.size);
        await this.rig.host.later(ms);
        this.now.delete(name);
      },
    };
  }
}

const statuses = (result: ExecutionResult) => result.tasks.map(({ status }) => status);
const becauses = (result: ExecutionResult) => result.tasks.map(({ because }) => because);
const never = new Promise<void>(() => {});

const chains = (crowd: Crowd) =>
  planOf(
    [crowd.task("a1", 10), crowd.task("a2", 10), crowd.task("b1", 100), crowd.task("b2", 10)],
    [
      ["a1", "a2"],
      ["b1", "b2"],
    ],
  );

const ask = (bytes: number) => ({ resourceReq: { minMemoryBytes: bytes } });

const broken = (name: string, more: Partial<TaskDef> = {}): TaskDef => ({
  name,
  ...more,
  async run() {
    throw new Error(name);
  },
});

describe("Schedules", () => {
  it("by waves wait for the whole wave before", async () => {
    const rig = new Rig();
    const result = await rig.run(chains(new Crowd(rig)));
    const [, a2, b1] = result.tasks;
    expect(a2?.startedAtMs).toBe(b1?.endedAtMs);
  });

  it("when ready start a task as those before it have ended, and tell no waves", async () => {
    const rig = new Rig();
    const result = await rig.run(chains(new Crowd(rig)), { schedule: "ready" });
    const [a1, a2, b1] = result.tasks;
    expect(a2?.startedAtMs).toBe(a1?.endedAtMs);
    expect(b1?.endedAtMs).toBeGreaterThan(a2?.endedAtMs ?? Infinity);
    expect(rig.events.filter(({ type }) => type === "wave")).toEqual([]);
  });

  it("start what has most dependants first", async () => {
    const rig = new Rig();
    const crowd = new Crowd(rig);
    const names = ["leaf", "one", "two", "x", "y"];
    const plan = planOf(
      names.map((name) => crowd.task(name, 5)),
      [
        ["one", "x"],
        ["two", "x"],
        ["two", "y"],
      ],
    );
    await rig.run(plan, { maxConcurrency: 1, schedule: "ready" });
    expect(crowd.order).toEqual(["two", "one", "leaf", "y", "x"]);
  });
});

describe("No more attempts run at a time", () => {
  it("than maxConcurrency", async () => {
    const rig = new Rig();
    const crowd = new Crowd(rig);
    const tasks = Array.from({ length: 10 }, (_, at) => crowd.task(`t${at}`, 10));
    const result = await rig.run(planOf(tasks), { maxConcurrency: 3 });
    expect([result.succeeded, crowd.most]).toEqual([10, 3]);
  });

  it("than there are units of what they use; who uses nothing goes on", async () => {
    const rig = new Rig();
    const db = new Crowd(rig);
    const free = new Crowd(rig);
    const tasks = Array.from({ length: 6 }, (_, at) => db.task(`db${at}`, 10, { uses: ["db"] }));
    const others = Array.from({ length: 4 }, (_, at) => free.task(`free${at}`, 10));
    const result = await rig.run(planOf([...tasks, ...others]), { limits: { db: 2 } });
    expect([result.succeeded, db.most, free.most]).toEqual([10, 2, 4]);
  });

  it("than a task was given threads for: a module takes one", async () => {
    const rig = new Rig();
    const tasks = ["a", "b", "c"].map((name) => ({ name, run: module }));
    const wide = idle("wide", { resourceReq: { threads: 2 } });
    const ports = { ...rig.ports, threads: 2 };
    const run = rig.start(planOf([...tasks, wide]), {}, ports);
    await rig.host.advance(10);
    expect(rig.runner.jobs.map(({ request }) => request.task)).toEqual(["a", "b"]);
    rig.runner.job("a").reply([]);
    rig.runner.job("b").reply([]);
    await rig.host.advance(10);
    rig.runner.job("c").reply([]);
    expect((await rig.host.pump(run)).status).toBe("succeeded");
  });
});

describe("Memory that a task asks for", () => {
  const half = 600 << 10;
  const holder = (name: string, ms: number, rig: Rig): TaskDef => ({
    name,
    outputs: [raw(name)],
    resourceReq: { minMemoryBytes: half },
    async run(context) {
      context.allocate(name, half);
      await rig.host.later(ms);
    },
  });

  it("is waited for, one at a time, until the leases before have given it back", async () => {
    const rig = new Rig();
    const tasks = ["a", "b", "c"].map((name) => holder(name, 20, rig));
    const result = await rig.run(planOf(tasks), { ttlMs: 200 });
    expect([result.status, imbalances(result)]).toEqual(["succeeded", []]);
    // Each waited for the TTL of the one before.
    const [a, b] = result.tasks;
    expect((b?.startedAtMs ?? 0) - (a?.endedAtMs ?? 0)).toBeGreaterThan(150);
  });

  it("is had as soon as it is free, whatever else of the run is at work", async () => {
    const rig = new Rig();
    const crowd = new Crowd(rig);
    const tasks = [holder("a", 20, rig), holder("b", 20, rig), crowd.task("long", 3_000)];
    const result = await rig.run(planOf(tasks), { ttlMs: 200 });
    const [a, b] = result.tasks;
    expect((b?.startedAtMs ?? Infinity) - (a?.endedAtMs ?? 0)).toBeLessThan(250);
  });

  it("is not had by smaller ones that came later, and does not hold up those that ask for none", async () => {
    const rig = new Rig();
    const crowd = new Crowd(rig);
    const tasks = [
      crowd.task("first", 50, ask(half)),
      crowd.task("large", 10, ask(half)),
      ...Array.from({ length: 5 }, (_, at) => crowd.task(`small${at}`, 30, ask(half >> 1))),
      crowd.task("none", 10),
    ];
    const result = await rig.run(planOf(tasks));
    expect(result.status).toBe("succeeded");
    expect(crowd.order.slice(0, 3)).toEqual(["first", "none", "large"]);
  });

  it("is refused before any task starts where there can never be so much, naming who asks", async () => {
    const rig = new Rig();
    const plan = planOf([
      idle("small"),
      idle("huge", { resourceReq: { minMemoryBytes: 2 << 20 } }),
    ]);
    await expect(rig.start(plan)).rejects.toMatchObject({
      code: "CAPACITY_EXCEEDED",
      details: { resource: "memory", capacity: 1 << 20, tasks: ["huge"] },
    });
    expect(rig.events).toEqual([]);
    const small = new Rig({ tenants: { default: { memoryBytes: 256 << 10 } } });
    const most = planOf([idle("most", { resourceReq: { minMemoryBytes: 300 << 10 } })]);
    await expect(small.start(most)).rejects.toMatchObject({ code: "CAPACITY_EXCEEDED" });
    const threads = planOf([idle("wide", { resourceReq: { threads: 3 } })]);
    await expect(rig.start(threads, {}, { ...rig.ports, threads: 2 })).rejects.toMatchObject({
      code: "CAPACITY_EXCEEDED",
    });
  });

  it("that others never give back is not waited for for ever: the task says CAPACITY_EXCEEDED", async () => {
    const rig = new Rig();
    const mine = rig.fabric.mem().minBytes(half).leaseMs(3_600_000).acquire();
    const result = await rig.run(planOf([holder("a", 5, rig)]), { ttlMs: 100 });
    expect([result.status, codesOf(result, "a")]).toEqual(["failed", ["CAPACITY_EXCEEDED"]]);
    mine.release();
  });

  it("is there for a task whose inputs fill the rest", async () => {
    const rig = new Rig();
    const plan = planOf(
      [holder("a", 5, rig), { ...holder("b", 5, rig), inputs: [raw("a")] }],
      [["a", "b"]],
    );
    // Both can never be there at a time: b is told so, and the run ends.
    const result = await rig.run(plan, { ttlMs: 100 });
    expect([statuses(result), codesOf(result, "b")]).toEqual([
      ["succeeded", "failed"],
      ["CAPACITY_EXCEEDED"],
    ]);
  });
});

describe("A task's timeout", () => {
  it("ends the attempt, tells it by its signal, and counts it among the errors", async () => {
    const rig = new Rig();
    let reason: unknown;
    const slow: TaskDef = {
      name: "slow",
      timeoutMs: 50,
      run: ({ signal }) =>
        new Promise((_, reject) => {
          signal.addEventListener("abort", () => {
            reason = signal.reason;
            reject(new Error("stopped"));
          });
        }),
    };
    const result = await rig.run(
      planOf([slow, idle("after"), idle("beside")], [["slow", "after"]]),
    );
    expect([result.status, statuses(result)]).toEqual([
      "failed",
      ["timedOut", "skipped", "succeeded"],
    ]);
    expect([codesOf(result, "slow"), becauses(result)[1]]).toEqual([["TIMED_OUT"], "slow"]);
    expect(isFabricError(reason) && reason.details).toEqual({ timeoutMs: 50, task: "slow" });
    expect(rig.moves).toContain("slow:running>timedOut");
  });

  it("gives every attempt its own time, after the body of the one before has ended", async () => {
    const rig = new Rig();
    const crowd = new Crowd(rig);
    const task = crowd.task("slow", 100, { timeoutMs: 50, retries: 3, backoff: { baseMs: 1 } });
    const result = await rig.run(planOf([task]));
    expect([codesOf(result, "slow"), result.tasks[0]?.attempts, crowd.most]).toEqual([
      ["TIMED_OUT", "TIMED_OUT", "TIMED_OUT", "TIMED_OUT"],
      4,
      1,
    ]);
  });

  it("refuses what comes late, by its epoch, and takes the next attempt's", async () => {
    const rig = new Rig();
    const epochs: number[] = [];
    let read = 0;
    const plan = planOf(
      [
        {
          name: "make",
          timeoutMs: 50,
          retries: 1,
          backoff: { baseMs: 1 },
          outputs: [raw("out")],
          async run({ attempt, epoch }) {
            epochs.push(epoch.value);
            await rig.host.later(attempt === 1 ? 60 : 10);
            return { out: Uint8Array.of(attempt) };
          },
        },
        {
          name: "read",
          inputs: [raw("out")],
          run(context) {
            read = context.input("out")[0] ?? 0;
          },
        },
      ],
      [["make", "read"]],
    );
    const result = await rig.run(plan);
    expect([result.status, read, result.tasks[0]?.retriesUsed]).toEqual(["succeeded", 2, 1]);
    expect(epochs[1]).toBeGreaterThan(epochs[0] ?? Infinity);
    expect(imbalances(result)).toEqual([]);
  });

  it("does not give its slot away while the body runs", async () => {
    const rig = new Rig();
    const crowd = new Crowd(rig);
    const tasks = [crowd.task("slow", 200, { timeoutMs: 50 }), crowd.task("next", 10)];
    const result = await rig.run(planOf(tasks), { maxConcurrency: 1 });
    expect([statuses(result), crowd.most]).toEqual([["timedOut", "succeeded"], 1]);
    const [slow, next] = result.tasks;
    expect((next?.startedAtMs ?? 0) - (slow?.endedAtMs ?? 0)).toBeGreaterThanOrEqual(150);
  });

  it("gives up a body that never ends after its grace, with what waits for its slot, and names it", async () => {
    const rig = new Rig();
    const stuck: TaskDef = { name: "stuck", timeoutMs: 50, retries: 5, run: () => never };
    const plan = planOf([stuck, idle("next"), idle("child")], [["stuck", "child"]]);
    const result = await rig.run(plan, { maxConcurrency: 1, graceMs: 100 });
    expect([result.status, statuses(result), becauses(result)]).toEqual([
      "failed",
      ["timedOut", "cancelled", "skipped"],
      [undefined, "stuck", "stuck"],
    ]);
    // It is not tried again beside itself.
    expect(result.tasks[0]?.attempts).toBe(1);
    expect(result.elapsedMs).toBeLessThan(250);
  });

  it("lets the rest go on beside a body that never ends, where there are slots", async () => {
    const rig = new Rig();
    const stuck: TaskDef = { name: "stuck", timeoutMs: 50, run: () => never };
    const plan = planOf([stuck, idle("next"), idle("last")], [["next", "last"]]);
    const result = await rig.run(plan, { maxConcurrency: 2, graceMs: 100 });
    expect(statuses(result)).toEqual(["timedOut", "succeeded", "succeeded"]);
  });

  it("ends a worker thread after the grace, revokes what it leased, and tries again once it is gone", async () => {
    const rig = new Rig();
    const plan = planOf([
      { name: "far", run: module, timeoutMs: 50, retries: 1, outputs: [raw("out")] },
    ]);
    const run = rig.start(plan, { graceMs: 100 });
    await rig.host.advance(5);
    const first = rig.runner.job("far");
    first.host.started(0);
    first.host.acquire("out", 100);
    await rig.host.advance(60);
    expect([first.aborts.length, first.terminated]).toEqual([1, false]);
    await rig.host.advance(100);
    expect(first.terminated).toBe(true);
    expect(rig.leaseMoves).toContain("far/out:revoked");
    await rig.host.advance(500);
    // Not while the thread may still be at it.
    expect(rig.runner.jobs.length).toBe(1);
    first.fail(new Error("exited"));
    await rig.host.advance(200);
    const second = rig.runner.jobs[1];
    if (second === undefined) throw new Error("it was not tried again");
    second.host.started(0);
    const { number } = second.host.acquire("out", 1);
    second.reply([{ name: "out", allocation: number, bytes: 1 }]);
    const result = await rig.host.pump(run);
    expect([result.status, imbalances(result)]).toEqual(["succeeded", []]);
  });
});

describe("A run's timeout", () => {
  it("ends what runs as timed out, cancels the rest, and keeps what was done", async () => {
    const rig = new Rig();
    const crowd = new Crowd(rig);
    const slow: TaskDef = {
      name: "slow",
      run: ({ signal }) =>
        new Promise((_, reject) => {
          signal.addEventListener("abort", () => reject(new Error("stopped")));
        }),
    };
    const plan = planOf([crowd.task("quick", 5), slow, idle("after")], [["slow", "after"]]);
    const result = await rig.run(plan, { timeoutMs: 300 });
    expect([result.status, statuses(result)]).toEqual([
      "timedOut",
      ["succeeded", "timedOut", "cancelled"],
    ]);
    expect(result.elapsedMs).toBe(300);
  });

  it("does not wait longer than the grace for a body that never ends", async () => {
    const rig = new Rig();
    const plan = planOf([{ name: "stuck", run: () => never }]);
    const result = await rig.run(plan, { timeoutMs: 100, graceMs: 50 });
    expect([result.status, result.elapsedMs]).toEqual(["timedOut", 150]);
  });

  it("changes nothing once all has ended, and leaves no timer", async () => {
    const rig = new Rig();
    const result = await rig.run(planOf([idle("a")]), { timeoutMs: 1_000 });
    expect([result.status, rig.host.alarms]).toEqual(["succeeded", 1]);
  });
});

describe("A failure", () => {
  it("stops the run where it is to: what runs is told why, what has not started is cancelled because of it", async () => {
    const rig = new Rig();
    let reason: unknown;
    const slow: TaskDef = {
      name: "slow",
      run: ({ signal }) =>
        new Promise((_, reject) => {
          signal.addEventListener("abort", () => {
            reason = signal.reason;
            reject(new Error("stopped"));
          });
        }),
    };
    const plan = planOf(
      [slow, broken("bad"), idle("late"), idle("child")],
      [
        ["slow", "late"],
        ["bad", "child"],
      ],
    );
    const result = await rig.run(plan, { failFast: true });
    expect([result.status, statuses(result), becauses(result)]).toEqual([
      "failed",
      ["cancelled", "failed", "cancelled", "skipped"],
      [undefined, undefined, "bad", "bad"],
    ]);
    expect(reason).toBe(errorOf(result, "bad"));
  });

  it("of a task with continueOnFailure is none of the run's", async () => {
    const rig = new Rig();
    const plan = planOf([broken("bad", { continueOnFailure: true }), idle("good")]);
    const result = await rig.run(plan, { failFast: true });
    expect([result.status, statuses(result)]).toEqual(["succeeded", ["failed", "succeeded"]]);
  });

  it("of a task that others depend on cannot be: build refuses it, naming them", () => {
    const graph = graphOf(
      [broken("bad", { continueOnFailure: true }), idle("child")],
      [["bad", "child"]],
    );
    const error = thrownBy(() => graph.build());
    expect([error.code, error.details["names"], error.message]).toEqual([
      "CONFLICT",
      ["bad"],
      expect.stringContaining('"child" depends on it'),
    ]);
  });
});

describe("Executor.run() refuses, before any task starts,", () => {
  it.each([
    ["a concurrency of zero", { maxConcurrency: 0 }],
    ["half an attempt", { maxConcurrency: 1.5 }],
    ["a timeout of zero", { timeoutMs: 0 }],
    ["a timeout beyond any timer", { timeoutMs: 2 ** 31 }],
    ["a schedule that there is not", { schedule: "later" as never }],
    ["a limit of zero", { limits: { db: 0 } }],
    ["a limit on what nobody uses", { limits: { bd: 1 } }],
    ["a failFast that is text", { failFast: "yes" as never }],
  ])("%s", async (_, options) => {
    const rig = new Rig();
    const plan = planOf([idle("a", { uses: ["db"] })]);
    await expect(rig.start(plan, options)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    expect(rig.events).toEqual([]);
  });

  it.each([
    ["a timeout of zero", { timeoutMs: 0 }],
    ["a timeout that is text", { timeoutMs: "1" as never }],
    ["a name for uses", { uses: "db" as never }],
    ["negative memory", { resourceReq: { minMemoryBytes: -1 } }],
    ["half a thread", { resourceReq: { threads: 0.5 } }],
    ["text for continueOnFailure", { continueOnFailure: "yes" as never }],
  ])("a task with %s", (_, more) => {
    expect(thrownBy(() => graphOf([idle("a", more)])).code).toBe("INVALID_ARGUMENT");
  });
});
