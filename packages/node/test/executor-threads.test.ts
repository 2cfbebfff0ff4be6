import type { ExecutionEvent, ExecutionPlan, ExecutorOptions, TaskDef } from "@selvage/batch";
import type { MemLease } from "@selvage/fabric";
import type { TaskRunner } from "@selvage/leasekit";
import { Executor, Fabric, openTaskThreads } from "@selvage/node";
import { afterAll, describe, expect, it } from "vitest";
import {
  body,
  codesOf,
  errorOf,
  inline,
  maker,
  planOf,
  ran as ranOn,
  raw,
  sharedThreads,
  within,
  type Ran,
} from "./executor-rig.ts";

// Threads take seconds to start on a busy machine; what must not hang is bounded by `within`.

const { ports, close } = sharedThreads();
afterAll(close);

const ran = (
  plan: ExecutionPlan,
  options: ExecutorOptions = {},
  fabric: Fabric = Fabric.open({ memoryBytes: 1 << 20 }),
): Promise<Ran> => ranOn(plan, { ttlMs: 2_000, teardown: "eager", ...options }, fabric, ports);

const decoder = new TextDecoder();

/** A task that reads outputs as text into `said`. */
function reader(said: string[], ...names: string[]): TaskDef {
  return {
    name: "read",
    inputs: names.map((name) => raw(name)),
    run: (context) => {
      for (const name of names) said.push(decoder.decode(context.input(name).slice()));
    },
  };
}

/** A task `far` that makes `y` of `x`. */
const far = (run: URL, more: Partial<TaskDef> = {}): TaskDef => ({
  name: "far",
  inputs: [raw("x")],
  outputs: [raw("y")],
  run,
  ...more,
});

const cancelled = async (run: URL, when: (event: ExecutionEvent) => boolean, graceMs = 150) => {
  const controller = new AbortController();
  const startedAt = performance.now();
  let abortedAt = startedAt;
  const onEvent = (event: ExecutionEvent): void => {
    if (controller.signal.aborted || !when(event)) return;
    abortedAt = performance.now();
    controller.abort(new Error("enough"));
  };
  const plan = planOf([maker(1, 2), far(run), { name: "after", run: () => {} }]);
  const done = await within(
    30_000,
    ran(plan, { signal: controller.signal, graceMs, onEvent, ttlMs: 400 }),
  );
  const { result } = done;
  expect(result.tasks.map(({ status }) => status)).toEqual(["succeeded", "cancelled", "cancelled"]);
  expect([result.status, done.missingBytes, result.bytes.active]).toEqual(["cancelled", 0, 0]);
  return { ...done, tookMs: performance.now() - abortedAt };
};
const numbered = (number: number): URL => inline(`export default () => {} // ${number}`);
const starts = (event: ExecutionEvent): boolean =>
  event.type === "task" && event.name === "far" && event.newState === "running";
const logs = (event: ExecutionEvent): boolean => event.type === "log";

