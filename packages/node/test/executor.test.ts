import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import type {
  ExecutionEvent,
  ExecutionPlan,
  ExecutorOptions,
  TaskContext,
  TaskDef,
} from "@selvage/batch";
import { Executor, Fabric } from "@selvage/node";
import { afterAll, describe, expect, it } from "vitest";
import {
  body,
  codesOf,
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
): Promise<Ran> => ranOn(plan, options, fabric, ports);

const TTL_MS = 300;
/** Two ticks, a look, and a busy machine of two cores. */
const LATE_MS = 250;

/** Works for `ms` without a loop turn. */
function busy(ms: number, beat?: () => void): void {
  const untilMs = performance.now() + ms;
  while (performance.now() < untilMs) {
    const nextMs = performance.now() + 10;
    while (performance.now() < nextMs);
    beat?.();
  }
}

const pause = (ms: number): Promise<void> =>
  new Promise((resolve) => {
    setTimeout(resolve, ms);
  });

const diamond = (): TaskDef[] => [
  {
    name: "extract",
    outputs: [raw("x")],
    run: (context) => void context.allocate("x", 64 * 1_024).fill(0xab),
  },
  {
    name: "far",
    inputs: [raw("x")],
    outputs: [raw("y")],
    run: body("double"),
  },
  {
    name: "here",
    inputs: [raw("x")],
    outputs: [raw("z")],
    run: async (context) => {
      await pause(400);
      return { z: context.input("x").slice(0, 10) };
    },
  },
  { name: "load", inputs: [raw("y"), raw("z")], run: (c) => void [c.input("y"), c.input("z")] },
];
const diamondEdges = [
  ["extract", "far"],
  ["extract", "here"],
  ["far", "load"],
  ["here", "load"],
] as const;

const silent = (ms: number, beat?: (context: TaskContext) => void): TaskDef => ({
  name: "work",
  inputs: [raw("x")],
  outputs: [raw("y")],
  run: (context) => {
    context.input("x");
    context.allocate("y", 10).fill(1);
    busy(ms, beat === undefined ? undefined : () => beat(context));
  },
});
const onWorker = (name: "silent" | "telling", ms: number): TaskDef => ({
  name: "work",
  inputs: [raw("x")],
  outputs: [raw("y")],
  run: body(name, { ms: String(ms) }),
});

const wide = (count: number): TaskDef[] =>
  Array.from({ length: count }, (_, at) => ({ name: `t${at}`, run: () => {} }));

describe("A run on real time, torn down by expiry,", () => {
  it("ends every lease as expired, none before its deadline, has every byte back, within TTL and two ticks", async () => {
    const fabric = Fabric.open({ memoryBytes: 256 * 1_024 });
    const late: number[] = [];
    const onEvent = (event: ExecutionEvent): void => {
      if (event.type === "lease" && event.event.type === "expired")
        late.push(Date.now() - event.event.expiresAtMs);
    };
    const { result, missingBytes } = await ran(
      planOf(diamond(), diamondEdges),
      { ttlMs: TTL_MS, onEvent },
      fabric,
    );
    expect(result.leases).toEqual({
      granted: 3,
      expired: 3,
      released: 0,
      revoked: 0,
      fenced: 0,
      active: 0,
    });
    const { leased, returned, kept, fenced, active } = result.bytes;
    expect([returned, kept, fenced, active, missingBytes]).toEqual([leased, 0, 0, 0, 0]);
    expect(late).toHaveLength(3);
    expect(Math.min(...late)).toBeGreaterThanOrEqual(0);
    expect(result.teardownMs).toBeGreaterThan(TTL_MS / 10);
    expect(result.teardownMs).toBeLessThanOrEqual(TTL_MS + 2 * 10 + LATE_MS);
    // 400 ms of work on leases of 300 ms.
    expect(result.renewals).toBeGreaterThanOrEqual(1);
  });

  it("leaves zeros: the bytes read zero when they are leased again", async () => {
    using fabric = Fabric.open({ memoryBytes: 64 * 1_024 });
    const [extract] = diamond();
    await Executor.run(planOf([extract as TaskDef]), { fabric, ttlMs: 50 });
    const next = fabric
      .mem()
      .minBytes(64 * 1_024)
      .acquire();
    expect(next.with((view) => view.reduce((sum, byte) => sum + byte, 0))).toBe(0);
  });

  it("leaves a caller's fabric as it was, and its leases alone", async () => {
    using fabric = Fabric.open({ memoryBytes: 1 << 20 });
    const mine = fabric.mem().minBytes(64).leaseSecs(60).acquire();
    mine.write(0, Uint8Array.of(42));
    const result = await Executor.run(planOf(diamond(), diamondEdges), { fabric, ttlMs: 1_000 });
    expect(result.status).toBe("succeeded");
    expect(fabric.leases()).toEqual([mine]);
    expect(fabric.stats().memory).toMatchObject({
      leasedBytes: 64,
      quarantinedBytes: 0,
      released: 0,
    });
    expect(mine.read(0, 1)).toEqual(Uint8Array.of(42));
  });
});

