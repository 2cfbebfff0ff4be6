/** A run of many tasks whose outputs are more than the memory, in a process of its own. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { expect } from "vitest";
import { MEMORY_BYTES, type SpillReport } from "./spill-process.ts";

const program = fileURLToPath(new URL("./spill-process.ts", import.meta.url));

/**
 * A heap that is bounded, as a deployment bounds it: V8 collects when that is full. Left to itself it lets garbage stand as
 * far as the machine has memory, and the peak says more of the machine than of the program.
 */
export const BOUNDED_HEAP: readonly string[] = [
  "--max-old-space-size=192",
  "--max-semi-space-size=8",
];

/** Runs so many tasks, in a Node with these flags, and holds what they told against what must be. */
export async function spillRun(tasks: number, flags: readonly string[]): Promise<SpillReport> {
  const args = [...process.execArgv, ...flags, program, String(tasks)];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
  let text = "";
  child.stdout.setEncoding("utf8").on("data", (part: string) => {
    text += part;
  });
  const [code, signal] = (await once(child, "close")) as [number | null, string | null];
  expect([code, signal]).toEqual([0, null]);
  const report = JSON.parse(text) as SpillReport;
  expect(report).toMatchObject({ status: "succeeded", succeeded: tasks, right: tasks / 2 });
  const { leased, returned, peakLeased, spilled, unspilled } = report.bytes;
  expect([returned, report.missingBytes]).toEqual([leased, 0]);
  expect(peakLeased).toBeLessThanOrEqual(MEMORY_BYTES);
  expect(unspilled).toBe(spilled);
  expect(spilled).toBeGreaterThan(0);
  return report;
}

const mib = (bytes: number): string => `${Math.round(bytes / 2 ** 20)} MiB`;

/** One line for whoever reads the log. */
export function spillLine(tasks: number, report: SpillReport, boundBytes: number): string {
  const { bytes, residentBytes, peakResidentBytes, elapsedMs } = report;
  return (
    `${tasks} tasks under ${mib(MEMORY_BYTES)}: ${mib(bytes.spilled)} spilled in ${elapsedMs} ms; ` +
    `resident ${mib(residentBytes)} before, ${mib(peakResidentBytes)} at its peak, ${mib(boundBytes)} allowed; ` +
    `${bytes.leased} bytes leased, ${bytes.returned} returned`
  );
}
