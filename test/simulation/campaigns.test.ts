import { runOf, simulate, type Campaign, type SimReport } from "@selvage/sim";
import { beforeAll, describe, expect, test } from "vitest";
import { campaign as arena } from "../campaigns/arena.campaign.ts";
import { campaign as collections } from "../campaigns/collections.campaign.ts";
import { campaign as dag } from "../campaigns/dag.campaign.ts";
import { campaign as journal } from "../campaigns/journal.campaign.ts";

/** `npm run sim` runs thousands; here the campaigns themselves are to be in order. */
const seeds = 4;

/** The number that a property or a violation begins with. */
function numberOf(text: string): string {
  return text.split(":")[0] ?? "";
}

const all: readonly (readonly [string, Campaign])[] = [arena, collections, dag, journal].map(
  (campaign) => [campaign.name, campaign],
);

describe.each(all)("the campaign %s", (_name, campaign) => {
  const reports: SimReport[] = [];
  beforeAll(async () => {
    for (let seed = 1; seed <= seeds; seed++)
      reports.push(await simulate(runOf(campaign, String(seed))));
  }, 120_000);

  test.each(campaign.properties)("%s", (property) => {
    const numbers = numberOf(property).split(", ");
    const broken = reports.filter((report) => numbers.includes(numberOf(report.property ?? "")));
    expect(broken.map(({ violation, seed }) => `${seed}: ${String(violation)}`)).toEqual([]);
  });

  test("no run ends in an error of its programs, or in anything else that is wrong", () => {
    const wrong = reports.filter(({ violation }) => violation !== undefined);
    expect(wrong.map(({ violation, seed }) => `${seed}: ${String(violation)}`)).toEqual([]);
  });
});
