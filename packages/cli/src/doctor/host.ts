/** Whether this machine has what Selvage needs. */
import { availableParallelism } from "node:os";
import { createMemoryProvider } from "@selvage/node";
import { toWire } from "@selvage/fabric";
import type { Finding } from "./finding.ts";

const leastNode = [22, 18] as const;

/** Looks at Node, SQLite, shared memory and waiting. */
export async function checkHost(): Promise<Finding[]> {
  return [checkNode(process.versions.node), checkSqlite(), checkMemory(), await checkWait()];
}

/** Whether a version of Node is one that packages promise to run on. */
export function checkNode(version: string): Finding {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  const [leastMajor, leastMinor] = leastNode;
  const isEnough = major > leastMajor || (major === leastMajor && minor >= leastMinor);
  const about = "node";
  const details = { version };
  if (isEnough)
    return { status: "ok", about, what: `${version}, ${availableParallelism()} threads`, details };
  const least = leastNode.join(".");
  const what = `${version} is older than ${least}`;
  return { status: "failed", about, what, hint: `install Node ${least} or later`, details };
}

function checkSqlite(): Finding {
  const about = "node:sqlite";
  try {
    // Loaded here only: it warns on Node 22.
    const { DatabaseSync } = process.getBuiltinModule("node:sqlite");
    const database = new DatabaseSync(":memory:");
    const row = database.prepare("SELECT sqlite_version() AS version").get();
    database.close();
    const version = String(row?.["version"]);
    return { status: "ok", about, what: `SQLite ${version}`, details: { version } };
  } catch (thrown) {
    return {
      status: "warning",
      about,
      what: `not there: ${toWire(thrown).message}`,
      hint: "job queues, checkpoints, dead letters and block files need it: Node 22.13 or later",
    };
  }
}

function checkMemory(): Finding {
  const about = "shared memory";
  try {
    const { kind } = createMemoryProvider().reserve(65_536, { shared: true });
    const details = { kind };
    if (kind === "wasm")
      return { status: "ok", about, what: "WebAssembly memory, the fastest", details };
    const hint = "lift the limit on address space (`ulimit -v`) for the faster WebAssembly memory";
    return { status: "warning", about, what: "SharedArrayBuffer", hint, details };
  } catch (thrown) {
    return { status: "failed", about, what: `not there: ${toWire(thrown).message}` };
  }
}

async function checkWait(): Promise<Finding> {
  const about = "waiting";
  const words = new Int32Array(new SharedArrayBuffer(4));
  try {
    const waited = Atomics.wait(words, 0, 0, 1);
    // Alone it would not keep the process: the timer that wakes it does.
    setTimeout(() => Atomics.notify(words, 0), 1);
    const woken = await Atomics.waitAsync(words, 0, 0, 10_000).value;
    if (waited !== "timed-out" || woken !== "ok") throw new Error(`${waited}, ${woken}`);
    return { status: "ok", about, what: "Atomics.wait and Atomics.waitAsync" };
  } catch (thrown) {
    return { status: "failed", about, what: `does not work: ${toWire(thrown).message}` };
  }
}
