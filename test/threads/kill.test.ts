import { describe, expect, it } from "vitest";
import { chunkKillRounds, killRounds } from "./kill-rounds.ts";

describe("Killing worker threads", { timeout: 240_000 }, () => {
  it("a thread is killed queued, starting, running, committing and done: each has its right outcome, and nothing is left", async () => {
    const { rounds, again, threadsLeft } = await killRounds(20, 1);
    expect(rounds).toEqual({ queued: 4, starting: 4, running: 4, committing: 4, done: 4 });
    expect(again).toMatchObject({ queued: 4, running: 4, committing: 4 });
    expect(threadsLeft).toBe(0);
  });

  it("J1, J2: threads are killed in mid-chunk, and each chunk has one output, equal ones both", async () => {
    const { killed, attempts, chunks } = await chunkKillRounds(10, 1, 1);
    expect(chunks).toBe(120);
    expect(killed).toBeGreaterThanOrEqual(10);
    expect(attempts).toBeGreaterThan(chunks);
  });
});
