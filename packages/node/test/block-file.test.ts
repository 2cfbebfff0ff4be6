import { execFile } from "node:child_process";
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { Fabric, fileBlockDevice, isFabricError, scratchBlockDevice } from "selvage";
import { afterEach, describe, expect, it } from "vitest";
import { diskUse, killRounds } from "./block-file-rounds.ts";

const run = promisify(execFile);
const folders: string[] = [];

function newFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "selvage-blocks-"));
  folders.push(folder);
  return folder;
}

afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

const failingSync = fileURLToPath(new URL("./threads/failing-sync-process.ts", import.meta.url));
const small = { blocks: 64, memoryBytes: 64 };

function codeOf(act: () => unknown): string {
  try {
    act();
  } catch (thrown) {
    if (isFabricError(thrown)) return thrown.code;
    throw thrown;
  }
  return "nothing was thrown";
}

/** Waits for what the next turns of the loop bring. */
async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await new Promise((resolve) => setImmediate(resolve));
}

/** Opens a file that a fabric which was disposed of may still be writing: until that is done, it is the one writer. */
async function reopened(blockFile: string): Promise<Fabric> {
  let fabric: Fabric | undefined;
  await until(() => {
    const code = codeOf(() => (fabric = Fabric.open({ blockFile, ...small })));
    return code !== "CONFLICT";
  });
  return fabric as Fabric;
}

