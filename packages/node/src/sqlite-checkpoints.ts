/** Checkpoints in a SQLite file. */
import type { CheckpointReading, CheckpointStore } from "@selvage/pipeline";
import { SqliteFile } from "./sqlite-file.ts";

// One counter for all keys: a revision is not given out again, also after its record was removed (C1).
const schema = `
  CREATE TABLE IF NOT EXISTS checkpoint_revisions (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    last INTEGER NOT NULL
  ) STRICT;
  INSERT OR IGNORE INTO checkpoint_revisions VALUES (1, 0);
  CREATE TABLE IF NOT EXISTS checkpoints (
    key BLOB PRIMARY KEY,
    revision INTEGER NOT NULL,
    bytes BLOB NOT NULL,
    previous_revision INTEGER,
    previous_bytes BLOB
  ) STRICT, WITHOUT ROWID;
`;

const counting = "UPDATE checkpoint_revisions SET last = last + 1 RETURNING last";
const inserting = "INSERT INTO checkpoints (key, revision, bytes) VALUES (?, ?, ?)";
// What is on the right are the values before.
const updating = `UPDATE checkpoints SET previous_revision = revision, previous_bytes = bytes, revision = ?, bytes = ?
  WHERE key = ?`;

interface Row {
  readonly revision: number;
  readonly bytes: Uint8Array;
  readonly previous_revision: number | null;
  readonly previous_bytes: Uint8Array | null;
}

/**
 * Keeps checkpoints in a SQLite file, for all processes of this machine; what was acknowledged survives a power cut. Its
 * calls are done when they return their promise: they block the thread for a write to the disk.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { mkdtempSync, rmSync } from "node:fs";
 * import { tmpdir } from "node:os";
 * import { join } from "node:path";
 * import { SqliteCheckpointStore, StagedPipeline } from "selvage";
 *
 * const folder = mkdtempSync(join(tmpdir(), "selvage-"));
 * using checkpointStore = new SqliteCheckpointStore(join(folder, "checkpoints.sqlite"));
 * const pipeline = new StagedPipeline<number>({ checkpointStore })
 *   .stage("double", (n) => n * 2)
 *   .stage("print", (n) => `${n}`);
 * assert.equal(await pipeline.run(21, { pipelineId: "answer" }), "42");
 * rmSync(folder, { recursive: true });
 * ```
 */
export class SqliteCheckpointStore implements CheckpointStore, Disposable {
  readonly #file: SqliteFile;

  /** Opens the file, or makes it. @throws FabricError `UNSUPPORTED`, `INVALID_ARGUMENT`, `STORE_UNAVAILABLE`, `CORRUPT_RECORD`. */
  constructor(path: string) {
    this.#file = new SqliteFile(path, schema);
  }

  async read(key: string): Promise<CheckpointReading | undefined> {
    const row = this.#file.run((database) =>
      database.prepare("SELECT * FROM checkpoints WHERE key = ?").get(keyOf(key)),
    ) as unknown as Row | undefined;
    if (row === undefined) return undefined;
    const { revision, bytes, previous_revision, previous_bytes } = row;
    if (previous_revision === null || previous_bytes === null) return { revision, bytes };
    return { revision, bytes, previous: { revision: previous_revision, bytes: previous_bytes } };
  }

  async write(key: string, bytes: Uint8Array, expected: number): Promise<number | undefined> {
    return this.#file.transact((database) => {
      const select = database.prepare("SELECT revision FROM checkpoints WHERE key = ?");
      const found = Number(select.get(keyOf(key))?.["revision"] ?? 0);
      if (found !== expected) return undefined;
      const revision = Number(database.prepare(counting).get()?.["last"]);
      if (found === 0) database.prepare(inserting).run(keyOf(key), revision, bytes);
      else database.prepare(updating).run(revision, bytes, keyOf(key));
      return revision;
    });
  }

  async remove(key: string, expected: number): Promise<boolean> {
    return this.#file.run((database) => {
      const remove = database.prepare("DELETE FROM checkpoints WHERE key = ? AND revision = ?");
      return Number(remove.run(keyOf(key), expected).changes) === 1;
    });
  }

  /** Lets the file go. Idempotent. */
  [Symbol.dispose](): void {
    this.#file.close();
  }
}

// As bytes: SQLite's text ends for some of its functions where a text of ours has a zero.
function keyOf(key: string): Uint8Array {
  return Buffer.from(key, "utf8");
}
