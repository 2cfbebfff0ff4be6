/**
 * Question: how fast is the simulator, and where does its time go?
 *
 * Workload: five nodes that tell each other something four times a second, as state machines and as `async` code, with all
 * that a run brings: guard, trace hash, copies of messages; the project's campaigns, from seed 1 on, as `npm run sim` runs
 * them; a few random schedules of each of the explorer's properties. Each in a process of its own. Times are of the
 * processor, and a campaign's first turn, which warms up, does not count.
 * Baseline: the figures of the model that the simulator was planned by, a kernel of some hundred lines without guard,
 * fabric, disk or checks: 2.24 million events and 15.6 simulated hours a core-second for state machines, up to 366,000
 * and 2.8 for `async` code, 80,000 schedules a second. They were taken on another day, so that the ratios are rough.
 * Not measured: loading, some 0.7 s a thread.
 */
import { fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { childSubject } from "./children.ts";
import { takeTurns, type Result, type Samples } from "./harness.ts";
import { shareLines } from "./sim-profile.ts";
import { atLeast, type Suite } from "./suite.ts";

const worker = new URL("./sim-worker.ts", import.meta.url);

interface Case {
  readonly subject: string;
  readonly name: string;
  /** Of a turn: simulated milliseconds, seeds, or schedules of each property. */
  readonly size: number;
  readonly smokeSize: number;
  readonly unit: "event" | "schedule";
  /** Of the plan's model: events, or schedules, and simulated hours of a core-second. */
  readonly planned?: { readonly perSecond: number; readonly hours?: number };
  /** Events, or schedules, that a second must have: half of what was measured, for other machines. */
  readonly least: number;
}

const machines = { perSecond: 2_240_000, hours: 15.6 };
const asyncCode = { perSecond: 366_000, hours: 2.8 };
const campaigns = ["arena", "collections", "dag", "failover", "journal"];

const cases: readonly Case[] = [
  {
    subject: "machines",
    name: "state machines",
    size: 10_000_000,
    smokeSize: 10_000,
    unit: "event",
    planned: machines,
    least: 800_000,
  },
  {
    subject: "async",
    name: "async code",
    size: 5_000_000,
    smokeSize: 10_000,
    unit: "event",
    planned: asyncCode,
    least: 350_000,
  },
  ...campaigns.map((subject): Case => {
    return {
      subject,
      name: `campaign ${subject}`,
      size: 20,
      smokeSize: 1,
      unit: "event",
      planned: asyncCode,
      least: 10_000,
    };
  }),
  {
    subject: "explorer",
    name: "explorer",
    size: 20,
    smokeSize: 1,
    unit: "schedule",
    planned: { perSecond: 80_000 },
    least: 500,
  },
];

/** Simulated hours of a core-second, from what a simulated second costs. */
function hours(ns: number): number {
  return 1e9 / ns / 3_600;
}

function resultsOf(samples: Samples, { subject, name, unit, planned, least }: Case): Result[] {
  const row = { suite: "sim", subject };
  const cost = samples.result({ ...row, name: `${name}, ${unit}`, step: "op" });
  const perSecond = 1e9 / cost.value;
  const ratio = planned === undefined ? {} : { "the plan's model": perSecond / planned.perSecond };
  const told: Result = {
    ...cost,
    opsPerSecond: perSecond,
    ratios: ratio,
    targets: [atLeast(`${Math.round(perSecond).toLocaleString("en")} a second`, perSecond, least)],
  };
  if (unit === "schedule") return [told];
  // One operation is a simulated second.
  const { value, p10, p90, ...second } = samples.result({
    ...row,
    name: `${name}, simulated time`,
    step: "simulated",
  });
  const hoursRatio =
    planned?.hours === undefined ? {} : { "the plan's model": hours(value) / planned.hours };
  const { nsPerOp: _, ...rest } = second;
  const figures = { value: hours(value), p10: hours(p90), p90: hours(p10) };
  return [told, { ...rest, ...figures, unit: "h/core-s", ratios: hoursRatio }];
}

/** Runs a campaign under the profiler, and says what had the time. */
async function profileOf(subject: string, size: number): Promise<readonly string[]> {
  const child = fork(fileURLToPath(worker), [subject, String(size), "profile"], {
    execArgv: ["--conditions=@selvage/source"],
  });
  const [shares] = (await once(child, "message")) as [Readonly<Record<string, number>>];
  child.disconnect();
  return shareLines(subject, shares);
}

export const simSuite: Suite = {
  name: "sim",
  question: "How fast is the simulator, and where does its time go?",
  async run({ smoke, rounds, progress }) {
    const results: Result[] = [];
    for (const one of cases) {
      const { subject, size, smokeSize } = one;
      const samples = await takeTurns(
        [childSubject(subject, worker, [subject, String(smoke ? smokeSize : size)])],
        {
          rounds: smoke ? 1 : (rounds ?? 7),
          warmups: smoke ? 0 : 1,
          progress: (line) => progress(`${subject}, ${line}`),
        },
      );
      results.push(...resultsOf(samples, one));
    }
    progress("profiles");
    for (const subject of smoke ? ["machines"] : ["machines", "async", ...campaigns]) {
      const { size, smokeSize } = cases.find((one) => one.subject === subject) as Case;
      const lines = await profileOf(subject, smoke ? smokeSize : size);
      process.stderr.write(`${lines.join("\n")}\n`);
    }
    return results;
  },
};
