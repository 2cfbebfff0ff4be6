/** A campaign: a scenario whose sizes and fault plans each seed draws anew. */
import type { RandomStream } from "./random.ts";
import type { Scenario } from "./simulate.ts";
import type { SwarmOptions } from "./swarm.ts";

/** What `npm run sim` runs. A file exports one as `campaign`, or several as `campaigns`. */
export interface Campaign {
  readonly name: string;
  /** What plans are drawn from, for one seed. Gets the same stream as `scenario`, so that both can draw the same sizes. */
  readonly swarm: (random: RandomStream) => SwarmOptions;
  /** A fresh scenario, for one run. */
  readonly scenario: (random: RandomStream) => Scenario;
  /** The properties that it holds a program to, each with the number of its invariant: `"L1: ..."`. */
  readonly properties: readonly string[];
  /** Counters that must not stay at zero over a campaign. */
  readonly sometimes: readonly string[];
}
