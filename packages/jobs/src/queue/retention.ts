/** How long ended jobs are kept. */
import { isEnd, type JobRow, type JobStatus } from "./job-record.ts";
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
  const gone = purgeable(turn, status, endedByMs, limit);
  if (!isDryRun) for (const job of gone) forget(turn, job);
  return gone.map(({ id }) => id);
}

// However many have to be kept, those behind them are found.
function purgeable(
  turn: Turn,
  status: JobStatus,
  endedByMs: number,
  limit: number,
): readonly JobRow[] {
  if (limit <= 0) return [];
  for (let looked = limit; ; looked *= 2) {
    const seqs = turn.tx.endedBy(status, endedByMs, looked);
    const found = seqs.flatMap((seq) => {
      const job = turn.tx.jobAt(seq);
      return job !== undefined && isPurgeable(turn, job) ? [job] : [];
    });
    if (found.length >= limit || seqs.length < looked) return found.slice(0, limit);
  }
}

function isPurgeable({ tx }: Turn, { seq, owner }: JobRow): boolean {
  if (owner !== null) return false;
  return !tx.childrenOf(seq).some((child) => {
    const waiting = tx.jobAt(child);
    return waiting !== undefined && !isEnd(waiting.phase);
  });
}
