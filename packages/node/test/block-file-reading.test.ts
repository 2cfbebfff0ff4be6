import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Fabric, readBlockFile } from "@selvage/node";
import { afterAll, describe, expect, it } from "vitest";

const folder = mkdtempSync(join(tmpdir(), "selvage-reading-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Where slot 0's first copy is: after two copies of the head, of 8 blocks each. */
const recordAt = 16 * 512;

describe("readBlockFile()", () => {
  it("looks again at what cannot be read: its writer may be writing it", async () => {
    const blockFile = join(folder, "torn");
    {
      await using fabric = Fabric.open({ blockFile, blocks: 64 });
      await fabric.block().acquire();
    }
    const bytes = readFileSync(blockFile);
    writeFileSync(blockFile, Buffer.from(bytes).fill(0, recordAt, recordAt + 512));
    // The first look is at once.
    const reading = readBlockFile(blockFile);
    writeFileSync(blockFile, bytes);
    expect((await reading).damage).toEqual([]);
    writeFileSync(blockFile, Buffer.from(bytes).fill(0, recordAt, recordAt + 512));
    expect((await readBlockFile(blockFile)).damage).toEqual([
      { slot: 0, kind: "recovered", copies: [0] },
    ]);
  });

  it("reads the leases beside a writer at work, without damage, each once it is acknowledged", async () => {
    const blockFile = join(folder, "at-work");
    await using fabric = Fabric.open({ blockFile, blocks: 256, blockLeases: 16 });
    const kept = await fabric.block().label("kept").leaseSecs(600).acquire();
    const work = { isOver: false };
    const working = (async () => {
      for (let round = 0; round < 60; round++) {
        const lease = await fabric.block().minBlocks(3).label("passing").acquire();
        await lease.renew(600_000);
        lease.release();
        await lease.settle();
      }
      work.isOver = true;
    })();
    const seen = new Set<string>();
    while (!work.isOver) {
      const { leases, damage, hasWriter } = await readBlockFile(blockFile);
      expect([damage, hasWriter]).toEqual([[], true]);
      expect(leases.map(({ leaseId }) => leaseId)).toContain(kept.leaseId);
      for (const { label, state } of leases) seen.add(`${label} ${state}`);
      await new Promise(setImmediate);
    }
    await working;
    expect(seen).toContain("passing active");
    expect(await fabric.close()).toMatchObject({ pending: 0 });
    const { leases, hasWriter } = await readBlockFile(blockFile);
    expect([leases.map(({ label }) => label), hasWriter]).toEqual([["kept"], false]);
  });
});
