/**
 * `node jobs-process.ts <queue's file> <log> <options>`: a worker process. It runs jobs until SIGTERM, and ends in 0 when all that it
 * had begun has ended, in 3 when it handed some of it back. What it does it writes to the log; one line of stdout says that it works.
 */
import { writeSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import {
  JobQueue,
  openTaskThreads,
  type JobContext,
  type JobQueueEvent,
  type QueuedTask,
} from "selvage";
import { beganLine, lineOf, openLog, type Made, type Stamp } from "./jobs-log.ts";

/** What a process is told. */
export interface ProcessOptions {
  readonly leaseMs: number;
  readonly pollMs: number;
  readonly concurrency?: number;
  readonly drainMs?: number;
}

/** How a process ends whose job ends it. */
export const POISON_EXIT = 9;
/** How one ends that handed jobs back. */
export const HANDED_BACK_EXIT = 3;

/** Arguments by task: results are {@link Made}, of `list` a list of items. */
interface Tasks {
  readonly plain: QueuedTask<[ms: number], Made>;
  readonly flaky: QueuedTask<[failures: number], Made>;
  readonly gather: QueuedTask<[of: readonly Stamp[]], Made>;
  readonly list: QueuedTask<[count: number], number[]>;
  readonly item: QueuedTask<[index: number], Made>;
  readonly long: QueuedTask<[bytes: Uint8Array], Made & { readonly bytes: Uint8Array }>;
  /** A first attempt, and the later ones, that take so long. */
  readonly waits: QueuedTask<[firstMs: number, laterMs: number], Made>;
  /** Blocks its process's loop; silently at the first attempt, if it is told so. */
  readonly busy: QueuedTask<[ms: number, isSilent: boolean], Made>;
  readonly poison: QueuedTask<[], Made>;
  readonly capped: QueuedTask<[ms: number], Made>;
  readonly rated: QueuedTask<[], Made>;
  /** Of a queue of its own. */
  readonly narrow: QueuedTask<[ms: number], Made>;
  readonly far: QueuedTask<[log: string, how: "fine" | "exit"], Made>;
}

/** Most jobs of `capped` at a time, and how many of `rated` may start. */
export const CAP = 2;
export const RATE = { perSecond: 8, burst: 8, text: "8/s" } as const;

const pause = (ctx: JobContext, ms: number): Promise<void> =>
  sleep(ms, undefined, { signal: ctx.signal as AbortSignal });

/** Declares the tasks, the same ones for whoever makes jobs as for those that run them; `fd` is a log. */
export function declareTasks(queue: JobQueue, fd: number): Tasks {
  const made = async (
    ctx: JobContext,
    work: () => unknown,
    of: readonly Stamp[] = [],
  ): Promise<Made> => {
    const { jobId: job, taskName: task, epoch, attempt } = ctx;
    writeSync(fd, beganLine(ctx));
    try {
      await work();
    } finally {
      writeSync(fd, lineOf({ over: job, task, pid: process.pid, epoch }));
    }
    return { job, epoch, attempt, of: of.map((one) => ({ job: one.job, epoch: one.epoch })) };
  };
  const backoff = { delaysMs: [20], jitter: "none" } as const;
  return {
    plain: queue.task("plain", { backoff }, (ctx, ms: number) => made(ctx, () => pause(ctx, ms))),
    flaky: queue.task("flaky", { backoff }, (ctx, failures: number) =>
      made(ctx, () => {
        if (ctx.attempt <= failures) throw new Error(`attempt ${ctx.attempt} of ${failures} bad`);
      }),
    ),
    gather: queue.task("gather", { backoff }, (ctx, of: readonly Stamp[]) =>
      made(ctx, () => {}, of),
    ),
    list: queue.task("list", { backoff }, async (ctx, count: number) => {
      await made(ctx, () => {});
      return Array.from({ length: count }, (_, index) => index);
    }),
    item: queue.task("item", { backoff }, (ctx, index: number) =>
      made(ctx, () => pause(ctx, index)),
    ),
    long: queue.task("long", { backoff }, async (ctx, bytes: Uint8Array) => ({
      ...(await made(ctx, () => {})),
      bytes: bytes.map((byte) => 255 - byte),
    })),
    waits: queue.task("waits", { backoff }, (ctx, firstMs: number, laterMs: number) =>
      made(ctx, () => pause(ctx, ctx.attempt === 1 ? firstMs : laterMs)),
    ),
    busy: queue.task("busy", { backoff }, (ctx, ms: number, isSilent: boolean) =>
      made(ctx, () => block(ctx, ms, isSilent && ctx.attempt === 1)),
    ),
    poison: queue.task("poison", { backoff, retries: 1 }, (ctx) =>
      made(ctx, () => process.exit(POISON_EXIT)),
    ),
    capped: queue.task("capped", { backoff, maxConcurrent: CAP }, (ctx, ms: number) =>
      made(ctx, () => pause(ctx, ms)),
    ),
    rated: queue.task("rated", { backoff, rateLimit: RATE.text }, (ctx) => made(ctx, () => {})),
    narrow: queue.task("narrow", { backoff, queue: "narrow" }, (ctx, ms: number) =>
      made(ctx, () => pause(ctx, ms)),
    ),
    far: queue.task(
      "far",
      { backoff, retries: 1 },
      new URL("./jobs-far-worker.ts", import.meta.url),
    ),
  };
}

// Honest work that never lets the loop turn.
function block(ctx: JobContext, ms: number, isSilent: boolean): void {
  const still = new Int32Array(new SharedArrayBuffer(4));
  const beganMs = performance.now();
  for (;;) {
    const passedMs = performance.now() - beganMs;
    if (passedMs >= ms) return;
    if (!isSilent) ctx.updateProgress((100 * passedMs) / ms);
    Atomics.wait(still, 0, 0, 20);
  }
}

function toldLine(event: JobQueueEvent): string | undefined {
  if (["enqueued", "progress", "paused", "resumed", "trouble"].includes(event.type))
    return undefined;
  const {
    type: told,
    atMs,
    ...rest
  } = event as JobQueueEvent & {
    readonly jobId?: string;
    readonly attempt?: number;
    readonly epoch?: number;
    readonly worker?: string;
  };
  const { jobId, attempt, epoch, worker } = rest;
  const of = { ...(jobId !== undefined && { jobId }), ...(attempt !== undefined && { attempt }) };
  const by = { ...(epoch !== undefined && { epoch }), ...(worker !== undefined && { worker }) };
  return lineOf({ told, pid: process.pid, atMs, ...of, ...by });
}

async function main(path: string, logPath: string, options: ProcessOptions): Promise<number> {
  // Whoever started it is gone: so is what it is for.
  process.stdin.once("end", () => process.exit(1)).resume();
  const { drainMs = 100, ...given } = options;
  const stopping = new AbortController();
  process.once("SIGTERM", () => stopping.abort());
  using log = openLog(logPath);
  await using queue = await JobQueue.open(
    { path, ...given },
    { openRunner: () => openTaskThreads({ threads: 1, heapMiB: 64 }) },
  );
  queue.onEvent((event) => {
    const line = toldLine(event);
    if (line !== undefined) writeSync(log.fd, line);
    if (event.type === "worker-started") writeSync(1, "ready\n");
  });
  declareTasks(queue, log.fd);
  const { status } = await queue.runWorker({ signal: stopping.signal, drainMs });
  return status === "drained" ? 0 : HANDED_BACK_EXIT;
}

if (process.argv[1]?.endsWith("jobs-process.ts") === true) {
  const [, , path = "", log = "", options = "{}"] = process.argv;
  process.exitCode = await main(path, log, JSON.parse(options) as ProcessOptions);
  process.stdin.destroy();
}
