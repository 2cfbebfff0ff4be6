/**
 * One side of the jobs benchmark, in a process of its own: `jobs-worker.ts <sides> <jobs> <samples>`. Files stand in the
 * folder for temporary ones, which has to be on a disk: in memory nothing is synced. As `jobs-worker.ts worker <file>` it is the
 * worker of another process.
 */
import { fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { closeSync, fdatasyncSync, mkdtempSync, openSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { JobDraft, QueuedTask } from "@selvage/jobs";
import { JobQueue, SqliteJobStore } from "@selvage/node";
import { serveTurns } from "./children.ts";
import type { Step } from "./harness.ts";
import { openPeer, peerOptions, peerPayload, peerSettings, type PeerSetting } from "./jobs-peer.ts";
import { quantile } from "./statistics.ts";

/** Jobs at a time. */
const lanes = 256;
/** Jobs of one call, where many are made. */
const batchJobs = 1_000;
/** A record of the bare log that durable jobs are held against. */
const recordBytes = 256;
/** A job that says nothing for so long is lost, which no run waits for. */
const resultMs = 120_000;

type Numbers = [a: number, b: number];
type Task = QueuedTask<Numbers, null>;
type Steps = Readonly<Record<string, Step>>;
/** What it measures, by the jobs and the samples that are asked for. */
type Side = (jobs: number, samples: number) => Promise<Steps>;

const folders: string[] = [];

function newFolder(): string {
  const made = mkdtempSync(join(tmpdir(), "selvage-jobs-"));
  folders.push(made);
  return made;
}

function dropFolders(): void {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
}

function declare(queue: JobQueue): Task {
  return queue.task("noop", async (_ctx, _a: number, _b: number) => null);
}

async function withQueue<T>(
  path: string,
  use: (queue: JobQueue, noop: Task) => Promise<T>,
): Promise<T> {
  await using queue = await JobQueue.open({ path });
  return await use(queue, declare(queue));
}

async function inNewFile<T>(use: (queue: JobQueue, noop: Task) => Promise<T>): Promise<T> {
  const folder = newFolder();
  try {
    return await withQueue(join(folder, "jobs.sqlite"), use);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Resolves once so many jobs have completed. */
function completed(queue: JobQueue, jobs: number): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  let done = 0;
  queue.onEvent(({ type }) => {
    if (type === "completed" && ++done === jobs) resolve();
  });
  return promise;
}

function argsOf(jobs: number): Numbers[] {
  return Array.from({ length: jobs }, () => [1, 2]);
}

function stepOf(beginMs: number, endMs: number, ops: number): Step {
  return { ns: (endMs - beginMs) * 1e6, ops, checksum: ops };
}

async function expectCompleted(queue: JobQueue, jobs: number): Promise<void> {
  const { complete } = await queue.stats();
  if (complete < jobs) throw new Error(`completed ${complete} of ${jobs}`);
}

/** The script that the peer was measured by: all jobs are made, then a worker starts and does them. */
async function makeAndDrain(
  queue: JobQueue,
  jobs: number,
  make: () => Promise<unknown>,
): Promise<readonly [made: Step, drained: Step, both: Step]> {
  const done = completed(queue, jobs);
  const begin = performance.now();
  await make();
  const made = performance.now();
  queue.runWorker({ concurrency: lanes });
  await done;
  const end = performance.now();
  await expectCompleted(queue, jobs);
  return [stepOf(begin, made, jobs), stepOf(made, end, jobs), stepOf(begin, end, jobs)];
}

const many: Side = (jobs) =>
  inNewFile(async (queue, noop) => {
    const [manyMade, manyDrained, both] = await makeAndDrain(queue, jobs, () =>
      noop.enqueueMany(argsOf(jobs)),
    );
    return { many: both, manyMade, manyDrained };
  });

const singles: Side = (jobs) =>
  inNewFile(async (queue, noop) => {
    const [, , both] = await makeAndDrain(queue, jobs, () =>
      Promise.all(argsOf(jobs).map((args) => noop.enqueue(args))),
    );
    return { singles: both };
  });

/** As the script of the engine's own measurement does it. */
function peer(name: string, { batchSize, concurrency, isMany }: PeerSetting): Side {
  return async (jobs) => {
    const queue = openPeer(newFolder());
    const begin = performance.now();
    if (isMany)
      queue.enqueueMany(
        "noop",
        Array.from({ length: jobs }, () => ({ payload: peerPayload, options: peerOptions })),
      );
    else for (let job = 0; job < jobs; job++) queue.enqueue("noop", peerPayload, peerOptions);
    const { promise, resolve } = Promise.withResolvers<void>();
    let done = 0;
    const worker = queue.runWorker(
      async () => ({ result: Buffer.from("null") }),
      () => {
        if (++done === jobs) resolve();
      },
      { queues: ["default"], batchSize, tasks: ["noop"], ...(concurrency && { concurrency }) },
    );
    await promise;
    const end = performance.now();
    worker.stop();
    return { [name]: stepOf(begin, end, jobs) };
  };
}

/** Makes many jobs, a batch at a time. `dependsOn` says what the job with this index of all waits for. */
async function fill(
  noop: Task,
  jobs: number,
  dependsOn?: (index: number) => readonly string[],
  priority = 0,
): Promise<string[]> {
  const ids: string[] = [];
  for (let from = 0; from < jobs; from += batchJobs) {
    const args = argsOf(Math.min(batchJobs, jobs - from));
    const made = await noop.enqueueMany(args, (index) => ({
      priority,
      ...(dependsOn && { dependsOn: dependsOn(from + index) }),
    }));
    for (const { id } of made) ids.push(id);
  }
  return ids;
}

const batches: Side = (jobs) =>
  inNewFile(async (queue, noop) => {
    const begin = performance.now();
    await fill(noop, jobs);
    const step = stepOf(begin, performance.now(), jobs);
    const { pending } = await queue.stats();
    if (pending !== jobs) throw new Error(`${pending} are pending, not ${jobs}`);
    return { batches: step };
  });

const flexiqBatchesOnly: Side = async (jobs) => {
  const queue = openPeer(newFolder());
  const begin = performance.now();
  for (let from = 0; from < jobs; from += batchJobs)
    queue.enqueueMany(
      "noop",
      Array.from({ length: Math.min(batchJobs, jobs - from) }, () => ({
        payload: peerPayload,
        options: peerOptions,
      })),
    );
  return { flexiqBatchesOnly: stepOf(begin, performance.now(), jobs) };
};

/** Waits of single jobs, from the call that makes one to its result, with a pause before each. */
async function waits(
  samples: number,
  pauseMs: number,
  run: () => Promise<unknown>,
): Promise<number[]> {
  const all: number[] = [];
  for (let sample = 0; sample < samples; sample++) {
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
    const begin = performance.now();
    await run();
    all.push(performance.now() - begin);
  }
  return all;
}

function waitSteps(name: string, all: readonly number[]): Steps {
  const at = (q: number): Step => ({ ns: quantile(all, q) * 1e6, ops: 1, checksum: all.length });
  return { [`${name}P50`]: at(0.5), [`${name}P99`]: at(0.99) };
}

const within = { timeoutMs: resultMs };

async function once1(noop: Task): Promise<void> {
  const job = await noop.enqueue([1, 2]);
  await job.result(within);
}

const latency: Side = (_jobs, samples) =>
  inNewFile(async (queue, noop) => {
    queue.runWorker();
    await once1(noop);
    return waitSteps("latency", await waits(samples, 3, () => once1(noop)));
  });

/** A worker of another process, at work. */
async function startWorker(path: string): Promise<ChildProcess> {
  const child = fork(fileURLToPath(import.meta.url), ["worker", path], {
    execArgv: ["--conditions=@selvage/source"],
  });
  await once(child, "message");
  return child;
}

async function serveWorker(path: string): Promise<void> {
  await using queue = await JobQueue.open({ path });
  declare(queue);
  queue.runWorker();
  process.send?.("up");
  await once(process, "disconnect");
}

const latencyFar: Side = async (_jobs, samples) => {
  const path = join(newFolder(), "jobs.sqlite");
  const child = await startWorker(path);
  try {
    return await withQueue(path, async (_queue, noop) => {
      await once1(noop);
      return waitSteps("latencyFar", await waits(samples, 3, () => once1(noop)));
    });
  } finally {
    child.disconnect();
    await once(child, "exit");
  }
};

const latencyFlexiq: Side = async (_jobs, samples) => {
  const queue = openPeer(newFolder());
  let tell: (() => void) | undefined;
  const worker = queue.runWorker(
    async () => ({ result: Buffer.from("null") }),
    () => tell?.(),
    { queues: ["default"], batchSize: 1, tasks: ["noop"] },
  );
  const all = await waits(Math.min(samples, 60), 3, () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    tell = resolve;
    queue.enqueue("noop", peerPayload, peerOptions);
    return promise;
  });
  worker.stop();
  return waitSteps("latencyFlexiq", all);
};

const blocked: Side = (jobs, samples) =>
  inNewFile(async (queue, noop) => {
    queue.task("never", async () => null);
    const never = await queue.enqueue("never", [], { delayMs: 3_600_000 });
    await fill(noop, jobs, () => [never.id], 10);
    queue.runWorker();
    await once1(noop);
    return waitSteps("blocked", await waits(samples, 3, () => once1(noop)));
  });

/** Puts jobs that have completed into a file, as a worker would have left them. */
async function fillFinished(path: string, jobs: number): Promise<void> {
  const store = new SqliteJobStore(path);
  const bytes = Uint8Array.of(0xc0);
  const args = Uint8Array.of(0x92, 1, 2);
  const atMs = Date.now();
  for (let from = 0; from < jobs; from += 10_000)
    await store.transact((tx) => {
      for (let job = from; job < Math.min(jobs, from + 10_000); job++)
        tx.insertJob(finished(job, atMs, args, bytes));
    });
  await store.close();
}

function finished(job: number, atMs: number, args: Uint8Array, bytes: Uint8Array): JobDraft {
  const tail = job.toString(16).padStart(12, "0");
  return {
    id: `01800000-0000-7000-8000-${tail}`,
    ...{ task: "noop", queue: "default", priority: 0, createdMs: atMs, dueMs: atMs },
    spec: {
      timeoutMs: 300_000,
      retries: 3,
      baseMs: 1_000,
      factor: 2,
      maxMs: 300_000,
      jitter: "full",
    },
    args: { kind: "inline", bytes: args },
    result: { kind: "inline", bytes },
    ...{ metadata: null, notes: null, uniqueKey: null, expiresMs: null, phase: 4, blockers: 0 },
    ...{ attempts: 1, retriesLeft: 3, epoch: 1, owner: null, isCancelling: false, progress: 100 },
    ...{ startedMs: atMs, endedMs: atMs, because: null, root: null },
  };
}

/** Runs jobs in a file that holds so many finished ones already. */
function after(name: string, before: (jobs: number) => number): Side {
  let path: string | undefined;
  return async (jobs) => {
    if (path === undefined) {
      path = join(newFolder(), "jobs.sqlite");
      await fillFinished(path, before(jobs));
    }
    return withQueue(path, async (queue, noop) => {
      const [, , both] = await makeAndDrain(queue, jobs, () => noop.enqueueMany(argsOf(jobs)));
      return { [name]: both };
    });
  };
}

/** Half of the jobs in chains of ten, half in diamonds of four. */
async function fillGraphs(noop: Task, jobs: number): Promise<void> {
  const chains = Math.ceil(jobs / 20);
  let links = await fill(noop, chains);
  for (let link = 1; link < 10; link++) {
    const before = links;
    links = await fill(noop, chains, (index) => [before[index] as string]);
  }
  const diamonds = Math.ceil(jobs / 8);
  const tops = await fill(noop, diamonds);
  const sides = await fill(noop, 2 * diamonds, (index) => [tops[index >> 1] as string]);
  await fill(noop, diamonds, (index) => sides.slice(2 * index, 2 * index + 2));
}

const graphs: Side = (jobs) =>
  inNewFile(async (queue, noop) => {
    const all = Math.ceil(jobs / 20) * 10 + Math.ceil(jobs / 8) * 4;
    const [graphsMade, graphsDrained] = await makeAndDrain(queue, all, () =>
      fillGraphs(noop, jobs),
    );
    return { graphsMade, graphsDrained };
  });

const plain: Side = (jobs) =>
  inNewFile(async (queue, noop) => {
    const [plainMade, plainDrained] = await makeAndDrain(queue, jobs, () => fill(noop, jobs));
    return { plainMade, plainDrained };
  });

/** Whole jobs, so many in flight: each is made, done, and its result is with whoever made it. */
async function durable(jobs: number, inFlight: number): Promise<Step> {
  return inNewFile(async (queue, noop) => {
    queue.runWorker({ concurrency: lanes });
    await once1(noop);
    let left = jobs;
    const lane = async (): Promise<void> => {
      while (left-- > 0) await once1(noop);
    };
    const begin = performance.now();
    await Promise.all(Array.from({ length: inFlight }, lane));
    const step = stepOf(begin, performance.now(), jobs);
    await expectCompleted(queue, jobs);
    return step;
  });
}

const durableMany: Side = async (jobs) => ({ durableMany: await durable(jobs, lanes) });
const durableSingly: Side = async (_jobs, samples) => ({
  durableSingly: await durable(samples, 1),
});

/** What a disk gives at most to whoever syncs each record. */
const fdatasync: Side = async (_jobs, samples) => {
  const file = openSync(join(newFolder(), "log"), "a");
  const record = Buffer.alloc(recordBytes, 7);
  const begin = performance.now();
  for (let sample = 0; sample < samples; sample++) {
    writeSync(file, record);
    fdatasyncSync(file);
  }
  const step = stepOf(begin, performance.now(), samples);
  closeSync(file);
  return { fdatasync: step };
};

/** A worker runs for days: it is measured once V8 has compiled what it runs. `cold` is `many` without. */
const warmRuns = 8;

function warm(side: Side): Side {
  let left = warmRuns;
  return async (jobs, samples) => {
    while (left-- > 0) await side(jobs, samples);
    return side(jobs, samples);
  };
}

const sides: Readonly<Record<string, Side>> = {
  cold: many,
  many: warm(many),
  singles: warm(singles),
  durableMany: warm(durableMany),
  durableSingly: warm(durableSingly),
  ...{ batches, flexiqBatchesOnly, latency, latencyFar, latencyFlexiq, blocked },
  ...{ graphs, plain, fdatasync },
  ...Object.fromEntries(
    Object.entries(peerSettings).map(([name, setting]) => [name, peer(name, setting)]),
  ),
  afterFew: after("afterFew", (jobs) => 2 * jobs),
  afterMany: after("afterMany", (jobs) => 200 * jobs),
};

function main([names = "", jobs = "", samples = ""]: readonly string[]): void {
  if (names === "worker") return void serveWorker(jobs);
  process.on("exit", dropFolders);
  serveTurns(async () => {
    const steps: Record<string, Step> = {};
    for (const name of names.split(",")) {
      const side = sides[name];
      if (side === undefined) throw new Error(`no side ${name}`);
      globalThis.gc?.();
      Object.assign(steps, await side(Number(jobs), Number(samples)));
    }
    return steps;
  });
}

main(process.argv.slice(2));
