/**
 * Question: what does it cost to schedule a task of a graph, against what programs use for that? And what do events, leases and
 * the history of errors add?
 *
 * Workload: graphs of 10,000 and 1,000,000 tasks that do nothing, asynchronously: "wide" (one, all the others, one), "deep" (a
 * chain), "layered" (rows of 100, two before each). Each side in a process of its own. "core": the machine and its lanes, 64 at a
 * time, over a graph that was built before, as a plan is; "built": with building it. "sync": bodies without a promise.
 * Baseline: a graph of plain promises, async functions that await, Effect's cached effects, RxJS's forkJoin and shareReplay, p-graph, and
 * `async.auto`, whose cost by task grows with the tasks: it gets a twentieth of them.
 * Not measured: bodies that work, where the scheduler's share is what it is here; threads (see `etl`).
 */
import { childSubject } from "./children.ts";
import { takeTurns, type Effort, type Result, type Samples, type Subject } from "./harness.ts";
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
    const { smoke, progress } = effort;
    const subject = (name: string, tasks: number): Subject =>
      childSubject(smoke ? "all" : name, worker, [name, shape, String(tasks)]);
    const samples = await takeTurns(
      smoke
        ? [subject(sides.map(([side]) => side).join(), 200)]
        : sides.map(([side, tasks]) => subject(side, tasks)),
      { rounds: smoke ? 1 : (effort.rounds ?? rounds), warmups: smoke ? 0 : 3, progress },
    );
    return new Sides(samples, smoke);
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

async function small(effort: Effort, shape: Shape): Promise<Result[]> {
  const tasks = 10_000;
  const ours = ["core", "coreSync", "coreBuilt"];
  const sides = await Sides.measure(
    effort,
    shape,
    [
      ...ours.map((side) => [side, tasks] as const),
      ...Object.values(peers).map(([side, less]) => [side, tasks / less] as const),
    ],
    9,
  );
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

async function large(effort: Effort, shape: Shape): Promise<Result> {
  const tasks = 1_000_000;
  const both = ["core", "promises"].map((side) => [side, tasks] as const);
  const sides = await Sides.measure(effort, shape, both, 3);
  return sides.row("core", `${shape}, 10^6 tasks, core`, { "plain promises": "promises" }, []);
}

async function memory(effort: Effort): Promise<Result> {
  const both = ["coreMemory", "promisesMemory"].map((side) => [side, 1_000_000] as const);
  const sides = await Sides.measure(effort, "layered", both, 2);
  const { nsPerOp: _, ...told } = sides.row(
    "coreMemory",
    "layered, 10^6 tasks, memory",
    { "plain promises": "promisesMemory" },
    [atMost("bytes a task", sides.median("coreMemory"), 64)],
  );
  return { ...told, unit: "bytes/task" };
}

async function shells(effort: Effort): Promise<Result[]> {
  const names = [...ways.map(([side]) => side), "promises", "effect"];
  const all = names.map((side) => [side, 10_000] as const);
  const sides = await Sides.measure(effort, "layered", all, 5);
  return ways.map(([side, name]) =>
    sides.row(
      side,
      `layered, 10^4 tasks, ${name}`,
      { "plain promises": "promises", Effect: "effect" },
      [],
    ),
  );
}

export const batchSuite: Suite = {
  name: "batch",
  question:
    "What does it cost to schedule a task of a graph, and what do events, leases and history add?",
  async run(effort) {
    const results: Result[] = [];
    // A smoke run looks at one shape: the sides are the same.
    const some = effort.smoke ? (["layered"] as const) : shapes;
    for (const shape of some) results.push(...(await small(effort, shape)));
    if (!effort.smoke) for (const shape of shapes) results.push(await large(effort, shape));
    return [...results, ...(await shells(effort)), await memory(effort)];
  },
};
