/** Files that export campaigns. */
import { existsSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { FabricError } from "@selvage/fabric";
import type { Campaign } from "../campaign.ts";

/** A file's campaigns. */
export interface FileCampaigns {
  /** Of nodes: a run's seeds are shared out among them. */
  readonly campaigns: readonly Campaign[];
  /** That simulate no nodes: each gets as many seeds as all of those together, which are not counted among them. */
  readonly beside: readonly Campaign[];
  /** How many seeds of a round each of `campaigns` gets, from the export `share`: more where a seed takes less time. Default 1. */
  readonly share: number;
}

/**
 * The campaigns that a file exports: one as `campaign` or its default, several as `campaigns`, one as `beside`.
 * @throws FabricError `NOT_FOUND`; `INVALID_ARGUMENT`: it cannot be loaded, or exports none.
 */
export async function loadCampaigns(file: string): Promise<FileCampaigns> {
  if (!existsSync(file)) throw new FabricError("NOT_FOUND", `${file} is not there`, { path: file });
  const exported = await loaded(file);
  const one = exported["campaign"] ?? exported["default"];
  const several = exported["campaigns"];
  if (several !== undefined && !Array.isArray(several))
    throw unusable(file, `${file}: \`campaigns\` is not a list`);
  const list = (several ?? (one === undefined ? [] : [one])) as readonly unknown[];
  const campaigns = list.map((each) => campaignIn(file, each));
  const aside = exported["beside"];
  const beside = aside === undefined ? [] : [campaignIn(file, aside)];
  const share = exported["share"] ?? 1;
  if (!Number.isSafeInteger(share) || (share as number) < 1)
    throw unusable(file, `${file}: \`share\` is not a whole number from 1 up`);
  if (campaigns.length + beside.length > 0) return { campaigns, beside, share: share as number };
  const names = "`campaign`, `campaigns`, `beside` and a default";
  throw unusable(file, `${file} exports none of ${names}`);
}

async function loaded(file: string): Promise<Readonly<Record<string, unknown>>> {
  try {
    return (await import(pathToFileURL(file).href)) as Readonly<Record<string, unknown>>;
  } catch (cause) {
    throw unusable(file, `${file} cannot be loaded: ${(cause as Error).message}`, { cause });
  }
}

const parts: readonly (readonly [keyof Campaign, string, (part: unknown) => boolean])[] = [
  ["name", "a text", (part) => typeof part === "string"],
  ["swarm", "a function", (part) => typeof part === "function"],
  ["scenario", "a function", (part) => typeof part === "function"],
  ["properties", "a list of texts", isTexts],
  ["sometimes", "a list of texts", isTexts],
];

function isTexts(part: unknown): boolean {
  return Array.isArray(part) && part.every((text) => typeof text === "string");
}

function campaignIn(file: string, exported: unknown): Campaign {
  const campaign = (exported ?? {}) as Partial<Campaign>;
  for (const [name, kind, isSo] of parts)
    if (!isSo(campaign[name]))
      throw unusable(file, `${file}: the \`${name}\` of a campaign is not ${kind}`);
  return campaign as Campaign;
}

function unusable(path: string, message: string, options?: ErrorOptions): FabricError {
  return new FabricError("INVALID_ARGUMENT", message, { path }, options);
}
