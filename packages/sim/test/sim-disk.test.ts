import type { Disk } from "@selvage/fabric";
import { describe, expect, it } from "vitest";
import { Kernel } from "../src/kernel.ts";
import { SECTOR_BYTES } from "../src/sim-disk.ts";
import { World } from "../src/world.ts";

const image = (): Uint8Array => new Uint8Array(4 * SECTOR_BYTES).fill(1);

function content(disk: Disk): Uint8Array {
  const bytes = new Uint8Array(4 * SECTOR_BYTES);
  disk.readNow(0, bytes);
  return bytes;
}

function sectors(disk: Disk): number[] {
  const bytes = content(disk);
  return Array.from({ length: 4 }, (_, sector) => bytes[sector * SECTOR_BYTES] as number);
}

function rig(seed = "1") {
  const kernel = new Kernel(seed);
  const node = new World(kernel).node("a");
  node.start();
  const open = (): Disk => node.disk({ path: "file", access: "write", image });
  /** Runs the simulation until a promise of it has settled. */
  const done = async <T>(promise: Promise<T>): Promise<T> => {
    let outcome: { value?: T; thrown?: unknown } | undefined;
    promise.then(
      (value) => (outcome = { value }),
      (thrown: unknown) => (outcome = { thrown }),
    );
    await kernel.run(kernel.nowUs + 10_000_000, () => outcome !== undefined);
    if (outcome !== undefined && "thrown" in outcome) throw outcome.thrown;
    return outcome?.value as T;
  };
  return { kernel, node, open, done };
}

const bytesOf = (value: number, count = 1): Uint8Array =>
  new Uint8Array(count * SECTOR_BYTES).fill(value);

