/** Rounds in which a worker thread is killed, in a state that the round names, by its owner or by itself. */
import { MemoryOutputStore, BlockOutputStore, type OutputStore } from "@selvage/jobs";
import { Executor, Fabric, JobCoordinator, openTaskThreads, type TaskThreads } from "@selvage/node";
import { TaskGraph, type RunningTask, type TaskHost, type TaskRunner } from "@selvage/batch";
import { FabricKvStore } from "@selvage/collections";
import { rawCodec } from "@selvage/fabric";
import { setTimeout as delay } from "node:timers/promises";

/** Where the thread is when it dies. */
type KillState = "queued" | "starting" | "running" | "committing" | "done";
const states: readonly KillState[] = ["queued", "starting", "running", "committing", "done"];

const kill = (running: RunningTask): void => running.terminate();
const raw = (name: string) => ({ name, format: "raw" }) as const;

const module = (query: Readonly<Record<string, string>>): URL => {
  const url = new URL("./kill-worker.ts", import.meta.url);
  for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
  return url;
};

/** Hands requests on, and kills threads on the way: as `plan` says of the nth request, from 0. */
function killing(
  pool: TaskThreads,
  plan: (nth: number) => {
    readonly onRun?: (running: RunningTask) => void;
    readonly onStarted?: (running: RunningTask) => void;
    readonly onAcquire?: (running: RunningTask) => void;
  },
): TaskRunner {
  let count = 0;
  return {
    warm: (threads) => pool.warm(threads),
    close: () => Promise.resolve(),
    run(request, host) {
      const { onRun, onStarted, onAcquire } = plan(count++);
      const watched: TaskHost = {
        progress: (fraction) => host.progress(fraction),
        log: (message) => host.log(message),
        started(thread) {
          host.started(thread);
          onStarted?.(running);
        },
        acquire(output, bytes) {
          const room = host.acquire(output, bytes);
          onAcquire?.(running);
          return room;
        },
      };
      const running = pool.run(request, watched);
      onRun?.(running);
      return running;
    },
  };
}

interface Round {
  readonly pool: TaskThreads;
  readonly fabric: Fabric;
  readonly state: KillState;
  readonly isSelf: boolean;
  readonly random: () => number;
}

function runnerOf({ pool, state, isSelf, random }: Round): TaskRunner {
  return killing(pool, (nth) => {
    if (nth > 0 || isSelf) return {};
    switch (state) {
      case "queued":
        return { onRun: kill };
      case "starting":
        return { onRun: (running) => void delay(random() * 30).then(() => kill(running)) };
      case "running":
        return { onStarted: kill };
      case "committing":
        return { onAcquire: kill };
      case "done":
        return { onRun: (running) => void running.reply.then(() => kill(running)) };
    }
  });
}

function moduleOf({ state, isSelf, random }: Round): URL {
  // Under the next request, or between two.
  return module(isSelf ? { dies: state, ms: String(Math.floor(random() * 20)) } : {});
}

/** A graph whose second task dies once; gives its attempts. */
async function taskRound(round: Round): Promise<number> {
  let seen: number[] = [];
  const graph = new TaskGraph();
  const make = graph.addTask({
    name: "make",
    outputs: [raw("x")],
    run: () => ({ x: Uint8Array.of(1, 2, 3) }),
  });
  const far = graph.addTask({
    name: "far",
    retries: 2,
    backoff: { baseMs: 1 },
    inputs: [raw("x")],
    outputs: [raw("y")],
    run: moduleOf(round),
  });
  const read = graph.addTask({
    name: "read",
    inputs: [raw("y")],
    run: (context) => void (seen = [...context.input("y")]),
  });
  graph.addDependency(make, far);
  graph.addDependency(far, read);
  const result = await Executor.run(
    graph.build(),
    { fabric: round.fabric, teardown: "eager", ttlMs: 5_000 },
    { openRunner: () => runnerOf(round) },
  );
  if (result.status !== "succeeded" || seen.join() !== "2,3,4")
    throw new Error(`a task killed ${round.state}: ${result.status} with ${seen.join()}`);
  const { leased, returned } = result.bytes;
  if (leased !== returned)
    throw new Error(`a task killed ${round.state}: ${leased} of ${returned}`);
  return result.tasks[1]?.attempts ?? 0;
}

