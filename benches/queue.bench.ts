/**
 * Question: what does a message from thread to thread cost, by size, and how late does it come?
 *
 * Workload: one sender, one receiver, on one thread or two. Every message is copied in and copied out, its number
 * checked; in a round that is not timed every byte is. Senders stay within the capacity; whoever has to wait spins 200
 * times and then sleeps until woken. Throughput: a turn's messages by its time, the receiver's end included. Latency: half
 * a round trip of single messages.
 * Baselines: `ringbuf.js`, a naive shared buffer, `postMessage` by clone and by transfer, node streams; and with batches
 * against ours, which publishes 16 messages together: `ringbuf.js` with 16 at a time, and `postMessage` with 16 packed.
 * Not measured: more than two threads; what a receiver does with its messages.
 */
import { once } from "node:events";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { logChart } from "./curve.ts";
import { Samples, type Effort, type Result, type Step, type Target } from "./harness.ts";
import { OURS, OURS_MANY, OURS_RECORDS, workloadsFor } from "./queue-subjects.ts";
import type { Call } from "./queue-stage.ts";
import type { Workload } from "./queue-workload.ts";
import { quantile } from "./statistics.ts";
import { atLeast, type Suite } from "./suite.ts";

const SIZES = [8, 64, 256, 1_024, 4_096, 65_536];
const ROUNDS = 7;
const WARMUPS = 2;
const SECONDS = 60;
/** A ring stays within the second-level cache, as far as its messages let it. */
const RING_BYTES = 2 ** 18;
const MESSAGES_MAX = 2 ** 20;

/** How many messages of a size a ring has room for. */
export function capacityFor(size: number): number {
  return Math.max(16, Math.min(1_024, Math.floor(RING_BYTES / size)));
}

/** All subjects at one size, and how long. */
export interface Plan {
  readonly size: number;
  readonly threads: 1 | 2;
  readonly capacity: number;
  readonly rounds: number;
  readonly warmups: number;
  /** How long one turn should take, in milliseconds; 0: two messages are enough. */
  readonly turnMs: number;
  readonly roundTrips: number;
  readonly workloads: readonly Workload[];
  readonly progress: (line: string) => void;
}

/** A subject on its own thread, at one size, ready to take turns. */
export class Stage {
  readonly name: string;
  readonly #worker: Worker;

  constructor(name: string) {
    this.name = name;
    this.#worker = new Worker(new URL("./queue-stage.ts", import.meta.url), { workerData: name });
  }

  async enter({ size, capacity, threads }: Plan): Promise<void> {
    await this.#call({ call: "enter", size, capacity, threads });
    await this.#call({ call: "verify" });
  }

