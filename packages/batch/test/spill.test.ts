import {
  TaskGraph,
  type ExecutionResult,
  type ExecutorOptions,
  type SpillEvent,
  type TaskContext,
  type TaskDef,
} from "@selvage/batch";
import { isFabricError, type FabricOptions } from "@selvage/fabric";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { codesOf, errorOf, imbalances, planOf, raw, Rig } from "./rig.ts";

const small: FabricOptions = { memoryBytes: 4_096, blocks: 16_384 };
const eager: ExecutorOptions = { teardown: "eager", spill: true };

const filled = (byte: number, length = 1_000): Uint8Array => new Uint8Array(length).fill(byte);

/** `count` tasks that make 1,000 bytes each, and as many that read one each, in order. */
function pairs(
  count: number,
  seen: number[],
  make: (context: TaskContext, byte: number) => { [name: string]: Uint8Array } | undefined = (
    _context,
    byte,
  ) => ({ [`x${byte}`]: filled(byte) }),
): ReturnType<typeof planOf> {
  const tasks: TaskDef[] = [];
  const edges: [string, string][] = [];
  for (let at = 0; at < count; at++) {
    const name = `x${at}`;
    tasks.push({ name: `make ${at}`, outputs: [raw(name)], run: (context) => make(context, at) });
    tasks.push({
      name: `read ${at}`,
      inputs: [raw(name)],
      run: (context) => {
        const x = context.input(name);
        expect(new Set(x).size).toBe(1);
        seen.push(x[0] as number, x.length);
      },
    });
    edges.push([`make ${at}`, `read ${at}`]);
  }
  return planOf(tasks, edges);
}

const spills = (rig: Rig): SpillEvent[] => rig.events.filter((event) => event.type === "spill");
const outs = (rig: Rig): string[] =>
  spills(rig)
    .filter(({ direction }) => direction === "out")
    .map(({ output }) => output);

const expectAllBack = (rig: Rig, result: ExecutionResult): void => {
  expect(imbalances(result)).toEqual([]);
  expect(result.bytes.returned).toBe(result.bytes.leased);
  const { memory, blocks } = rig.fabric.stats();
  expect([memory.freeBytes, blocks.freeBytes]).toEqual([
    memory.capacityBytes,
    blocks.capacityBytes,
  ]);
};

