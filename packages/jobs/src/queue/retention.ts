/** How long ended jobs are kept. */
import { isEnd, type JobStatus } from "./job-record.ts";
import { forget } from "./lifecycle.ts";
import type { Retention } from "./queue-options.ts";
import type { Turn } from "./turn.ts";

/** How many jobs a sweep forgets in one transaction. */
const forgottenMax = 200;

/** Forgets ended jobs whose time is over, and what payloads nobody took over. */
export function sweepRetained(turn: Turn, retention: Required<Retention>): number {
  turn.tx.sweepBlocks(turn.nowMs);
  let gone = 0;
  for (const [status, keptMs] of Object.entries(retention) as [JobStatus, number | null][])
    if (keptMs !== null)
      gone += purgeEnded(turn, status, turn.nowMs - keptMs, forgottenMax - gone).length;
  return gone;
}

/**
 * Forgets jobs of a status that ended by `endedByMs`, `limit` at most, and returns their ids. A completed job that one still waits with
 * is kept: its result will be read.
 */
export function purgeEnded(
  turn: Turn,
  status: JobStatus,
  endedByMs: number,
  limit: number,
  isDryRun = false,
): readonly string[] {
  const { tx } = turn;
  const ids: string[] = [];
  for (const seq of limit > 0 ? tx.endedBy(status, endedByMs, limit) : []) {
    const job = tx.jobAt(seq);
    if (job === undefined || job.owner !== null) continue;
    const isWaitedFor = tx.childrenOf(seq).some((child) => {
      const waiting = tx.jobAt(child);
      return waiting !== undefined && !isEnd(waiting.phase);
    });
    if (isWaitedFor) continue;
    ids.push(job.id);
    if (!isDryRun) forget(turn, job);
  }
  return ids;
}
