import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { Fabric, SqliteCheckpointStore, StagedPipeline } from "@selvage/node";
import { BlockCheckpointStore, type StagedEvent } from "@selvage/pipeline";
import { afterAll, describe, expect, it } from "vitest";

const folder = mkdtempSync(join(tmpdir(), "selvage-staged-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const pipelineId = "nightly";

describe("StagedPipeline", () => {
  it("P5: over one file, a second runner gets CONFLICT while the first one lives", async () => {
    const path = join(folder, "two.sqlite");
    const ran: string[] = [];
    const start = (name: string): Promise<unknown> =>
      new StagedPipeline({ checkpointStore: new SqliteCheckpointStore(path), leaseMs: 1_000 })
        .stage("slow", async () => {
          ran.push(name);
          await wait(1_500);
          return name;
        })
        .run(0, { pipelineId });
    const first = start("first");
    await wait(20);
    await expect(start("second")).rejects.toMatchObject({ code: "CONFLICT" });
    expect(await first).toBe("first");
    expect(ran).toEqual(["first"]);
  });

  it("keeps a run whose stage blocked the thread for longer than its lease, when nobody took it", async () => {
    const checkpointStore = new SqliteCheckpointStore(join(folder, "blocked.sqlite"));
    const pipeline = new StagedPipeline({ checkpointStore, leaseMs: 100 })
      .stage("block", () => {
        const untilMs = Date.now() + 400;
        while (Date.now() < untilMs);
        return "held";
      })
      .stage("pass", async (state) => {
        await wait(200);
        return state;
      });
    expect(await pipeline.run(0, { pipelineId })).toBe("held");
  });

  it("P1: resumes from blocks in a file, a large state by its lease, in another fabric over it", async () => {
    const blockFile = join(folder, "blocks");
    const ran: string[] = [];
    const events: StagedEvent[] = [];
    const go = async (fabric: Fabric, store: BlockCheckpointStore, fails: boolean) =>
      new StagedPipeline({
        checkpointStore: store,
        largeStates: { fabric, overBytes: 10_000 },
      })
        .stage("extract", () => (ran.push("extract"), "x".repeat(50_000)))
        .stage("load", { retries: 0 }, (rows) => {
          ran.push("load");
          if (fails) throw new Error("no database");
          return rows.length;
        })
        .run(0, { pipelineId, onEvent: (event) => events.push(event) });

    const first = Fabric.open({ memoryBytes: 1 << 20, blocks: 1_024, blockFile });
    const lease = await first.block().minBlocks(32).leaseSecs(60).acquire();
    await expect(go(first, new BlockCheckpointStore(lease), true)).rejects.toThrow("no database");
    const ticket = lease.ticket();
    await first.close();

    await using second = Fabric.open({ memoryBytes: 1 << 20, blocks: 1_024, blockFile });
    const found = new BlockCheckpointStore(await second.attachBlock(ticket));
    expect(await go(second, found, false)).toBe(50_000);
    expect(ran).toEqual(["extract", "load", "load"]);
    expect(events).toContainEqual(
      expect.objectContaining({ type: "checkpoint", name: "extract", place: "blocks" }),
    );
  });
});
