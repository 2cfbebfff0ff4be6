/** The stage "enrich", on a thread of its own: where a reading belongs, and what to make of it. */
import type { Reading, Row } from "./feed.ts";

/** A row of a reading. */
export default function enrich(reading: Reading): Row {
  if (reading.kind === "flight") {
    const { origin, destination, delay, distance } = reading;
    const haul = distance < 500 ? "short" : distance < 1_500 ? "medium" : "long";
    const late = delay > 15 ? "late" : "on time";
    return {
      kind: "flight",
      place: `${origin}-${destination}`,
      label: `${haul}, ${late}`,
      value: delay,
    };
  }
  const { place, magnitude, depthKm } = reading;
  const label = `${depthKm < 70 ? "shallow" : "deep"}, ${magnitude < 2.5 ? "not felt" : "felt"}`;
  return { kind: "quake", place: place.replace(/^.*, /, ""), label, value: magnitude };
}