describe("a block file", { timeout: 60_000 }, () => {
  it("keeps leases and bytes over close and open, to be attached by a ticket kept as JSON", async () => {
    const blockFile = join(newFolder(), "blocks");
    let text: string;
    {
      await using fabric = Fabric.open({ blockFile, ...small });
      const lease = await fabric.block().minBlocks(3).tenant("t").label("kept").acquire();
      await lease.write(0, new Uint8Array(3 * 512).fill(7));
      text = JSON.stringify(lease.ticket());
    }
    await using fabric = Fabric.open({ blockFile, ...small });
    const lease = await fabric.attachBlock(JSON.parse(text));
    expect(lease).toMatchObject({ tenant: "t", label: "kept", numBlocks: 3, generation: 1 });
    expect((await lease.readBlock(2)).every((byte) => byte === 7)).toBe(true);
    expect(fabric.leases()).toEqual([lease]);
    expect(fabric.stats().blocks).toMatchObject({ leasedBytes: 1_536, activeLeases: 1 });
    await lease.renew(1_000_000);
    lease.release();
    await until(() => fabric.stats().blocks.freeBytes === 64 * 512);
    await expect(fabric.attachBlock(JSON.parse(text))).rejects.toMatchObject({
      code: "LEASE_EXPIRED",
    });
  });

  it("ends leases at their deadlines while nobody has it open", async () => {
    const blockFile = join(newFolder(), "blocks");
    const first = Fabric.open({ blockFile, ...small });
    // Long enough for the disk to take the grant before its end, whatever else the machine does.
    const lease = await first.block().leaseMs(1_000).acquire();
    const ticket = lease.ticket();
    await first.close();
    await until(() => Date.now() > lease.expiresAtMs);
    await using fabric = Fabric.open({ blockFile, ...small });
    await expect(fabric.attachBlock(ticket)).rejects.toMatchObject({ code: "LEASE_EXPIRED" });
    await until(() => fabric.stats().blocks.freeBytes === 64 * 512);
    expect(fabric.stats().blocks).toMatchObject({ expired: 1, activeLeases: 0 });
    const next = await fabric.block().acquire();
    expect([next.slot, next.generation]).toEqual([ticket.slot, ticket.generation + 1]);
  });

  it("has one writer: here, in another process, and by another name of the file", async () => {
    const folder = newFolder();
    const blockFile = join(folder, "blocks");
    const fabric = Fabric.open({ blockFile, ...small });
    expect(codeOf(() => Fabric.open({ blockFile, ...small }))).toBe("CONFLICT");
    symlinkSync(blockFile, join(folder, "link"));
    expect(codeOf(() => Fabric.open({ blockFile: join(folder, "link"), ...small }))).toBe(
      "CONFLICT",
    );
    expect(codeOf(() => fileBlockDevice(blockFile, 4))).toBe("CONFLICT");
    const source = `
      import { Fabric } from "selvage";
      try { Fabric.open({ blockFile: ${JSON.stringify(blockFile)} }); } catch (error) { console.log(error.code); }`;
    const { stdout } = await run(process.execPath, [
      ...process.execArgv.filter((flag) => flag.startsWith("--conditions=")),
      "--input-type=module",
      "--eval",
      source,
    ]);
    expect(stdout.trim()).toBe("CONFLICT");
    fabric[Symbol.dispose]();
    Fabric.open({ blockFile, ...small })[Symbol.dispose]();
  });

  it("is readable by its owner only, as long as what is leased, and sparse", async () => {
    const blockFile = join(newFolder(), "blocks");
    await using fabric = Fabric.open({ blockFile, blocks: 65_536, memoryBytes: 64 });
    expect(statSync(blockFile).mode & 0o777).toBe(0o600);
    const baseline = diskUse(blockFile);
    const low = await fabric.block().minBlocks(1_000).acquire();
    const high = await fabric.block().minBlocks(2_000).acquire();
    for (const lease of [low, high]) await lease.write(0, new Uint8Array(lease.bytes).fill(1));
    await low.flush();
    expect(diskUse(blockFile)).toBeGreaterThan(baseline + 1_000_000);
    // The lower one first: its blocks are overwritten with zeros, and go when the upper one has gone.
    for (const lease of [low, high]) {
      lease.release();
      await until(() => fabric.stats().blocks.quarantinedBytes === 0);
    }
    expect(diskUse(blockFile)).toBe(baseline);
    const wide = await fabric.block().minBlocks(65_536).acquire();
    await wide.writeBlock(65_535, Uint8Array.of(1));
    expect(diskUse(blockFile)).toBeLessThan(baseline + 65_536);
  });

  it("is NOT_FOUND where its folder is not, and CORRUPT_RECORD where it is another kind of file", () => {
    const folder = newFolder();
    expect(codeOf(() => Fabric.open({ blockFile: join(folder, "no", "blocks") }))).toBe(
      "NOT_FOUND",
    );
    const blockFile = join(folder, "text");
    writeFileSync(blockFile, "hello");
    expect(codeOf(() => Fabric.open({ blockFile }))).toBe("CORRUPT_RECORD");
    writeFileSync(blockFile, "");
    expect(codeOf(() => Fabric.open({ blockFile }))).toBe("CORRUPT_RECORD");
    // What was refused is not held, nor touched.
    expect(statSync(blockFile).size).toBe(0);
    rmSync(blockFile);
    Fabric.open({ blockFile, ...small })[Symbol.dispose]();
    expect(codeOf(() => Fabric.open({ blockFile, blocks: 65 }))).toBe("CONFLICT");
    expect(codeOf(() => Fabric.open({ blockFile: join(folder, "new"), blockAccess: "read" }))).toBe(
      "NOT_FOUND",
    );
    expect(readdirSync(folder).toSorted()).toEqual(["text", "text.lock"]);
  });

  it("lets descriptors and lock go, after close(), after dispose, and after a refusal", async () => {
    const blockFile = join(newFolder(), "blocks");
    const held = "/proc/self/fd";
    const open = (): string[] =>
      (existsSync(held) ? readdirSync(held) : []).filter((fd) => {
        // The one that reads the folder is gone by now.
        const isThere = existsSync(join(held, fd));
        return isThere && readlinkSync(join(held, fd)).startsWith(blockFile);
      });
    Fabric.open({ blockFile, ...small })[Symbol.dispose]();
    for (let turn = 0; turn < 8; turn++) {
      const fabric = await reopened(blockFile);
      const lease = await fabric.block().leaseMs(20).acquire();
      expect(codeOf(() => Fabric.open({ blockFile, ...small }))).toBe("CONFLICT");
      if (turn % 2 === 0) await fabric.close();
      else fabric[Symbol.dispose]();
      expect(lease.release()).toBe(false);
      await expect(lease.readBlock(0)).rejects.toMatchObject({ code: "DISCONNECTED" });
    }
    await (await reopened(blockFile)).close();
    expect(open()).toEqual([]);
  });

  it("J4: notes beside it that a sync has failed, and is written anew when it is opened next", async () => {
    const blockFile = join(newFolder(), "blocks");
    const args = [...process.execArgv.filter((flag) => flag.startsWith("--conditions="))];
    const { stdout } = await run(process.execPath, [...args, failingSync, blockFile]);
    const told = JSON.parse(stdout) as Record<string, unknown>;
    expect(told).toMatchObject({ code: "STORE_UNAVAILABLE", noted: true, isNoted: false });
    expect(told["written"]).toBeGreaterThanOrEqual(told["bytes"] as number);
    expect(told["bytes"]).toBeGreaterThan(2_048);
  });

  it("finishes what was begun when it is disposed of: a release just before counts", async () => {
    const blockFile = join(newFolder(), "blocks");
    let ticket;
    {
      using fabric = Fabric.open({ blockFile, ...small });
      using lease = await fabric.block().acquire();
      ticket = lease.ticket();
    }
    // Let go of once the release is on the disk.
    await using fabric = await reopened(blockFile);
    await expect(fabric.attachBlock(ticket)).rejects.toMatchObject({ code: "LEASE_EXPIRED" });
  });
});

