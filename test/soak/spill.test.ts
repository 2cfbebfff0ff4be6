import { expect, it } from "vitest";
import { spillLine, spillRun } from "../processes/spill-rounds.ts";

it("S1: 100,000 tasks whose outputs are more than the memory run within it, in bounded resident memory", async () => {
  const report = await spillRun(100_000);
  console.log(spillLine(100_000, report));
  expect(report.peakResidentBytes).toBeLessThan(1_536 * 2 ** 20);
});
