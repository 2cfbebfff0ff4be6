/**
 * The life of a job: every change of state there is, each a step of one transaction, with all that it means for other jobs. A
 * job never ends without those that wait for it being told in the same transaction, so that none waits for ever.
 */
import { FabricError, toWire } from "@selvage/fabric";
import {
  isEnd,
  PHASES,
  type AttemptFailure,
  type JobRow,
  type JobSpec,
  type Payload,
  type Phase,
} from "./job-record.ts";
import { snapshotOf, type JobSnapshot } from "./job-snapshot.ts";
import { keepPayload, payloadBytes, tell, type Turn } from "./turn.ts";

/** A job that is wanted. */
export interface JobRequest {
  readonly task: string;
  readonly queue: string;
  readonly args: Payload;
  readonly spec: JobSpec;
  readonly priority: number;
  /** Not before, in milliseconds since the Unix epoch. */
  readonly dueMs: number;
  readonly expiresMs: number | null;
  readonly uniqueKey: string | null;
  readonly dependsOn: readonly string[];
  readonly metadata: string | null;
  readonly notes: string | null;
}

/** Adds a job, or finds the unfinished one that holds its unique key. @throws FabricError `NOT_FOUND`, `CONFLICT`. */
export function enqueue(turn: Turn, request: JobRequest): JobSnapshot {
  const { tx, nowMs } = turn;
  const held = request.uniqueKey === null ? undefined : tx.jobByKey(request.uniqueKey);
  if (held !== undefined) {
    if (request.args.kind === "blocks") tx.deleteBlocks(request.args.blocks);
    return snapshotOf(tx, held);
  }
  // Looked at before anything is written: a refused job leaves nothing.
  const parents = parentsOf(turn, request);
  if (request.args.kind === "blocks") tx.keepBlocks(request.args.blocks);
  const job = insert(turn, request, parents);
  for (const { seq } of parents) tx.addDependency(seq, job.seq);
  tell(turn, job, { type: "enqueued" });
  if (job.blockers === 0 && job.spec.fan !== undefined) unfold(turn, job);
  else if (job.expiresMs !== null && job.expiresMs <= nowMs)
    end(turn, job, PHASES.cancelled, "expired");
  return { row: job, dependencies: parents.map(({ id }) => id), dependents: [], errors: [] };
}

function parentsOf(turn: Turn, { dependsOn, spec, task }: JobRequest): readonly JobRow[] {
  const ids = new Set([...dependsOn, ...inputsOf(spec)]);
  return [...ids].map((id) => {
    const parent = turn.tx.jobById(id);
    if (parent === undefined)
      throw new FabricError("NOT_FOUND", `Cannot enqueue "${task}": there is no job ${id}`, {
        task,
        dependency: id,
      });
    if (isEnd(parent.phase) && parent.phase !== PHASES.complete)
      throw new FabricError(
        "CONFLICT",
        `Cannot enqueue "${task}": the job ${id}, which it depends on, will not complete`,
        { task, dependency: id },
      );
    return parent;
  });
}

function insert(turn: Turn, request: JobRequest, parents: readonly JobRow[]): JobRow {
  const { nowMs } = turn;
  const blockers = parents.filter(({ phase }) => phase !== PHASES.complete).length;
  // Member by member, which all jobs are made by: V8 copies rests and spreads much more slowly.
  const job = {
    seq: 0,
    id: turn.nextId(),
    task: request.task,
    queue: request.queue,
    priority: request.priority,
    createdMs: nowMs,
    spec: request.spec,
    args: request.args,
    metadata: request.metadata,
    notes: request.notes,
    uniqueKey: request.uniqueKey,
    expiresMs: request.expiresMs,
    phase: blockers > 0 ? PHASES.blocked : waiting(request.dueMs, nowMs),
    dueMs: request.dueMs,
    blockers,
    attempts: 0,
    retriesLeft: request.spec.retries,
    epoch: 0,
    owner: null,
    isCancelling: false,
    progress: 0,
    startedMs: null,
    endedMs: null,
    because: null,
    root: null,
    result: null,
  };
  job.seq = turn.tx.insertJob(job);
  return job;
}

