/** Makes a plan that breaks something as small as it goes, and the report of its run. */
import type { Fault, FaultPlan } from "./faults.ts";
import type { SimReport } from "./report.ts";
import { simulate, type Scenario } from "./simulate.ts";

/** Runs that making a plan smaller may take, unless told otherwise. */
const mostRuns = 400;

/**
 * Takes faults out, and makes what is left shorter and milder, as long as the same property is violated. The seed stays.
 * Costs up to `runs` runs.
 */
export async function minimise(
  scenario: () => Scenario,
  failed: SimReport,
  runs: number = mostRuns,
): Promise<SimReport> {
  const { seed, property } = failed;
  let best = failed;
  let left = runs;
  const fails = async (plan: FaultPlan): Promise<boolean> => {
    if (left-- <= 0) return false;
    const report = await simulate({ ...scenario(), seed, plan });
    if (report.property !== property) return false;
    best = report;
    return true;
  };
  await removeFaults(() => best.plan, fails);
  await softenFaults(() => best.plan, fails);
  await removeFaults(() => best.plan, fails);
  return best;
}

type Fails = (plan: FaultPlan) => Promise<boolean>;

// Halves first, then quarters, down to single faults.
async function removeFaults(plan: () => FaultPlan, fails: Fails): Promise<void> {
  for (let size = Math.max(1, plan().length >> 1); size >= 1; size = size === 1 ? 0 : size >> 1)
    for (let at = 0; at < plan().length;) {
      const smaller = plan().toSpliced(at, size);
      if (!(await fails(smaller))) at += size;
    }
}

async function softenFaults(plan: () => FaultPlan, fails: Fails): Promise<void> {
  for (let at = 0; at < plan().length; at++)
    for (const [name, least] of numbers)
      for (;;) {
        const fault = plan()[at] as Fault & Record<string, unknown>;
        const value = fault[name];
        if (typeof value !== "number" || value <= least) break;
        const softer = { ...fault, [name]: least + ((value - least) >> 1) } as Fault;
        if (!(await fails(plan().with(at, softer)))) break;
      }
}

// What a fault may have, and the least that still is one.
const numbers: readonly (readonly [string, number])[] = [
  ["forMs", 1],
  ["lateMs", 1],
  ["in1000", 1],
  ["times", 1],
  ["slowMs", 1],
];
