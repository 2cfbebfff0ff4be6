/** Rounds of jobs whose worker processes are killed at random points. */
import { setTimeout as sleep } from "node:timers/promises";
import { RandomStream } from "@selvage/sim";
import { from, type QueuedJob } from "selvage";
import { expect } from "vitest";
import { checkEnded, type Checked } from "./jobs-checks.ts";
import { Crew } from "./jobs-crew.ts";
import type { DiedLine, LogLine, ToldLine } from "./jobs-log.ts";
import { HANDED_BACK_EXIT, POISON_EXIT } from "./jobs-process.ts";

const WORKERS = 3;
const OPTIONS = { leaseMs: 1_000, pollMs: 100, concurrency: 6, drainMs: 30 } as const;
/** So many rounds are on one file: then there is a new one. */
const ROUNDS_A_FILE = 25;

/** What rounds came to. */
export interface JobRounds extends Checked {
  readonly rounds: number;
  /** Processes that were killed, were told to end, and ended themselves by a job that is poison. */
  readonly kills: number;
  readonly stops: number;
  readonly poisoned: number;
  /** Workers that were given up: all of them, and those that lived. */
  readonly givenUp: number;
  readonly robbed: number;
  /** The longest from a SIGKILL until its worker was given up, in milliseconds. */
  readonly latestMs: number;
}

/** One crew, and what is at work on its file. */
class Round {
  readonly #crew: Crew;
  readonly #random: RandomStream;
  readonly #accepted: Set<string>;
  isOver = false;

  constructor(crew: Crew, random: RandomStream, accepted: Set<string>) {
    this.#crew = crew;
    this.#random = random;
    this.#accepted = accepted;
  }

  /** Makes jobs of all kinds, in an order of this round's own, while processes come and go. */
  async run(): Promise<void> {
    const { plain, flaky, list, item, long, poison, far, waits } = this.#crew.tasks;
    const random = this.#random;
    const { logPath } = this.#crew;
    const mix: (() => Promise<unknown>)[] = [
      () => this.#diamond(),
      () => this.#unique(`key ${random.below(3)}`),
      () => this.#cancelled(),
      async () => this.#take(await flaky.enqueue([random.between(1, 2)])),
      async () => this.#take(await far.enqueue([logPath, random.chance(1, 4) ? "exit" : "fine"])),
      async () => this.#take(await long.enqueue([new Uint8Array(random.between(60_000, 200_000))])),
      async () => this.#take(await plain.enqueue([1], { delayMs: random.below(300) })),
      async () => this.#take(await waits.enqueue([random.below(400), 1], { priority: 5 })),
      async () => {
        const items = this.#take(await list.enqueue([random.below(5)]));
        this.#take(await item.fanOut(items));
      },
      async () => {
        const all = Array.from({ length: 6 }, () => [random.below(30)] as [number]);
        for (const job of await plain.enqueueMany(all)) this.#take(job);
      },
    ];
    if (random.chance(1, 4)) mix.push(async () => this.#take(await poison.enqueue([])));
    await Promise.all([this.#make(mix), this.#faults()]);
    await this.#crew.idle();
    this.isOver = true;
  }

  async #make(mix: (() => Promise<unknown>)[]): Promise<void> {
    const random = this.#random.split("order");
    for (let left = mix.length; left > 0; left--) {
      const [make] = mix.splice(random.below(left), 1);
      await make?.();
      if (random.chance(1, 2)) await sleep(random.below(40));
    }
  }

  #take<R>(job: QueuedJob<R>): QueuedJob<R> {
    this.#accepted.add(job.id);
    return job;
  }

  async #diamond(): Promise<void> {
    const { plain, gather } = this.#crew.tasks;
    const top = this.#take(await plain.enqueue([this.#random.below(60)]));
    const left = this.#take(await gather.enqueue([from([top])]));
    const right = this.#take(await gather.enqueue([from([top])]));
    this.#take(await gather.enqueue([from([left, right])]));
  }

  async #unique(uniqueKey: string): Promise<void> {
    const { plain } = this.#crew.tasks;
    const two = [plain.enqueue([20], { uniqueKey }), plain.enqueue([20], { uniqueKey })];
    const [one, other] = (await Promise.all(two)).map((job) => this.#take(job).id);
    if (one !== other) throw new Error(`two jobs of one key: ${one}, ${other}`);
  }

  async #cancelled(): Promise<void> {
    const { waits, gather } = this.#crew.tasks;
    const job = this.#take(await waits.enqueue([400, 400]));
    this.#take(await gather.enqueue([from([job])]));
    await sleep(this.#random.below(60));
    await this.#crew.queue.cancel(job.id);
  }

