import {
  eventLogger,
  validateTasks,
  type JobEvent,
  type JobMap,
  type JobTask,
} from "@selvage/batch";
import { isFabricError } from "@selvage/fabric";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { JobGraph } from "../src/job/job-graph.ts";
import { JobRig, legalMoves } from "./job-rig.ts";
import { thrownBy } from "./rig.ts";

const inc = ({ v }: JobMap): JobMap => ({ v: (v as number) + 1 });
const boom = new Error("BOOM");
const thrower = (): never => {
  throw boom;
};
const nothing = (): JobMap => ({});
const never = new Promise<JobMap>(() => {});

/** Tasks by name and the names before them, whose bodies do nothing. */
const tasksOf = (before: Readonly<Record<string, readonly string[]>>): JobTask[] =>
  Object.entries(before).map(([name, dependencies]) => ({ name, dependencies, fn: nothing }));

describe("runTasks() does what daguerreo does:", () => {
  it("1: a chain hands its context on, and ends completed with it, exactly", async () => {
    const tasks: JobTask[] = [
      { name: "a", fn: inc, dependencies: ["b"] },
      { name: "b", fn: inc, dependencies: ["c"] },
      { name: "c", fn: inc },
    ];
    expect(await new JobRig().run(tasks, { ctx: { v: 0 } })).toEqual({
      state: "completed",
      ctx: { v: 3 },
    });
  });

  it("2: a task that throws fails the job, with its name, its very error, and what the others made", async () => {
    const tasks: JobTask[] = [
      { name: "a", fn: inc },
      { name: "b", fn: thrower },
    ];
    const result = await new JobRig().run(tasks, { ctx: { v: 0 } });
    expect(result).toEqual({
      state: "failed",
      reason: "exception",
      name: "b",
      error: boom,
      ctx: { v: 1 },
    });
    expect(result.error).toBe(boom);
  });

  it("3: maxRetries 3 runs a thrower four times", async () => {
    let runs = 0;
    const a: JobTask = {
      name: "a",
      fn: () => {
        runs++;
        return thrower();
      },
    };
    const result = await new JobRig().run([a, { name: "b", fn: inc }], {
      ctx: { v: 0 },
      maxRetries: 3,
    });
    expect([runs, result.state, result.name, result.ctx]).toEqual([4, "failed", "a", { v: 1 }]);
    expect(result.error).toBe(boom);
  });

  it("3: a task's own maxRetries goes before the job's, whose default is 5", async () => {
    const runs = { own: 0, job: 0 };
    const fail = (name: "own" | "job") => (): JobMap => {
      runs[name]++;
      throw boom;
    };
    await new JobRig().run(
      [
        { name: "own", maxRetries: 1, fn: fail("own") },
        { name: "job", fn: fail("job") },
      ],
      { failFast: false },
    );
    expect(runs).toEqual({ own: 2, job: 6 });
  });

  it("4: one at a time, three tasks become ready, and then run and complete one after the other", async () => {
    const rig = new JobRig();
    const keyed = (key: string) => () => rig.later(10, { [key]: 1 });
    const tasks = ["a", "b", "c"].map((name) => ({ name, fn: keyed(name) }));
    const result = await rig.run(tasks, { maxConcurrency: 1 });
    expect(result).toEqual({ state: "completed", ctx: { a: 1, b: 1, c: 1 } });
    expect(rig.taskEvents.map(({ newState }) => newState)).toEqual([
      "ready",
      "ready",
      "ready",
      "running",
      "completed",
      "running",
      "completed",
      "running",
      "completed",
    ]);
  });

  it("5: cancel ends a loop that asks isActive, and gives what had completed, exactly", async () => {
    const rig = new JobRig();
    let loops = 0;
    let hasEnded = false;
    const a: JobTask = {
      name: "a",
      fn: async (_, { isActive }) => {
        for (; isActive(); loops++) await rig.host.later(200);
        hasEnded = true;
        return { late: true };
      },
    };
    const job = rig.start([a, { name: "b", fn: inc }], { ctx: { v: 0 } });
    await rig.host.advance(300);
    job.cancel();
    const result = await rig.host.pump(Promise.resolve(job));
    expect([result, loops, hasEnded]).toEqual([{ state: "cancelled", ctx: { v: 1 } }, 2, true]);
    job.cancel();
    expect(job.state).toBe("cancelled");
  });

  it.each([
    ["text", "not a map"],
    ["nothing", undefined],
    ["null", null],
    ["an array", [1]],
    ["an instance", new Date(0)],
  ])("6: %s for a map fails the job at once, with the name and the value", async (_, value) => {
    let runs = 0;
    const a: JobTask = {
      name: "a",
      fn: () => {
        runs++;
        return value as never;
      },
    };
    expect(await new JobRig().run([a])).toEqual({
      state: "failed",
      reason: "invalid-result",
      name: "a",
      result: value,
      ctx: {},
    });
    expect(runs).toBe(1);
  });

  it("7: a body that takes longer than its timeout, at every attempt, fails as timed out", async () => {
    const rig = new JobRig();
    let [now, most, runs] = [0, 0, 0];
    const a: JobTask = {
      name: "a",
      timeoutMs: 50,
      fn: async () => {
        runs++;
        most = Math.max(most, ++now);
        await rig.host.later(100);
        now--;
        return { a: 1 };
      },
    };
    const job = rig.start([a], { maxRetries: 3 });
    const result = await rig.host.pump(Promise.resolve(job));
    expect(result).toMatchObject({ state: "failed", reason: "timed-out", name: "a", ctx: {} });
    expect(isFabricError(result.error) && result.error.code).toBe("TIMED_OUT");
    expect([runs, most, job.tasks()[0]?.errors.length]).toEqual([4, 1, 4]);
  });

  it("8: a custom executor runs every body", async () => {
    let ran = 0;
    const tasks: JobTask[] = [
      { name: "a", fn: () => ({ a: 1 }) },
      { name: "b", fn: () => ({ b: 2 }) },
    ];
    const executor = async (body: () => unknown): Promise<unknown> => {
      ran++;
      return body();
    };
    const result = await new JobRig().run(tasks, { executor });
    expect([result, ran]).toEqual([{ state: "completed", ctx: { a: 1, b: 2 } }, 2]);
  });

  it("9: a job's timeout ends it with what had completed, exactly", async () => {
    const rig = new JobRig();
    const tasks: JobTask[] = [
      { name: "a", fn: () => ({ a: 1 }) },
      { name: "b", fn: () => rig.later(1_000, { b: 1 }) },
    ];
    expect(await rig.run(tasks, { timeoutMs: 500 })).toEqual({
      state: "timed-out",
      ctx: { a: 1 },
    });
  });

  it("10: a graph knows who depends on whom, and nothing of the rest", () => {
    const graph = new JobGraph(tasksOf({ a: [], b: ["a"], c: ["b", "d"], d: ["b"] }));
    const of = (ask: "dependencies" | "dependents") =>
      Object.fromEntries(graph.names.map((name) => [name, graph[ask](name).toSorted()]));
    expect(of("dependents")).toEqual({ a: ["b"], b: ["c", "d"], c: [], d: ["c"] });
    expect(of("dependencies")).toEqual({ a: [], b: ["a"], c: ["b", "d"], d: ["b"] });
    expect([graph.dependents("x"), graph.dependencies("x")]).toEqual([[], []]);
  });

  it.each([
    ["11: none where there is none", { a: ["b"], b: [] }, undefined],
    ["12: two, behind another", { a: [], b: ["a", "d"], c: ["b"], d: ["b"] }, ["b", "d", "b"]],
    ["13: three", { a: ["b"], b: ["c"], c: ["a"] }, ["c", "b", "a", "c"]],
    [
      "14: four among nine",
      { a: ["b"], b: ["c"], c: ["e"], d: [], e: ["a"], f: ["c", "e"], g: [], x1: [], x2: ["x1"] },
      ["e", "c", "b", "a", "e"],
    ],
  ])("cycles: %s", (_, before, cycle) => {
    expect(new JobGraph(tasksOf(before)).cycle).toEqual(cycle);
  });

  it("15: a missing dependency is one problem, with the name and what is missing", () => {
    expect(validateTasks(tasksOf({ a: ["b"] }))).toEqual([
      { error: "missing-dependencies", name: "a", missing: ["b"] },
    ]);
  });

  it("16: continueOnFailure with a dependent is one problem, with who depends", () => {
    const [a, b] = tasksOf({ a: ["b"], b: [] }) as [JobTask, JobTask];
    expect(validateTasks([a, { ...b, continueOnFailure: true }])).toEqual([
      { error: "continue-on-failure-with-dependents", name: "b", dependents: ["a"] },
    ]);
  });

  it("17, 18: a cycle is one problem, with its path", () => {
    expect(validateTasks(tasksOf({ a: ["b"], b: ["a"] }))).toEqual([
      { error: "dependency-cycle", cycle: ["b", "a", "b"] },
    ]);
    expect(validateTasks(tasksOf({ a: ["b"], b: ["c"], c: ["a"] }))).toEqual([
      { error: "dependency-cycle", cycle: ["c", "b", "a", "c"] },
    ]);
  });
});

