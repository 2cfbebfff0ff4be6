/** Counts flights by origin and by route. A worker thread's body: the flights are read where they lie. */
import type { ColumnsOf, TaskContext, TaskOutput } from "selvage";
import { AIRPORT_CODES } from "./airport-code.ts";
import { failFirst } from "./fail.ts";
import type { Flights } from "./flights.ts";

/** A flight is late beyond this many minutes. */
export const LATE_MIN = 15;

/** Columns of the sums by origin. */
export const ORIGIN_COLUMNS = {
  origin: "uint16",
  departures: "int32",
  delaySum: "float64",
  late: "int32",
} as const;

/** Columns of the sums by route. */
export const ROUTE_COLUMNS = {
  origin: "uint16",
  destination: "uint16",
  flights: "int32",
  delaySum: "float64",
  distance: "int32",
} as const;

/** Sums by origin, in the order in which origins first appear. */
export type OriginSums = ColumnsOf<typeof ORIGIN_COLUMNS>;
/** Sums by route, in the order in which routes first appear. */
export type RouteSums = ColumnsOf<typeof ROUTE_COLUMNS>;

/** How many flights are counted between two signs of progress. */
const chunkRows = 262_144;

/** The task. */
export default function aggregate(context: TaskContext): TaskOutput {
  failFirst(context, import.meta.url);
  const flights = context.input<Flights>("flights");
  return aggregateFlights(flights, (done) => context.progress(done));
}

/** Sums up. Sums of whole minutes are exact; the mean is taken once, at the end. */
export function aggregateFlights(
  flights: Flights,
  onProgress: (fraction: number) => void,
): { origins: OriginSums; routes: RouteSums } {
  const { origin, destination, delay, distance } = flights;
  const rows = origin.length;
  const airports = numberAirports(flights);
  const byOrigin = new Sums(airports.count);
  const byRoute = new Sums(airports.count ** 2);
  const miles = new Int32Array(airports.count ** 2);
  for (let from = 0; from < rows; from += chunkRows) {
    const to = Math.min(from + chunkRows, rows);
    for (let row = from; row < to; row++) {
      const start = airports.numbers[origin[row] as number] as number;
      const end = airports.numbers[destination[row] as number] as number;
      const late = delay[row] as number;
      const route = start * airports.count + end;
      byOrigin.add(start, late);
      byRoute.add(route, late);
      miles[route] = distance[row] as number;
    }
    onProgress(to / rows);
  }
  const origins = byOrigin.used();
  const routes = byRoute.used();
  const code = (number: number): number => airports.codes[number] as number;
  return {
    origins: {
      origin: Uint16Array.from(origins, code),
      departures: Int32Array.from(origins, (at) => byOrigin.counts[at] as number),
      delaySum: Float64Array.from(origins, (at) => byOrigin.delays[at] as number),
      late: Int32Array.from(origins, (at) => byOrigin.late[at] as number),
    },
    routes: {
      origin: Uint16Array.from(routes, (at) => code(Math.floor(at / airports.count))),
      destination: Uint16Array.from(routes, (at) => code(at % airports.count)),
      flights: Int32Array.from(routes, (at) => byRoute.counts[at] as number),
      delaySum: Float64Array.from(routes, (at) => byRoute.delays[at] as number),
      distance: Int32Array.from(routes, (at) => miles[at] as number),
    },
  };
}

/** Counts, sums and lates by a small number. */
class Sums {
  readonly counts: Int32Array;
  readonly delays: Float64Array;
  readonly late: Int32Array;

  constructor(size: number) {
    this.counts = new Int32Array(size);
    this.delays = new Float64Array(size);
    this.late = new Int32Array(size);
  }

  add(at: number, delay: number): void {
    (this.counts[at] as number)++;
    this.delays[at] = (this.delays[at] as number) + delay;
    if (delay > LATE_MIN) (this.late[at] as number)++;
  }

  /** The numbers that were counted. */
  used(): number[] {
    const numbers: number[] = [];
    for (const [at, count] of this.counts.entries()) if (count > 0) numbers.push(at);
    return numbers;
  }
}

/** Numbers the airports that appear from 0 on, so that a route is a place in a small table. */
export function numberAirports({ origin, destination }: Pick<Flights, "origin" | "destination">): {
  readonly numbers: Int32Array;
  readonly codes: number[];
  readonly count: number;
} {
  const numbers = new Int32Array(AIRPORT_CODES).fill(-1);
  const codes: number[] = [];
  for (const column of [origin, destination])
    for (let row = 0; row < column.length; row++) {
      const code = column[row] as number;
      if (numbers[code] !== -1) continue;
      numbers[code] = codes.length;
      codes.push(code);
    }
  return { numbers, codes, count: codes.length };
}
