/** What a worker is told, what it has in hand, and what it did. */
import type { JobAttempt } from "./job-attempt.ts";
import type { Halt } from "./outcome.ts";

/** What a worker did. */
export interface WorkerResult {
  /** `"drained"`: all that it had begun has ended. `"handed-back"`: some of it waits for another worker now. */
  readonly status: "drained" | "handed-back";
  readonly completed: number;
  /** Attempts that failed. */
  readonly failed: number;
  readonly handedBack: number;
}

/** What a worker is told, all of it. */
export interface ResolvedWorker {
  readonly queues: () => readonly string[];
  readonly concurrency: number;
  readonly drainMs: number;
}

/** An attempt, as its worker has it in hand. */
export interface Running {
  readonly attempt: JobAttempt;
  /** Its body has ended, or does not count any more: there is room for another. */
  hasSettled: boolean;
  halt: Halt | undefined;
  readonly timers: (() => void)[];
}
