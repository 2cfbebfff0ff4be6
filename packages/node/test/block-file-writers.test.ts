/** Who may write a block file: what is synced first, which names it may have, and a second writer that gets in. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import {
  existsSync,
  linkSync,
  lstatSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { Fabric, fileBlockDevice, isFabricError } from "selvage";
import { afterEach, describe, expect, it } from "vitest";

const folders: string[] = [];

function newFile(): string {
  const folder = mkdtempSync(join(tmpdir(), "selvage-writers-"));
  folders.push(folder);
  return join(folder, "blocks");
}

const original = { fsyncSync: fs.fsyncSync, readSync: fs.readSync };

afterEach(() => {
  Object.assign(fs, original);
  syncBuiltinESMExports();
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

const small = { blocks: 64, memoryBytes: 64 };

function errorOf(act: () => unknown): { code: string; message: string; details: object } {
  try {
    act();
  } catch (thrown) {
    if (isFabricError(thrown)) return thrown;
    throw thrown;
  }
  throw new Error("nothing was thrown");
}

/** Replaces functions of node:fs, for everybody, until the test is over. */
function patch(functions: Partial<typeof original>): void {
  Object.assign(fs, functions);
  syncBuiltinESMExports();
}

describe("a block file that is opened to be written", { timeout: 60_000 }, () => {
  it("is synced before anything is read from it: what a killed process wrote may not be on the disk", async () => {
    const blockFile = newFile();
    await Fabric.open({ blockFile, ...small }).close();
    const { ino } = statSync(blockFile);
    const calls: string[] = [];
    const noted = (what: string, fd: number): void => {
      if (fs.fstatSync(fd).ino === ino) calls.push(what);
    };
    patch({
      fsyncSync(fd) {
        noted("sync", fd);
        original.fsyncSync(fd);
      },
      readSync: ((fd: number, ...rest: never[]) => {
        noted("read", fd);
        return (original.readSync as (...args: unknown[]) => number)(fd, ...rest);
      }) as typeof fs.readSync,
    });
    await Fabric.open({ blockFile }).close();
    expect(calls.slice(0, 2)).toEqual(["sync", "read"]);
    expect(calls).toContain("read");
    calls.length = 0;
    // A reader has nothing to promise, and may not be allowed to.
    await Fabric.open({ blockFile, blockAccess: "read" }).close();
    expect(calls).not.toContain("sync");
  });

  it("is STORE_UNAVAILABLE where that sync fails, and is let go", async () => {
    const blockFile = newFile();
    await Fabric.open({ blockFile, ...small }).close();
    const { ino } = statSync(blockFile);
    patch({
      fsyncSync(fd) {
        if (fs.fstatSync(fd).ino === ino) throw Object.assign(new Error("i/o"), { code: "EIO" });
        original.fsyncSync(fd);
      },
    });
    expect(errorOf(() => Fabric.open({ blockFile }))).toMatchObject({
      code: "STORE_UNAVAILABLE",
      details: { errno: "EIO" },
    });
    patch(original);
    await Fabric.open({ blockFile }).close();
  });

  it("has one name: with a second hard link it is CONFLICT, and is well again without", async () => {
    const blockFile = newFile();
    await Fabric.open({ blockFile, ...small }).close();
    linkSync(blockFile, `${blockFile}2`);
    for (const name of [blockFile, `${blockFile}2`]) {
      const error = errorOf(() => Fabric.open({ blockFile: name }));
      expect(error).toMatchObject({ code: "CONFLICT", details: { links: 2 } });
      expect(error.message).toMatch(/hard links/);
    }
    expect(errorOf(() => fileBlockDevice(blockFile, 4)).code).toBe("CONFLICT");
    unlinkSync(`${blockFile}2`);
    await Fabric.open({ blockFile }).close();
  });

  it("is made without following a link, over a draft that a crash left", async () => {
    const blockFile = newFile();
    const victim = `${blockFile}-victim`;
    writeFileSync(victim, "mine");
    symlinkSync(victim, `${blockFile}.new`);
    await Fabric.open({ blockFile, ...small }).close();
    expect(readFileSync(victim, "utf8")).toBe("mine");
    expect(lstatSync(blockFile).isFile()).toBe(true);
    rmSync(blockFile);
    writeFileSync(`${blockFile}.new`, "half a draft");
    await Fabric.open({ blockFile, ...small }).close();
    expect(existsSync(`${blockFile}.new`)).toBe(false);
    rmSync(blockFile);
    symlinkSync(victim, `${blockFile}.writer`);
    expect(errorOf(() => Fabric.open({ blockFile, ...small })).code).toBe("STORE_UNAVAILABLE");
    expect(readFileSync(victim, "utf8")).toBe("mine");
  });

  it("leaves nothing of its writer once that has closed it", async () => {
    const blockFile = newFile();
    const fabric = Fabric.open({ blockFile, ...small });
    expect(existsSync(`${blockFile}.writer`)).toBe(true);
    await fabric.close();
    expect(readdirSync(join(blockFile, "..")).toSorted()).toEqual(["blocks", "blocks.lock"]);
  });
});

