/** What a campaign came to, over all threads. */
import { createHash } from "node:crypto";
import {
  FAULT_KINDS,
  REPEATS,
  type CampaignFailure,
  type CampaignTally,
  type KeptTally,
} from "@selvage/sim";
import { asShown } from "./campaigns.ts";
import { coverageByPackage, type LineCoverage } from "./coverage.ts";
import type { Told } from "./sim-worker.ts";

/** The document of `npm run sim -- --json`. Fields, once there, stay. */
export interface Summary {
  readonly seeds: number;
  readonly firstSeed: string;
  readonly violations: number;
  /** Seeds that were asked for and not run, since their campaigns had failed often enough. */
  readonly seedsLeftOut: number;
  readonly failures: readonly {
    readonly property: string;
    readonly message: string;
    readonly seed: string;
    readonly replay: string;
    readonly campaign: string;
    readonly faults: number;
  }[];
  /** Failures that were kept: how many were run again, and how many still fail. */
  readonly kept: {
    readonly run: number;
    readonly stillFail: number;
    readonly unreadable: KeptTally["unreadable"];
  };
  /** That struck, by kind: all kinds, at zero too. */
  readonly faults: Readonly<Record<string, number>>;
  readonly sometimes: Readonly<Record<string, number>>;
  /** Part of the lines of functions that ran in a sample of the seeds, by package, from 0 to 1. */
  readonly coverage: Readonly<Record<string, number>>;
  readonly simulatedHours: number;
  /** Of one thread. */
  readonly eventsPerSecond: number;
  readonly simulatedHoursPerCoreSecond: number;
  readonly traceHash: string;
}

interface About {
  readonly seeds: number;
  readonly seed: string;
  readonly file: string | undefined;
}

type Done = Extract<Told, { told: "done" }>;

/** All shares together. */
export function summarize(
  shares: readonly Done[],
  covered: LineCoverage,
  { seeds, seed, file }: About,
): Summary {
  const tallies = shares.flatMap((share) => share.tallies);
  const all = [...tallies, ...shares.flatMap((share) => share.besides)];
  const kept = shares.flatMap((share) => share.kept);
  const keptFailures = kept.flatMap((tally) => tally.failures);
  const failures = unlike([...keptFailures, ...all.flatMap((tally) => tally.failures)]);
  const divergences = shares.flatMap((share) => share.divergences);
  const seconds = sum(tallies, ({ tookMs }) => tookMs) / 1_000;
  const hours = sum(tallies, ({ simulatedMs }) => simulatedMs) / 3_600_000;
  const ran = sum(tallies, (tally) => tally.seeds);
  return {
    seeds: ran,
    firstSeed: seed,
    violations: failures.length + divergences.length,
    seedsLeftOut: Math.max(0, seeds - ran),
    failures: [
      ...failures.map((failure) => ({
        property: failure.property,
        message: failure.message,
        seed: failure.seed,
        replay: replayOf(failure, file),
        campaign: failure.campaign,
        faults: failure.plan.length,
      })),
      ...divergences.map((divergence) => ({
        property: REPEATS,
        message: `${REPEATS}: they part at checkpoint ${divergence.checkpoint}: ${divergence.lasts.join(" / ")}`,
        seed: divergence.seed,
        replay: replayOf({ ...divergence, path: undefined }, file, "--audit"),
        campaign: divergence.campaign,
        faults: 0,
      })),
    ],
    kept: {
      run: sum(kept, ({ run }) => run),
      stillFail: keptFailures.length,
      // Each campaign looks through the whole folder.
      unreadable: [
        ...new Map(
          kept.flatMap(({ unreadable }) => unreadable.map((one) => [one.path, one] as const)),
        ).values(),
      ],
    },
    faults: added([noFaults, ...tallies.map(({ faults }) => faults)]),
    sometimes: added(all.map(({ sometimes }) => sometimes)),
    coverage: coverageByPackage(covered),
    simulatedHours: hours,
    eventsPerSecond: Math.round(sum(tallies, ({ events }) => events) / Math.max(seconds, 1e-9)),
    simulatedHoursPerCoreSecond: hours / Math.max(seconds, 1e-9),
    traceHash: hashOf(all),
  };
}

