/** The checks that come with the simulator. Each call makes a new one, for one run. */
import {
  epochsMonotone,
  holderStopsFirst,
  noStaleEffect,
  sealBeforeServe,
} from "./fence-checks.ts";
import { conservation, noEffectAfterExpiry, singleTerminalState, zeroed } from "./lease-checks.ts";
import {
  always,
  drainedWithin,
  eventually,
  exactlyOnce,
  linearizable,
  never,
} from "./run-checks.ts";

export { holdTo, Violation, type Check, type FinishedRun, type Verdict } from "./check.ts";
export type { HolderStopsFirstOptions } from "./fence-checks.ts";
export type { EventuallyOptions, ExactlyOnceOptions, LinearizableOptions } from "./run-checks.ts";

/** Rules to hold a run to. */
export const check: {
  readonly conservation: typeof conservation;
  readonly singleTerminalState: typeof singleTerminalState;
  readonly noEffectAfterExpiry: typeof noEffectAfterExpiry;
  readonly zeroed: typeof zeroed;
  readonly epochsMonotone: typeof epochsMonotone;
  readonly holderStopsFirst: typeof holderStopsFirst;
  readonly noStaleEffect: typeof noStaleEffect;
  readonly sealBeforeServe: typeof sealBeforeServe;
  readonly exactlyOnce: typeof exactlyOnce;
  readonly linearizable: typeof linearizable;
  readonly drainedWithin: typeof drainedWithin;
  readonly eventually: typeof eventually;
  readonly always: typeof always;
  readonly never: typeof never;
} = {
  conservation,
  singleTerminalState,
  noEffectAfterExpiry,
  zeroed,
  epochsMonotone,
  holderStopsFirst,
  noStaleEffect,
  sealBeforeServe,
  exactlyOnce,
  linearizable,
  drainedWithin,
  eventually,
  always,
  never,
};
