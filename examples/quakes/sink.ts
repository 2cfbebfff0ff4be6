/** A sink that stores the edge and the item's number with each row: what comes again, after a crash, is known. */
import { DatabaseSync, type StatementSync } from "node:sqlite";
import type { NumberedItem } from "selvage";
import type { Row } from "./feed.ts";

/** What is there. */
export interface StoredRow extends Row {
  readonly sequence: number;
}

/** The table. */
export class RowSink implements Disposable {
  readonly #database: DatabaseSync;
  readonly #insert: StatementSync;
  #again = 0;

  constructor(file: string) {
    this.#database = new DatabaseSync(file);
    this.#database.exec(
      `PRAGMA journal_mode = WAL;
       CREATE TABLE IF NOT EXISTS rows (
         edge TEXT, sequence INTEGER, kind TEXT, place TEXT, label TEXT, value REAL,
         PRIMARY KEY (edge, sequence)
       ) WITHOUT ROWID`,
    );
    this.#insert = this.#database.prepare("INSERT OR IGNORE INTO rows VALUES (?, ?, ?, ?, ?, ?)");
  }

  /** Rows that had been there when they came. */
  get again(): number {
    return this.#again;
  }

  /** Stores items, all or none. */
  store(items: readonly NumberedItem<Row>[], edge: string): void {
    this.#database.exec("BEGIN IMMEDIATE");
    for (const { sequence, value } of items) {
      const { kind, place, label } = value;
      const { changes } = this.#insert.run(edge, sequence, kind, place, label, value.value);
      if (changes === 0) this.#again++;
    }
    this.#database.exec("COMMIT");
  }

  /** All of them, in order. */
  rows(): readonly StoredRow[] {
    const rows = this.#database
      .prepare("SELECT sequence, kind, place, label, value FROM rows ORDER BY edge, sequence")
      .all();
    return rows.map((row) => ({ ...row })) as unknown as readonly StoredRow[];
  }

  [Symbol.dispose](): void {
    this.#database.close();
  }
}
