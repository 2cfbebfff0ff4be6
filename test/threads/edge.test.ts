import { describe, expect, it } from "vitest";
import { edgeDeathRounds, relocationRounds } from "./edge-rounds.ts";

describe("threads at an edge", { timeout: 120_000 }, () => {
  it("E3: rings are lost under full load, and every item comes once, in order", async () => {
    const rounds = 60;
    const { relocations, unread } = await relocationRounds(rounds);
    expect(relocations).toBeGreaterThanOrEqual(rounds);
    expect(unread * 2).toBeGreaterThanOrEqual(rounds);
  });

  it("E3, E5: a producer's or a consumer's thread is ended anywhere and replaced, and a sink that keeps numbers has every item once", async () => {
    const { producers, consumers, both } = await edgeDeathRounds(15);
    expect([producers, consumers, both]).toEqual([5, 5, 5]);
  });
});
