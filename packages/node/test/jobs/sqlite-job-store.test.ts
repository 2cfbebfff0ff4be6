import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { jobStoreConformance, PHASES, type JobDraft } from "@selvage/jobs";
import { JobQueue, SqliteDeadLetterStore, SqliteJobStore } from "@selvage/node";
import { afterAll, afterEach, describe, expect, it, vi } from "vitest";

const folder = mkdtempSync(join(tmpdir(), "selvage-jobs-"));
let files = 0;
const newPath = (): string => join(folder, `${files++}.sqlite`);
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});
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

/** Waits until the host has told of the log. No time passes for the store. */
async function hinted(): Promise<void> {
  while (vi.getTimerCount() === 0) await new Promise((resolve) => void setImmediate(resolve));
}

/** A watched store of which a test has the time: what it waits for comes when the test says so. */
async function watched() {
  const path = newPath();
  const store = new SqliteJobStore(path);
  const told = { count: 0 };
  store.watch(() => void told.count++);
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  const other = new DatabaseSync(path);
  // Long enough that some of it reaches the log before the commit: others hear of the log, and see nothing in it.
  const begin = (): void => {
    other.exec("PRAGMA cache_size = 1; BEGIN IMMEDIATE");
    const put = other.prepare("INSERT INTO payloads (leased_until_ms) VALUES (?)");
    for (let at = 0; at < 20_000; at++) put.run(at);
  };
  return { store, other, told, begin };
}

describe("A watcher of a SQLite file", () => {
  it("is told of a commit that comes after its hint, though nothing hints at it any more", async () => {
    const { store, other, told, begin } = await watched();
    begin();
    await hinted();
    // From here on no event of the host comes in between: nothing waits. The first look tells what was there at the start.
    vi.advanceTimersByTime(1);
    const before = told.count;
    vi.advanceTimersByTime(300);
    expect(told.count).toBe(before);
    other.exec("COMMIT");
    vi.advanceTimersByTime(300);
    expect(told.count).toBe(before + 1);
    // That was the last look.
    expect(vi.getTimerCount()).toBe(0);
    other.close();
    await store.close();
  });

  it.each([1, 5, 40, 200, 500])(
    "is told of a commit that is seen %d ms after its log was written, once",
    async (ms) => {
      const { store, other, told, begin } = await watched();
      begin();
      await hinted();
      vi.advanceTimersByTime(ms);
      const before = told.count;
      other.exec("COMMIT");
      vi.advanceTimersByTime(1_000);
      expect(told.count).toBe(before + 1);
      other.close();
      await store.close();
    },
  );

  it("is told anew of each commit, and nothing once it has left, or the store is closed", async () => {
    const { store, other, told } = await watched();
    const [one, two] = [{ count: 0 }, { count: 0 }];
    const leave = store.watch(() => void one.count++);
    store.watch(() => void two.count++);
    const put = other.prepare("INSERT INTO payloads (leased_until_ms) VALUES (1)");
    put.run();
    await hinted();
    vi.advanceTimersByTime(1_000);
    leave();
    put.run();
    await hinted();
    vi.advanceTimersByTime(1_000);
    expect([told.count, one.count, two.count]).toEqual([2, 1, 2]);
    put.run();
    await hinted();
    await store.close();
    expect(vi.getTimerCount()).toBe(0);
    vi.advanceTimersByTime(1_000);
    expect([told.count, one.count, two.count]).toEqual([2, 1, 2]);
    other.close();
  });
});

function draft(id: string, change: Partial<JobDraft> = {}): JobDraft {
  return {
    ...{ id, task: "t", queue: "q", priority: 0, createdMs: 1, metadata: null, notes: null },
    spec: { timeoutMs: 0, retries: 3, baseMs: 1, factor: 2, maxMs: 3, jitter: "full" },
    args: { kind: "inline", bytes: Uint8Array.of(1, 2) },
    ...{ uniqueKey: null, expiresMs: null, phase: PHASES.ready, dueMs: 0, blockers: 0 },
    ...{ attempts: 0, retriesLeft: 3, epoch: 0, owner: null, isCancelling: false, progress: 0 },
    ...{ startedMs: null, endedMs: null, because: null, root: null, result: null },
    ...change,
  };
}

