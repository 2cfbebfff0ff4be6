/** Which lines a campaign has run: of functions, in the packages that it is there to exercise. */
import { readFileSync } from "node:fs";
import { Session } from "node:inspector/promises";
import { fileURLToPath } from "node:url";

/** Packages whose lines count. */
const COVERED = /packages\/(leasekit|fence|collections|batch)\/(?:src|dist)\//;

/** By file: the lines that functions have, and those of them that ran. */
export type LineCoverage = Readonly<Record<string, LinesOf>>;

interface LinesOf {
  readonly lines: readonly number[];
  readonly ran: readonly number[];
}

/** Notes what this thread runs, from now on. What it gives is called at the end. */
export async function watchCoverage(): Promise<() => Promise<LineCoverage>> {
  const session = new Session();
  session.connect();
  await session.post("Profiler.enable");
  await session.post("Profiler.startPreciseCoverage", { callCount: false, detailed: true });
  return async () => {
    const { result } = await session.post("Profiler.takePreciseCoverage");
    session.disconnect();
    const scripts = result.filter(({ url }) => COVERED.test(url));
    return Object.fromEntries(
      scripts.map(({ url, functions }) => [
        url.replace(/.*packages\//, ""),
        linesOf(url, functions),
      ]),
    );
  };
}

interface CoveredFunction {
  readonly ranges: readonly {
    readonly startOffset: number;
    readonly endOffset: number;
    readonly count: number;
  }[];
}

// Types are blanked out before a file runs, so that offsets are those of the source.
function linesOf(url: string, functions: readonly CoveredFunction[]): LinesOf {
  const text = readFileSync(fileURLToPath(url), "utf8");
  // 0: in no function; 1: in one that did not get there; 2: ran. The innermost range that begins last decides.
  const marks = new Uint8Array(text.length);
  // The first function is the module itself.
  const ranges = functions
    .slice(1)
    .flatMap((covered) => covered.ranges)
    .toSorted((a, b) => a.startOffset - b.startOffset || b.endOffset - a.endOffset);
  for (const { startOffset, endOffset, count } of ranges)
    marks.fill(count > 0 ? 2 : 1, startOffset, endOffset);
  const lines: number[] = [];
  const ran: number[] = [];
  let offset = 0;
  for (const [index, line] of text.split("\n").entries()) {
    const first = offset + line.search(/\S/);
    offset += line.length + 1;
    if (!/^\s*[^\s/*}\])]/.test(line)) continue;
    const mark = marks[first] ?? 0;
    if (mark === 0) continue;
    lines.push(index + 1);
    if (mark === 2) ran.push(index + 1);
  }
  return { lines, ran };
}

/** Both together: a line has run if it ran in either. */
export function merged(one: LineCoverage, other: LineCoverage): LineCoverage {
  const files = new Set([...Object.keys(one), ...Object.keys(other)]);
  const both = (file: string, key: "lines" | "ran"): number[] => [
    ...new Set([...(one[file]?.[key] ?? []), ...(other[file]?.[key] ?? [])]),
  ];
  return Object.fromEntries(
    [...files].map((file) => [file, { lines: both(file, "lines"), ran: both(file, "ran") }]),
  );
}

/** Of each package, and of all: the part of the lines that ran, from 0 to 1. */
export function coverageByPackage(coverage: LineCoverage): Readonly<Record<string, number>> {
  const sums = new Map<string, [ran: number, lines: number]>();
  for (const [file, { lines, ran }] of Object.entries(coverage))
    for (const name of [file.split("/")[0] as string, "all"]) {
      const [before, of] = sums.get(name) ?? [0, 0];
      sums.set(name, [before + ran.length, of + lines.length]);
    }
  const parts = [...sums].map(([name, [ran, lines]]) => [name, lines === 0 ? 0 : ran / lines]);
  return Object.fromEntries(parts) as Record<string, number>;
}
