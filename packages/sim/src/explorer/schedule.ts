/** Who goes next: what a schedule is, how it is written down, and the ones that follow a text, or chance. */
import { invalidArgument } from "@selvage/fabric";
import type { RandomStream } from "../random.ts";

/** What one step touches, so that a scheduler can tell which steps commute. Places are numbers of the explorer's own. */
export interface Footprint {
  readonly places: readonly number[];
  /** Beside each place, whether it is changed. */
  readonly writes: readonly boolean[];
  /** The place that the step would have changed, had it been the thread's death; undefined where that could not be. */
  readonly fate: number | undefined;
}

/** Threads are numbered below this. */
const THREADS_MOST = 32;

/** Decides a schedule, step by step. Threads are bits of a mask where there are several. */
export interface Scheduler {
  /** Begins a schedule. */
  begin(): void;
  /** Which of the `enabled` threads makes the next step; `current` made the last one (-1: none). -1: give this schedule up. */
  next(enabled: number, current: number): number;
  /** Which of the step's `count` outcomes happens, 0 to `count` - 1. With `mayDie`, the last one is the thread's death. */
  choose(count: number, mayDie: boolean): number;
  /** The step was made. */
  made(thread: number, footprint: Footprint): void;
  /** `thread` goes on because of what `waker` did; -1: because its time was up. */
  woke(thread: number, waker: number): void;
  /** Ends a schedule. False when there are no more. */
  end(): boolean;
}

/** The lowest thread of a mask. */
export function lowest(mask: number): number {
  return 31 - Math.clz32(mask & -mask);
}

/** Steps of a schedule: thread and outcome, -1 for death. */
export type Step = readonly [thread: number, outcome: number];

/** Writes a schedule down: `0x12,1:2,1x3,0!` is twelve steps of thread 0, then one of 1 with its outcome 2, and so on. */
export function scheduleText(steps: readonly Step[]): string {
  const parts: string[] = [];
  let run = 0;
  for (const [index, [thread, outcome]] of steps.entries()) {
    const next = steps[index + 1];
    run++;
    if (outcome === 0 && next?.[0] === thread && next[1] === 0) continue;
    parts.push(
      outcome === 0 ? `${thread}x${run}` : `${thread}${outcome < 0 ? "!" : `:${outcome}`}`,
    );
    run = 0;
  }
  return parts.join(",");
}

/** Reads what {@link scheduleText} wrote. @throws FabricError `INVALID_ARGUMENT`. */
export function parseSchedule(text: string): Step[] {
  const steps: Step[] = [];
  if (text === "") return steps;
  for (const part of text.split(",")) {
    const found = /^(\d+)(?:x(\d+)|:(\d+)|(!))$/.exec(part);
    if (found === null) throw invalidArgument("schedule", "a schedule as explore() wrote it", part);
    const [, thread, run, outcome, death] = found;
    if (run === undefined) steps.push([Number(thread), death === "!" ? -1 : Number(outcome)]);
    else for (let left = Number(run); left > 0; left--) steps.push([Number(thread), 0]);
  }
  return steps;
}

/** Follows a text; after its end, threads go on in their order. */
export function replaying(text: string): Scheduler {
  const steps = parseSchedule(text);
  let at = 0;
  return {
    begin: () => void (at = 0),
    next: (enabled, current) => {
      const wanted = steps[at]?.[0] ?? current;
      return wanted >= 0 && (enabled & (1 << wanted)) !== 0 ? wanted : lowest(enabled);
    },
    choose: (count, mayDie) => {
      const outcome = steps[at]?.[1] ?? 0;
      if (outcome < 0) return mayDie ? count - 1 : 0;
      return Math.min(outcome, count - 1);
    },
    made: () => void at++,
    woke: () => {},
    end: () => false,
  };
}

/**
 * Probabilistic concurrency testing (Burckhardt et al., ASPLOS 2010): threads have random priorities, and `depth` - 1
 * times, at random steps, the running one falls behind all others. A bug that takes `depth` orderings among n threads
 * and k steps is found with probability 1 / (n k^(depth - 1)) at least, each time.
 *
 * P1: steps that only look again at what nobody has changed are not counted among the k. A thread that spins makes
 * hundreds of them, and what comes after would be met once in as many schedules.
 */
export class PctScheduler implements Scheduler {
  readonly #random: RandomStream;
  readonly #threads: number;
  readonly #depth: number;
  readonly #mayDie: readonly number[];
  #left: number;
  #priorities: number[] = [];
  #falls = new Set<number>();
  #lowest = 0;
  #steps = 0;
  // Without those that look again (P1), and how often each thread has looked at each place since the last change.
  #telling = 0;
  readonly #looks = new Map<number, number>();
  // Of the last schedule: how many steps there were to choose from.
  #length = 64;
  #tellingLength = 64;
  #ownSteps = 0;
  #victim = -1;
  #deathAt = -1;
  #current = -1;

  constructor(
    random: RandomStream,
    threads: number,
    options: {
      readonly depth: number;
      readonly schedules: number;
      readonly mayDie: readonly number[];
    },
  ) {
    this.#random = random;
    this.#threads = threads;
    this.#depth = options.depth;
    this.#left = options.schedules;
    this.#mayDie = options.mayDie;
  }

  begin(): void {
    const random = this.#random;
    const order = Array.from({ length: this.#threads }, (_, thread) => thread);
    for (let last = order.length - 1; last > 0; last--) {
      const other = random.below(last + 1);
      [order[last], order[other]] = [order[other] as number, order[last] as number];
    }
    this.#priorities = order;
    this.#lowest = 0;
    this.#falls.clear();
    for (let fall = 1; fall < this.#depth; fall++)
      this.#falls.add(random.below(this.#tellingLength));
    const dies = this.#mayDie.length > 0 && random.chance(1, 2);
    this.#victim = dies ? random.pick(this.#mayDie) : -1;
    this.#deathAt = dies ? random.below(this.#length) : -1;
    this.#steps = 0;
    this.#telling = 0;
    this.#looks.clear();
    this.#ownSteps = 0;
  }

  next(enabled: number, current: number): number {
    if (current >= 0 && this.#falls.delete(this.#telling))
      this.#priorities[current] = --this.#lowest;
    this.#steps++;
    let best = -1;
    for (let rest = enabled; rest !== 0; rest &= rest - 1) {
      const thread = lowest(rest);
      const priority = this.#priorities[thread] as number;
      if (best < 0 || priority > (this.#priorities[best] as number)) best = thread;
    }
    this.#current = best;
    return best;
  }

  choose(count: number, mayDie: boolean): number {
    const reads = mayDie ? count - 1 : count;
    if (mayDie && this.#current === this.#victim && this.#ownSteps++ >= this.#deathAt) return reads;
    return reads === 1 ? 0 : this.#random.below(reads);
  }

  made(thread: number, { places, writes }: Footprint): void {
    if (writes.includes(true)) this.#looks.clear();
    else if (places.length > 0 && this.#looksAgain(thread, places)) return;
    this.#telling++;
  }

  woke(): void {}

  end(): boolean {
    this.#length = Math.max(1, this.#steps);
    this.#tellingLength = Math.max(1, this.#telling);
    return --this.#left > 0;
  }

  // The second look counts: it is the one that ends a spin, or comes before a sleep.
  #looksAgain(thread: number, places: readonly number[]): boolean {
    let fewest = Infinity;
    for (const place of places) {
      const key = place * THREADS_MOST + thread;
      const looks = this.#looks.get(key) ?? 0;
      this.#looks.set(key, looks + 1);
      fewest = Math.min(fewest, looks);
    }
    return fewest >= 2;
  }
}
