/** Jobs, as commands show them. */
import type { JobDeadLetter, JobStats, JobStatus, QueuedJob } from "@selvage/jobs";
import { FabricError } from "@selvage/fabric";
import type { JobQueue } from "@selvage/node";
import { formatMs, table, visible, type Column } from "../table.ts";

/** A job as a document. */
export function jobDocument(job: QueuedJob): object {
  const { id, taskName, queue, status, progress, priority, attempts } = job;
  const { dependencies, dependents, metadata, notes, errors, because, times } = job;
  const what = { id, taskName, queue, status, progress, priority, attempts };
  return { ...what, dependencies, dependents, metadata, notes, errors, because, ...times };
}

/** The job of an id. @throws FabricError `NOT_FOUND`. */
export async function jobOf(queue: JobQueue, id: string): Promise<QueuedJob> {
  const job = await queue.getJob(id);
  if (job !== undefined) return job;
  throw new FabricError("NOT_FOUND", `There is no job ${id}`, {
    job: id,
    hint: "`selvage jobs list` shows the newest ones; ended jobs are forgotten in time",
  });
}

const columns: readonly Column[] = [
  "ID",
  "TASK",
  "QUEUE",
  "STATUS",
  { figure: "DONE" },
  { figure: "PRIORITY" },
  { figure: "ATTEMPTS" },
  { figure: "AGE" },
];

/** Jobs, a line each. */
export function jobTable(jobs: readonly QueuedJob[], nowMs: number): string {
  const rows = jobs.map((job) => [
    job.id,
    job.taskName,
    job.queue,
    job.status,
    `${Math.round(job.progress)} %`,
    String(job.priority),
    String(job.attempts),
    formatMs(Math.max(0, nowMs - job.times.createdMs)),
  ]);
  return table(columns, rows, "No jobs.");
}

/** One job, a line a fact. */
export function jobText(job: QueuedJob): string {
  const { times } = job;
  const facts: readonly (readonly [string, string | undefined])[] = [
    ["id", job.id],
    ["task", job.taskName],
    ["queue", job.queue],
    ["status", job.because === undefined ? job.status : `${job.status}: ${job.because}`],
    ["progress", `${Math.round(job.progress)} %`],
    ["priority", String(job.priority)],
    ["attempts", String(job.attempts)],
    ["made", moment(times.createdMs)],
    ["due", moment(times.dueMs)],
    ["started", moment(times.startedMs)],
    ["ended", moment(times.endedMs)],
    ["waits for", listed(job.dependencies)],
    ["waited for by", listed(job.dependents)],
    ["metadata", job.metadata],
    ["notes", job.notes === undefined ? undefined : JSON.stringify(job.notes)],
    ...job.errors.map(
      ({ attempt, name, error, failedAt }) =>
        [`attempt ${attempt}`, `${moment(failedAt)}: ${name}: ${error}`] as const,
    ),
  ];
  return factLines(facts);
}

/** A dead letter, a line a fact. */
export function letterText(letter: JobDeadLetter): string {
  return factLines([
    ["id", letter.id],
    ["task", letter.taskName],
    ["queue", letter.queue],
    ["died", moment(letter.failedAt)],
    ["attempts", String(letter.attempts)],
    ["metadata", letter.metadata],
    ["notes", letter.notes === undefined ? undefined : JSON.stringify(letter.notes)],
    ...letter.errors.map(
      ({ attempt, name, error }) => [`attempt ${attempt}`, `${name}: ${error}`] as const,
    ),
  ]);
}

function factLines(facts: readonly (readonly [string, string | undefined])[]): string {
  const told = facts.filter(([, fact]) => fact !== undefined);
  const width = Math.max(...told.map(([name]) => name.length));
  return told.map(([name, fact]) => `${name.padEnd(width)}  ${visible(fact ?? "")}`).join("\n");
}

function moment(atMs: number | undefined): string | undefined {
  return atMs === undefined ? undefined : new Date(atMs).toISOString();
}

function listed(ids: readonly string[]): string | undefined {
  return ids.length === 0 ? undefined : ids.join(", ");
}

const shownStatuses: readonly JobStatus[] = [
  "pending",
  "running",
  "complete",
  "failed",
  "dead",
  "cancelled",
];

/** Queues and how many jobs of each status they have. */
export function statsTable(
  queues: readonly {
    readonly name: string;
    readonly isPaused: boolean;
    readonly stats: JobStats;
  }[],
): string {
  const heads: readonly Column[] = [
    "QUEUE",
    ...shownStatuses.map((status) => ({ figure: status.toUpperCase() })),
    "",
  ];
  const rows = queues.map(({ name, isPaused, stats }) => [
    name,
    ...shownStatuses.map((status) => stats[status].toLocaleString("en")),
    isPaused ? "paused" : "",
  ]);
  return table(heads, rows, "No queues.");
}
