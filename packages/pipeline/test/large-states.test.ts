import { Fabric } from "@selvage/node";
import { MemoryCheckpointStore, StagedPipeline, type StagedEvent } from "@selvage/pipeline";
import { bufferMemoryProvider, FabricError, type BlockTicket } from "@selvage/fabric";
import { afterEach, describe, expect, it } from "vitest";
import { decodeRun } from "../src/staged/staged-checkpoint.ts";
import { StagedProcess, VirtualTime } from "./staged-rig.ts";

const id = "nightly";
const keepMs = 60_000;
const fabrics: Fabric[] = [];
afterEach(() => {
  for (const fabric of fabrics.splice(0)) fabric[Symbol.dispose]();
});

/** A fabric that is ticked by hand, and stages whose large states are in its blocks. */
class LargeRig {
  readonly time = new VirtualTime();
  readonly store = new MemoryCheckpointStore();
  readonly fabric: Fabric;
  readonly ran: string[] = [];
  readonly events: StagedEvent[] = [];
  /** Stages that fail, so often. */
  readonly fails: Record<string, number>;
  isDown = false;

  constructor(fails: Record<string, number> = {}, blocks = 512) {
    this.fails = fails;
    this.fabric = Fabric.open(
      { memoryBytes: 65_536, blocks, tick: "manual" },
      { clock: { nowMs: () => this.time.nowMs() }, memory: bufferMemoryProvider },
    );
    fabrics.push(this.fabric);
  }

  get leased(): number {
    this.fabric.tick(this.time.nowMs());
    return this.fabric.stats().blocks.leasedBytes;
  }

  async run(sizes: readonly number[], ms = 0): Promise<unknown> {
    const { ports } = new StagedProcess(this.time, this.store, 7);
    const fabric = {
      block: () => this.fabric.block(),
      attachBlock: async (ticket: BlockTicket) => {
        if (this.isDown) throw new FabricError("STORE_UNAVAILABLE", "EIO");
        return this.fabric.attachBlock(ticket);
      },
    } as Fabric;
    const largeStates = { fabric, overBytes: 1_000, keepMs };
    const pipeline = new StagedPipeline({ checkpointStore: this.store, largeStates }, ports);
    for (const [index, size] of sizes.entries())
      pipeline.stage(`s${index}`, { retries: 0 }, async (state) => {
        this.ran.push(`s${index} ${(state as string).length}`);
        if (ms > 0) await this.time.wait(ms);
        this.fails[`s${index}`] = (this.fails[`s${index}`] ?? 0) - 1;
        if ((this.fails[`s${index}`] as number) >= 0) throw new Error(`s${index} broken`);
        return `${index}`.repeat(size);
      });
    this.events.length = 0;
    return pipeline.run("", { pipelineId: id, onEvent: (event) => this.events.push(event) });
  }

  async header() {
    const found = await this.store.read(id);
    return { ...decodeRun(found?.bytes as Uint8Array), bytes: found?.bytes.length ?? 0 };
  }
}

describe("large states", () => {
  it("go to leased blocks, are named in the checkpoint, and are given back when the run has ended", async () => {
    const rig = new LargeRig({ s2: 1 });
    await expect(rig.run([50_000, 20_000, 10])).rejects.toThrow("s2 broken");
    const { header, bytes, inline } = await rig.header();
    expect(header).toMatchObject({
      finished: 2,
      place: { kind: "blocks", ref: { bytes: 20_002 } },
    });
    expect(header.earlier).toMatchObject({ finished: 1, place: { kind: "blocks" } });
    expect([inline.length, bytes < 2_000]).toEqual([0, true]);
    expect(rig.leased).toBeGreaterThanOrEqual(70_000);
    const places = rig.events.filter(({ type }) => type === "checkpoint");
    expect(places).toMatchObject([
      { place: "blocks", bytes: 50_002 },
      { place: "blocks", bytes: 20_002 },
    ]);
    expect(await rig.run([50_000, 20_000, 10])).toBe("2".repeat(10));
    expect(rig.ran).toEqual(["s0 0", "s1 50000", "s2 20000", "s2 20000"]);
    expect(await rig.store.read(id)).toBeUndefined();
    expect(rig.leased).toBe(0);
  });

  it("only the last two are kept while a run goes on", async () => {
    const rig = new LargeRig({ s4: 1 });
    await expect(rig.run([5_000, 5_000, 5_000, 5_000, 1])).rejects.toThrow("s4 broken");
    expect(rig.leased).toBe(2 * 10 * 512);
  });

  it("are renewed for as long as the run takes", async () => {
    const rig = new LargeRig();
    // Each stage takes longer than a state is kept: only its lease's renewals save the input of a resume.
    expect(await rig.run([5_000, 5_000], 2 * keepMs)).toHaveLength(5_000);
    rig.fails["s1"] = 1;
    await expect(rig.run([5_000, 5_000], 2 * keepMs)).rejects.toThrow("s1 broken");
    // Lapses what can lapse.
    expect(rig.leased).toBe(10 * 512);
    expect(await rig.run([5_000, 5_000])).toHaveLength(5_000);
    expect(rig.ran.slice(-2)).toEqual(["s1 5000", "s1 5000"]);
  });

  it("P3: one whose lease has lapsed gives way to the checkpoint before, and says so", async () => {
    // The state before is in the record itself, so it is there whatever becomes of blocks.
    const rig = new LargeRig({ s2: 1 });
    await expect(rig.run([10, 5_000, 1])).rejects.toThrow("s2 broken");
    await rig.time.wait(keepMs + 1);
    expect(rig.leased).toBe(0);
    expect(await rig.run([10, 5_000, 1])).toBe("2");
    expect(rig.ran).toEqual(["s0 0", "s1 10", "s2 5000", "s1 10", "s2 5000"]);
    expect(rig.events).toContainEqual(expect.objectContaining({ type: "recovered", finished: 1 }));
  });

  it("P3: when the one before is gone, too, the run fails: it does not begin anew", async () => {
    const rig = new LargeRig({ s3: 1 });
    await expect(rig.run([10, 5_000, 5_000, 1])).rejects.toThrow("s3 broken");
    await rig.time.wait(keepMs + 1);
    void rig.leased;
    await expect(rig.run([10, 5_000, 5_000, 1])).rejects.toMatchObject({ code: "LEASE_EXPIRED" });
    expect(rig.ran).toHaveLength(4);
  });

  it("STORE_UNAVAILABLE: blocks that cannot be read now are an outage: the run does not fall back", async () => {
    const rig = new LargeRig({ s2: 1 });
    await expect(rig.run([10, 5_000, 1])).rejects.toThrow("s2 broken");
    rig.isDown = true;
    await expect(rig.run([10, 5_000, 1])).rejects.toMatchObject({ code: "STORE_UNAVAILABLE" });
    rig.isDown = false;
    expect(await rig.run([10, 5_000, 1])).toBe("2");
    expect(rig.ran.slice(2)).toEqual(["s2 5000", "s2 5000"]);
  });

  it("CAPACITY_EXCEEDED: blocks that are used up fail the run at its stage, and the checkpoint stays", async () => {
    const rig = new LargeRig({}, 8);
    await expect(rig.run([10, 50_000])).rejects.toMatchObject({ code: "CAPACITY_EXCEEDED" });
    expect((await rig.header()).header).toMatchObject({ finished: 1, runner: null });
    expect(await rig.run([10, 2_000])).toHaveLength(2_000);
  });
});