describe("Outputs beyond the memory", () => {
  it.each<ExecutorOptions>([eager, { spill: true, ttlMs: 200 }])(
    "S1: go to blocks and come back as they were, and every byte is given back (%o)",
    async (options) => {
      const rig = new Rig(small);
      const seen: number[] = [];
      const result = await rig.run(pairs(40, seen), options);
      expect(result.status).toBe("succeeded");
      expect(seen).toEqual(Array.from({ length: 40 }, (_, at) => [at, 1_000]).flat());
      expectAllBack(rig, result);
      const { spilled, unspilled, peakLeased } = result.bytes;
      expect([spilled, unspilled]).toEqual([36_000, 36_000]);
      expect(peakLeased).toBeLessThanOrEqual(4_096);
      const told = spills(rig).filter(({ direction }) => direction === "back");
      expect(told.reduce((sum, { bytes }) => sum + bytes, 0)).toBe(unspilled);
    },
  );

  it("may be allocated, columns, JSON, and empty", async () => {
    const rig = new Rig(small);
    const seen: unknown[] = [];
    const refs = [
      raw("empty"),
      { name: "cols", format: "columns" },
      { name: "value", format: "json" },
      raw("more"),
    ] as const;
    const tasks: TaskDef[] = [
      { name: "fill", outputs: [raw("big")], run: () => ({ big: filled(1, 4_096) }) },
      {
        name: "make",
        outputs: refs,
        run: (context) => {
          const { id } = context.allocate("cols", { rows: 2, columns: { id: "int32" } });
          id.set([5, 6]);
          context.allocate("more", 700).fill(7);
          return { empty: new Uint8Array(0), value: { list: [1] } };
        },
      },
      {
        name: "read",
        inputs: [raw("big"), ...refs.slice(0, 0)],
        run: (context) => void seen.push(context.input("big").length),
      },
      {
        name: "last",
        inputs: refs,
        run: (context) => {
          seen.push(context.input("empty").length, context.input("value"));
          seen.push([...(context.input<{ id: Int32Array }>("cols").id ?? [])]);
          seen.push(context.input("more").slice(698));
        },
      },
    ];
    const plan = planOf(tasks, [
      ["fill", "make"],
      ["make", "read"],
      ["fill", "read"],
      ["read", "last"],
    ]);
    const result = await rig.run(plan, eager);
    expect(result.tasks.map(({ error }) => error)).toEqual([
      undefined,
      undefined,
      undefined,
      undefined,
    ]);
    expect(seen).toEqual([4_096, 0, { list: [1] }, [5, 6], Uint8Array.of(7, 7)]);
    expectAllBack(rig, result);
  });

  it("are emptied for a body that keeps what it was given to fill", async () => {
    const rig = new Rig(small);
    let stashed: Uint8Array | undefined;
    const seen: number[] = [];
    const plan = pairs(8, seen, (context, byte) => {
      stashed = context.allocate(`x${byte}`, 1_000).fill(byte);
      return undefined;
    });
    const result = await rig.run(plan, eager);
    expect([result.status, stashed?.length]).toEqual(["succeeded", 0]);
    expect(seen).toEqual(Array.from({ length: 8 }, (_, at) => [at, 1_000]).flat());
  });

  it("go least soon needed first: what the next tasks read stays in memory", async () => {
    const rig = new Rig(small);
    const tasks: TaskDef[] = [];
    const edges: [string, string][] = [];
    // Made in the order a, b, c, d, e; read in the order e, d, c, b, a.
    const names = ["a", "b", "c", "d", "e"];
    for (const name of names)
      tasks.push({ name, outputs: [raw(name)], run: () => ({ [name]: filled(1) }) });
    for (const [at, name] of names.toReversed().entries()) {
      tasks.push({ name: `read ${name}`, inputs: [raw(name)], run: () => {} });
      for (const before of at === 0 ? names : [`read ${names.at(-at)}`])
        edges.push([before, `read ${name}`]);
    }
    const result = await rig.run(planOf(tasks, edges), eager);
    expect(result.status).toBe("succeeded");
    // Four fit; the fifth pushes the one that is read last out.
    expect(outs(rig)).toEqual(["a"]);
    expectAllBack(rig, result);
  });

  it("fail their attempt with CAPACITY_EXCEEDED, where spilling is not asked for", async () => {
    const rig = new Rig(small);
    const result = await rig.run(pairs(6, []), { teardown: "eager" });
    expect(result.failed).toBe(2);
    expect(codesOf(result, "make 5")).toEqual(["CAPACITY_EXCEEDED"]);
    expectAllBack(rig, result);
  });

  it("fail their attempt with CAPACITY_EXCEEDED, typed, where the blocks are full too", async () => {
    const rig = new Rig({ ...small, blocks: 8 });
    const result = await rig.run(pairs(40, []), eager);
    const [first] = result.tasks.filter(({ status }) => status === "failed");
    const error = errorOf(result, first?.name ?? "");
    expect(isFabricError(error) && [error.code, error.details["kind"]]).toEqual([
      "CAPACITY_EXCEEDED",
      "block",
    ]);
    expect([result.succeeded, result.failed, result.skipped]).toEqual([16, 32, 32]);
    expectAllBack(rig, result);
  });

  it("S2: are refused to a task that reads more at once than there is memory", async () => {
    const rig = new Rig(small);
    const names = ["a", "b", "c", "d", "e"];
    const tasks: TaskDef[] = names.map((name) => ({
      name,
      outputs: [raw(name)],
      run: () => ({ [name]: filled(1) }),
    }));
    tasks.push({ name: "all", inputs: names.map(raw), run: () => {} });
    tasks.push({ name: "some", inputs: [raw("a"), raw("e")], run: () => {} });
    const result = await rig.run(
      planOf(
        tasks,
        names.flatMap((name) => [[name, "all"] as const, [name, "some"] as const]),
      ),
      eager,
    );
    expect(codesOf(result, "all")).toEqual(["CAPACITY_EXCEEDED"]);
    expect(result.succeeded).toBe(6);
    expectAllBack(rig, result);
  });

  it("are refused where one alone is larger than the memory", async () => {
    const rig = new Rig(small);
    const tasks = [{ name: "a", outputs: [raw("x")], run: () => ({ x: filled(1, 5_000) }) }];
    const result = await rig.run(planOf(tasks), eager);
    expect(codesOf(result, "a")).toEqual(["CAPACITY_EXCEEDED"]);
    expectAllBack(rig, result);
  });

  it("can be kept, and are in memory then", async () => {
    const rig = new Rig(small);
    const seen: number[] = [];
    const result = await rig.run(pairs(10, seen), { ...eager, keep: ["x0", "x9"] });
    expect(result.bytes).toMatchObject({ kept: 2_048, active: 0 });
    expect([result.keep("x0").read()[0], result.keep("x9").read()[999]]).toEqual([0, 9]);
    expect(rig.fabric.stats().blocks.leasedBytes).toBe(0);
  });

  it("are told apart from what others have changed on the blocks", async () => {
    const rig = new Rig(small);
    let isDamaged = false;
    const result = await rig.run(pairs(8, []), {
      ...eager,
      onEvent: (event) => {
        if (event.type !== "wave" || event.index !== 1 || isDamaged) return;
        isDamaged = true;
        for (const lease of rig.fabric.leases())
          if (lease.kind === "block") void lease.writeBlock(0, Uint8Array.of(9));
      },
    });
    const failed = result.tasks.filter(({ status }) => status === "failed");
    expect(failed.map(({ error }) => isFabricError(error) && error.code)).toEqual([
      "CORRUPT_RECORD",
    ]);
    expectAllBack(rig, result);
  });

  it("leave nothing behind where the run is cancelled while they move", async () => {
    for (let atMs = 0; atMs < 12; atMs++) {
      const rig = new Rig(small);
      const controller = new AbortController();
      let events = 0;
      const running = rig.start(pairs(20, []), {
        ...eager,
        signal: controller.signal,
        onEvent: () => {
          if (++events === 5 * atMs) controller.abort(new Error("enough"));
        },
      });
      const result = await rig.host.pump(running);
      expect(result.status).toBe(atMs === 0 ? "succeeded" : "cancelled");
      expectAllBack(rig, result);
    }
  });

  it("are no reason to begin attempts that cannot go on: 64 are at work, the others have not started", async () => {
    const rig = new Rig(small);
    const tasks: TaskDef[] = Array.from({ length: 200 }, (_, at) => ({
      name: `make ${at}`,
      outputs: [raw(`x${at}`)],
      run: async (context: TaskContext) => {
        context.signal.addEventListener("abort", () => stop.reject(context.signal.reason));
        await stop.promise;
      },
    }));
    const stop = Promise.withResolvers<void>();
    let sources = 0;
    const abortSource = (): AbortController => {
      sources++;
      return new AbortController();
    };
    const options: ExecutorOptions = { ...eager, schedule: "ready", timeoutMs: 1_000 };
    const running = rig.start(planOf(tasks), options, { ...rig.ports, abortSource });
    const result = await rig.host.pump(running);
    // Those that the run's time cut short, and those that it cancelled before they began.
    expect([result.timedOut, result.cancelled, sources]).toEqual([64, 136, 64]);
    expect(rig.moves.filter((move) => move.endsWith("running"))).toHaveLength(64);
    expectAllBack(rig, result);
  });

  it("do not keep a body from waiting while others run", async () => {
    const rig = new Rig(small);
    const tasks: TaskDef[] = Array.from({ length: 100 }, (_, at) => ({
      name: `make ${at}`,
      outputs: [raw(`x${at}`)],
      run: async (context: TaskContext) => {
        const x = context.allocate(`x${at}`, 1_000);
        await rig.host.later(at % 7);
        x.fill(at);
      },
    }));
    const graph = new TaskGraph();
    const ids = tasks.map((task) => graph.addTask(task));
    let sum = 0;
    for (const at of ids.keys()) {
      const read = graph.addTask({
        name: `read ${at}`,
        inputs: [raw(`x${at}`)],
        run: async (context) => {
          await rig.host.later(at % 5);
          sum += context.input("x" + at)[999] as number;
        },
      });
      graph.addDependency(ids[at] as (typeof ids)[0], read);
    }
    const result = await rig.run(graph.build(), eager);
    expect([result.status, sum]).toEqual(["succeeded", 4_950]);
    expectAllBack(rig, result);
  });
});

