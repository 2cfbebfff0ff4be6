/** What campaigns came to, over all threads. */
import { createHash } from "node:crypto";
import { FAULT_KINDS } from "../faults.ts";
import {
  REPEATS,
  type CampaignFailure,
  type CampaignTally,
  type KeptTally,
} from "../run-campaign.ts";
import type { ShareReport } from "./campaign-share.ts";

/** What came of a run of campaigns: the document of `npm run sim -- --json` and `selvage sim --json`. Fields, once there, stay. */
export interface CampaignSummary {
  readonly seeds: number;
  readonly firstSeed: string;
  readonly violations: number;
  /** Seeds that were asked for and not run, since their campaigns had failed often enough. */
  readonly seedsLeftOut: number;
  readonly failures: readonly {
    readonly property: string;
    readonly message: string;
    readonly seed: string;
    /** What runs it again. */
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
  readonly simulatedHours: number;
  /** Of one thread. */
  readonly eventsPerSecond: number;
  readonly simulatedHoursPerCoreSecond: number;
  readonly traceHash: string;
}

/** What was asked for. */
export interface SummaryOptions {
  readonly seeds: number;
  readonly seed: string;
  /** The command that ran them, with its file: failures are replayed by it. */
  readonly command: string;
  /** A path as it can be typed where the command was. Default: as it is. */
  readonly shown?: (path: string) => string;
}

/**
 * All threads' shares together. Failures that are told twice, since they were kept and came again, count once.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
 * import { tmpdir } from "node:os";
 * import { join } from "node:path";
 * import { runCampaignFiles, summarizeCampaigns } from "@selvage/sim";
 *
 * const folder = mkdtempSync(join(tmpdir(), "selvage-"));
 * const file = join(folder, "beat.mjs");
 * writeFileSync(
 *   file,
 *   `export const campaign = {
 *     name: "beat",
 *     swarm: () => ({ nodes: ["a"], kinds: ["pause"], mostFaults: 1 }),
 *     scenario: () => ({ world: (w) => w.node("a", (node) => node.record("beat")) }),
 *     properties: [],
 *     sometimes: [],
 *   };`,
 * );
 * const shares = await runCampaignFiles([file], { seeds: 2, threads: 1, keep: folder });
 * const summary = summarizeCampaigns(shares, { seeds: 2, seed: "1", command: "selvage sim beat.mjs" });
 * assert.deepEqual([summary.seeds, summary.violations], [2, 0]);
 * rmSync(folder, { recursive: true });
 * ```
 */
export function summarizeCampaigns(
  shares: readonly ShareReport[],
  options: SummaryOptions,
): CampaignSummary {
  const tallies = shares.flatMap((share) => share.tallies);
  const all = [...tallies, ...shares.flatMap((share) => share.besides)];
  const kept = shares.flatMap((share) => share.kept);
  const keptFailures = kept.flatMap((tally) => tally.failures);
  const found = unlike([...keptFailures, ...all.flatMap((tally) => tally.failures)]);
  const divergences = shares.flatMap((share) => share.divergences);
  const seconds = sum(tallies, ({ tookMs }) => tookMs) / 1_000;
  const hours = sum(tallies, ({ simulatedMs }) => simulatedMs) / 3_600_000;
  const ran = sum(tallies, (tally) => tally.seeds);
  return {
    seeds: ran,
    firstSeed: options.seed,
    violations: found.length + divergences.length,
    seedsLeftOut: Math.max(0, options.seeds - ran),
    failures: [
      ...found.map((failure) => ({
        property: failure.property,
        message: failure.message,
        seed: failure.seed,
        replay: replayOf(failure, options),
        campaign: failure.campaign,
        faults: failure.plan.length,
      })),
      ...divergences.map((divergence) => ({
        property: REPEATS,
        message: `${REPEATS}: they part at checkpoint ${divergence.checkpoint}: ${divergence.lasts.join(" / ")}`,
        seed: divergence.seed,
        replay: replayOf({ ...divergence, path: undefined }, options, "--audit"),
        campaign: divergence.campaign,
        faults: 0,
      })),
    ],
    kept: {
      run: sum(kept, ({ run }) => run),
      stillFail: keptFailures.length,
      unreadable: unreadableOf(kept),
    },
    faults: added([noFaults, ...tallies.map(({ faults }) => faults)]),
    sometimes: added(all.map(({ sometimes }) => sometimes)),
    simulatedHours: hours,
    eventsPerSecond: Math.round(sum(tallies, ({ events }) => events) / Math.max(seconds, 1e-9)),
    simulatedHoursPerCoreSecond: hours / Math.max(seconds, 1e-9),
    traceHash: hashOf(all),
  };
}

const noFaults = Object.fromEntries(FAULT_KINDS.map((kind) => [kind, 0]));

// Each campaign looks through the whole folder.
function unreadableOf(kept: readonly KeptTally[]): KeptTally["unreadable"] {
  const all = kept.flatMap(({ unreadable }) => unreadable);
  return [...new Map(all.map((one) => [one.path, one] as const)).values()];
}

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
  { command, shown = (same) => same }: SummaryOptions,
  how: string | undefined = path === undefined ? undefined : `--plan ${shown(path)}`,
): string {
  const parts = [command, `--campaign ${campaign} --seed ${seed} --seeds 1`, how];
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

/** What such a run falls short of, one line each, beside what was violated. `requireSometimes`: no counter may stay at zero. */
export function campaignShortcomings(
  { seeds, sometimes }: Pick<CampaignSummary, "seeds" | "sometimes">,
  requireSometimes: boolean,
): readonly string[] {
  const told = seeds === 0 ? ["no seed was run"] : [];
  if (!requireSometimes) return told;
  const never = Object.entries(sometimes).filter(([, count]) => count === 0);
  return [...told, ...never.map(([name]) => `never happened: ${name}`)];
}

/** The summary to read, a line each. */
export function campaignLines(summary: CampaignSummary): readonly string[] {
  const { kept, seedsLeftOut } = summary;
  const leftOut =
    seedsLeftOut === 0
      ? []
      : [`  ${seedsLeftOut} seeds left out: their campaigns had failed often enough`];
  return [
    `  ${summary.seeds} seeds from ${summary.firstSeed}, ${summary.violations} violations, ${summary.simulatedHours.toFixed(1)} simulated hours`,
    `  ${summary.eventsPerSecond.toLocaleString("en")} events a second and ${summary.simulatedHoursPerCoreSecond.toFixed(2)} simulated hours a core-second; trace ${summary.traceHash}`,
    ...leftOut,
    `  kept: ${kept.run} run, ${kept.stillFail} still fail`,
    ...kept.unreadable.map(({ path, message }) => `    cannot be read: ${path}: ${message}`),
    "  faults that struck",
    ...listed(summary.faults),
    "  sometimes",
    ...listed(summary.sometimes),
  ];
}

function listed(counts: Readonly<Record<string, number>>): string[] {
  return Object.entries(counts).map(([name, count]) => `    ${String(count).padStart(9)}  ${name}`);
}
