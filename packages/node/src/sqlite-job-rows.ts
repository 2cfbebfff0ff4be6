/** How a job stands in its table: a row of cells. */
import type { SQLInputValue } from "node:sqlite";
import { assert } from "@selvage/fabric";
import type { JobDraft, JobRow, JobSpec, Payload, Phase } from "@selvage/jobs";

type Cells = readonly SQLInputValue[];

/** The columns of a job, in the order in which they are read. */
const columns = `seq, id, task, queue, priority, created_ms, spec, metadata, notes, unique_key, expires_ms, phase, due_ms,
  blockers, attempts, retries_left, epoch, owner, is_cancelling, progress, started_ms, ended_ms, because, root, result,
  result_blocks, args, args_blocks`;

const insertSql = `INSERT INTO jobs (${columns.replace("seq,", "")}) VALUES (${"?, ".repeat(26)}?)`;

const saveSql = `UPDATE jobs SET phase = ?, due_ms = ?, blockers = ?, attempts = ?, retries_left = ?, epoch = ?, owner = ?,
  is_cancelling = ?, progress = ?, started_ms = ?, ended_ms = ?, because = ?, root = ?, result = ?, result_blocks = ?
  WHERE seq = ?`;

/** Statements on jobs. Made once: a text that is put together anew would be looked at anew, character by character. */
export const jobSql: {
  readonly insert: string;
  readonly save: string;
  readonly at: string;
  readonly byId: string;
  readonly byKey: string;
  readonly where: (conditions: string, index?: string) => string;
} = {
  insert: insertSql,
  save: saveSql,
  at: `SELECT ${columns} FROM jobs WHERE seq = ?`,
  byId: `SELECT ${columns} FROM jobs WHERE id = ?`,
  byKey: `SELECT ${columns} FROM jobs WHERE unique_key = ? AND phase <= 3`,
  where: (conditions, index) =>
    `SELECT ${columns} FROM jobs ${index === undefined ? "" : `INDEXED BY ${index}`} WHERE ${conditions} ORDER BY seq DESC`,
};

/** Reads rows, and makes cells of them. Most jobs of a task are told the same: what they are told is read and said once. */
export class JobCells {
  readonly #specs = new Map<string, JobSpec>();
  readonly #texts = new WeakMap<JobSpec, string>();

  /** The job that a row is. */
  jobOf(row: Cells): JobRow {
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

  /** What a new job's row holds, without its number. */
  inserted(job: JobDraft): Cells {
    return [
      job.id,
      job.task,
      job.queue,
      job.priority,
      job.createdMs,
      this.#text(job.spec),
      job.metadata,
      job.notes,
      job.uniqueKey,
      job.expiresMs,
      job.phase,
      job.dueMs,
      job.blockers,
      job.attempts,
      job.retriesLeft,
      job.epoch,
      job.owner,
      job.isCancelling ? 1 : 0,
      job.progress,
      job.startedMs,
      job.endedMs,
      job.because,
      job.root,
      ...payloadCells(job.result),
      ...payloadCells(job.args),
    ];
  }

  /** What can change of a job, and its number. */
  saved(job: JobRow): Cells {
    return [
      job.phase,
      job.dueMs,
      job.blockers,
      job.attempts,
      job.retriesLeft,
      job.epoch,
      job.owner,
      job.isCancelling ? 1 : 0,
      job.progress,
      job.startedMs,
      job.endedMs,
      job.because,
      job.root,
      ...payloadCells(job.result),
      job.seq,
    ];
  }

  // Nobody changes what a job is told.
  #spec(json: string): JobSpec {
    const known = this.#specs.get(json);
    if (known !== undefined) return known;
    if (this.#specs.size > 1_000) this.#specs.clear();
    const spec = JSON.parse(json) as JobSpec;
    this.#specs.set(json, spec);
    return spec;
  }

  #text(spec: JobSpec): string {
    const known = this.#texts.get(spec);
    if (known !== undefined) return known;
    const json = JSON.stringify(spec);
    this.#texts.set(spec, json);
    return json;
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
  if (blocks !== null && blocks !== undefined) return { kind: "blocks", blocks: blocks as number };
  if (bytes === null || bytes === undefined) return null;
  assert(bytes instanceof Uint8Array, "a payload is bytes");
  return { kind: "inline", bytes };
}
