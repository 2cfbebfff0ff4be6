/** What one run of the jobs campaign is about: its sizes, its file, and what all of its processes have in common. */
import type { Clock } from "@selvage/fabric";
import { PHASES, type JobQueueOptions } from "@selvage/jobs";
import { sometimes, Violation, type RandomStream, type SimNode, type World } from "@selvage/sim";
import { JobBook } from "./jobs-book.ts";
import { JobFile } from "./jobs-file.ts";
import { freed } from "./jobs-rules.ts";

/** Sizes of a run, times in milliseconds. */
export interface Sizes {
  readonly nodes: readonly string[];
  readonly leaseMs: number;
  readonly pollMs: number;
  readonly graceMs: number;
  readonly concurrency: number;
  readonly workers: number;
  readonly inlineBytesMax: number;
  /** How long a process waits for the file's lock. */
  readonly busyMs: number;
  /** Longest turn of a loop. */
  readonly turnMs: number;
  /** How often a process asks for something. */
  readonly paceMs: number;
  readonly few: number;
  /** How long ended jobs are kept; undefined: for ever. */
  readonly retentionMs: number | undefined;
  /** Whether processes go by their wall clock, steps and all, or by the clock that the host gives them. */
  readonly isRaw: boolean;
  /** How often a process stops its workers, or its queue, and begins anew; undefined: never. */
  readonly stopMs: number | undefined;
}

/** Draws sizes: 2 to 4 processes. */
export function drawSizes(random: RandomStream): Sizes {
  return {
    nodes: ["p1", "p2", "p3", "p4"].slice(0, random.between(2, 4)),
    leaseMs: random.spread(150, 2_000),
    pollMs: random.spread(20, 1_000),
    graceMs: random.spread(10, 400),
    concurrency: random.between(1, 6),
    workers: random.pick([1, 1, 2]),
    inlineBytesMax: random.pick([65_536, 65_536, 30]),
    busyMs: random.pick([100, 5_000]),
    turnMs: random.pick([0, 2, 20]),
    paceMs: random.spread(300, 2_000),
    few: random.between(1, 3),
    retentionMs: random.chance(1, 4) ? random.spread(500, 10_000) : undefined,
    isRaw: random.chance(1, 2),
    stopMs: random.chance(1, 2) ? random.spread(1_000, 15_000) : undefined,
  };
}

/** From then on nobody asks for anything, in virtual milliseconds; a moment later all is healed. */
const calmAtMs = 30_500;
const healedAtMs = 31_000;
/** When a process is killed although all is well. */
const lastKillMs = [3_000, 12_000] as const;
/** What transactions, and waiting for the file's lock, take beside; and so many turns of a loop. */
const slackMs = 150;
const slackTurns = 10;

/** One run. */
export class JobsRun {
  readonly world: World;
  readonly sizes: Sizes;
  readonly book: JobBook;
  readonly file: JobFile;
  /** What the jobs of a run are known by to those who ask for more: acknowledged ones, the latest last. */
  readonly ids: string[] = [];
  #poisons = 0;

  constructor(world: World, sizes: Sizes) {
    this.world = world;
    this.sizes = sizes;
    const limits = new Map([["few", sizes.few]]);
    const nowOf = (node: SimNode): number => this.clockOf(node).nowMs();
    this.book = new JobBook(world.kernel, { nowOf, limits });
    this.file = new JobFile(world, sizes.busyMs, this.book.settle);
    world.kernel.observe(({ kind, node, details }) => {
      if (kind === "healed") void this.#calm();
      if (kind !== "node.crashed") return;
      if (details["loses"] === "unsynced") this.#powerFails(node);
      this.#diesAt(node);
    });
  }

  /** What a process takes for the time. */
  clockOf({ time, clock }: SimNode): Clock {
    return this.sizes.isRaw ? { nowMs: () => Math.floor(time.wallMs()) } : clock;
  }

  get isCalm(): boolean {
    return this.world.nowMs >= calmAtMs;
  }

  /** A run has so many jobs that end their process at most: each costs all others an attempt. */
  mayPoison(): boolean {
    return this.#poisons++ < 3;
  }

