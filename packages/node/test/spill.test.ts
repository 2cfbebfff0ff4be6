import { tmpdir } from "node:os";
import { TaskGraph, type TaskDef } from "@selvage/batch";
import { FabricError } from "@selvage/fabric";
import { Fabric, scratchBlockDevice } from "@selvage/node";
import { afterAll, describe, expect, it } from "vitest";
import { body, codesOf, planOf, ran, raw, sharedThreads } from "./executor-rig.ts";

const threads = sharedThreads();
afterAll(() => threads.close());

/** Nobody waits for an expiry, and a busy machine lets none happen. */
const patient = { spill: true, teardown: "eager", ttlMs: 10_000 } as const;

/** A small fabric whose blocks are in a scratch file. */
const scratch = (memoryBytes = 1 << 16, blocks = 4_096): Fabric =>
  Fabric.open(
    { memoryBytes, blocks },
    { blockDevice: (count) => scratchBlockDevice(tmpdir(), count) },
  );

const relay = (from: string | null, as: string, of: number, bytes = 20_000): URL =>
  body("relay", { ...(from === null ? {} : { from }), as, of: `${of}`, bytes: `${bytes}` });

describe("Outputs beyond the memory, on this machine", () => {
  it("S1: go to a scratch file and come back, and every byte is given back", async () => {
    const graph = new TaskGraph();
    const chains = 12;
    for (let chain = 0; chain < chains; chain++) {
      let before: ReturnType<TaskGraph["addTask"]> | undefined;
      for (let step = 0; step < 3; step++) {
        const from = step === 0 ? null : `x${chain}.${step - 1}`;
        const as = `x${chain}.${step}`;
        const id = graph.addTask({
          name: as,
          inputs: from === null ? [] : [raw(from)],
          outputs: [raw(as)],
          run: relay(from, as, step + 1),
        });
        if (before !== undefined) graph.addDependency(before, id);
        before = id;
      }
    }
    const fabric = scratch();
    const { result, events, missingBytes } = await ran(
      graph.build(),
      patient,
      fabric,
      threads.ports,
    );
    expect(result.tasks.map(({ error }) => error).filter(Boolean)).toEqual([]);
    expect([result.status, missingBytes]).toEqual(["succeeded", 0]);
    expect(result.bytes.returned).toBe(result.bytes.leased);
    expect(result.bytes.peakLeased).toBeLessThanOrEqual(1 << 16);
    expect(events.filter(({ type }) => type === "spill").length).toBeGreaterThan(10);
  });

  it("S2: are refused where all who hold memory wait for more", async () => {
    const outputs = ["a", "b", "c", "d"].map(raw);
    const far: TaskDef = {
      name: "far",
      outputs,
      run: body("hoard", { bytes: "20000" }),
    };
    const { result, missingBytes } = await ran(planOf([far]), patient, scratch(), threads.ports);
    expect([codesOf(result, "far"), missingBytes]).toEqual([["CAPACITY_EXCEEDED"], 0]);
  });

  it("fail their attempts, typed, where the disk fails, and every byte is given back", async () => {
    let writes = 0;
    const fabric = Fabric.open(
      { memoryBytes: 1 << 16, blocks: 4_096 },
      {
        blockDevice: (count) => {
          const device = scratchBlockDevice(tmpdir(), count);
          return {
            numBlocks: count,
            read: (index, target) => device.read(index, target),
            async write(index, source) {
              if (++writes % 3 === 0) throw new FabricError("STORE_UNAVAILABLE", "no space left");
              await device.write(index, source);
            },
            zero: (index, blocks) => device.zero(index, blocks),
            flush: () => device.flush(),
            close: () => device.close(),
          };
        },
      },
    );
    const tasks = Array.from({ length: 10 }, (_, at): TaskDef => {
      const name = `x${at}`;
      return { name, outputs: [raw(name)], run: () => ({ [name]: new Uint8Array(20_000) }) };
    });
    const last: TaskDef = { name: "last", run: () => {} };
    const readers = tasks.map(({ name }): TaskDef => ({
      name: `read ${name}`,
      inputs: [raw(name)],
      run: (context) => void context.input(name),
    }));
    const plan = planOf(
      [...tasks, ...readers, last],
      tasks.map(({ name }) => [name, `read ${name}`] as const),
    );
    const { result, missingBytes } = await ran(plan, patient, fabric);
    expect([result.status, result.failed > 0, result.succeeded > 10]).toEqual([
      "failed",
      true,
      true,
    ]);
    const codes = new Set(result.tasks.flatMap(({ name }) => codesOf(result, name)));
    expect([[...codes], missingBytes]).toEqual([["STORE_UNAVAILABLE"], 0]);
    expect(result.bytes.returned).toBe(result.bytes.leased);
  });

  it("wait for another task's memory, and are granted when it has ended", async () => {
    const tasks: TaskDef[] = ["a", "b", "c"].map((name) => ({
      name,
      outputs: [raw(name)],
      run: relay(null, name, 1, 40_000),
    }));
    const { result, missingBytes } = await ran(
      planOf(tasks, []),
      patient,
      scratch(),
      threads.ports,
    );
    expect([result.status, missingBytes]).toEqual(["succeeded", 0]);
  });
});