describe("A task on a worker thread", () => {
  it("reads and allocates by ticket: a byte flipped in the lease is what it computes with", async () => {
    const seen: Uint8Array[] = [];
    const fabric = Fabric.open({ memoryBytes: 1 << 20 });
    const flip = (event: ExecutionEvent): void => {
      if (event.type !== "wave" || event.state !== "started" || event.index === 0) return;
      const label = event.index === 1 ? "make/x" : "far/y";
      const lease = fabric.leases().find((one) => one.label === label) as MemLease;
      lease.write(event.index, Uint8Array.of(100));
    };
    const read: TaskDef = {
      name: "read",
      inputs: [raw("y")],
      run: (context) => void seen.push(context.input("y").slice()),
    };
    const { result } = await ran(
      planOf([maker(1, 2, 3), far(body("double")), read]),
      { onEvent: flip },
      fabric,
    );
    expect([result.status, seen]).toEqual(["succeeded", [Uint8Array.of(2, 200, 100)]]);
  });

  it("has its module imported ahead, unless it is of the first wave", async () => {
    const warmed: unknown[] = [];
    const runner = ports.openRunner?.() as TaskRunner;
    const openRunner = (): TaskRunner => ({
      warm: (...asked) => void warmed.push(asked),
      run: (request, host) => runner.run(request, host),
      close: () => runner.close(),
    });
    const first: TaskDef = { name: "first", run: numbered(0) };
    const more = Array.from({ length: 20 }, (_, number) => ({
      name: `after ${number}`,
      run: numbered(1 + (number >> 1)),
    }));
    const edges = more.map(({ name }) => ["first", name] as const);
    const { result } = await ranOn(
      planOf([first, ...more], edges),
      {},
      Fabric.open({ memoryBytes: 1 << 20 }),
      { openRunner },
    );
    const imported = Array.from({ length: 10 }, (_, number) => numbered(1 + number).href);
    expect([result.status, warmed]).toEqual(["succeeded", [[20, imported]]]);
  });

  it("reads and returns columns", async () => {
    const seen: unknown[] = [];
    const x = { name: "x", format: "columns" } as const;
    const y = { name: "y", format: "columns" } as const;
    const plan = planOf([
      {
        name: "make",
        outputs: [x],
        run: () => ({ x: { id: Int32Array.of(1, -5), big: BigInt64Array.of(3n, 4n) } }),
      },
      { name: "far", inputs: [x], outputs: [y], run: body("sum") },
      {
        name: "read",
        inputs: [y],
        run: (context) => {
          const { id, big } = context.input<Record<string, Int32Array>>("y");
          seen.push(id?.[0], big?.[0]);
        },
      },
    ]);
    const { result } = await ran(plan);
    expect([result.status, seen]).toEqual(["succeeded", [-4, 7n]]);
  });

  it("may return less than it allocated, replace what it allocated, and allocate again", async () => {
    const seen: number[][] = [];
    const outputs = ["long", "replaced", "twice"].map((name) => raw(name));
    const plan = planOf([
      { name: "far", outputs, run: body("shapes") },
      {
        name: "read",
        inputs: outputs,
        run: (context) => {
          for (const { name } of outputs) seen.push([...context.input(name)]);
        },
      },
    ]);
    const { result, missingBytes } = await ran(plan, { ttlMs: 800, teardown: "expiry" });
    expect([result.status, seen, missingBytes]).toEqual([
      "succeeded",
      [[3, 3, 3, 3], [9], [2, 2]],
      0,
    ]);
    expect(result.leases).toMatchObject({ granted: 5, expired: 5, active: 0 });
  });

  it.each<[what: string, run: URL, code: string | RegExp]>([
    ["has no default export", inline("export const run = () => {}"), "INVALID_ARGUMENT"],
    ["is not there", new URL("./nowhere-worker.ts", import.meta.url), /nowhere-worker/],
    ["does not parse", inline("export default ("), /Unexpected end of input/],
    ["throws as it is loaded", inline("throw new Error('at load')"), /^at load$/],
    ["exits as it is loaded", inline("process.exit(7)"), "DISCONNECTED"],
    ["exits the thread", body("exit"), "DISCONNECTED"],
    ["throws in a timer", body("uncaught"), "DISCONNECTED"],
    ["throws a string", body("throws", { with: "string" }), /^"a string"$/],
    ["throws a typed error", body("throws"), "DECODE"],
    [
      "allocates in vain and says nothing",
      inline("export default (c) => c.allocate('y', 2 ** 40)"),
      "CAPACITY_EXCEEDED",
    ],
    ["returns what is no bytes", body("gives", { y: "text" }), "ENCODE"],
    ["leaves its output out", inline("export default () => {}"), "INVALID_ARGUMENT"],
    [
      "makes what it did not declare",
      inline("export default () => ({ z: new Uint8Array(1) })"),
      "INVALID_ARGUMENT",
    ],
    [
      "reads what it did not declare",
      inline("export default (c) => c.input('z')"),
      "INVALID_ARGUMENT",
    ],
  ])("fails when its module %s, and its leases end", async (_what, run, code) => {
    const { result, events, missingBytes } = await within(
      30_000,
      ran(planOf([maker(1), far(run)]), { teardown: "eager" }),
    );
    const [came] = codesOf(result, "far");
    expect(came).toMatch(typeof code === "string" ? new RegExp(`^${code}$`) : code);
    expect(result).toMatchObject({
      status: "failed",
      succeeded: 1,
      failed: 1,
      bytes: { active: 0 },
    });
    expect(missingBytes).toBe(0);
    const moves = events.flatMap((event) =>
      event.type === "task" && event.name === "far" ? [event.newState] : [],
    );
    expect(moves).toEqual(["running", "failed"]);
  });

  it("hands its typed error over with details and cause, and an exit with its code and reason", async () => {
    const plan = planOf(
      [
        { name: "typed", run: body("throws") },
        { name: "exit", run: body("exit") },
        { name: "timer", run: body("uncaught") },
      ],
      [],
    );
    const { result } = await ran(plan);
    const typed = errorOf(result, "typed");
    expect(typed).toMatchObject({ code: "DECODE", message: "typed", details: { at: 7 } });
    expect(typed.cause).toMatchObject({ name: "RangeError", message: "why" });
    expect(errorOf(result, "exit").message).toContain("exited with code 3");
    expect(errorOf(result, "timer").cause).toMatchObject({ message: "from a timer" });
  });

  it("is told CAPACITY_EXCEEDED, with what is left, when its owner refuses room, and may go on", async () => {
    const said: string[] = [];
    const { result } = await ran(planOf([maker(1), far(body("greedy")), reader(said, "y")]));
    expect([result.status, said]).toEqual(["succeeded", ["CAPACITY_EXCEEDED number"]]);
  });

  it("is tried again on a new thread when its thread dies, and counts every attempt", async () => {
    const said: string[] = [];
    const backoff = { baseMs: 1, jitter: "none" } as const;
    const plan = planOf([maker(1), { name: "dies", retries: 2, backoff, run: body("exit") }]);
    const { result } = await ran(plan, { teardown: "eager" });
    expect(codesOf(result, "dies")).toEqual(["DISCONNECTED", "DISCONNECTED", "DISCONNECTED"]);
    const again = planOf([
      maker(1),
      far(body("epoch"), { retries: 5, backoff }),
      reader(said, "y"),
    ]);
    const { result: second } = await ran(again);
    expect(second.tasks[1]).toMatchObject({ status: "succeeded", attempts: 3, retriesUsed: 2 });
    expect(said).toEqual(["3"]);
    expect(codesOf(second, "far")).toEqual(["attempt 1 of epoch 2", "attempt 2 of epoch 3"]);
  });

  it("gets nothing from its context once it has ended, and its thread goes on to the next task", async () => {
    const said: string[] = [];
    const plan = planOf([
      maker(1),
      far(body("linger")),
      { name: "after", outputs: [raw("z")], run: body("afterLinger") },
      reader(said, "z"),
    ]);
    const { result, events, missingBytes } = await within(30_000, ran(plan));
    expect([result.status, said, missingBytes]).toEqual([
      "succeeded",
      ["LEASE_EXPIRED LEASE_EXPIRED"],
      0,
    ]);
    expect(events.filter(({ type }) => type === "log" || type === "progress")).toEqual([]);
  });

  it("gets private copies of a guarded fabric: a stashed input is empty afterwards, outputs land", async () => {
    const said: string[] = [];
    const plan = planOf([
      maker(1, 2, 3),
      far(body("stash")),
      { name: "after", outputs: [raw("z")], run: body("stashed") },
      reader(said, "y", "z"),
    ]);
    const fabric = Fabric.open({ memoryBytes: 1 << 20, guard: true });
    const { result } = await ran(plan, {}, fabric);
    expect([result.status, said]).toEqual(["succeeded", ["3", "0"]]);
  });

  it("is refused by a fabric that shares nothing: UNSUPPORTED", async () => {
    const fabric = Fabric.open({ memoryBytes: 1 << 20, shared: false });
    const { result } = await ran(
      planOf([maker(1), far(body("double"))]),
      { teardown: "eager" },
      fabric,
    );
    expect(codesOf(result, "far")).toEqual(["UNSUPPORTED"]);
  });
});

