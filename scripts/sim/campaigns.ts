/** Where campaigns are. */
import { existsSync, globSync } from "node:fs";
import { join, relative, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import type { Campaign } from "@selvage/sim";
import { ROOT } from "../command.ts";

/** What was asked for cannot be run: the message is all that whoever asked needs. */
export class Unusable extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "Unusable";
  }
}

/** A path as whoever typed it meant it: npm runs scripts in the package's folder, not where it was called. */
export function asTyped(path: string): string {
  return resolve(process.env["INIT_CWD"] ?? "", path);
}

/** A path as it can be typed there. */
export function asShown(path: string): string {
  return relative(process.env["INIT_CWD"] ?? "", path);
}

/** The project's own, by file. */
export function ownFiles(): readonly string[] {
  const files = globSync("test/campaigns/*.campaign.ts", { cwd: ROOT });
  return files.map((file) => join(ROOT, file)).toSorted();
}

/** A file's campaigns. */
export interface FileCampaigns {
  /** Of nodes: a run's seeds are shared out among them. */
  readonly campaigns: readonly Campaign[];
  /** That simulate no nodes: each gets as many seeds as all of those together, which are not counted among them. */
  readonly beside: readonly Campaign[];
  /** How many seeds of a round each of `campaigns` gets, from the export `share`: more where a seed takes less time. Default 1. */
  readonly share: number;
}

/** The campaigns of a file. @throws Unusable: it is not there, cannot be loaded, or exports none. */
export async function campaignsOf(file: string): Promise<FileCampaigns> {
  if (!existsSync(file)) throw new Unusable(`${file} is not there`);
  const exported = await loaded(file);
  const one = exported["campaign"] ?? exported["default"];
  const several = exported["campaigns"];
  if (several !== undefined && !Array.isArray(several))
    throw new Unusable(`${file}: \`campaigns\` is not a list`);
  const list = (several ?? (one === undefined ? [] : [one])) as readonly unknown[];
  const campaigns = list.map((each) => campaignIn(file, each));
  const aside = exported["beside"];
  const beside = aside === undefined ? [] : [campaignIn(file, aside)];
  const share = exported["share"] ?? 1;
  if (!Number.isSafeInteger(share) || (share as number) < 1)
    throw new Unusable(`${file}: \`share\` is not a whole number from 1 up`);
  if (campaigns.length + beside.length > 0) return { campaigns, beside, share: share as number };
  const names = "`campaign`, `campaigns`, `beside` and a default";
  throw new Unusable(`${file} exports none of ${names}`);
}

async function loaded(file: string): Promise<Readonly<Record<string, unknown>>> {
  try {
    return (await import(pathToFileURL(file).href)) as Readonly<Record<string, unknown>>;
  } catch (cause) {
    throw new Unusable(`${file} cannot be loaded: ${(cause as Error).message}`, { cause });
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
      throw new Unusable(`${file}: the \`${name}\` of a campaign is not ${kind}`);
  return campaign as Campaign;
}
