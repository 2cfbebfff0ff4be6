import { expect, it } from "vitest";
import { jobRounds, linesOf } from "./jobs-rounds.ts";

const rounds = 3;

it("SIGKILL of workers at random points over three processes: each job ends once, with one result", async () => {
  const seen = await jobRounds("gate", rounds);
  console.log(linesOf(seen));
  expect(seen.rounds).toBe(rounds);
  expect(seen.kills + seen.stops).toBeGreaterThanOrEqual(rounds);
}, 240_000);
