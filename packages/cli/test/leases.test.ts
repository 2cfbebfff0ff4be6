import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { Fabric, readBlockFile } from "@selvage/node";
import { describe, expect, it } from "vitest";
import { leaveFile } from "./left-file.ts";
import { cli, documentOf, folderOfOwn } from "./rig.ts";

const own = folderOfOwn();

interface Lease {
  readonly id: string;
  readonly label: string;
  readonly bytes: number;
  readonly state: string;
  readonly remainingMs: number;
  readonly isOver: boolean;
}

async function leasesOf(path: string): Promise<readonly Lease[]> {
  const ended = await cli("leases", path, "--json");
  return (documentOf(ended) as { readonly leases: readonly Lease[] }).leases;
}

describe("selvage leases", () => {
  it("lists the leases of a file while its writer goes on, and does not disturb it", async () => {
    const blockFile = own("written");
    await using fabric = Fabric.open({ blockFile, blocks: 64 });
    const lease = await fabric.block().minBlocks(3).leaseSecs(60).label("a\u001B[31m").acquire();
    const around = readdirSync(own("."));
    const [found] = await leasesOf(blockFile);
    expect(found).toMatchObject({ id: lease.leaseId, label: "a\u001B[31m", bytes: 1536 });
    expect(found?.state).toBe("active");
    expect(found?.remainingMs).toBeGreaterThan(0);
    const { code, stdout } = await cli("leases", blockFile);
    expect(code).toBe(0);
    // A terminal obeys nothing of what a label says.
    expect(stdout).toMatch(new RegExp(`^${lease.leaseId} +a\uFFFD\\[31m .*1.5 KiB +active `, "m"));
    expect(stdout).toContain("1 leases hold 1.5 KiB of 32 KiB");
    expect(readdirSync(own("."))).toEqual(around);
    await lease.writeBlock(0, Uint8Array.of(1));
    await lease.renew(120_000);
    lease.release();
    await lease.settle();
    expect(await readBlockFile(blockFile)).toMatchObject({ hasWriter: true, damage: [] });
  });

  it("lists what is over and not back yet, and changes nothing of it", async () => {
    const blockFile = await leaveFile(own("left"));
    const [bytes, { mtimeMs }] = [readFileSync(blockFile), statSync(blockFile)];
    expect(await leasesOf(blockFile)).toMatchObject([
      { label: "short", state: "expired", remainingMs: 0, isOver: true },
      { label: "long", state: "active", isOver: false },
    ]);
    expect(readFileSync(blockFile).equals(bytes)).toBe(true);
    expect(statSync(blockFile).mtimeMs).toBe(mtimeMs);
  });

  it("tells a record that cannot be read", async () => {
    const blockFile = await leaveFile(own("damaged"));
    const bytes = readFileSync(blockFile);
    // Slot 0's first copy: after two superblocks of 8 blocks each.
    bytes.fill(0, 16 * 512, 17 * 512);
    writeFileSync(blockFile, bytes);
    const { code, stdout } = await cli("leases", blockFile);
    expect(code).toBe(0);
    expect(stdout).toContain("damaged: the record of lease slot 0 is recovered");
  });

  it("refuses what is no block file, and makes none", async () => {
    const folder = own("folder");
    mkdirSync(folder);
    const pipe = own("pipe");
    execFileSync("mkfifo", [pipe]);
    const refused: readonly (readonly [string, string])[] = [
      [own("gone"), "NOT_FOUND"],
      [own("text", "hello"), "CORRUPT_RECORD"],
      [own("empty", ""), "CORRUPT_RECORD"],
      [folder, "INVALID_ARGUMENT"],
      [pipe, "INVALID_ARGUMENT"],
    ];
    const around = readdirSync(own("."));
    for (const [path, code] of refused) {
      const ended = await cli("leases", path);
      expect([ended.code, ended.stdout]).toEqual([1, ""]);
      expect(ended.stderr).toMatch(new RegExp(`^selvage: ${code}: `));
    }
    expect(readdirSync(own("."))).toEqual(around);
  });
});
