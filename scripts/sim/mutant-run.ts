/**
 * A campaign on a source that has a rule broken, until it is found: `mutant-run.ts CAMPAIGN SEEDS FIRST_SEED`. Prints one
 * line, a document. Started by `mutants.ts`, with the hook that breaks the rule.
 */
import { runCampaign } from "@selvage/sim";
import { campaignsOf, ownFiles } from "./campaigns.ts";

const [name = "", seeds = "", firstSeed = ""] = process.argv.slice(2);
// Each is looked for in the file of its name: only that one, and what it needs, is loaded.
const files = ownFiles().filter((file) => file.endsWith(`/${name}.campaign.ts`));
const loaded = await Promise.all(files.map(campaignsOf));
const campaign = loaded
  .flatMap(({ campaigns, beside }) => [...campaigns, ...beside])
  .find((one) => one.name === name);
if (campaign === undefined) throw new RangeError(`there is no campaign ${name}`);
const begun = performance.now();
const tally = await runCampaign(campaign, {
  firstSeed,
  seeds: Number(seeds),
  mostFailures: 1,
  minimiseRuns: 0,
});
const [failure] = tally.failures;
const seconds = (performance.now() - begun) / 1_000;
const told = { by: failure?.property, message: failure?.message, seeds: tally.seeds, seconds };
process.stdout.write(`${JSON.stringify(told)}\n`);
// Whatever the broken rule has left undone.
process.exit();
