/**
 * Compares a finished `flights.sqlite` with the oracle's answer, to the row.
 *
 *     node test/etl/compare.ts path/to/flights.sqlite [--rows N]
 *
 * Exit 0: right to the row. Exit 1: wrong, the first differences on stderr. Exit 2: bad arguments.
 */
import { existsSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";
import { parseArgs } from "node:util";

import { computeExpected, locateData, type Expected } from "./oracle.ts";

interface Column {
  readonly name: string;
  readonly type: "TEXT" | "INTEGER" | "REAL";
  /** Largest relative difference allowed; exact when left out. */
  readonly tolerance?: number;
}

interface Table {
  readonly name: string;
  readonly columns: readonly Column[];
  /** The columns of the primary key, in order; joined by a space they are the oracle's key. */
  readonly key: readonly string[];
}

type Row = Readonly<Record<string, unknown>>;

const MEAN_TOLERANCE = 1e-9;
const GREAT_CIRCLE_TOLERANCE = 1e-6;
const SHOWN_MAX = 20;
const USAGE = "Usage: node test/etl/compare.ts path/to/flights.sqlite [--rows N]";

const AIRPORT_DELAYS: Table = {
  name: "airport_delays",
  columns: [
    { name: "iata", type: "TEXT" },
    { name: "name", type: "TEXT" },
    { name: "city", type: "TEXT" },
    { name: "state", type: "TEXT" },
    { name: "departures", type: "INTEGER" },
    { name: "mean_delay_min", type: "REAL", tolerance: MEAN_TOLERANCE },
    { name: "late_departures", type: "INTEGER" },
  ],
  key: ["iata"],
};

const ROUTE_DELAYS: Table = {
  name: "route_delays",
  columns: [
    { name: "origin", type: "TEXT" },
    { name: "destination", type: "TEXT" },
    { name: "flights", type: "INTEGER" },
    { name: "mean_delay_min", type: "REAL", tolerance: MEAN_TOLERANCE },
    { name: "distance_miles", type: "INTEGER" },
    { name: "great_circle_miles", type: "REAL", tolerance: GREAT_CIRCLE_TOLERANCE },
  ],
  key: ["origin", "destination"],
};

/**
 * Lists every difference between the database and `expected`, one line each; empty when right to
 * the row. Opens the file read-only. Compares schema, primary keys, row counts and every value;
 * further indexes are free.
 */
export function compareDatabase(dbPath: string, expected: Expected): string[] {
  if (!existsSync(dbPath)) return [`${dbPath}: no such file`];
  try {
    using database = new DatabaseSync(dbPath, { readOnly: true });
    return [
      ...integrityDifferences(database),
      ...objectDifferences(database),
      ...tableDifferences(database, AIRPORT_DELAYS, expected.airports),
      ...tableDifferences(database, ROUTE_DELAYS, expected.routes),
    ];
  } catch (error) {
    if (!isSqliteError(error)) throw error;
    return [`${dbPath}: cannot be read: ${error.message}`];
  }
}

function integrityDifferences(database: DatabaseSync): string[] {
  const found = database.prepare("PRAGMA integrity_check").all();
  const complaints = found.map((row) => String(row["integrity_check"]));
  return complaints
    .filter((complaint) => complaint !== "ok")
    .map((complaint) => `integrity: ${complaint}`);
}

/** Tables, views and triggers too many. A missing table is for {@link schemaDifferences}. */
function objectDifferences(database: DatabaseSync): string[] {
  const objects = database
    .prepare(
      "SELECT type, name FROM sqlite_schema WHERE type <> 'index' AND name NOT GLOB 'sqlite_*'",
    )
    .all();
  const wanted = [AIRPORT_DELAYS, ROUTE_DELAYS].map(({ name }) => `table ${name}`);
  const found = objects.map(({ type, name }) => `${String(type)} ${String(name)}`);
  return found
    .filter((object) => !wanted.includes(object))
    .map((object) => `${object}: not expected`);
}

function tableDifferences(
  database: DatabaseSync,
  table: Table,
  expected: ReadonlyMap<string, Row>,
): string[] {
  const schema = schemaDifferences(database, table);
  if (schema.length > 0) return schema;

  const differences: string[] = [];
  const seen = new Set<string>();
  for (const row of database.prepare(`SELECT * FROM ${table.name}`).iterate()) {
    const key = table.key.map((column) => String(row[column])).join(" ");
    seen.add(key);
    const wanted = expected.get(key);
    if (wanted === undefined) differences.push(`${table.name} ${key}: not expected`);
    else differences.push(...rowDifferences(table, key, row, wanted));
  }
  for (const key of expected.keys()) {
    if (!seen.has(key)) differences.push(`${table.name} ${key}: missing`);
  }
  if (seen.size !== expected.size) {
    differences.unshift(`${table.name}: want ${expected.size} rows, got ${seen.size}`);
  }
  return differences;
}

function schemaDifferences(database: DatabaseSync, table: Table): string[] {
  const columns = database
    .prepare("SELECT name, type FROM pragma_table_info(?) ORDER BY cid")
    .all(table.name);
  if (columns.length === 0) return [`${table.name}: missing`];
  const key = database
    .prepare("SELECT name FROM pragma_table_info(?) WHERE pk > 0 ORDER BY pk")
    .all(table.name);

  const wantedColumns = table.columns.map(({ name, type }) => `${name} ${type}`).join(", ");
  const foundColumns = columns
    .map(({ name, type }) => `${String(name)} ${String(type)}`)
    .join(", ");
  const wantedKey = table.key.join(", ");
  const foundKey = key.map(({ name }) => String(name)).join(", ");

  const differences: string[] = [];
  if (foundColumns !== wantedColumns) {
    differences.push(`${table.name}: want columns (${wantedColumns}), got (${foundColumns})`);
  }
  if (foundKey !== wantedKey) {
    differences.push(`${table.name}: want primary key (${wantedKey}), got (${foundKey})`);
  }
  return differences;
}

function rowDifferences(table: Table, key: string, found: Row, wanted: Row): string[] {
  return table.columns
    .filter(({ name, tolerance }) => !isSame(found[name], wanted[name], tolerance))
    .map(({ name }) => {
      const [want, got] = [wanted[name], found[name]].map((value) => JSON.stringify(value));
      return `${table.name} ${key}.${name}: want ${want}, got ${got}`;
    });
}

/** Strict but for the tolerance: a null equals only a null, and text never equals a number. */
function isSame(found: unknown, wanted: unknown, tolerance = 0): boolean {
  if (typeof found !== "number" || typeof wanted !== "number") return found === wanted;
  return Math.abs(found - wanted) <= tolerance * Math.abs(wanted);
}

function isSqliteError(error: unknown): error is Error {
  return error instanceof Error && "code" in error && error.code === "ERR_SQLITE_ERROR";
}

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { rows: { type: "string" } },
  });
  const [dbPath, ...others] = positionals;
  const rows = values.rows === undefined ? undefined : Number(values.rows);
  if (
    dbPath === undefined ||
    others.length > 0 ||
    (rows !== undefined && !(Number.isInteger(rows) && rows > 0))
  ) {
    console.error(USAGE);
    return 2;
  }

  const expected = await computeExpected({ ...locateData(), rows });
  const differences = compareDatabase(dbPath, expected);
  if (differences.length === 0) {
    const sizes = `${expected.airports.size} airports, ${expected.routes.size} routes`;
    console.log(`${dbPath}: right to the row (${sizes})`);
    return 0;
  }
  const shown = differences.slice(0, SHOWN_MAX);
  for (const difference of shown) console.error(difference);
  console.error(`${dbPath}: ${differences.length} differences, ${shown.length} shown`);
  return 1;
}

if (import.meta.main) process.exitCode = await main();
