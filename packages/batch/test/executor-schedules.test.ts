import type {
  ExecutionEvent,
  ExecutionResult,
  ExecutorOptions,
  TaskDef,
  TaskStatus,
} from "@selvage/batch";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { planOf, raw, Rig } from "./rig.ts";

type Schedule = "waves" | "ready";

/** A random plan, and how it is run. */
interface Generated {
  readonly size: number;
  readonly sleepMs: number;
  readonly seed: number;
  readonly maxConcurrency: number;
  readonly failFast: boolean;
  readonly cancelAtMs: number | undefined;
}

const legal: Readonly<Record<TaskStatus, readonly TaskStatus[]>> = {
  pending: ["running", "skipped", "cancelled"],
  ready: [],
  running: ["waiting", "succeeded", "failed", "timedOut", "cancelled"],
  waiting: ["running", "timedOut", "cancelled"],
  succeeded: [],
  failed: [],
  skipped: [],
  cancelled: [],
  timedOut: [],
};

/** A stream of numbers, the same for the same seed. */
function chances(seed: number): (below: number) => number {
  let state = seed | 1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

/** One random run, and what was wrong with it. */
class Trial {
  readonly wrong: string[] = [];
  readonly #one: Generated;
  readonly #schedule: Schedule;
  readonly #rig = new Rig({ memoryBytes: 4 << 20 });
  readonly #chance: (below: number) => number;
  readonly #dag: number[][];
  readonly #cancel = new AbortController();
  #now = 0;

  constructor(one: Generated, schedule: Schedule) {
    this.#one = one;
    this.#schedule = schedule;
    this.#chance = chances(one.seed);
    this.#dag = Array.from({ length: one.size }, (_, at) => {
      const count = at === 0 ? 0 : this.#chance(6);
      return [...new Set(Array.from({ length: count }, () => this.#chance(at)))];
    });
  }

  async run(): Promise<string[]> {
    const { maxConcurrency, failFast, cancelAtMs } = this.#one;
    const plan = planOf(
      this.#dag.map((before, at) => this.#task(before, at)),
      this.#dag.flatMap((before, at) => before.map((one) => [`t${one}`, `t${at}`] as const)),
    );
    if (cancelAtMs !== undefined)
      this.#rig.host.timer.after(cancelAtMs, () => this.#cancel.abort());
    const options: ExecutorOptions = {
      schedule: this.#schedule,
      teardown: "eager",
      signal: this.#cancel.signal,
      maxConcurrency,
      failFast,
    };
    // 23: it ends, or `pump` says that it hangs.
    const result = await this.#rig.run(plan, options);
    this.#checkStates(this.#rig.events, result);
    if (this.#schedule === "waves") this.#checkBarriers(this.#rig.events, plan.waves());
    return this.wrong;
  }

  #task(before: readonly number[], at: number): TaskDef {
    const { sleepMs, maxConcurrency } = this.#one;
    const timeoutMs = sleepMs > 0 && this.#chance(3) === 0 ? 50 + this.#chance(sleepMs) : undefined;
    return {
      name: `t${at}`,
      inputs: before.map((one) => raw(`o${one}`)),
      outputs: [raw(`o${at}`)],
      retries: 3,
      backoff: { baseMs: 1 },
      ...(timeoutMs === undefined ? {} : { timeoutMs }),
      run: async (context) => {
        if (++this.#now > maxConcurrency) this.wrong.push(`${this.#now} at a time`);
        for (const one of before)
          if (context.input(`o${one}`)[0] !== one % 251) this.wrong.push(`22: t${at} of t${one}`);
        if (sleepMs > 0) await this.#rig.host.later(this.#chance(sleepMs + 1));
        this.#now--;
        if (this.#chance(5) === 0) throw new Error("broken");
        return { [`o${at}`]: Uint8Array.of(at % 251) };
      },
    };
  }

  #checkStates(events: readonly ExecutionEvent[], result: ExecutionResult): void {
    const state = new Map<string, TaskStatus>();
    const left = new Map<string, number>();
    const ends = new Map<string, number>();
    for (const event of events) {
      if (event.type !== "task") continue;
      const { name, oldState, newState } = event;
      if (!legal[oldState].includes(newState))
        this.wrong.push(`19: ${name} ${oldState}>${newState}`);
      if ((state.get(name) ?? "pending") !== oldState) this.wrong.push(`21: ${name} ${oldState}`);
      state.set(name, newState);
      if (oldState === "pending") left.set(name, (left.get(name) ?? 0) + 1);
      if (legal[newState].length === 0) ends.set(name, (ends.get(name) ?? 0) + 1);
    }
    for (const { name, status, because } of result.tasks) {
      if (left.get(name) !== 1 || ends.get(name) !== 1) this.wrong.push(`20: ${name}`);
      if (state.get(name) !== status) this.wrong.push(`${name} is told as ${status}`);
      const root = state.get(because ?? "") ?? "nobody";
      if (status === "skipped" && root !== "failed" && root !== "timedOut")
        this.wrong.push(`D3: ${name} because of ${because ?? root}`);
    }
  }

  // No body of a wave begins before all of the wave before have ended.
  #checkBarriers(events: readonly ExecutionEvent[], waves: readonly (readonly string[])[]): void {
    const waveOf = new Map(waves.flatMap((wave, at) => wave.map((name) => [name, at] as const)));
    const open = waves.map((wave) => wave.length);
    for (const event of events) {
      if (event.type !== "task") continue;
      const wave = waveOf.get(event.name) as number;
      const before = wave === 0 ? 0 : (open[wave - 1] as number);
      if (event.newState === "running" && before > 0)
        this.wrong.push(`${event.name} of wave ${wave} began with ${before} open before it`);
      if (legal[event.newState].length === 0) open[wave] = (open[wave] as number) - 1;
    }
  }
}

describe.each<[schedule: Schedule]>([["waves"], ["ready"]])(
  "19 to 23: Executor.run() of random plans with the schedule %s keeps every rule, and ends:",
  (schedule) => {
    it.each<[size: number, sleepMs: number, numRuns: number]>([
      [10, 0, 10],
      [10, 100, 10],
      [10, 500, 10],
      [10, 1_000, 10],
      [10, 2_000, 10],
      [50, 0, 8],
      [50, 100, 8],
      [50, 500, 8],
      [500, 0, 3],
      [500, 100, 2],
      [1_000, 0, 2],
      [1_000, 100, 2],
    ])("%i tasks that sleep for up to %i ms", async (size, sleepMs, numRuns) => {
      const cases = fc.record({
        size: fc.constant(size),
        sleepMs: fc.constant(sleepMs),
        seed: fc.integer(),
        maxConcurrency: fc.constantFrom(1, 3, 16, 1_024),
        failFast: fc.boolean(),
        cancelAtMs: fc.option(fc.nat({ max: 4 * sleepMs + 5 }), { nil: undefined, freq: 3 }),
      });
      await fc.assert(
        fc.asyncProperty(cases, async (one) => {
          expect(await new Trial(one, schedule).run()).toEqual([]);
        }),
        { numRuns, endOnFailure: true },
      );
    });
  },
);
