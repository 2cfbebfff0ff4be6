/**
 * What two to four threads do at once to rings, leases and maps: each seed runs one of the explorer's scenarios under some
 * random schedules (PCT), or under the first of all, over a memory whose plain reads may be stale, and in which a thread may die before any access.
 * No node is simulated, and no fault is needed: the schedule is what goes wrong.
 */
import { assert } from "@selvage/fabric";
import {
  explorerProperties,
  exploreProperty,
  sometimes,
  Violation,
  type Campaign,
  type ExploreMode,
  type RandomStream,
  type World,
} from "@selvage/sim";

/** Random schedules of a seed: some milliseconds of them. */
const schedules = 10;
/** And of one seed in so many, how many one after the other, depth first: for what takes many orderings at a time. */
const [rarely, inOrder] = [40, 300];

/** What is held to, under the numbers that the explorer's scenarios name. */
const held = [
  "A3: no thread reads or writes bytes that were leased to another",
  "A5: a lease ends once, and what comes late touches no later one",
  "L4: a renewal and an end of one lease exclude each other, and no moment is torn",
  "M3: a map's reader finds a value that the key had, whole, and none older than before",
  "M4: a map's writer that dies leaves it whole",
  "R1: between threads a queue's output is a prefix of what was committed to it",
  "R2: between threads uncommitted bytes are never delivered",
  "R3: between threads a ring is never more than full, and whole in the end",
  "R4: between threads a claim is committed or given up, and counted, never both",
  "R6: between threads no wakeup is lost",
] as const;

// The properties whose numbers a text begins with, as in "R1, R3: ...".
function numbered(text: string): readonly string[] {
  const numbers = text.split(":")[0]?.split(", ") ?? [];
  return numbers.flatMap((number) => held.filter((name) => name.startsWith(`${number}:`)));
}

function run(random: RandomStream, world: World): void {
  const scenario = random.pick(explorerProperties);
  const mode: ExploreMode = random.chance(1, rarely)
    ? { kind: "exhaustive", mostSchedules: inOrder }
    : {
        kind: "pct",
        seed: `${random.below(2 ** 31)}`,
        depth: random.between(2, 4),
        schedules,
      };
  const { violation, steps, deaths, ...tried } = exploreProperty(scenario, mode);
  world.record("explored", { scenario: scenario.name, schedules: tried.schedules, steps, deaths });
  sometimes("a thread died in a schedule", deaths > 0);
  sometimes("a schedule ran past a ring's last position", scenario.name.includes("past the last"));
  if (violation === undefined) return;
  const { message, schedule } = violation;
  // A thread that throws, or waits for ever, breaks what its scenario is about.
  const [property] = [message, scenario.name].flatMap(numbered);
  assert(property !== undefined, "a scenario names its invariants");
  throw new Violation(property, `${scenario.name}: ${message}; schedule ${schedule}`);
}

/** See above. Its seeds come beside those of nodes. */
export const beside: Campaign = {
  name: "interleavings",
  swarm: () => ({ nodes: [], mostFaults: 0 }),
  scenario: (random) => ({
    world: () => {},
    drive(world) {
      run(random, world);
      return Promise.resolve();
    },
    shape: { warmUpMs: 0, chaosMs: 0, settleMs: 0 },
  }),
  properties: held,
  sometimes: ["a thread died in a schedule", "a schedule ran past a ring's last position"],
};
