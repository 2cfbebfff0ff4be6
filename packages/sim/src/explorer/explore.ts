/**
 * The explorer: runs shared-memory code under schedules that no machine would show in a year, every one of them for
 * small programs, a random choice of the telling ones for larger ones.
 */
import { invalidArgument } from "@selvage/fabric";
import { RandomStream } from "../random.ts";
import { DepthFirst } from "./depth-first.ts";
import { Execution, type Ending, type Program } from "./execution.ts";
import { PctScheduler, replaying, scheduleText, type Scheduler } from "./schedule.ts";

/** Which schedules are run. */
export type ExploreMode =
  | {
      /** Every schedule, but for the order of steps that commute; until `mostSchedules` have been run. */
      readonly kind: "exhaustive";
      readonly mostSchedules: number;
    }
  | {
      /** Random ones that find a bug of `depth` orderings with a known probability (PCT). `depth` from 1; 2 to 4 is usual. */
      readonly kind: "pct";
      readonly seed: string;
      readonly depth: number;
      readonly schedules: number;
    }
  | {
      /** The one that a violation named. */
      readonly kind: "replay";
      readonly schedule: string;
    };

/** What to explore. */
export interface Exploration<S> extends Program<S> {
  /** Makes the memories, and what is in them before the threads begin. Called once, unstepped. */
  readonly setUp: Program<S>["setUp"];
  /**
   * The threads, 1 to 16. Each is called anew whenever its turn comes, so it keeps all that it has in itself: handles,
   * too, are made in it. First it prepares itself, unstepped, in the order of threads; it returns what is stepped.
   */
  readonly threads: Program<S>["threads"];
  /** What must hold at the end of every schedule: returns, or throws, what is wrong. */
  readonly check?: NonNullable<Program<S>["check"]>;
  readonly mode: ExploreMode;
  /** Threads of which one may die, before any of its accesses. Default: none. */
  readonly mayDie?: readonly number[];
  /** Default `"newest"`. */
  readonly plainReads?: NonNullable<Program<S>["plainReads"]>;
  /** Called before and after each run of a thread, to clear what the code under test keeps outside of it. */
  readonly betweenRuns?: () => void;
  /** A schedule that takes more steps is a violation: somebody goes round for ever. Default 20,000. */
  readonly mostSteps?: number;
}

/** A schedule that must not be. */
interface Violation {
  /** What is wrong. */
  readonly message: string;
  /** Runs it again: `mode: { kind: "replay", schedule }`. */
  readonly schedule: string;
  /** What each step did. */
  readonly steps: readonly string[];
}

/** What an exploration came to. */
export interface ExploreSummary {
  /** Schedules run to their end and checked. */
  readonly schedules: number;
  /** Schedules begun and given up, as the same as another. */
  readonly redundant: number;
  /** Accesses made, of all schedules. */
  readonly steps: number;
  /** Schedules in which a thread died. */
  readonly deaths: number;
  /** Whether every schedule was run. */
  readonly complete: boolean;
  /** The first that was found; it ends the exploration. */
  readonly violation?: Violation;
}

/**
 * Explores. Synchronous; some 2,000 to 5,000 schedules a second for two threads at a queue, a hundred accesses in all, and ten
 * times as many for a dozen (Node 24.21, 2-core VM, 2026-11). A thread is run anew at each of its turns: that is the cost.
 * @throws FabricError `INVALID_ARGUMENT`; what `setUp`, or a thread while it prepares itself, throws.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { explore } from "@selvage/sim";
 *
 * const { violation } = explore({
 *   setUp: (memory) => memory.reserve(64, { shared: true }).handle!,
 *   threads: [0, 1].map(() => (handle, host) => {
 *     const { words } = host.memory.attach(handle, 64);
 *     return () => words.store(0, words.load(0) + 1); // should be an add
 *   }),
 *   check: ({ shared, host }) =>
 *     host.memory.attach(shared, 64).words.load(0) === 2 ? undefined : "a count was lost",
 *   mode: { kind: "exhaustive", mostSchedules: 100 },
 * });
 * assert.equal(violation?.message, "a count was lost");
 * ```
 */
export function explore<S>(exploration: Exploration<S>): ExploreSummary {
  const scheduler = schedulerOf(exploration);
  const { mode } = exploration;
  const execution = new Execution<S>(exploration);
  const most = mode.kind === "exhaustive" ? mode.mostSchedules : Infinity;
  let [schedules, redundant, steps, deaths] = [0, 0, 0, 0];
  let complete = false;
  for (;;) {
    const ending = execution.run(scheduler);
    steps += ending.steps;
    deaths += ending.deaths;
    if (ending.isRedundant) redundant++;
    else schedules++;
    if (ending.message !== undefined) {
      const violation = violationOf(execution, ending.message);
      return { schedules, redundant, steps, deaths, complete, violation };
    }
    if (!scheduler.end()) {
      complete = mode.kind === "exhaustive";
      break;
    }
    if (schedules + redundant >= most) break;
  }
  return { schedules, redundant, steps, deaths, complete };
}

function schedulerOf<S>({ mode, threads, mayDie = [] }: Exploration<S>): Scheduler {
  switch (mode?.kind) {
    case "exhaustive":
      checkCount("mode.mostSchedules", mode.mostSchedules);
      return new DepthFirst(threads.length);
    case "pct": {
      const { seed, depth, schedules } = mode;
      checkCount("mode.depth", depth);
      checkCount("mode.schedules", schedules);
      const random = new RandomStream(seed, "explorer");
      return new PctScheduler(random, threads.length, { depth, schedules, mayDie });
    }
    case "replay":
      return replaying(mode.schedule);
    default:
      throw invalidArgument("mode.kind", '"exhaustive", "pct" or "replay"', mode);
  }
}

// Runs the schedule once more, noting what its steps do.
function violationOf<S>(execution: Execution<S>, message: string): Violation {
  const { madeBy, outcomes } = execution;
  const schedule = scheduleText(
    madeBy.map((thread, step) => [thread, outcomes[step] as number] as const),
  );
  const steps: string[] = [];
  execution.trace = steps;
  const again: Ending = execution.run(replaying(schedule));
  execution.trace = undefined;
  const note = again.message === message ? "" : ` (again: ${again.message ?? "nothing is wrong"})`;
  return { message: message + note, schedule, steps };
}

function checkCount(name: string, value: unknown): void {
  if (typeof value !== "number" || !Number.isInteger(value) || value < 1)
    throw invalidArgument(name, "a whole number from 1 up", value);
}
