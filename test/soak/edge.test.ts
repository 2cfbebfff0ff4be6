import { expect, it } from "vitest";
import { edgeDeathRounds, relocationRounds } from "../threads/edge-rounds.ts";

it("E3: an edge's rings are lost under full load", async () => {
  const rounds = 1_000;
  const { relocations, unread, items, stallMs } = await relocationRounds(rounds);
  const sorted = stallMs.toSorted((a, b) => a - b);
  const median = sorted[sorted.length >> 1];
  console.log(
    `${relocations} relocations, ${unread} with unread items, ${items} items, stall ${median} ms median, ${sorted.at(-1)} ms at most`,
  );
  expect(relocations).toBeGreaterThanOrEqual(rounds);
  expect(unread * 2).toBeGreaterThanOrEqual(rounds);
});

it("E3, E5: threads at an edge are ended anywhere", async () => {
  const rounds = 200;
  const { producers, consumers, both, items } = await edgeDeathRounds(rounds);
  console.log(
    `${producers} producers, ${consumers} consumers and ${both} times both ended, ${items} items in the sink`,
  );
  expect(producers + consumers + both).toBe(rounds);
});