describe("Worker threads of a run", () => {
  it("run two tasks of a wave at the same time", async () => {
    const run = body("meet", { with: "2" });
    const { result } = await ran(
      planOf(
        [
          { name: "a", run },
          { name: "b", run },
        ],
        [],
      ),
    );
    expect([result.status, errorOf(result, "a")]).toEqual(["succeeded", undefined]);
  });

  it("serve more tasks than there are threads, and are no more than there may be", async () => {
    const seen = new Set<string>();
    const tasks = Array.from({ length: 9 }, (_, at) => ({
      name: `t${at}`,
      run: inline(
        `import { threadId } from "node:worker_threads"; export default (c) => c.log(String(threadId)) // ${at}`,
      ),
    }));
    using fabric = Fabric.open({ memoryBytes: 1 << 20 });
    const onEvent = (event: ExecutionEvent): void => {
      if (event.type === "log") seen.add(event.message);
    };
    const result = await Executor.run(
      planOf(tasks, []),
      { fabric, onEvent },
      { openRunner: () => openTaskThreads({ threads: 2 }) },
    );
    expect([result.succeeded, seen.size <= 2]).toEqual([9, true]);
  });

  it("are kept warm from wave to wave", async () => {
    const said: string[] = [];
    const plan = planOf([
      { name: "a", outputs: [raw("y")], run: body("thread") },
      {
        name: "b",
        outputs: [raw("z")],
        run: inline(
          'import { threadId } from "node:worker_threads"; export default () => ({ z: new TextEncoder().encode(String(threadId)) })',
        ),
      },
      reader(said, "y", "z"),
    ]);
    await ran(plan, { teardown: "eager" });
    expect(said).toHaveLength(2);
    expect(said[0]).toBe(said[1]);
  });
});

