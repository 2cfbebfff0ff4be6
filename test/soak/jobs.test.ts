import { describe, expect, it } from "vitest";
import { blockedFor, limitsHeld, rerunsAfterKills } from "../processes/jobs-named.ts";
import { jobRounds, linesOf } from "../processes/jobs-rounds.ts";

const rounds = 500;
const kills = 20;

describe("jobs over three worker processes, for long", () => {
  it(
    "B1, B2: SIGKILL at random points: each job ends once, with one result, and attempts are bounded",
    async () => {
      const seed = process.env["SELVAGE_SEED"] ?? String(Date.now());
      console.log(`seed ${seed}`);
      const seen = await jobRounds(seed, rounds);
      console.log(linesOf(seen));
      expect(seen.rounds).toBe(rounds);
      // One that was about to be killed may have ended by a job that is poison.
      expect(seen.kills).toBeGreaterThanOrEqual(0.8 * rounds);
    },
    4 * 3_600_000,
  );

  it("B5: a job of a process that is killed runs again within its TTL and two ticks", async () => {
    const seen = await rerunsAfterKills(kills);
    console.log(linesOf(seen));
    const { leaseMs, pollMs, soonestMs, latestMs } = seen;
    expect(soonestMs).toBeGreaterThanOrEqual(leaseMs - 5);
    expect(latestMs).toBeLessThanOrEqual(leaseMs + 2 * pollMs + 6_000);
  });

  it("B5: a process whose loop is blocked for 10 s by work that reports progress keeps its job", async () => {
    expect(await blockedFor(10_000, 3_000)).toBe(13);
  });

  it("limits and rates hold while processes are killed, again and again", async () => {
    for (let round = 0; round < 10; round++) expect(await limitsHeld()).toBe(110);
  });
});
