/** What a suite is: the suites of `main.ts` are one file each. */
import type { Effort, Result, Target } from "./harness.ts";

/** A question, and how to answer it. */
export interface Suite {
  readonly name: string;
  readonly question: string;
  run(effort: Effort): Promise<readonly Result[]>;
}

/** `value` must be at least `floor`. */
export function atLeast(what: string, value: number, floor: number): Target {
  return { what: `${what} >= ${floor}`, isMet: value >= floor };
}

/** `value` must be at most `ceiling`. */
export function atMost(what: string, value: number, ceiling: number): Target {
  return { what: `${what} <= ${ceiling}`, isMet: value <= ceiling };
}
