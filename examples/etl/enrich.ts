/** Says what the airports of the flights are called and how far apart they lie. A worker thread's body. */
import { readFileSync } from "node:fs";
import { parse } from "csv-parse/sync";
import { systemText, type ColumnsOf, type TaskContext, type TaskOutput } from "selvage";
import { codeOf, iataOf } from "./airport-code.ts";
import { numberAirports } from "./aggregate.ts";
import { failFirst } from "./fail.ts";
import type { Flights } from "./flights.ts";

/** Radius of the Earth. */
const earthRadiusMiles = 3_958.8;

/** Columns of the great circles. */
export const GREAT_CIRCLE_COLUMNS = {
  origin: "uint16",
  destination: "uint16",
  /** NaN where a place is unknown. */
  miles: "float64",
} as const;

/** A great circle for every route of the flights. */
export type GreatCircles = ColumnsOf<typeof GREAT_CIRCLE_COLUMNS>;

/** An airport, as `airports.csv` has it. */
export interface Airport {
  readonly iata: string;
  readonly name: string;
  readonly city: string;
  readonly state: string;
  readonly latitude: number;
  readonly longitude: number;
}

type Row = Readonly<Record<keyof Airport, string>>;

/** The task. Where `airports.csv` is comes with the module's URL. */
export default function enrich(context: TaskContext): TaskOutput {
  failFirst(context, import.meta.url);
  const path = new URL(import.meta.url).searchParams.get("airports");
  if (path === null) throw new TypeError("enrich: expected ?airports=PATH");
  const airports = readAirports(path);
  context.progress(0.2);
  const flights = context.input<Flights>("flights");
  const { places, greatCircles } = enrichFlights(flights, airports);
  return { places: systemText.encode(JSON.stringify(places)), greatCircles };
}

/** Reads the airports. */
export function readAirports(path: string): Map<number, Airport> {
  const rows: Row[] = parse(readFileSync(path), { columns: true, bom: true });
  const airports = new Map<number, Airport>();
  for (const { iata, name, city, state, latitude, longitude } of rows) {
    const code = codeOf(iata);
    if (code < 0) continue;
    const place = { iata, name, city, state };
    airports.set(code, { ...place, latitude: Number(latitude), longitude: Number(longitude) });
  }
  return airports;
}

/** The places that the flights touch, and the great circle of each route. */
export function enrichFlights(
  flights: Pick<Flights, "origin" | "destination">,
  airports: ReadonlyMap<number, Airport>,
): { places: Airport[]; greatCircles: GreatCircles } {
  const { numbers, codes, count } = numberAirports(flights);
  const isRoute = new Uint8Array(count ** 2);
  const { origin, destination } = flights;
  for (let row = 0; row < origin.length; row++) {
    const start = numbers[origin[row] as number] as number;
    isRoute[start * count + (numbers[destination[row] as number] as number)] = 1;
  }
  const routes: number[] = [];
  for (const [route, there] of isRoute.entries()) if (there === 1) routes.push(route);
  const start = (route: number): number => codes[Math.floor(route / count)] as number;
  const end = (route: number): number => codes[route % count] as number;
  return {
    places: codes.flatMap((code) => airports.get(code) ?? []),
    greatCircles: {
      origin: Uint16Array.from(routes, start),
      destination: Uint16Array.from(routes, end),
      miles: Float64Array.from(routes, (route) =>
        greatCircleMiles(airports.get(start(route)), airports.get(end(route))),
      ),
    },
  };
}

/** The haversine formula (Sinnott, 1984). NaN where a place is unknown. */
function greatCircleMiles(from: Airport | undefined, to: Airport | undefined): number {
  if (from === undefined || to === undefined) return Number.NaN;
  const radians = Math.PI / 180;
  const north = Math.sin(((to.latitude - from.latitude) * radians) / 2) ** 2;
  const east = Math.sin(((to.longitude - from.longitude) * radians) / 2) ** 2;
  const cosines = Math.cos(from.latitude * radians) * Math.cos(to.latitude * radians);
  return 2 * earthRadiusMiles * Math.asin(Math.sqrt(north + cosines * east));
}

/** A route by its airports' letters, to look one up. */
export function routeKey(origin: number, destination: number): string {
  return `${iataOf(origin)}-${iataOf(destination)}`;
}
