/** What one transaction on a SQLite file of jobs sees and does. */
import type { DatabaseSync, SQLInputValue, StatementSync } from "node:sqlite";
import { assert, FabricError } from "@selvage/fabric";
import {
  phasesOf,
  statusOf,
  type AttemptFailure,
  type BucketRow,
  type CronRow,
  type JobDraft,
  type JobFilter,
  type JobRow,
  type JobSpec,
  type JobStatus,
  type JobTx,
  type Payload,
  type Phase,
  type QueueRow,
  type ReadyJob,
  type StatusCount,
  type WorkerRow,
} from "@selvage/jobs";

type Row = readonly SQLInputValue[];

/** The columns of a job, in the order in which they are read. */
const columns = `seq, id, task, queue, priority, created_ms, spec, metadata, notes, unique_key, expires_ms, phase, due_ms,
  blockers, attempts, retries_left, epoch, owner, is_cancelling, progress, started_ms, ended_ms, because, root, result,
  result_blocks, args, args_blocks`;

const insertSql = `INSERT INTO jobs (${columns.replace("seq,", "")}) VALUES (${"?, ".repeat(26)}?)`;

const saveSql = `UPDATE jobs SET phase = ?, due_ms = ?, blockers = ?, attempts = ?, retries_left = ?, epoch = ?, owner = ?,
  is_cancelling = ?, progress = ?, started_ms = ?, ended_ms = ?, because = ?, root = ?, result = ?, result_blocks = ?
  WHERE seq = ?`;

