/** Where campaigns are. */
import { globSync } from "node:fs";
import { join, relative, resolve } from "node:path";
import { ROOT } from "../command.ts";

export { loadCampaigns as campaignsOf } from "@selvage/sim";

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