describe("a simulated disk", () => {
  it("D1: keeps what was synced over a power cut, and of the rest each sector, or not", async () => {
    const fates = new Set<string>();
    for (let seed = 0; seed < 60; seed++) {
      const { node, open, done } = rig(String(seed));
      const disk = open();
      await done(disk.write(0, bytesOf(2)));
      await done(disk.sync());
      await done(disk.write(SECTOR_BYTES, bytesOf(3, 2)));
      expect(sectors(disk)).toEqual([2, 3, 3, 1]);
      node.crash("unsynced");
      node.start();
      const after = open();
      expect(sectors(after)[0]).toBe(2);
      expect(sectors(after)[3]).toBe(1);
      for (const sector of [1, 2]) {
        const bytes = content(after).subarray(sector * SECTOR_BYTES, (sector + 1) * SECTOR_BYTES);
        const [first] = bytes;
        expect(bytes.every((byte) => byte === first)).toBe(true);
        fates.add(first === 3 ? "kept" : "lost");
      }
    }
    expect([...fates].toSorted()).toEqual(["kept", "lost"]);
  });

  it("D1: a file that was cut shorter and not synced may have its old length after a power cut, and nothing old beyond its new one", async () => {
    const lengths = new Set<number>();
    for (let seed = 0; seed < 40; seed++) {
      const { node, open, done } = rig(String(seed));
      const disk = open();
      await done(disk.truncate(SECTOR_BYTES + 10));
      node.crash("unsynced");
      node.start();
      const after = open();
      const length = after.readNow(0, new Uint8Array(4 * SECTOR_BYTES));
      lengths.add(length);
      if (length > SECTOR_BYTES + 10) continue;
      await done(after.write(4 * SECTOR_BYTES, bytesOf(5)));
      const grown = new Uint8Array(4 * SECTOR_BYTES);
      after.readNow(0, grown);
      expect(grown.subarray(0, SECTOR_BYTES)).toEqual(bytesOf(1));
      expect(grown.subarray(SECTOR_BYTES + 10).every((byte) => byte === 0)).toBe(true);
    }
    expect(lengths).toEqual(new Set([SECTOR_BYTES + 10, 4 * SECTOR_BYTES]));
  });

  it("D3: what is written after a sync began that fails is written by the next one", async () => {
    const { node, open, done } = rig();
    const disk = open();
    await done(disk.write(0, bytesOf(2)));
    node.disks.setCondition({ failedSyncs: 1, slowMs: 5 });
    const failed = disk.sync();
    failed.catch(() => {});
    node.disks.setCondition({ slowMs: 0.03 });
    await done(disk.write(0, bytesOf(3)));
    await expect(done(failed)).rejects.toThrow(/EIO/);
    await done(disk.sync());
    expect(node.disks.durableBytes("file")?.[0]).toBe(3);
  });

  it("D1: a sync promises nothing for what is written after it began", async () => {
    const outcomes = new Set<number>();
    for (let seed = 0; seed < 40; seed++) {
      const { node, open, done } = rig(String(seed));
      const disk = open();
      node.disks.setCondition({ slowMs: 5 });
      const sync = disk.sync();
      node.disks.setCondition({ slowMs: 0.03 });
      await done(disk.write(0, bytesOf(7)));
      await done(sync);
      node.crash("unsynced");
      node.start();
      outcomes.add(sectors(open())[0] as number);
    }
    expect(outcomes.has(1)).toBe(true);
  });

  it("D2: loses nothing that had completed when the process alone is killed", async () => {
    const { node, open, done } = rig();
    await done(open().write(0, bytesOf(9, 4)));
    node.crash("memory");
    node.start();
    expect(sectors(open())).toEqual([9, 9, 9, 9]);
  });

  it("D2: may have done what was under way, in part, or not", async () => {
    const outcomes = new Set<string>();
    for (let seed = 0; seed < 40; seed++) {
      const { node, open } = rig(String(seed));
      void open().write(0, bytesOf(9, 3));
      node.crash("memory");
      node.start();
      const news = content(open()).filter((byte) => byte === 9).length / SECTOR_BYTES;
      outcomes.add(news === 0 ? "not" : news < 3 ? "in part" : "done");
    }
    expect(outcomes.has("not")).toBe(true);
    expect(outcomes.has("in part")).toBe(true);
  });

  it("D3: forgets what a failed sync was to write, and the next sync does not make up for it", async () => {
    const { node, open, done } = rig();
    const disk = open();
    await done(disk.write(0, bytesOf(5)));
    node.disks.setCondition({ failedSyncs: 1 });
    await expect(done(disk.sync())).rejects.toThrow(/EIO/);
    await done(disk.sync());
    expect(sectors(disk)[0]).toBe(5);
    node.crash("unsynced");
    node.start();
    expect(sectors(open())[0]).toBe(1);
  });

  it("writes a file anew when it is opened after a sync that failed", async () => {
    const { node, open, done } = rig();
    const disk = open();
    await done(disk.write(0, bytesOf(5)));
    node.disks.setCondition({ failedSyncs: 2 });
    await expect(done(disk.sync())).rejects.toThrow(/EIO/);
    disk.close();
    expect(() => open()).toThrow(/Cannot open file: EIO/);
    open();
    node.crash("unsynced");
    node.start();
    expect(sectors(open())[0]).toBe(5);
  });

  it("lies about a sync when it is told to", async () => {
    const lost = new Set<number>();
    for (let seed = 0; seed < 20; seed++) {
      const { node, open, done } = rig(String(seed));
      const disk = open();
      node.disks.setCondition({ lies: true });
      await done(disk.write(0, bytesOf(5)));
      await done(disk.sync());
      node.crash("unsynced");
      node.start();
      lost.add(sectors(open())[0] as number);
    }
    expect(lost.has(1)).toBe(true);
  });

  it("fails reads and writes so often, stops short, is full, and misdirects a write", async () => {
    const { node, open, done, kernel } = rig();
    const disk = open();
    node.disks.setCondition({ failedIos: 2 });
    await expect(done(disk.write(0, bytesOf(2)))).rejects.toThrow(/EIO/);
    await expect(done(disk.read(0, bytesOf(0)))).rejects.toThrow(/EIO/);
    await done(disk.write(0, bytesOf(2)));
    node.disks.setCondition({ isFull: true });
    await expect(done(disk.write(4 * SECTOR_BYTES, bytesOf(2)))).rejects.toThrow(/ENOSPC/);
    await done(disk.write(3 * SECTOR_BYTES, bytesOf(2)));
    node.disks.heal();
    node.disks.setCondition({ isShort: true });
    const moved = new Set<number>();
    for (let turn = 0; turn < 20; turn++) moved.add(await done(disk.write(0, bytesOf(2))));
    expect(moved.has(SECTOR_BYTES)).toBe(true);
    expect(moved.size).toBeGreaterThan(3);
    node.disks.heal();
    expect(sectors(disk)).toEqual([2, 1, 1, 2]);
    node.disks.setCondition({ misdirected: 3 });
    for (let turn = 0; turn < 3; turn++) await done(disk.write(0, bytesOf(8)));
    expect(kernel.count("disk.misdirected")).toBe(3);
    expect(sectors(disk)).toContain(8);
  });

  it("N1: begins nothing that a process asks for that has died, not even at the next crash", async () => {
    const { node, open, done } = rig();
    const disk = open();
    await done(disk.write(0, bytesOf(2)));
    node.crash("memory");
    void disk.write(0, bytesOf(9));
    node.start();
    open().close();
    for (let crash = 0; crash < 4; crash++) {
      node.crash("memory");
      node.start();
      expect(sectors(open())[0]).toBe(2);
    }
  });

  it("flips one bit, which a power cut does not heal", async () => {
    const { node, open } = rig();
    const before = content(open());
    expect(node.disks.flip()).toBe(true);
    node.crash("unsynced");
    node.start();
    const after = content(open());
    const changed = [...after].filter((byte, at) => byte !== before[at]);
    expect(changed.length).toBe(1);
  });

  it("has one writer a file, which a crash lets go, and readers beside it", () => {
    const { node, open } = rig();
    const disk = open();
    expect(() => open()).toThrow(/has a writer/);
    node.disk({ path: "file", access: "read", image }).close();
    disk.close();
    open();
    node.crash("memory");
    node.start();
    open();
    expect(() => node.disk({ path: "other", access: "read", image })).toThrow(/no such file/);
  });

  it("truncates: what is cut off reads as zeros when the file grows again", async () => {
    const { open, done } = rig();
    const disk = open();
    await done(disk.truncate(SECTOR_BYTES));
    expect(disk.readNow(0, new Uint8Array(4 * SECTOR_BYTES))).toBe(SECTOR_BYTES);
    await done(disk.write(3 * SECTOR_BYTES, bytesOf(4)));
    expect(sectors(disk)).toEqual([1, 0, 0, 4]);
  });
});

