/** SQLite files, as the stores of this package use them. */
import type { DatabaseSync } from "node:sqlite";
import { FabricError, invalidArgument, type FabricErrorCode } from "@selvage/fabric";

/** SQLite's primary result codes, of which a failure's code keeps the low byte. */
const sqliteBusy = 5;
const sqliteIoError = 10;
const sqliteCorrupt = 11;
const sqliteFull = 13;
const sqliteNotADatabase = 26;

/** How long one statement waits for another process's transaction, in milliseconds. */
const busyMs = 5_000;

/** A database that is lost for good after a failed write to its file: what is on the disk is then not known. */
export class SqliteFile {
  /** As it was opened. */
  readonly path: string;
  readonly #database: DatabaseSync;
  #failure: unknown;

  /**
   * Opens the file, or makes it, and brings it to `schema`. A transaction that was committed survives a power cut.
   * @throws FabricError `UNSUPPORTED` (a Node without SQLite), `INVALID_ARGUMENT`, `STORE_UNAVAILABLE`, `CORRUPT_RECORD`.
   */
  constructor(path: string, schema: string) {
    if (typeof path !== "string" || path === "") throw invalidArgument("path", "a path", path);
    this.path = path;
    const Database = sqlite();
    this.#database = failing(path, () => new Database(path, { timeout: busyMs }));
    try {
      this.run(() => {
        this.#database.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;");
        this.#database.exec(schema);
      });
    } catch (thrown) {
      this.#database.close();
      throw thrown;
    }
  }

  /** True once a write to the file has failed: what is on the disk is not known until it is opened again. */
  get hasFailed(): boolean {
    return this.#failure !== undefined;
  }

  /** Does what `work` does to the database. @throws FabricError `STORE_UNAVAILABLE`, `CORRUPT_RECORD`. */
  run<T>(work: (database: DatabaseSync) => T): T {
    if (this.#failure !== undefined)
      throw new FabricError(
        "STORE_UNAVAILABLE",
        `Cannot use ${this.path}: writing it failed before; open it again`,
        { path: this.path },
        { cause: this.#failure },
      );
    if (!this.#database.isOpen)
      throw new FabricError("STORE_UNAVAILABLE", `Cannot use ${this.path}: it was closed`, {
        path: this.path,
      });
    try {
      return work(this.#database);
    } catch (cause) {
      if (codeOf(cause) === sqliteIoError) this.#failure = cause;
      throw failureOf(this.path, cause);
    }
  }

  /** As {@link run}, all or nothing: other processes see what it did at once, after it. */
  transact<T>(work: (database: DatabaseSync) => T): T {
    return this.run((database) => {
      database.exec("BEGIN IMMEDIATE");
      try {
        const result = work(database);
        database.exec("COMMIT");
        return result;
      } catch (thrown) {
        if (database.isTransaction) database.exec("ROLLBACK");
        throw thrown;
      }
    });
  }

  /** As {@link run}, on one state of the file: what other processes write meanwhile is not seen. */
  read<T>(work: (database: DatabaseSync) => T): T {
    return this.run((database) => {
      database.exec("BEGIN");
      try {
        return work(database);
      } finally {
        if (database.isTransaction) database.exec("COMMIT");
      }
    });
  }

  /** Lets the file go. Idempotent. */
  close(): void {
    if (this.#database.isOpen) this.#database.close();
  }
}

/**
 * Takes what one at a time may have, in all processes: a transaction on a file beside, which the kernel ends with the
 * process. Undefined when another has it; else what gives it back, idempotent.
 */
export function takeExclusively(path: string): (() => void) | undefined {
  const Database = sqlite();
  const database = failing(path, () => new Database(path, { timeout: 0 }));
  try {
    database.exec("BEGIN EXCLUSIVE");
  } catch (cause) {
    database.close();
    if (codeOf(cause) === sqliteBusy) return undefined;
    throw failureOf(path, cause);
  }
  return () => {
    if (database.isOpen) database.close();
  };
}

// Asked for here: a program without stores loads no SQLite, and runs where there is none.
function sqlite(): typeof DatabaseSync {
  const { getBuiltinModule } = process as Partial<Pick<typeof process, "getBuiltinModule">>;
  const found = getBuiltinModule?.("node:sqlite") as
    { DatabaseSync: typeof DatabaseSync } | undefined;
  if (found !== undefined) return found.DatabaseSync;
  const what = `Cannot open a SQLite store: Node ${process.versions.node} has no node:sqlite, 22.13 and later have`;
  throw new FabricError("UNSUPPORTED", what, { node: process.versions.node });
}

function failing<T>(path: string, open: () => T): T {
  try {
    return open();
  } catch (cause) {
    throw failureOf(path, cause);
  }
}

// An extended code keeps the primary one in its low byte.
function codeOf(cause: unknown): number {
  const { errcode } = cause as { readonly errcode?: unknown };
  return typeof errcode === "number" ? errcode & 0xff : 0;
}

function failureOf(path: string, cause: unknown): unknown {
  const code = codeOf(cause);
  // Not SQLite's: what the work itself threw.
  if (code === 0) return cause;
  const kinds: Readonly<Record<number, FabricErrorCode>> = {
    [sqliteCorrupt]: "CORRUPT_RECORD",
    [sqliteNotADatabase]: "CORRUPT_RECORD",
    [sqliteFull]: "CAPACITY_EXCEEDED",
  };
  const kind = kinds[code] ?? "STORE_UNAVAILABLE";
  return new FabricError(
    kind,
    `Cannot use the database ${path}`,
    { path, sqlite: code },
    { cause },
  );
}
