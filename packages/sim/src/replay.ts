/** Running a kept failure again. */
import { readKept, type KeptFailure, type SimReport } from "./report.ts";
import { simulate, type Scenario } from "./simulate.ts";

/**
 * Runs a failure that was kept, by its seed and plan, on the program as it is now. The report says whether it still fails, and
 * `report.traceHash` whether the run is still the same.
 * @param kept - a file that `SimReport.keep` wrote, or what it holds.
 * @throws FabricError `DECODE`: the file holds no failure.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { check, replay, simulate, type Scenario } from "@selvage/sim";
 *
 * const scenario = (): Scenario => ({
 *   name: "never-granted",
 *   world(w) {
 *     w.node("a", (node) => void w.fabric(node).mem().acquire());
 *   },
 *   invariants: [check.never("lease.granted")],
 * });
 * const report = await simulate({ ...scenario(), seed: 3 });
 * const again = await replay(report.toKept(), scenario());
 * assert.equal(again.property, report.property);
 * assert.equal(again.traceHash, report.traceHash);
 * ```
 */
export async function replay(kept: string | KeptFailure, scenario: Scenario): Promise<SimReport> {
  const { seed, plan } = typeof kept === "string" ? readKept(kept) : kept;
  return simulate({ ...scenario, seed, plan });
}
