/**
 * What some runs come to, as it was when they were last looked at: a kernel that takes its events in another order, or a stream
 * that is drawn from once more, makes every run another one, and nothing else would say so.
 *
 * When to renew: after a change that is meant to alter what these campaigns do, or what the packages under them ask of their
 * ports: another write, timer or draw. The change's commit says which. When a change was to alter nothing (a refactoring, another
 * Node, another machine), a hash that differs is a fault of it. How: the hashes that the failed test shows go to
 * `pinned-hashes.json`, once `npm run sim` and `npm run sim -- --audit` have passed.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { runOf, simulate } from "@selvage/sim";
import { expect, it } from "vitest";
import { ROOT } from "../../scripts/command.ts";
import { campaign as dag } from "../campaigns/dag.campaign.ts";
import { campaign as journal } from "../campaigns/journal.campaign.ts";

const pinned = JSON.parse(
  readFileSync(join(ROOT, "test/simulation/pinned-hashes.json"), "utf8"),
) as Readonly<Record<string, Readonly<Record<string, string>>>>;

it.each([journal, dag])(
  "T1: seeds of the campaign $name give the runs that they gave before, on any Node and any machine",
  async (campaign) => {
    const hashes: Record<string, string> = {};
    for (let seed = 1; seed <= 5; seed++) {
      const { violation, traceHash } = await simulate(runOf(campaign, String(seed)));
      expect(violation).toBeUndefined();
      hashes[seed] = traceHash;
    }
    expect(hashes).toEqual(pinned[campaign.name]);
  },
);
