import { expect, it } from "vitest";
import { chunkKillRounds, killRounds } from "../threads/kill-rounds.ts";

it("worker threads are killed in every state", async () => {
  const rounds = 1_000;
  const { rounds: byState, again, threadsLeft } = await killRounds(rounds, 2);
  console.log(`killed ${JSON.stringify(byState)}, worked on again ${JSON.stringify(again)}`);
  expect(Object.values(byState).reduce((sum, count) => sum + count, 0)).toBe(rounds);
  expect(threadsLeft).toBe(0);
});

it("J1, J2: worker threads are killed in mid-chunk", async () => {
  const rounds = 200;
  const { killed, attempts, chunks } = await chunkKillRounds(rounds, 2, 3);
  console.log(
    `${rounds} rounds, ${killed} threads killed, ${attempts} attempts at ${chunks} chunks`,
  );
  expect(killed).toBeGreaterThanOrEqual(rounds);
  expect(chunks).toBe(12 * rounds);
});