describe("Cancelling a run with worker threads", () => {
  it.each<[what: string, run: URL, when: (event: ExecutionEvent) => boolean]>([
    ["an endless loop", body("endless"), logs],
    ["an endless loop that has allocated", body("endless", { allocate: "1" }), logs],
    ["a body that waits and does not listen", body("deaf"), starts],
  ])("ends %s by its thread after the grace, and has its bytes back", async (_what, run, when) => {
    const { tookMs, result } = await cancelled(run, when);
    expect(tookMs).toBeGreaterThanOrEqual(145);
    expect(tookMs).toBeLessThan(150 + 400 + 3_000);
    expect(result.leases.active).toBe(0);
  });

  it("tells a body that listens, by an AbortError, and does not wait for the grace", async () => {
    const { tookMs, events } = await cancelled(body("listening"), logs, 8_000);
    expect(tookMs).toBeLessThan(4_000);
    const end = events.find((event) => event.type === "task" && event.newState === "cancelled");
    expect(end).toMatchObject({ name: "after" });
    const told = events.find(
      (event) => event.type === "task" && event.name === "far" && event.newState === "cancelled",
    );
    expect((told as { error?: Error }).error).toMatchObject({ name: "AbortError" });
  });

  it("does not begin what waits for a thread", async () => {
    const controller = new AbortController();
    const started: string[] = [];
    const onEvent = (event: ExecutionEvent): void => {
      if (event.type === "task" && event.newState === "running") started.push(event.name);
      if (event.type === "log") controller.abort();
    };
    const tasks = ["a", "b", "c", "d"].map((name) => ({ name, run: body("listening") }));
    using fabric = Fabric.open({ memoryBytes: 1 << 20 });
    const result = await within(
      30_000,
      Executor.run(
        planOf(tasks, []),
        { fabric, signal: controller.signal, onEvent, graceMs: 8_000 },
        { openRunner: () => openTaskThreads({ threads: 1 }) },
      ),
    );
    expect([result.cancelled, started]).toEqual([4, ["a"]]);
    expect(result.tasks.map(({ attempts }) => attempts)).toEqual([1, 0, 0, 0]);
  });
});
