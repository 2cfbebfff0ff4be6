import { expect, it } from "vitest";
import { storeRounds } from "../processes/kv-rounds.ts";

const kills = 200;

it("K3: a FabricKvStore on a block file keeps every acknowledged put through SIGKILL, for long", async () => {
  const rounds = await storeRounds(kills);
  console.log(`${kills} kills, ${rounds} rounds of puts`);
  expect(rounds).toBeGreaterThan(kills);
});