/** A process that opens the file as its writer, grants a lease, and stays until its input ends; its answers, line by line. */
function otherWriter(blockFile: string): { next(): Promise<unknown>; end(): Promise<void> } {
  const source = `
    import { Fabric } from "selvage";
    try {
      const fabric = Fabric.open({ blockFile: ${JSON.stringify(blockFile)} });
      const lease = await fabric.block().leaseSecs(600).label("other").acquire();
      await lease.writeBlock(0, Uint8Array.of(77));
      await lease.flush();
      console.log(JSON.stringify(lease.ticket()));
      for await (const chunk of process.stdin);
      await lease.renew(700_000);
      await fabric.close();
      console.log(JSON.stringify("closed"));
    } catch (error) { console.log(JSON.stringify(error.code ?? String(error))); }`;
  const flags = process.execArgv.filter((flag) => flag.startsWith("--conditions="));
  const child = spawn(process.execPath, [...flags, "--input-type=module", "--eval", source], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const exit = once(child, "exit");
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    async next() {
      const { value, done } = await lines.next();
      return done === true ? undefined : JSON.parse(value);
    },
    async end() {
      child.stdin.end();
      await exit;
    },
  };
}

const block = (byte: number): Uint8Array => new Uint8Array(512).fill(byte);

describe("a lock that was lost", { timeout: 60_000 }, () => {
  it.skipIf(process.platform === "win32")(
    "does not let two writers go on: the first one writes nothing more once the second has opened",
    async () => {
      const blockFile = newFile();
      const fabric = Fabric.open({ blockFile, ...small });
      const lease = await fabric.block().leaseSecs(600).label("first").acquire();
      await lease.writeBlock(0, Uint8Array.of(11));
      await lease.flush();
      const refused = otherWriter(blockFile);
      expect(await refused.next()).toBe("CONFLICT");
      await refused.end();
      // Its descriptor is closed again: the kernel drops every lock that this process has on it.
      readFileSync(`${blockFile}.lock`);
      const other = otherWriter(blockFile);
      const ticket = await other.next();
      expect(ticket).toMatchObject({ kind: "block" });
      const bytes = readFileSync(blockFile);
      const stopped = { code: "STORE_UNAVAILABLE", message: expect.stringContaining("writer") };
      await expect(fabric.block().acquire()).rejects.toMatchObject(stopped);
      await expect(lease.renew(900_000)).rejects.toMatchObject(stopped);
      await expect(lease.writeBlock(0, Uint8Array.of(12))).rejects.toMatchObject(stopped);
      await expect(lease.readBlock(0)).rejects.toMatchObject(stopped);
      lease.release();
      await expect(lease.settle()).rejects.toMatchObject(stopped);
      expect(readFileSync(blockFile).equals(bytes)).toBe(true);
      await fabric.close();
      expect(existsSync(`${blockFile}.writer`)).toBe(true);
      // The second one works on, and what both acknowledged is there.
      await other.end();
      expect(await other.next()).toBe("closed");
      await using again = Fabric.open({ blockFile });
      expect(again.blockDamage()).toEqual([]);
      expect((await (await again.attachBlock(ticket as never)).readBlock(0))[0]).toBe(77);
      const first = again.leases().find(({ label }) => label === "first");
      expect((await (first as typeof lease).readBlock(0))[0]).toBe(11);
    },
  );

  it.each(["write", "read", "flush"] as const)(
    "is noticed by the next %s, which does not resolve, and by each one after it",
    async (what) => {
      const path = newFile();
      const device = fileBlockDevice(path, 4);
      const acts = {
        write: () => device.write(0, block(6)),
        read: () => device.read(0, block(0)),
        flush: () => device.flush(),
      };
      await acts[what]();
      await device.write(0, block(5));
      await device.flush();
      // As another writer would, into the same file.
      writeFileSync(`${path}.writer`, "the id of others");
      for (let time = 0; time < 2; time++)
        await expect(acts[what]()).rejects.toMatchObject({ code: "STORE_UNAVAILABLE" });
      expect(readFileSync(path)[0]).toBe(5);
      device.close();
      expect(readFileSync(`${path}.writer`, "utf8")).toBe("the id of others");
    },
  );
});