const steps = (kernel: Kernel) =>
  kernel.occurrences
    .filter(({ kind }) => kind === "disk.named" || kind === "disk.opened")
    .map(({ details }) => [details["step"], details["mayBeMissing"], details["mayBeTorn"]]);

describe("names on a simulated disk", () => {
  it("J5, D4: at no step of making a file may power leave half of it, and none after it was opened", () => {
    const { kernel, open } = rig();
    open();
    expect(steps(kernel)).toEqual([
      ["remove", true, false],
      ["write", true, false],
      ["sync", true, false],
      ["rename", true, false],
      ["sync the folder", false, false],
      ["open", false, false],
    ]);
  });

  it("J5, D4: a folder whose sync fails is synced again by whoever opens the file next", () => {
    const fates: Record<"opened again" | "given up", Set<boolean>> = {
      "opened again": new Set(),
      "given up": new Set(),
    };
    for (let seed = 0; seed < 20; seed++) {
      const { node, open } = rig(String(seed));
      const failing = (): Disk => {
        // The draft is synced, its folder is not.
        node.kernel.observe(({ kind, details }) => {
          if (kind === "disk.named" && details["step"] === "rename")
            node.disks.setCondition({ failedSyncs: 1 });
        });
        return open();
      };
      expect(failing).toThrow("EIO");
      const isSure = seed % 2 === 0;
      if (isSure) open().close();
      node.crash("unsynced");
      node.start();
      const read = (): Disk => node.disk({ path: "file", access: "read", image });
      let isThere = true;
      try {
        read();
      } catch {
        isThere = false;
      }
      fates[isSure ? "opened again" : "given up"].add(isThere);
    }
    expect(fates).toEqual({
      "opened again": new Set([true]),
      "given up": new Set([true, false]),
    });
  });

  it("J5: a draft that a crash has left is not written through, and one that fails is taken away", () => {
    const { kernel, node, open } = rig();
    node.disks.setCondition({ failedSyncs: 1 });
    expect(open).toThrow("EIO");
    expect(() => node.disk({ path: "file.new", access: "read", image })).toThrow("no such file");
    node.disks.setCondition({ isFull: true });
    expect(open).toThrow("ENOSPC");
    node.disks.heal();
    expect(sectors(open())).toEqual([1, 1, 1, 1]);
    expect(steps(kernel).at(-1)).toEqual(["open", false, false]);
  });
});
