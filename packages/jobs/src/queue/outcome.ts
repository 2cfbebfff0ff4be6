/** What becomes of a job when an attempt at it has ended. */
import { FabricError } from "@selvage/fabric";
import type { BodyEnd, JobAttempt } from "./job-attempt.ts";
import { PHASES, type Payload } from "./job-record.ts";
import {
  claimed,
  complete,
  fail,
  failureOf,
  handBack,
  letGo,
  type ClaimToken,
} from "./lifecycle.ts";
import { eventBase } from "./queue-events.ts";
import type { Turn } from "./turn.ts";

/** Why a body is told to stop. */
export type Halt = "timed-out" | "cancelled" | "stopped" | "lost";

/** What an attempt came to, as its worker counts it. */
export type Outcome = "completed" | "failed" | "handedBack";

/** How an attempt ended. */
export interface AttemptEnd {
  readonly ended: BodyEnd;
  /** Where the result stands, if there is one. */
  readonly payload: Payload | undefined;
  readonly halt: Halt | undefined;
}

/** Writes what an attempt came to; undefined when its claim is over: then it counts for nothing. */
export function settle(turn: Turn, attempt: JobAttempt, end: AttemptEnd): Outcome | undefined {
  const { ended, payload, halt } = end;
  const job = claimed(turn, attempt.claim);
  if (job === undefined) return refuse(turn, attempt.claim);
  if (halt === "stopped" && "error" in ended) {
    handBack(turn, job);
    return "handedBack";
  }
  if (halt !== "timed-out" && payload !== undefined) {
    if (payload.kind === "blocks") turn.tx.keepBlocks(payload.blocks);
    complete(turn, job, payload);
    return "completed";
  }
  const isLate = halt === "timed-out" || !("error" in ended);
  const error = isLate ? timedOut(job.id, job.spec.timeoutMs) : ended.error;
  fail(turn, job, {
    failure: failureOf(error, job.attempts, turn.nowMs),
    retryAfterMs: attempt.retryAfterMs(error, isLate || ended.retries),
  });
  return "failed";
}

/** Late: the job has another claim, or has ended. One that ended for its body's sake is let go. */
export function refuse(turn: Turn, { seq, owner, epoch }: ClaimToken): undefined {
  const job = turn.tx.jobAt(seq);
  if (job === undefined) return;
  if (job.owner === owner && job.phase !== PHASES.running) letGo(turn, job);
  const { nowMs } = turn;
  turn.told.push({ type: "refused", attempt: job.attempts, epoch, ...eventBase(job, nowMs) });
}

/** An attempt took longer than it may. */
export function timedOut(id: string, timeoutMs: number): FabricError {
  return new FabricError("TIMED_OUT", `The attempt at job ${id} took longer than ${timeoutMs} ms`, {
    job: id,
    timeoutMs,
  });
}
