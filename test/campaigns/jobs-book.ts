/** What is known of the jobs of a run, from outside: judges each transaction as it is made, and the file at the end. */
import { FabricError, jsonCodec } from "@selvage/fabric";
import { PHASES, statusOf, type JobRow, type JobTx, type Payload } from "@selvage/jobs";
import { sometimes, Violation, type Kernel, type SimNode } from "@selvage/sim";
import type { Change } from "./jobs-change.ts";
import type { Incarnation } from "./jobs-file.ts";
import { JobBodies } from "./jobs-work.ts";
import {
  bounded,
  cascades,
  ends,
  fed,
  fenced,
  kept,
  once,
  own,
  poisoned,
  robbed,
  unique,
  within,
} from "./jobs-rules.ts";

/** What a run says about its rules. */
export interface BookSizes {
  /** What a process takes for the time. */
  readonly nowOf: (node: SimNode) => number;
  /** By task: most that run at a time. */
  readonly limits: ReadonlyMap<string, number>;
}

/** How much faster than others a node's clock may run. */
const drift = 1.1;
/** What clocks that count in whole milliseconds may be off by. */
const roundingMs = 3;
/** How the failure of an attempt whose worker was given up ends. */
const silent = "was silent for too long";

interface Known {
  readonly id: string;
  /** What it waits for, or has waited for: also what was purged since. */
  readonly parents: Set<number>;
  /** Which item of a fan it is. */
  readonly item: number | undefined;
  epoch: number;
  results: number;
  /** Failures that were noted and not yet counted by a change of its state. */
  failures: number;
  replays: number;
  handedBack: number;
}

export interface KnownWorker {
  readonly by: Incarnation;
  readonly leaseMs: number;
  readonly registeredAtMs: number;
  beatAtMs: number;
  isGone: boolean;
  /** It was stopped, and says nothing more. */
  hasEnded: boolean;
}

function isSame(one: Incarnation, other: Incarnation): boolean {
  return one.node === other.node && one.number === other.number;
}

const codec = jsonCodec<unknown>();

/** The jobs of a run. */
export class JobBook {
  readonly kernel: Kernel;
  readonly bodies: JobBodies;
  readonly workers: Map<string, KnownWorker> = new Map();
  /** Ids of jobs whose making was acknowledged. */
  readonly acknowledged: Set<string> = new Set();
  readonly #known = new Map<number, Known>();
  readonly #cancelled = new Set<string>();
  readonly #nowOf: BookSizes["nowOf"];
  readonly #deleted = new Set<string>();
  readonly #results = new Map<string, unknown>();

  constructor(kernel: Kernel, sizes: BookSizes) {
    this.kernel = kernel;
    this.#nowOf = sizes.nowOf;
    this.bodies = new JobBodies(kernel, sizes.limits);
  }

  /** The result that a job has. */
  resultOf(id: string): unknown {
    return this.#results.get(id);
  }

  get nowMs(): number {
    return this.kernel.nowUs / 1_000;
  }

  /** Whoever asked for a job's cancellation was told that it is, or will be. */
  cancelled(id: string): void {
    this.#cancelled.add(id);
  }

  /** A worker was stopped, and that is done. */
  ended(id: string): void {
    const worker = this.workers.get(id);
    if (worker !== undefined) worker.hasEnded = true;
  }

  /** A transaction was made. */
  readonly settle = (by: Incarnation, changes: readonly Change[], tx: JobTx): void => {
    try {
      for (const change of changes) this.#take(by, change, tx);
      this.#whole(changes, tx);
    } catch (thrown) {
      // Thrown here it would be one more failure of the store.
      this.kernel.fail(thrown);
    }
  };

