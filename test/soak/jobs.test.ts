import { expect, it } from "vitest";
import { jobRounds, linesOf } from "../processes/jobs-rounds.ts";

const rounds = 500;

it(
  "SIGKILL of workers at random points over three processes, for long: each job ends once, with one result",
  async () => {
    const seed = process.env["SELVAGE_SEED"] ?? String(Date.now());
    console.log(`seed ${seed}`);
    const seen = await jobRounds(seed, rounds);
    console.log(linesOf(seen));
    expect(seen.rounds).toBe(rounds);
    expect(seen.kills + seen.stops).toBeGreaterThanOrEqual(rounds);
  },
  4 * 3_600_000,
);
