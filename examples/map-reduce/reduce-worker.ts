/** A reducer, on a thread of its own: adds up what every mapper counted of its airports. */
import type { TaskContext, TaskOutput } from "selvage";
import { DelaySums, type Delays } from "./delays.ts";

/** The task. Its URL says which part it is, and how many mappers there are. */
export default function reduce(context: TaskContext): TaskOutput {
  const { searchParams } = new URL(import.meta.url);
  const part = Number(searchParams.get("part"));
  const maps = Number(searchParams.get("maps"));
  const sums = new DelaySums();
  for (let slice = 0; slice < maps; slice++) {
    const { airport, departures, delaySumMin, late } = context.input<Delays>(
      `counts ${slice}.${part}`,
    );
    for (const [row, code] of airport.entries())
      sums.add(code, departures[row] as number, delaySumMin[row] as number, late[row] as number);
  }
  return { [`sums ${part}`]: sums.columns() };
}
