/**
 * Which ready task may have what it needs: memory, threads, units of a named resource.
 *
 * A task takes all that it needs at once, or nothing: whoever waits holds nothing, so nobody waits for one who waits.
 * A task that had to wait once is passed by nobody who wants any of the same resources: so it is not kept waiting by
 * smaller ones that come after it. Tasks that want none of them go on.
 */
import { ReadyQueue } from "./ready-queue.ts";

/** Something of which there is only so much. */
export interface Resource {
  readonly name: string;
  readonly capacity: number;
  /** How much each task takes while it runs: 0, or less than 2^53. */
  readonly demand: ArrayLike<number>;
}

// Tasks that need the same resources, however much of each: the first of them that waits lets none of the others pass.
interface Kind {
  readonly needs: readonly number[];
  readonly queue: ReadyQueue;
  // The task that had to wait, taken off the queue; -1: none.
  parked: number;
}

/** The ready tasks of one run, and what is taken. */
export class Admission {
  readonly #resources: readonly Resource[];
  readonly #taken: Float64Array;
  // What others than running tasks have.
  readonly #outside: Float64Array;
  readonly #kindOf: Int32Array;
  readonly #kinds: Kind[] = [];
  // Kinds whose first task waits, in the order in which they came to.
  readonly #parked: Kind[] = [];
  // Resources that somebody waits for, as of the pass `#pass`.
  readonly #closedIn: Int32Array;
  #pass = 0;
  #isForced = false;

  constructor(
    resources: readonly Resource[],
    shape: { readonly count: number; readonly rankOf: Uint16Array; readonly ranks: number },
  ) {
    const { count, rankOf, ranks } = shape;
    this.#resources = resources;
    this.#taken = new Float64Array(resources.length);
    this.#outside = new Float64Array(resources.length);
    this.#closedIn = new Int32Array(resources.length);
    this.#kindOf = new Int32Array(count);
    const next = new Int32Array(count);
    const byNeeds = new Map<string, number>();
    for (let task = 0; task < count; task++) {
      const needs = [...resources.keys()].filter((at) => this.#demand(at, task) > 0);
      const key = needs.join();
      let kind = byNeeds.get(key);
      if (kind === undefined) {
        kind = this.#kinds.length;
        byNeeds.set(key, kind);
        this.#kinds.push({ needs, queue: new ReadyQueue(rankOf, ranks, next), parked: -1 });
      }
      this.#kindOf[task] = kind;
    }
  }

  /** Adds a task that is ready. */
  push(task: number): void {
    this.#kindAt(task).queue.push(task);
  }

  /** Takes off the next task that may start, with all that it needs; -1 where none may. Takes time in kinds of tasks. */
  pop(): number {
    this.#pass++;
    for (const [at, kind] of this.#parked.entries()) {
      if (!this.#isClosed(kind) && this.#fits(kind, kind.parked, this.#isForced && at === 0)) {
        const task = kind.parked;
        kind.parked = -1;
        this.#parked.splice(at, 1);
        this.#isForced = false;
        return this.#take(kind, task);
      }
      this.#close(kind);
    }
    for (;;) {
      const kind = this.#first();
      if (kind === undefined) return -1;
      const task = kind.queue.pop();
      if (this.#fits(kind, task, false)) return this.#take(kind, task);
      kind.parked = task;
      this.#parked.push(kind);
      this.#close(kind);
    }
  }

  /** Gives back what a task has. */
  giveBack(task: number): void {
    for (const at of this.#kindAt(task).needs)
      this.#taken[at] = (this.#taken[at] as number) - this.#demand(at, task);
  }

  /** Says how much of a resource others than running tasks have. */
  setOutside(resource: number, units: number): void {
    this.#outside[resource] = units;
  }

  /** True if the task that waits longest would fit but for what others than running tasks have. */
  get waitsForOutside(): boolean {
    const [kind] = this.#parked;
    return (
      kind !== undefined &&
      this.#fits(kind, kind.parked, true) &&
      !this.#fits(kind, kind.parked, false)
    );
  }

  /** Lets the task that waits longest start whatever others than running tasks have. */
  force(): void {
    this.#isForced = true;
  }

  #first(): Kind | undefined {
    let first: Kind | undefined;
    let rank = -1;
    for (const kind of this.#kinds) {
      if (kind.parked >= 0) continue;
      const top = kind.queue.topRank();
      if (top <= rank || this.#isClosed(kind)) continue;
      first = kind;
      rank = top;
    }
    return first;
  }

  #fits(kind: Kind, task: number, withoutOutside: boolean): boolean {
    for (const at of kind.needs) {
      const outside = withoutOutside ? 0 : (this.#outside[at] as number);
      const { capacity } = this.#resources[at] as Resource;
      if ((this.#taken[at] as number) + outside + this.#demand(at, task) > capacity) return false;
    }
    return true;
  }

  #take(kind: Kind, task: number): number {
    for (const at of kind.needs)
      this.#taken[at] = (this.#taken[at] as number) + this.#demand(at, task);
    return task;
  }

  #isClosed(kind: Kind): boolean {
    return kind.needs.some((at) => this.#closedIn[at] === this.#pass);
  }

  #close(kind: Kind): void {
    for (const at of kind.needs) this.#closedIn[at] = this.#pass;
  }

  #kindAt(task: number): Kind {
    return this.#kinds[this.#kindOf[task] as number] as Kind;
  }

  #demand(resource: number, task: number): number {
    return (this.#resources[resource] as Resource).demand[task] as number;
  }
}
