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

/** The campaigns of a file. @throws RangeError: it exports none. */
export async function campaignsOf(file: string): Promise<readonly Campaign[]> {
  const exported = (await import(pathToFileURL(resolve(file)).href)) as {
    readonly campaign?: Campaign;
    readonly campaigns?: readonly Campaign[];
  };
  const { campaign, campaigns = campaign === undefined ? [] : [campaign] } = exported;
  if (campaigns.length === 0)
    throw new RangeError(`${file} exports neither \`campaign\` nor \`campaigns\``);
  return campaigns;
}
