/** What worker processes of a queue write of themselves: lines that are appended whole, in the order in which all of them wrote. */
import { closeSync, openSync, readFileSync } from "node:fs";
import type { JobBodyContext } from "selvage";

/** Which claim made a result, and of which claims' results. */
export interface Stamp {
  readonly job: string;
  readonly epoch: number;
}

/** A job's result. */
export interface Made extends Stamp {
  readonly attempt: number;
  readonly of: readonly Stamp[];
}

/** A body begins; its process dies with it or it ends. */
export interface BeganLine {
  readonly began: string;
  readonly task: string;
  readonly pid: number;
  readonly epoch: number;
  readonly attempt: number;
}

/** A body is over: what it returns is not committed yet. */
interface OverLine {
  readonly over: string;
  readonly task: string;
  readonly pid: number;
  readonly epoch: number;
}

/** An event of a process's queue. */
export interface ToldLine {
  readonly told: string;
  readonly pid: number;
  readonly atMs: number;
  readonly jobId?: string;
  readonly attempt?: number;
  readonly epoch?: number;
  readonly worker?: string;
}

/** The parent is about to end a process. */
interface KillingLine {
  readonly killing: number;
  readonly atMs: number;
}

/** The parent saw a process end. */
export interface DiedLine {
  readonly died: number;
  readonly atMs: number;
  readonly how: string;
}

/** A line. */
export type LogLine = BeganLine | OverLine | ToldLine | KillingLine | DiedLine;

/** Opens a log to append to: each write is whole, and behind all that were before, in any process. */
export function openLog(path: string): { readonly fd: number } & Disposable {
  const fd = openSync(path, "a");
  return { fd, [Symbol.dispose]: () => closeSync(fd) };
}

/** A line's text. */
export function lineOf(line: LogLine): string {
  return `${JSON.stringify(line)}\n`;
}

/** The line of a body that begins. */
export function beganLine({ jobId, taskName, epoch, attempt }: JobBodyContext): string {
  return lineOf({ began: jobId, task: taskName, pid: process.pid, epoch, attempt });
}

/** Everything that was written. */
export function readLog(path: string): readonly LogLine[] {
  const lines = readFileSync(path, "utf8").split("\n");
  // Whole lines only: the last one may be under way.
  return lines.slice(0, -1).map((line) => JSON.parse(line) as LogLine);
}
