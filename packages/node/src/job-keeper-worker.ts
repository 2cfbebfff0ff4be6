/** What a job worker's keeper runs: it says in the store that the worker is alive, for as long as its work advances. */
import { parentPort, workerData } from "node:worker_threads";
import { SqliteFile } from "./sqlite-file.ts";
import { SystemClock } from "./system-clock.ts";

/** What a keeper starts with. */
export interface JobKeeperData {
  readonly path: string;
  readonly worker: string;
  readonly beatMs: number;
  /** One word, which rises as the work advances. */
  readonly stamp: SharedArrayBuffer;
}

const { path, worker, beatMs, stamp } = workerData as JobKeeperData;
const words = new Int32Array(stamp);
const file = new SqliteFile(path, "");
const clock = new SystemClock();
let seen = Atomics.load(words, 0);

const timer = setInterval(() => {
  const now = Atomics.load(words, 0);
  // Neither the loop nor any work has moved: the worker's silence is to be seen.
  if (now === seen) return;
  try {
    const isKnown = file.run((database) => {
      const beat = database.prepare(
        "UPDATE workers SET beats = beats + 1, beat_ms = ? WHERE id = ?",
      );
      return beat.run(clock.nowMs(), worker).changes === 1;
    });
    seen = now;
    if (!isKnown) parentPort?.postMessage("lost");
  } catch (error) {
    // The next beat tries again. A store that cannot be written for a TTL gives the worker up.
    process.emitWarning(error as Error, { code: "SELVAGE_JOB_KEEPER" });
  }
}, beatMs);

parentPort?.once("message", () => {
  clearInterval(timer);
  file.close();
});
