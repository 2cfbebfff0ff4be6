import { readFileSync } from "node:fs";
import { join } from "node:path";
import { runOf, simulate } from "@selvage/sim";
import { expect, it } from "vitest";
import { ROOT } from "../../scripts/command.ts";
import { campaignsOf, ownFiles } from "../../scripts/sim/campaigns.ts";
import { beside as interleavings } from "../campaigns/interleavings.campaign.ts";
import { mutants } from "../campaigns/mutants.ts";

/** `npm run sim -- --mutants` runs them; here only that each can be made. */
it("each mutant's text stands once in its file, and its name tells it from all others", () => {
  const wrong = mutants.filter(({ file, find, replace }) => {
    const parts = readFileSync(join(ROOT, file), "utf8").split(find);
    return parts.length !== 2 || find === replace;
  });
  expect(wrong.map(({ name }) => name)).toEqual([]);
  const names = mutants.map(({ campaign, name }) => `${campaign}: ${name}`);
  expect(names).toEqual([...new Set(names)]);
});

it("T2: every campaign has mutants to find, and every mutant a campaign", async () => {
  const files = await Promise.all(ownFiles().map(campaignsOf));
  const names = files.flatMap(({ campaigns, beside }) =>
    [...campaigns, ...beside].map(({ name }) => name),
  );
  const hunted = new Set(mutants.map(({ campaign }) => campaign));
  expect([...hunted].toSorted()).toEqual(names.toSorted());
});

it("R1 to R6, A3, A5, L4: threads at rings, leases and maps hold to them in random schedules", async () => {
  for (let seed = 1; seed <= 60; seed++) {
    const { violation, replayLine } = await simulate(runOf(interleavings, String(seed)));
    expect(violation, replayLine).toBeUndefined();
  }
});
