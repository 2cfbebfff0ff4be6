/** What a run knows of each of its tasks. */
import { FabricError, type Random } from "@selvage/fabric";
import { randomFraction, resolveRetryPolicy, retryDelayMs } from "@selvage/leasekit";
import type { PlannedTask } from "../graph/execution-plan.ts";
import type { AttemptError, TaskResult } from "./execution-result.ts";
import type { TaskOutcome, TaskStatus } from "../machine/run-machine.ts";

/** A wait between two attempts: over when its time is up, and the body of the last attempt has ended. */
interface Pause {
  isDue: boolean;
  isLeft: boolean;
  readonly stop: () => void;
}

/** One task's book. */
export interface TaskBook {
  /** Its place in the plan, and its number in the machine. */
  readonly index: number;
  readonly task: PlannedTask;
  status: TaskStatus;
  attempts: number;
  errors: AttemptError[];
  because: string | undefined;
  startedAtMs: number | undefined;
  endedAtMs: number | undefined;
  pause: Pause | undefined;
}

const none: AttemptError[] = [];

/** A book of a task that has not started. */
export function openBook(task: PlannedTask, index: number): TaskBook {
  return {
    index,
    task,
    status: "pending",
    attempts: 0,
    errors: none,
    because: undefined,
    startedAtMs: undefined,
    endedAtMs: undefined,
    pause: undefined,
  };
}

/** Adds a failed attempt. */
export function noteError(book: TaskBook, error: AttemptError): void {
  // Books of a million tasks share one empty list.
  if (book.errors === none) book.errors = [error];
  else book.errors.push(error);
}

/** Answers which tasks may still read an output, by their names. */
export function readersIn(books: readonly TaskBook[]): (output: string) => string[] {
  const readersOf = new Map<string, TaskBook[]>();
  for (const book of books)
    for (const { name } of book.task.inputs) {
      const readers = readersOf.get(name);
      if (readers === undefined) readersOf.set(name, [book]);
      else readers.push(book);
    }
  return (output) =>
    (readersOf.get(output) ?? []).filter((book) => !isOver(book)).map(({ task }) => task.name);
}

/** How long a failed task waits for its next attempt, in milliseconds; undefined: there is none. @throws what `retryOn` threw. */
export function retryDelayOf(book: TaskBook, error: unknown, random: Random): number | undefined {
  const { retries = 0, backoff } = book.task.def;
  if (retries === 0) return undefined;
  const fraction = randomFraction(random);
  return retryDelayMs(resolveRetryPolicy({ ...backoff, retries }), book.attempts, error, fraction);
}

/** What ends an attempt, or a run, whose time is up. */
export function late(what: string, timeoutMs: number, task?: string): FabricError {
  return new FabricError("TIMED_OUT", `${what} did not end within ${timeoutMs} ms`, {
    timeoutMs,
    ...(task === undefined ? {} : { task }),
  });
}

function isOver({ status }: TaskBook): boolean {
  return status !== "pending" && status !== "running" && status !== "waiting";
}

/** A closed book, as the run's result shows it. */
export function toResult(book: TaskBook): TaskResult {
  const { task, attempts, errors, because, startedAtMs, endedAtMs } = book;
  const last = errors.at(-1);
  const status = book.status as TaskOutcome;
  return {
    name: task.name,
    status,
    retriesUsed: Math.max(0, attempts - 1),
    attempts,
    errors,
    startedAtMs,
    endedAtMs,
    ...(last === undefined || status === "succeeded" ? {} : { error: last.error }),
    ...(because === undefined ? {} : { because }),
  };
}

/** How many tasks ended in each outcome. */
export function tally(tasks: readonly TaskResult[]): Record<TaskOutcome, number> {
  const counts = { succeeded: 0, failed: 0, skipped: 0, cancelled: 0, timedOut: 0 };
  for (const { status } of tasks) counts[status]++;
  return counts;
}
