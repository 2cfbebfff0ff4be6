/** How a monitor draws what it has seen. */
import type { JobDeadLetter, JobStats, QueuedJob, WorkerInfo } from "@selvage/jobs";
import { formatMs, table, visible } from "../table.ts";
import { jobDocument, statsTable } from "./job-text.ts";

/** A queue's file at one moment. */
export interface MonitorState {
  readonly db: string;
  readonly atMs: number;
  readonly stats: JobStats;
  readonly queues: readonly {
    readonly name: string;
    readonly isPaused: boolean;
    readonly stats: JobStats;
  }[];
  /** The newest first. */
  readonly running: readonly QueuedJob[];
  readonly workers: readonly WorkerInfo[];
  /** The newest first. */
  readonly deadLetters: readonly JobDeadLetter[];
}

/** It as a document. */
export function monitorDocument(state: MonitorState): object {
  return { ...state, running: state.running.map(jobDocument) };
}

/** All of it, as far as it fits: the parts of a screen take turns to lose lines, the longest first. */
export function monitorLines(
  state: MonitorState,
  { columns, rows }: { readonly columns: number; readonly rows: number },
): readonly string[] {
  const { db, atMs, queues, running, workers, deadLetters, stats } = state;
  const parts = [
    [visible(`${db}  ${new Date(atMs).toISOString()}`)],
    statsTable(queues).split("\n"),
    [`running: ${stats.running}`, ...running.map((job) => runningLine(job, atMs))],
    [`workers: ${workers.length}`, ...workerLines(workers, atMs)],
    [`dead letters: ${stats.dead}`, ...deadLetters.map((letter) => letterLine(letter, atMs))],
  ];
  return fitted(parts, rows).map((line) => cut(line, columns));
}

/** It in one line, for a log. */
export function monitorLine({ stats, workers, queues }: MonitorState): string {
  const counts = Object.entries(stats).map(([status, count]) => `${count} ${status}`);
  const paused = queues.filter(({ isPaused }) => isPaused).map(({ name }) => name);
  const told = paused.length === 0 ? "" : `, paused: ${paused.join(", ")}`;
  return visible(`${counts.join(", ")}, ${workers.length} workers${told}`);
}

const barWidth = 20;

function runningLine(job: QueuedJob, nowMs: number): string {
  const done = Math.round((job.progress / 100) * barWidth);
  const bar = `${"█".repeat(done)}${"░".repeat(barWidth - done)}`;
  const { startedMs = nowMs } = job.times;
  const part = `${String(Math.round(job.progress)).padStart(3)} %`;
  const since = formatMs(Math.max(0, nowMs - startedMs));
  return visible(
    `  ▸ ${bar} ${part}  ${job.taskName} ${job.id}  attempt ${job.attempts}, ${since}`,
  );
}

function workerLines(workers: readonly WorkerInfo[], nowMs: number): readonly string[] {
  if (workers.length === 0) return [];
  const rows = workers.map(({ label, queues, running, startedMs, beatMs }) => [
    ...[`  ${label}`, queues.join(","), `${running} running`],
    `up ${formatMs(Math.max(0, nowMs - startedMs))}`,
    `heard ${formatMs(Math.max(0, nowMs - beatMs))} ago`,
  ]);
  // Without a head: the part has one.
  return table(["", "", "", "", ""], rows, "").split("\n").slice(1);
}

function letterLine({ id, taskName, error, failedAt }: JobDeadLetter, nowMs: number): string {
  const since = formatMs(Math.max(0, nowMs - failedAt));
  return visible(`  ✕ ${taskName} ${id}  ${since} ago: ${error}`);
}

function fitted(parts: readonly (readonly string[])[], rows: number): readonly string[] {
  const kept = parts.map((part) => part.length);
  const total = (): number => kept.reduce((sum, count) => sum + count, 0);
  while (total() > rows) {
    const longest = kept.indexOf(Math.max(...kept));
    if ((kept[longest] ?? 0) <= 1) break;
    kept[longest] = (kept[longest] ?? 0) - 1;
  }
  return parts.flatMap((part, at) => {
    const count = kept[at] ?? 0;
    if (count === part.length) return part;
    const left = part.length - count + 1;
    return count <= 1 ? part.slice(0, 1) : [...part.slice(0, count - 1), `  … ${left} more`];
  });
}

function cut(line: string, columns: number): string {
  const characters = Array.from(line);
  return characters.length <= columns ? line : `${characters.slice(0, columns - 1).join("")}…`;
}