function waiting(dueMs: number, nowMs: number): Phase {
  return dueMs > nowMs ? PHASES.delayed : PHASES.ready;
}

/** Saves a job in a new phase. */
export function move(turn: Turn, job: JobRow, phase: Phase): void {
  const before = job.phase;
  job.phase = phase;
  turn.tx.saveJob(job, before);
}

/** A claim, as whoever holds it shows it. */
export interface ClaimToken {
  readonly seq: number;
  readonly owner: string;
  readonly epoch: number;
}

/** The job, if the claim still stands. */
export function claimed({ tx }: Turn, { seq, owner, epoch }: ClaimToken): JobRow | undefined {
  const job = tx.jobAt(seq);
  const stands =
    job !== undefined && job.phase === PHASES.running && job.owner === owner && job.epoch === epoch;
  return stands ? job : undefined;
}

/** A claimed job's result is in. */
export function complete(turn: Turn, job: JobRow, result: Payload): void {
  job.result = result;
  job.progress = 100;
  job.owner = null;
  job.isCancelling = false;
  finish(turn, job, PHASES.complete);
  tell(turn, job, { type: "completed", attempt: job.attempts });
}

/** How an attempt failed, and what is to become of the job. */
export interface FailedAttempt {
  readonly failure: AttemptFailure;
  /** Wait before the next attempt in milliseconds; undefined: there is none. */
  readonly retryAfterMs: number | undefined;
}

/** A claimed job's attempt failed: it is tried again, or it is dead. */
export function fail(turn: Turn, job: JobRow, { failure, retryAfterMs }: FailedAttempt): void {
  const { tx, nowMs } = turn;
  tx.addFailure(job.seq, failure);
  job.owner = null;
  if (job.isCancelling) return end(turn, job, PHASES.cancelled, "cancelled");
  const { attempts: attempt } = job;
  if (retryAfterMs === undefined || job.retriesLeft === 0) {
    end(turn, job, PHASES.dead, failure.error);
    return tell(turn, job, { type: "dead", attempt, error: failure.error });
  }
  job.retriesLeft--;
  job.dueMs = nowMs + retryAfterMs;
  job.progress = 0;
  move(turn, job, waiting(job.dueMs, nowMs));
  tell(turn, job, { type: "retrying", attempt, error: failure.error, dueMs: job.dueMs });
}

/** A claimed job goes back as it was, without a retry being spent: its worker stops. */
export function handBack(turn: Turn, job: JobRow): void {
  job.owner = null;
  // Whoever still works at it is refused from now on.
  job.epoch++;
  if (job.isCancelling) return end(turn, job, PHASES.cancelled, "cancelled");
  job.progress = 0;
  move(turn, job, waiting(job.dueMs, turn.nowMs));
  tell(turn, job, { type: "handed-back" });
}

/** A claimed job's worker was given up. */
export function lose(turn: Turn, job: JobRow, worker: string): void {
  job.epoch++;
  tell(turn, job, { type: "lost", worker });
  const error = new FabricError("LEASE_EXPIRED", `The worker ${worker} was silent for too long`, {
    worker,
  });
  fail(turn, job, {
    failure: failureOf(error, job.attempts, turn.nowMs),
    // At once: the wait for the worker was long enough.
    retryAfterMs: 0,
  });
}

/**
 * A claimed job ends although its body could not be stopped: it is not tried again, lest two bodies run. Its worker goes on
 * having it, so that it counts for limits until it is let go.
 */
