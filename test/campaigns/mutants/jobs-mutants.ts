/** Rules of the job queue: whose a claim is, what an end means for others, and who gives up whom. */
import { mutantsOf, type Mutant } from "./mutant.ts";

const queue = "packages/jobs/src/queue";
const lifecycle = `${queue}/lifecycle.ts`;
const claims = `${queue}/claims.ts`;
const worker = `${queue}/job-worker.ts`;
const outcome = `${queue}/outcome.ts`;
const revival = `${queue}/revival.ts`;
const jobs = mutantsOf("jobs");

/** See above. */
export const jobsMutants: readonly Mutant[] = [
  jobs(
    "B1",
    "what waits for a job that expired is not told",
    lifecycle,
    "  else cascade(turn, job, phase === PHASES.dead",
    '  else if (job.because !== "expired") cascade(turn, job, phase === PHASES.dead',
  ),
  jobs(
    "B1",
    "what waits for a job is told in another transaction",
    lifecycle,
    '  else cascade(turn, job, phase === PHASES.dead ? "dead" : (job.because ?? "cancelled"));',
    '  else Promise.resolve().then(() => cascade(turn, job, phase === PHASES.dead ? "dead" : (job.because ?? "cancelled")));',
  ),
  jobs(
    "B1",
    "only what waits for a job at first hand is told of its end",
    lifecycle,
    "    open.push(...tx.childrenOf(seq));\n",
    "",
  ),
  jobs(
    "B1",
    "what waits for a job that is purged is not told",
    lifecycle,
    '  else cascade(turn, job, "purged");\n',
    "",
  ),
  jobs(
    "B1",
    "a worker that was given up goes on claiming",
    claims,
    "if (picked.length > 0 && !isKnown(turn, appetite)) return undefined;",
    "if (picked.length > 0 && turn.nowMs < 0) return isKnown(turn, appetite) as never;",
  ),
  jobs(
    "B1",
    "the cancellation of a job that runs is forgotten",
    lifecycle,
    "  job.isCancelling = true;\n",
    "",
  ),
  jobs(
    "B1",
    "a revived job waits for as many as when it was cancelled",
    revival,
    "    child.blockers = tx\n      .parentsOf(child.seq)\n      .filter(",
    "    tx\n      .parentsOf(child.seq)\n      .filter(",
  ),
  jobs(
    "B2",
    "whoever says that a job is done is believed",
    lifecycle,
    "job.phase === PHASES.running && job.owner === owner && job.epoch === epoch;",
    "job.phase === PHASES.running && owner !== null && epoch > 0;",
  ),
  jobs("B2", "a claim does not raise the epoch", claims, "  job.epoch++;\n", ""),
  jobs(
    "B2",
    "a loss does not raise the epoch",
    lifecycle,
    '  job.epoch++;\n  tell(turn, job, { type: "lost", worker });',
    '  tell(turn, job, { type: "lost", worker });',
  ),
  jobs(
    "B2",
    "a job that is handed back keeps its epoch",
    lifecycle,
    "  // Whoever still works at it is refused from now on.\n  job.epoch++;\n",
    "",
  ),
  jobs(
    "B2",
    "a replay revives what a purged job's result was for",
    lifecycle,
    "    job.root = null;\n",
    "",
  ),
  jobs("B3", "an attempt is not counted when it begins", claims, "  job.attempts++;\n", ""),
  jobs("B3", "a loss spends no retry", lifecycle, "  job.retriesLeft--;\n", ""),
  jobs(
    "B3",
    "a hand-back spends a retry",
    lifecycle,
    "  // Whoever still works at it is refused from now on.\n  job.epoch++;\n",
    "  job.epoch++;\n  job.retriesLeft--;\n",
  ),
  jobs(
    "B4",
    "a worker gives up itself, and others of its process",
    worker,
    "({ id }) => !this.#core.ownWorkers.has(id)",
    "({ id }) => !this.#core.ownWorkers.has(`${id} of another`)",
  ),
  jobs(
    "B4",
    "a task's limit is not looked at",
    claims,
    "most : Math.max(0, most - tx.runningOfTask(name));",
    "most : Math.max(0, most - 0 * tx.runningOfTask(name));",
  ),
  jobs(
    "B4",
    "a body that goes on after its time gives its place away",
    lifecycle,
    "  job.owner = owner;\n  move(turn, job, job.phase);\n",
    "  move(turn, job, owner === null ? job.phase : job.phase);\n",
  ),
  jobs(
    "B4",
    "a body that goes on after its time keeps its place for ever",
    outcome,
    "if (job.owner === owner && job.phase !== PHASES.running) letGo(turn, job);",
    "if (job.owner === owner && job.phase === PHASES.running) letGo(turn, job);",
  ),
  jobs(
    "B4",
    "a job whose body goes on after its time is tried again",
    worker,
    "if (job !== undefined) overrun(turn, job, failureOf(error, job.attempts, turn.nowMs));",
    "if (job !== undefined) fail(turn, job, { failure: failureOf(error, job.attempts, turn.nowMs), retryAfterMs: overrun.length * 0 });",
  ),
  jobs(
    "B4",
    "a key that is taken is not looked for",
    lifecycle,
    "request.uniqueKey === null ? undefined : tx.jobByKey(request.uniqueKey);",
    "request.uniqueKey !== null ? undefined : tx.jobByKey('');",
  ),
  jobs("B4", "an expired job begins", claims, "if (expire(turn)) return", "if (false) return"),
  jobs(
    "B5",
    "silence is measured by the clock on the wall",
    worker,
    "this.#watch.look(others, this.#core.monotonicMs());",
    "this.#watch.look(others, this.#core.ports.clock.nowMs());",
  ),
  jobs(
    "B5",
    "a worker is given up after a part of its TTL",
    claims,
    "return seen.silentMs >= leaseMs;",
    "return seen.silentMs >= leaseMs / 9;",
  ),
  jobs(
    "B5",
    "nobody gives up anybody",
    worker,
    "    if (silent.length === 0) return;\n",
    "    if (silent.length >= 0) return;\n",
  ),
];
