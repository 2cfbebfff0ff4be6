/**
 * Fault plans drawn at random, as swarm testing has it: each run leaves kinds of faults out, so that those that are in meet
 * each other in every mixture. One run in ten has no faults, one in ten a single one.
 */
import {
  FAULT_KINDS,
  SURVIVABLE,
  type Fault,
  type FaultKind,
  type FaultPlan,
  type Moment,
} from "./faults.ts";
import type { RandomStream } from "./random.ts";

/** What plans are drawn from. */
export interface SwarmOptions {
  /** Names of nodes that faults may meet. */
  readonly nodes: readonly string[];
  /** Kinds that may come. Default: those that a program is asked to survive. */
  readonly kinds?: readonly FaultKind[];
  /** Occurrences that faults are anchored to. Default: none, faults come at times. */
  readonly moments?: readonly string[];
  /** Most faults. Default 64. */
  readonly mostFaults?: number;
  /** Within so many virtual milliseconds. Default 30,000. */
  readonly withinMs?: number;
  /** Longest a fault lasts, in virtual milliseconds. Default 5,000. */
  readonly longestMs?: number;
}

/** Draws a plan. */
export function drawPlan(random: RandomStream, options: SwarmOptions): FaultPlan {
  const { kinds = FAULT_KINDS.filter((kind) => SURVIVABLE.has(kind)), mostFaults = 64 } = options;
  const mood = random.below(10);
  if (mood === 0 || mostFaults === 0) return [];
  const on = kinds.filter(() => random.chance(1, 2));
  const count = mood === 1 ? 1 : random.spread(1, mostFaults);
  return Array.from({ length: count }, () =>
    drawFault(random, random.pick(on.length === 0 ? kinds : on), options),
  );
}

/** Draws one fault of a kind. */
export function drawFault(random: RandomStream, kind: FaultKind, options: SwarmOptions): Fault {
  const { nodes, longestMs = 5_000 } = options;
  const at = drawMoment(random, options);
  const node = random.pick(nodes);
  const forMs = random.spread(1, longestMs);
  switch (kind) {
    case "crash":
      return { at, kind, node, loses: random.pick(["memory", "unsynced"]), forMs };
    case "pause":
      return { at, kind, node, forMs, order: random.pick(["timers-first", "io-first"]) };
    case "cut": {
      const to = random.pick(nodes.length > 1 ? nodes.filter((name) => name !== node) : nodes);
      return { at, kind, from: node, to, forMs, mode: random.pick(["drop", "queue"]) };
    }
    case "isolate":
      return { at, kind, node, forMs, direction: random.pick(["in", "out", "both"]) };
    case "loss":
    case "doubling":
      return { at, kind, in1000: random.spread(10, 500), forMs };
    case "delay":
      return { at, kind, in1000: random.spread(10, 800), lateMs: random.spread(5, 3_000), forMs };
    case "clockStep":
      return { at, kind, node, byMs: random.pick([1, -1]) * random.spread(1, 3_600_000) };
    case "clockDrift":
      return { at, kind, node, ppm: random.pick([1, -1]) * random.spread(10, 100_000), forMs };
    case "diskSlow":
      return { at, kind, node, slowMs: random.spread(1, 500), forMs };
    case "syncError":
    case "ioError":
      return { at, kind, node, times: random.spread(1, 3) };
    case "bitFlip":
    case "misdirect":
      return { at, kind, node };
    case "suspend":
    case "clockFreeze":
    case "diskFull":
    case "shortIo":
    case "syncLie":
      return { at, kind, node, forMs };
  }
}

function drawMoment(
  random: RandomStream,
  { moments = [], withinMs = 30_000 }: SwarmOptions,
): Moment {
  if (moments.length === 0 || random.chance(1, 3)) return { atMs: random.below(withinMs) };
  return { on: random.pick(moments), nth: random.spread(1, 64), plus: random.below(5) };
}
