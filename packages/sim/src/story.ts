/** A run told in words and as a picture. */
import type { Arrival, Occurrence } from "./trace.ts";

/** One line: when, where, what. */
export function tellOccurrence({ atMs, node, kind, details }: Occurrence): string {
  const told = Object.entries(details)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `${name}=${shortened(String(value))}`);
  return [atMs.toFixed(3).padStart(10), node, kind, ...told].join(" ");
}

/**
 * A Mermaid sequence diagram, a lane for each node: every fault, and the last `most` of everything else. A message is an
 * arrow when it arrives, a cross when it is lost; that it was late or sent twice is an arrow at the time when it was sent.
 */
export function sequenceDiagram(
  occurrences: readonly Occurrence[],
  arrivals: readonly Arrival[],
  most: number,
): string {
  const nodes = [...new Set(occurrences.map(({ node }) => node))].toSorted();
  // Names of ours: a node may be called as a word of Mermaid's own.
  const laneOf = new Map(nodes.map((node, index) => [node, `n${index}`]));
  const lanes = nodes.map((node) => `  participant ${laneOf.get(node)} as ${node}`);
  const steps = [
    ...occurrences.map((occurrence) => ({
      place: occurrence.seq,
      isFault: occurrence.kind.startsWith("fault."),
      line: () => occurrenceLine(occurrence, laneOf),
    })),
    ...arrivals.map((arrival) => ({
      // After what was recorded before it.
      place: arrival.before - 0.5,
      isFault: false,
      line: () => arrivalLine(arrival, laneOf),
    })),
  ].toSorted((one, other) => one.place - other.place);
  const from = Math.max(0, steps.length - most);
  const shown = steps.filter(({ isFault }, index) => isFault || index >= from);
  return ["sequenceDiagram", ...lanes, ...shown.map(({ line }) => line())].join("\n");
}

type Lanes = ReadonlyMap<string, string>;

function occurrenceLine(occurrence: Occurrence, laneOf: Lanes): string {
  const { atMs, node, kind, details } = occurrence;
  const what = plain(`${atMs.toFixed(1)} ${kind}${inBrackets(occurrence)}`);
  const to = typeof details["to"] === "string" ? laneOf.get(details["to"]) : undefined;
  const from = laneOf.get(node);
  if (to === undefined)
    return `  Note over ${from}: ${kind.startsWith("fault.") ? "⚡ " : ""}${what}`;
  return `  ${from} ${kind === "message.lost" ? "--x" : "->>"} ${to}: ${what}`;
}

function arrivalLine({ atMs, from, to }: Arrival, laneOf: Lanes): string {
  return `  ${laneOf.get(from)} ->> ${laneOf.get(to)}: ${atMs.toFixed(1)} message`;
}

function inBrackets({ details }: Occurrence): string {
  const told = ["resource", "holder", "epoch", "sink", "lease", "forMs"]
    .filter((name) => details[name] !== undefined)
    .map((name) => shortened(String(details[name])));
  return told.length === 0 ? "" : ` (${told.join(", ")})`;
}

// Lease ids are long, and their beginnings tell them apart.
function shortened(text: string): string {
  const line = plain(text);
  return line.length > 24 ? `${line.slice(0, 8)}…` : line;
}

// One line, without what Mermaid takes for its own.
function plain(text: string): string {
  return text.replaceAll(/[;#\s]/g, " ");
}
