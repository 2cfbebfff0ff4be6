/** What one transaction on a SQLite file of jobs sees and does. */
import type { DatabaseSync, SQLInputValue, StatementSync } from "node:sqlite";
import { FabricError } from "@selvage/fabric";
import {
  JOB_STATUSES,
  phasesOf,
  type AttemptFailure,
  type BucketRow,
  type CronRow,
  type JobDraft,
  type JobFilter,
  type JobRow,
  type JobStatus,
  type JobTx,
  type Phase,
  type QueueRow,
  type ReadyJob,
  type StatusCount,
  type WorkerRow,
} from "@selvage/jobs";
import { KnownJobs } from "./known-jobs.ts";
import { JobCells, jobSql } from "./sqlite-job-rows.ts";

type Row = readonly SQLInputValue[];

const childrenSql = "SELECT child FROM dependencies WHERE parent = ? ORDER BY child";
const parentsSql = "SELECT parent FROM dependencies WHERE child = ? ORDER BY parent";
const countSql =
  "INSERT INTO counts VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET count = count + excluded.count";

/** Statements are prepared when they are first needed, and kept. */
export class SqliteJobTx implements JobTx {
  readonly #database: DatabaseSync;
  readonly #statements = new Map<string, StatementSync>();
  readonly #cells = new JobCells();
  readonly #known = new KnownJobs();
  // What a transaction changes of the counts, by queue and phase: written once, at its end.
  readonly #counted = new Map<string, number[]>();
  #writes = 0;

  constructor(database: DatabaseSync) {
    this.#database = database;
  }

  get writes(): number {
    return this.#writes;
  }

  /** Does `work`, and writes what is written once a transaction. */
  run<T>(work: (tx: JobTx) => T): T {
    this.#counted.clear();
    this.#writes = 0;
    const result = this.look(work);
    for (const [queue, changes] of this.#counted) this.#saveCounts(queue, changes);
    return result;
  }

  /** Does `work`, which writes nothing, or whose writes {@link run} sees to. */
  look<T>(work: (tx: JobTx) => T): T {
    // Rises when another connection has written: what was known may be old.
    this.#known.asOf(this.#number("PRAGMA data_version"));
    return work(this);
  }

  /** What was written is undone: nothing is known any more. */
  forget(): void {
    this.#known.clear();
  }

  insertJob(job: JobDraft): number {
    this.#count(job.queue, job.phase, 1);
    const { lastInsertRowid } = this.#do(jobSql.insert, ...this.#cells.inserted(job));
    const seq = Number(lastInsertRowid);
    this.#known.putNew({ ...job, seq });
    return seq;
  }

  jobAt(seq: number): JobRow | undefined {
    return this.#known.at(seq) ?? this.#known.put(this.#job(jobSql.at, seq));
  }

  jobById(id: string): JobRow | undefined {
    return this.#known.byId(id) ?? this.#known.put(this.#job(jobSql.byId, id));
  }

  jobByKey(uniqueKey: string): JobRow | undefined {
    return this.#job(jobSql.byKey, uniqueKey);
  }

  saveJob(job: JobRow, before: Phase): void {
    if (job.phase !== before) {
      this.#count(job.queue, before, -1);
      this.#count(job.queue, job.phase, 1);
    }
    this.#do(jobSql.save, ...this.#cells.saved(job));
    this.#known.put(job);
  }

  deleteJob({ seq, queue, phase, args, result }: JobRow): void {
    this.#count(queue, phase, -1);
    this.#do("DELETE FROM jobs WHERE seq = ?", seq);
    this.#do("DELETE FROM dependencies WHERE parent = ?", seq);
    this.#do("DELETE FROM dependencies WHERE child = ?", seq);
    this.#do("DELETE FROM failures WHERE job = ?", seq);
    this.#do("DELETE FROM partials WHERE job = ?", seq);
    for (const payload of [args, result])
      if (payload?.kind === "blocks") this.deleteBlocks(payload.blocks);
    // Others named it among what they depend on.
    this.#known.clear();
  }

  ready(queue: string, task: string, limit: number): readonly ReadyJob[] {
    const rows = this.#first(
      limit,
      `SELECT seq, priority, due_ms FROM jobs WHERE phase = 0 AND queue = ? AND task = ?
        ORDER BY priority DESC, due_ms, seq`,
      ...[queue, task],
    );
    return rows.map(([seq, priority, dueMs]) => ({
      seq: seq as number,
      priority: priority as number,
      dueMs: dueMs as number,
    }));
  }

