/** MapReduce over flights: departures and delays by airport. Everything between the steps lies in leases. */
import { TaskGraph, type DataRef, type ExecutionPlan, type TaskId } from "selvage";
import { iataOf } from "../etl/airport-code.ts";
import { decodeFlights, openFlights } from "../etl/decode.ts";
import { flightShape } from "../etl/flights.ts";
import type { Delays } from "./delays.ts";

/** What the job is told. */
export interface MapReduceOptions {
  /** The parquet file of flights. */
  readonly flights: string;
  /** Only the first so many flights. */
  readonly rows?: number;
  readonly maps: number;
  readonly reduces: number;
}

/** A line of the result. */
export interface AirportDelays {
  readonly iata: string;
  readonly departures: number;
  readonly delaySumMin: number;
  readonly late: number;
}

/** The job, ready to run. */
export interface MapReduce {
  readonly plan: ExecutionPlan;
  /** What came out; most departures first. Empty before the run. */
  readonly airports: AirportDelays[];
}

/** Builds the job: one task reads, `maps` tasks count, `reduces` tasks add up, one collects. */
export function buildMapReduce(options: MapReduceOptions): MapReduce {
  const { maps, reduces } = options;
  const graph = new TaskGraph();
  const airports: AirportDelays[] = [];
  const read = graph.addTask({
    name: "read",
    outputs: [columns("flights")],
    async run(context) {
      using file = await openFlights(options.flights);
      const rows = Math.min(options.rows ?? file.rows, file.rows);
      const flights = context.allocate("flights", flightShape(rows));
      await decodeFlights(file, flights, (done) => {
        context.progress(done / rows);
        if (context.signal.aborted) throw context.signal.reason;
      });
    },
  });
  const counts = (slice: number, part: number): DataRef => columns(`counts ${slice}.${part}`);
  const mappers = upTo(maps).map((slice) =>
    graph.addTask({
      name: `map ${slice}`,
      inputs: [columns("flights")],
      outputs: upTo(reduces).map((part) => counts(slice, part)),
      retries: 1,
      run: worker("map", { slice, maps, reduces }),
    }),
  );
  const reducers = upTo(reduces).map((part) =>
    graph.addTask({
      name: `reduce ${part}`,
      inputs: upTo(maps).map((slice) => counts(slice, part)),
      outputs: [columns(`sums ${part}`)],
      retries: 1,
      run: worker("reduce", { part, maps }),
    }),
  );
  const collect = graph.addTask({
    name: "collect",
    inputs: upTo(reduces).map((part) => columns(`sums ${part}`)),
    run(context) {
      const parts = upTo(reduces).map((part) => context.input<Delays>(`sums ${part}`));
      const lines = parts.flatMap(linesOf);
      airports.push(...lines.toSorted((a, b) => b.departures - a.departures));
    },
  });
  connect(graph, [[read], mappers, reducers, [collect]]);
  return { plan: graph.build(), airports };
}

// Every task of a layer comes after every one of the layer ahead.
function connect(graph: TaskGraph, layers: readonly (readonly TaskId[])[]): void {
  for (const [index, layer] of layers.slice(1).entries())
    for (const before of layers[index] ?? [])
      for (const after of layer) graph.addDependency(before, after);
}

function linesOf({ airport, departures, delaySumMin, late }: Delays): AirportDelays[] {
  return Array.from(airport, (code, row) => ({
    iata: iataOf(code),
    departures: departures[row] as number,
    delaySumMin: delaySumMin[row] as number,
    late: late[row] as number,
  }));
}

function worker(name: "map" | "reduce", told: Readonly<Record<string, number>>): URL {
  const url = new URL(`./${name}-worker.ts`, import.meta.url);
  for (const [key, value] of Object.entries(told)) url.searchParams.set(key, String(value));
  return url;
}

function columns(name: string): DataRef {
  return { name, format: "columns" };
}

function upTo(count: number): number[] {
  return Array.from({ length: count }, (_, index) => index);
}
