/** A thread of the arrays' side of `etl-run.ts`: one task of the main job on columns that were copied to it. */
import { parentPort, workerData } from "node:worker_threads";
import { aggregateFlights } from "../examples/etl/aggregate.ts";
import { enrichFlights, readAirports } from "../examples/etl/enrich.ts";
import type { Flights } from "../examples/etl/flights.ts";

const { task, airports } = workerData as {
  readonly task: "aggregate" | "enrich";
  readonly airports: string;
};

parentPort?.once("message", (flights: Flights) => {
  const answer =
    task === "aggregate"
      ? aggregateFlights(flights, () => {})
      : enrichFlights(flights, readAirports(airports));
  parentPort?.postMessage(answer);
});
