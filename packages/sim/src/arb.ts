/** Arbitraries for fast-check: fault plans that shrink to few, short faults; and seeds. */
import fc from "fast-check";
import {
  FAULT_KINDS,
  SURVIVABLE,
  type Fault,
  type FaultKind,
  type FaultPlan,
  type Moment,
} from "./faults.ts";
import type { SwarmOptions } from "./swarm.ts";

/** What a drawn plan is made of. */
export interface FaultPlanOptions extends Omit<SwarmOptions, "kinds" | "mostFaults"> {
  /** `"survivable"`: what a program is asked to survive; `"all"`; or the kinds. Default `"survivable"`. */
  readonly budget?: "survivable" | "all" | readonly FaultKind[];
  /** Default 12. */
  readonly maxFaults?: number;
}

/** A run's seed: 64 bits, as text. Does not shrink: every seed is as simple as another. */
function seed(): fc.Arbitrary<string> {
  return fc.noShrink(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n })).map(String);
}

/**
 * Fault plans over the nodes that are named. They shrink by taking faults out, then by making them shorter, and nearer to
 * the beginning. @throws Error of fast-check when there are no nodes.
 */
function faultPlan(options: FaultPlanOptions): fc.Arbitrary<FaultPlan> {
  const { budget = "survivable", maxFaults = 12 } = options;
  const kinds =
    budget === "survivable"
      ? FAULT_KINDS.filter((kind) => SURVIVABLE.has(kind))
      : budget === "all"
        ? FAULT_KINDS
        : budget;
  const usable = kinds.filter((kind) => kind !== "cut" || options.nodes.length > 1);
  const fault = fc.oneof(...usable.map((kind) => faultOf(kind, options)));
  return fc.array(fault, { maxLength: maxFaults, size: "max" });
}

function momentOf({ moments = [], withinMs = 30_000 }: FaultPlanOptions): fc.Arbitrary<Moment> {
  const atTime = fc.record({ atMs: fc.nat({ max: withinMs }) });
  if (moments.length === 0) return atTime;
  const on = fc.constantFrom(...moments);
  const nth = fc.integer({ min: 1, max: 64 });
  return fc.oneof(atTime, {
    arbitrary: fc.record({ on, nth, plus: fc.nat({ max: 4 }) }),
    weight: 2,
  });
}

function faultOf(kind: FaultKind, options: FaultPlanOptions): fc.Arbitrary<Fault> {
  const { nodes, longestMs = 5_000 } = options;
  const at = momentOf(options);
  const node = fc.constantFrom(...nodes);
  const forMs = fc.integer({ min: 1, max: longestMs });
  const in1000 = fc.integer({ min: 1, max: 800 });
  switch (kind) {
    case "crash":
      return fc.record({
        at,
        kind: fc.constant(kind),
        node,
        loses: fc.constantFrom("memory", "unsynced"),
        forMs,
      });
    case "pause": {
      const order = fc.constantFrom("timers-first", "io-first");
      return fc.record({ at, kind: fc.constant(kind), node, forMs, order });
    }
    case "cut":
      return fc
        .record({ at, ends: ends(nodes), forMs, mode: fc.constantFrom("drop", "queue") })
        .map(({ ends: [from, to], ...rest }) => ({ ...rest, kind, from, to }));
    case "isolate": {
      const direction = fc.constantFrom("both", "in", "out");
      return fc.record({ at, kind: fc.constant(kind), node, forMs, direction });
    }
    case "loss":
    case "doubling":
      return fc.record({ at, kind: fc.constant(kind), in1000, forMs });
    case "delay": {
      const lateMs = fc.integer({ min: 1, max: 3_000 });
      return fc.record({ at, kind: fc.constant(kind), in1000, lateMs, forMs });
    }
    case "clockStep": {
      const byMs = fc.integer({ min: -3_600_000, max: 3_600_000 });
      return fc.record({ at, kind: fc.constant(kind), node, byMs });
    }
    case "clockDrift": {
      const ppm = fc.integer({ min: -100_000, max: 100_000 });
      return fc.record({ at, kind: fc.constant(kind), node, ppm, forMs });
    }
    case "diskSlow": {
      const slowMs = fc.integer({ min: 1, max: 500 });
      return fc.record({ at, kind: fc.constant(kind), node, slowMs, forMs });
    }
    case "syncError":
    case "ioError":
      return fc.record({
        at,
        kind: fc.constant(kind),
        node,
        times: fc.integer({ min: 1, max: 3 }),
      });
    case "bitFlip":
    case "misdirect":
      return fc.record({ at, kind: fc.constant(kind), node });
    case "suspend":
    case "clockFreeze":
    case "diskFull":
    case "shortIo":
    case "syncLie":
      return fc.record({ at, kind: fc.constant(kind), node, forMs });
  }
}

// Two nodes that are not the same.
function ends(nodes: readonly string[]): fc.Arbitrary<[string, string]> {
  return fc
    .tuple(fc.nat({ max: nodes.length - 1 }), fc.nat({ max: nodes.length - 2 }))
    .map(([from, step]) => [
      nodes[from] as string,
      nodes[(from + 1 + step) % nodes.length] as string,
    ]);
}

/** Arbitraries, for `fc.property` and `@fast-check/vitest`. */
export const arb: { readonly faultPlan: typeof faultPlan; readonly seed: typeof seed } = {
  faultPlan,
  seed,
};