describe("J6: a file that can grow no further", () => {
  it("costs the write that went too far, and nothing else", async () => {
    const program = fileURLToPath(new URL("./block-file-limit.ts", import.meta.url));
    const flags = process.execArgv.filter((flag) => flag.startsWith("--conditions="));
    // In blocks of 512 or 1,024 bytes: well beyond the table, well below the lease.
    const { stdout } = await run("sh", [
      "-c",
      'ulimit -f 100; exec "$@"',
      "sh",
      process.execPath,
      ...flags,
      program,
      join(newFolder(), "blocks"),
    ]);
    expect(JSON.parse(stdout)).toEqual({
      tooMuch: "STORE_UNAVAILABLE EFBIG",
      little: "ok",
      flush: "ok",
      renewal: "ok",
      grant: "ok",
    });
  });
});

describe("blocks without leases", () => {
  it("in a file stay there, for one user at a time", async () => {
    const path = join(newFolder(), "blocks");
    const device = fileBlockDevice(path, 16);
    await device.write(3, new Uint8Array(1_024).fill(5));
    await device.zero(4, 1);
    await device.flush();
    expect(codeOf(() => fileBlockDevice(path, 16))).toBe("CONFLICT");
    device.close();
    const again = fileBlockDevice(path, 16);
    const bytes = new Uint8Array(4 * 512);
    await again.read(2, bytes);
    expect([bytes[0], bytes[512], bytes[1_024], bytes[1_536]]).toEqual([0, 5, 0, 0]);
    await expect(again.write(15, new Uint8Array(1_024))).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
    });
    again.close();
    await expect(again.read(0, bytes)).rejects.toMatchObject({ code: "DISCONNECTED" });
  });

  it("on scratch leave nothing in their folder, not even while they are used", async () => {
    const folder = newFolder();
    const scratch = scratchBlockDevice(folder, 1_000);
    await scratch.write(999, new Uint8Array(512).fill(1));
    expect(readdirSync(folder)).toEqual([]);
    const block = new Uint8Array(512);
    await scratch.read(999, block);
    expect(block[511]).toBe(1);
    await scratch.read(0, block);
    expect(block[0]).toBe(0);
    scratch.close();
    expect(codeOf(() => scratchBlockDevice(join(folder, "no"), 1))).toBe("NOT_FOUND");
    expect(codeOf(() => scratchBlockDevice(folder, 0))).toBe("INVALID_ARGUMENT");
  });
});

describe("a process that is killed", () => {
  it("loses nothing that was acknowledged to it; its leases stand till their deadlines, and leave nothing", async () => {
    const seen = await killRounds(10);
    expect(seen.standing).toBeGreaterThan(10);
    expect(seen.released).toBeGreaterThan(0);
  }, 180_000);
});
