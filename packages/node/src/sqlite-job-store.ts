/** Jobs in a SQLite file, for all processes of this machine. */
import { mkdirSync, watch, type FSWatcher } from "node:fs";
import { dirname } from "node:path";
import type { DatabaseSync } from "node:sqlite";
import { FabricError, invalidArgument } from "@selvage/fabric";
import type { JobStore, JobTx } from "@selvage/jobs";
import { SqliteFile } from "./sqlite-file.ts";
import { SqliteJobTx } from "./sqlite-job-tx.ts";
import { jobApplicationId, jobMigrations } from "./sqlite-job-schema.ts";

/** Options of {@link SqliteJobStore}. */
export interface SqliteJobStoreOptions {
  /** The file does not grow beyond that: what does not fit is refused, `CAPACITY_EXCEEDED`. Default: as the disk lets it. */
  readonly bytesMax?: number;
}

/**
 * Keeps jobs in a SQLite file, and makes its folder. What was acknowledged survives a power cut: each transaction is synced
 * before its promise resolves. Its calls block the thread for that write to the disk; a queue writes many jobs with one.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { mkdtempSync, rmSync } from "node:fs";
 * import { tmpdir } from "node:os";
 * import { join } from "node:path";
 * import { SqliteJobStore } from "selvage";
 *
 * const folder = mkdtempSync(join(tmpdir(), "selvage-"));
 * const store = new SqliteJobStore(join(folder, "deep", "jobs.sqlite"));
 * assert.deepEqual(await store.look((tx) => tx.counts()), []);
 * await store.close();
 * rmSync(folder, { recursive: true });
 * ```
 */
export class SqliteJobStore implements JobStore {
  readonly #options: SqliteJobStoreOptions;
  #file: SqliteFile;
  #tx: SqliteJobTx;
  readonly #watchers = new Set<() => void>();
  #watching: FSWatcher | undefined;
  // When to look whether others have committed; 0 where there is nothing to look for.
  #waitMs = 0;
  #timer: NodeJS.Timeout | undefined;
  #looks: Look[] = [];
  #isClosed = false;

