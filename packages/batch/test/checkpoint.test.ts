import {
  type DataFormat,
  type ExecutionPlan,
  type ExecutorOptions,
  type ResumeEvent,
  type TaskDef,
} from "@selvage/batch";
import type { BlockLease } from "@selvage/fabric";
import { describe, expect, it } from "vitest";
import { codesOf, imbalances, planOf, raw, Rig } from "./rig.ts";

const blocks = 16_384;
const resumed: ExecutorOptions = { runId: "nightly", teardown: "eager" };

/** A chain a, b, c, d: each makes 1,000 bytes, one higher than what it read. `ran` tells who ran; `broken` fail. */
function chain(
  ran: string[],
  broken: ReadonlySet<string>,
  more: Partial<TaskDef> = {},
): ExecutionPlan {
  const names = ["a", "b", "c", "d"];
  const tasks = names.map((name, at): TaskDef => {
    const before = names[at - 1];
    return {
      name,
      inputs: before === undefined ? [] : [raw(before)],
      outputs: [raw(name)],
      run: (context) => {
        ran.push(name);
        if (broken.has(name)) throw new Error("broken");
        const byte = before === undefined ? 0 : (context.input(before)[999] as number);
        return { [name]: new Uint8Array(1_000).fill(byte + 1) };
      },
      ...more,
    };
  });
  return planOf(
    tasks,
    names.slice(1).map((name, at) => [names[at] as string, name] as const),
  );
}

const told = (rig: Rig): string[] =>
  rig.events
    .filter((event): event is ResumeEvent => event.type === "resume")
    .map(({ state, name }) => `${state} ${name ?? "all"}`);

const expectBaseline = (rig: Rig): void => {
  const { memory, blocks: disk } = rig.fabric.stats();
  expect([memory.freeBytes, disk.freeBytes]).toEqual([memory.capacityBytes, disk.capacityBytes]);
};

const leasesOf = (rig: Rig, label: RegExp): BlockLease[] =>
  rig.fabric
    .leases()
    .filter((lease): lease is BlockLease => lease.kind === "block" && label.test(lease.label));

/** A run of the chain that fails at `c`, and the fabric that it left. */
async function failed(options: ExecutorOptions = {}, rig = new Rig({ blocks })): Promise<Rig> {
  const result = await rig.run(chain([], new Set(["c"])), { ...resumed, ...options });
  expect([result.succeeded, result.failed, result.skipped]).toEqual([2, 1, 1]);
  expect(imbalances(result)).toEqual([]);
  rig.events.length = 0;
  return rig;
}

const breaks = (): never => {
  throw new Error("broken");
};

/** Makes more than a run's few blocks. */
const big = (name: string): TaskDef => ({
  name,
  outputs: [raw(name)],
  run: () => ({ [name]: new Uint8Array(4_096) }),
});

