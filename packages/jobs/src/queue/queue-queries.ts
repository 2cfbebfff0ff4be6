/** What a queue is asked, and what it answers. */
import type { JobStatus, WorkerRow } from "./job-record.ts";

/** How many jobs there are of each status. */
export type JobStats = Readonly<Record<JobStatus, number>>;

/** Which jobs to list: newest first. */
export interface JobQuery {
  readonly status?: JobStatus;
  readonly queue?: string;
  readonly taskName?: string;
  /** Jobs made before this one, for the next page. */
  readonly before?: string;
  /** Default 100. */
  readonly limit?: number;
}

/** Limits of a queue, for all processes. `null` lifts one. */
export interface QueueLimits {
  /** Most of its jobs that run at a time. */
  readonly maxConcurrent?: number | null;
  /** How many of its jobs may start in a time: `"10/s"`, `"100/m"`, `"5/h"`. */
  readonly rateLimit?: string | null;
}

/** What a purge is to forget. */
export interface JobPurge {
  /** Which jobs: of these statuses. Default: complete, cancelled and failed ones. */
  readonly statuses?: readonly JobStatus[];
  /** Ended at least so long ago. Default 0. */
  readonly olderThanMs?: number;
  /** Only says what would go. */
  readonly dryRun?: boolean;
}

/** A worker of some process. */
export interface WorkerInfo extends Omit<WorkerRow, "beats"> {
  readonly running: number;
}
