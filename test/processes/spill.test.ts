import { expect, it } from "vitest";
import { BOUNDED_HEAP, spillLine, spillRun } from "./spill-rounds.ts";

// The memory, the program, and what is known of each task.
const boundBytes = 320 * 2 ** 20;

it("S1: some thousand tasks whose outputs are more than the memory run within it, in bounded resident memory", async () => {
  const report = await spillRun(4_000, BOUNDED_HEAP);
  console.log(spillLine(4_000, report, boundBytes));
  expect(report.peakResidentBytes).toBeLessThan(boundBytes);
});