describe("A run under a runId", () => {
  it("C2: does not do again what an earlier one has committed, and gives everything back when it succeeds", async () => {
    const rig = await failed();
    const ran: string[] = [];
    const result = await rig.run(chain(ran, new Set()), { ...resumed, keep: ["d", "b"] });
    expect([result.status, ran]).toEqual(["succeeded", ["c", "d"]]);
    expect(told(rig)).toEqual(["restored a", "restored b"]);
    expect(result.tasks.map(({ attempts, status }) => [attempts, status])).toEqual([
      [0, "succeeded"],
      [0, "succeeded"],
      [1, "succeeded"],
      [1, "succeeded"],
    ]);
    expect(imbalances(result)).toEqual([]);
    for (const [name, byte] of [
      ["b", 2],
      ["d", 4],
    ] as const) {
      using kept = result.keep(name);
      expect(kept.read()).toEqual(new Uint8Array(1_000).fill(byte));
    }
    expectBaseline(rig);
    // It is over: the next one of this id begins anew.
    const again: string[] = [];
    await rig.run(chain(again, new Set()), resumed);
    expect(again).toEqual(["a", "b", "c", "d"]);
  });

  it("leaves what it committed on blocks when it fails, counted as kept, until its TTL", async () => {
    const rig = new Rig({ blocks });
    const options = { ...resumed, checkpointTtlMs: 1_000 };
    const result = await rig.run(chain([], new Set(["c"])), options);
    const { blocks: disk, memory } = rig.fabric.stats();
    expect(result.bytes.kept).toBe(disk.leasedBytes);
    expect([memory.leasedBytes, result.bytes.active]).toEqual([0, 0]);
    expect(disk.leasedBytes).toBeGreaterThan(2_000);
    await rig.host.advance(1_100);
    expectBaseline(rig);
    const ran: string[] = [];
    await rig.run(chain(ran, new Set()), options);
    expect(ran).toEqual(["a", "b", "c", "d"]);
  });

  it("begins anew where its TTL is over and the fabric has not looked since", async () => {
    const rig = await failed({ checkpointTtlMs: 1_000 });
    rig.host.nowMs += 2_000;
    const ran: string[] = [];
    const result = await rig.run(chain(ran, new Set()), resumed);
    expect([result.status, ran]).toEqual(["succeeded", ["a", "b", "c", "d"]]);
    await rig.host.advance(100);
    expectBaseline(rig);
  });

  it("renews what it works on, however long it takes", async () => {
    const rig = new Rig({ blocks });
    const slow: TaskDef = {
      name: "slow",
      outputs: [raw("x")],
      run: async () => {
        await rig.host.later(5_000);
        return { x: new Uint8Array(10) };
      },
    };
    const quick: TaskDef = {
      name: "quick",
      outputs: [raw("y")],
      run: () => ({ y: Uint8Array.of(1) }),
    };
    const plan = planOf([quick, slow], [["quick", "slow"]]);
    const result = await rig.run(plan, { ...resumed, checkpointTtlMs: 500 });
    expect(result.status).toBe("succeeded");
    expectBaseline(rig);
  });

  it("restores every format, and a task without outputs", async () => {
    const rig = new Rig({ blocks });
    const value = { list: [1, "ä"] };
    const refs = (["raw", "columns", "json"] as const).map((format: DataFormat) => ({
      name: format,
      format,
    }));
    const ran: string[] = [];
    const plan = (isBroken: boolean): ExecutionPlan =>
      planOf(
        [
          {
            name: "make",
            outputs: [...refs, raw("empty")],
            run: (context) => {
              ran.push("make");
              context.allocate("raw", 3).fill(7);
              return { columns: { id: Int32Array.of(8) }, json: value, empty: new Uint8Array(0) };
            },
          },
          { name: "nothing", run: () => void ran.push("nothing") },
          {
            name: "read",
            inputs: [...refs, raw("empty")],
            run: (context) => {
              if (isBroken) throw new Error("broken");
              expect([...context.input("raw")]).toEqual([7, 7, 7]);
              expect(context.input<{ id: Int32Array }>("columns").id[0]).toBe(8);
              expect(context.input("json")).toEqual(value);
              expect(context.input("empty").length).toBe(0);
            },
          },
        ],
        [["make", "read"]],
      );
    await rig.run(plan(true), resumed);
    const result = await rig.run(plan(false), resumed);
    expect(result.tasks.map(({ error }) => error).filter(Boolean)).toEqual([]);
    expect(ran.toSorted()).toEqual(["make", "nothing"]);
    expectBaseline(rig);
  });

  it("C2: keeps outputs whole in guard mode, where a view has no length left once its loan has ended", async () => {
    const rig = await failed({}, new Rig({ blocks, guard: true }));
    const ran: string[] = [];
    const result = await rig.run(chain(ran, new Set()), { ...resumed, keep: ["a", "d"] });
    expect([result.status, ran]).toEqual(["succeeded", ["c", "d"]]);
    for (const [name, byte] of [
      ["a", 1],
      ["d", 4],
    ] as const) {
      using kept = result.keep(name);
      expect(kept.read()).toEqual(new Uint8Array(1_000).fill(byte));
    }
  });

  it("spills what it restores and what it makes, where memory is short", async () => {
    const small = new Rig({ memoryBytes: 2_048, blocks });
    const rig = await failed({ spill: true }, small);
    const ran: string[] = [];
    const result = await rig.run(chain(ran, new Set()), { ...resumed, spill: true, keep: ["a"] });
    expect([result.status, ran]).toEqual(["succeeded", ["c", "d"]]);
    expect(result.keep("a").read()[0]).toBe(1);
  });

  it("is refused as CONFLICT where names, edges, formats or inputs are not what they were", async () => {
    const rig = await failed();
    const changed = [
      chain([], new Set(), { inputs: [] }),
      planOf([{ name: "a", outputs: [raw("a")], run: () => {} }]),
      planOf(["a", "b", "c", "d"].map((name) => ({ name, outputs: [raw(name)], run: () => {} }))),
    ];
    for (const plan of changed) {
      const running = rig.run(plan, resumed);
      await expect(running).rejects.toMatchObject({ code: "CONFLICT", details: { kind: "plan" } });
    }
    // Nothing was touched by it; and the bodies may change.
    const ran: string[] = [];
    await rig.run(chain(ran, new Set()), resumed);
    expect(ran).toEqual(["c", "d"]);
  });

  it("C3: is refused as CONFLICT while another one of its id is at work", async () => {
    const rig = new Rig({ blocks });
    const wait: TaskDef = { name: "wait", run: () => rig.host.later(500) };
    const running = rig.start(planOf([wait]), resumed);
    await rig.host.advance(100);
    await expect(rig.run(planOf([wait]), resumed)).rejects.toMatchObject({
      code: "CONFLICT",
      details: { kind: "runner" },
    });
    const other = await rig.run(planOf([wait]), { ...resumed, runId: "other" });
    expect(other.status).toBe("succeeded");
    await rig.host.pump(running);
    expectBaseline(rig);
    expect((await rig.run(planOf([wait]), resumed)).status).toBe("succeeded");
  });

  it("D1: has a task wait for an input that comes back from the disk for another one", async () => {
    const rig = new Rig({ blocks, blockFile: "blocks" });
    const read: number[] = [];
    const plan = (isBroken: boolean): ExecutionPlan => {
      const reads: TaskDef["run"] = (context) => {
        if (isBroken) breaks();
        read.push(context.input("x")[699] as number);
      };
      const later = async (): Promise<void> => {
        if (isBroken) breaks();
        await rig.host.later(30);
        rig.host.diskMs = 0;
      };
      return planOf(
        [
          { name: "a", outputs: [raw("x")], run: () => ({ x: new Uint8Array(700).fill(7) }) },
          { name: "b", inputs: [raw("x")], run: reads },
          { name: "later", run: later },
          { name: "c", inputs: [raw("x")], run: reads },
        ],
        [
          ["a", "b"],
          ["a", "c"],
          ["later", "c"],
        ],
      );
    };
    const options = { ...resumed, schedule: "ready" } as const;
    expect((await rig.run(plan(true), options)).succeeded).toBe(1);
    const result = await rig.run(plan(false), {
      ...options,
      onEvent: (event) => {
        // The first reading that a task waits for takes long.
        if (event.type === "resume") rig.host.diskMs = 1_000;
      },
    });
    expect([result.status, read]).toEqual(["succeeded", [7, 7]]);
  });

  it("C3: is over when nothing of it is on its way to the disk any more: else it would write over what the next one commits", async () => {
    const rig = new Rig({ blocks, blockFile: "blocks" });
    const plan = (byte: number, last: () => void): ExecutionPlan =>
      planOf(
        [
          {
            name: "a",
            outputs: [raw("x")],
            run: () => {
              // Its time is up long before its output is on the disk.
              if (byte === 1) rig.host.diskMs = 3_000;
              return { x: new Uint8Array(700).fill(byte) };
            },
          },
          { name: "b", inputs: [raw("x")], run: last },
        ],
        [["a", "b"]],
      );
    const options = { ...resumed, timeoutMs: 500, graceMs: 10 };
    const first = await rig.run(
      plan(1, () => {}),
      options,
    );
    expect(first.status).toBe("timedOut");
    rig.host.diskMs = 0;
    const second = await rig.run(plan(2, breaks), options);
    expect([second.succeeded, second.failed]).toEqual([1, 1]);
    await rig.host.advance(20_000);
    rig.events.length = 0;
    const third = await rig.run(
      plan(3, () => {}),
      { ...options, keep: ["x"] },
    );
    expect([third.status, ...told(rig)]).toEqual(["succeeded", "restored a"]);
    using kept = third.keep("x");
    expect(kept.read()).toEqual(new Uint8Array(700).fill(1));
  });

  it("can be resumed after it was cancelled, and after its watcher threw", async () => {
    const rig = new Rig({ blocks });
    const controller = new AbortController();
    const ran: string[] = [];
    const first = await rig.run(chain(ran, new Set()), {
      ...resumed,
      signal: controller.signal,
      onEvent: (event) => {
        if (event.type === "task" && event.name === "b" && event.newState === "succeeded")
          controller.abort();
      },
    });
    expect(first.status).toBe("cancelled");
    const second = rig.run(chain(ran, new Set()), {
      ...resumed,
      onEvent: (event) => {
        if (event.type === "task" && event.name === "c" && event.newState === "succeeded")
          throw new Error("watcher");
      },
    });
    await expect(second).rejects.toThrow("watcher");
    const third = await rig.run(chain(ran, new Set()), resumed);
    expect([third.status, ran]).toEqual(["succeeded", ["a", "b", "c", "d"]]);
    expectBaseline(rig);
  });

  it("fails the attempt, typed, where there are no blocks for what it made", async () => {
    const rig = new Rig({ blocks: 16 });
    const result = await rig.run(planOf([big("a"), big("b")]), resumed);
    expect([result.succeeded, codesOf(result, "b")]).toEqual([1, ["CAPACITY_EXCEEDED"]]);
    await expect(rig.run(chain([], new Set()), { ...resumed, runId: "x" })).rejects.toMatchObject({
      code: "CAPACITY_EXCEEDED",
    });
  });

  it("refuses ids that are none, and a fabric that does not outlive it", async () => {
    const rig = new Rig({ blocks });
    for (const runId of ["", "x".repeat(129), 7 as never])
      await expect(rig.run(planOf([]), { runId })).rejects.toMatchObject({
        code: "INVALID_ARGUMENT",
      });
    await expect(
      rig.run(planOf([]), { runId: "x", fabric: undefined as never }),
    ).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await expect(rig.run(planOf([]), { runId: "x", checkpointTtlMs: 0 })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
    });
  });
});

