/** Where campaigns are. */
import { globSync } from "node:fs";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import type { Campaign } from "@selvage/sim";
import { ROOT } from "../command.ts";

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
}

/** The campaigns of a file. @throws RangeError: it exports none. */
export async function campaignsOf(file: string): Promise<FileCampaigns> {
  const exported = (await import(pathToFileURL(resolve(file)).href)) as {
    readonly campaign?: Campaign;
    readonly campaigns?: readonly Campaign[];
    readonly beside?: Campaign;
  };
  const { campaigns = listed(exported.campaign) } = exported;
  const beside = listed(exported.beside);
  if (campaigns.length + beside.length === 0)
    throw new RangeError(`${file} exports none of \`campaign\`, \`campaigns\` and \`beside\``);
  return { campaigns, beside };
}

function listed(campaign: Campaign | undefined): readonly Campaign[] {
  return campaign === undefined ? [] : [campaign];
}