  /** Options of a process's queue. */
  options(): JobQueueOptions {
    const { concurrency, leaseMs, pollMs, graceMs, inlineBytesMax, retentionMs: ms } = this.sizes;
    const forEver = { complete: null, cancelled: null, failed: null, dead: null };
    return {
      ...{ concurrency, leaseMs, pollMs, graceMs, inlineBytesMax, defaultTimeoutMs: 1_500 },
      retention: ms === undefined ? forEver : { ...forEver, complete: ms, cancelled: ms },
    };
  }

  /** A process ends, as by `process.exit`, and is started again. */
  exit(node: SimNode, forMs: number): void {
    const { kernel } = this.world;
    // Not within what it does now, which goes on to its next wait.
    kernel.after(0, "exit", () => {
      node.crash("memory");
      kernel.after(forMs * 1_000, "exit", () => node.start());
    });
  }

  // They are all processes of one machine.
  #powerFails(first: string): void {
    const { kernel, nodes } = this.world;
    kernel.after(0, "power", () => {
      sometimes("the power failed");
      for (const node of nodes.values())
        if (node.name !== first && node.isUp) {
          node.crash("memory");
          kernel.after(node.random.between(1, 300) * 1_000, "power", () => node.start());
        }
    });
  }

  async #calm(): Promise<void> {
    const { nodes } = this.world;
    // What is to be done in an hour by one clock is due by all.
    const latest = Math.max(
      ...[...nodes.values()].flatMap(({ time, clock }) => [time.wallMs(), clock.nowMs()]),
      ...this.file.now.list({ limit: Infinity }).map(({ dueMs }) => dueMs),
    );
    for (const node of nodes.values()) node.stepClock(latest - node.time.wallMs());
    await this.file.outside((tx) => {
      for (const queue of tx.queues()) tx.putQueue({ ...queue, isPaused: false });
    });
    const random = this.world.random("last kill");
    const node = nodes.get(random.pick(this.sizes.nodes)) as SimNode;
    const forMs = this.#freeWithinMs + 500;
    this.world.kernel.after(random.between(...lastKillMs) * 1_000, "kill", () => {
      if (node.isUp) this.exit(node, forMs);
    });
  }

  /** When it has ended: see the rules. */
  atEnd(): void {
    this.book.atEnd(this.file.now);
  }

  get #freeWithinMs(): number {
    const { leaseMs, pollMs, turnMs } = this.sizes;
    return leaseMs + 2 * pollMs + slackMs + slackTurns * turnMs;
  }

  // B5: once all is well, whoever saw it die frees what it had.
  #diesAt(name: string): void {
    const { kernel, nodes, nowMs } = this.world;
    if (nowMs < healedAtMs + this.#freeWithinMs) return;
    const { workers } = this.book;
    const all = [...workers].filter(([, { isGone }]) => !isGone);
    const dead = all.flatMap(([id, { by }]) => (by.node.name === name ? [id] : []));
    const witnesses = all.filter(
      ([, { by, registeredAtMs }]) =>
        by.node.name !== name && by.node.isUp && registeredAtMs < nowMs - this.#freeWithinMs,
    );
    const numbers = new Map([...nodes.values()].map((node) => [node.name, node.incarnation]));
    kernel.after(this.#freeWithinMs * 1_000, "look", () => {
      const isSeen = witnesses.some(
        ([id, { by }]) =>
          by.node.incarnation === numbers.get(by.node.name) &&
          by.node.isUp &&
          workers.get(id)?.isGone === false,
      );
      if (isSeen) this.#areFree(dead, nowMs);
    });
  }

  #areFree(dead: readonly string[], sinceMs: number): void {
    const tx = this.file.now;
    const held = dead.flatMap((id) => tx.runningOf(id).map((seq) => tx.jobAt(seq)));
    sometimes("a dead worker's jobs were free in time");
    const open = held.find((job) => job?.phase === PHASES.running);
    if (open !== undefined)
      this.world.kernel.fail(
        new Violation(
          freed,
          `${open.id} is still ${open.owner}'s, which died ${this.world.nowMs - sinceMs} ms ago`,
        ),
      );
  }
}
