/** A sink that stores the edge's numbers with its effects: each flight is there once, however often it came. */
import { DatabaseSync, type StatementSync } from "node:sqlite";
import { EDGE, sinkFile, type Flight } from "./feed.ts";

/** What the sink has come to. */
export interface SinkTotals {
  readonly rows: number;
  readonly delay: number;
  readonly distance: number;
}

/** The table. */
export class FlightSink implements Disposable {
  readonly #database: DatabaseSync;
  readonly #insert: StatementSync;
  #isOpen = false;

  constructor(folder: string) {
    this.#database = new DatabaseSync(sinkFile(folder));
    this.#database.exec(
      `PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 5000;
       CREATE TABLE IF NOT EXISTS flights (
         edge TEXT, sequence INTEGER, date TEXT, delay INTEGER, distance INTEGER, origin TEXT, destination TEXT,
         PRIMARY KEY (edge, sequence)
       ) WITHOUT ROWID`,
    );
    this.#insert = this.#database.prepare(
      "INSERT OR IGNORE INTO flights VALUES (?, ?, ?, ?, ?, ?, ?)",
    );
  }

  /** Adds a flight to what the next `commit` makes durable. */
  add(sequence: number, { date, delay, distance, origin, destination }: Flight): void {
    if (!this.#isOpen) this.#database.exec("BEGIN IMMEDIATE");
    this.#isOpen = true;
    this.#insert.run(EDGE, sequence, date, delay, distance, origin, destination);
  }

  /** Makes durable what was added. */
  commit(): void {
    if (this.#isOpen) this.#database.exec("COMMIT");
    this.#isOpen = false;
  }

  /** What is there. */
  totals(): SinkTotals {
    const row = this.#database
      .prepare(
        "SELECT count(*) AS rows, total(delay) AS delay, total(distance) AS distance FROM flights",
      )
      .get();
    return { ...row } as unknown as SinkTotals;
  }

  [Symbol.dispose](): void {
    this.#database.close();
  }
}
