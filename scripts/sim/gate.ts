/** What a run must have seen, beside that nothing was violated: one in which little goes wrong proves little. */
import { campaignShortcomings } from "@selvage/sim";
import type { Summary } from "./summary.ts";

/** From so many seeds on, a run is held to all of this. */
const GATE_SEEDS = 2_000;

/** Faults that must have struck in a gate's run: 10 in each of its seeds. */
const FAULTS_LEAST = 20_000;

/** The part of the lines that must have run, of all packages together. */
const COVERAGE_LEAST = 0.85;

/** What was run. */
export interface Asked {
  readonly seeds: number;
  /** Whether these are all of the project's own campaigns, with the plans that they draw: other ones draw what they like. */
  readonly isWhole: boolean;
  /** Whether a counter may not stay at zero, however few seeds there are. */
  readonly requireSometimes: boolean;
}

/** What a run falls short of, one line each. */
export function shortcomings(
  { seeds, sometimes, faults, coverage }: Summary,
  asked: Asked,
): readonly string[] {
  const isGate = asked.seeds >= GATE_SEEDS;
  const isSometimesHeld = isGate || asked.requireSometimes;
  const told = [...campaignShortcomings({ seeds, sometimes }, isSometimesHeld)];
  if (!isGate || !asked.isWhole) return told;
  const struck = Object.values(faults).reduce((sum, count) => sum + count, 0);
  if (struck < FAULTS_LEAST) told.push(`${struck} faults struck, fewer than ${FAULTS_LEAST}`);
  for (const [kind, count] of Object.entries(faults))
    if (count === 0) told.push(`a kind of fault never struck: ${kind}`);
  const ran = coverage["all"] ?? 0;
  if (ran < COVERAGE_LEAST)
    told.push(`${(ran * 100).toFixed(1)} % of the lines ran, less than ${COVERAGE_LEAST * 100} %`);
  return told;
}
