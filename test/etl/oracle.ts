/**
 * The answer the flights job must give, worked out the slow and plain way: row objects, Maps keyed
 * by strings, BigInt sums. It imports nothing from `packages/` or `examples/`, so a fault there
 * cannot excuse itself here.
 *
 * O1: a premise of the answer (no nulls, one distance a route) is checked, never papered over.
 * O2: the whole file has the totals that another decoder found: hyparquet alone is not believed.
 */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";

import { asyncBufferFromFile, parquetMetadataAsync, parquetReadObjects } from "hyparquet";
import { compressors } from "hyparquet-compressors";

/** A row of `airport_delays`. A type, not an interface, so that it passes for a record. */
type AirportDelays = {
  readonly iata: string;
  readonly name: string | null;
  readonly city: string | null;
  readonly state: string | null;
  readonly departures: number;
  readonly mean_delay_min: number;
  readonly late_departures: number;
};

/** A row of `route_delays`. A type for the same reason. */
type RouteDelays = {
  readonly origin: string;
  readonly destination: string;
  readonly flights: number;
  readonly mean_delay_min: number;
  readonly distance_miles: number;
  readonly great_circle_miles: number | null;
};

/** Both tables. Airports are keyed by IATA code, routes by `"ORIGIN DESTINATION"`. */
export interface Expected {
  readonly airports: ReadonlyMap<string, AirportDelays>;
  readonly routes: ReadonlyMap<string, RouteDelays>;
}

/** Where the two inputs are. */
export interface DataPaths {
  readonly parquetPath: string;
  readonly airportsPath: string;
}

/** What {@link computeExpected} reads, and how many rows of it. */
export interface ExpectedOptions extends DataPaths {
  /** Only the first so many rows of the file; all of them when left out or past the end. */
  readonly rows?: number | undefined;
}

interface Flight {
  readonly origin: string;
  readonly destination: string;
  readonly delay: bigint;
  readonly distance: bigint;
}

interface Airport {
  readonly name: string;
  readonly city: string;
  readonly state: string;
  readonly latitude: number;
  readonly longitude: number;
}

interface Tally {
  count: number;
  late: number;
  delaySumMin: bigint;
  readonly distances: Set<bigint>;
}

const EARTH_RADIUS_MILES = 3958.8;
const LATE_AFTER_MIN = 15n;
const CSV_HEADER = "iata,name,city,state,country,latitude,longitude";
const FLIGHT_COLUMNS = ["origin", "destination", "delay", "distance"];

/** O2. Found with pyarrow 25.0.1 in `data/flights-3m.parquet` of vega-datasets 3.2.1. */
const WHOLE_FILE = {
  rows: 3_000_000,
  airports: 229,
  routes: 3_399,
  late: 599_055,
  delaySumMin: 20_003_603n,
};

/** Finds the inputs in vega-datasets, by way of its entry point: its `exports` hide the rest. */
export function locateData(): DataPaths {
  const entry = createRequire(import.meta.url).resolve("vega-datasets");
  const data = join(dirname(entry), "..", "data");
  return {
    parquetPath: join(data, "flights-3m.parquet"),
    airportsPath: join(data, "airports.csv"),
  };
}

/** Computes both tables. About 6 s for the whole file; holds one row group at a time. */
export async function computeExpected(options: ExpectedOptions): Promise<Expected> {
  const directory = await readAirports(options.airportsPath);
  const departures = new Map<string, Tally>();
  const flights = new Map<string, Tally>();

  const rows = await forEachFlight(options, (flight) => {
    addFlight(departures, flight.origin, flight);
    addFlight(flights, `${flight.origin} ${flight.destination}`, flight);
  });
  if (rows === WHOLE_FILE.rows) assertWholeFile(departures, flights);

  const airports = new Map<string, AirportDelays>();
  for (const [iata, tally] of departures) {
    airports.set(iata, airportRow(iata, tally, directory.get(iata)));
  }
  const routes = new Map<string, RouteDelays>();
  for (const [route, tally] of flights) routes.set(route, routeRow(route, tally, directory));
  return { airports, routes };
}

/** Visits the first `rows` flights, a row group at a time, and returns how many there were. */
async function forEachFlight(
  { parquetPath, rows = Number.POSITIVE_INFINITY }: ExpectedOptions,
  visit: (flight: Flight) => void,
): Promise<number> {
  assert(
    rows === Number.POSITIVE_INFINITY || (Number.isInteger(rows) && rows > 0),
    `rows is ${rows}`,
  );
  const file = await asyncBufferFromFile(parquetPath);
  const metadata = await parquetMetadataAsync(file);
  const end = Math.min(rows, Number(metadata.num_rows));

  let groupStart = 0;
  for (const group of metadata.row_groups) {
    if (groupStart >= end) break;
    const groupEnd = groupStart + Number(group.num_rows);
    const rowEnd = Math.min(groupEnd, end);
    const source = { file, metadata, compressors, columns: FLIGHT_COLUMNS };
    const records = await parquetReadObjects({ ...source, rowStart: groupStart, rowEnd });
    assert.equal(records.length, rowEnd - groupStart, "rows read of a group");
    for (const record of records) visit(asFlight(record));
    groupStart = groupEnd;
  }
  return end;
}