describe("A checkpoint that is damaged", () => {
  it.each<[what: string, label: RegExp, block: number, told: string[], ran: string[]]>([
    ["in a task's slot", /run\//, 5, ["damaged b", "restored a"], ["b", "c", "d"]],
    ["in an output", /data/, 0, ["damaged a", "restored b"], ["a", "c", "d"]],
    ["in one of the manifest's slots", /run\//, 0, ["restored a", "restored b"], ["c", "d"]],
  ])("C1: has its tasks run again, and tells it: %s", async (_what, label, block, says, runs) => {
    const rig = await failed();
    for (const lease of leasesOf(rig, label)) {
      const bytes = await lease.readBlock(block);
      bytes[100] = 1 + (bytes[100] as number);
      await lease.writeBlock(block, bytes);
    }
    const ran: string[] = [];
    const result = await rig.run(chain(ran, new Set()), { ...resumed, keep: ["d"] });
    expect([result.status, ran]).toEqual(["succeeded", runs]);
    expect(told(rig)).toEqual(says);
    expect(result.keep("d").read()[0]).toBe(4);
    result.keep("d").lease.release();
    expectBaseline(rig);
  });

  it("C1: begins anew where its manifest is lost, and leaves nothing of the old one", async () => {
    const rig = await failed();
    for (const lease of leasesOf(rig, /run\//))
      for (const block of [0, 1, 2, 3]) await lease.writeBlock(block, Uint8Array.of(7));
    const ran: string[] = [];
    const result = await rig.run(chain(ran, new Set()), resumed);
    expect([result.status, ran]).toEqual(["succeeded", ["a", "b", "c", "d"]]);
    expect(told(rig)).toEqual(["damaged all"]);
    expectBaseline(rig);
  });

  it("C1: has every bit of a slot and an output under its checksums", async () => {
    for (let bit = 0; bit < 40; bit++) {
      const rig = await failed();
      for (const lease of leasesOf(rig, bit % 2 === 0 ? /run\// : /data/)) {
        const block = bit % 2 === 0 ? 4 : 1;
        const bytes = await lease.readBlock(block);
        const at = (bit * 37) % (bit % 2 === 0 ? 512 : 488);
        bytes[at] = (bytes[at] as number) ^ (1 << (bit % 8));
        await lease.writeBlock(block, bytes);
      }
      const ran: string[] = [];
      const result = await rig.run(chain(ran, new Set()), resumed);
      expect([result.status, ran]).toEqual(["succeeded", ["a", "c", "d"]]);
    }
  });

  it("never reads an output that changed after it was looked at: its reader fails, typed", async () => {
    const rig = await failed();
    const result = await rig.run(chain([], new Set()), {
      ...resumed,
      onEvent: (event) => {
        if (event.type !== "task" || event.name !== "a") return;
        for (const lease of leasesOf(rig, /data/)) void lease.writeBlock(2, Uint8Array.of(9));
      },
    });
    expect(codesOf(result, "c")).toEqual(["CORRUPT_RECORD"]);
  });

  it("is given up where the leases of its outputs are gone", async () => {
    const rig = await failed();
    for (const lease of leasesOf(rig, /data/)) lease.release();
    const ran: string[] = [];
    const result = await rig.run(chain(ran, new Set()), resumed);
    expect([result.status, ran]).toEqual(["succeeded", ["a", "b", "c", "d"]]);
    expect(told(rig)).toEqual(["damaged a", "damaged b"]);
    expectBaseline(rig);
  });
});
