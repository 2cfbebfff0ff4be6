/** `JobQueue` with this host's ports filled in. */
import { availableParallelism, hostname } from "node:os";
import { Cron } from "croner";
import {
  JobQueue as PureJobQueue,
  type JobQueueOptions,
  type JobQueuePorts,
  type JobStore,
} from "@selvage/jobs";
import { invalidArgument } from "@selvage/fabric";
import { Fabric } from "./fabric.ts";
import { systemRandom, systemTimer } from "./host-ports.ts";
import { startJobKeeper } from "./job-keeper.ts";
import { jobCodec } from "./job-codec.ts";
import { SqliteJobStore } from "./sqlite-job-store.ts";
import { SystemClock } from "./system-clock.ts";
import { openTaskThreads } from "./task-threads.ts";

const hostPorts: Omit<JobQueuePorts, "keep"> = {
  clock: new SystemClock(),
  monotonicMs: () => performance.now(),
  timer: systemTimer,
  random: systemRandom,
  codec: jobCodec,
  parallelism: availableParallelism(),
  label: `${hostname()}/${process.pid}`,
  nextTurn: () => new Promise((resolve) => void setImmediate(resolve)),
  abortSource: () => new AbortController(),
  cronNextMs: (expression, timezone, afterMs) =>
    new Cron(expression, { timezone, paused: true }).nextRun(new Date(afterMs))?.getTime(),
  openFabric: (memoryBytes) => Fabric.open({ memoryBytes }),
  openRunner: (threads) => openTaskThreads({ threads }),
  warn: (thrown) =>
    process.emitWarning(thrown instanceof Error ? thrown : String(thrown), {
      code: "SELVAGE_JOBS",
    }),
};

/** Options of {@link JobQueue.open}. */
export interface OpenJobQueueOptions extends JobQueueOptions {
  /** The queue's file. It and its folder are made where they are not there. */
  readonly path?: string;
  /** Where jobs are kept instead of a file: `new MemoryJobStore()`, for one. */
  readonly store?: JobStore;
}

/**
 * Durable jobs in one SQLite file, for any number of processes of this machine. See `docs/jobs.md`.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { mkdtempSync, rmSync } from "node:fs";
 * import { tmpdir } from "node:os";
 * import { join } from "node:path";
 * import { from, JobQueue } from "selvage";
 *
 * const folder = mkdtempSync(join(tmpdir(), "selvage-"));
 * {
 *   await using queue = await JobQueue.open({ path: join(folder, "jobs.sqlite") });
 *   const length = queue.task("length", async (_ctx, text: string) => text.length);
 *   const add = queue.task("add", async (_ctx, a: number, b: number) => a + b);
 *
 *   const [one, two] = [await length.enqueue(["selvage"]), await length.enqueue(["edge"])];
 *   const sum = await add.enqueue([from(one), from(two)]);
 *   queue.runWorker();
 *   assert.equal(await sum.result({ timeoutMs: 10_000 }), 11);
 * }
 * rmSync(folder, { recursive: true });
 * ```
 */
export class JobQueue extends PureJobQueue {
  /**
   * Opens a queue. Ports given here take the host's place.
   * @throws FabricError `INVALID_ARGUMENT`, `UNSUPPORTED`, `STORE_UNAVAILABLE`, `CORRUPT_RECORD`.
   */
  static async open(
    options: OpenJobQueueOptions,
    ports: Partial<JobQueuePorts> = {},
  ): Promise<JobQueue> {
    if (typeof options !== "object" || options === null)
      throw invalidArgument("options", "an object", options);
    const { path, store: given, ...rest } = options;
    if ((path === undefined) === (given === undefined))
      throw invalidArgument("options", "a path or a store", { path, store: given });
    const store = given ?? new SqliteJobStore(path as string);
    const keeper = store instanceof SqliteJobStore ? { keep: startJobKeeper } : {};
    try {
      return new JobQueue(store, { ...hostPorts, ...keeper, ...ports }, rest);
    } catch (thrown) {
      if (given === undefined) await store.close();
      throw thrown;
    }
  }
}
