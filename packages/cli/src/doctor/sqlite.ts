/** Whether a SQLite store is sound. */
import type { Finding } from "./finding.ts";

/** Looks at a SQLite store, read-only. Throws what SQLite does where it cannot be opened. */
export function checkSqliteStore(path: string): readonly Finding[] {
  const { DatabaseSync } = process.getBuiltinModule("node:sqlite");
  const database = new DatabaseSync(path, { readOnly: true, timeout: 5_000 });
  try {
    const told = database.prepare("PRAGMA quick_check").all();
    const problems = told.map((row) => String(row["quick_check"]));
    const tables = database
      .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
      .all()
      .map((row) => String(row["name"]));
    const details = { kind: "SQLite", tables };
    if (problems.join() === "ok")
      return [{ status: "ok", about: path, what: `SQLite, sound: ${tables.join(", ")}`, details }];
    return [
      {
        status: "failed",
        about: path,
        what: `SQLite, damaged: ${problems.join("; ")}`,
        hint: "restore it from a backup, or salvage it with `sqlite3 PATH .recover`",
        details: { ...details, problems },
      },
    ];
  } finally {
    database.close();
  }
}
