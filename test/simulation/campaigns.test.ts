import { readFileSync } from "node:fs";
import { join } from "node:path";
import { runOf, simulate, type Campaign, type SimReport } from "@selvage/sim";
import { beforeAll, describe, expect, test } from "vitest";
import { ROOT } from "../../scripts/command.ts";
import { campaignsOf, ownFiles } from "../../scripts/sim/campaigns.ts";
import { campaign as arena } from "../campaigns/arena.campaign.ts";
import { campaign as collections } from "../campaigns/collections.campaign.ts";
import { campaign as dag } from "../campaigns/dag.campaign.ts";
import { campaign as journal } from "../campaigns/journal.campaign.ts";
import { campaign as resume } from "../campaigns/resume.campaign.ts";

/** `npm run sim` runs thousands; here the campaigns themselves are to be in order. */
const seeds = 4;

const all: readonly (readonly [string, Campaign])[] = [
  arena,
  collections,
  dag,
  journal,
  resume,
].map((campaign) => [campaign.name, campaign]);

describe.each(all)("the campaign %s", (_name, campaign) => {
  const reports: SimReport[] = [];
  beforeAll(async () => {
    for (let seed = 1; seed <= seeds; seed++)
      reports.push(await simulate(runOf(campaign, String(seed))));
  }, 120_000);

  test.each(campaign.properties)("%s", (property) => {
    const broken = reports.filter((report) => report.property === property);
    expect(broken.map(({ violation, seed }) => `${seed}: ${String(violation)}`)).toEqual([]);
  });

  test("no run ends in an error of its programs, or in anything else that is wrong", () => {
    const wrong = reports.filter(({ violation }) => violation !== undefined);
    expect(wrong.map(({ violation, seed }) => `${seed}: ${String(violation)}`)).toEqual([]);
  });
});

/** A campaign's file and its own modules, as one text. */
function sourcesOf(file: string, seen: Set<string> = new Set<string>()): string {
  if (seen.has(file)) return "";
  seen.add(file);
  const text = readFileSync(file, "utf8");
  const imported = [...text.matchAll(/(?:from|import) "\.\/([\w-]+\.ts)"/g)].map(([, name]) =>
    sourcesOf(join(ROOT, "test/campaigns", name as string), seen),
  );
  return [text, ...imported].join("\n");
}

// Where a property's name stands when it is what breaks: not in a list, and not where it is defined.
function thrownIn(source: string, property: string): boolean {
  const named = new RegExp(`(\\w+)(?:: string)? =\\s*${escaped(JSON.stringify(property))}`);
  const name = named.exec(source)?.[1];
  if (name === undefined) return false;
  const at = String.raw`(?:\bheld\.)?\b${name}\b`;
  return [
    String.raw`new Violation\(\s*${at}`,
    String.raw`\bas\(\s*${at}`,
    String.raw`check\.always\(\s*${at}`,
    String.raw`\bname: ${at}`,
    String.raw`return [^;]*\b${name}\b`,
    // As the row that a program is at, or where another function throws by it.
    String.raw`#row\b[^;]*\b${name}\b`,
    String.raw`rejected\([^;]*\b${name}\b`,
  ].some((use) => new RegExp(use).test(source));
}

function escaped(text: string): string {
  return text.replaceAll(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`);
}

describe("each campaign's properties", () => {
  test("are what is thrown when they break: each is thrown somewhere, and nothing else", async () => {
    const wrong: string[] = [];
    for (const file of ownFiles()) {
      const source = sourcesOf(file);
      const { campaigns } = await campaignsOf(file);
      for (const { name, properties } of campaigns)
        for (const property of properties)
          if (name !== "failover" && !thrownIn(source, property))
            wrong.push(`${name}: ${property}`);
      // A name that is made up where it is thrown stands in no list.
      for (const [text] of source.matchAll(/new Violation\(\s*["`][^"`]*/g))
        if (!text.includes('"no history')) wrong.push(text);
    }
    expect(wrong).toEqual([]);
  });
});
