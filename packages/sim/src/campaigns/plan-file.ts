/** Files that hold a plan: a failure that was kept, or a list of faults. */
import { readFileSync } from "node:fs";
import { FabricError } from "@selvage/fabric";
import { parsePlan } from "../parse-plan.ts";
import type { KeptFailure } from "../report.ts";

/** A plan, and where it is that of a kept failure, the run that it belongs to. */
export type PlannedRun = Pick<KeptFailure, "plan"> &
  Partial<Pick<KeptFailure, "seed" | "scenario">>;

/** Reads a plan from a file. @throws FabricError `NOT_FOUND`: it cannot be read. `DECODE`: it holds no plan. */
export function readPlan(path: string): PlannedRun {
  const read = parsed(path);
  const planned = (Array.isArray(read) ? { plan: read } : (read ?? {})) as Partial<PlannedRun>;
  if (!Array.isArray(planned.plan))
    throw new FabricError("DECODE", "expected a kept failure, or a list of faults", { path });
  try {
    return { ...planned, plan: parsePlan(planned.plan) };
  } catch (cause) {
    throw new FabricError("DECODE", (cause as Error).message, { path }, { cause });
  }
}

function parsed(path: string): unknown {
  try {
    return JSON.parse(readFileSync(path, "utf8"));
  } catch (cause) {
    const code = cause instanceof SyntaxError ? "DECODE" : "NOT_FOUND";
    throw new FabricError(code, (cause as Error).message, { path }, { cause });
  }
}
