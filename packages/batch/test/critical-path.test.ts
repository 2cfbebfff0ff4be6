import { criticalPath, type ExecutionPlan, type TaskTimes } from "@selvage/batch";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { idle, planOf } from "./rig.ts";

type Edge = readonly [before: string, after: string];

const at = (name: string, startedAtMs: number, endedAtMs: number): TaskTimes => ({
  name,
  startedAtMs,
  endedAtMs,
});

/** Plans of up to 14 tasks with how long each takes, and how many may run at a time; undefined: by waves. */
const runs = fc
  .record({
    tooksMs: fc.array(fc.nat({ max: 20 }), { minLength: 1, maxLength: 14 }),
    pairs: fc.array(fc.tuple(fc.nat({ max: 13 }), fc.nat({ max: 13 })), { maxLength: 24 }),
    hands: fc.option(fc.integer({ min: 1, max: 14 }), { nil: undefined }),
  })
  .map(({ tooksMs, pairs, hands }) => {
    const edges = pairs
      .filter(([a, b]) => a !== b && Math.max(a, b) < tooksMs.length)
      .map(([a, b]): Edge => [`t${Math.min(a, b)}`, `t${Math.max(a, b)}`]);
    const plan = planOf(
      tooksMs.map((_, index) => idle(`t${index}`)),
      edges,
    );
    return { plan, times: timesOf(plan, tooksMs, hands) };
  });

function timesOf(
  plan: ExecutionPlan,
  tooksMs: readonly number[],
  hands: number | undefined,
): TaskTimes[] {
  const ends = new Map<string, number>();
  const freeMs: number[] = Array.from({ length: hands ?? 0 }, () => 1_000);
  let barrierMs = 1_000;
  const times: TaskTimes[] = [];
  for (const wave of plan.waves()) {
    for (const name of wave) {
      const task = plan.tasks.find((one) => one.name === name);
      const readyMs = Math.max(1_000, ...(task?.after ?? []).map((one) => ends.get(one) as number));
      const hand = freeMs.indexOf(Math.min(...freeMs));
      const startedAtMs = hands === undefined ? barrierMs : Math.max(readyMs, freeMs[hand] ?? 0);
      const endedAtMs = startedAtMs + (tooksMs[Number(name.slice(1))] as number);
      if (hands !== undefined) freeMs[hand] = endedAtMs;
      ends.set(name, endedAtMs);
      times.push(at(name, startedAtMs, endedAtMs));
    }
    barrierMs = Math.max(...ends.values());
  }
  return times;
}

/** When the run would have ended, had one task ended `laterMs` later. No task starts earlier than it did. */
function endWith(
  plan: ExecutionPlan,
  times: readonly TaskTimes[],
  name: string,
  laterMs: number,
): number {
  const observed = new Map(times.map((one) => [one.name, one]));
  const waves = plan.waves();
  const isBarred = waves.every((wave, index) =>
    wave.every((one) =>
      waves
        .slice(0, index)
        .flat()
        .every((before) => ended(before, observed) <= started(one, observed)),
    ),
  );
  const ends = new Map<string, number>();
  let barrierMs = 0;
  for (const wave of waves) {
    for (const one of wave) {
      const task = plan.tasks.find((other) => other.name === one);
      const needsMs = isBarred
        ? barrierMs
        : Math.max(0, ...(task?.after ?? []).map((before) => ends.get(before) as number));
      const startMs = Math.max(started(one, observed), needsMs);
      const tookMs = ended(one, observed) - started(one, observed);
      ends.set(one, startMs + tookMs + (one === name ? laterMs : 0));
    }
    barrierMs = Math.max(...ends.values());
  }
  return Math.max(...ends.values());
}

const started = (name: string, of: ReadonlyMap<string, TaskTimes>): number =>
  of.get(name)?.startedAtMs as number;
const ended = (name: string, of: ReadonlyMap<string, TaskTimes>): number =>
  of.get(name)?.endedAtMs as number;

