/** D2: a run whose machine dies at any of its events is taken up by the next process, and ends as if nothing had been. */
import { simulate, type FaultPlan, type SimReport } from "@selvage/sim";
import { expect, it } from "vitest";
import { scenarioOf, type Sizes } from "../campaigns/resume.campaign.ts";

/** Twenty tasks in a row of diamonds: each reads the one or two before it, and each third one that ten before. */
const sizes: Sizes = {
  tasks: Array.from({ length: 20 }, (_, at) => ({
    name: `t${at}`,
    before: [at - 1, at - 2, at % 3 === 0 ? at - 10 : -1]
      .filter((one) => one >= 0 && (at % 4 !== 0 || one !== at - 1))
      .map((one) => `t${one}`),
    outputs: at === 7 ? 16 : 1,
  })),
  fillingMost: 700,
  blocks: 3_072,
  checkpointTtlMs: 60_000,
  ttlMs: 2_000,
  spill: false,
  tickMs: 100,
  diskMs: 2,
  beyond: [],
  mischiefMost: 0,
  runsMost: 1,
};

function run(plan: FaultPlan): Promise<SimReport> {
  const shape = { warmUpMs: 1, chaosMs: 15_000, settleMs: 15_000 };
  // Once the run is done all is well: it need not be done again after the heal.
  return simulate({ ...scenarioOf(sizes), finally: [], seed: 1, shape, plan });
}

it("D2: 20 tasks whose power fails at any event of their run: each commits once, with the same outputs", async () => {
  const calm = await run([]);
  calm.assert();
  const events = calm.count("run.event");
  expect(events).toBeGreaterThan(100);
  expect([calm.count("resume.done"), calm.count("resume.restored")]).toEqual([1, 0]);
  let [taken, crashed] = [0, 0];
  for (let nth = 1; nth <= events; nth++) {
    const at = { on: "run.event", nth, plus: 0 } as const;
    const report = await run([{ kind: "crash", node: "a", loses: "unsynced", forMs: 50, at }]);
    report.assert();
    crashed += report.faults["crash"] ?? 0;
    expect([nth, report.count("resume.done")]).toEqual([nth, 1]);
    taken += report.count("resume.restored");
  }
  // But for what is told when all is done.
  expect(crashed).toBeGreaterThan(0.9 * events);
  // Half of the tasks, on average.
  expect(taken).toBeGreaterThan(5 * crashed);
}, 600_000);
