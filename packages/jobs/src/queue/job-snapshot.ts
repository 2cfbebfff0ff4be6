/** What is known of a job at one time. */
import type { AttemptFailure, JobRow } from "./job-record.ts";
import type { JobTx } from "./job-store.ts";

/** What is known of a job at one time. */
export interface JobSnapshot {
  readonly row: JobRow;
  readonly dependencies: readonly string[];
  readonly dependents: readonly string[];
  readonly errors: readonly AttemptFailure[];
}

/** Reads all that a handle shows. */
export function snapshotOf(tx: JobTx, row: JobRow): JobSnapshot {
  const idOf = (seq: number): readonly string[] => {
    const job = tx.jobAt(seq);
    return job === undefined ? [] : [job.id];
  };
  return {
    row,
    dependencies: tx.parentsOf(row.seq).flatMap(idOf),
    dependents: tx.childrenOf(row.seq).flatMap(idOf),
    errors: tx.failuresOf(row.seq),
  };
}
