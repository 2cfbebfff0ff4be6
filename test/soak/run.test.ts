import { expect, it } from "vitest";
import { resumeRounds } from "../processes/run-rounds.ts";

const kills = 200;

it("C2: a run under a runId is resumed after SIGKILL, for long: committed outputs are identical, and committed once", async () => {
  const rounds = await resumeRounds(kills);
  console.log(`${rounds.kills} kills, ${rounds.runs} runs, ${rounds.restored} tasks restored`);
  expect(rounds.kills).toBe(kills);
  expect(rounds.restored).toBeGreaterThan(kills);
});