export function overrun(turn: Turn, job: JobRow, failure: AttemptFailure): void {
  const { owner, attempts: attempt } = job;
  turn.tx.addFailure(job.seq, failure);
  if (job.isCancelling) end(turn, job, PHASES.cancelled, "cancelled");
  else {
    end(turn, job, PHASES.dead, failure.error);
    tell(turn, job, { type: "dead", attempt, error: failure.error });
  }
  job.owner = owner;
  move(turn, job, job.phase);
}

/** The body of a job that has ended is over at last: it counts for no limit any more. */
export function letGo(turn: Turn, job: JobRow): void {
  job.owner = null;
  move(turn, job, job.phase);
}

/** What someone's cancellation did. */
export type Cancellation = "cancelled" | "cancelling" | "over";

/** Cancels a job that waits; asks the worker of one that runs. */
export function cancel(turn: Turn, job: JobRow, because = "cancelled"): Cancellation {
  if (isEnd(job.phase)) return "over";
  if (job.phase !== PHASES.running) {
    end(turn, job, PHASES.cancelled, because);
    return "cancelled";
  }
  job.isCancelling = true;
  move(turn, job, PHASES.running);
  return "cancelling";
}

/** Ends a job in another way than with a result, and with it all that waits for it. */
function end(turn: Turn, job: JobRow, phase: Phase, because: string): void {
  job.because = because;
  job.owner = null;
  job.isCancelling = false;
  finish(turn, job, phase);
  if (phase === PHASES.cancelled) tell(turn, job, { type: "cancelled", because });
  if (job.spec.fan !== undefined) endItems(turn, job, because);
}

/** What waits for a job that is about to be forgotten cannot run. */
export function forget(turn: Turn, job: JobRow): void {
  if (!isEnd(job.phase)) end(turn, job, PHASES.cancelled, "purged");
  else cascade(turn, job, "purged");
  barRevival(turn, job);
  turn.tx.deleteJob(job);
}

// What was cancelled for another's sake, and waited for this one too, would come back without having waited, or without its result.
function barRevival({ tx }: Turn, { id, seq, phase, spec }: JobRow): void {
  for (const child of tx.childrenOf(seq)) {
    const job = tx.jobAt(child);
    if (job?.phase !== PHASES.cancelled || job.root === null) continue;
    const isItem = spec.item !== undefined && job.spec.fan !== undefined;
    if (phase === PHASES.complete && !isItem && !inputsOf(job.spec).includes(id)) continue;
    job.root = null;
    tx.saveJob(job, job.phase);
  }
}

/** Ids of the jobs whose results a job is made of. */
export function inputsOf({ inputs = [], fan }: JobSpec): readonly string[] {
  const ids = inputs.flatMap(({ jobs }) => jobs);
  return fan === undefined ? ids : [...ids, fan.items];
}

function finish(turn: Turn, job: JobRow, phase: Phase): void {
  job.endedMs = turn.nowMs;
  move(turn, job, phase);
  if (phase === PHASES.complete) release(turn, job);
  else cascade(turn, job, phase === PHASES.dead ? "dead" : (job.because ?? "cancelled"));
}

/** A job completed: what waited for nothing else can start. */
function release(turn: Turn, { seq }: JobRow): void {
  for (const child of turn.tx.childrenOf(seq)) {
    const job = turn.tx.jobAt(child);
    if (job?.phase !== PHASES.blocked) continue;
    job.blockers--;
    if (job.blockers > 0) move(turn, job, PHASES.blocked);
    else if (job.spec.fan !== undefined) unfold(turn, job);
    else move(turn, job, waiting(job.dueMs, turn.nowMs));
  }
}

/** Cancels all that waits for a job, directly or not, naming it as the cause. */
function cascade(turn: Turn, root: JobRow, how: string): void {
  const { tx, nowMs } = turn;
  const because = `dependency ${how}: ${root.id}`;
  const open = [...tx.childrenOf(root.seq)];
  for (let seq = open.pop(); seq !== undefined; seq = open.pop()) {
    const job = tx.jobAt(seq);
    if (job?.phase !== PHASES.blocked) continue;
    Object.assign(job, { because, root: root.id, endedMs: nowMs });
    move(turn, job, PHASES.cancelled);
    tell(turn, job, { type: "cancelled", because });
    open.push(...tx.childrenOf(seq));
  }
}

