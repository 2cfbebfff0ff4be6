/** Jobs in a SQLite file, for all processes of this machine. */
import { mkdirSync, watch, type FSWatcher } from "node:fs";
import { dirname } from "node:path";
import { FabricError } from "@selvage/fabric";
import type { JobStore, JobTx } from "@selvage/jobs";
import { SqliteFile } from "./sqlite-file.ts";
import { SqliteJobTx } from "./sqlite-job-tx.ts";
import { jobSchema, jobSchemaVersion } from "./sqlite-job-schema.ts";

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
  readonly #file: SqliteFile;
  readonly #tx: SqliteJobTx;
  readonly #watchers = new Set<() => void>();
  #watching: FSWatcher | undefined;
  #isHinted = false;

  /**
   * Opens the file, or makes it, with its folder.
   * @throws FabricError `UNSUPPORTED` (a Node without SQLite, a file of a newer Selvage), `INVALID_ARGUMENT`, `STORE_UNAVAILABLE`,
   * `CORRUPT_RECORD`.
   */
  constructor(path: string) {
    if (typeof path === "string" && path !== "") makeFolder(path);
    this.#file = new SqliteFile(path, "");
    try {
      this.#file.transact((database) => {
        const { user_version: found } = database.prepare("PRAGMA user_version").get() as {
          user_version: number;
        };
        if (found > jobSchemaVersion) throw newer(path, found);
        database.exec(jobSchema);
        database.exec(`PRAGMA user_version = ${jobSchemaVersion}`);
      });
      this.#tx = this.#file.run((database) => new SqliteJobTx(database));
    } catch (thrown) {
      this.#file.close();
      throw thrown;
    }
  }

  /** As it was opened. */
  get path(): string {
    return this.#file.path;
  }

  async transact<T>(work: (tx: JobTx) => T): Promise<T> {
    return this.#file.transact(() => this.#tx.run(work));
  }

  async look<T>(work: (tx: JobTx) => T): Promise<T> {
    return this.#file.read(() => work(this.#tx));
  }

  watch(onChange: () => void): () => void {
    this.#watchers.add(onChange);
    this.#watching ??= this.#listen();
    return () => this.#watchers.delete(onChange);
  }

  async close(): Promise<void> {
    this.#watchers.clear();
    this.#watching?.close();
    this.#watching = undefined;
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

  #hint(): void {
    if (this.#isHinted) return;
    this.#isHinted = true;
    // One hint for all that comes in a millisecond; the file's own version says whether others were at it.
    setTimeout(() => {
      this.#isHinted = false;
      if (this.#watchers.size > 0 && this.#isChangedByOthers())
        for (const told of this.#watchers) told();
    }, 1);
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

function newer(path: string, found: number): FabricError {
  return new FabricError(
    "UNSUPPORTED",
    `Cannot use ${path}: its schema is version ${found}, this Selvage knows up to ${jobSchemaVersion}`,
    { path, found, known: jobSchemaVersion },
  );
}
