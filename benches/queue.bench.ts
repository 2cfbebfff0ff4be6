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
import { Worker, type MessagePort } from "node:worker_threads";
import { logChart } from "./curve.ts";
import { Samples, type Effort, type Result, type Step, type Target } from "./harness.ts";
import { between } from "./queue-messages.ts";
import { OURS, OURS_MANY, OURS_RECORDS, workloadsFor } from "./queue-subjects.ts";
import type { Answer, Order } from "./queue-worker.ts";
import {
  verification,
  type Receive,
  type Send,
  type Wire,
  type Workload,
} from "./queue-workload.ts";
import { quantile } from "./statistics.ts";
import { atLeast, type Suite } from "./suite.ts";

const SIZES = [8, 64, 256, 1_024, 4_096, 65_536];
const ROUNDS = 7;
const WARMUPS = 2;
const SECONDS = 60;
/** A ring stays within the second-level cache, as far as its messages let it. */
const RING_BYTES = 2 ** 18;
const MESSAGES_MAX = 2 ** 20;

function capacityFor(size: number): number {
  return Math.max(16, Math.min(1_024, Math.floor(RING_BYTES / size)));
}

/** A subject at one size, ready to take turns. */
interface Entrant {
  readonly workload: Workload;
  readonly turn: (messages: number) => Promise<Step>;
  readonly roundTripsUs: ((count: number) => Promise<readonly number[]>) | undefined;
  readonly verify: () => Promise<void>;
  readonly close: () => Promise<void>;
}

/** Both ends on this thread: a burst is sent, then received. */
function enterAlone(workload: Workload, size: number, capacity: number): Entrant {
  const wire = workload.open(size, capacity, 1);
  const send = workload.sender(wire);
  const receive = workload.receiver(wire);
  const burst = Math.max(1, Math.min(64, capacity >> 1));
  const turn = async (messages: number): Promise<Step> => {
    let sum = 0;
    const begin = process.hrtime.bigint();
    for (let left = messages; left > 0; left -= burst) {
      const count = Math.min(burst, left);
      const sent = send(count);
      if (sent !== undefined) await sent;
      const seen = receive(count);
      sum += typeof seen === "number" ? seen : await seen;
    }
    return stepOf(begin, process.hrtime.bigint(), messages, sum);
  };
  const verify = async (): Promise<void> => {
    verification.isOn = true;
    await turn(Math.max(2, burst));
    verification.isOn = false;
  };
  return {
    workload,
    turn,
    verify,
    roundTripsUs: undefined,
    close: async () => workload.close?.(wire),
  };
}

// What the messages' numbers came to differs from turn to turn; that they came in order, the receiver has seen.
function stepOf(beginNs: bigint, endNs: bigint, messages: number, sum: number): Step {
  if (!Number.isFinite(sum)) throw new Error("nothing was received");
  return { ns: Number(endNs - beginNs), ops: messages, checksum: 0 };
}

/** The sender here, the receiver on the other thread. */
class OtherThread {
  readonly #worker = new Worker(new URL("./queue-worker.ts", import.meta.url), { stdin: true });
  #pairs = 0;

  constructor() {
    if (this.#worker.stdin !== null) between.out = this.#worker.stdin;
  }

  async enter(workload: Workload, size: number, capacity: number): Promise<Entrant> {
    const there = workload.open(size, capacity, 2);
    const back = workload.isOneWay === true ? undefined : workload.open(size, capacity, 2);
    const pair = this.#pairs++;
    const to = crossing(workload, there);
    const from = back && crossing(workload, back);
    const transfer = [...to.transfer, ...(from?.transfer ?? [])];
    await this.#tell(
      { order: "join", pair, there: to.wire, ...(from && { back: from.wire }) },
      transfer,
    );
    const send = workload.sender(there);
    const receive = back && workload.receiver(back);
    const turn = (messages: number): Promise<Step> => this.#turn(pair, send, messages);
    return {
      workload,
      turn,
      verify: async () => {
        await this.#tell({ order: "verify", isOn: true });
        await turn(Math.max(2, capacity));
        await this.#tell({ order: "verify", isOn: false });
      },
      roundTripsUs: receive && ((count) => this.#roundTrips(pair, send, receive, count)),
      close: async () => {
        await this.#tell({ order: "leave", pair });
        for (const wire of [there, back]) if (wire) workload.close?.(wire);
      },
    };
  }

  async end(): Promise<void> {
    await this.#worker.terminate();
  }

  async #turn(pair: number, send: Send, messages: number): Promise<Step> {
    await this.#tell({ order: "receive", pair, messages });
    const done = this.#answer();
    const begin = process.hrtime.bigint();
    const sent = send(messages);
    if (sent !== undefined) await sent;
    const { sum, endNs } = (await done) as Extract<Answer, { answer: "done" }>;
    return stepOf(begin, endNs, messages, sum);
  }

