import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { jobStoreConformance } from "@selvage/jobs";
import { SqliteDeadLetterStore, SqliteJobStore } from "@selvage/node";
import { afterAll, describe, expect, it } from "vitest";

const folder = mkdtempSync(join(tmpdir(), "selvage-jobs-"));
let files = 0;
const newPath = (): string => join(folder, `${files++}.sqlite`);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const cases = jobStoreConformance({
  open: async () => new SqliteJobStore(newPath()),
  reopen: async (store) => new SqliteJobStore((store as SqliteJobStore).path),
});

describe("SqliteJobStore", () => {
  it.each(cases.map((one) => [one.name, one] as const))("%s", async (_name, one) => {
    await expect(one.run()).resolves.toBeUndefined();
  });

  it("makes the folder of its file", async () => {
    const store = new SqliteJobStore(join(folder, "deep", "er", "jobs.sqlite"));
    await store.close();
    await expect(store.look(() => 1)).rejects.toMatchObject({ code: "STORE_UNAVAILABLE" });
  });

  it("says what a file is that is no database, or of a newer Selvage, and what a path is that leads nowhere", () => {
    const path = newPath();
    writeFileSync(path, "x".repeat(4_096));
    expect(() => new SqliteJobStore(path)).toThrow(
      expect.objectContaining({ code: "CORRUPT_RECORD" }),
    );
    const newer = newPath();
    using database = new DatabaseSync(newer);
    database.exec("PRAGMA user_version = 99");
    expect(() => new SqliteJobStore(newer)).toThrow(
      expect.objectContaining({
        code: "UNSUPPORTED",
        details: expect.objectContaining({ found: 99 }),
      }),
    );
    expect(() => new SqliteJobStore(join(path, "jobs.sqlite"))).toThrow(
      expect.objectContaining({ code: "STORE_UNAVAILABLE" }),
    );
    expect(() => new SqliteJobStore("")).toThrow(
      expect.objectContaining({ code: "INVALID_ARGUMENT" }),
    );
  });

  it("is brought from an older version to this one, with its jobs, and refuses what is another program's", async () => {
    const path = newPath();
    const now = new SqliteJobStore(path);
    await now.transact((tx) => tx.putBucket({ name: "b", tokens: 1, atMs: 1 }));
    await now.close();
    {
      using database = new DatabaseSync(path);
      database.exec(
        "DROP INDEX jobs_root; DROP INDEX jobs_failed; ALTER TABLE crons DROP COLUMN spec; ALTER TABLE crons DROP COLUMN priority; PRAGMA user_version = 1",
      );
    }
    const store = new SqliteJobStore(path);
    expect(await store.look((tx) => tx.bucket("b")?.tokens)).toBe(1);
    await store.close();
    using database = new DatabaseSync(path);
    expect(database.prepare("PRAGMA user_version").get()).toEqual({ user_version: 3 });
    expect(
      database.prepare("SELECT count(*) AS n FROM sqlite_master WHERE name = 'jobs_root'").get(),
    ).toEqual({ n: 1 });
    const letters = new SqliteDeadLetterStore(newPath());
    expect(() => new SqliteJobStore(join(folder, `${files - 1}.sqlite`))).toThrow(
      expect.objectContaining({ code: "UNSUPPORTED" }),
    );
    letters[Symbol.dispose]();
  });

  it("is opened again after a write that failed, and has what was acknowledged", async () => {
    const store = new SqliteJobStore(newPath());
    await store.transact((tx) => tx.putBucket({ name: "kept", tokens: 1, atMs: 1 }));
    // As SQLite says that the disk failed.
    const failing = store.transact((tx) => {
      tx.putBucket({ name: "lost", tokens: 1, atMs: 1 });
      throw Object.assign(new Error("disk I/O error"), { errcode: 10 });
    });
    await expect(failing).rejects.toMatchObject({ code: "STORE_UNAVAILABLE" });
    const names = ["kept", "lost"];
    const found = await store.look((tx) => names.map((name) => tx.bucket(name)?.tokens));
    expect(found).toEqual([1, undefined]);
    await store.transact((tx) => tx.putBucket({ name: "then", tokens: 2, atMs: 2 }));
    expect(await store.look((tx) => tx.bucket("then")?.tokens)).toBe(2);
    await store.close();
    await expect(store.look(() => 1)).rejects.toMatchObject({ code: "STORE_UNAVAILABLE" });
  });

  it("tells its watchers what another handle wrote", async () => {
    const path = newPath();
    const store = new SqliteJobStore(path);
    const { promise: told, resolve } = Promise.withResolvers<void>();
    store.watch(resolve);
    const other = new SqliteJobStore(path);
    await other.transact((tx) => tx.putBucket({ name: "b", tokens: 1, atMs: 1 }));
    await expect(told).resolves.toBeUndefined();
    await other.close();
    await store.close();
  });
});
