import { describe, expect, it } from "vitest";
import {
  blockedFor,
  firedOnce,
  limitsHeld,
  pausedForAll,
  rerunsAfterKills,
  silentFor,
  toldToEnd,
} from "./jobs-named.ts";
import { jobRounds, linesOf } from "./jobs-rounds.ts";

/** For processes of a busy machine to start. */
const atMostMs = 240_000;
const rounds = 4;

describe("jobs over three worker processes", () => {
  it(
    "B1, B2: SIGKILL at random points: each job ends once, with one result, and attempts are bounded",
    async () => {
      const seen = await jobRounds("gate 31", rounds);
      console.log(linesOf(seen));
      expect(seen.rounds).toBe(rounds);
      // One that was about to be killed may have ended by a job that is poison.
      expect(seen.kills).toBeGreaterThanOrEqual(0.8 * rounds);
    },
    atMostMs,
  );

  it(
    "(f) B5: a job of a process that is killed runs again within its TTL and two ticks, and not before its TTL",
    async () => {
      const seen = await rerunsAfterKills(2);
      console.log(linesOf(seen));
      const { leaseMs, pollMs, soonestMs, latestMs } = seen;
      expect(soonestMs).toBeGreaterThanOrEqual(leaseMs - 5);
      // By the times in the store; the rest is for a machine that has other things to do.
      expect(latestMs).toBeLessThanOrEqual(leaseMs + 2 * pollMs + 6_000);
    },
    atMostMs,
  );

  it(
    "B5: a process whose loop is blocked for many TTLs by work that reports progress keeps its job",
    async () => expect(await blockedFor(4_500, 1_500)).toBe(13),
    atMostMs,
  );

  it(
    "B2: one that is blocked without a word loses its job to another, and what it says then is refused",
    async () => expect(await silentFor(4_000, 1_000)).toBe(1),
    atMostMs,
  );

  it(
    "SIGTERM drains, hands back what does not end in time, and the exit code says which",
    async () => expect(await toldToEnd()).toBe(2),
    atMostMs,
  );

  it(
    "limits of a task and a queue, and a rate, hold also while a process is killed",
    async () => expect(await limitsHeld()).toBe(110),
    atMostMs,
  );

  it(
    "a pause holds for all, and for no other queue",
    async () => expect(await pausedForAll()).toBe(66),
    atMostMs,
  );

  it(
    "a schedule fires once a time",
    async () => expect(await firedOnce(3)).toBeGreaterThanOrEqual(3),
    atMostMs,
  );
});
