/** Whether a SQLite store is sound. */
import type { DatabaseSync } from "node:sqlite";
import { FabricError } from "@selvage/fabric";
import type { Finding } from "./finding.ts";

/** SQLite's result codes for a file that is damaged, and for one that is none of its own. */
const damageCodes: readonly number[] = [11, 26];

/** Names of a SQLite file's tables, read-only. @throws FabricError `CORRUPT_RECORD`: it is no SQLite file; `STORE_UNAVAILABLE`. */
export function tablesOf(path: string): readonly string[] {
  const { DatabaseSync } = process.getBuiltinModule("node:sqlite");
  try {
    using database = new DatabaseSync(path, { readOnly: true, timeout: 5_000 });
    return tableNames(database);
  } catch (cause) {
    const isDamage = damageCodes.includes((cause as { errcode?: number }).errcode ?? 0);
    const code = isDamage ? "CORRUPT_RECORD" : "STORE_UNAVAILABLE";
    throw new FabricError(code, `Cannot read ${path}`, { path }, { cause });
  }
}

function tableNames(database: DatabaseSync): readonly string[] {
  const rows = database
    .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
    .all();
  return rows.map((row) => String(row["name"]));
}

/** Looks at a SQLite store, read-only. Throws what SQLite does where it cannot be opened. */
export function checkSqliteStore(path: string): readonly Finding[] {
  const { DatabaseSync } = process.getBuiltinModule("node:sqlite");
  const database = new DatabaseSync(path, { readOnly: true, timeout: 5_000 });
  try {
    const told = database.prepare("PRAGMA quick_check").all();
    const problems = told.map((row) => String(row["quick_check"]));
    const tables = tableNames(database);
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