// Items of a fan that nobody waits for any more.
function endItems(turn: Turn, fan: JobRow, because: string): void {
  for (const seq of turn.tx.parentsOf(fan.seq)) {
    const item = turn.tx.jobAt(seq);
    if (item?.spec.item !== undefined && !isEnd(item.phase)) cancel(turn, item, because);
  }
}

/**
 * A fan whose items are known becomes one job an item, or, when those are done, a list of their results. Both happen in the
 * transaction that completes what it waited for: no crash can come in between.
 */
export function unfold(turn: Turn, fan: JobRow): void {
  try {
    if (fan.startedMs === null) fanOut(turn, fan);
    else complete(turn, fan, keepPayload(turn, turn.codec.encode(fanIn(turn, fan))));
  } catch (thrown) {
    const failure = failureOf(thrown, 1, turn.nowMs);
    turn.tx.addFailure(fan.seq, failure);
    end(turn, fan, PHASES.dead, failure.error);
    tell(turn, fan, { type: "dead", attempt: 1, error: failure.error });
  }
}

function fanOut(turn: Turn, fan: JobRow): void {
  const { tx, codec } = turn;
  const { fan: wanted, inputs: _, ...spec } = fan.spec;
  const { task, items: source } = wanted as NonNullable<JobSpec["fan"]>;
  const items = valueOf(turn, tx.jobById(source));
  if (!Array.isArray(items))
    throw new FabricError(
      "INVALID_ARGUMENT",
      `Cannot fan out: the result of ${source} is no array`,
      {
        task,
      },
    );
  // All of them first: one that cannot be said in bytes leaves no half of a fan.
  const encoded = items.map((item) => codec.encode([item]));
  fan.startedMs = turn.nowMs;
  encoded.forEach((bytes, index) => {
    const args = keepPayload(turn, bytes);
    const { queue, priority, expiresMs } = fan;
    const item = insert(
      turn,
      {
        ...{ task, queue, args, priority, expiresMs },
        ...{ dueMs: fan.dueMs, uniqueKey: null, dependsOn: [], metadata: null, notes: null },
        spec: { ...spec, item: index },
      },
      [],
    );
    tx.addDependency(item.seq, fan.seq);
    tell(turn, item, { type: "enqueued" });
  });
  fan.blockers = encoded.length;
  if (fan.blockers > 0) return move(turn, fan, PHASES.blocked);
  complete(turn, fan, keepPayload(turn, codec.encode([])));
}

function fanIn(turn: Turn, fan: JobRow): readonly unknown[] {
  const items = turn.tx.parentsOf(fan.seq).flatMap((seq) => {
    const job = turn.tx.jobAt(seq);
    return job?.spec.item === undefined ? [] : [job];
  });
  items.sort((a, b) => (a.spec.item as number) - (b.spec.item as number));
  return items.map((item) => valueOf(turn, item));
}

function valueOf(turn: Turn, job: JobRow | undefined): unknown {
  const result = job?.result;
  const bytes = result === undefined || result === null ? undefined : payloadBytes(turn.tx, result);
  if (job === undefined || bytes === undefined)
    throw new FabricError("NOT_FOUND", "The result of a job that this one depends on is gone", {});
  return bytes.length === 0 ? undefined : turn.codec.decode(bytes);
}

/** What is kept of what an attempt threw. */
export function failureOf(thrown: unknown, attempt: number, failedAt: number): AttemptFailure {
  const { message, name, code, stack } = toWire(thrown);
  return { attempt, error: message, failedAt, name, code, stack };
}
