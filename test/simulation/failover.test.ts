import { audit, runOf, simulate, type SimReport } from "@selvage/sim";
import { beforeAll, expect, test } from "vitest";
import { campaign } from "../campaigns/failover.campaign.ts";

/** `npm run sim` runs thousands; here the campaign itself is to be in order. */
const seeds = 30;

const reports: SimReport[] = [];
beforeAll(async () => {
  for (let seed = 1; seed <= seeds; seed++)
    reports.push(await simulate(runOf(campaign, String(seed))));
}, 120_000);

test.each(campaign.properties)("%s", (property) => {
  const broken = reports.filter((report) => report.property === property);
  expect(broken.map(({ violation, replayLine }) => `${String(violation)}\n${replayLine}`)).toEqual(
    [],
  );
});

test("no run of the failover campaign ends in an error of its programs", () => {
  const names: readonly (string | undefined)[] = [...campaign.properties, undefined];
  const others = reports.filter(({ property }) => !names.includes(property));
  expect(others.map(({ violation, seed }) => `${seed}: ${String(violation)}`)).toEqual([]);
});

test("S1: a seed of the failover campaign gives the same run twice", async () => {
  for (const seed of ["3", "17"]) expect(await audit(campaign, seed)).toBeUndefined();
});

test("the failover campaign's faults strike, and what it counts happens", () => {
  const struck = reports.reduce(
    (sum, { faults }) => sum + Object.values(faults).reduce((a, b) => a + b, 0),
    0,
  );
  expect(struck).toBeGreaterThan(seeds);
  const counted = (name: string): number =>
    reports.reduce((sum, { counters }) => sum + counters.count(name), 0);
  expect(campaign.sometimes.filter((name) => counted(name) === 0)).toEqual([]);
});
