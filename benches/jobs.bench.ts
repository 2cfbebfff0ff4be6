/**
 * Question: what does a durable job cost, against an engine that programs use for that, and against the bare disk? Does it stay so
 * with a million finished jobs in the file, and with a hundred thousand that wait for others?
 *
 * Workload: jobs that do nothing, in one SQLite file, each commit synced (`synchronous` FULL). 5,000 made and then done, as the
 * script of the engine's own measurement has it; 10^5 made in batches of 1,000; single jobs on an idle worker, of this process and
 * of another; 5,000 jobs after 10^4 and after 10^6 that have completed (rows put into the file directly, as a worker leaves them);
 * 10^5 in chains of ten and diamonds of four; whole jobs, from the call to the result, one by one and 256 in flight.
 * Baseline: the engine of FlexiQ 2.0.0 by its binding, without its TypeScript shell, at three settings. It syncs no commit
 * (`synchronous` NORMAL), and its turns have a process each; ours is measured once V8 has compiled it, and in a process for each
 * turn as well. Where the engine's library cannot be loaded it is skipped, and the row says why. `fdatasync`: a record of 256 bytes
 * appended to a file and synced, again and again, on the same file system in turn with ours.
 * Not measured: bodies that work; several worker processes, which share one file's lock.
 */
import { childSubject } from "./children.ts";
import { takeTurns, type Effort, type Result, type Samples, type Subject } from "./harness.ts";
import { peerSettings, peerTrouble } from "./jobs-peer.ts";
import { atLeast, atMost, type Suite } from "./suite.ts";

const worker = new URL("./jobs-worker.ts", import.meta.url);

/** The engine's settings, as the table calls them. */
const settings: Readonly<Record<string, string>> = {
  flexiqDefaults: "FlexiQ, defaults",
  flexiqBatches: "FlexiQ, batch 64, concurrency 64",
  flexiqMany: "FlexiQ, enqueueMany, batch 100, concurrency 100",
};

interface Case {
  readonly name: string;
  /** Ours by the step's name. */
  readonly step: string;
  /** Where the step is not named after its side. */
  readonly side?: string;
  /** Peers' names in the table, and their steps. */
  readonly peers?: Readonly<Record<string, string>>;
  /** Of a time: nanoseconds by operation. */
  readonly unit?: "ms";
  readonly targets?: (ratios: Result["ratios"], value: number) => Result["targets"];
}

interface Comparison {
  /** Sides, and how many jobs and samples each gets. */
  readonly sides: readonly string[];
  readonly jobs: number;
  readonly samples: number;
  readonly rounds: number;
  readonly cases: readonly Case[];
}

const all = "all";

/** A side whose every turn has a process of its own: it begins cold, and leaves nothing behind. */
function anew(name: string, args: readonly string[]): Subject {
  return {
    name,
    async turn() {
      const child = childSubject(name, worker, args);
      try {
        return await child.turn();
      } finally {
        await child.close?.();
      }
    },
  };
}

function subjectOf(side: string, { jobs, samples }: Comparison): Subject {
  const args = [side, String(jobs), String(samples)];
  return side === "cold" || side.toLowerCase().includes("flexiq")
    ? anew(side, args)
    : childSubject(side, worker, args);
}

/** What each step took, and whose it is. */
interface Measured {
  readonly samples: Samples;
  readonly subjectOf: (step: string) => string;
}

/** One process for all sides, each small: what they compute is looked at, not what it costs. */
async function measureSmall(comparisons: readonly Comparison[], effort: Effort): Promise<Measured> {
  const sides = new Set(comparisons.flatMap((one) => one.sides));
  // Its steps are those of `many`.
  sides.delete("cold");
  const subject = childSubject(all, worker, [[...sides].join(), "20", "2"]);
  const samples = await takeTurns([subject], { rounds: 1, warmups: 0, progress: effort.progress });
  return { samples, subjectOf: () => all };
}

async function measure(comparison: Comparison, effort: Effort): Promise<Measured> {
  const { sides, rounds } = comparison;
  const samples = await takeTurns(
    sides.map((side) => subjectOf(side, comparison)),
    { rounds: effort.rounds ?? rounds, warmups: 1, progress: effort.progress },
  );
  // A step is named after its side: the longest name that it begins with.
  const byLength = sides.toSorted((a, b) => b.length - a.length);
  return {
    samples,
    subjectOf: (step) => byLength.find((side) => step.startsWith(side)) ?? step,
  };
}

function rowOf({ samples, subjectOf: of }: Measured, wanted: Case, note: string): Result {
  const { step, side = step, peers = {}, unit, targets } = wanted;
  const peersOf = Object.fromEntries(
    Object.entries(peers).map(([peer, at]) => [peer, [of(at), at] as const] as const),
  );
  const name = wanted.name + note;
  const row = samples.result({ suite: "jobs", name, subject: of(side), step, peers: peersOf });
  const { nsPerOp: _, ...plain } = row;
  const scaled =
    unit === "ms" ? inMs(plain) : { ...plain, nsPerOp: row.value, opsPerSecond: 1e9 / row.value };
  return { ...scaled, targets: targets?.(row.ratios, scaled.value) ?? [] };
}

function inMs(row: Result): Result {
  const { value, p10, p90 } = row;
  return { ...row, unit: "ms", value: value / 1e6, p10: p10 / 1e6, p90: p90 / 1e6 };
}

