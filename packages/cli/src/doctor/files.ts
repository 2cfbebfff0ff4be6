/** Whether a block file or a SQLite store is sound. */
import { closeSync, openSync, readSync, statSync } from "node:fs";
import { isFabricError, toWire, type FabricError } from "@selvage/fabric";
import { readBlockFile, type BlockFileReading } from "@selvage/node";
import { checkSqliteStore, tablesOf } from "./sqlite.ts";
import type { Finding } from "./finding.ts";
import { recordName } from "../leases-command.ts";
import { checkJobStore } from "./job-store.ts";
import { reapBlockFile } from "./reap.ts";
import { formatBytes } from "../table.ts";

const sqliteHead = "SQLite format 3\0";

/** Looks at a file; with `reaps`, gives back what has expired in it. Says what it finds, and does not throw. */
export async function checkFile(path: string, reaps: boolean): Promise<readonly Finding[]> {
  try {
    if (isSqlite(path)) return await checkSqlite(path, reaps);
    return await checkBlockFile(path, reaps);
  } catch (thrown) {
    return [failedFinding(path, thrown)];
  }
}

function failedFinding(path: string, thrown: unknown): Finding {
  const what = isFabricError(thrown) ? `${thrown.code}: ${thrown.message}` : toWire(thrown).message;
  return { status: "failed", about: path, what };
}

function isSqlite(path: string): boolean {
  if (statSync(path, { throwIfNoEntry: false })?.isFile() !== true) return false;
  const head = Buffer.alloc(sqliteHead.length);
  const fd = openSync(path, "r");
  try {
    readSync(fd, head, 0, head.length, 0);
  } finally {
    closeSync(fd);
  }
  return head.toString("latin1") === sqliteHead;
}

async function checkSqlite(path: string, reaps: boolean): Promise<readonly Finding[]> {
  const findings = checkSqliteStore(path);
  const isSound = findings.every(({ status }) => status === "ok");
  const tables = tablesOf(path);
  const holdsJobs = ["jobs", "workers"].every((name) => tables.includes(name));
  return isSound && holdsJobs ? [...findings, await checkJobStore(path, reaps)] : findings;
}

async function checkBlockFile(path: string, reaps: boolean): Promise<readonly Finding[]> {
  const reading = await readBlockFile(path);
  const findings = [summary(reading), ...reading.damage.map((damage) => damaged(path, damage))];
  if (overOf(reading).length === 0) return findings;
  if (!reaps) return [...findings, notBack(reading)];
  return [...findings, await reaped(path)];
}

function overOf({ leases }: BlockFileReading): BlockFileReading["leases"] {
  return leases.filter(({ isOver }) => isOver);
}

function bytesOf(leases: BlockFileReading["leases"]): number {
  return leases.reduce((sum, { bytes }) => sum + bytes, 0);
}

function summary(reading: BlockFileReading): Finding {
  const { path, leases, numBlocks, hasWriter } = reading;
  const standing = leases.length - overOf(reading).length;
  const writer = hasWriter ? ", a writer has it open or was killed" : "";
  return {
    status: "ok",
    about: path,
    what: `block file of ${formatBytes(numBlocks * 512)}, ${standing} leases stand${writer}`,
    details: { kind: "block file", numBlocks, leases: leases.length, standing, hasWriter },
  };
}

function damaged(path: string, { slot, kind }: BlockFileReading["damage"][number]): Finding {
  const isLost = kind === "lost";
  const what = isLost
    ? `${recordName(slot)} is lost: neither copy can be read`
    : `one copy of ${recordName(slot)} cannot be read, the other one counts`;
  const hint = isLost
    ? "its blocks are not leased any more; copy what is needed into a new file"
    : "the next writer of the file writes the copy anew";
  return {
    status: isLost ? "failed" : "warning",
    about: path,
    what,
    hint,
    details: { slot, damage: kind },
  };
}

function notBack(reading: BlockFileReading): Finding {
  const over = overOf(reading);
  return {
    status: "warning",
    about: reading.path,
    what: `${over.length} leases are over, and their ${formatBytes(bytesOf(over))} not back yet`,
    hint: "the file's writer gives them back; where there is none, `selvage doctor --reap` does",
    details: { over: over.length, bytes: bytesOf(over) },
  };
}

async function reaped(path: string): Promise<Finding> {
  try {
    const { leases, bytes, left } = await reapBlockFile(path);
    const details = { reaped: leases, bytes, left };
    const what = `gave back ${leases} leases, ${formatBytes(bytes)}`;
    if (left === 0) return { status: "ok", about: path, what, details };
    const hint = "the disk may have failed: look at it, then try again";
    return { status: "failed", about: path, what: `${what}; ${left} are left`, hint, details };
  } catch (thrown) {
    if (!isConflict(thrown)) throw thrown;
    return {
      status: "warning",
      about: path,
      what: "a process has it open to write: that one gives back what has expired",
      details: { reaped: 0, inUse: true },
    };
  }
}

function isConflict(thrown: unknown): thrown is FabricError {
  return isFabricError(thrown) && thrown.code === "CONFLICT";
}
