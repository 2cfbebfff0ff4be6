/** The feed: a week of earthquakes, then twenty thousand flights, line by line, as they stand in the files of `vega-datasets`. */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";

/** What `parse` makes of a line. */
export type Reading =
  | {
      readonly kind: "quake";
      readonly place: string;
      readonly magnitude: number;
      readonly depthKm: number;
    }
  | {
      readonly kind: "flight";
      readonly origin: string;
      readonly destination: string;
      readonly delay: number;
      readonly distance: number;
    };

/** What is stored. */
export interface Row {
  readonly kind: Reading["kind"];
  /** The region of an earthquake, the airports of a flight. */
  readonly place: string;
  readonly label: string;
  /** Magnitude, or minutes late. */
  readonly value: number;
}

/** Line by line: one of the files has a record a line, the other all of them in one. */
export function* feedLines(): Generator<string, void, undefined> {
  yield* read("earthquakes.json").split("\n");
  for (const line of read("flights-20k.json").slice(1, -1).split("},")) yield `${line}},`;
}

/** `vega-datasets` hides its files behind its `exports`. */
function read(name: string): string {
  const entry = createRequire(import.meta.url).resolve("vega-datasets");
  return readFileSync(path.join(path.dirname(entry), "..", "data", name), "utf8");
}
