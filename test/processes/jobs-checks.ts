/** What must hold of a queue's file, and of the log of those who worked on it, once nothing happens any more. */
import { DatabaseSync } from "node:sqlite";
import { expect } from "vitest";
import type { JobQueue } from "selvage";
import type { BeganLine, LogLine, Made, Stamp, ToldLine } from "./jobs-log.ts";

interface JobCells {
  readonly seq: number;
  readonly id: string;
  readonly task: string;
  readonly phase: number;
  readonly attempts: number;
  readonly epoch: number;
  readonly owner: string | null;
  readonly root: string | null;
  readonly spec: string;
  readonly failures: number;
  readonly losses: number;
}

/** Phases of jobs that have ended, and the event that says so. */
const ENDS: Readonly<Record<number, string>> = { 4: "completed", 5: "dead", 6: "cancelled" };
const COMPLETE = 4;
const DEAD = 5;
const CANCELLED = 6;

/** What a check saw. */
export interface Checked {
  readonly jobs: number;
  readonly complete: number;
  readonly dead: number;
  readonly cancelled: number;
  readonly attempts: number;
  /** Claims whose worker was given up, and those that workers gave back. */
  readonly lost: number;
  readonly handedBack: number;
}

/** A queue that is at rest, and the log of its processes. */
export interface CheckedCrew {
  readonly queue: JobQueue;
  readonly path: string;
  readonly log: () => readonly LogLine[];
}

/** What a file and a log say, by job. */
class Book {
  readonly jobs: ReadonlyMap<string, JobCells>;
  readonly parents: ReadonlyMap<string, readonly string[]>;
  readonly began: ReadonlyMap<string, readonly BeganLine[]>;
  readonly ends: ReadonlyMap<string, readonly ToldLine[]>;

  constructor(database: DatabaseSync, lines: readonly LogLine[]) {
    const rows = database
      .prepare(
        `SELECT seq, id, task, phase, attempts, epoch, owner, root, spec,
          (SELECT count(*) FROM failures WHERE job = seq) AS failures,
          (SELECT count(*) FROM failures WHERE job = seq AND error LIKE '%was silent for too long') AS losses FROM jobs`,
      )
      .all() as unknown as JobCells[];
    this.jobs = new Map(rows.map((row) => [row.id, row]));
    const dependencies = database
      .prepare(
        `SELECT p.id AS parent, c.id AS child FROM dependencies d
          LEFT JOIN jobs p ON p.seq = d.parent LEFT JOIN jobs c ON c.seq = d.child`,
      )
      .all() as unknown as { parent: string; child: string }[];
    this.parents = grouped(
      dependencies,
      ({ child }) => child,
      ({ parent }) => parent,
    );
    const began = lines.filter((line): line is BeganLine => "began" in line);
    this.began = grouped(began, (line) => line.began);
    const told = lines.filter((line): line is ToldLine => "told" in line);
    const ends = told.filter((line) => Object.values(ENDS).includes(line.told));
    this.ends = grouped(ends, (line) => line.jobId ?? "");
  }
}

function grouped<T, V = T>(
  list: readonly T[],
  key: (one: T) => string,
  value: (one: T) => V = (one) => one as unknown as V,
): ReadonlyMap<string, readonly V[]> {
  const map = new Map<string, V[]>();
  for (const one of list) {
    const known = map.get(key(one));
    if (known === undefined) map.set(key(one), [value(one)]);
    else known.push(value(one));
  }
  return map;
}

/** How often a job of a task may be tried again: as the tasks of the processes are declared. */
function retriesOf(task: string): number {
  return task === "poison" || task === "far" ? 1 : 3;
}

/**
 * Holds what is in the file against the log: each of `accepted` is there, and has ended in one way; one result was committed, by the
 * claim that it names; no claim was spent twice; what others wait for has not left them waiting.
 */
export async function checkEnded(
  { queue, path, log }: CheckedCrew,
  accepted: ReadonlySet<string>,
): Promise<Checked> {
  using database = new DatabaseSync(path, { readOnly: true });
  const book = new Book(database, log());
  for (const id of accepted) expect(book.jobs.has(id)).toBe(true);
  const seen = { lost: 0, handedBack: 0, attempts: 0 };
  const results = new Map<string, Made>();
  for (const row of book.jobs.values())
    if (row.phase === COMPLETE && !isList(row)) {
      const job = await queue.getJob<Made>(row.id);
      results.set(row.id, (await job?.result({ timeoutMs: 0 })) as Made);
    }
  for (const row of book.jobs.values()) {
    checkEnd(book, row);
    seen.handedBack += checkAttempts(book, row, retriesOf(row.task));
    seen.lost += row.losses;
    seen.attempts += row.attempts;
    const made = results.get(row.id);
    if (made !== undefined) checkResult(book, row, made, results);
  }
  const counts = checkFile(database);
  return {
    jobs: book.jobs.size,
    complete: counts.get(COMPLETE) ?? 0,
    dead: counts.get(DEAD) ?? 0,
    cancelled: counts.get(CANCELLED) ?? 0,
    ...seen,
  };
}