describe("runTasks() does right what daguerreo does wrong:", () => {
  it("a task with continueOnFailure that fails does not keep the job", async () => {
    const tasks: JobTask[] = [
      { name: "a", fn: thrower, continueOnFailure: true, maxRetries: 1 },
      { name: "b", fn: () => ({ b: 1 }) },
    ];
    const job = new JobRig().start(tasks);
    expect(await job).toEqual({ state: "completed", ctx: { b: 1 } });
    expect(job.tasks().map(({ state, attempts }) => [state, attempts])).toEqual([
      ["failed", 2],
      ["completed", 1],
    ]);
  });

  it("a task that depends on itself is a cycle", () => {
    expect(validateTasks(tasksOf({ a: ["a"] }))).toEqual([
      { error: "dependency-cycle", cycle: ["a", "a"] },
    ]);
  });

  it("two tasks of one name are refused", () => {
    const tasks = [...tasksOf({ a: [] }), ...tasksOf({ a: [] })];
    expect(validateTasks(tasks)).toEqual([{ error: "duplicate-name", name: "a" }]);
    expect(thrownBy(() => new JobRig().start(tasks)).code).toBe("CONFLICT");
  });

  it("no tasks are a job that completes", async () => {
    const rig = new JobRig();
    expect(await rig.run([], { ctx: { v: 1 } })).toEqual({ state: "completed", ctx: { v: 1 } });
    expect(rig.jobMoves).toEqual(["idle>running", "running>completed"]);
  });

  it.each([
    ["a string", "no"],
    ["undefined", undefined],
    ["an object", { some: "thing" }],
  ])("whatever is thrown ends the attempt: %s", async (_, thrown) => {
    const fn = (): never => {
      // oxlint-disable-next-line typescript/only-throw-error -- bodies may
      throw thrown;
    };
    const result = await new JobRig().run([{ name: "a", fn, maxRetries: 0 }]);
    expect([result.state, result.reason]).toEqual(["failed", "exception"]);
    expect(result.error).toBe(thrown);
  });

  it("what a timed-out attempt returns late is not in the context, and the next attempt's is", async () => {
    const rig = new JobRig();
    const a: JobTask = {
      name: "a",
      timeoutMs: 50,
      fn: (_, { attempt }) => rig.later(attempt === 1 ? 60 : 10, { [`from${attempt}`]: true }),
    };
    expect(await rig.run([a])).toEqual({ state: "completed", ctx: { from2: true } });
  });

  it("the result is there, with its state, before the last event is told", async () => {
    const rig = new JobRig();
    const states: unknown[] = [];
    const job = rig.start([{ name: "a", fn: nothing }], {
      onEvent: ({ type }) => {
        if (type === "job") states.push(job.state);
      },
    });
    expect((await job).state).toBe("completed");
    expect(states).toEqual(["running", "completed"]);
  });

  it("the job's last event says what its result says", async () => {
    for (const fn of [thrower, () => never, () => 1 as never]) {
      const rig = new JobRig();
      const result = await rig.run([{ name: "a", fn, timeoutMs: 50, maxRetries: 0 }]);
      expect([result.state, rig.jobMoves]).toEqual(["failed", ["idle>running", "running>failed"]]);
    }
  });

  it("everything that is wrong is told at once, by name", () => {
    const tasks = [
      ...tasksOf({ a: ["x", "y"], b: ["b"] }),
      { name: "c", fn: nothing, continueOnFailure: true },
      { name: "d", fn: nothing, dependencies: ["c"] },
    ];
    expect(validateTasks(tasks).map(({ error }) => error)).toEqual([
      "missing-dependencies",
      "continue-on-failure-with-dependents",
      "dependency-cycle",
    ]);
    const { code, message, details } = thrownBy(() => new JobRig().start(tasks));
    expect(code).toBe("INVALID_ARGUMENT");
    expect(message).toContain('"a" depends on "x", "y", which there is not');
    expect(details["problems"]).toHaveLength(3);
  });

  it("queued tasks end with the failure, not after the next completion", async () => {
    const rig = new JobRig();
    const tasks: JobTask[] = [
      { name: "slow", fn: (_, { signal }) => whenAborted(signal) },
      { name: "bad", fn: thrower, maxRetries: 0 },
      { name: "queued", fn: nothing },
    ];
    const result = await rig.run(tasks, { maxConcurrency: 2 });
    expect([result.name, result.state]).toEqual(["bad", "failed"]);
    expect(rig.moves.slice(-4)).toEqual([
      "bad:running>exception",
      "bad:exception>failed",
      "slow:running>cancelled",
      "queued:ready>cancelled",
    ]);
  });

  it("a timed-out body keeps its slot until it ends", async () => {
    const rig = new JobRig();
    let [now, most] = [0, 0];
    const tasks = ["a", "b", "c"].map((name) => ({
      name,
      timeoutMs: 50,
      maxRetries: 1,
      fn: async (): Promise<JobMap> => {
        most = Math.max(most, ++now);
        await rig.host.later(120);
        now--;
        return {};
      },
    }));
    await rig.run(tasks, { maxConcurrency: 1, failFast: false });
    expect(most).toBe(1);
  });

  it("no timer is left behind", async () => {
    const rig = new JobRig();
    const tasks: JobTask[] = [
      { name: "a", timeoutMs: 5_000, fn: nothing },
      { name: "b", timeoutMs: 5_000, fn: () => rig.later(10, {}) },
      {
        name: "c",
        timeoutMs: 5,
        maxRetries: 0,
        continueOnFailure: true,
        fn: () => rig.later(9, {}),
      },
    ];
    await rig.run(tasks, { timeoutMs: 60_000 });
    expect(rig.host.alarms).toBe(0);
  });
});