interface Shape {
  readonly bytes: number;
  readonly reads: readonly number[];
  readonly waitMs: number;
}

const shapes = fc.array(
  fc.record({
    bytes: fc.integer({ min: 0, max: 1_300 }),
    reads: fc.array(fc.nat(30), { maxLength: 3 }),
    waitMs: fc.nat(3),
  }),
  { maxLength: 30 },
);

/** Runs tasks of these shapes; what each of them summed up, and the run. */
async function shaped(
  tasks: readonly Shape[],
  fabric: FabricOptions,
  options: ExecutorOptions,
): Promise<{ sums: number[]; rig: Rig; result: ExecutionResult }> {
  const rig = new Rig(fabric);
  const sums: number[] = [];
  const graph = new TaskGraph();
  const ids = tasks.map(({ bytes, reads, waitMs }, at) => {
    const inputs = [...new Set(reads.filter((read) => read < at))].map((read) => raw(`x${read}`));
    return graph.addTask({
      name: `t${at}`,
      inputs,
      outputs: [raw(`x${at}`)],
      run: async (context) => {
        const x = at % 2 === 0 ? new Uint8Array(bytes) : context.allocate(`x${at}`, bytes);
        await rig.host.later(waitMs);
        let sum = at;
        for (const { name } of inputs) for (const byte of context.input(name)) sum += byte;
        sums[at] = sum;
        return { [`x${at}`]: x.fill(sum) };
      },
    });
  });
  for (const [at, { reads }] of tasks.entries())
    for (const read of reads)
      if (read < at) graph.addDependency(ids[read] as never, ids[at] as never);
  const result = await rig.run(graph.build(), { ttlMs: 100, ...options });
  return { sums, rig, result };
}

describe("A random graph that spills", () => {
  it("S1, S2: gives what it gives in ample memory, and gives everything back", async () => {
    const property = fc.asyncProperty(shapes, fc.boolean(), async (tasks, isEager) => {
      const teardown = isEager ? "eager" : "expiry";
      const spilled = await shaped(tasks, small, { spill: true, teardown });
      const ample = await shaped(tasks, { memoryBytes: 1 << 20 }, { teardown });
      for (const { rig, result } of [spilled, ample]) {
        expect(result.tasks.map(({ error }) => error).filter(Boolean)).toEqual([]);
        expectAllBack(rig, result);
      }
      expect(spilled.sums).toEqual(ample.sums);
    });
    await fc.assert(property, { numRuns: 60 });
  });
});
