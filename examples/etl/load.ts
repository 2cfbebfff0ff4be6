/** Writes both tables by one transaction, and only then gives the file its name. */
import { renameSync, rmSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";
import { FabricError } from "selvage";
import type { OriginSums, RouteSums } from "./aggregate.ts";
import { codeOf, iataOf } from "./airport-code.ts";
import { routeKey, type Airport, type GreatCircles } from "./enrich.ts";

/** What is loaded. */
export interface Delays {
  readonly origins: OriginSums;
  readonly routes: RouteSums;
  readonly places: readonly Airport[];
  readonly greatCircles: GreatCircles;
}

const schema = `
  CREATE TABLE airport_delays(iata TEXT PRIMARY KEY, name TEXT, city TEXT, state TEXT, departures INTEGER,
    mean_delay_min REAL, late_departures INTEGER);
  CREATE TABLE route_delays(origin TEXT, destination TEXT, flights INTEGER, mean_delay_min REAL,
    distance_miles INTEGER, great_circle_miles REAL, PRIMARY KEY (origin, destination));
`;

/** Where a database is written before it gets its name. */
export function partialOf(path: string): string {
  return `${path}.partial`;
}

/**
 * Writes `path`. A crash leaves at most the partial file, which the next run removes.
 * @throws FabricError `STORE_UNAVAILABLE` when it cannot be written.
 */
export function loadDatabase(path: string, delays: Delays): void {
  const partial = partialOf(path);
  try {
    rmSync(partial, { force: true });
    const database = new DatabaseSync(partial);
    try {
      // The file gets its name after the last byte is synced, so it needs no journal of its own beside it.
      database.exec("PRAGMA journal_mode = MEMORY; PRAGMA synchronous = FULL; BEGIN");
      database.exec(schema);
      insertAirports(database, delays);
      insertRoutes(database, delays);
      database.exec("COMMIT");
    } finally {
      database.close();
    }
    renameSync(partial, path);
  } catch (thrown) {
    rmSync(partial, { force: true });
    throw isOfStore(thrown) ? unwritable(path, thrown) : thrown;
  }
}

// SQLite's errors and the file system's have a code of Node's; a mistake of ours has none.
function isOfStore(thrown: unknown): thrown is Error {
  return thrown instanceof Error && "code" in thrown && typeof thrown.code === "string";
}

function unwritable(path: string, cause: Error): FabricError {
  const message = `Cannot write ${path}: ${cause.message}`;
  return new FabricError("STORE_UNAVAILABLE", message, { path }, { cause });
}

function insertAirports(database: DatabaseSync, { origins, places }: Delays): void {
  const byCode = new Map(places.map((place) => [codeOf(place.iata), place]));
  const insert = database.prepare("INSERT INTO airport_delays VALUES (?, ?, ?, ?, ?, ?, ?)");
  for (const [row, code] of origins.origin.entries()) {
    const departures = origins.departures[row] as number;
    const place = byCode.get(code);
    insert.run(
      iataOf(code),
      place?.name ?? null,
      place?.city ?? null,
      place?.state ?? null,
      departures,
      (origins.delaySum[row] as number) / departures,
      origins.late[row] as number,
    );
  }
}

function insertRoutes(database: DatabaseSync, { routes, greatCircles }: Delays): void {
  const miles = new Map<string, number>();
  for (const [row, origin] of greatCircles.origin.entries())
    miles.set(
      routeKey(origin, greatCircles.destination[row] as number),
      greatCircles.miles[row] as number,
    );
  const insert = database.prepare("INSERT INTO route_delays VALUES (?, ?, ?, ?, ?, ?)");
  for (const [row, origin] of routes.origin.entries()) {
    const destination = routes.destination[row] as number;
    const flights = routes.flights[row] as number;
    const circle = miles.get(routeKey(origin, destination)) ?? Number.NaN;
    insert.run(
      iataOf(origin),
      iataOf(destination),
      flights,
      (routes.delaySum[row] as number) / flights,
      routes.distance[row] as number,
      Number.isNaN(circle) ? null : circle,
    );
  }
}