/** O1. Every column is marked optional, yet none holds a null: a null is a file we do not know. */
function asFlight({
  origin,
  destination,
  delay,
  distance,
}: Readonly<Record<string, unknown>>): Flight {
  assert(typeof origin === "string" && origin !== "", "origin is text");
  assert(typeof destination === "string" && destination !== "", "destination is text");
  assert(typeof delay === "bigint", "delay is an integer");
  assert(typeof distance === "bigint", "distance is an integer");
  return { origin, destination, delay, distance };
}

function addFlight(tallies: Map<string, Tally>, key: string, { delay, distance }: Flight): void {
  let tally = tallies.get(key);
  if (tally === undefined) {
    tally = { count: 0, late: 0, delaySumMin: 0n, distances: new Set() };
    tallies.set(key, tally);
  }
  tally.count += 1;
  if (delay > LATE_AFTER_MIN) tally.late += 1;
  tally.delaySumMin += delay;
  tally.distances.add(distance);
}

/** O2. */
function assertWholeFile(
  departures: ReadonlyMap<string, Tally>,
  flights: ReadonlyMap<string, Tally>,
): void {
  for (const tallies of [departures, flights]) {
    const found = {
      rows: 0,
      airports: departures.size,
      routes: flights.size,
      late: 0,
      delaySumMin: 0n,
    };
    for (const tally of tallies.values()) {
      found.rows += tally.count;
      found.late += tally.late;
      found.delaySumMin += tally.delaySumMin;
    }
    assert.deepEqual(found, WHOLE_FILE, "totals of the whole file");
  }
}

function airportRow(iata: string, tally: Tally, airport: Airport | undefined): AirportDelays {
  return {
    iata,
    name: airport?.name ?? null,
    city: airport?.city ?? null,
    state: airport?.state ?? null,
    departures: tally.count,
    mean_delay_min: meanDelayMin(tally),
    late_departures: tally.late,
  };
}

function routeRow(
  route: string,
  tally: Tally,
  directory: ReadonlyMap<string, Airport>,
): RouteDelays {
  const [origin = "", destination = ""] = route.split(" ");
  const [distance, ...others] = tally.distances;
  assert(distance !== undefined && others.length === 0, `${route} has one distance`); // O1
  const from = directory.get(origin);
  const to = directory.get(destination);
  return {
    origin,
    destination,
    flights: tally.count,
    mean_delay_min: meanDelayMin(tally),
    distance_miles: Number(distance),
    great_circle_miles: from && to ? greatCircleMiles(from, to) : null,
  };
}

/** The nearest double: sum and count are exact integers below 2^53, so only the division rounds. */
const meanDelayMin = ({ delaySumMin, count }: Tally): number => Number(delaySumMin) / count;

/**
 * The angle between the two points' unit vectors, times the radius: the distance that haversine
 * gives, reached without it. `atan2` of cross and dot product is precise at every angle.
 */
function greatCircleMiles(from: Airport, to: Airport): number {
  const [ax, ay, az] = unitVector(from);
  const [bx, by, bz] = unitVector(to);
  const cross = Math.hypot(ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx);
  const dot = ax * bx + ay * by + az * bz;
  return EARTH_RADIUS_MILES * Math.atan2(cross, dot);
}

function unitVector({ latitude, longitude }: Airport): [number, number, number] {
  const phi = (latitude * Math.PI) / 180;
  const lambda = (longitude * Math.PI) / 180;
  return [Math.cos(phi) * Math.cos(lambda), Math.cos(phi) * Math.sin(lambda), Math.sin(phi)];
}

async function readAirports(path: string): Promise<ReadonlyMap<string, Airport>> {
  const [header, ...lines] = (await readFile(path, "utf8")).trimEnd().split("\n");
  assert.equal(header, CSV_HEADER, "header of airports.csv");
  const airports = new Map<string, Airport>();
  for (const line of lines) {
    const [iata = "", name = "", city = "", state = "", , latitude, longitude] = splitCsv(line);
    const airport = { name, city, state, latitude: Number(latitude), longitude: Number(longitude) };
    assert(
      Math.abs(airport.latitude) <= 90 && Math.abs(airport.longitude) <= 180,
      `place of ${iata}`,
    );
    assert(!airports.has(iata), `${iata} is listed once`);
    airports.set(iata, airport);
  }
  return airports;
}

/** Splits one line. Quoted fields hold commas and doubled quotes, but here no line break. */
function splitCsv(line: string): string[] {
  const fields: string[] = [];
  for (const [, quoted, bare] of line.matchAll(/(?:^|,)(?:"((?:[^"]|"")*)"|([^",]*))(?=,|$)/g)) {
    fields.push(quoted?.replaceAll('""', '"') ?? bare ?? "");
  }
  assert.equal(fields.length, CSV_HEADER.split(",").length, `fields in ${line}`);
  return fields;
}
