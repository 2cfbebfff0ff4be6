/** Dead letters in a SQLite file. */
import type {
  DeadLetter,
  DeadLetterDraft,
  DeadLetterQuery,
  DeadLetterStore,
  ReplayTurn,
} from "@selvage/collections";
import { FabricError, type FabricErrorWire } from "@selvage/fabric";
import { SqliteFile, takeExclusively } from "./sqlite-file.ts";

// AUTOINCREMENT: an id is not given out again, also after the newest letter was removed.
const schema = `
  CREATE TABLE IF NOT EXISTS dead_letters (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    subject BLOB NOT NULL,
    bytes BLOB NOT NULL,
    error TEXT NOT NULL,
    sent_at_ms REAL NOT NULL,
    replays INTEGER NOT NULL DEFAULT 0,
    replay_error TEXT
  ) STRICT;
  CREATE INDEX IF NOT EXISTS dead_letters_by_subject ON dead_letters (subject, id);
  CREATE INDEX IF NOT EXISTS dead_letters_by_age ON dead_letters (sent_at_ms);
`;

interface Row {
  readonly id: number;
  readonly subject: Uint8Array;
  readonly bytes: Uint8Array;
  readonly error: string;
  readonly sent_at_ms: number;
  readonly replays: number;
  readonly replay_error: string | null;
}

/**
 * Keeps letters in a SQLite file, for all processes of this machine; what was acknowledged survives a power cut. Its
 * calls are done when they return their promise: they block the thread for a write to the disk. One process replays at a
 * time, and `PATH.replay` stays beside the file for that.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { mkdtempSync, rmSync } from "node:fs";
 * import { tmpdir } from "node:os";
 * import { join } from "node:path";
 * import { DeadLetters, SqliteDeadLetterStore } from "selvage";
 *
 * const folder = mkdtempSync(join(tmpdir(), "selvage-"));
 * {
 *   using store = new SqliteDeadLetterStore(join(folder, "letters.sqlite"));
 *   const letters = new DeadLetters(store);
 *   await letters.send("orders", Uint8Array.of(7), { error: new Error("refused") });
 * }
 * using store = new SqliteDeadLetterStore(join(folder, "letters.sqlite"));
 * const letters = new DeadLetters(store);
 * letters.register("orders", (bytes) => assert.deepEqual([...bytes], [7]));
 * assert.equal(await letters.replay(), 1);
 * rmSync(folder, { recursive: true });
 * ```
 */
export class SqliteDeadLetterStore implements DeadLetterStore, Disposable {
  readonly #file: SqliteFile;

  /** Opens the file, or makes it. @throws FabricError `UNSUPPORTED`, `INVALID_ARGUMENT`, `STORE_UNAVAILABLE`, `CORRUPT_RECORD`. */
  constructor(path: string) {
    this.#file = new SqliteFile(path, schema);
  }

  async add({ subject, bytes, error, sentAtMs }: DeadLetterDraft): Promise<number> {
    return this.#file.run((database) => {
      const insert = database.prepare(
        "INSERT INTO dead_letters (subject, bytes, error, sent_at_ms) VALUES (?, ?, ?, ?)",
      );
      const row = insert.run(keyOf(subject), bytes, JSON.stringify(error), sentAtMs);
      return Number(row.lastInsertRowid);
    });
  }

  async list({ subject, after, limit }: DeadLetterQuery): Promise<readonly DeadLetter[]> {
    return this.#file.run((database) => {
      const where = subject === undefined ? "id > ?" : "id > ? AND subject = ?";
      const select = database.prepare(
        `SELECT * FROM dead_letters WHERE ${where} ORDER BY id LIMIT ?`,
      );
      const rows =
        subject === undefined ? select.all(after, limit) : select.all(after, keyOf(subject), limit);
      return (rows as unknown as Row[]).map((row) => letterOf(row));
    });
  }

  async newestId(): Promise<number> {
    return this.#file.run((database) => {
      const row = database.prepare("SELECT MAX(id) AS newest FROM dead_letters").get();
      return Number(row?.["newest"] ?? 0);
    });
  }

  async purge(sentByMs: number): Promise<number> {
    return this.#change("DELETE FROM dead_letters WHERE sent_at_ms <= ?", sentByMs);
  }

  async takeTurn(): Promise<ReplayTurn> {
    const giveBack = takeExclusively(`${this.#file.path}.replay`);
    if (giveBack === undefined)
      throw new FabricError(
        "CONFLICT",
        "Cannot replay: another replay of this store is under way",
        {
          path: this.#file.path,
        },
      );
    return {
      begin: async (id) =>
        this.#file.run((database) => {
          const update = database.prepare(
            "UPDATE dead_letters SET replays = replays + 1 WHERE id = ? RETURNING replays",
          );
          const row = update.get(id);
          return row === undefined ? undefined : Number(row["replays"]);
        }),
      settle: async (id) => this.#change("DELETE FROM dead_letters WHERE id = ?", id) === 1,
      fail: async (id, error: FabricErrorWire) => {
        const told = JSON.stringify(error);
        this.#change("UPDATE dead_letters SET replay_error = ? WHERE id = ?", told, id);
      },
      end: async () => giveBack(),
    };
  }

  /** Lets the file go. Idempotent. */
  [Symbol.dispose](): void {
    this.#file.close();
  }

  #change(sql: string, ...values: readonly (string | number)[]): number {
    return this.#file.run((database) => Number(database.prepare(sql).run(...values).changes));
  }
}

// As bytes: SQLite's text ends for some of its functions where a text of ours has a zero.
function keyOf(subject: string): Uint8Array {
  return Buffer.from(subject, "utf8");
}

function letterOf(row: Row): DeadLetter {
  const letter = {
    id: row.id,
    subject: Buffer.from(row.subject).toString("utf8"),
    bytes: row.bytes,
    error: JSON.parse(row.error) as FabricErrorWire,
    sentAtMs: row.sent_at_ms,
    replays: row.replays,
  };
  if (row.replay_error === null) return letter;
  return { ...letter, replayError: JSON.parse(row.replay_error) as FabricErrorWire };
}
