/** What a user's test looks like: `docs/recipes/property-test-your-failover.md` tells it. */
import { fc, test as property } from "@fast-check/vitest";
import { arb, minimise, simulate, SimulationFailure, type FaultPlan } from "@selvage/sim";
import { describe, expect, it, test } from "vitest";
import { lock, workers } from "./lock.ts";

const plans = arb.faultPlan({ nodes: workers, maxFaults: 12, withinMs: 20_000 });

describe("a lease without a fence", { timeout: 120_000 }, () => {
  it("is found within two runs, and shrinks to one pause: each of three times, in the median", async () => {
    const budget = ["pause", "suspend"] as const;
    const pauses = arb.faultPlan({ nodes: workers, budget, maxFaults: 40, withinMs: 20_000 });
    const found: number[] = [];
    for (const seed of [1, 2, 3]) {
      let runs = 0;
      let runsToFind = Infinity;
      const holds = async (run: string, plan: FaultPlan): Promise<void> => {
        runs++;
        const report = await simulate({ ...lock(false), seed: run, plan });
        if (report.property !== undefined) runsToFind = Math.min(runsToFind, runs);
        report.assert();
      };
      const outcome = await fc.check(fc.asyncProperty(arb.seed(), pauses, holds), { seed });
      expect(outcome.failed).toBe(true);
      const [, plan] = outcome.counterexample as [string, FaultPlan];
      expect(plan.map(({ kind }) => kind)).toHaveLength(1);
      found.push(runsToFind);
    }
    expect(found.toSorted((a, b) => a - b)[1]).toBeLessThanOrEqual(2);
  });

  it("is found under every kind of fault as well, within 2,000 seeds, and made three faults or fewer", async () => {
    const drawn = fc.sample(plans, { seed: 7, numRuns: 2_000 });
    for (const [seed, plan] of drawn.entries()) {
      const report = await simulate({ ...lock(false), seed, plan });
      if (report.property === undefined) continue;
      const least = await minimise(() => lock(false), report);
      expect(least.property).toBe(report.property);
      expect(least.plan.length).toBeLessThanOrEqual(3);
      expect(() => least.assert()).toThrow(SimulationFailure);
      return;
    }
    expect.unreachable("the planted bug was not found");
  });
});

describe("with a fence at the sink", { timeout: 120_000 }, () => {
  property.prop([arb.seed(), plans], { numRuns: 60, seed: 20_261_122 })(
    "E1: no stale effect, whatever happens",
    async (seed, plan) => {
      const report = await simulate({ ...lock(true), seed, plan });
      report.assert();
    },
  );

  test("the fence is what does it: stale writes came, and were refused", async () => {
    let refused = 0;
    for (const [seed, plan] of fc.sample(plans, { seed: 3, numRuns: 60 }).entries()) {
      const report = await simulate({ ...lock(true), seed, plan });
      refused += report.count("sink.refused");
    }
    expect(refused).toBeGreaterThan(0);
  });
});