  async #roundTrips(
    pair: number,
    send: Send,
    receive: Receive,
    count: number,
  ): Promise<readonly number[]> {
    await this.#tell({ order: "echo", pair, messages: count });
    const done = this.#answer();
    const times = new Float64Array(count);
    for (let trip = 0; trip < count; trip++) {
      const begin = process.hrtime.bigint();
      const sent = send(1);
      if (sent !== undefined) await sent;
      const seen = receive(1);
      if (typeof seen !== "number") await seen;
      times[trip] = Number(process.hrtime.bigint() - begin) / 1_000;
    }
    await done;
    return [...times];
  }

  #tell(order: Order, transfer: readonly MessagePort[] = []): Promise<Answer> {
    const answer = this.#answer();
    this.#worker.postMessage(order, [...transfer]);
    return answer;
  }

  async #answer(): Promise<Answer> {
    const [answer] = (await once(this.#worker, "message")) as [Answer];
    return answer;
  }
}

function crossing(
  workload: Workload,
  wire: Wire,
): { readonly wire: Wire; readonly transfer: readonly MessagePort[] } {
  return workload.cross?.(wire) ?? { wire, transfer: [] };
}

interface Plan {
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

/** So many messages that a turn takes its time: found by doubling. */
async function calibrate(entrant: Entrant, { turnMs, capacity }: Plan): Promise<number> {
  if (turnMs === 0) return 2;
  for (let messages = Math.max(2, capacity >> 1); ; messages *= 2) {
    const { ns } = await entrant.turn(messages);
    if (ns >= turnMs * 5e5 || messages >= MESSAGES_MAX)
      return Math.max(2, Math.min(MESSAGES_MAX, Math.round((messages * turnMs * 1e6) / ns)));
  }
}

interface Latency {
  readonly p50Us: number;
  readonly p99Us: number;
}

/** All subjects at one size and number of threads, taking turns. */
async function measure(
  plan: Plan,
  other: OtherThread,
): Promise<{ readonly samples: Samples; readonly latencies: ReadonlyMap<string, Latency> }> {
  const { size, capacity, threads, rounds, warmups, roundTrips, workloads, progress } = plan;
  const samples = new Samples();
  const latencies = new Map<string, Latency>();
  const entrants: Entrant[] = [];
  const about = `${size} B, ${threads} ${threads === 1 ? "thread" : "threads"}`;
  try {
    const messages: number[] = [];
    for (const workload of workloads) {
      progress(`${about}: ${workload.name} starts`);
      const entrant =
        threads === 1
          ? enterAlone(workload, size, capacity)
          : await other.enter(workload, size, capacity);
      entrants.push(entrant);
      await entrant.verify();
      messages.push(await calibrate(entrant, plan));
    }
    for (let round = -warmups; round < rounds; round++) {
      progress(`${about}: ${round < 0 ? "warming up" : `round ${round + 1} of ${rounds}`}`);
      for (let turn = 0; turn < entrants.length; turn++) {
        const at = (round + warmups + turn) % entrants.length;
        const { workload, turn: take } = entrants[at] as Entrant;
        const step = await take(messages[at] as number);
        if (round >= 0) samples.add(workload.name, "op", step);
      }
    }
    for (const { workload, roundTripsUs } of entrants) {
      progress(`${about}: ${workload.name}, round trips`);
      const times = await roundTripsUs?.(roundTrips);
      if (times === undefined) continue;
      const steady = times.slice(times.length >> 2).map((us) => us / 2);
      latencies.set(workload.name, { p50Us: quantile(steady, 0.5), p99Us: quantile(steady, 0.99) });
    }
  } finally {
    for (const entrant of entrants) await entrant.close();
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
    const other = new OtherThread();
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
          results.push(...resultsOf(plan, await measure(plan, other)));
        }
    } finally {
      await other.end();
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
