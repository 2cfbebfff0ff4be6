/** What a campaign came to, with the lines that it ran. */
import { campaignLines, type CampaignSummary } from "@selvage/sim";

/** The document of `npm run sim -- --json`. Fields, once there, stay. */
export interface Summary extends CampaignSummary {
  /** Part of the lines of functions that ran in a sample of the seeds, by package, from 0 to 1. */
  readonly coverage: Readonly<Record<string, number>>;
}

function percent(part: number): string {
  return `${(part * 100).toFixed(1)} %`;
}

/** The summary to read. */
export function table(summary: Summary, properties: readonly string[]): string {
  const lines = [
    ...campaignLines(summary),
    "  lines that ran, in a sample of the seeds",
    ...Object.entries(summary.coverage).map(
      ([name, part]) => `    ${percent(part).padStart(9)}  ${name}`,
    ),
    "  properties held to",
    ...[...new Set(properties)].toSorted().map((property) => `    ${property}`),
  ];
  return `${lines.join("\n")}\n`;
}