/** A job of one chunk whose thread dies once; gives its attempts. */
async function chunkRound(round: Round): Promise<number> {
  const { attempts, aggregate } = await new JobCoordinator({ retries: 2, baseMs: 1 }).run(
    [Uint8Array.of(1, 2, 3)],
    new MemoryOutputStore(),
    moduleOf(round),
    (outputs) => outputs.map(({ bytes }) => bytes.join()).join(" "),
    { fabric: round.fabric, runner: runnerOf(round), ttlMs: 5_000 },
  );
  if (aggregate !== "2,3,4") throw new Error(`a chunk killed ${round.state}: ${aggregate}`);
  return attempts;
}

/** Has all threads of the pool at work until the returned function is called. */
async function occupy(
  pool: TaskThreads,
  fabric: Fabric,
  threads: number,
): Promise<() => Promise<void>> {
  const blockers = Array.from({ length: threads }, (_, at) => {
    const { promise, resolve } = Promise.withResolvers<void>();
    const running = pool.run(
      {
        ...{ module: module({ block: "1" }).href, task: `block ${at}`, attempt: 1, epoch: 1 },
        ...{ fabric: fabric.ticket(), inputs: [], outputs: [] },
      },
      {
        started: () => resolve(),
        acquire: () => {
          throw new Error("blockers make nothing");
        },
        progress() {},
        log() {},
      },
    );
    return { running, started: promise };
  });
  await Promise.all(blockers.map(({ started }) => started));
  return async () => {
    for (const { running } of blockers) running.abort("enough");
    await Promise.all(blockers.map(({ running }) => running.reply));
  };
}

/** Throws unless all that a round had is back, within a time that no machine needs. */
async function checkNothingLeft(pool: TaskThreads, fabric: Fabric, threads: number): Promise<void> {
  const left = (): string => {
    const { capacityBytes, freeBytes } = fabric.stats().memory;
    const { working, queued, threads: there } = pool.stats;
    const leases = fabric.leases().length;
    const isWell = capacityBytes === freeBytes && working + queued + leases === 0;
    return isWell && there <= threads
      ? ""
      : `${leases} leases, ${capacityBytes - freeBytes} bytes, ${working} at work, ${queued} queued, ${there} threads`;
  };
  for (let waitedMs = 0; left() !== ""; waitedMs += 10) {
    if (waitedMs > 30_000) throw new Error(`left behind: ${left()}`);
    await delay(10);
  }
}

/** A random number from 0 to below 1 at each call, the same ones for a seed. */
function randomOf(seed: number): () => number {
  let state = seed | 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}

/** What rounds of {@link killRounds} came to. */
export interface KillCounts {
  /** Rounds by state. */
  readonly rounds: Readonly<Record<KillState, number>>;
  /** Rounds in which the killed request was worked on again. */
  readonly again: Readonly<Record<KillState, number>>;
  /** Threads that were left when the pool was closed. */
  readonly threadsLeft: number;
}

/** Kills a thread of a pool of two in every state in turn, of a graph's task and of a job's chunk. Throws at the first wrong outcome or leak. */
export async function killRounds(rounds: number, seed: number): Promise<KillCounts> {
  const threads = 2;
  const random = randomOf(seed);
  const none = { queued: 0, starting: 0, running: 0, committing: 0, done: 0 };
  const counts = { rounds: { ...none }, again: { ...none } };
  const pool = openTaskThreads({ threads });
  using fabric = Fabric.open({ memoryBytes: 1 << 20 });
  for (let at = 0; at < rounds; at++) {
    const state = states[at % states.length] as KillState;
    const canSelf = state !== "queued" && state !== "starting";
    const round = { pool, fabric, state, isSelf: canSelf && random() < 0.5, random };
    if (state === "starting") {
      await pool.resize(0);
      await pool.resize(threads);
    }
    const release = state === "queued" ? await occupy(pool, fabric, threads) : undefined;
    const isTask = Math.floor(at / states.length) % 2 === 0;
    const run = isTask ? taskRound(round) : chunkRound(round);
    // What waits is killed before the threads are free.
    await Promise.all([run, delay(5).then(() => release?.())]);
    const attempts = await run;
    counts.rounds[state]++;
    if (attempts > 1) counts.again[state]++;
    // A leftover exit may hit what runs here next; any other kill hits its own request, once.
    if (attempts > (state === "done" ? 1 : 2) && !round.isSelf)
      throw new Error(`round ${at}: killed ${state} once, ${attempts} attempts`);
    await checkNothingLeft(pool, fabric, threads);
    // Its exit is still to come, and must not hit what the next round begins.
    if (state === "done" && round.isSelf) {
      await pool.resize(0);
      await pool.resize(threads);
    }
  }
  await pool.close();
  return { ...counts, threadsLeft: pool.stats.threads };
}

