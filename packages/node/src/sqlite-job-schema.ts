/** The tables of a job store. */

/** Says in a file that it is one of ours: "SJOB". */
export const jobApplicationId = 0x53_4a_4f_42;

/**
 * Partial indices hold what a worker looks for and nothing else: what has ended costs a claim nothing, however much it is. Phases are
 * those of `PHASES` in @selvage/jobs.
 */
const tables = `
  CREATE TABLE jobs (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    task TEXT NOT NULL,
    queue TEXT NOT NULL,
    priority INTEGER NOT NULL,
    created_ms REAL NOT NULL,
    spec TEXT NOT NULL,
    metadata TEXT,
    notes TEXT,
    unique_key TEXT,
    expires_ms REAL,
    phase INTEGER NOT NULL,
    due_ms REAL NOT NULL,
    blockers INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    retries_left INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    owner TEXT,
    is_cancelling INTEGER NOT NULL,
    progress REAL NOT NULL,
    started_ms REAL,
    ended_ms REAL,
    because TEXT,
    root TEXT,
    result BLOB,
    result_blocks INTEGER,
    args BLOB,
    args_blocks INTEGER
  ) STRICT;
  CREATE INDEX jobs_ready ON jobs (queue, task, priority DESC, due_ms, seq) WHERE phase = 0;
  CREATE INDEX jobs_delayed ON jobs (due_ms) WHERE phase = 1;
  CREATE INDEX jobs_expiring ON jobs (expires_ms) WHERE expires_ms IS NOT NULL AND phase < 3;
  CREATE INDEX jobs_owned ON jobs (task, queue, owner) WHERE owner IS NOT NULL;
  CREATE UNIQUE INDEX jobs_unique ON jobs (unique_key) WHERE unique_key IS NOT NULL AND phase <= 3;
  CREATE INDEX jobs_ended ON jobs (phase, ended_ms) WHERE phase > 3;

  CREATE TABLE dependencies (
    parent INTEGER NOT NULL, child INTEGER NOT NULL, PRIMARY KEY (parent, child)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX dependencies_of ON dependencies (child, parent);

  CREATE TABLE failures (
    job INTEGER NOT NULL, attempt INTEGER NOT NULL, error TEXT NOT NULL, failed_at REAL NOT NULL,
    name TEXT NOT NULL, code TEXT, stack TEXT
  ) STRICT;
  CREATE INDEX failures_of ON failures (job);

  CREATE TABLE partials (
    job INTEGER NOT NULL, number INTEGER NOT NULL, bytes BLOB NOT NULL, PRIMARY KEY (job, number)
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE payloads (blocks INTEGER PRIMARY KEY AUTOINCREMENT, leased_until_ms REAL) STRICT;
  CREATE INDEX payloads_leased ON payloads (leased_until_ms) WHERE leased_until_ms IS NOT NULL;
  CREATE TABLE blocks (
    number INTEGER PRIMARY KEY, payload INTEGER NOT NULL, bytes BLOB NOT NULL
  ) STRICT;
  CREATE INDEX blocks_of ON blocks (payload);

  CREATE TABLE counts (
    queue TEXT NOT NULL, status TEXT NOT NULL, count INTEGER NOT NULL, PRIMARY KEY (queue, status)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE workers (
    id TEXT PRIMARY KEY, label TEXT NOT NULL, queues TEXT NOT NULL, started_ms REAL NOT NULL,
    lease_ms REAL NOT NULL, beats INTEGER NOT NULL, beat_ms REAL NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE queues (
    name TEXT PRIMARY KEY, is_paused INTEGER NOT NULL, max_concurrent INTEGER, rate_per_second REAL, rate_burst REAL
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE buckets (name TEXT PRIMARY KEY, tokens REAL NOT NULL, at_ms REAL NOT NULL) STRICT, WITHOUT ROWID;
  CREATE TABLE crons (
    name TEXT PRIMARY KEY, task TEXT NOT NULL, queue TEXT NOT NULL, expression TEXT NOT NULL, time_zone TEXT NOT NULL,
    args BLOB NOT NULL, next_ms REAL, is_paused INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
`;

/**
 * What makes version n + 1 of version n. What was given out is not changed: a new version is a new entry. The second one finds jobs by
 * the dead one that cancelled them; the third one keeps with a schedule what its jobs are told, and lists what failed without
 * looking at what did not.
 */
export const jobMigrations: readonly string[] = [
  tables,
  "CREATE INDEX jobs_root ON jobs (root) WHERE root IS NOT NULL;",
  `ALTER TABLE crons ADD COLUMN spec TEXT NOT NULL DEFAULT
    '{"timeoutMs":300000,"retries":3,"baseMs":1000,"factor":2,"maxMs":300000,"jitter":"full"}';
  ALTER TABLE crons ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;
  CREATE INDEX jobs_failed ON jobs (phase, seq) WHERE phase > 4;`,
];
