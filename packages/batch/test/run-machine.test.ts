import {
  RunMachine,
  shapeOf,
  type DagShape,
  type MachineOptions,
  type Resource,
  type TaskOutcome,
} from "@selvage/batch";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { idle, planOf } from "./rig.ts";

/** A DAG as the predecessors of each task, all of lower numbers. */
type Dag = readonly (readonly number[])[];

const dagsOf = (sizes: { minLength: number; maxLength: number }): fc.Arbitrary<Dag> =>
  fc
    .array(fc.array(fc.nat(), { maxLength: 4 }), sizes)
    .map((rows) => rows.map((row, at) => (at === 0 ? [] : [...new Set(row.map((n) => n % at))])));

const machineOf = (dag: Dag, options: MachineOptions = { schedule: "waves" }): RunMachine =>
  new RunMachine(
    planOf(
      dag.map((_, at) => idle(`t${at}`)),
      dag.flatMap((before, at) => before.map((one) => [`t${one}`, `t${at}`] as const)),
    ).shape,
    options,
  );

/** Takes steps until there are none, as `start 1`, `skip 2 because 0`. */
function steps(machine: RunMachine): string[] {
  const taken: string[] = [];
  for (let step = machine.next(); step !== "idle"; step = machine.next()) {
    const { task, cause, wave } = machine;
    const because = cause < 0 ? "" : ` because ${cause}`;
    if (step === "start" || step === "ready") taken.push(`${step} ${task}`);
    else if (step === "skip" || step === "cancel") taken.push(`${step} ${task}${because}`);
    else if (step === "waveStarted" || step === "waveEnded") taken.push(`${step} ${wave}`);
    else taken.push(step);
  }
  return taken;
}

/** What happens to a started attempt: how it ends, and whether its body goes on. */
interface Fate {
  readonly kind: "succeed" | "fail" | "timeOut" | "retry";
  readonly lingers: boolean;
  readonly isLost: boolean;
}

const fates: fc.Arbitrary<Fate> = fc.record({
  kind: fc.constantFrom("succeed", "succeed", "succeed", "fail", "timeOut", "retry"),
  lingers: fc.boolean(),
  isLost: fc.integer({ min: 0, max: 9 }).map((n) => n === 0),
});

interface Case {
  readonly dag: Dag;
  readonly fates: readonly Fate[];
  readonly picks: readonly number[];
  readonly schedule: "waves" | "ready";
  readonly maxConcurrency: number;
  readonly failFast: boolean;
  readonly stopAfter: number | undefined;
  /** Per task and resource. */
  readonly demands: readonly (readonly number[])[];
}

const most = 25;
const capacities = [10, 3];
const cases: fc.Arbitrary<Case> = fc.record({
  dag: dagsOf({ minLength: 1, maxLength: most }),
  fates: fc.array(fates, { minLength: 3 * most, maxLength: 3 * most }),
  picks: fc.array(fc.nat(), { minLength: 200, maxLength: 200 }),
  schedule: fc.constantFrom("waves", "ready"),
  maxConcurrency: fc.integer({ min: 1, max: 6 }),
  failFast: fc.boolean(),
  stopAfter: fc.option(fc.nat({ max: 40 }), { nil: undefined, freq: 4 }),
  demands: fc.array(fc.tuple(fc.constantFrom(0, 0, 1, 4, 10), fc.constantFrom(0, 0, 0, 1, 3)), {
    minLength: most,
    maxLength: most,
  }),
});