const noFaults = Object.fromEntries(FAULT_KINDS.map((kind) => [kind, 0]));

// A seed that failed before, and is run again among the others, has one failure.
function unlike(failures: readonly CampaignFailure[]): readonly CampaignFailure[] {
  const byRun = new Map<string, CampaignFailure>();
  for (const failure of failures) {
    const key = JSON.stringify([failure.campaign, failure.seed, failure.property]);
    if (!byRun.has(key)) byRun.set(key, failure);
  }
  return [...byRun.values()];
}

// With the smallest plan, where that is kept; without, the seed draws its own plan again.
function replayOf(
  { campaign, seed, path }: Pick<CampaignFailure, "campaign" | "seed" | "path">,
  file: string | undefined,
  how: string | undefined = path === undefined ? undefined : `--plan ${asShown(path)}`,
): string {
  const parts = ["npm run sim --", file, `--campaign ${campaign} --seed ${seed} --seeds 1`, how];
  return parts.filter((part) => part !== undefined).join(" ");
}

// Of all runs, whatever threads they ran on.
function hashOf(tallies: readonly CampaignTally[]): string {
  const all = tallies.flatMap(({ campaign, hashes }) =>
    hashes.map((hash) => `${campaign} ${hash}`),
  );
  return createHash("sha256").update(all.toSorted().join("\n")).digest("hex").slice(0, 16);
}

function sum<T>(list: readonly T[], of: (item: T) => number): number {
  return list.reduce((total, item) => total + of(item), 0);
}

function added(counts: readonly Readonly<Record<string, number>>[]): Record<string, number> {
  const total = new Map<string, number>();
  for (const each of counts)
    for (const [name, count] of Object.entries(each))
      total.set(name, (total.get(name) ?? 0) + count);
  return Object.fromEntries([...total].toSorted(([a], [b]) => (a < b ? -1 : 1)));
}

/** Invariants that come with their issues. */
const PENDING: readonly string[] = ["B1", "B2", "B3", "B4", "B5"];

function percent(part: number): string {
  return `${(part * 100).toFixed(1)} %`;
}

function listed(counts: Readonly<Record<string, number>>): string[] {
  return Object.entries(counts).map(([name, count]) => `    ${String(count).padStart(9)}  ${name}`);
}

/** The summary to read. */
export function table(summary: Summary, properties: readonly string[]): string {
  const { kept, seedsLeftOut } = summary;
  const leftOut =
    seedsLeftOut === 0
      ? []
      : [`  ${seedsLeftOut} seeds left out: their campaigns had failed often enough`];
  const lines = [
    `  ${summary.seeds} seeds from ${summary.firstSeed}, ${summary.violations} violations, ${summary.simulatedHours.toFixed(1)} simulated hours`,
    `  ${summary.eventsPerSecond.toLocaleString("en")} events a second and ${summary.simulatedHoursPerCoreSecond.toFixed(2)} simulated hours a core-second; trace ${summary.traceHash}`,
    ...leftOut,
    `  kept: ${kept.run} run, ${kept.stillFail} still fail`,
    ...kept.unreadable.map(({ path, message }) => `    cannot be read: ${path}: ${message}`),
    "  faults that struck",
    ...listed(summary.faults),
    "  sometimes",
    ...listed(summary.sometimes),
    "  lines that ran, in a sample of the seeds",
    ...Object.entries(summary.coverage).map(
      ([name, part]) => `    ${percent(part).padStart(9)}  ${name}`,
    ),
    "  properties held to",
    ...[...new Set(properties)].toSorted().map((property) => `    ${property}`),
    `  pending: ${PENDING.join(", ")}`,
  ];
  return `${lines.join("\n")}\n`;
}
