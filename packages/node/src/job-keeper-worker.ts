/** What a job worker's keeper runs: it says in the store that the worker is alive, for as long as its work advances. */
import { parentPort, workerData } from "node:worker_threads";

/** What a keeper starts with. */
export interface JobKeeperData {
  readonly path: string;
  readonly worker: string;
  readonly beatMs: number;
  /** One word, which rises as the work advances. */
  readonly stamp: SharedArrayBuffer;
}

/** What a keeper says: it can begin; the store no longer knows the worker. */
export type KeeperSaid = "ready" | "lost";
/** What it is told: the store knows the worker; it is over. */
export type KeeperTold = "begin" | "stop";

// Asked for, as the stores do: a build may take the prefix of an import away.
const { DatabaseSync } = process.getBuiltinModule("node:sqlite");
/** How long a beat waits for another's transaction, in milliseconds. */
const busyMs = 5_000;

const { path, worker, beatMs, stamp } = workerData as JobKeeperData;
const words = new Int32Array(stamp);
// A beat need not outlive a power cut: nothing is alive after one. It is not synced.
const database = new DatabaseSync(path, { timeout: busyMs });
database.exec("PRAGMA synchronous = NORMAL");
const update = database.prepare("UPDATE workers SET beats = beats + 1, beat_ms = ? WHERE id = ?");
let seen = Atomics.load(words, 0);
let timer: NodeJS.Timeout | undefined;

function say(what: KeeperSaid): void {
  parentPort?.postMessage(what);
}

function beat(): void {
  const now = Atomics.load(words, 0);
  // Neither the loop nor any work has moved: the worker's silence is to be seen.
  if (now === seen) return;
  try {
    const { changes } = update.run(Date.now(), worker);
    seen = now;
    if (changes !== 1) say("lost");
  } catch (error) {
    // The next beat tries again. A store that cannot be written for a TTL gives the worker up.
    process.emitWarning(error as Error, { code: "SELVAGE_JOB_KEEPER" });
  }
}

parentPort?.on("message", (told: KeeperTold) => {
  if (told === "begin") {
    timer = setInterval(beat, beatMs);
    return;
  }
  clearInterval(timer);
  database.close();
  parentPort?.close();
});
say("ready");
