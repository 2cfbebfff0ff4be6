/** Who asks a queue for work: makes jobs that wait for each other, cancels, replays, forgets, pauses. */
import { isFabricError } from "@selvage/fabric";
import { from, type EnqueueOptions, type JobQueue, type QueuedTask } from "@selvage/jobs";
import { sometimes, type RandomStream, type SimNode } from "@selvage/sim";
import type { JobsRun } from "./jobs-run.ts";

/** What may come of asking: what there is may be gone, and the store may be out of order. */
const refusals: readonly string[] = [
  "NOT_FOUND",
  "CONFLICT",
  "STORE_UNAVAILABLE",
  "CAPACITY_EXCEEDED",
  "LEASE_EXPIRED",
];

const tasks = [
  "quick",
  "quick",
  "few",
  "few",
  "flaky",
  "flaky",
  "hard",
  "heeding",
  "deaf",
  "list",
] as const;

/** A task that fans are made of. */
export type Item = QueuedTask<readonly unknown[], unknown>;

type Ask = (asking: Asking) => Promise<unknown>;

/** How often each is done. */
const asks: readonly (readonly [number, Ask])[] = [
  [5, (asking) => asking.one()],
  [2, (asking) => asking.many()],
  [4, (asking) => asking.tree()],
  [2, (asking) => asking.fan()],
  [1, (asking) => asking.poison()],
  [3, (asking) => asking.cancel()],
  [2, (asking) => asking.forget()],
  [4, (asking) => asking.replay()],
  [1, (asking) => asking.purge()],
  [1, (asking) => asking.pause()],
  [1, (asking) => asking.look()],
];
const drawn = asks.flatMap(([times, ask]) => Array.from({ length: times }, () => ask));

/** Asks, now and then, until all is to be calm, the process dies, or the queue is closed. */
export async function askForWork(
  run: JobsRun,
  node: SimNode,
  queue: JobQueue,
  item: Item,
): Promise<void> {
  const asking = new Asking(run, node, queue, item);
  while (!run.isCalm) {
    await node.sleep(node.random.between(1, run.sizes.paceMs * 2));
    if (run.isCalm) return;
    try {
      await node.random.pick(drawn)(asking);
    } catch (error) {
      if (!isFabricError(error) || !refusals.includes(error.code)) throw error;
      sometimes(`asked in vain: ${error.code}`);
      if (error.code === "STORE_UNAVAILABLE" && error.message.includes("closed")) return;
    }
  }
}

class Asking {
  readonly #run: JobsRun;
  readonly #random: RandomStream;
  readonly #queue: JobQueue;
  readonly #item: Item;

  constructor(run: JobsRun, node: SimNode, queue: JobQueue, item: Item) {
    this.#run = run;
    this.#item = item;
    this.#random = node.random;
    this.#queue = queue;
  }

  async one(): Promise<void> {
    await this.#made(this.#random.pick(tasks), []);
  }

  async many(): Promise<void> {
    const count = this.#random.spread(1, 6);
    const task = this.#random.pick(tasks);
    await Promise.all(Array.from({ length: count }, () => this.#made(task, [])));
  }

  /** Jobs that wait for others, which may have ended, in whatever way; some get their results. */
  async tree(): Promise<void> {
    const random = this.#random;
    const ids: string[] = [];
    for (let left = random.between(2, 6); left > 0; left--) {
      const known = [...ids, ...this.#recent(2)];
      const parents = [...new Set(known.filter(() => random.chance(1, 2)))];
      if (parents.length > 0 && random.chance(1, 2)) {
        const given = from(parents.map((id) => ({ id, result: async () => undefined })));
        const extra = this.#recent(1).filter(() => random.chance(1, 3));
        const job = await this.#queue.enqueue("join", [{ of: parents }, given], {
          ...this.#options(),
          dependsOn: extra,
        });
        ids.push(this.#known(job.id));
      } else ids.push(await this.#made(random.pick(tasks), parents));
    }
  }

  async fan(): Promise<void> {
    const source = await this.#made("list", []);
    const items = { id: source, result: async () => [] };
    const gathering = await this.#item.fanOut(items, this.#options());
    const id = this.#known(gathering.id);
    if (this.#random.chance(1, 2)) await this.#made("quick", [id]);
  }

  async poison(): Promise<void> {
    if (!this.#run.mayPoison()) return;
    const id = await this.#made("poison", [], { retries: this.#random.between(0, 2) });
    if (this.#random.chance(1, 2)) await this.#made("quick", [id]);
  }

  async cancel(): Promise<void> {
    for (const id of this.#recent(2))
      if (await this.#queue.cancel(id)) this.#run.book.cancelled(id);
  }

  async forget(): Promise<void> {
    for (const id of this.#recent(1)) await this.#queue.purgeJob(id);
  }

  async replay(): Promise<void> {
    const letters = await this.#queue.deadLetters({ limit: 6 });
    const dead = letters.filter(({ taskName }) => taskName !== "poison");
    if (dead.length === 0) return;
    const { id } = this.#random.pick(dead);
    if (this.#random.chance(1, 3)) await this.#forgetBeside(id);
    await this.#queue.replay(id);
  }

  // What a job that the replay would revive has waited for, beside.
  async #forgetBeside(id: string): Promise<void> {
    const dependents = (await this.#queue.getJob(id))?.dependents ?? [];
    if (dependents.length === 0) return;
    const waiting = await this.#queue.getJob(this.#random.pick(dependents));
    const others = (waiting?.dependencies ?? []).filter((other) => other !== id);
    if (others.length > 0) await this.#queue.purgeJob(this.#random.pick(others));
  }

  async purge(): Promise<void> {
    const olderThanMs = this.#random.spread(1, 8_000);
    if (this.#random.chance(1, 4)) await this.#queue.purgeDeadLetters({ olderThanMs });
    else await this.#queue.purge({ olderThanMs });
  }

  async pause(): Promise<void> {
    const queue = this.#random.pick(["default", "side"]);
    if (this.#random.chance(1, 2)) await this.#queue.pause(queue);
    else await this.#queue.resume("default").then(() => this.#queue.resume("side"));
  }

  async look(): Promise<void> {
    await this.#queue.stats();
    for (const id of this.#recent(1)) {
      const job = await this.#queue.getJob(id);
      await job?.result({ timeoutMs: this.#random.spread(1, 1_000) }).catch((error: unknown) => {
        if (!isFabricError(error)) throw error;
      });
    }
  }

  #recent(count: number): readonly string[] {
    const { ids } = this.#run;
    const last = ids.slice(-30);
    return last.length === 0
      ? []
      : [...new Set(Array.from({ length: count }, () => this.#random.pick(last)))];
  }

  async #made(
    task: string,
    dependsOn: readonly string[],
    more: EnqueueOptions = {},
  ): Promise<string> {
    const options = { ...this.#options(), ...more, dependsOn };
    const { id } = await this.#queue.enqueue(task, [{}], options);
    return this.#known(id);
  }

  #known(id: string): string {
    this.#run.book.acknowledged.add(id);
    this.#run.ids.push(id);
    return id;
  }

  #options(): EnqueueOptions {
    const random = this.#random;
    return {
      priority: random.between(-1, 1),
      retries: random.below(4),
      ...(random.chance(1, 4) && { delayMs: random.spread(1, 2_000) }),
      ...(random.chance(1, 6) && { expiresMs: random.spread(1, 4_000) }),
      ...(random.chance(1, 5) && { uniqueKey: `key ${random.below(4)}` }),
      ...(random.chance(1, 3) && { timeoutMs: random.spread(20, 1_000) }),
    };
  }
}