/** Drives a machine by chance, and looks at each step whether it may be; gives what was wrong. */
function drive(one: Case): string[] {
  const { dag, maxConcurrency } = one;
  const resources: Resource[] = capacities.map((capacity, at) => ({
    name: `r${at}`,
    capacity,
    demand: Float64Array.from(dag, (_, task) => one.demands[task]?.[at] ?? 0),
  }));
  const { schedule, failFast } = one;
  const machine = machineOf(dag, { schedule, failFast, maxConcurrency, resources });
  const wrong: string[] = [];
  const check = (holds: boolean, claim: string): void => {
    if (!holds) wrong.push(claim);
  };
  const ended = new Map<number, TaskOutcome>();
  const because = new Map<number, number>();
  const running = new Set<number>();
  const lingering = new Set<number>();
  const lost = new Set<number>();
  const waiting = new Set<number>();
  const attempts = dag.map(() => 0);
  let settles = 0;
  let stops = 0;
  let picked = 0;
  const chance = (below: number): number => (one.picks[picked++ % one.picks.length] ?? 0) % below;

  const finish = (task: number, outcome: TaskOutcome): void => {
    check(!ended.has(task), `D1: ${task} ends once`);
    ended.set(task, outcome);
  };
  const apply = (): void => {
    for (let step = machine.next(); step !== "idle"; step = machine.next()) {
      check(settles === 0, "nothing comes after settle");
      const { task } = machine;
      switch (step) {
        case "start":
          check(!ended.has(task) && !running.has(task), `${task} starts once at a time`);
          check(!lingering.has(task) && !lost.has(task), `${task} runs beside its own body`);
          check(stops === 0, "nothing starts after a stop");
          for (const before of dag[task] ?? [])
            check(ended.get(before) === "succeeded", `D1: ${task} before ${before}`);
          running.add(task);
          check(machine.isCurrent(task, machine.epochOf(task)), "a started attempt is current");
          attempts[task] = (attempts[task] ?? 0) + 1;
          break;
        case "skip":
          finish(task, "skipped");
          because.set(task, machine.cause);
          break;
        case "cancel":
          waiting.delete(task);
          finish(task, "cancelled");
          break;
        case "stop":
          stops++;
          break;
        case "settle":
          settles++;
          check(ended.size === dag.length, "settle comes after the last outcome");
          check(lingering.size === 0, "settle waits for bodies within their grace");
          break;
        case "ready":
        case "waveStarted":
        case "waveEnded":
          break;
      }
      const busy = [...running, ...lingering, ...lost];
      check(busy.length <= maxConcurrency, "D3: no more at a time than there are slots");
      for (const [at, { capacity, demand }] of resources.entries())
        check(
          busy.reduce((sum, busyTask) => sum + (demand[busyTask] ?? 0), 0) <= capacity,
          `no more of resource ${at} than there is`,
        );
    }
  };
  const linger = (task: number, { lingers }: Fate): boolean => {
    if (lingers) lingering.add(task);
    return lingers;
  };
  const endOne = (task: number): void => {
    const fate = one.fates[task * 3 + Math.min(2, (attempts[task] ?? 1) - 1)] as Fate;
    running.delete(task);
    if (stops > 0 && fate.kind !== "succeed") {
      finish(task, "cancelled");
      machine.end(task, "cancelled", linger(task, fate));
    } else if (fate.kind === "succeed") {
      finish(task, "succeeded");
      machine.succeed(task);
    } else if (fate.kind === "retry" && (attempts[task] ?? 0) < 3) {
      waiting.add(task);
      machine.wait(task, linger(task, fate));
    } else {
      const outcome = fate.kind === "timeOut" ? "timedOut" : "failed";
      finish(task, outcome);
      machine.end(task, outcome, linger(task, fate));
    }
    expect(() => machine.succeed(task)).toThrow("a task");
  };
  apply();
  const isGoing = (): boolean => settles === 0 && wrong.length === 0;
  for (let step = 0; isGoing() && step < 2_000; step++) {
    if (step === one.stopAfter) {
      machine.stop("cancelled");
      apply();
      continue;
    }
    const able = [...waiting].filter((task) => !lingering.has(task));
    const moves: (() => void)[] = [
      ...[...running].map((task) => () => endOne(task)),
      ...able.map((task) => () => {
        waiting.delete(task);
        machine.again(task);
      }),
      ...[...lingering].map((task) => () => {
        lingering.delete(task);
        if (one.fates[task]?.isLost !== true) return machine.leave(task);
        if (waiting.delete(task)) {
          finish(task, "timedOut");
          machine.end(task, "timedOut");
        }
        lost.add(task);
        machine.giveUp(task);
      }),
      // One that was given up may end all the same.
      ...[...lost].map((task) => () => {
        if (chance(3) > 0) return;
        lost.delete(task);
        machine.leave(task);
      }),
    ];
    check(moves.length > 0, "it hangs");
    moves[chance(Math.max(1, moves.length))]?.();
    apply();
  }
  check(settles === 1, "it settles, once");
  // D3: a skip is due to something before it that did not succeed; whatever depends on such a one has not run.
  const roots = rootsOf(dag, ended);
  for (const [task, outcome] of ended) {
    const failed = roots[task] as ReadonlySet<number>;
    if (outcome === "skipped")
      check(failed.has(because.get(task) ?? -1), `D3: ${task} is skipped because of its root`);
    else if (failed.size > 0) check(outcome === "cancelled", `D3: ${task} is skipped`);
    if (outcome === "cancelled") check(stops > 0, `${task} is cancelled by a stop only`);
  }
  return wrong;
}