describe("criticalPath()", () => {
  const diamond = planOf(
    ["extract", "aggregate", "enrich", "load"].map((name) => idle(name)),
    [
      ["extract", "aggregate"],
      ["extract", "enrich"],
      ["aggregate", "load"],
      ["enrich", "load"],
    ],
  );

  it("is the slower way through a diamond, with the slack of the other", () => {
    const path = criticalPath(diamond, [
      at("extract", 100, 150),
      at("aggregate", 150, 180),
      at("enrich", 150, 250),
      at("load", 255, 260),
    ]);
    expect(path.steps).toEqual([
      { name: "extract", tookMs: 50, waitedMs: 0, after: undefined },
      { name: "enrich", tookMs: 100, waitedMs: 0, after: "dependency" },
      { name: "load", tookMs: 5, waitedMs: 5, after: "dependency" },
    ]);
    expect([path.elapsedMs, path.leastMs]).toEqual([160, 155]);
    expect(Object.fromEntries(path.slackMs)).toEqual({
      extract: 5,
      aggregate: 75,
      enrich: 5,
      load: 0,
    });
  });

  it("names the task that held a wave back, though nothing depends on it", () => {
    const plan = planOf([idle("a"), idle("slow"), idle("b")], [["a", "b"]]);
    const path = criticalPath(plan, [at("a", 0, 10), at("slow", 0, 90), at("b", 90, 100)]);
    expect(path.steps.map(({ name, after }) => [name, after])).toEqual([
      ["slow", undefined],
      ["b", "wave"],
    ]);
    expect(path.leastMs).toBe(90);
    const ready = criticalPath(plan, [at("a", 0, 10), at("slow", 0, 90), at("b", 10, 20)]);
    expect(ready.steps.map(({ name }) => name)).toEqual(["slow"]);
    expect(ready.slackMs.get("b")).toBe(70);
  });

  it("has the last task also where it took no time that the clock has seen", () => {
    const plan = planOf([idle("a"), idle("b"), idle("c")], [["a", "b"]]);
    const whole = criticalPath(plan, [at("a", 0, 10), at("b", 10, 10), at("c", 0, 5)]);
    expect(whole.steps.map(({ name }) => name)).toEqual(["a", "b"]);
    const all = criticalPath(
      plan,
      ["a", "b", "c"].map((name) => at(name, 7, 7)),
    );
    expect(all.steps.map(({ name }) => name)).toEqual(["a", "b"]);
  });

  it("leaves out what never started, and is empty where nothing did", () => {
    const never = { startedAtMs: undefined, endedAtMs: undefined };
    const path = criticalPath(diamond, [
      at("extract", 0, 10),
      ...["aggregate", "enrich", "load"].map((name) => ({ name, ...never })),
    ]);
    expect(path.steps.map(({ name }) => name)).toEqual(["extract"]);
    expect(criticalPath(diamond, [])).toEqual({
      steps: [],
      elapsedMs: 0,
      leastMs: 0,
      slackMs: new Map(),
    });
  });

  it("adds up to the run's time, whatever the plan and the schedule", () => {
    fc.assert(
      fc.property(runs, ({ plan, times }) => {
        const { steps, elapsedMs, leastMs } = criticalPath(plan, times);
        const sumMs = steps.reduce((ms, { tookMs, waitedMs }) => ms + tookMs + waitedMs, 0);
        expect(sumMs).toBe(elapsedMs);
        const endMs = Math.max(...times.map((one) => one.endedAtMs as number));
        expect(elapsedMs).toBe(endMs - Math.min(...times.map((one) => one.startedAtMs as number)));
        expect(leastMs).toBeLessThanOrEqual(Math.max(...times.map((one) => one.endedAtMs ?? 0)));
        for (const { waitedMs } of steps) expect(waitedMs).toBeGreaterThanOrEqual(0);
      }),
    );
  });

  it("gives each task the most by which it could have been later, and not a millisecond more", () => {
    fc.assert(
      fc.property(runs, ({ plan, times }) => {
        const { slackMs } = criticalPath(plan, times);
        const endMs = Math.max(...times.map((one) => one.endedAtMs as number));
        for (const { name } of times) {
          const slack = slackMs.get(name) as number;
          expect(endWith(plan, times, name, slack)).toBe(endMs);
          expect(endWith(plan, times, name, slack + 1)).toBe(endMs + 1);
        }
      }),
    );
  });

  it("takes a chain and a layer of 20,000 tasks", () => {
    const names = Array.from({ length: 20_000 }, (_, index) => `t${index}`);
    const chain = planOf(
      names.map((name) => idle(name)),
      names.slice(1).map((name, index): Edge => [names[index] as string, name]),
    );
    const path = criticalPath(
      chain,
      names.map((name, index) => at(name, index, index + 1)),
    );
    expect(path.steps).toHaveLength(20_000);
    const layer = planOf(names.map((name) => idle(name)));
    const wide = criticalPath(
      layer,
      names.map((name, index) => at(name, index, index + 1)),
    );
    expect(wide.steps.map(({ name }) => name)).toEqual(["t19999"]);
  });
});
