import type { TaskOutcome } from "@selvage/batch";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { RunMachine, type RunEffect } from "../src/run-machine.ts";
import { idle, planOf } from "./rig.ts";

/** A DAG as the predecessors of each task, all of lower numbers. */
const dags = fc
  .array(fc.array(fc.nat(), { maxLength: 4 }), { minLength: 1, maxLength: 25 })
  .map((rows) => rows.map((row, at) => (at === 0 ? [] : [...new Set(row.map((n) => n % at))])));

const planFrom = (dag: readonly (readonly number[])[]) =>
  planOf(
    dag.map((_, at) => idle(`t${at}`)),
    dag.flatMap((before, at) => before.map((one) => [`t${one}`, `t${at}`] as const)),
  );

const endings = fc.constantFrom<TaskOutcome>("succeeded", "succeeded", "failed", "timedOut");

describe("RunMachine", () => {
  it("D1, D3: gives every task exactly one outcome, whatever ends how and in which order", () => {
    fc.assert(
      fc.property(
        dags,
        fc.array(endings, { minLength: 25, maxLength: 25 }),
        fc.infiniteStream(fc.nat()),
        fc.option(fc.nat({ max: 30 })),
        (dag, outcomes, picks, cancelAfter) => {
          const machine = new RunMachine(planFrom(dag));
          const waves = planFrom(dag).waves();
          const ended = new Map<string, TaskOutcome>();
          const because = new Map<string, string>();
          const running = new Set<string>();
          const trace: string[] = [];
          let settles = 0;
          const wrong: string[] = [];
          const check = (holds: boolean, claim: string): void => {
            if (!holds) wrong.push(claim);
          };
          const apply = (effects: readonly RunEffect[]): void => {
            for (const effect of effects) {
              check(settles === 0, "nothing comes after settle");
              switch (effect.do) {
                case "start": {
                  const { task } = effect;
                  check(!ended.has(task) && !running.has(task), `${task} starts once`);
                  running.add(task);
                  const earlier = waves.slice(
                    0,
                    waves.findIndex((wave) => wave.includes(task)),
                  );
                  check(
                    earlier.flat().every((name) => ended.has(name)),
                    `a barrier stands before ${task}`,
                  );
                  check(
                    (dag[numberOf(task)] ?? []).every(
                      (one) => ended.get(`t${one}`) === "succeeded",
                    ),
                    `all before ${task} have succeeded`,
                  );
                  break;
                }
                case "skip":
                case "cancel":
                  check(!ended.has(effect.task) && !running.has(effect.task), "not both");
                  ended.set(effect.task, effect.do === "skip" ? "skipped" : "cancelled");
                  if (effect.do === "skip") because.set(effect.task, effect.because);
                  break;
                case "wave":
                  trace.push(`${effect.state} ${effect.index}`);
                  break;
                case "settle":
                  settles++;
                  check(running.size === 0 && ended.size === dag.length, "settle comes last");
                  break;
              }
            }
          };
          apply(machine.start());
          for (let step = 0; running.size > 0; step++) {
            if (step === cancelAfter) apply(machine.cancel());
            const names = [...running];
            const name = names[(picks.next().value ?? 0) % names.length] ?? "";
            const outcome: TaskOutcome = outcomes[numberOf(name)] ?? "succeeded";
            running.delete(name);
            ended.set(name, outcome);
            apply(machine.end(name, outcome));
            expect(() => machine.end(name, outcome)).toThrow("a task ends once");
          }
          expect([settles, ended.size, wrong]).toEqual([1, dag.length, []]);
          expect(machine.cancel()).toEqual([]);
          expect(wrongSkips(dag, ended, because)).toEqual([]);
          checkWaves(trace);
        },
      ),
      { numRuns: 300 },
    );
  });

  it("skips each dependant of two failures once, because of the first", () => {
    const machine = new RunMachine(planFrom([[], [], [0, 1], [2]]));
    machine.start();
    expect(machine.end("t1", "failed")).toEqual([
      { do: "skip", task: "t2", because: "t1" },
      { do: "skip", task: "t3", because: "t1" },
    ]);
    expect(machine.end("t0", "failed")).toEqual([
      { do: "wave", index: 0, state: "ended" },
      { do: "settle" },
    ]);
  });

  it("names the root of a skip, not the skipped task between", () => {
    const machine = new RunMachine(planFrom([[], [0], [1], [2]]));
    machine.start();
    const skips = machine.end("t0", "timedOut").filter((effect) => effect.do === "skip");
    expect(skips.map(({ task, because }) => `${task} ${because}`)).toEqual([
      "t1 t0",
      "t2 t0",
      "t3 t0",
    ]);
  });

  it("settles at once where there is nothing to do", () => {
    expect(new RunMachine(planOf([])).start()).toEqual([{ do: "settle" }]);
    expect(new RunMachine(planOf([])).cancel()).toEqual([{ do: "settle" }]);
  });

  it("cancels all when it is cancelled before its start, and then starts nothing", () => {
    const machine = new RunMachine(planFrom([[], [0]]));
    expect(machine.cancel()).toEqual([
      { do: "cancel", task: "t0" },
      { do: "cancel", task: "t1" },
      { do: "settle" },
    ]);
    expect(machine.start()).toEqual([]);
  });

  it("goes on with the wave that runs after a failure in it, and with the tasks that do not depend on it", () => {
    const machine = new RunMachine(planFrom([[], [], [0], [1]]));
    machine.start();
    machine.end("t0", "failed");
    expect(machine.end("t1", "succeeded")).toEqual([
      { do: "wave", index: 0, state: "ended" },
      { do: "wave", index: 1, state: "started" },
      { do: "start", task: "t3" },
    ]);
  });

  it("refuses the end of a task that has not started, and of one that there is not", () => {
    const machine = new RunMachine(planFrom([[], [0]]));
    machine.start();
    expect(() => machine.end("t1", "succeeded")).toThrow("a task that ends was started");
    expect(() => machine.end("t9", "succeeded")).toThrow("a task of the plan");
  });
});

function numberOf(name: string): number {
  return Number(name.slice(1));
}

/**
 * D3: a task is skipped only if something before it failed, and that is its cause; it is skipped whenever something
 * did, unless it was cancelled first. Gives the tasks for which that does not hold.
 */
function wrongSkips(
  dag: readonly (readonly number[])[],
  ended: ReadonlyMap<string, TaskOutcome>,
  because: ReadonlyMap<string, string>,
): string[] {
  const ancestors = dag.map(() => new Set<number>());
  for (const [at, before] of dag.entries())
    for (const one of before)
      for (const old of [one, ...(ancestors[one] ?? [])]) ancestors[at]?.add(old);
  return [...ended.keys()].filter((name) => {
    const failed = [...(ancestors[numberOf(name)] ?? [])]
      .map((one) => `t${one}`)
      .filter((one) => ["failed", "timedOut"].includes(ended.get(one) ?? ""));
    const outcome = ended.get(name);
    if (outcome === "skipped") return !failed.includes(because.get(name) ?? "");
    return outcome !== "cancelled" && failed.length > 0;
  });
}

/** Waves start and end in turn, each once, in their order. */
function checkWaves(trace: readonly string[]): void {
  const indices = trace.map((line) => Number(line.split(" ")[1]));
  expect(indices).toEqual(indices.toSorted((a, b) => a - b));
  expect(trace.map((line) => line.split(" ")[0])).toEqual(
    trace.map((_, at) => (at % 2 === 0 ? "started" : "ended")),
  );
  expect(new Set(indices).size * 2).toBe(indices.length);
}