// A renewal comes when 65 to 85 % of the TTL are over: TTLs are so long that a busy machine's threads get there in time,
// except where the lease is to be lost.
describe("Renewing beside the work", () => {
  const last: TaskDef = {
    name: "last",
    inputs: [raw("x"), raw("y")],
    run: (c) => void [c.input("x"), c.input("y")],
  };

  it.each<[where: string, work: TaskDef]>([
    ["this thread", silent(2_400)],
    ["a worker thread", onWorker("silent", 2_400)],
  ])("keeps leases through synchronous work of three TTLs on %s", async (_where, work) => {
    const { result, missingBytes } = await ran(planOf([maker(1), work, last]), { ttlMs: 800 });
    expect([result.status, codesOf(result, "work"), missingBytes]).toEqual(["succeeded", [], 0]);
    expect(result.leases).toMatchObject({ granted: 2, expired: 2 });
    expect(result.renewals).toBeGreaterThanOrEqual(3);
  });

  it.each<[where: string, work: TaskDef]>([
    ["this thread", silent(600)],
    ["a worker thread", onWorker("silent", 600)],
  ])(
    "switched off, lets such an attempt on %s end LEASE_EXPIRED, and the run says so",
    async (_where, work) => {
      const { result, missingBytes } = await ran(planOf([maker(1), work, last]), {
        ttlMs: 200,
        renewals: false,
      });
      expect([result.status, codesOf(result, "work")]).toEqual(["failed", ["LEASE_EXPIRED"]]);
      expect(result).toMatchObject({ renewals: 0, skipped: 1, bytes: { active: 0 } });
      expect([missingBytes, result.leases.released]).toEqual([0, 0]);
    },
  );

  it.each<[where: string, work: TaskDef]>([
    ["this thread", silent(1_200)],
    ["a worker thread", onWorker("silent", 1_200)],
  ])(
    "lets work on %s that is silent past stallMs lose its lease: LEASE_EXPIRED",
    async (_where, work) => {
      const { result, missingBytes } = await ran(planOf([maker(1), work, last]), {
        ttlMs: 200,
        stallMs: 250,
      });
      expect([result.status, codesOf(result, "work")]).toEqual(["failed", ["LEASE_EXPIRED"]]);
      expect(missingBytes).toBe(0);
    },
  );

  it("lets such work end LEASE_EXPIRED also where another holder has kept the lease all the while", async () => {
    const states: string[] = [];
    const fabric = Fabric.open({ memoryBytes: 1 << 20 });
    const onEvent = (event: ExecutionEvent): void => {
      if (event.type === "task" && event.name === "work" && event.newState === "failed")
        states.push(...fabric.leases().map(({ label, state }) => `${label} ${state}`));
    };
    const work: TaskDef = { name: "work", inputs: [raw("x")], run: body("reads", { ms: "2000" }) };
    const plan = planOf([maker(1), work]);
    const { result } = await ran(plan, { ttlMs: 500, stallMs: 250, onEvent }, fabric);
    expect([codesOf(result, "work"), states]).toEqual([["LEASE_EXPIRED"], ["make/x active"]]);
  });

  it.each<[where: string, work: TaskDef]>([
    ["this thread", silent(2_400, (context) => context.progress())],
    ["a worker thread", onWorker("telling", 2_400)],
  ])(
    "keeps the lease of work on %s that says by ctx.progress() that it advances",
    async (_where, work) => {
      const { result } = await ran(planOf([maker(1), work, last]), { ttlMs: 800, stallMs: 700 });
      expect([result.status, codesOf(result, "work")]).toEqual(["succeeded", []]);
    },
  );

  it("happens on the run's own loop turns where the fabric shares nothing and has no keeper", async () => {
    const fabric = Fabric.open({ memoryBytes: 1 << 20, shared: false });
    const work: TaskDef = {
      name: "work",
      inputs: [raw("x")],
      outputs: [raw("y")],
      run: async (context) => {
        context.allocate("y", 1);
        await pause(2_000);
      },
    };
    const { result } = await ran(planOf([maker(1), work, last]), { ttlMs: 800 }, fabric);
    expect([result.status, result.leases.expired]).toEqual(["succeeded", 2]);
    expect(result.renewals).toBeGreaterThanOrEqual(2);
  });
});

describe("Executor.run() without a fabric", () => {
  it("opens its own, and closes it", async () => {
    const result = await Executor.run(planOf([maker(1)]), { ttlMs: 50 });
    expect(result).toMatchObject({ status: "succeeded", leases: { granted: 1, expired: 1 } });
  });

  it("leaves no thread and no handle: the process ends by itself, whatever became of the tasks", async () => {
    const path = fileURLToPath(new URL("./executor-process.ts", import.meta.url));
    const flags = [...process.execArgv, "--max-old-space-size=96"];
    const child = spawn(process.execPath, [...flags, path], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    let out = "";
    let err = "";
    child.stdout.on("data", (chunk: Buffer) => (out += chunk.toString()));
    child.stderr.on("data", (chunk: Buffer) => (err += chunk.toString()));
    const code = await within(
      40_000,
      new Promise((resolve) => {
        child.on("close", resolve);
      }),
    ).finally(() => child.kill());
    expect(err).toBe("");
    expect(JSON.parse(out)).toEqual({
      statuses: ["succeeded", "failed", "ERR_WORKER_OUT_OF_MEMORY", "cancelled", "watcher threw"],
      left: [],
    });
    expect(code).toBe(0);
  });
});

describe("Executor.run() of a wide graph", () => {
  it("costs a millisecond a task at most, and in number of tasks no more than its share", async () => {
    using fabric = Fabric.open({ memoryBytes: 1 << 20 });
    const took = async (count: number): Promise<number> => {
      const plan = planOf(wide(count), []);
      const startedAt = performance.now();
      const { succeeded } = await Executor.run(plan, { fabric });
      expect(succeeded).toBe(count);
      return performance.now() - startedAt;
    };
    await took(1_000);
    const small = await took(1_000);
    const large = await took(16_000);
    // Linear is 16 times; with a listener a task on one signal it was more than 100 times.
    expect(large).toBeLessThan(Math.max(16 * small * 4, 2_000));
  });
});
