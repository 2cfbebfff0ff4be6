import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readlinkSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Fabric } from "@selvage/node";
import { describe, expect, it, vi } from "vitest";

const program = fileURLToPath(new URL("./threads/fabric-process.ts", import.meta.url));
const TIMEOUT = { timeout: 60_000 };

function run(mode: string): {
  status: number | null;
  lines: Record<string, unknown>[];
  stderr: string;
} {
  const args = [...process.execArgv, program, mode];
  const { status, stdout, stderr } = spawnSync(process.execPath, args, {
    encoding: "utf8",
    timeout: 50_000,
  });
  const lines = stdout
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  return { status, lines, stderr };
}

describe("a program that ends without closing its fabric", () => {
  it.each([
    ["plain", "which has just leased"],
    ["kept", "whose keeper is at work"],
    ["worker", "on a worker that ends"],
    ["attached", "to which a worker has attached"],
    ["outlived", "of a worker to which the main thread has attached"],
  ])("exits by itself with code 0: %s, %s", TIMEOUT, (mode) => {
    const { status, lines, stderr } = run(mode);
    const exitedMs = Date.now();
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    // Leases of 300 s stand. Five seconds are for a busy machine to stop threads.
    expect(exitedMs - Number(lines.at(-1)?.["ended"])).toBeLessThan(5_000);
  });
});

describe("200 fabrics, opened and disposed of in a row", () => {
  it("leave no thread, no listener and no port behind, and fit in memory", TIMEOUT, () => {
    const { status, lines, stderr } = run("churn");
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    const [left] = lines as unknown as {
      before: { tasks: number; listeners: number };
      after: { tasks: number; listeners: number };
      most: number;
      ports: number;
      rss: number;
    }[];
    expect(left?.after, JSON.stringify(left)).toEqual(left?.before);
    expect(left?.ports).toBe(0);
    expect(left?.rss).toBeLessThan(600 * 2 ** 20);
  });
});

describe("kill -9 of a process with leases", () => {
  it("leaves no file behind, open or on disk", TIMEOUT, async () => {
    const home = mkdtempSync(join(tmpdir(), "selvage-kill-"));
    const shared = readdirSync("/dev/shm").toSorted();
    const args = [...process.execArgv, program, "killed"];
    const env = { ...process.env, TMPDIR: home, HOME: home };
    const child = spawn(process.execPath, args, {
      cwd: home,
      env,
      stdio: ["ignore", "pipe", "inherit"],
    });
    await once(child.stdout, "data");
    const files = `/proc/${child.pid}/fd`;
    const opened = readdirSync(files)
      .map((fd) => readlinkSync(join(files, fd)))
      .filter((name) => name.startsWith("/") && !name.startsWith("/dev/"));
    expect(opened).toEqual([]);
    child.kill("SIGKILL");
    const [, signal] = (await once(child, "exit")) as [number | null, string];
    expect(signal).toBe("SIGKILL");
    expect(readdirSync(home)).toEqual([]);
    expect(readdirSync("/dev/shm").toSorted()).toEqual(shared);
    rmSync(home, { recursive: true });
  });
});

describe("Fabric.open() of this host", () => {
  it("ticks by itself: a lease that nobody renews goes back", async () => {
    using fabric = Fabric.open({ memoryBytes: 1 << 16, blocks: 0, maxLeases: 64 });
    const lease = fabric.mem().leaseMs(30).acquire();
    await vi.waitFor(() => expect(fabric.stats().memory.freeBytes).toBe(1 << 16), 5_000);
    expect([lease.state, fabric.stats().memory.expired]).toEqual(["expired", 1]);
  });

  it("lets ports given to it take the place of the host's", () => {
    using fabric = Fabric.open(
      { memoryBytes: 1 << 16, tick: "manual", maxLeases: 64 },
      { clock: { nowMs: () => 5_000 } },
    );
    expect(fabric.nowMs()).toBe(5_000);
  });

  it("has no keeper when it is ticked by hand, is not shared, or is closed", async () => {
    const small = { memoryBytes: 1 << 16, maxLeases: 64 };
    using manual = Fabric.open({ ...small, tick: "manual" });
    using alone = Fabric.open({ ...small, shared: false });
    const closed = Fabric.open(small);
    await closed.close();
    expect([manual.keeper(), alone.keeper(), closed.keeper()]).toEqual([
      undefined,
      undefined,
      undefined,
    ]);
  });
});
