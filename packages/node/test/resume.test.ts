import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ExecutionPlan, TaskDef } from "@selvage/batch";
import { Fabric } from "@selvage/node";
import { afterAll, describe, expect, it } from "vitest";
import { body, planOf, ran, raw, sharedThreads } from "./executor-rig.ts";

const threads = sharedThreads();
const folder = mkdtempSync(join(tmpdir(), "selvage-resume-"));
afterAll(async () => {
  await threads.close();
  rmSync(folder, { recursive: true, force: true });
});

const relay = (from: string | null, as: string, of: number): URL =>
  body("relay", { ...(from === null ? {} : { from }), as, of: `${of}`, bytes: "30000" });

/** What a worker thread made, read twice here: at the first try in vain. */
function plan(isBroken: boolean, seen: number[]): ExecutionPlan {
  const read: TaskDef = {
    name: "read",
    inputs: [raw("x"), raw("y")],
    run: (context) => {
      if (isBroken) throw new Error("broken");
      seen.push(context.input("x").length, context.input("y")[29_999] as number);
    },
  };
  return planOf([
    { name: "x", outputs: [raw("x")], run: relay(null, "x", 1) },
    { name: "y", inputs: [raw("x")], outputs: [raw("y")], run: relay("x", "y", 2) },
    read,
  ]);
}

describe("A run on a block file", () => {
  it.each([false, true])(
    "C2: is resumed by the next fabric over it, with what worker threads made (spill: %s)",
    async (spill) => {
      const blockFile = join(folder, `blocks-${spill}`);
      const open = (): Fabric => Fabric.open({ memoryBytes: 1 << 16, blocks: 4_096, blockFile });
      const options = { runId: "nightly", spill, teardown: "eager", ttlMs: 10_000 } as const;
      await using first = open();
      const broken = await ran(plan(true, []), options, first, threads.ports);
      expect([broken.result.succeeded, broken.result.failed]).toEqual([2, 1]);
      await first.close();
      const seen: number[] = [];
      await using second = open();
      const { result } = await ran(plan(false, seen), options, second, threads.ports);
      expect([result.status, result.tasks.map(({ attempts }) => attempts)]).toEqual([
        "succeeded",
        [0, 0, 1],
      ]);
      expect(seen).toEqual([30_000, 2]);
      const { capacityBytes, freeBytes } = second.stats().blocks;
      expect(freeBytes).toBe(capacityBytes);
    },
  );
});
