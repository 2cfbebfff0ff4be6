// One setup at a time: two commands started together must not both write node_modules.
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";

const POLL_MS = 200;
const WAIT_MS_MAX = 15 * 60_000;

/**
 * Runs `work` while no other process of this checkout does.
 *
 * The lock is a directory that is moved into place whole, with its owner's name inside. A move onto a directory that is
 * not empty fails, which is what makes taking it atomic.
 *
 * @param {string} root
 * @param {() => void} work
 */
export async function withSetupLock(root, work) {
  const cache = join(root, ".cache");
  const lock = join(cache, "setup.lock");
  const mine = `${process.pid}-${Date.now()}`;
  const prepared = join(cache, `setup.${mine}`);
  mkdirSync(prepared, { recursive: true });
  writeFileSync(join(prepared, "owner"), mine);
  try {
    await take(prepared, lock);
    work();
  } finally {
    rmSync(prepared, { recursive: true, force: true });
    if (ownerOf(lock) === mine) rmSync(lock, { recursive: true, force: true });
  }
}

/** @param {string} prepared @param {string} lock */
async function take(prepared, lock) {
  const started = Date.now();
  let said = false;
  for (;;) {
    if (move(prepared, lock)) return;
    const owner = ownerOf(lock);
    // The name of the dead owner is in the target, so of two that bury it only one succeeds; and neither can bury a
    // living successor, because the grave is taken.
    if (owner !== undefined && !isAlive(owner)) move(lock, `${lock}.${owner}.dead`);
    else if (Date.now() - started > WAIT_MS_MAX)
      throw new Error(`waited ${WAIT_MS_MAX / 60_000} minutes for ${lock}`);
    else if (!said) {
      process.stderr.write(
        `setup: waiting for process ${owner?.split("-")[0] ?? "?"}, which is installing\n`,
      );
      said = true;
    }
    await sleep(POLL_MS);
  }
}

/** @param {string} from @param {string} to */
function move(from, to) {
  try {
    renameSync(from, to);
    return true;
  } catch (error) {
    const taken = ["ENOTEMPTY", "EEXIST", "EPERM", "ENOENT"];
    if (error instanceof Error && "code" in error && taken.includes(String(error.code)))
      return false;
    throw error;
  }
}

/** @param {string} lock */
function ownerOf(lock) {
  try {
    return readFileSync(join(lock, "owner"), "utf8");
  } catch {
    return undefined;
  }
}

/** @param {string} owner `pid-time` */
function isAlive(owner) {
  try {
    process.kill(Number(owner.split("-")[0]), 0);
    return true;
  } catch (error) {
    return error instanceof Error && "code" in error && error.code === "EPERM";
  }
}
