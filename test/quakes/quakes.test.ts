import { expect, test } from "vitest";
import { runQuakes } from "../../examples/quakes/run.ts";

test("E3: a stage's thread is ended three times and leases end while they are needed, and the table has every row once", async () => {
  const kills = new Map([["parse", 3]]);
  const totals = await runQuakes({ kills, expireEveryMs: 100 });
  const { status, error, isRight, rows, again, stages, edges } = totals;
  expect({ status, error, isRight, again }).toEqual({
    status: "succeeded",
    error: undefined,
    isRight: true,
    again: 0,
  });
  expect(rows).toBeGreaterThan(20_000);
  expect(totals.kills).toEqual({ parse: 3 });
  expect(stages.map(({ name, restarts }) => [name, restarts])).toEqual([
    ["parse", 3],
    ["enrich", 0],
  ]);
  for (const { lost, relocations } of edges) {
    expect(lost).toBe(0);
    expect(relocations["lease-expired"] ?? 0).toBeGreaterThan(0);
  }
});