/** What rounds of {@link chunkKillRounds} came to. */
export interface ChunkKillCounts {
  readonly killed: number;
  readonly attempts: number;
  readonly chunks: number;
}

/**
 * Kills threads in mid-chunk, up to `killsMax` a round, while a job of twelve chunks runs, eight of them equal in pairs. Throws unless each chunk has one output,
 * and the aggregate is exact.
 */
export async function chunkKillRounds(
  rounds: number,
  seed: number,
  killsMax: number,
): Promise<ChunkKillCounts> {
  const random = randomOf(seed);
  const counts = { killed: 0, attempts: 0, chunks: 0 };
  await using pool = openTaskThreads({ threads: 2 });
  using fabric = Fabric.open({ memoryBytes: 1 << 20, blocks: 1_024 });
  const work = module({ work: "5" });
  for (let at = 0; at < rounds; at++) {
    const chunks = [0, 0, 1, 1, 2, 2, 3, 3, 4, 5, 6, 7].map((value) =>
      Uint8Array.of(value, at & 0x7f, 9),
    );
    const expected = chunks.map((bytes) => bytes.map((byte) => byte + 1).join()).join(" ");
    const kills = new Set(Array.from({ length: killsMax }, () => Math.floor(random() * 12)));
    const runner = killing(pool, (nth) => {
      if (!kills.has(nth)) return {};
      const afterMs = random() * 5;
      return {
        onStarted(running) {
          counts.killed++;
          void delay(afterMs).then(() => running.terminate());
        },
      };
    });
    await using disk = at % 2 === 0 ? undefined : await openDisk(fabric);
    const counted = countFirsts(disk?.store ?? new MemoryOutputStore());
    const coordinator = new JobCoordinator({ retries: 8, baseMs: 1 });
    const { aggregate, attempts } = await coordinator.run(
      ...([chunks, counted.store, work] as const),
      (outputs) => outputs.map(({ bytes }) => bytes.join()).join(" "),
      { fabric, runner, ttlMs: 5_000, concurrency: 3 },
    );
    if (aggregate !== expected) throw new Error(`round ${at}: ${aggregate}, not ${expected}`);
    const firsts = [...counted.firsts.values()];
    if (firsts.length !== 12 || firsts.some((count) => count !== 1))
      throw new Error(`round ${at}: outputs stored ${firsts.join()} times`);
    counts.attempts += attempts;
    counts.chunks += chunks.length;
  }
  return counts;
}

/** A store on blocks, given back at the end. */
async function openDisk(
  fabric: Fabric,
): Promise<AsyncDisposable & { readonly store: OutputStore }> {
  const blocks = await fabric.block().minBlocks(128).leaseSecs(60).acquire();
  const mem = fabric.mem().minBytes(16_384).leaseSecs(60).acquire();
  const kv = await FabricKvStore.fromLeases(mem, blocks, { value: rawCodec });
  return {
    store: new BlockOutputStore(kv),
    async [Symbol.asyncDispose]() {
      await kv.close();
      mem.release();
      blocks.release();
    },
  };
}

/** Counts how often an output of each chunk was the first. */
function countFirsts(store: OutputStore): { store: OutputStore; firsts: Map<string, number> } {
  const firsts = new Map<string, number>();
  const counting: OutputStore = {
    has: (id) => store.has(id),
    get: (id) => store.get(id),
    async put(id, output) {
      const isFirst = await store.put(id, output);
      if (isFirst) firsts.set(id, (firsts.get(id) ?? 0) + 1);
      return isFirst;
    },
  };
  return { store: counting, firsts };
}
