/** A run told in words and as a picture. */
import type { Occurrence } from "./trace.ts";

/** One line: when, where, what. */
export function tellOccurrence({ atMs, node, kind, details }: Occurrence): string {
  const told = Object.entries(details)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `${name}=${shortened(String(value))}`);
  return [atMs.toFixed(3).padStart(10), node, kind, ...told].join(" ");
}

/**
 * The last `most` occurrences as a Mermaid sequence diagram, a lane for each node: faults are drawn as such, and what
 * names another node by `to` as an arrow.
 */
export function sequenceDiagram(occurrences: readonly Occurrence[], most: number): string {
  const nodes = [...new Set(occurrences.map(({ node }) => node))].toSorted();
  const lines = nodes.map((node) => `  participant ${node}`);
  for (const occurrence of occurrences.slice(-most)) {
    const { atMs, node, kind, details } = occurrence;
    const { to } = details;
    const what = `${atMs.toFixed(1)} ${kind}${inBrackets(occurrence)}`;
    if (typeof to === "string" && nodes.includes(to)) lines.push(`  ${node} --x ${to}: ${what}`);
    else lines.push(`  Note over ${node}: ${kind.startsWith("fault.") ? "⚡ " : ""}${what}`);
  }
  return ["sequenceDiagram", ...lines].join("\n");
}

function inBrackets({ details }: Occurrence): string {
  const told = ["resource", "holder", "epoch", "sink", "lease", "forMs"]
    .filter((name) => details[name] !== undefined)
    .map((name) => shortened(String(details[name])));
  return told.length === 0 ? "" : ` (${told.join(", ")})`;
}

// Lease ids are long, and their beginnings tell them apart. Mermaid takes `;` and `#` for its own.
function shortened(text: string): string {
  const plain = text.replaceAll(/[;#]/g, " ");
  return plain.length > 24 ? `${plain.slice(0, 8)}…` : plain;
}
