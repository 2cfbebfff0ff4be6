/** Reads the flights' parquet file, a column of a row group at a time, straight into typed columns. */
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { setImmediate as nextTurn } from "node:timers/promises";
import { parquetMetadataAsync, parquetRead, type AsyncBuffer, type FileMetaData } from "hyparquet";
import { compressors } from "hyparquet-compressors";
import { FabricError } from "selvage";
import { codeOfBytes } from "./airport-code.ts";
import type { Flights } from "./flights.ts";

/** A parquet file of flights, opened. */
export interface FlightFile extends Disposable {
  readonly path: string;
  readonly file: AsyncBuffer;
  readonly metadata: FileMetaData;
  /** Flights in the file. */
  readonly rows: number;
}

const columns = ["date", "delay", "distance", "origin", "destination"] as const;
const minuteUs = 60_000_000n;

// Run once for a dictionary's entry, not once for a row.
const parsers = {
  timestampFromMicroseconds: (micros: bigint): number => Number(micros / minuteUs),
  stringFromBytes: (bytes: Uint8Array | undefined): number =>
    bytes === undefined ? -1 : codeOfBytes(bytes),
};

/** Opens a file. @throws FabricError `NOT_FOUND`, `DECODE` when it holds no flights. */
export async function openFlights(path: string): Promise<FlightFile> {
  const descriptor = open(path);
  const close = (): void => closeSync(descriptor);
  try {
    const file = readable(descriptor);
    if (!fstatSync(descriptor).isFile()) throw unreadable(path, "it is not a file");
    if (file.byteLength === 0) throw unreadable(path, "the file is empty");
    const metadata = await parquetMetadataAsync(file).catch((cause: unknown) => {
      throw unreadable(path, "not a parquet file", cause);
    });
    const there = new Set(
      metadata.row_groups[0]?.columns.map((chunk) => chunk.meta_data?.path_in_schema[0]),
    );
    const missing = columns.filter((column) => !there.has(column));
    if (metadata.row_groups.length > 0 && missing.length > 0)
      throw unreadable(path, `no column ${missing.join(", ")}`);
    return { path, file, metadata, rows: Number(metadata.num_rows), [Symbol.dispose]: close };
  } catch (thrown) {
    close();
    throw thrown;
  }
}

/**
 * Fills `flights`, which are as long as they shall be, from the start of the file. `onRows` hears how many rows are
 * done after each row group. @throws FabricError `DECODE`.
 */
export async function decodeFlights(
  { path, file, metadata }: FlightFile,
  flights: Flights,
  onRows: (rows: number) => void,
): Promise<void> {
  const rows = flights.date.length;
  let rowStart = 0;
  for (const group of metadata.row_groups) {
    if (rowStart >= rows) break;
    const rowEnd = Math.min(rowStart + Number(group.num_rows), rows);
    for (const column of columns) {
      const target = flights[column];
      await parquetRead({
        file,
        metadata,
        compressors,
        parsers,
        columns: [column],
        rowStart,
        rowEnd,
        onPage: ({ columnData, rowStart: first }) => copyPage(target, columnData, first, rowEnd),
      }).catch((cause: unknown) => {
        throw unreadable(path, `column ${column}, rows ${rowStart} to ${rowEnd}`, cause);
      });
    }
    rowStart = rowEnd;
    onRows(rowEnd);
    // Nothing above waits for the outside: without this turn, no interrupt and no redraw comes before the last row.
    await nextTurn();
  }
}

function copyPage(
  target: Flights[keyof Flights],
  page: ArrayLike<unknown>,
  first: number,
  rowEnd: number,
): void {
  // A page runs past the end of what was asked for.
  const count = Math.min(page.length, rowEnd - first);
  for (let row = 0; row < count; row++) {
    const value = page[row];
    // -1 is a code that is none; no number of the other columns is missing from the file without being null.
    const isMissing = value === undefined || value === null;
    if (isMissing || (value === -1 && target instanceof Uint16Array))
      throw new RangeError(`row ${first + row}: ${isMissing ? "no value" : "not an airport code"}`);
    target[first + row] = Number(value);
  }
}

function open(path: string): number {
  try {
    return openSync(path, "r");
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ENOENT")
      throw new FabricError(
        "NOT_FOUND",
        `Cannot read flights: there is no file ${path}`,
        { path },
        { cause },
      );
    throw unreadable(path, "it cannot be opened", cause);
  }
}

function readable(descriptor: number): AsyncBuffer {
  const { size: byteLength } = fstatSync(descriptor);
  return {
    byteLength,
    slice(start, end = byteLength) {
      const bytes = new Uint8Array(Math.max(0, end - start));
      let done = 0;
      while (done < bytes.length) {
        const count = readSync(descriptor, bytes, done, bytes.length - done, start + done);
        if (count === 0) throw new RangeError(`the file ends at ${start + done}`);
        done += count;
      }
      return bytes.buffer;
    },
  };
}

function unreadable(path: string, why: string, cause?: unknown): FabricError {
  const reason = cause instanceof Error ? `${why}: ${cause.message}` : why;
  return new FabricError(
    "DECODE",
    `Cannot read flights from ${path}: ${reason}`,
    { path, why },
    { cause },
  );
}
