import { expect, it } from "vitest";
import { spillLine, spillRun } from "./spill-rounds.ts";

it("S1: some thousand tasks whose outputs are more than the memory run within it, in bounded resident memory", async () => {
  const report = await spillRun(4_000);
  console.log(spillLine(4_000, report));
  // Memory, the garbage that tasks make of as many bytes, and the program.
  expect(report.peakResidentBytes).toBeLessThan(768 * 2 ** 20);
});