/** A body that ends when it is told. */
function whenAborted(signal: {
  addEventListener(type: "abort", told: () => void): void;
}): Promise<JobMap> {
  return new Promise((resolve) => {
    signal.addEventListener("abort", () => resolve({ late: true }));
  });
}

describe("A job", () => {
  it("shows each task what those before it returned, the later over the earlier, and nothing else", async () => {
    const seen: Record<string, JobMap> = {};
    const task = (name: string, result: JobMap, ...dependencies: string[]): JobTask => ({
      name,
      dependencies,
      fn(ctx) {
        seen[name] = ctx;
        return result;
      },
    });
    const tasks = [
      task("root", { v: 1, root: true }),
      task("left", { v: 2 }, "root"),
      task("right", { right: true }, "root"),
      task("side", { side: true }),
      task("end", {}, "right", "left"),
    ];
    const { ctx } = await new JobRig().run(tasks, { ctx: { v: 0 } });
    expect(seen).toEqual({
      root: { v: 0 },
      side: { v: 0 },
      left: { v: 1, root: true },
      right: { v: 1, root: true },
      end: { v: 2, root: true, right: true },
    });
    expect(ctx).toEqual({ v: 2, root: true, right: true, side: true });
    expect(Object.isFrozen(seen["end"])).toBe(true);
  });

  it("reports a key that two unordered tasks write, whichever comes last, and keeps the first", async () => {
    for (const [a, b] of [
      [10, 20],
      [20, 10],
    ] as const) {
      const rig = new JobRig();
      const tasks: JobTask[] = [
        { name: "a", fn: () => rig.later(a, { v: "a" }) },
        { name: "b", fn: () => rig.later(b, { v: "b" }) },
      ];
      const result = await rig.run(tasks);
      expect(result).toMatchObject({
        state: "failed",
        reason: "conflict",
        ctx: { v: a < b ? "a" : "b" },
      });
      expect(isFabricError(result.error) && result.error.details).toEqual({
        key: "v",
        tasks: ["a", "b"],
      });
    }
  });

  it("hands on keys that every object has", async () => {
    const tasks: JobTask[] = [
      { name: "a", fn: () => JSON.parse('{ "__proto__": 1, "constructor": 2 }') as JobMap },
      {
        name: "b",
        dependencies: ["a"],
        fn: (ctx) => ({ keys: Object.keys(ctx), own: Object.hasOwn(ctx, "__proto__") }),
      },
    ];
    const { ctx } = await new JobRig().run(tasks);
    expect([ctx["keys"], ctx["own"]]).toEqual([["__proto__", "constructor"], true]);
  });

  it("with failFast false lets the rest go on, skips what depends, and names the root", async () => {
    const tasks: JobTask[] = [
      { name: "bad", fn: thrower, maxRetries: 0 },
      { name: "child", fn: nothing, dependencies: ["bad"] },
      { name: "grandchild", fn: nothing, dependencies: ["child"] },
      { name: "other", fn: () => ({ other: 1 }) },
    ];
    const job = new JobRig().start(tasks, { failFast: false });
    expect(await job).toMatchObject({ state: "failed", name: "bad", ctx: { other: 1 } });
    expect(job.tasks().map(({ state, because }) => [state, because])).toEqual([
      ["failed", undefined],
      ["skipped", "bad"],
      ["skipped", "bad"],
      ["completed", undefined],
    ]);
  });

  it("tells a body by its signal and isActive that its time is up, and that the job is over", async () => {
    const rig = new JobRig();
    const told: unknown[] = [];
    const listen = async (name: string, { signal, isActive }: Parameters<JobTask["fn"]>[1]) => {
      await whenAborted(signal);
      told.push([name, isActive(), (signal.reason as Error).message]);
      return {};
    };
    const tasks: JobTask[] = [
      {
        name: "slow",
        timeoutMs: 50,
        maxRetries: 0,
        fn: (_, c) => listen("slow", c),
        continueOnFailure: true,
      },
      { name: "long", fn: (_, c) => listen("long", c) },
    ];
    const job = rig.start(tasks);
    await rig.host.advance(100);
    job.cancel(new Error("enough"));
    await rig.host.pump(Promise.resolve(job));
    expect(told).toEqual([
      ["slow", false, 'Attempt 1 of "slow" did not end within 50 ms'],
      ["long", false, "enough"],
    ]);
  });

  it("ends without a body that never ends, after the grace, and names it", async () => {
    const rig = new JobRig();
    const tasks: JobTask[] = [
      { name: "stuck", timeoutMs: 50, fn: () => never },
      { name: "next", fn: nothing },
    ];
    const result = await rig.run(tasks, { graceMs: 100, failFast: false, maxConcurrency: 1 });
    expect(result).toMatchObject({ state: "failed", name: "stuck", overrunning: ["stuck"] });
    expect(rig.moves).toContain("next:ready>cancelled");
    const cancelled = new JobRig();
    const job = cancelled.start(tasks, { graceMs: 100 });
    await cancelled.host.advance(10);
    job.cancel();
    expect(await cancelled.host.pump(Promise.resolve(job))).toEqual({
      state: "cancelled",
      ctx: {},
      overrunning: ["stuck"],
    });
  });

  it("is cancelled by the caller's signal, also before it begins, and leaves no listener", async () => {
    const controller = new AbortController();
    controller.abort();
    const { signal } = controller;
    const ran: string[] = [];
    const tasks: JobTask[] = [
      {
        name: "a",
        fn() {
          ran.push("a");
          return {};
        },
      },
    ];
    const result = await new JobRig().run(tasks, { signal });
    expect([result, ran]).toEqual([{ state: "cancelled", ctx: {} }, []]);
    const early = new JobRig().start(tasks);
    early.cancel();
    expect((await early).state).toBe("cancelled");
  });

  it("rejects with what its watcher threw, whenever that was, and starts nothing after", async () => {
    const thrown = new Error("watcher");
    const moves = ["running", "completed", "exception", "failed", "ready", "timed-out"];
    for (const move of moves) {
      const rig = new JobRig();
      const tasks: JobTask[] = [
        { name: "a", fn: nothing },
        { name: "b", fn: thrower, maxRetries: 1 },
        { name: "c", timeoutMs: 10, fn: () => rig.later(20, {}), maxRetries: 1 },
      ];
      const onEvent = ({ newState }: JobEvent): void => {
        if (newState === move) throw thrown;
      };
      await expect(rig.run(tasks, { onEvent, failFast: false })).rejects.toBe(thrown);
    }
  });

  it("ends however its watcher cancels it", async () => {
    const moves = ["running", "completed", "exception", "failed", "ready", "timed-out"];
    for (const move of moves) {
      const rig = new JobRig();
      const tasks: JobTask[] = [
        { name: "a", fn: nothing },
        { name: "b", fn: thrower, maxRetries: 1 },
        { name: "c", timeoutMs: 10, fn: () => rig.later(20, {}), maxRetries: 1 },
        { name: "d", fn: () => rig.later(500, {}) },
      ];
      const job = rig.start(tasks, {
        failFast: false,
        onEvent: ({ newState }) => {
          if (newState === move) job.cancel();
        },
      });
      expect([move, (await rig.host.pump(Promise.resolve(job))).state]).toEqual([
        move,
        "cancelled",
      ]);
    }
  });

  it("writes a line for each change", async () => {
    const lines: string[] = [];
    await new JobRig().run([{ name: "a", fn: nothing }], {
      onEvent: eventLogger((line) => void lines.push(line)),
    });
    expect(lines).toEqual([
      "JOB > idle -> running",
      "a > unscheduled -> ready",
      "a > ready -> running",
      "a > running -> completed",
      "JOB > running -> completed",
    ]);
  });

  it.each([
    ["an option that there is not", { timeout: 5 } as never],
    ["a concurrency of zero", { maxConcurrency: 0 }],
    ["a timeout of zero", { timeoutMs: 0 }],
    ["half a retry", { maxRetries: 0.5 }],
    ["text for an executor", { executor: "pool" as never }],
    ["text for a context", { ctx: "v" as never }],
  ])("refuses %s", (_, options) => {
    const rig = new JobRig();
    expect(thrownBy(() => rig.start([], { ...options, ...(options as object) })).code).toBe(
      "INVALID_ARGUMENT",
    );
  });

  it.each([
    ["no name", { fn: nothing }],
    ["no function", { name: "a" }],
    ["text for dependencies", { name: "a", fn: nothing, dependencies: "b" }],
    ["a negative timeout", { name: "a", fn: nothing, timeoutMs: -1 }],
    ["half a retry", { name: "a", fn: nothing, maxRetries: 0.5 }],
  ])("refuses a task with %s", (_, task) => {
    const { code, details } = thrownBy(() => new JobRig().start([task as never]));
    expect([code, (details["problems"] as unknown[]).length]).toEqual(["INVALID_ARGUMENT", 1]);
  });

  it("hands a map through 20,000 tasks in a row without recursion", async () => {
    const tasks = Array.from({ length: 20_000 }, (_, at) => ({
      name: `t${at}`,
      fn: inc,
      dependencies: at === 0 ? [] : [`t${at - 1}`],
    }));
    expect((await new JobRig().run(tasks, { ctx: { v: 0 } })).ctx).toEqual({ v: 20_000 });
  });
});