/** Statements are prepared when they are first needed, and kept. */
export class SqliteJobTx implements JobTx {
  readonly #database: DatabaseSync;
  readonly #statements = new Map<string, StatementSync>();
  readonly #specs = new Map<string, JobSpec>();
  // What a transaction changes of the counts is written once, at its end.
  readonly #counted = new Map<string, { queue: string; status: JobStatus; change: number }>();
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
    const result = work(this);
    for (const { queue, status, change } of this.#counted.values())
      if (change !== 0)
        this.#do(
          `INSERT INTO counts VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET count = count + excluded.count`,
          ...[queue, status, change],
        );
    return result;
  }

  insertJob(job: JobDraft): number {
    this.#count(job.queue, job.phase, 1);
    const { result, args } = job;
    const { lastInsertRowid } = this.#do(
      insertSql,
      ...[job.id, job.task, job.queue, job.priority, job.createdMs, JSON.stringify(job.spec)],
      ...[
        job.metadata,
        job.notes,
        job.uniqueKey,
        job.expiresMs,
        job.phase,
        job.dueMs,
        job.blockers,
      ],
      ...[
        job.attempts,
        job.retriesLeft,
        job.epoch,
        job.owner,
        job.isCancelling ? 1 : 0,
        job.progress,
      ],
      ...[job.startedMs, job.endedMs, job.because, job.root, ...payloadCells(result)],
      ...payloadCells(args),
    );
    return Number(lastInsertRowid);
  }

  jobAt(seq: number): JobRow | undefined {
    return this.#job(`SELECT ${columns} FROM jobs WHERE seq = ?`, seq);
  }

  jobById(id: string): JobRow | undefined {
    return this.#job(`SELECT ${columns} FROM jobs WHERE id = ?`, id);
  }

  jobByKey(uniqueKey: string): JobRow | undefined {
    return this.#job(`SELECT ${columns} FROM jobs WHERE unique_key = ? AND phase <= 3`, uniqueKey);
  }

  saveJob(job: JobRow, before: Phase): void {
    if (job.phase !== before) {
      this.#count(job.queue, before, -1);
      this.#count(job.queue, job.phase, 1);
    }
    this.#do(
      saveSql,
      ...[job.phase, job.dueMs, job.blockers, job.attempts, job.retriesLeft, job.epoch, job.owner],
      ...[
        job.isCancelling ? 1 : 0,
        job.progress,
        job.startedMs,
        job.endedMs,
        job.because,
        job.root,
      ],
      ...payloadCells(job.result),
      job.seq,
    );
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
  }

  ready(queue: string, task: string, limit: number): readonly ReadyJob[] {
    const rows = this.#all(
      `SELECT seq, priority, due_ms FROM jobs WHERE phase = 0 AND queue = ? AND task = ?
        ORDER BY priority DESC, due_ms, seq LIMIT ?`,
      ...[queue, task, limit],
    );
    return rows.map(([seq, priority, dueMs]) => ({
      seq: seq as number,
      priority: priority as number,
      dueMs: dueMs as number,
    }));
  }

  dueBy(nowMs: number, limit: number): readonly number[] {
    return this.#numbers(
      "SELECT seq FROM jobs WHERE phase = 1 AND due_ms <= ? ORDER BY due_ms LIMIT ?",
      ...[nowMs, limit],
    );
  }

  expiredBy(nowMs: number, limit: number): readonly number[] {
    return this.#numbers(
      `SELECT seq FROM jobs WHERE expires_ms IS NOT NULL AND phase < 3
        AND started_ms IS NULL AND expires_ms <= ? ORDER BY expires_ms LIMIT ?`,
      ...[nowMs, limit],
    );
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
    if (queue !== undefined) values.push((where.push("queue = ?"), queue));
    if (task !== undefined) values.push((where.push("task = ?"), task));
    const sql = `SELECT ${columns} FROM jobs WHERE ${where.join(" AND ")} ORDER BY seq DESC LIMIT ?`;
    return this.#all(sql, ...values, limit).map((row) => this.#jobOf(row));
  }

  endedBy(status: JobStatus, endedByMs: number, limit: number): readonly number[] {
    const [phase] = phasesOf(status);
    return this.#numbers(
      `SELECT seq FROM jobs WHERE phase > 3 AND phase = ? AND ended_ms <= ? ORDER BY ended_ms LIMIT ?`,
      ...[phase as number, endedByMs, limit],
    );
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
  }

  childrenOf(seq: number): readonly number[] {
    return this.#numbers("SELECT child FROM dependencies WHERE parent = ? ORDER BY child", seq);
  }

  parentsOf(seq: number): readonly number[] {
    return this.#numbers("SELECT parent FROM dependencies WHERE child = ? ORDER BY parent", seq);
  }

  addFailure(seq: number, { attempt, error, failedAt, name, code, stack }: AttemptFailure): void {
    this.#do(
      "INSERT INTO failures VALUES (?, ?, ?, ?, ?, ?, ?)",
      ...[seq, attempt, error, failedAt, name, code, stack],
    );
  }

  failuresOf(seq: number): readonly AttemptFailure[] {
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
      `SELECT name, task, queue, expression, time_zone, args, next_ms, is_paused FROM crons ORDER BY name`,
    );
    return rows.map(([name, task, queue, expression, timeZone, args, nextMs, isPaused]) => ({
      name: name as string,
      task: task as string,
      queue: queue as string,
      expression: expression as string,
      timeZone: timeZone as string,
      args: args as Uint8Array,
      nextMs: nextMs as number,
      isPaused: isPaused === 1,
    }));
  }

  putCron({ name, task, queue, expression, timeZone, args, nextMs, isPaused }: CronRow): void {
    this.#do(
      "INSERT OR REPLACE INTO crons VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
      ...[name, task, queue, expression, timeZone, args, nextMs, isPaused ? 1 : 0],
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
    const status = statusOf(phase);
    const key = `${status}:${queue}`;
    const counted = this.#counted.get(key);
    if (counted === undefined) this.#counted.set(key, { queue, status, change });
    else counted.change += change;
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

  #numbers(sql: string, ...values: readonly SQLInputValue[]): readonly number[] {
    return this.#all(sql, ...values).map(([value]) => value as number);
  }

  #number(sql: string, ...values: readonly SQLInputValue[]): number {
    return this.#numbers(sql, ...values)[0] ?? 0;
  }

  #job(sql: string, value: SQLInputValue): JobRow | undefined {
    const row = this.#statement(sql).get(value) as unknown as Row | undefined;
    return row === undefined ? undefined : this.#jobOf(row);
  }

  #jobOf(row: Row): JobRow {
    return {
      seq: row[0] as number,
      id: row[1] as string,
      task: row[2] as string,
      queue: row[3] as string,
      priority: row[4] as number,
      createdMs: row[5] as number,
      spec: this.#spec(row[6] as string),
      metadata: row[7] as string | null,
      notes: row[8] as string | null,
      uniqueKey: row[9] as string | null,
      expiresMs: row[10] as number | null,
      phase: row[11] as Phase,
      dueMs: row[12] as number,
      blockers: row[13] as number,
      attempts: row[14] as number,
      retriesLeft: row[15] as number,
      epoch: row[16] as number,
      owner: row[17] as string | null,
      isCancelling: row[18] === 1,
      progress: row[19] as number,
      startedMs: row[20] as number | null,
      endedMs: row[21] as number | null,
      because: row[22] as string | null,
      root: row[23] as string | null,
      result: payloadOf(row[24], row[25]),
      args: payloadOf(row[26], row[27]) as Payload,
    };
  }

  // Most jobs of a task are told the same: what they are told is read once. Nobody changes it.
  #spec(json: string): JobSpec {
    const known = this.#specs.get(json);
    if (known !== undefined) return known;
    if (this.#specs.size > 1_000) this.#specs.clear();
    const spec = JSON.parse(json) as JobSpec;
    this.#specs.set(json, spec);
    return spec;
  }
}

function payloadCells(payload: Payload | null): readonly [Uint8Array | null, number | null] {
  if (payload === null) return [null, null];
  return payload.kind === "inline" ? [payload.bytes, null] : [null, payload.blocks];
}

function payloadOf(
  bytes: SQLInputValue | undefined,
  blocks: SQLInputValue | undefined,
): Payload | null {
  if (blocks != null) return { kind: "blocks", blocks: blocks as number };
  if (bytes == null) return null;
  assert(bytes instanceof Uint8Array, "a payload is bytes");
  return { kind: "inline", bytes };
}