  dueBy(nowMs: number, limit: number): readonly number[] {
    const sql = "SELECT seq FROM jobs WHERE phase = 1 AND due_ms <= ? ORDER BY due_ms";
    return numbersOf(this.#first(limit, sql, nowMs));
  }

  expiredBy(nowMs: number, limit: number): readonly number[] {
    const rows = this.#first(
      limit,
      `SELECT seq FROM jobs WHERE expires_ms IS NOT NULL AND phase < 3
        AND started_ms IS NULL AND expires_ms <= ? ORDER BY expires_ms`,
      nowMs,
    );
    return numbersOf(rows);
  }

  nextTimeMs(): number | undefined {
    const [due] = this.#numbers("SELECT due_ms FROM jobs WHERE phase = 1 ORDER BY due_ms LIMIT 1");
    const [expires] = this.#numbers(
      `SELECT expires_ms FROM jobs WHERE expires_ms IS NOT NULL AND phase < 3
        AND started_ms IS NULL ORDER BY expires_ms LIMIT 1`,
    );
    const next = Math.min(due ?? Infinity, expires ?? Infinity);
    return next === Infinity ? undefined : next;
  }

  runningOf(owner: string): readonly number[] {
    return this.#numbers("SELECT seq FROM jobs WHERE owner IS NOT NULL AND owner = ?", owner);
  }

  runningOfTask(task: string): number {
    return this.#number("SELECT count(*) FROM jobs WHERE owner IS NOT NULL AND task = ?", task);
  }

  runningOfQueue(queue: string): number {
    return this.#number("SELECT count(*) FROM jobs WHERE owner IS NOT NULL AND queue = ?", queue);
  }

  cancellingOf(owner: string): readonly number[] {
    return this.#numbers(
      "SELECT seq FROM jobs WHERE owner IS NOT NULL AND owner = ? AND is_cancelling = 1",
      owner,
    );
  }

  list({ status, queue, task, beforeSeq, limit }: JobFilter): readonly JobRow[] {
    const where = ["seq < ?"];
    const values: SQLInputValue[] = [beforeSeq ?? Number.MAX_SAFE_INTEGER];
    if (status !== undefined) where.push(`phase IN (${phasesOf(status).join(", ")})`);
    // Said so that the index is found that has no others. SQLite would rather read all jobs in their order than sort those that run.
    const isRunning = status === "running";
    if (isRunning) where.push("owner IS NOT NULL");
    if (status === "dead" || status === "failed" || status === "cancelled") where.push("phase > 4");
    if (queue !== undefined) values.push((where.push("queue = ?"), queue));
    if (task !== undefined) values.push((where.push("task = ?"), task));
    const sql = jobSql.where(where.join(" AND "), isRunning ? "jobs_owned" : undefined);
    const rows = this.#first(limit, sql, ...values);
    return rows.map((row) => this.#cells.jobOf(row));
  }

  endedBy(status: JobStatus, endedByMs: number, limit: number): readonly number[] {
    const [phase] = phasesOf(status);
    const rows = this.#first(
      limit,
      "SELECT seq FROM jobs WHERE phase > 3 AND phase = ? AND ended_ms <= ? ORDER BY ended_ms",
      ...[phase as number, endedByMs],
    );
    return numbersOf(rows);
  }

  cancelledBy(rootId: string): readonly number[] {
    return this.#numbers(
      "SELECT seq FROM jobs WHERE root IS NOT NULL AND root = ? AND phase = 6 ORDER BY seq",
      rootId,
    );
  }

  counts(): readonly StatusCount[] {
    return this.#all("SELECT queue, status, count FROM counts WHERE count > 0").map(
      ([queue, status, count]) => ({
        queue: queue as string,
        status: status as JobStatus,
        count: count as number,
      }),
    );
  }

  addDependency(parentSeq: number, childSeq: number): void {
    this.#do("INSERT INTO dependencies VALUES (?, ?)", parentSeq, childSeq);
    this.#known.depend(parentSeq, childSeq);
  }

  childrenOf(seq: number): readonly number[] {
    const known = this.#known.linksOf(seq);
    if (known?.children !== undefined) return [...known.children];
    const children = this.#numbers(childrenSql, seq);
    if (known !== undefined) known.children = [...children];
    return children;
  }

  parentsOf(seq: number): readonly number[] {
    const known = this.#known.linksOf(seq);
    if (known?.parents !== undefined) return [...known.parents];
    const parents = this.#numbers(parentsSql, seq);
    if (known !== undefined) known.parents = [...parents];
    return parents;
  }

  addFailure(seq: number, { attempt, error, failedAt, name, code, stack }: AttemptFailure): void {
    this.#do(
      "INSERT INTO failures VALUES (?, ?, ?, ?, ?, ?, ?)",
      ...[seq, attempt, error, failedAt, name, code, stack],
    );
    const known = this.#known.linksOf(seq);
    if (known !== undefined) known.hasNoFailures = false;
  }

  failuresOf(seq: number): readonly AttemptFailure[] {
    if (this.#known.linksOf(seq)?.hasNoFailures === true) return [];
    const rows = this.#all(
      `SELECT attempt, error, failed_at, name, code, stack FROM failures WHERE job = ? ORDER BY rowid`,
      seq,
    );
    return rows.map(([attempt, error, failedAt, name, code, stack]) => ({
      attempt: attempt as number,
      error: error as string,
      failedAt: failedAt as number,
      name: name as string,
      code: code as string | null,
      stack: stack as string | null,
    }));
  }

  addPartial(seq: number, bytes: Uint8Array): void {
    this.#do(
      "INSERT INTO partials SELECT ?, count(*), ? FROM partials WHERE job = ?",
      ...[seq, bytes, seq],
    );
  }

  partialsOf(seq: number, from: number): readonly Uint8Array[] {
    const rows = this.#all(
      "SELECT bytes FROM partials WHERE job = ? AND number >= ? ORDER BY number",
      ...[seq, from],
    );
    return rows.map(([bytes]) => bytes as Uint8Array);
  }

  openBlocks(leasedUntilMs: number): number {
    const sql = "INSERT INTO payloads (leased_until_ms) VALUES (?)";
    return Number(this.#do(sql, leasedUntilMs).lastInsertRowid);
  }

  addBlock(blocks: number, bytes: Uint8Array, leasedUntilMs: number): void {
    this.#lease(blocks, leasedUntilMs);
    this.#do("INSERT INTO blocks (payload, bytes) VALUES (?, ?)", blocks, bytes);
  }

  keepBlocks(blocks: number): void {
    this.#lease(blocks, null);
  }

  readBlocks(blocks: number): Uint8Array | undefined {
    const pieces = this.#all("SELECT bytes FROM blocks WHERE payload = ? ORDER BY number", blocks);
    if (pieces.length === 0) return undefined;
    return new Uint8Array(Buffer.concat(pieces.map(([bytes]) => bytes as Uint8Array)));
  }

  deleteBlocks(blocks: number): void {
    this.#do("DELETE FROM blocks WHERE payload = ?", blocks);
    this.#do("DELETE FROM payloads WHERE blocks = ?", blocks);
  }

  sweepBlocks(nowMs: number): number {
    const lapsed = this.#numbers(
      "SELECT blocks FROM payloads WHERE leased_until_ms IS NOT NULL AND leased_until_ms <= ?",
      nowMs,
    );
    for (const blocks of lapsed) this.deleteBlocks(blocks);
    return lapsed.length;
  }

  putWorker({ id, label, queues, startedMs, leaseMs, beats, beatMs }: WorkerRow): void {
    this.#do(
      "INSERT OR REPLACE INTO workers VALUES (?, ?, ?, ?, ?, ?, ?)",
      ...[id, label, JSON.stringify(queues), startedMs, leaseMs, beats, beatMs],
    );
  }

  beat(id: string, nowMs: number): boolean {
    const sql = "UPDATE workers SET beats = beats + 1, beat_ms = ? WHERE id = ?";
    return this.#do(sql, nowMs, id).changes === 1;
  }

  workers(): readonly WorkerRow[] {
    const rows = this.#all(
      "SELECT id, label, queues, started_ms, lease_ms, beats, beat_ms FROM workers ORDER BY id",
    );
    return rows.map(([id, label, queues, startedMs, leaseMs, beats, beatMs]) => ({
      id: id as string,
      label: label as string,
      queues: JSON.parse(queues as string) as string[],
      startedMs: startedMs as number,
      leaseMs: leaseMs as number,
      beats: beats as number,
      beatMs: beatMs as number,
    }));
  }

  deleteWorker(id: string): void {
    this.#do("DELETE FROM workers WHERE id = ?", id);
  }

  queues(): readonly QueueRow[] {
    const rows = this.#all(
      "SELECT name, is_paused, max_concurrent, rate_per_second, rate_burst FROM queues ORDER BY name",
    );
    return rows.map(([name, isPaused, maxConcurrent, ratePerSecond, rateBurst]) => ({
      name: name as string,
      isPaused: isPaused === 1,
      maxConcurrent: maxConcurrent as number | null,
      ratePerSecond: ratePerSecond as number | null,
      rateBurst: rateBurst as number | null,
    }));
  }

  putQueue({ name, isPaused, maxConcurrent, ratePerSecond, rateBurst }: QueueRow): void {
    this.#do(
      "INSERT OR REPLACE INTO queues VALUES (?, ?, ?, ?, ?)",
      ...[name, isPaused ? 1 : 0, maxConcurrent, ratePerSecond, rateBurst],
    );
  }

  bucket(name: string): BucketRow | undefined {
    const [row] = this.#all("SELECT tokens, at_ms FROM buckets WHERE name = ?", name);
    return row === undefined
      ? undefined
      : { name, tokens: row[0] as number, atMs: row[1] as number };
  }

  putBucket({ name, tokens, atMs }: BucketRow): void {
    this.#do("INSERT OR REPLACE INTO buckets VALUES (?, ?, ?)", name, tokens, atMs);
  }

  crons(): readonly CronRow[] {
    const rows = this.#all(
      `SELECT name, task, queue, expression, time_zone, args, next_ms, is_paused, spec, priority
        FROM crons ORDER BY name`,
    );
    return rows.map(
      ([name, task, queue, expression, timeZone, args, nextMs, isPaused, spec, priority]) => ({
        name: name as string,
        task: task as string,
        queue: queue as string,
        expression: expression as string,
        timeZone: timeZone as string,
        args: args as Uint8Array,
        nextMs: nextMs as number,
        isPaused: isPaused === 1,
        spec: JSON.parse(spec as string) as CronRow["spec"],
        priority: priority as number,
      }),
    );
  }

  putCron(cron: CronRow): void {
    const { name, task, queue, expression, timeZone, args, nextMs, isPaused, spec, priority } =
      cron;
    this.#do(
      "INSERT OR REPLACE INTO crons VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
      ...[name, task, queue, expression, timeZone, args, nextMs, isPaused ? 1 : 0],
      ...[JSON.stringify(spec), priority],
    );
  }

  deleteCron(name: string): boolean {
    return this.#do("DELETE FROM crons WHERE name = ?", name).changes === 1;
  }

  #lease(blocks: number, leasedUntilMs: number | null): void {
    const { changes } = this.#do(
      "UPDATE payloads SET leased_until_ms = ? WHERE blocks = ? AND leased_until_ms IS NOT NULL",
      ...[leasedUntilMs, blocks],
    );
    if (changes === 1) return;
    throw new FabricError(
      "LEASE_EXPIRED",
      "The blocks of a payload were given back: its upload took too long",
      { blocks },
    );
  }

  #count(queue: string, phase: Phase, change: number): void {
    let counted = this.#counted.get(queue);
    if (counted === undefined) this.#counted.set(queue, (counted = [0, 0, 0, 0, 0, 0, 0, 0]));
    counted[phase] = (counted[phase] as number) + change;
  }

  #saveCounts(queue: string, changes: readonly number[]): void {
    for (const status of JOB_STATUSES) {
      let change = 0;
      for (const phase of phasesOf(status)) change += changes[phase] as number;
      if (change !== 0) this.#do(countSql, queue, status, change);
    }
  }

  #statement(sql: string): StatementSync {
    const known = this.#statements.get(sql);
    if (known !== undefined) return known;
    const made = this.#database.prepare(sql);
    made.setReturnArrays(true);
    this.#statements.set(sql, made);
    return made;
  }

  #do(sql: string, ...values: readonly SQLInputValue[]): ReturnType<StatementSync["run"]> {
    this.#writes++;
    return this.#statement(sql).run(...values);
  }

  #all(sql: string, ...values: readonly SQLInputValue[]): readonly Row[] {
    return this.#statement(sql).all(...values) as unknown as readonly Row[];
  }

  // SQLite plans a statement anew each time that a limit is bound to it, which costs more than most of what is read here. A
  // limit stands in the text, rounded up so that there are few texts.
  #first(limit: number, sql: string, ...values: readonly SQLInputValue[]): readonly Row[] {
    const most = 2 ** Math.ceil(Math.log2(Math.max(1, limit)));
    return this.#all(`${sql} LIMIT ${most}`, ...values).slice(0, limit);
  }

  #numbers(sql: string, ...values: readonly SQLInputValue[]): readonly number[] {
    return numbersOf(this.#all(sql, ...values));
  }

  #number(sql: string, ...values: readonly SQLInputValue[]): number {
    return this.#numbers(sql, ...values)[0] ?? 0;
  }

  #job(sql: string, value: SQLInputValue): JobRow | undefined {
    const row = this.#statement(sql).get(value) as unknown as Row | undefined;
    return row === undefined ? undefined : this.#cells.jobOf(row);
  }
}

function numbersOf(rows: readonly Row[]): readonly number[] {
  return rows.map(([value]) => value as number);
}