  /**
   * Opens the file, or makes it, with its folder.
   * @throws FabricError `UNSUPPORTED` (a Node without SQLite, a file of a newer Selvage), `INVALID_ARGUMENT`, `STORE_UNAVAILABLE`,
   * `CORRUPT_RECORD`.
   */
  constructor(path: string, options: SqliteJobStoreOptions = {}) {
    const { bytesMax } = options;
    if (bytesMax !== undefined && !(bytesMax >= 0))
      throw invalidArgument("bytesMax", "bytes from 0 up", bytesMax);
    if (typeof path === "string" && path !== "") makeFolder(path);
    this.#options = options;
    [this.#file, this.#tx] = openJobs(path, options);
  }

  /** As it was opened. */
  get path(): string {
    return this.#file.path;
  }

  async transact<T>(work: (tx: JobTx) => T): Promise<T> {
    this.#revive();
    try {
      return this.#file.transact(() => this.#tx.run(work));
    } catch (thrown) {
      this.#tx.forget();
      throw thrown;
    }
  }

  // A write failed: what its connection believes of the file is not known to be so. Another one reads what is there.
  #revive(): void {
    if (!this.#file.hasFailed || this.#isClosed) return;
    const opened = openJobs(this.#file.path, this.#options);
    this.#file.close();
    [this.#file, this.#tx] = opened;
  }

  look<T>(work: (tx: JobTx) => T): Promise<T> {
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    // All that look at one moment see one state of the file: a transaction for each would cost more than what they read.
    if (this.#looks.push({ work, resolve, reject } as Look) === 1)
      queueMicrotask(() => this.#lookAll());
    return promise;
  }

  #lookAll(): void {
    const looks = this.#looks;
    this.#looks = [];
    let seen: readonly unknown[];
    try {
      this.#revive();
      seen = this.#look((tx) => looks.map(({ work }) => work(tx)));
    } catch {
      // One that cannot be done takes nobody along.
      for (const look of looks) this.#lookAlone(look);
      return;
    }
    for (const [at, { resolve }] of looks.entries()) resolve(seen[at]);
  }

  #lookAlone({ work, resolve, reject }: Look): void {
    try {
      resolve(this.#look(work));
    } catch (error) {
      reject(error);
    }
  }

  #look<T>(work: (tx: JobTx) => T): T {
    return this.#file.read(() => this.#tx.look(work));
  }

  watch(onChange: () => void): () => void {
    this.#watchers.add(onChange);
    this.#watching ??= this.#listen();
    return () => this.#watchers.delete(onChange);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#watchers.clear();
    this.#watching?.close();
    this.#watching = undefined;
    clearTimeout(this.#timer);
    this.#waitMs = 0;
    this.#file.close();
  }

  // The log beside the file grows with every transaction of any process. Where it cannot be watched, ticks find what is new.
  #listen(): FSWatcher | undefined {
    try {
      const watching = watch(`${this.#file.path}-wal`, { persistent: false }, () => this.#hint());
      watching.on("error", () => watching.close());
      return watching;
    } catch {
      return undefined;
    }
  }

  // The log is written before it is synced, and a commit is seen once it is: a look that finds nothing is followed by later ones.
  #hint(): void {
    if (this.#waitMs === hintMs.first) return;
    clearTimeout(this.#timer);
    this.#waitMs = hintMs.first;
    this.#lookSoon();
  }

  #lookSoon(): void {
    this.#timer = setTimeout(() => {
      const isLast = this.#watchers.size === 0 || this.#waitMs >= hintMs.most;
      this.#waitMs = isLast ? 0 : 2 * this.#waitMs;
      // One hint for all that comes at once; the file's own version says whether others were at it.
      if (this.#isChangedByOthers()) for (const told of this.#watchers) told();
      if (this.#waitMs > 0) this.#lookSoon();
    }, this.#waitMs);
    this.#timer.unref();
  }

  #version = 0;

  #isChangedByOthers(): boolean {
    try {
      const { data_version: version } = this.#file.run((database) =>
        database.prepare("PRAGMA data_version").get(),
      ) as { data_version: number };
      const isChanged = version !== this.#version;
      this.#version = version;
      return isChanged;
    } catch {
      return false;
    }
  }
}

/** When the log has grown, it is looked whether others have committed: after so long, then twice as long, up to that. */
const hintMs = { first: 1, most: 256 } as const;

interface Look {
  readonly work: (tx: JobTx) => unknown;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: unknown) => void;
}

function openJobs(path: string, { bytesMax }: SqliteJobStoreOptions): [SqliteFile, SqliteJobTx] {
  const file = new SqliteFile(path, "");
  try {
    file.transact((database) => migrate(path, database));
    if (bytesMax !== undefined) file.run((database) => limit(database, bytesMax));
    return [file, file.run((database) => new SqliteJobTx(database))];
  } catch (thrown) {
    file.close();
    throw thrown;
  }
}

function makeFolder(path: string): void {
  try {
    mkdirSync(dirname(path), { recursive: true });
  } catch (cause) {
    throw new FabricError(
      "STORE_UNAVAILABLE",
      `Cannot make the folder of ${path}`,
      { path },
      { cause },
    );
  }
}

// Brings a file to the tables of today, one version after the other, all or none.
function migrate(path: string, database: DatabaseSync): void {
  const read = (what: string): number =>
    Number(Object.values(database.prepare(what).get() ?? {})[0]);
  const found = read("PRAGMA user_version");
  const application = read("PRAGMA application_id");
  if (application !== jobApplicationId && read("SELECT count(*) FROM sqlite_master") > 0)
    throw new FabricError(
      "UNSUPPORTED",
      `Cannot use ${path}: it is the database of something else`,
      {
        path,
      },
    );
  if (found > jobMigrations.length) throw newer(path, found);
  if (found === jobMigrations.length) return;
  for (const migration of jobMigrations.slice(found)) database.exec(migration);
  database.exec(`PRAGMA application_id = ${jobApplicationId}`);
  database.exec(`PRAGMA user_version = ${jobMigrations.length}`);
}

function limit(database: DatabaseSync, bytesMax: number): void {
  const { page_size: pageBytes } = database.prepare("PRAGMA page_size").get() as {
    page_size: number;
  };
  database.exec(`PRAGMA max_page_count = ${Math.max(1, Math.floor(bytesMax / pageBytes))}`);
}

function newer(path: string, found: number): FabricError {
  return new FabricError(
    "UNSUPPORTED",
    `Cannot use ${path}: its schema is version ${found}, this Selvage knows up to ${jobMigrations.length}`,
    { path, found, known: jobMigrations.length },
  );
}