  async #faults(): Promise<void> {
    const random = this.#random.split("faults");
    const faults = random.between(1, 3);
    for (let fault = 0; fault < faults; fault++) {
      await sleep(random.below(400));
      const { pids } = this.#crew;
      if (pids.length === 0) continue;
      // In each round, one is killed at least.
      if (fault > 0 && random.chance(1, 3)) {
        // Longer than its TTL: it comes back to find that others have what it had.
        await this.#crew.freeze(random.pick(pids), random.between(1_300, 2_000));
        continue;
      }
      const signal = fault > 0 && random.chance(1, 3) ? "SIGTERM" : "SIGKILL";
      const how = await this.#crew.end(random.pick(pids), signal);
      const rightly: readonly (number | string)[] =
        signal === "SIGKILL" ? [signal] : [0, HANDED_BACK_EXIT];
      // It may have had a job that is poison before.
      if (how !== undefined && ![...rightly, POISON_EXIT].includes(how))
        throw new Error(`ended by ${signal}: ${how}`);
    }
  }
}

/** Keeps so many processes alive, whatever they end of. */
async function staff(crew: Crew, isOver: () => boolean): Promise<void> {
  while (!isOver()) {
    while (crew.pids.length < WORKERS) crew.start();
    await sleep(5);
  }
}

/** Rounds on one file, and what is true of it after each of them. */
async function fileOfRounds(random: RandomStream, rounds: number): Promise<Partial<JobRounds>> {
  await using crew = await Crew.open(WORKERS, OPTIONS);
  const accepted = new Set<string>();
  let checked: Checked | undefined;
  for (let nth = 0; nth < rounds; nth++) {
    await crew.ready();
    const round = new Round(crew, random.split(String(nth)), accepted);
    const staffed = staff(crew, () => round.isOver);
    try {
      await round.run();
    } finally {
      round.isOver = true;
      await staffed;
    }
    await crew.buried();
    checked = await checkEnded(crew, accepted);
  }
  return { ...checked, ...faultsIn(crew.log()) };
}

function faultsIn(lines: readonly LogLine[]): Partial<JobRounds> {
  const died = new Map(
    lines.filter((line): line is DiedLine => "died" in line).map((line) => [line.died, line]),
  );
  const told = lines.filter((line): line is ToldLine => "told" in line);
  const pidOf = new Map(
    told.filter((line) => line.told === "worker-started").map(({ worker, pid }) => [worker, pid]),
  );
  const givenUp = told.filter((line) => line.told === "worker-lost");
  const sinceMs = givenUp.map(({ worker, atMs }) => {
    const end = died.get(pidOf.get(worker) ?? 0);
    return end === undefined ? -1 : atMs - end.atMs;
  });
  const ended = (...how: readonly string[]): number =>
    [...died.values()].filter((line) => how.includes(line.how)).length;
  for (const line of died.values())
    expect(["SIGKILL", "0", String(HANDED_BACK_EXIT), String(POISON_EXIT)]).toContain(line.how);
  return {
    kills: ended("SIGKILL"),
    stops: ended("0", String(HANDED_BACK_EXIT)),
    poisoned: ended(String(POISON_EXIT)),
    givenUp: givenUp.length,
    robbed: sinceMs.filter((ms) => ms < 0).length,
    latestMs: Math.max(0, ...sinceMs),
  };
}

/**
 * So many rounds, each of which makes jobs of all kinds and kills processes meanwhile; what holds in the end is held after each. A
 * seed gives the jobs and the faults; when they meet is the machine's.
 */
export async function jobRounds(seed: string, rounds: number): Promise<JobRounds> {
  const sum: Record<string, number> = { rounds: 0, latestMs: 0 };
  const random = new RandomStream(seed, "jobs");
  while ((sum["rounds"] as number) < rounds) {
    const done = sum["rounds"] as number;
    const count = Math.min(ROUNDS_A_FILE, rounds - done);
    const seen = await fileOfRounds(random.split(`file ${done}`), count);
    for (const [name, value] of Object.entries(seen))
      sum[name] = name === "latestMs" ? Math.max(sum[name] ?? 0, value) : (sum[name] ?? 0) + value;
    sum["rounds"] = done + count;
    if (sum["rounds"] < rounds) console.log(linesOf(sum));
  }
  return sum as unknown as JobRounds;
}

/** What rounds came to, for whoever reads the log. */
export function linesOf(sum: object): string {
  return Object.entries(sum)
    .map(([name, value]) => `${name} ${value}`)
    .join(", ");
}
