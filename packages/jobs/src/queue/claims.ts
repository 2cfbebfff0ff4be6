/** Who works at what: workers claim ready jobs, say that they are alive, and are given up when they no longer do. */
import { cancel, letGo, lose, move, type ClaimToken } from "./lifecycle.ts";
import { PHASES, type JobRow, type QueueRow, type WorkerRow } from "./job-record.ts";
import type { ReadyJob } from "./job-store.ts";
import { Allowance, type RateLimit } from "./rate-limit.ts";
import { payloadBytes, tell, type Turn } from "./turn.ts";

/** A task, as far as claiming goes. */
interface ClaimableTask {
  readonly name: string;
  /** Most of its jobs that run at a time, in all processes. */
  readonly maxConcurrent: number;
  readonly rate: RateLimit | undefined;
}

/** What a worker would take. */
export interface Appetite {
  readonly worker: string;
  /** In the order in which they are served. */
  readonly queues: readonly string[];
  readonly tasks: readonly ClaimableTask[];
  /** How many jobs it has room for. */
  readonly slots: number;
}

/** A job that a worker has claimed. */
export interface Claim extends ClaimToken {
  readonly job: JobRow;
  /** Encoded arguments; undefined when their blocks are gone. */
  readonly args: Uint8Array | undefined;
  /** Encoded results of the jobs that its arguments are made of, by id: of those that are there. Null is a job without a result. */
  readonly results: ReadonlyMap<string, Uint8Array | null>;
}

/** What there was to take. */
export interface Catch {
  readonly claims: readonly Claim[];
  /** When time alone lets something happen: a rate limit, a delayed job. The worker need not wait for its tick. */
  readonly nextMs: number | undefined;
}

/**
 * Claims as many jobs as there are slots for. Each attempt is counted here, before it begins. Undefined for a worker that others
 * have given up: nobody would ever give up what it took.
 */
export function claim(turn: Turn, appetite: Appetite): Catch | undefined {
  const claims: Claim[] = [];
  // What has expired does not begin, whether a tick came before or not.
  if (expire(turn)) return { claims, nextMs: turn.nowMs };
  const set = new Map(turn.tx.queues().map((queue) => [queue.name, queue]));
  const allowances = new Allowances(turn);
  for (const queue of appetite.queues) {
    const slots = appetite.slots - claims.length;
    if (slots <= 0) break;
    const picked = pick(turn, queue, set.get(queue), slots, appetite, allowances);
    if (picked.length > 0 && !isKnown(turn, appetite)) return undefined;
    for (const { seq } of picked) claims.push(take(turn, seq, appetite.worker));
  }
  allowances.save();
  const nextMs = Math.min(allowances.nextMs ?? Infinity, turn.tx.nextTimeMs() ?? Infinity);
  return { claims, nextMs: nextMs === Infinity ? undefined : nextMs };
}

function isKnown({ tx }: Turn, { worker }: Appetite): boolean {
  return tx.workers().some(({ id }) => id === worker);
}

function pick(
  turn: Turn,
  queue: string,
  set: QueueRow | undefined,
  slots: number,
  appetite: Appetite,
  allowances: Allowances,
): readonly ReadyJob[] {
  if (set?.isPaused === true) return [];
  const ofQueue = allowances.of(`queue:${queue}`, rateOf(set));
  const room = Math.min(slots, ofQueue.left, roomIn(turn, set));
  const heads: { readonly job: ReadyJob; readonly allowance: Allowance }[] = [];
  for (const task of appetite.tasks) {
    // One more than there is room for is looked for, so that a limit that holds something back is known to.
    const allowance = allowances.of(`task:${task.name}`, task.rate);
    const capped = Math.min(room, roomOf(turn, task));
    const wanted = Math.min(capped, allowance.left);
    const found = capped > 0 || ofQueue.left < 1 ? turn.tx.ready(queue, task.name, wanted + 1) : [];
    if (found.length > wanted) {
      if (allowance.left < 1) allowance.want();
      if (ofQueue.left < 1) ofQueue.want();
    }
    for (const job of found.slice(0, wanted)) heads.push({ job, allowance });
  }
  // Each task's jobs are in order; so is what they make together.
  if (appetite.tasks.length > 1) heads.sort(({ job: a }, { job: b }) => compare(a, b));
  const picked = heads.slice(0, room);
  for (const { allowance } of picked) {
    allowance.spend();
    ofQueue.spend();
  }
  return picked.map(({ job }) => job);
}

function compare(a: ReadyJob, b: ReadyJob): number {
  return b.priority - a.priority || a.dueMs - b.dueMs || a.seq - b.seq;
}

function roomIn({ tx }: Turn, set: QueueRow | undefined): number {
  const most = set?.maxConcurrent ?? Infinity;
  return most === Infinity ? most : Math.max(0, most - tx.runningOfQueue(set?.name as string));
}

function roomOf({ tx }: Turn, { name, maxConcurrent: most }: ClaimableTask): number {
  return most === Infinity ? most : Math.max(0, most - tx.runningOfTask(name));
}