  #take(by: Incarnation, change: Change, tx: JobTx): void {
    switch (change.kind) {
      case "inserted":
        return this.#inserted(change.job, tx);
      case "saved":
        return this.#saved(by, change.before, change.job, tx);
      case "deleted":
        this.#deleted.add(change.job.id);
        sometimes("a job was forgotten");
        return;
      case "depends":
        this.#known.get(change.child)?.parents.add(change.parent);
        return;
      case "failed":
        return this.#failed(by, change.seq, change.failure.error, tx);
      case "registered": {
        const { id, leaseMs } = change.worker;
        const atMs = this.nowMs;
        const times = { registeredAtMs: atMs, beatAtMs: atMs };
        this.workers.set(id, { by, leaseMs, ...times, isGone: false, hasEnded: false });
        return;
      }
      case "beat":
        (this.workers.get(change.worker) as KnownWorker).beatAtMs = this.nowMs;
        return;
      case "gone":
        return this.#gone(by, change.worker);
    }
  }

  #inserted(job: JobRow, tx: JobTx): void {
    this.#known.set(job.seq, {
      ...{
        id: job.id,
        parents: new Set(),
        item: job.spec.item,
        epoch: 0,
        results: 0,
        failures: 0,
        replays: 0,
        handedBack: 0,
      },
    });
    this.#keyIsOne(job, tx);
  }

  #keyIsOne({ uniqueKey, phase, seq }: JobRow, tx: JobTx): void {
    if (uniqueKey === null || phase > PHASES.running) return;
    const holders = tx
      .list({ limit: Infinity })
      .filter((job) => job.uniqueKey === uniqueKey && job.phase <= PHASES.running);
    if (holders.some((job) => job.seq !== seq))
      throw new Violation(unique, `${holders.map(({ id }) => id).join()} have key ${uniqueKey}`);
  }

  // By others it is a loss; by its own process it may be told so by a body.
  #failed(by: Incarnation, seq: number, error: string, tx: JobTx): void {
    const known = this.#known.get(seq) as Known;
    known.failures++;
    if (!error.endsWith(silent)) return;
    sometimes("a claim was lost");
    const owner = (tx.jobAt(seq) as JobRow).owner;
    const id = /worker (\S+)/.exec(error)?.[1] ?? owner ?? "";
    const worker = this.workers.get(id) as KnownWorker;
    // One that could not leave, as it stopped, is like a dead one.
    if (isSame(worker.by, by) && !worker.hasEnded)
      throw new Violation(own, `${by.node.name} gave up ${id}, which is its own`);
  }

  #wasSilent(id: string, { leaseMs, beatAtMs }: KnownWorker): void {
    const silentMs = this.nowMs - beatAtMs;
    if (silentMs < leaseMs / drift - roundingMs)
      throw new Violation(robbed, `${id} had said so ${silentMs} ms before, of ${leaseMs}`);
  }

  #gone(by: Incarnation, id: string): void {
    const worker = this.workers.get(id);
    if (worker === undefined) return;
    // One that stops does not ask whether others have given it up.
    if (worker.isGone && !isSame(worker.by, by))
      throw new Violation(own, `${id} was given up twice`);
    if (!isSame(worker.by, by)) this.#wasSilent(id, worker);
    worker.isGone = true;
    this.bodies.workerGone(id);
  }

  #saved(by: Incarnation, before: JobRow, job: JobRow, tx: JobTx): void {
    const known = this.#known.get(job.seq) as Known;
    if (job.epoch < before.epoch) throw new Violation(fenced, `${job.id}: ${job.epoch}`);
    const isClaim = job.phase === PHASES.running && before.phase !== PHASES.running;
    if (isClaim) this.#claimed(by, before, job, tx);
    else if (job.attempts !== before.attempts)
      throw new Violation(bounded, `${job.id}: attempts changed without a claim`);
    if (before.phase === PHASES.running && job.phase !== PHASES.running)
      this.#left(by, before, job, known);
    if (before.phase > PHASES.running && job.phase !== before.phase)
      this.#changedAfterEnd(before, job, known, tx);
    if (job.phase === PHASES.complete && before.phase !== PHASES.complete)
      this.#completed(before, job, known, tx);
    const isOver = job.phase > PHASES.running && before.phase <= PHASES.running;
    if (isOver) this.#ended(before, job);
    // It ends, and its worker goes on having it.
    sometimes("a body was overrun", before.owner === null && job.owner !== null && !isClaim);
    known.epoch = job.epoch;
    known.failures = 0;
  }

  #ended({ isCancelling, startedMs }: JobRow, { id, phase, because }: JobRow): void {
    if (because === "expired" && startedMs !== null)
      throw new Violation(ends, `${id} expired, and had begun before`);
    sometimes("a job ended as dead", phase === PHASES.dead);
    sometimes("a job expired", because === "expired");
    sometimes("an end went on to what waited", because?.startsWith("dependency") === true);
    sometimes("a running job was cancelled", isCancelling);
  }

  #claimed(by: Incarnation, before: JobRow, job: JobRow, tx: JobTx): void {
    const { id, epoch, attempts, owner, expiresMs } = job;
    if (this.#cancelled.has(id)) throw new Violation(ends, `${id} began after its cancellation`);
    if (before.startedMs === null && expiresMs !== null && expiresMs <= this.#nowOf(by.node))
      throw new Violation(unique, `${id} began after it had expired`);
    if (before.phase !== PHASES.ready) throw new Violation(ends, `${id} began while not ready`);
    if (epoch <= before.epoch) throw new Violation(fenced, `${id} was claimed again as ${epoch}`);
    if (attempts !== before.attempts + 1) throw new Violation(bounded, `${id}: claimed uncounted`);
    for (const parent of this.#known.get(job.seq)?.parents ?? []) {
      const { id: wanted, results } = this.#known.get(parent) as Known;
      if (results === 0) throw new Violation(fed, `${id} began, and ${wanted} is not complete`);
    }
    if (tx.queues().some(({ name, isPaused }) => isPaused && name === job.queue))
      throw new Violation(unique, `${id} began in a paused queue`);
    this.bodies.claimed(id, epoch, { owner: owner ?? "", attempt: attempts });
  }

  #left(by: Incarnation, before: JobRow, job: JobRow, known: Known): void {
    const { id, epoch } = job;
    const worker = this.workers.get(before.owner ?? "");
    const isOwn = worker !== undefined && isSame(worker.by, by);
    const isBack = job.phase < PHASES.running;
    const isHandedBack = known.failures === 0 && isBack;
    if ((isHandedBack || !isOwn) && epoch <= before.epoch)
      throw new Violation(fenced, `${id} was taken from its worker, and its epoch stays ${epoch}`);
    if (isBack && before.retriesLeft - job.retriesLeft !== known.failures)
      throw new Violation(
        bounded,
        `${id}: ${before.retriesLeft} - ${job.retriesLeft} retries for ${known.failures} failures`,
      );
    if (isHandedBack) known.handedBack++;
    sometimes("a claim was handed back", isHandedBack);
    sometimes("an attempt was tried again", isBack && !isHandedBack);
    if (epoch > before.epoch) this.bodies.forfeit(id, before.epoch);
  }

  // Only a dead letter, and what its death had cancelled, comes back.
  #changedAfterEnd(before: JobRow, job: JobRow, known: Known, tx: JobTx): void {
    const isPurge = before.phase === PHASES.dead && job.phase === PHASES.failed;
    if (isPurge) return;
    const isRevival =
      job.phase < PHASES.running &&
      (before.phase === PHASES.dead || before.phase === PHASES.cancelled);
    if (!isRevival)
      throw new Violation(
        ends,
        `${job.id} was ${statusOf(before.phase)} and is ${statusOf(job.phase)}`,
      );
    known.replays++;
    sometimes("a dead letter was replayed", before.phase === PHASES.dead);
    sometimes("a replay revived what waited", before.phase === PHASES.cancelled);
    this.#keyIsOne(job, tx);
  }

  #completed(before: JobRow, job: JobRow, known: Known, tx: JobTx): void {
    const { id, spec, result } = job;
    if (++known.results > 1) throw new Violation(once, `${id} has a second result`);
    if (job.task === "poison") throw new Violation(poisoned, `${id} has completed`);
    const value = decoded(tx, result);
    this.#results.set(id, value);
    if (spec.fan !== undefined) return this.#gathered(job, value);
    const said = (Array.isArray(value) ? value[0] : value) as { id?: string; epoch?: number };
    if (before.phase !== PHASES.running || said?.id !== id || said.epoch !== before.epoch)
      throw new Violation(
        once,
        `${id} with epoch ${before.epoch} has the result ${JSON.stringify(value)}`,
      );
  }

  // One result for each item of the job that it fanned out over, in their order.
  #gathered({ id, seq, spec }: JobRow, value: unknown): void {
    const items = this.#results.get(spec.fan?.items ?? "") as readonly unknown[];
    // As it was then: what was gathered may be purged in the same transaction.
    const jobs = [...(this.#known.get(seq)?.parents ?? [])].map((one) => this.#known.get(one));
    const wanted = items.map((_, index) => {
      const item = jobs.find((job) => job?.item === index);
      return this.#results.get(item?.id ?? "");
    });
    sometimes("a fan gathered its items", items.length > 1);
    if (JSON.stringify(value) !== JSON.stringify(wanted))
      throw new Violation(
        fed,
        `${id} gathered ${JSON.stringify(value)}, not ${JSON.stringify(wanted)}`,
      );
  }

  // What a transaction leaves is whole: nobody waits for what will not come.
  #whole(changes: readonly Change[], tx: JobTx): void {
    for (const change of changes) {
      if (change.kind === "deleted") this.#noneWaits(change.children, change.job.id, tx);
      if (change.kind !== "saved" && change.kind !== "inserted") continue;
      const job = tx.jobAt(change.job.seq);
      if (job === undefined) continue;
      if (job.phase > PHASES.complete) this.#noneWaits(tx.childrenOf(job.seq), job.id, tx);
      if (job.phase === PHASES.blocked) this.#waits(job, tx);
    }
  }

  #noneWaits(children: readonly number[], of: string, tx: JobTx): void {
    for (const seq of children) {
      const child = tx.jobAt(seq);
      if (child?.phase === PHASES.blocked)
        throw new Violation(cascades, `${child.id} still waits for ${of}`);
    }
  }

  #waits({ id, seq, blockers }: JobRow, tx: JobTx): void {
    const open = tx.parentsOf(seq).filter((parent) => {
      const phase = tx.jobAt(parent)?.phase;
      if (phase !== undefined && phase > PHASES.complete)
        throw new Violation(cascades, `${id} waits for ${parent}, which has ended`);
      return phase !== PHASES.complete;
    });
    if (open.length !== blockers || blockers === 0)
      throw new Violation(ends, `${id} waits for ${blockers} jobs, and ${open.length} are to come`);
  }

  /** The end of a run, all being well: see the rules. */
  atEnd(tx: JobTx): void {
    const jobs = tx.list({ limit: Infinity });
    const open = jobs.find(({ phase }) => phase <= PHASES.running);
    if (open !== undefined) {
      const { id, task, phase, owner, blockers, dueMs, attempts } = open;
      const isKnown = tx.workers().some((worker) => worker.id === owner);
      const state = JSON.stringify({ task, phase, owner, isKnown, blockers, dueMs, attempts });
      throw new Violation(ends, `${id} has not ended: ${state}`);
    }
    const held = jobs.find(({ owner }) => owner !== null);
    if (held !== undefined)
      throw new Violation(within, `${held.id} has ended, and still counts as ${held.owner}'s`);
    this.#countsAreRight(jobs, tx);
    const ids = new Set(jobs.map(({ id }) => id));
    for (const id of this.acknowledged)
      if (!ids.has(id) && !this.#deleted.has(id)) throw new Violation(kept, `${id} is not there`);
    for (const job of jobs) this.#isSound(job, tx);
  }

  #isSound(job: JobRow, tx: JobTx): void {
    const { id, phase, because, task } = job;
    const isDead = phase === PHASES.dead || phase === PHASES.failed;
    if (task === "poison" && !isDead && phase !== PHASES.cancelled)
      throw new Violation(poisoned, `${id} is ${statusOf(phase)}`);
    if (phase === PHASES.complete)
      for (const parent of tx.parentsOf(job.seq))
        if (tx.jobAt(parent)?.phase !== PHASES.complete)
          throw new Violation(fed, `${id} is complete, and ${parent} is not`);
    if (phase === PHASES.cancelled && because === null)
      throw new Violation(ends, `${id} was cancelled, and nothing says why`);
  }

  #countsAreRight(jobs: readonly JobRow[], tx: JobTx): void {
    const counts = new Map<string, number>();
    for (const { queue, phase } of jobs) {
      const key = JSON.stringify([queue, statusOf(phase)]);
      counts.set(key, (counts.get(key) ?? 0) + 1);
    }
    const told = tx.counts();
    const isRight =
      told.length === counts.size &&
      told.every(
        ({ queue, status, count }) => counts.get(JSON.stringify([queue, status])) === count,
      );
    if (!isRight)
      throw new Violation(kept, `${JSON.stringify(told)} are not ${JSON.stringify([...counts])}`);
  }
}

function decoded(tx: JobTx, payload: Payload | null): unknown {
  if (payload === null) return undefined;
  const bytes = payload.kind === "inline" ? payload.bytes : tx.readBlocks(payload.blocks);
  if (bytes === undefined) throw new FabricError("NOT_FOUND", "The blocks of a result are gone");
  return codec.decode(bytes);
}