/** For each task those before it that ran, and did not succeed. */
function rootsOf(dag: Dag, ended: ReadonlyMap<number, TaskOutcome>): ReadonlySet<number>[] {
  const ancestors: Set<number>[] = dag.map(() => new Set());
  for (const [at, before] of dag.entries())
    for (const one of before)
      for (const old of [one, ...(ancestors[one] ?? [])]) ancestors[at]?.add(old);
  return ancestors.map(
    (all) =>
      new Set([...all].filter((one) => ["failed", "timedOut"].includes(ended.get(one) ?? ""))),
  );
}

describe("RunMachine", () => {
  it("D1, D3: ends every task once, starts none early, skips what depends on a failure, within its slots and resources, and never hangs", () => {
    fc.assert(
      fc.property(cases, (one) => {
        expect(drive(one)).toEqual([]);
      }),
      { numRuns: 600 },
    );
  });

  it("skips each dependant of two failures once, because of the first", () => {
    const machine = machineOf([[], [], [0, 1], [2]]);
    steps(machine);
    machine.end(1, "failed");
    expect(steps(machine)).toEqual(["skip 2 because 1", "skip 3 because 1"]);
    machine.end(0, "failed");
    expect(steps(machine)).toEqual(["waveEnded 0", "settle"]);
  });

  it("names the root of a skip, not the skipped task between", () => {
    const machine = machineOf([[], [0], [1], [2]], {});
    steps(machine);
    machine.end(0, "timedOut");
    expect(steps(machine)).toEqual([
      "skip 1 because 0",
      "skip 2 because 0",
      "skip 3 because 0",
      "settle",
    ]);
  });

  it("settles at once where there is nothing to do", () => {
    expect(steps(machineOf([]))).toEqual(["settle"]);
    const stopped = machineOf([]);
    stopped.stop("cancelled");
    expect(steps(stopped)).toEqual(["settle"]);
  });

  it("cancels all when it is stopped before its start, and then starts nothing", () => {
    const machine = machineOf([[], [0]]);
    machine.stop("cancelled");
    expect(steps(machine)).toEqual(["stop", "cancel 0", "cancel 1", "settle"]);
    expect(machine.status).toBe("cancelled");
  });

  it("by waves goes on with the wave after a failure in it, and with the tasks that do not depend on it", () => {
    const machine = machineOf([[], [], [0], [1]]);
    steps(machine);
    machine.end(0, "failed");
    machine.succeed(1);
    expect(steps(machine)).toEqual(["skip 2 because 0", "waveEnded 0", "waveStarted 1", "start 3"]);
  });

  it("when ready starts a task as the last one before it has succeeded, whatever else still runs", () => {
    const machine = machineOf([[], [], [0], [1]], { schedule: "ready" });
    expect(steps(machine)).toEqual(["start 0", "start 1"]);
    machine.succeed(1);
    expect(steps(machine)).toEqual(["start 3"]);
  });

  it("starts what has most dependants first, and of equals the one that came first", () => {
    // 3 has three after it, 1 has two, 0 and 2 none.
    const machine = machineOf([[], [], [], [], [1, 3], [1, 3], [3]], { maxConcurrency: 1 });
    const order: string[] = [];
    for (let step = steps(machine); step[0] !== "settle"; step = steps(machine)) {
      order.push(...step);
      machine.succeed(Number(step[0]?.slice(6)));
    }
    expect(order.map((step) => step.slice(6))).toEqual(["3", "1", "0", "2", "6", "4", "5"]);
  });

  it("D3: does not use the slot of a body that goes on after its attempt, until it has ended", () => {
    const machine = machineOf([[], [], []], { maxConcurrency: 1 });
    steps(machine);
    machine.end(0, "timedOut", true);
    expect(steps(machine)).toEqual([]);
    machine.leave(0);
    expect(steps(machine)).toEqual(["start 1"]);
  });

  it("gives up what waits for bodies that may never end, and names one of them", () => {
    const machine = machineOf([[], [], [0, 1]], { maxConcurrency: 1 });
    steps(machine);
    machine.end(0, "timedOut", true);
    machine.giveUp(0);
    expect(steps(machine)).toEqual(["skip 2 because 0", "stop", "cancel 1 because 0", "settle"]);
    expect(machine.status).toBe("failed");
    // It ends at last: nobody is there to start.
    machine.leave(0);
    expect(steps(machine)).toEqual([]);
  });

  it("refuses the work of an attempt whose epoch is over", () => {
    const machine = machineOf([[]], {});
    steps(machine);
    const first = machine.epochOf(0);
    expect(machine.isCurrent(0, first)).toBe(true);
    machine.wait(0);
    expect(machine.isCurrent(0, first)).toBe(false);
    machine.again(0);
    steps(machine);
    expect([machine.isCurrent(0, first), machine.isCurrent(0, machine.epochOf(0))]).toEqual([
      false,
      true,
    ]);
  });

  it("lets nobody who wants the same pass a task that had to wait, and others go on", () => {
    const memory = { name: "memory", capacity: 10, demand: [6, 6, 1, 0] };
    const machine = machineOf([[], [], [], []], { resources: [memory] });
    // 2 would fit beside 0, but 1 came first and waits for the same.
    expect(steps(machine)).toEqual(["start 0", "start 3"]);
    machine.succeed(0);
    expect(steps(machine)).toEqual(["start 1", "start 2"]);
  });

  it("lets nobody pass it who becomes ready later either, and wants but one of the same", () => {
    const resources = [
      { name: "memory", capacity: 10, demand: [6, 6, 1, 0] },
      { name: "few", capacity: 1, demand: [0, 1, 0, 0] },
    ];
    const machine = new RunMachine(shapeOf(4, [3, 2]) as DagShape, { resources });
    expect(steps(machine)).toEqual(["start 3", "start 0"]);
    machine.succeed(3);
    expect(steps(machine)).toEqual([]);
    machine.succeed(0);
    expect(steps(machine)).toEqual(["start 1", "start 2"]);
  });

  it("starts nothing beside what others have of a resource, and says so, until it is told to", () => {
    const memory = { name: "memory", capacity: 10, demand: [6] };
    const machine = machineOf([[]], { resources: [memory] });
    machine.setOutside(0, 5);
    expect(steps(machine)).toEqual([]);
    expect(machine.waitsForOutside).toBe(true);
    machine.setOutside(0, 4);
    expect(machine.waitsForOutside).toBe(false);
    machine.setOutside(0, 5);
    machine.ignoreOutside();
    expect(steps(machine)).toEqual(["start 0"]);
  });

  it("stops at the first failure where it is told to, and cancels because of it", () => {
    const machine = machineOf([[], [], [0], []], { failFast: true, maxConcurrency: 2 });
    expect(steps(machine)).toEqual(["start 0", "start 1"]);
    machine.end(0, "failed");
    expect(steps(machine)).toEqual(["skip 2 because 0", "stop", "cancel 3 because 0"]);
    machine.end(1, "cancelled");
    expect(steps(machine)).toEqual(["settle"]);
    expect(machine.status).toBe("failed");
  });

  it("takes no notice of a failure that is none of the run's", () => {
    const tolerated = Uint8Array.of(1, 0);
    const machine = machineOf([[], []], { failFast: true, tolerated });
    steps(machine);
    machine.end(0, "failed");
    machine.succeed(1);
    expect([steps(machine), machine.status]).toEqual([["settle"], "succeeded"]);
  });

  it("refuses the end of a task that has not started", () => {
    const machine = machineOf([[], [0]], {});
    steps(machine);
    expect(() => machine.succeed(1)).toThrow("a task that ends was started");
    machine.succeed(0);
    expect(() => machine.end(0, "failed")).toThrow("a task ends once");
  });

  it("takes a chain, a fan and a ladder of 100,000 tasks each, in flat arrays", () => {
    const count = 100_000;
    const chain = Array.from({ length: count - 1 }, (_, at) => [at, at + 1]).flat();
    const fan = Array.from({ length: count - 1 }, (_, at) => [0, at + 1]).flat();
    const ladder = Array.from({ length: count - 2 }, (_, at) => [at, at + 1, at, at + 2]).flat();
    for (const edges of [chain, fan, ladder])
      for (const schedule of ["waves", "ready"] as const) {
        const shape = shapeOf(count, edges);
        if ("cycle" in shape) throw new Error("no cycle is there");
        const machine = new RunMachine(shape, { schedule });
        let started = 0;
        let settled = 0;
        for (let step = machine.next(); step !== "idle"; step = machine.next())
          if (step === "start") {
            started++;
            machine.succeed(machine.task);
          } else if (step === "settle") settled++;
        expect([started, settled]).toEqual([count, 1]);
      }
  });
});
