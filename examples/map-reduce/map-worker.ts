/** A mapper, on a thread of its own: counts its slice of the flights, where they lie, and deals the counts to the reducers. */
import type { TaskContext, TaskOutput } from "selvage";
import type { Flights } from "../etl/flights.ts";
import { DelaySums, LATE_MIN } from "./delays.ts";

/** How many flights are counted between two signs of progress. */
const chunkRows = 131_072;

/** The task. Its URL says which slice it is, of how many, and how many reducers there are. */
export default function map(context: TaskContext): TaskOutput {
  const { searchParams } = new URL(import.meta.url);
  const [slice, maps, reduces] = ["slice", "maps", "reduces"].map((name) =>
    Number(searchParams.get(name)),
  ) as [number, number, number];
  const { origin, delay } = context.input<Flights>("flights");
  const from = Math.floor((origin.length * slice) / maps);
  const to = Math.floor((origin.length * (slice + 1)) / maps);
  const sums = new DelaySums();
  for (let row = from; row < to; row++) {
    const minutes = delay[row] as number;
    sums.add(origin[row] as number, 1, minutes, minutes > LATE_MIN ? 1 : 0);
    if ((row - from) % chunkRows === 0) context.progress((row - from) / (to - from));
  }
  return Object.fromEntries(
    Array.from({ length: reduces }, (_, part) => [
      `counts ${slice}.${part}`,
      sums.columns((airport) => airport % reduces === part),
    ]),
  );
}
