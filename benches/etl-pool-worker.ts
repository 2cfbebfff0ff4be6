/** A thread of the pools' sides of `etl-run.ts`: tasks of the main job, as functions of what they are given. */
import { aggregateFlights, type OriginSums, type RouteSums } from "../examples/etl/aggregate.ts";
import {
  enrichFlights,
  readAirports,
  type Airport,
  type GreatCircles,
} from "../examples/etl/enrich.ts";
import type { Flights } from "../examples/etl/flights.ts";

export function aggregate(flights: Flights): { origins: OriginSums; routes: RouteSums } {
  return aggregateFlights(flights, () => {});
}

export function enrich(told: {
  readonly flights: Pick<Flights, "origin" | "destination">;
  readonly airports: string;
}): { places: Airport[]; greatCircles: GreatCircles } {
  return enrichFlights(told.flights, readAirports(told.airports));
}
