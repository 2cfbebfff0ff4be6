/** A dead letter is replayed: it gets another chance, and with it the jobs that its death had cancelled. */
import { isEnd, PHASES, type JobRow } from "./job-record.ts";
import { move, unfold } from "./lifecycle.ts";
import { tell, type Turn } from "./turn.ts";

/** Gives a dead job `retries` anew and revives what only waits for it. What has completed is not run again. */
export function revive(turn: Turn, job: JobRow, retries: number): void {
  const { tx, nowMs } = turn;
  Object.assign(job, {
    retriesLeft: retries,
    because: null,
    endedMs: null,
    progress: 0,
    dueMs: nowMs,
  });
  move(turn, job, job.spec.fan === undefined ? PHASES.ready : PHASES.blocked);
  tell(turn, job, { type: "revived" });
  const candidates = new Map<number, JobRow>();
  for (const seq of tx.cancelledBy(job.id)) {
    const child = tx.jobAt(seq);
    if (child !== undefined) candidates.set(seq, child);
  }
  dropHopeless(turn, candidates);
  for (const child of candidates.values()) {
    Object.assign(child, { because: null, root: null, endedMs: null });
    child.blockers = tx
      .parentsOf(child.seq)
      .filter((seq) => (candidates.get(seq) ?? tx.jobAt(seq))?.phase !== PHASES.complete).length;
    move(turn, child, PHASES.blocked);
    tell(turn, child, { type: "revived" });
  }
  // What a fan waited for was there when it died: no worker runs it.
  if (job.spec.fan !== undefined) unfold(turn, job);
}

// Jobs that another failed job keeps from running stay cancelled, and are that one's to revive from now on.
function dropHopeless(turn: Turn, candidates: Map<number, JobRow>): void {
  const { tx } = turn;
  let found = true;
  while (found) {
    found = false;
    for (const [seq, child] of candidates) {
      const failed = tx
        .parentsOf(seq)
        .filter((parent) => !candidates.has(parent))
        .map((parent) => tx.jobAt(parent))
        .find(
          (parent) =>
            parent === undefined || (isEnd(parent.phase) && parent.phase !== PHASES.complete),
        );
      if (failed === undefined) continue;
      candidates.delete(seq);
      found = true;
      child.root = failed.root ?? failed.id;
      child.because = `dependency ${failed.phase === PHASES.dead ? "dead" : "cancelled"}: ${child.root}`;
      tx.saveJob(child, child.phase);
    }
  }
}