describe("Jobs in a SQLite file", () => {
  it.each([
    ["running", "jobs_owned"],
    ["dead", "jobs_failed"],
    ["failed", "jobs_failed"],
    ["cancelled", "jobs_failed"],
  ] as const)(
    "that are %s are listed by the index %s, however many have completed",
    async (status, index) => {
      const path = newPath();
      const store = new SqliteJobStore(path);
      const phase = PHASES[status];
      await store.transact((tx) => {
        const some = { phase, owner: phase === PHASES.running ? "w" : null, endedMs: 1 };
        for (let at = 0; at < 20_000; at++)
          tx.insertJob(
            draft(`${at}`, at % 9_000 === 1 ? some : { phase: PHASES.complete, endedMs: 1 }),
          );
      });
      const prepare = vi.spyOn(DatabaseSync.prototype, "prepare");
      const filters = [
        {},
        { queue: "q" },
        { task: "t" },
        { queue: "q", task: "t" },
        { beforeSeq: 9_000 },
      ];
      for (const filter of filters) {
        const found = await store.look((tx) => tx.list({ ...filter, status, limit: 10 }));
        const all = ["18001", "9001", "1"];
        expect(found.map(({ id }) => id)).toEqual("beforeSeq" in filter ? ["1"] : all);
      }
      const asked = prepare.mock.calls
        .map(([sql]) => sql)
        .filter((sql) => sql.includes("FROM jobs"));
      expect(asked).toHaveLength(4);
      using database = new DatabaseSync(path);
      for (const sql of asked) {
        const plan = database.prepare(`EXPLAIN QUERY PLAN ${sql}`).all();
        const reads = plan
          .map(({ detail }) => String(detail))
          .filter((one) => one.includes("jobs"));
        expect(reads).toEqual([expect.stringContaining(` jobs USING INDEX ${index}`)]);
      }
      await store.close();
    },
  );

  it("are counted as a dry run of a purge says, and purged: 5,000, and what depends on them", async () => {
    const store = new SqliteJobStore(newPath());
    await using queue = await JobQueue.open({ store });
    await store.transact((tx) => {
      const [over, waits] = [{ phase: PHASES.complete, endedMs: 1 }, { phase: PHASES.blocked }];
      for (let at = 0; at < 5_000; at++) {
        const seq = tx.insertJob(draft(`${at}`, over));
        const child =
          at % 100 === 0 ? tx.insertJob(draft(`${at} waits`, { ...waits, blockers: 1 })) : 0;
        const after =
          at % 100 === 1 ? tx.insertJob(draft(`${at} done`, { ...over, endedMs: 1e15 })) : 0;
        for (const one of [child, after]) if (one !== 0) tx.addDependency(seq, one);
      }
    });
    const stats = await queue.stats();
    expect(stats).toMatchObject({ complete: 5_050, pending: 50 });
    const would = await queue.purge({ olderThanMs: 1_000, dryRun: true });
    expect([would.length, new Set(would).size]).toEqual([4_950, 4_950]);
    expect(await queue.stats()).toEqual(stats);
    expect((await queue.purge({ olderThanMs: 1_000 })).toSorted()).toEqual(would.toSorted());
    expect(await queue.stats()).toMatchObject({ complete: 100, pending: 50 });
    const left = await store.look((tx) =>
      tx.list({ limit: 1_000 }).map(({ id, seq }) => [id, tx.parentsOf(seq).length]),
    );
    expect(left.filter(([id]) => `${id}`.endsWith("waits")).every(([, n]) => n === 1)).toBe(true);
    expect(left.filter(([id]) => `${id}`.endsWith("done")).every(([, n]) => n === 0)).toBe(true);
  });
});
