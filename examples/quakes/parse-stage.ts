/** The stage "parse", on a thread of its own: a line to a reading. Lines that hold none are left out. */
import type { Reading } from "./feed.ts";

interface Feature {
  readonly properties: { readonly mag: number | null; readonly place: string | null };
  readonly geometry: { readonly coordinates: readonly number[] };
}

interface Flight {
  readonly delay: number;
  readonly distance: number;
  readonly origin: string;
  readonly destination: string;
}

/** The reading in a line. */
export default function parse(line: string): Reading | undefined {
  // The first line has a heading before the record, the last a closing after it.
  const begin = Math.max(line.indexOf('{"type":"Feature",'), line.indexOf('{"date"'));
  if (begin < 0) return undefined;
  const text = line.slice(begin, line.lastIndexOf("}") + 1);
  return line[begin + 2] === "d" ? flight(text) : quake(text);
}

function flight(text: string): Reading {
  const { origin, destination, delay, distance } = JSON.parse(balanced(text)) as Flight;
  return { kind: "flight", origin, destination, delay, distance };
}

function quake(text: string): Reading | undefined {
  const { properties, geometry } = JSON.parse(balanced(text)) as Feature;
  const { mag: magnitude, place } = properties;
  if (magnitude === null || place === null) return undefined;
  return { kind: "quake", place, magnitude, depthKm: geometry.coordinates[2] ?? 0 };
}

// The record alone, where the file's closing bracket stands behind it.
function balanced(text: string): string {
  let depth = 0;
  for (let at = 0; at < text.length; at++) {
    if (text[at] === "{") depth++;
    if (text[at] === "}" && --depth === 0) return text.slice(0, at + 1);
  }
  return text;
}
