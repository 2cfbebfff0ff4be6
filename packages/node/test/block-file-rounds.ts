/* oxlint-disable vitest/no-standalone-expect -- called from inside tests only */
/** Rounds in which a program on a block file is killed, and this process takes the file up. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Fabric, type BlockLease, type BlockTicket } from "selvage";
import { expect } from "vitest";
import type { Told } from "./block-file-process.ts";

/** What the program had been told of one lease. */
interface Known {
  ticket: BlockTicket;
  expiresAtMs: number;
  /** What it had last flushed; undefined while nothing, or while another write may be under way. */
  byte: number | undefined;
  fate: "held" | "releasing" | "released";
}

/** What all rounds saw. */
export interface Seen {
  standing: number;
  released: number;
  between: number;
}

const program = fileURLToPath(new URL("./block-file-process.ts", import.meta.url));

/** Disk use of a file, in bytes. */
export const diskUse = (path: string): number => statSync(path).blocks * 512;

/** Lets `ms` pass. */
const pass = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Looks every few milliseconds until `isSo`; the caller's test has a time-out. */
async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await pass(5);
}

/** Runs the program and kills it once it has told `lines` lines, and a little later still. */
async function runAndKill(path: string, seed: number): Promise<Map<string, Known>> {
  const child = spawn(process.execPath, [...process.execArgv, program, path, String(seed)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const lines = 3 + (seed % 37);
  let text = "";
  let isKilled = false;
  child.stdout.setEncoding("utf8").on("data", (part: string) => {
    text += part;
    if (isKilled || text.split("\n").length <= lines) return;
    isKilled = true;
    // Anywhere within the step that follows.
    setTimeout(() => child.kill("SIGKILL"), seed % 7);
  });
  const [, signal] = (await once(child, "close")) as [number | null, string | null];
  expect(signal).toBe("SIGKILL");
  const known = new Map<string, Known>();
  for (const line of text.split("\n").slice(0, -1)) take(known, JSON.parse(line) as Told);
  return known;
}

function take(known: Map<string, Known>, line: Told): void {
  if ("ticket" in line) {
    const ticket = line.ticket as BlockTicket;
    const before = known.get(ticket.leaseId);
    const { expiresAtMs } = line;
    // After a renewal the program may write: what is there is not known until it tells.
    known.set(ticket.leaseId, {
      ticket,
      expiresAtMs,
      byte: undefined,
      fate: before?.fate ?? "held",
    });
    return;
  }
  const lease = known.get(line.leaseId) as Known;
  if (line.told === "written") lease.byte = line.byte;
  else lease.fate = line.told;
}

/** A lease that was told to be held is here with what it held; one that was told to be released is not. */
async function checkLease(fabric: Fabric, known: Known, seen: Seen): Promise<void> {
  let lease: BlockLease | undefined;
  try {
    lease = await fabric.attachBlock(JSON.parse(JSON.stringify(known.ticket)) as BlockTicket);
  } catch (thrown) {
    expect(thrown).toMatchObject({ code: "LEASE_EXPIRED" });
  }
  if (known.fate === "released") {
    expect(lease).toBeUndefined();
    seen.released++;
    return;
  }
  if (lease === undefined) {
    const isOver = known.fate === "releasing" || known.expiresAtMs <= fabric.nowMs();
    expect(isOver, JSON.stringify(known)).toBe(true);
    seen.between++;
    return;
  }
  expect(lease.expiresAtMs).toBeGreaterThanOrEqual(known.expiresAtMs);
  const bytes = new Uint8Array(lease.bytes);
  try {
    await lease.readInto(0, bytes);
  } catch (thrown) {
    // Its deadline came while it was read.
    expect(lease.expiresAtMs).toBeLessThanOrEqual(fabric.nowMs());
    expect(thrown).toMatchObject({ code: "LEASE_EXPIRED" });
    return;
  }
  if (known.byte !== undefined) expect(bytes.every((byte) => byte === known.byte)).toBe(true);
  seen.standing++;
}

/** SIGKILLs the program `rounds` times, on one file, and takes the file up each time. */
export async function killRounds(rounds: number): Promise<Seen> {
  const folder = mkdtempSync(join(tmpdir(), "selvage-blocks-"));
  const path = join(folder, "blocks");
  const seen: Seen = { standing: 0, released: 0, between: 0 };
  const generations = new Map<string, string>();
  try {
    const options = { blockFile: path, blocks: 256, blockLeases: 16, memoryBytes: 64 };
    await Fabric.open(options).close();
    const baseline = diskUse(path);
    for (let round = 1; round <= rounds; round++) {
      const known = await runAndKill(path, round * 2_654_435);
      await using fabric = Fabric.open(options);
      expect(fabric.blockDamage()).toEqual([]);
      for (const [leaseId, one] of known) {
        await checkLease(fabric, one, seen);
        // Nobody else was ever given the same generation of the same slot.
        const { slot, generation } = one.ticket;
        const key = `${slot}.${generation}`;
        expect(generations.get(key) ?? leaseId).toBe(leaseId);
        generations.set(key, leaseId);
      }
      // One TTL later everything has expired by itself.
      const latestMs = Math.max(0, ...fabric.leases().map(({ expiresAtMs }) => expiresAtMs));
      expect(latestMs).toBeLessThanOrEqual(fabric.nowMs() + 1_000);
      await until(() => fabric.stats().blocks.freeBytes === 256 * 512);
      expect(fabric.nowMs()).toBeGreaterThanOrEqual(latestMs);
      for (const { ticket } of known.values())
        await expect(fabric.attachBlock(ticket)).rejects.toMatchObject({ code: "LEASE_EXPIRED" });
      expect(diskUse(path)).toBeLessThanOrEqual(baseline);
      const all = await fabric.block().minBlocks(256).acquire();
      const bytes = new Uint8Array(all.bytes);
      await all.readInto(0, bytes);
      expect(
        bytes.every((byte) => byte === 0),
        "A2",
      ).toBe(true);
      all.release();
      await until(() => fabric.stats().blocks.freeBytes === 256 * 512);
    }
    return seen;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