interface Generated {
  readonly size: number;
  readonly seed: number;
  readonly sleepMs: number;
  readonly maxConcurrency: number;
  readonly failFast: boolean;
  readonly cancelAtMs: number | undefined;
}

/** A stream of numbers, the same for the same seed. */
function chances(seed: number): (below: number) => number {
  let state = seed | 1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

/** Runs a random job, and gives what was wrong. */
async function generated(one: Generated): Promise<string[]> {
  const rig = new JobRig();
  const chance = chances(one.seed);
  const wrong: string[] = [];
  let [now, most] = [0, 0];
  const tasks: JobTask[] = Array.from({ length: one.size }, (_, at) => {
    const count = at === 0 ? 0 : chance(6);
    const dependencies = [...new Set(Array.from({ length: count }, () => `t${chance(at)}`))];
    const timeoutMs = one.sleepMs > 0 && chance(3) === 0 ? 50 + chance(one.sleepMs) : undefined;
    return {
      name: `t${at}`,
      dependencies,
      maxRetries: 3,
      ...(timeoutMs === undefined ? {} : { timeoutMs }),
      fn: async (ctx) => {
        most = Math.max(most, ++now);
        for (const before of dependencies)
          if (ctx[before] !== true) wrong.push(`22: t${at} without ${before}`);
        if (one.sleepMs > 0) await rig.host.later(chance(one.sleepMs + 1));
        now--;
        if (chance(5) === 0) throw boom;
        return { [`t${at}`]: true };
      },
    };
  });
  const { maxConcurrency, failFast, cancelAtMs } = one;
  const job = rig.start(tasks, { maxConcurrency, failFast });
  if (cancelAtMs !== undefined) rig.host.timer.after(cancelAtMs, () => job.cancel());
  // 23: it ends, or `pump` says that it hangs.
  const result = await rig.host.pump(Promise.resolve(job));
  if (most > maxConcurrency) wrong.push(`${most} at a time`);
  const state = new Map<string, string>();
  const ends = new Map<string, number>();
  const left = new Map<string, number>();
  for (const { name, oldState, newState } of rig.taskEvents) {
    if (!legalMoves[oldState].includes(newState)) wrong.push(`19: ${name} ${oldState}>${newState}`);
    if ((state.get(name) ?? "unscheduled") !== oldState) wrong.push(`21: ${name} ${oldState}`);
    state.set(name, newState);
    if (oldState === "unscheduled") left.set(name, (left.get(name) ?? 0) + 1);
    if (legalMoves[newState].length === 0) ends.set(name, (ends.get(name) ?? 0) + 1);
  }
  for (const { name } of tasks)
    if (left.get(name) !== 1 || ends.get(name) !== 1) wrong.push(`20: ${name}`);
  for (const { name, because } of job.tasks()) {
    if (state.get(name) === "skipped" && state.get(because ?? "") !== "failed")
      wrong.push(`D3: ${name} because of ${because}`);
    const isThere = result.ctx[name] === true;
    if (isThere !== (state.get(name) === "completed")) wrong.push(`${name} and the context`);
  }
  return wrong;
}

describe("19 to 23: random jobs of tasks that sleep, fail and are late keep every rule, and end:", () => {
  const sleeps = { instant: 0, hyper: 100, fast: 500, medium: 1_000, slow: 2_000 };
  it.each([
    [10, "instant", 20],
    [10, "hyper", 20],
    [10, "fast", 20],
    [10, "medium", 20],
    [10, "slow", 20],
    [50, "instant", 12],
    [50, "hyper", 12],
    [50, "fast", 12],
    [500, "instant", 4],
    [500, "hyper", 3],
    [1_000, "instant", 3],
    [1_000, "hyper", 2],
  ] as const)("%i tasks, %s", async (size, sleep, numRuns) => {
    const cases = fc.record({
      size: fc.constant(size),
      sleepMs: fc.constant(sleeps[sleep]),
      seed: fc.integer(),
      maxConcurrency: fc.constantFrom(1, 3, 16, 1_024),
      failFast: fc.boolean(),
      cancelAtMs: fc.option(fc.nat({ max: 4 * sleeps[sleep] + 5 }), { nil: undefined, freq: 3 }),
    });
    await fc.assert(
      fc.asyncProperty(cases, async (one) => {
        expect(await generated(one)).toEqual([]);
      }),
      { numRuns, endOnFailure: true },
    );
  });
});