function rateOf(set: QueueRow | undefined): RateLimit | undefined {
  if (set === undefined || set.ratePerSecond === null) return undefined;
  return { perSecond: set.ratePerSecond, burst: set.rateBurst ?? 1 };
}

/** The rate limits that a claim meets: read once, and saved where something was taken. */
class Allowances {
  readonly #turn: Turn;
  readonly #all = new Map<string, Allowance>();

  constructor(turn: Turn) {
    this.#turn = turn;
  }

  of(name: string, rate: RateLimit | undefined): Allowance {
    const known = this.#all.get(name);
    if (known !== undefined) return known;
    const before = rate === undefined ? undefined : this.#turn.tx.bucket(name);
    const made = new Allowance(name, rate, before, this.#turn.nowMs);
    this.#all.set(name, made);
    return made;
  }

  save(): void {
    for (const allowance of this.#all.values()) {
      const { spent } = allowance;
      if (spent !== undefined) this.#turn.tx.putBucket(spent);
    }
  }

  get nextMs(): number | undefined {
    let soonest: number | undefined;
    for (const { nextMs } of this.#all.values())
      if (nextMs !== undefined && nextMs < (soonest ?? Infinity)) soonest = nextMs;
    return soonest;
  }
}

function take(turn: Turn, seq: number, owner: string): Claim {
  const { tx, nowMs } = turn;
  const job = tx.jobAt(seq) as JobRow;
  job.owner = owner;
  job.epoch++;
  job.attempts++;
  job.startedMs ??= nowMs;
  move(turn, job, PHASES.running);
  const { epoch, attempts: attempt } = job;
  tell(turn, job, { type: "started", attempt, epoch });
  const results = new Map<string, Uint8Array | null>();
  for (const { jobs } of job.spec.inputs ?? [])
    for (const id of jobs) {
      const result = tx.jobById(id)?.result;
      const bytes = result === undefined || result === null ? result : payloadBytes(tx, result);
      if (bytes !== undefined) results.set(id, bytes);
    }
  return { seq, owner, epoch, job, args: payloadBytes(tx, job.args), results };
}

/** What a worker gives up of others: it has seen them silent for too long. */
export function giveUp(turn: Turn, { id }: WorkerRow): void {
  const { tx, nowMs } = turn;
  for (const seq of tx.runningOf(id)) {
    const job = tx.jobAt(seq);
    if (job?.phase === PHASES.running) lose(turn, job, id);
    else if (job !== undefined) letGo(turn, job);
  }
  tx.deleteWorker(id);
  turn.told.push({ type: "worker-lost", worker: id, atMs: nowMs });
}

/** How many jobs a sweep moves in one transaction: the rest comes in the next one. */
const sweptMax = 500;

/** What time alone changes: delayed jobs become ready, unstarted ones expire. True when there is more to do. */
export function sweep(turn: Turn): boolean {
  const { tx, nowMs } = turn;
  const isMore = expire(turn);
  const due = tx.dueBy(nowMs, sweptMax);
  for (const seq of due) {
    const job = tx.jobAt(seq);
    if (job !== undefined) move(turn, job, PHASES.ready);
  }
  return isMore || due.length === sweptMax;
}

function expire(turn: Turn): boolean {
  const { tx, nowMs } = turn;
  const expired = tx.expiredBy(nowMs, sweptMax);
  for (const seq of expired) {
    const job = tx.jobAt(seq);
    if (job !== undefined && job.phase < PHASES.running) cancel(turn, job, "expired");
  }
  return expired.length === sweptMax;
}

/**
 * Tells which workers are silent. It trusts no clock but its own: a worker is given up when its beats have stood still for its
 * TTL while this one looked, so that no jump of a wall clock, of this host or theirs, takes work from the living. Only time in
 * which it looked regularly counts: while it could not look, because the store was locked or all stood still, nobody could beat.
 */
export class Watch {
  readonly #everyMs: number;
  readonly #seen = new Map<string, { beats: number; silentMs: number }>();
  #lastMs: number | undefined;

  /** It is to look every `everyMs`. */
  constructor(everyMs: number) {
    this.#everyMs = everyMs;
  }

  /** Takes what is known of the workers at `nowMs`, by a clock that does not jump. Returns those that are given up. */
  look(workers: readonly WorkerRow[], nowMs: number): readonly WorkerRow[] {
    const passedMs = nowMs - (this.#lastMs ?? nowMs);
    this.#lastMs = nowMs;
    const ids = new Set(workers.map(({ id }) => id));
    for (const id of this.#seen.keys()) if (!ids.has(id)) this.#seen.delete(id);
    return workers.filter(({ id, beats, leaseMs }) => {
      const seen = this.#seen.get(id);
      if (seen?.beats !== beats) {
        this.#seen.set(id, { beats, silentMs: 0 });
        return false;
      }
      if (passedMs <= this.#everyMs + leaseMs / 3) seen.silentMs += passedMs;
      return seen.silentMs >= leaseMs;
    });
  }
}
