/**
 * One run of a program under a fault plan: warm-up, chaos, healing, and what must hold all along and at the end.
 *
 * S1: a run is a function of seed, plan and program. The same three give the same trace hash, on any machine.
 */
import { invalidArgument } from "@selvage/fabric";
import { Chaos } from "./chaos.ts";
import { Violation, type Check } from "./check.ts";
import type { Fault, FaultPlan } from "./faults.ts";
import { guarded, unguarded } from "./guard.ts";
import { History } from "./history.ts";
import { errorOf, Kernel } from "./kernel.ts";
import { parsePlan } from "./parse-plan.ts";
import { catchingRejections } from "./rejections.ts";
import { SimReport } from "./report.ts";
import { Counters, withCounters } from "./sometimes.ts";
import { World } from "./world.ts";

/** How long a run's parts take, in virtual milliseconds. */
export interface RunShape {
  /** Until the first fault may strike. Default 1,000. */
  readonly warmUpMs?: number;
  /** Until everything is healed. Default 30,000. */
  readonly chaosMs?: number;
  /** From then on, until the end: within this a program must have recovered. Default 29,000. */
  readonly settleMs?: number;
  /**
   * Events after which the run ends with the violation `no livelock`: a program that sleeps for nothing again and again would
   * otherwise keep it from ever ending. Default 5,000,000, some seconds of a processor.
   */
  readonly mostEvents?: number;
}

/** What is simulated, and what must hold. */
export interface Scenario {
  readonly name?: string;
  /** Makes the nodes. Their programs start when the run does. */
  readonly world: (world: World) => void;
  /** What clients do meanwhile: it must end by the end of the run, or the run hangs, which is a violation. */
  readonly drive?: (world: World, history: History) => Promise<void>;
  /** Looked at after everything that happens. A check belongs to one run: make them anew for each. */
  readonly invariants?: readonly Check[];
  /** Looked at when the run has ended. */
  readonly finally?: readonly Check[];
  /** Counters that the report lists also when they stayed at zero. */
  readonly sometimes?: readonly string[];
  readonly shape?: RunShape;
}

/** One run. */
export interface SimulateOptions extends Scenario {
  /** Any text, or a whole number. Default `"1"`. */
  readonly seed?: string | number | bigint;
  /** What goes wrong. Default nothing. */
  readonly plan?: FaultPlan;
}

const shapeDefaults: Required<RunShape> = {
  warmUpMs: 1_000,
  chaosMs: 30_000,
  settleMs: 29_000,
  mostEvents: 5_000_000,
};

/**
 * Runs a program once. Never rejects for what the program does: the report says what was violated.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { check, simulate } from "@selvage/sim";
 *
 * const report = await simulate({
 *   seed: 7,
 *   plan: [{ kind: "pause", node: "a", forMs: 900, order: "io-first", at: { atMs: 1_500 } }],
 *   world(w) {
 *     w.node("a", async (node) => {
 *       const fabric = w.fabric(node);
 *       fabric.mem().minBytes(64).leaseMs(500).acquire();
 *     });
 *   },
 *   invariants: [check.conservation(), check.singleTerminalState()],
 * });
 * report.assert();
 * assert.equal(report.count("lease.expired"), 1);
 * ```
 * @throws FabricError `INVALID_ARGUMENT`: `world` is no function; or the plan is none (`parsePlan`), or names a node that the
 * world does not have.
 */
export async function simulate(options: SimulateOptions): Promise<SimReport> {
  const { seed = "1", plan = [], world: build } = options;
  if (typeof build !== "function") throw invalidArgument("world", "a function", build);
  parsePlan(plan);
  const shape = { ...shapeDefaults, ...options.shape };
  const kernel = new Kernel(String(seed), shape.mostEvents);
  const world = new World(kernel);
  const counters = new Counters();
  counters.require(...(options.sometimes ?? []));
  const checks = [...(options.invariants ?? []), ...(options.finally ?? [])];
  for (const { observe } of checks) if (observe !== undefined) kernel.observe(observe);
  const chaos = new Chaos(kernel, world.network, world.nodes);
  const faults = plan.map((fault) => later(fault, shape.warmUpMs));
  const startedAt = unguarded(() => performance.now());
  const run = (): Promise<Error | undefined> =>
    guarded(async () => {
      try {
        build(world);
      } catch (thrown) {
        return errorOf(thrown);
      }
      // Only now is it known which nodes there are.
      parsePlan(plan, [...world.nodes.keys()]);
      chaos.arm(faults);
      try {
        await play(options, shape, world, chaos, checks);
        return undefined;
      } catch (thrown) {
        return errorOf(thrown);
      }
    });
  const fail = (reason: unknown): void => kernel.fail(reason);
  const violation = await withCounters(counters, () => catchingRejections(fail, run));
  kernel.hash.value(counters.toJSON());
  const tookMs = unguarded(() => performance.now()) - startedAt;
  const unstruck = plan.filter((_, index) => !chaos.hasStruck(faults[index] as Fault));
  const parts = { options, seed: String(seed), plan, unstruck, kernel, counters };
  return new SimReport({ ...parts, violation, tookMs });
}

/** The run itself: warm-up and chaos, healing, settling, and the checks of its end. */
async function play(
  { drive }: SimulateOptions,
  { warmUpMs, chaosMs, settleMs }: Required<RunShape>,
  world: World,
  chaos: Chaos,
  checks: readonly Check[],
): Promise<void> {
  const { kernel } = world;
  const history = new History(
    () => world.nowMs,
    (step) => kernel.hash.value(step),
  );
  for (const node of world.nodes.values()) node.start();
  let isDriven = drive === undefined;
  drive?.(world, history).then(
    () => (isDriven = true),
    (thrown: unknown) => kernel.fail(thrown),
  );
  const healUs = (warmUpMs + chaosMs) * 1_000;
  await kernel.run(healUs);
  chaos.heal();
  const healedAtMs = world.nowMs;
  await kernel.run(healUs + settleMs * 1_000);
  if (!isDriven) throw new Violation("no hang", "what drives the program has not ended");
  const { occurrences } = kernel;
  for (const { end } of checks)
    end?.({ occurrences, history, durationMs: world.nowMs, healedAtMs });
}

// A plan's own times count from the end of the warm-up.
function later(fault: FaultPlan[number], warmUpMs: number): FaultPlan[number] {
  return "atMs" in fault.at ? { ...fault, at: { atMs: fault.at.atMs + warmUpMs } } : fault;
}
