/** Jobs that failed for good, with all that a replay needs. */
import { FabricError } from "@selvage/fabric";
import { PHASES, type AttemptFailure, type JobRow } from "./job-record.ts";
import type { JobTx } from "./job-store.ts";
import { move } from "./lifecycle.ts";
import type { QueueCore } from "./queue-core.ts";
import { snapshotOf, type JobSnapshot } from "./job-snapshot.ts";
import { revive } from "./revival.ts";

/** A job that failed for good. */
export interface JobDeadLetter {
  /** Its job's. */
  readonly id: string;
  readonly taskName: string;
  readonly queue: string;
  /** What the last attempt said. */
  readonly error: string;
  readonly errors: readonly AttemptFailure[];
  /** Attempts begun. */
  readonly attempts: number;
  readonly metadata: string | undefined;
  readonly notes: Readonly<Record<string, unknown>> | undefined;
  /** Milliseconds since the Unix epoch. */
  readonly failedAt: number;
}

/** How many letters one transaction of a purge takes. */
const purgedMax = 500;

/** The dead letters of a queue. */
export class DeadLetterShelf {
  readonly #core: QueueCore;

  constructor(core: QueueCore) {
    this.#core = core;
  }

  list(limit: number): Promise<readonly JobDeadLetter[]> {
    return this.#core.look((tx) =>
      tx.list({ status: "dead", limit }).map((row) => letterOf(tx, row)),
    );
  }

  find(id: string): Promise<JobDeadLetter | undefined> {
    return this.#core.look((tx) => {
      const row = tx.jobById(id);
      return row?.phase === PHASES.dead ? letterOf(tx, row) : undefined;
    });
  }

  replay(id: string): Promise<JobSnapshot> {
    const { committer } = this.#core;
    return committer.write((turn) => {
      const job = turn.tx.jobById(id);
      if (job?.phase !== PHASES.dead)
        throw new FabricError("NOT_FOUND", `There is no dead letter of a job ${id}`, { job: id });
      if (job.owner !== null)
        throw new FabricError(
          "CONFLICT",
          `Cannot replay the job ${id} yet: its last body was told to stop and still runs`,
          { job: id },
        );
      revive(turn, job);
      return snapshotOf(turn.tx, turn.tx.jobAt(job.seq) as JobRow);
    });
  }

  async purge(olderThanMs: number): Promise<number> {
    let purged = 0;
    for (;;) {
      const count = await this.#core.committer.write((turn) => {
        const seqs = turn.tx.endedBy("dead", turn.nowMs - olderThanMs, purgedMax);
        for (const seq of seqs) {
          const job = turn.tx.jobAt(seq) as JobRow;
          move(turn, job, PHASES.failed);
        }
        return seqs.length;
      });
      purged += count;
      if (count < purgedMax) return purged;
    }
  }
}

function letterOf(tx: JobTx, row: JobRow): JobDeadLetter {
  const errors = tx.failuresOf(row.seq);
  return {
    ...{ id: row.id, taskName: row.task, queue: row.queue, attempts: row.attempts, errors },
    error: errors.at(-1)?.error ?? row.because ?? "",
    metadata: row.metadata ?? undefined,
    notes: row.notes === null ? undefined : (JSON.parse(row.notes) as Record<string, unknown>),
    failedAt: row.endedMs ?? 0,
  };
}