  async turn(messages: number): Promise<Step> {
    return (await this.#call({ call: "turn", messages })) as Step;
  }

  /** Undefined where messages go one way only. */
  async roundTripsUs(count: number): Promise<readonly number[] | undefined> {
    return (await this.#call({ call: "roundTrips", count })) as readonly number[] | undefined;
  }

  async leave(): Promise<void> {
    await this.#call({ call: "leave" });
  }

  async end(): Promise<void> {
    await this.#worker.terminate();
  }

  async #call(call: Call): Promise<unknown> {
    const answer = once(this.#worker, "message");
    this.#worker.postMessage(call);
    return ((await answer) as [unknown])[0];
  }
}

/** So many messages that a turn takes its time: found by doubling. */
async function calibrate(stage: Stage, { turnMs, capacity }: Plan): Promise<number> {
  if (turnMs === 0) return 2;
  for (let messages = Math.max(2, capacity >> 1); ; messages *= 2) {
    const { ns } = await stage.turn(messages);
    if (ns >= turnMs * 5e5 || messages >= MESSAGES_MAX)
      return Math.max(2, Math.min(MESSAGES_MAX, Math.round((messages * turnMs * 1e6) / ns)));
  }
}

interface Latency {
  readonly p50Us: number;
  readonly p99Us: number;
}

/** All subjects at one size and number of threads, taking turns. */
export async function measure(
  plan: Plan,
  stages: readonly Stage[],
): Promise<{ readonly samples: Samples; readonly latencies: ReadonlyMap<string, Latency> }> {
  const { size, threads, rounds, warmups, roundTrips, progress } = plan;
  const samples = new Samples();
  const latencies = new Map<string, Latency>();
  const about = `${size} B, ${threads} ${threads === 1 ? "thread" : "threads"}`;
  const messages: number[] = [];
  for (const stage of stages) {
    progress(`${about}: ${stage.name} starts`);
    await stage.enter(plan);
    messages.push(await calibrate(stage, plan));
  }
  for (let round = -warmups; round < rounds; round++) {
    progress(`${about}: ${round < 0 ? "warming up" : `round ${round + 1} of ${rounds}`}`);
    for (let turn = 0; turn < stages.length; turn++) {
      const at = (round + warmups + turn) % stages.length;
      const stage = stages[at] as Stage;
      const step = await stage.turn(messages[at] as number);
      if (round >= 0) samples.add(stage.name, "op", step);
    }
  }
  for (const stage of stages) {
    progress(`${about}: ${stage.name}, round trips`);
    const times = await stage.roundTripsUs(roundTrips);
    if (times !== undefined) {
      const steady = times.slice(times.length >> 2).map((us) => us / 2);
      latencies.set(stage.name, { p50Us: quantile(steady, 0.5), p99Us: quantile(steady, 0.99) });
    }
    await stage.leave();
  }
  return { samples, latencies };
}

/** Floors against JavaScript peers, by threads and size. */
const floors: Readonly<Record<string, Readonly<Record<string, number>>>> = {
  "2/64": { "ringbuf.js": 6, postMessage: 40 },
  "2/256": { "ringbuf.js": 7, postMessage: 20 },
  "2/4096": { "ringbuf.js": 11, postMessage: 6 },
  "1/64": { "ringbuf.js": 7 },
  "1/256": { "ringbuf.js": 6 },
  "1/4096": { "ringbuf.js": 10 },
};
/** Of the slots' throughput. */
const RECORDS_FLOOR = 0.65;

function targetsOf(
  subject: string,
  { size, threads }: Plan,
  ratios: Readonly<Record<string, number>>,
): readonly Target[] {
  if (subject === OURS_RECORDS && threads === 2 && size >= 64 && size <= 4_096)
    return [atLeast(OURS, ratios[OURS] ?? 0, RECORDS_FLOOR)];
  if (!subject.startsWith(OURS) || subject === OURS_RECORDS || subject === OURS_MANY) return [];
  const special = floors[`${threads}/${size}`] ?? {};
  return Object.entries(ratios).map(([peer, ratio]) => atLeast(peer, ratio, special[peer] ?? 1));
}

function resultsOf(
  plan: Plan,
  { samples, latencies }: Awaited<ReturnType<typeof measure>>,
): readonly Result[] {
  const { size, threads, workloads } = plan;
  const ours = workloads.map(({ name }) => name).filter((name) => name.startsWith(OURS));
  return workloads.map(({ name }) => {
    const others = workloads.map((workload) => workload.name).filter((peer) => peer !== name);
    const isVariant = name === OURS_RECORDS || name === OURS_MANY;
    const peersOf = isVariant
      ? [OURS, "ringbuf.js"]
      : others.filter((peer) => !ours.includes(peer));
    const peers = ours.includes(name)
      ? Object.fromEntries(peersOf.map((peer) => [peer, [peer, "op"] as const]))
      : {};
    const row = samples.result({ suite: "queue", name, subject: name, step: "op", peers });
    const latency = latencies.get(name);
    return {
      ...row,
      label: `${threads} ${threads === 1 ? "thread " : "threads"} ${String(size).padStart(6)} B  ${name}`,
      size,
      threads,
      opsPerSecond: 1e9 / row.value,
      p50Us: latency?.p50Us ?? null,
      p99Us: latency?.p99Us ?? null,
      targets: targetsOf(name, plan, row.ratios),
    };
  });
}

export const queueSuite: Suite = {
  name: "queue",
  question: "What does a message from thread to thread cost, by size, and how late does it come?",
  async run(effort: Effort) {
    const { smoke, rounds = ROUNDS, progress, out, queue = {} } = effort;
    const sizes = queue.sizes ?? (smoke ? [8, 65_536] : SIZES);
    const threadCounts = queue.threads ?? [1, 2];
    const workloads = workloadsFor(queue.codec ?? "raw");
    const cells = sizes.length * threadCounts.length * workloads.length;
    // Starting and calibrating take about as long as six rounds.
    const turnMs = ((queue.seconds ?? SECONDS) * 1_000) / (cells * (rounds + WARMUPS + 6));
    const stages = workloads.map(({ name }) => new Stage(name));
    const results: Result[] = [];
    try {
      for (const size of sizes)
        for (const threads of threadCounts) {
          const plan: Plan = {
            size,
            threads,
            capacity: queue.capacity ?? capacityFor(size),
            rounds: smoke ? 1 : rounds,
            warmups: smoke ? 0 : WARMUPS,
            turnMs: smoke ? 0 : turnMs,
            roundTrips: smoke ? 8 : 2_000,
            workloads,
            progress,
          };
          results.push(...resultsOf(plan, await measure(plan, stages)));
        }
    } finally {
      for (const stage of stages) await stage.end();
    }
    drawCharts(results, out);
    return queue.compare === undefined ? results : compared(results, queue.compare);
  },
};

/** Messages a second by size, one chart a number of threads. */
function drawCharts(results: readonly Result[], folder: string): void {
  mkdirSync(folder, { recursive: true });
  for (const threads of [1, 2]) {
    const rows = results.filter((result) => result.threads === threads);
    const sizes = [...new Set(rows.map(({ size = 0 }) => size))];
    if (sizes.length < 2) continue;
    const names = [...new Set(rows.map(({ name }) => name))];
    const lines = names.map((name, index) => ({
      name,
      color: `hsl(${Math.round((index * 360) / names.length)} 65% 42%)`,
      values: sizes.map(
        (size) => rows.find((row) => row.name === name && row.size === size)?.opsPerSecond ?? 0,
      ),
    }));
    const title = `Messages a second, ${threads} ${threads === 1 ? "thread" : "threads"}`;
    const file = join(folder, `queue-${threads}.svg`);
    writeFileSync(
      file,
      logChart(
        title,
        "messages/s",
        sizes.map((size) => `${size} B`),
        lines,
      ),
    );
    process.stderr.write(`queue: drew ${file}\n`);
  }
}

/** Each result with its ratio to the same one of an earlier run's document: above 1, this run is faster. */
function compared(results: readonly Result[], file: string): readonly Result[] {
  const text = readFileSync(file, "utf8");
  // The document alone, or all that `--json` printed: the table comes first.
  const document = text.slice(text.startsWith("{") ? 0 : text.lastIndexOf("\n{\n") + 1);
  const before = JSON.parse(document) as { readonly results: readonly Result[] };
  return results.map((result) => {
    const { name, size, threads } = result;
    const earlier = before.results.find(
      (row) => row.name === name && row.size === size && row.threads === threads,
    );
    if (earlier?.nsPerOp === undefined) return result;
    return {
      ...result,
      ratios: { ...result.ratios, "earlier run": earlier.nsPerOp / result.value },
    };
  });
}
