import { expect, it } from "vitest";
import { runTwo } from "../../examples/two-processes/main.ts";

it("E3: a pipeline of two processes stores every item once, whichever of them is killed, and how often", async () => {
  const { kills, isRight, rows } = await runTwo(6, () => 300 + Math.random() * 900);
  expect({ isRight, rows }).toEqual({ isRight: true, rows: 20_000 });
  expect(kills).toBeGreaterThan(0);
}, 120_000);
