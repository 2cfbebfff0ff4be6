/** What a queue tells of. */
import type { JobRow } from "./job-record.ts";

/** What every event of a job has. */
export interface JobEventBase {
  readonly jobId: string;
  readonly taskName: string;
  readonly queue: string;
  /** Milliseconds since the Unix epoch. */
  readonly atMs: number;
}

/** Something that happened to a job, told once the store has it. */
export type JobQueueJobEvent = JobEventBase &
  (
    | { readonly type: "enqueued" }
    | { readonly type: "started"; readonly attempt: number; readonly epoch: number }
    | { readonly type: "progress"; readonly progress: number }
    | { readonly type: "completed"; readonly attempt: number }
    /** An attempt failed, and there is another one, not before `dueMs`. */
    | {
        readonly type: "retrying";
        readonly attempt: number;
        readonly error: string;
        readonly dueMs: number;
      }
    | { readonly type: "dead"; readonly attempt: number; readonly error: string }
    | { readonly type: "cancelled"; readonly because: string }
    /** Its worker was given up; its epoch is over. */
    | { readonly type: "lost"; readonly worker: string }
    /** Its worker stopped before it was done: it waits for another one, and no retry is spent. */
    | { readonly type: "handed-back" }
    /** What an attempt ended with came too late: the job is another's by now, or over. */
    | { readonly type: "refused"; readonly attempt: number; readonly epoch: number }
    /** A dead letter was replayed, or with it a job that its death had cancelled. */
    | { readonly type: "revived" }
  );

/** Something that happened in a queue. */
export type JobQueueEvent =
  | JobQueueJobEvent
  | { readonly type: "worker-started"; readonly worker: string; readonly atMs: number }
  | { readonly type: "worker-lost"; readonly worker: string; readonly atMs: number }
  | { readonly type: "worker-stopped"; readonly worker: string; readonly atMs: number }
  | { readonly type: "paused"; readonly queue: string; readonly atMs: number }
  | { readonly type: "resumed"; readonly queue: string; readonly atMs: number }
  /** The store failed under a worker, which goes on trying. */
  | { readonly type: "trouble"; readonly error: unknown; readonly atMs: number };

/** What every event of `job` has. */
export function eventBase(job: JobRow, atMs: number): JobEventBase {
  return { jobId: job.id, taskName: job.task, queue: job.queue, atMs };
}