function isList({ task, spec }: JobCells): boolean {
  return task === "list" || isFan(spec);
}

function isFan(spec: string): boolean {
  return (JSON.parse(spec) as { fan?: unknown }).fan !== undefined;
}

// One terminal state: that of the row, told by one process at most (the one that died after its commit told nobody).
function checkEnd(book: Book, row: JobCells): void {
  const { id, task, phase, owner } = row;
  expect([task, id, ENDS[phase], owner]).toEqual([task, id, expect.any(String), null]);
  const told = (book.ends.get(id) ?? []).map((line) => line.told);
  expect([[], [ENDS[phase]]]).toContainEqual(told);
  const parents = (book.parents.get(id) ?? []).map((parent) => book.jobs.get(parent));
  for (const parent of parents) {
    // An ended job's parents have completed, unless one of them ended it, or its own fan was cut short.
    if (phase === COMPLETE || phase === DEAD) expect([id, parent?.phase]).toEqual([id, COMPLETE]);
  }
  if (row.root === null) return;
  expect(parents.some((parent) => parent?.phase !== COMPLETE)).toBe(true);
  expect(book.jobs.get(row.root)?.phase).not.toBe(COMPLETE);
}

const unique = (of: readonly number[]): number[] => [...new Set(of)];

// Every claim is accounted for: it failed, it was handed back, or it completed the job. Returns how many were handed back.
function checkAttempts(book: Book, row: JobCells, retries: number): number {
  const { id, task, phase, attempts, epoch, failures, losses } = row;
  if (isFan(row.spec)) return 0;
  // The epoch rises with each claim, each loss, and each hand-back.
  const handedBack = epoch - attempts - losses;
  const completed = phase === COMPLETE ? 1 : 0;
  expect([task, id, attempts]).toEqual([task, id, failures + handedBack + completed]);
  expect(handedBack).toBeGreaterThanOrEqual(0);
  expect(attempts).toBeLessThanOrEqual(retries + 1 + handedBack);
  if (phase === DEAD) expect([task, id, failures]).toEqual([task, id, retries + 1]);
  const began = book.began.get(id) ?? [];
  // A claim's body begins once.
  const [epochs, of] = [began.map((line) => line.epoch), began.map((line) => line.attempt)];
  expect([task, id, epochs]).toEqual([task, id, unique(epochs)]);
  expect([task, id, of]).toEqual([task, id, unique(of)]);
  expect(began.length).toBeLessThanOrEqual(attempts);
  for (const line of began) {
    expect(line.epoch).toBeLessThanOrEqual(epoch);
    expect(line.attempt).toBeLessThanOrEqual(attempts);
  }
  return handedBack;
}

// The claim that committed is the last one, its body began once, and those it is made of are those that were committed.
function checkResult(
  book: Book,
  { id, epoch, attempts }: JobCells,
  made: Made,
  results: ReadonlyMap<string, Made>,
): void {
  expect(made).toMatchObject({ job: id, epoch, attempt: attempts });
  const began = (book.began.get(id) ?? []).filter((line) => line.epoch === epoch);
  expect(began).toHaveLength(1);
  for (const of of made.of) expect(stampOf(results.get(of.job))).toEqual(of);
}

function stampOf(made: Made | undefined): Stamp | undefined {
  return made === undefined ? undefined : { job: made.job, epoch: made.epoch };
}

/** The file is whole, its counts are those of its jobs, and nothing in it belongs to nobody. Returns how many jobs a phase has. */
function checkFile(database: DatabaseSync): ReadonlyMap<number, number> {
  const number = (sql: string): number =>
    Number(Object.values(database.prepare(sql).get() as object)[0]);
  expect(database.prepare("PRAGMA integrity_check").all()).toEqual([{ integrity_check: "ok" }]);
  const statuses = `CASE phase WHEN 4 THEN 'complete' WHEN 5 THEN 'dead' WHEN 6 THEN 'cancelled' WHEN 3 THEN 'running'
    WHEN 7 THEN 'failed' ELSE 'pending' END`;
  const counted = database
    .prepare("SELECT queue, status, count FROM counts WHERE count <> 0 ORDER BY queue, status")
    .all();
  const there = database
    .prepare(
      `SELECT queue, ${statuses} AS status, count(*) AS count FROM jobs GROUP BY 1, 2 ORDER BY 1, 2`,
    )
    .all();
  expect(counted).toEqual(there);
  const orphans = `SELECT count(*) FROM blocks WHERE payload NOT IN (SELECT blocks FROM payloads)`;
  expect(number(orphans)).toBe(0);
  const payloads = number("SELECT count(*) FROM payloads WHERE leased_until_ms IS NULL");
  expect(payloads).toBe(number("SELECT count(args_blocks) + count(result_blocks) FROM jobs"));
  const phases = database.prepare("SELECT phase, count(*) AS n FROM jobs GROUP BY phase").all();
  return new Map(phases.map(({ phase, n }) => [phase as number, n as number]));
}
