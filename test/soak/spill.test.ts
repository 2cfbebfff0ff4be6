import { expect, it } from "vitest";
import { BOUNDED_HEAP, spillLine, spillRun } from "../processes/spill-rounds.ts";

// The memory, the program, and what is known of each task: the plan, the names, the results.
it.each([
  { heap: "a bounded heap", flags: BOUNDED_HEAP, boundBytes: 400 * 2 ** 20 },
  { heap: "V8's own heap", flags: [], boundBytes: 704 * 2 ** 20 },
])(
  "S1: 100,000 tasks whose outputs are more than the memory run within it, in bounded resident memory, in $heap",
  async ({ flags, boundBytes }) => {
    const report = await spillRun(100_000, flags);
    console.log(spillLine(100_000, report, boundBytes));
    expect(report.peakResidentBytes).toBeLessThan(boundBytes);
  },
);
