import { expect, it } from "vitest";
import { durableRounds } from "../processes/durable-rounds.ts";

const rounds = 200;

it("D1: a Durable on a block file keeps every acknowledged checkpoint through SIGKILL, for long", async () => {
  const { acknowledged, newer } = await durableRounds(rounds);
  console.log(
    `${rounds} kills, ${acknowledged} checkpoints, ${newer} rounds found the one under way`,
  );
  expect(acknowledged).toBeGreaterThan(rounds);
});
