/**
 * Question: what does it cost to schedule a task of a graph, against what programs use for that? And what do events, leases and
 * the history of errors add?
 *
 * Workload: graphs of 10,000 and 1,000,000 tasks that do nothing, asynchronously: "wide" (one, all the others, one), "deep" (a
 * chain), "layered" (rows of 100, two before each). Each side in a process of its own. "core": the machine and its lanes, 64 at a
 * time, over a graph that was built before, as a plan is; "built": with building it. "sync": bodies without a promise.
 * Baseline: a graph of plain promises, async functions that await, Effect's cached effects, RxJS's forkJoin and shareReplay, p-graph, and
 * `async.auto`, whose cost by task grows with the tasks: it gets a twentieth of them.
 * Not measured here: bodies that work, where the scheduler's share is what it is here. Threads: `batch-threads.ts`.
 */
import { etlRows, parallelRows } from "./batch-threads.ts";
import { childSubject } from "./children.ts";
import { takeTurns, type Effort, type Result, type Samples } from "./harness.ts";
import { atLeast, atMost, type Suite } from "./suite.ts";

const worker = new URL("./batch-worker.ts", import.meta.url);
const shapes = ["wide", "deep", "layered"] as const;
type Shape = (typeof shapes)[number];

/** Peers by the side that plays them, and by how much their graphs are smaller. */
const peers = {
  "plain promises": ["promises", 1],
  "async functions": ["awaits", 1],
  Effect: ["effect", 5],
  RxJS: ["rxjs", 5],
  "p-graph": ["pGraph", 5],
  "async.auto": ["asyncAuto", 20],
} as const;

/** What the scheduling core is held to (`anchors/perf.md` section 3, row 20). */
const floors: Readonly<Record<Shape, number>> = { wide: 2.2, deep: 2.2, layered: 8 };

/** Our other ways, over the layered graph: what each adds to the one before. */
const ways = [
  ["job", "runTasks"],
  ["jobEvents", "runTasks, events"],
  ["jobHistory", "runTasks, each task failing once"],
  ["executor", "Executor"],
  ["executorEvents", "Executor, events"],
  ["executorLeases", "Executor, a lease for each task"],
] as const;

type Sided = readonly (readonly [side: string, tasks: number])[];

/** What the sides of one comparison took. Smoke runs have them all in one process, over as many tasks each. */
class Sides {
  readonly #samples: Samples;
  readonly #isSmoke: boolean;

  private constructor(samples: Samples, isSmoke: boolean) {
    this.#samples = samples;
    this.#isSmoke = isSmoke;
  }

  static async measure(effort: Effort, shape: Shape, sides: Sided, rounds: number): Promise<Sides> {
    const { progress } = effort;
    const samples = await takeTurns(
      sides.map(([side, tasks]) => childSubject(side, worker, [side, shape, String(tasks)])),
      { rounds: effort.rounds ?? rounds, warmups: 3, progress },
    );
    return new Sides(samples, false);
  }

  /** All of them in one process, over few tasks. */
  static async smoke({ progress }: Effort, shape: Shape, sides: readonly string[]): Promise<Sides> {
    const all = childSubject("all", worker, [sides.join(), shape, "120"]);
    return new Sides(await takeTurns([all], { rounds: 1, warmups: 0, progress }), true);
  }

  /** The peer's cost by ours. */
  ratio(side: string, peer: string): number {
    return this.median(peer) / this.median(side);
  }

  median(side: string): number {
    return this.#samples.median(this.#subject(side), side);
  }

  row(
    side: string,
    name: string,
    against: Readonly<Record<string, string>>,
    targets: Result["targets"],
  ): Result {
    const named = Object.entries(against).map(
      ([peer, of]) => [peer, [this.#subject(of), of] as const] as const,
    );
    const subject = this.#subject(side);
    const peersOf = Object.fromEntries(named);
    return this.#samples.result({
      suite: "batch",
      name,
      subject,
      step: side,
      peers: peersOf,
      targets,
    });
  }

  #subject(side: string): string {
    return this.#isSmoke ? "all" : side;
  }
}

const ours = ["core", "coreSync", "coreBuilt"];
const smallSides: Sided = [
  ...ours.map((side) => [side, 10_000] as const),
  ...Object.values(peers).map(([side, less]) => [side, 10_000 / less] as const),
];
const largeSides: Sided = ["core", "promises"].map((side) => [side, 1_000_000] as const);
const memorySides: Sided = ["coreMemory", "promisesMemory"].map(
  (side) => [side, 1_000_000] as const,
);
const shellSides: Sided = [...ways.map(([side]) => side), "promises", "effect"].map(
  (side) => [side, 10_000] as const,
);

function smallRows(sides: Sides, shape: Shape): readonly Result[] {
  const against = Object.fromEntries(Object.entries(peers).map(([peer, [side]]) => [peer, side]));
  const row = (side: string, name: string, targets: Result["targets"]): Result =>
    sides.row(side, `${shape}, 10^4 tasks, ${name}`, against, targets);
  return [
    row("core", "core", [
      atLeast("plain promises", sides.ratio("core", "promises"), floors[shape]),
      atLeast("Effect", sides.ratio("core", "effect"), 25),
      atLeast("p-graph", sides.ratio("core", "pGraph"), 100),
    ]),
    row("coreSync", "core, sync", [
      atLeast("plain promises", sides.ratio("coreSync", "promises"), 6),
    ]),
    row("coreBuilt", "core, built", []),
  ];
}

function largeRow(sides: Sides, shape: Shape): Result {
  return sides.row("core", `${shape}, 10^6 tasks, core`, { "plain promises": "promises" }, []);
}

function memoryRow(sides: Sides): Result {
  const { nsPerOp: _, ...told } = sides.row(
    "coreMemory",
    "layered, 10^6 tasks, memory",
    { "plain promises": "promisesMemory" },
    [atMost("bytes a task", sides.median("coreMemory"), 64)],
  );
  return { ...told, unit: "bytes/task" };
}

function shellRows(sides: Sides): readonly Result[] {
  return ways.map(([side, name]) =>
    sides.row(
      side,
      `layered, 10^4 tasks, ${name}`,
      { "plain promises": "promises", Effect: "effect" },
      [],
    ),
  );
}

// One shape: the sides are the same. All at a time: nobody looks at the clock.
async function smoke(effort: Effort): Promise<readonly Result[]> {
  const names = [...smallSides, ...shellSides, ...memorySides].map(([side]) => side);
  const [sides, etl, parallel] = await Promise.all([
    Sides.smoke(effort, "layered", [...new Set(names)]),
    etlRows(effort),
    parallelRows(effort),
  ]);
  return [
    ...smallRows(sides, "layered"),
    ...shellRows(sides),
    memoryRow(sides),
    ...etl,
    ...parallel,
  ];
}

export const batchSuite: Suite = {
  name: "batch",
  question:
    "What does it cost to schedule a task of a graph, and what do events, leases, history and threads add?",
  async run(effort) {
    if (effort.smoke) return smoke(effort);
    const results: Result[] = [];
    for (const shape of shapes)
      results.push(...smallRows(await Sides.measure(effort, shape, smallSides, 9), shape));
    for (const shape of shapes)
      results.push(largeRow(await Sides.measure(effort, shape, largeSides, 3), shape));
    results.push(...shellRows(await Sides.measure(effort, "layered", shellSides, 5)));
    results.push(memoryRow(await Sides.measure(effort, "layered", memorySides, 2)));
    return [...results, ...(await etlRows(effort)), ...(await parallelRows(effort))];
  },
};
