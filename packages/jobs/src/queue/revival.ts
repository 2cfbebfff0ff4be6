/** A dead letter is replayed: it gets another chance, and with it the jobs that its death had cancelled. */
import { FabricError } from "@selvage/fabric";
import { isEnd, PHASES, type JobRow } from "./job-record.ts";
import { inputsOf, move, unfold } from "./lifecycle.ts";
import { tell, type Turn } from "./turn.ts";

/**
 * Gives a dead job its retries anew and revives what only waits for it. What has completed is not run again.
 * @throws FabricError `CONFLICT`: another unfinished job has its unique key; `NOT_FOUND`: a result that it is made of is gone.
 */
export function revive(turn: Turn, job: JobRow): void {
  const { tx, nowMs } = turn;
  // Looked at before anything is written: a refused replay leaves all as it was.
  checkRevivable(turn, job);
  Object.assign(job, {
    retriesLeft: job.spec.retries,
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
  dropKeyless(turn, candidates);
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

function checkRevivable({ tx }: Turn, { id, uniqueKey, spec }: JobRow): void {
  const held = uniqueKey === null ? undefined : tx.jobByKey(uniqueKey);
  if (held !== undefined)
    throw new FabricError(
      "CONFLICT",
      `Cannot replay the job ${id}: the job ${held.id} has its unique key, and has not ended`,
      { job: id, holder: held.id },
    );
  for (const input of inputsOf(spec))
    if (tx.jobById(input) === undefined)
      throw new FabricError(
        "NOT_FOUND",
        `Cannot replay the job ${id}: the job ${input}, whose result it is made of, was purged`,
        { job: id, input },
      );
}

// Of jobs with one key one is unfinished at most: where there is such a one by now, theirs stay cancelled.
function dropKeyless({ tx }: Turn, candidates: Map<number, JobRow>): void {
  const taken = new Set<string>();
  for (const [seq, { uniqueKey }] of candidates) {
    if (uniqueKey === null) continue;
    if (taken.has(uniqueKey) || tx.jobByKey(uniqueKey) !== undefined) candidates.delete(seq);
    taken.add(uniqueKey);
  }
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
