import { tmpdir } from "node:os";
import { TaskGraph, type TaskDef } from "@selvage/batch";
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

describe("Outputs beyond the memory, of tasks on worker threads", () => {
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