/** Ours against the engine's best setting. */
function fiveTimes(ratios: Result["ratios"]): Result["targets"] {
  const best = Math.min(...Object.values(ratios));
  return Number.isFinite(best) ? [atLeast("FlexiQ at its best", best, 5)] : [];
}

function floorOf(peer: string, floor: number): (ratios: Result["ratios"]) => Result["targets"] {
  return (ratios) => [atLeast(peer, ratios[peer] as number, floor)];
}

function within(ms: number): NonNullable<Case["targets"]> {
  return (_ratios, value) => [atMost("ms", value, ms)];
}

function comparisonsOf(hasPeer: boolean): readonly Comparison[] {
  const flexiq = hasPeer
    ? Object.fromEntries(Object.keys(peerSettings).map((side) => [settings[side] as string, side]))
    : {};
  const peerSides = (...names: readonly string[]): readonly string[] => (hasPeer ? names : []);
  const peerOf = (name: string, step: string): Record<string, string> =>
    hasPeer ? { [name]: step } : {};
  return [
    {
      ...{ sides: ["many", "singles", "cold", ...Object.values(flexiq)], rounds: 5 },
      ...{ jobs: 5_000, samples: 0 },
      cases: [
        { name: "5,000 made at once and done", step: "many", peers: flexiq, targets: fiveTimes },
        {
          ...{ name: "the same in a new process", step: "many", side: "cold" },
          ...{ peers: flexiq, targets: fiveTimes },
        },
        { name: "5,000 made by a call each and done", step: "singles", peers: flexiq },
        { name: "5,000 made at once: making them", step: "manyMade" },
        { name: "5,000 made at once: doing them", step: "manyDrained" },
      ],
    },
    {
      ...{ sides: ["batches", ...peerSides("flexiqBatchesOnly")], rounds: 3 },
      ...{ jobs: 100_000, samples: 0 },
      cases: [
        {
          name: "10^5 made, 1,000 a batch",
          step: "batches",
          peers: peerOf("FlexiQ", "flexiqBatchesOnly"),
        },
      ],
    },
    {
      ...{ sides: ["latency", "latencyFar", ...peerSides("latencyFlexiq"), "blocked"], rounds: 5 },
      ...{ jobs: 10_000, samples: 200 },
      cases: [
        {
          ...{ name: "idle, one process, p50", step: "latencyP50", unit: "ms" },
          ...{ peers: peerOf("FlexiQ", "latencyFlexiqP50"), targets: within(10) },
        },
        {
          ...{ name: "idle, one process, p99", step: "latencyP99", unit: "ms" },
          ...{ peers: peerOf("FlexiQ", "latencyFlexiqP99"), targets: within(50) },
        },
        {
          ...{ name: "idle, from another process, p50", step: "latencyFarP50", unit: "ms" },
          targets: within(10),
        },
        {
          ...{ name: "idle, from another process, p99", step: "latencyFarP99", unit: "ms" },
          targets: within(50),
        },
        {
          ...{
            name: "beside 10^4 blocked of higher priority, p50",
            step: "blockedP50",
            unit: "ms",
          },
          peers: { "without them": "latencyP50" },
          targets: floorOf("without them", 0.8),
        },
        {
          ...{
            name: "beside 10^4 blocked of higher priority, p99",
            step: "blockedP99",
            unit: "ms",
          },
          targets: within(50),
        },
      ],
    },
    {
      ...{ sides: ["afterFew", "afterMany"], jobs: 5_000, samples: 0, rounds: 7 },
      cases: [
        {
          ...{ name: "5,000 after 10^6 finished", step: "afterMany" },
          peers: { "after 10^4": "afterFew" },
          targets: floorOf("after 10^4", 0.9),
        },
      ],
    },
    {
      ...{ sides: ["graphs", "plain"], jobs: 100_000, samples: 0, rounds: 3 },
      cases: [
        {
          ...{ name: "10^5 in chains and diamonds: making them", step: "graphsMade" },
          peers: { "without dependencies": "plainMade" },
        },
        {
          ...{ name: "10^5 in chains and diamonds: doing them", step: "graphsDrained" },
          peers: { "without dependencies": "plainDrained" },
        },
      ],
    },
    {
      ...{ sides: ["durableMany", "durableSingly", "fdatasync"], jobs: 20_000, samples: 1_000 },
      rounds: 9,
      cases: [
        {
          ...{ name: "whole durable jobs, 256 in flight", step: "durableMany" },
          ...{ peers: { fdatasync: "fdatasync" }, targets: floorOf("fdatasync", 4) },
        },
        {
          ...{ name: "whole durable jobs, one by one", step: "durableSingly" },
          ...{ peers: { fdatasync: "fdatasync" }, targets: floorOf("fdatasync", 0.2) },
        },
      ],
    },
  ];
}

export const jobsSuite: Suite = {
  name: "jobs",
  question: "What does a durable job cost, in a crowd and alone, and what does a long history add?",
  async run(effort) {
    const trouble = peerTrouble();
    const note = trouble === undefined ? "" : ` (FlexiQ skipped: ${trouble})`;
    const comparisons = comparisonsOf(trouble === undefined);
    const results: Result[] = [];
    const small = effort.smoke ? await measureSmall(comparisons, effort) : undefined;
    for (const [at, comparison] of comparisons.entries()) {
      const measured = small ?? (await measure(comparison, effort));
      for (const one of comparison.cases)
        results.push(rowOf(measured, one, at === 0 && one.targets !== undefined ? note : ""));
    }
    return results;
  },
};
