import { expect, it } from "vitest";
import { storeRounds } from "./kv-rounds.ts";

it("K3: a FabricKvStore on a block file keeps every acknowledged put through SIGKILL, eight times", async () => {
  expect(await storeRounds(8)).toBeGreaterThan(20);
}, 120_000);
