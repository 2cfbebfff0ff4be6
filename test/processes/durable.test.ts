import { expect, it } from "vitest";
import { durableRounds } from "./durable-rounds.ts";

it("D1: a Durable on a block file keeps every acknowledged checkpoint through SIGKILL, ten times", async () => {
  const { acknowledged } = await durableRounds(10);
  expect(acknowledged).toBeGreaterThan(10);
}, 120_000);
