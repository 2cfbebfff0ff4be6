/** Jobs in memory: for tests, for simulations, and for queues that need not outlive their process. */
import { assert, FabricError } from "@selvage/fabric";
import {
  phasesOf,
  PHASES,
  statusOf,
  type AttemptFailure,
  type BucketRow,
  type CronRow,
  type JobDraft,
  type JobRow,
  type JobStatus,
  type QueueRow,
  type StatusCount,
  type WorkerRow,
} from "./job-record.ts";
import type { JobFilter, JobStore, JobTx, ReadyJob } from "./job-store.ts";
import { SortedRows } from "./sorted-rows.ts";

/** All that belongs to one job. */
interface Kept {
  row: JobRow;
  readonly parents: number[];
  readonly children: number[];
  readonly failures: AttemptFailure[];
  readonly partials: Uint8Array[];
}

interface Blocks {
  pieces: Uint8Array[];
  /** Undefined once they are a job's. */
  leasedUntilMs: number | undefined;
}

/** Orders jobs that could start. */
function byTurn(a: ReadyJob, b: ReadyJob): number {
  return b.priority - a.priority || a.dueMs - b.dueMs || a.seq - b.seq;
}

/** Jobs in the memory of one process. What it holds is gone with it. */
export class MemoryJobStore implements JobStore {
  readonly #tx = new MemoryTx();
  readonly #watchers = new Set<() => void>();

  async transact<T>(work: (tx: JobTx) => T): Promise<T> {
    const { result, writes } = this.#tx.run(work);
    // What only looked has nothing to tell: else two that listen would wake each other for ever.
    if (writes > 0) for (const watcher of this.#watchers) watcher();
    return result;
  }

  async look<T>(work: (tx: JobTx) => T): Promise<T> {
    return work(this.#tx);
  }

  watch(onChange: () => void): () => void {
    this.#watchers.add(onChange);
    return () => this.#watchers.delete(onChange);
  }

  async close(): Promise<void> {}
}

class MemoryTx implements JobTx {
  readonly #jobs = new Map<number, Kept>();
  readonly #seqs = new Map<string, number>();
  readonly #keys = new Map<string, number>();
  readonly #ready = new Map<string, SortedRows<ReadyJob>>();
  readonly #delayed = new SortedRows<JobRow>((a, b) => a.dueMs - b.dueMs || a.seq - b.seq);
  readonly #expiring = new SortedRows<JobRow>(
    (a, b) => (a.expiresMs as number) - (b.expiresMs as number) || a.seq - b.seq,
  );
  readonly #owned = new Map<number, JobRow>();
  readonly #ended = new Map<JobStatus, SortedRows<JobRow>>();
  readonly #counts = new Map<string, StatusCount>();
  readonly #roots = new Map<string, Set<number>>();
  readonly #blocks = new Map<number, Blocks>();
  readonly #workers = new Map<string, WorkerRow>();
  readonly #queues = new Map<string, QueueRow>();
  readonly #buckets = new Map<string, BucketRow>();
  readonly #crons = new Map<string, CronRow>();
  #lastSeq = 0;
  #lastBlocks = 0;
  #undo: (() => void)[] = [];

  get writes(): number {
    return this.#undo.length;
  }

  run<T>(work: (tx: JobTx) => T): { readonly result: T; readonly writes: number } {
    this.#undo = [];
    try {
      const result = work(this);
      return { result, writes: this.writes };
    } catch (thrown) {
      for (const undo of this.#undo.toReversed()) undo();
      throw thrown;
    } finally {
      this.#undo = [];
    }
  }

  insertJob(draft: JobDraft): number {
    const row: JobRow = { ...draft, seq: ++this.#lastSeq };
    const { seq, id } = row;
    assert(!this.#seqs.has(id), "an id is given out once");
    this.#jobs.set(seq, { row, parents: [], children: [], failures: [], partials: [] });
    this.#seqs.set(id, seq);
    this.#index(row);
    this.#undo.push(() => {
      this.#unindex(this.#kept(seq).row);
      this.#jobs.delete(seq);
      this.#seqs.delete(id);
    });
    return seq;
  }

  jobAt(seq: number): JobRow | undefined {
    const kept = this.#jobs.get(seq);
    return kept === undefined ? undefined : { ...kept.row };
  }

  jobById(id: string): JobRow | undefined {
    const seq = this.#seqs.get(id);
    return seq === undefined ? undefined : this.jobAt(seq);
  }

  jobByKey(uniqueKey: string): JobRow | undefined {
    const seq = this.#keys.get(uniqueKey);
    return seq === undefined ? undefined : this.jobAt(seq);
  }

  saveJob(job: JobRow): void {
    const kept = this.#kept(job.seq);
    const before = kept.row;
    this.#unindex(before);
    kept.row = { ...job };
    this.#index(kept.row);
    this.#undo.push(() => {
      this.#unindex(kept.row);
      kept.row = before;
      this.#index(before);
    });
  }

  deleteJob({ seq, id }: JobRow): void {
    const kept = this.#kept(seq);
    const { row, parents, children } = kept;
    this.#unindex(row);
    this.#jobs.delete(seq);
    this.#seqs.delete(id);
    for (const parent of parents) remove(this.#jobs.get(parent)?.children, seq);
    for (const child of children) remove(this.#jobs.get(child)?.parents, seq);
    this.#undo.push(() => {
      this.#jobs.set(seq, kept);
      this.#seqs.set(id, seq);
      for (const parent of parents) this.#jobs.get(parent)?.children.push(seq);
      for (const child of children) this.#jobs.get(child)?.parents.push(seq);
      this.#index(row);
    });
    for (const payload of [row.args, row.result])
      if (payload?.kind === "blocks") this.deleteBlocks(payload.blocks);
  }

  ready(queue: string, task: string, limit: number): readonly ReadyJob[] {
    return this.#ready.get(keyOf(queue, task))?.first(limit) ?? [];
  }

  dueBy(nowMs: number, limit: number): readonly number[] {
    return seqsOf(this.#delayed.first(limit).filter(({ dueMs }) => dueMs <= nowMs));
  }

  expiredBy(nowMs: number, limit: number): readonly number[] {
    const first = this.#expiring.first(limit);
    return seqsOf(first.filter(({ expiresMs }) => (expiresMs as number) <= nowMs));
  }

  nextTimeMs(): number | undefined {
    const due = this.#delayed.first(1)[0]?.dueMs ?? Infinity;
    const expiry = this.#expiring.first(1)[0]?.expiresMs ?? Infinity;
    const next = Math.min(due, expiry);
    return next === Infinity ? undefined : next;
  }

  runningOf(owner: string): readonly number[] {
    return seqsOf(this.#ownedWhere((row) => row.owner === owner));
  }

  runningOfTask(task: string): number {
    return this.#ownedWhere((row) => row.task === task).length;
  }

  runningOfQueue(queue: string): number {
    return this.#ownedWhere((row) => row.queue === queue).length;
  }

  cancellingOf(owner: string): readonly number[] {
    return seqsOf(this.#ownedWhere((row) => row.owner === owner && row.isCancelling));
  }

  list({ status, queue, task, beforeSeq = Infinity, limit }: JobFilter): readonly JobRow[] {
    const phases = status === undefined ? undefined : new Set(phasesOf(status));
    const found: JobRow[] = [];
    const seqs = [...this.#jobs.keys()].toSorted((a, b) => b - a);
    for (const seq of seqs) {
      if (found.length === limit) break;
      const { row } = this.#kept(seq);
      const fits =
        seq < beforeSeq &&
        (phases?.has(row.phase) ?? true) &&
        (queue ?? row.queue) === row.queue &&
        (task ?? row.task) === row.task;
      if (fits) found.push({ ...row });
    }
    return found;
  }

  endedBy(status: JobStatus, endedByMs: number, limit: number): readonly number[] {
    const first = this.#ended.get(status)?.first(limit) ?? [];
    return seqsOf(first.filter(({ endedMs }) => (endedMs as number) <= endedByMs));
  }

  cancelledBy(rootId: string): readonly number[] {
    return [...(this.#roots.get(rootId) ?? [])].toSorted((a, b) => a - b);
  }

  counts(): readonly StatusCount[] {
    return [...this.#counts.values()].filter(({ count }) => count > 0);
  }

  addDependency(parentSeq: number, childSeq: number): void {
    const parent = this.#kept(parentSeq);
    const child = this.#kept(childSeq);
    parent.children.push(childSeq);
    child.parents.push(parentSeq);
    this.#undo.push(() => {
      remove(parent.children, childSeq);
      remove(child.parents, parentSeq);
    });
  }

  childrenOf(seq: number): readonly number[] {
    return [...(this.#jobs.get(seq)?.children ?? [])].toSorted((a, b) => a - b);
  }

  parentsOf(seq: number): readonly number[] {
    return [...(this.#jobs.get(seq)?.parents ?? [])].toSorted((a, b) => a - b);
  }

  addFailure(seq: number, failure: AttemptFailure): void {
    const { failures } = this.#kept(seq);
    failures.push(failure);
    this.#undo.push(() => failures.pop());
  }

  failuresOf(seq: number): readonly AttemptFailure[] {
    return [...(this.#jobs.get(seq)?.failures ?? [])];
  }

  addPartial(seq: number, bytes: Uint8Array): void {
    const { partials } = this.#kept(seq);
    partials.push(bytes.slice());
    this.#undo.push(() => partials.pop());
  }

  partialsOf(seq: number, from: number): readonly Uint8Array[] {
    return (
      this.#jobs
        .get(seq)
        ?.partials.slice(from)
        .map((bytes) => bytes.slice()) ?? []
    );
  }

  openBlocks(leasedUntilMs: number): number {
    const blocks = ++this.#lastBlocks;
    this.#set(this.#blocks, blocks, { pieces: [], leasedUntilMs });
    return blocks;
  }

  addBlock(blocks: number, bytes: Uint8Array, leasedUntilMs: number): void {
    const { pieces } = this.#leased(blocks);
    this.#set(this.#blocks, blocks, { pieces: [...pieces, bytes.slice()], leasedUntilMs });
  }

  keepBlocks(blocks: number): void {
    const { pieces } = this.#leased(blocks);
    this.#set(this.#blocks, blocks, { pieces, leasedUntilMs: undefined });
  }

  readBlocks(blocks: number): Uint8Array | undefined {
    const pieces = this.#blocks.get(blocks)?.pieces;
    if (pieces === undefined) return undefined;
    const whole = new Uint8Array(pieces.reduce((sum, { length }) => sum + length, 0));
    let at = 0;
    for (const piece of pieces) {
      whole.set(piece, at);
      at += piece.length;
    }
    return whole;
  }

  deleteBlocks(blocks: number): void {
    this.#delete(this.#blocks, blocks);
  }

  sweepBlocks(nowMs: number): number {
    const lapsed = [...this.#blocks].filter(
      ([, { leasedUntilMs = Infinity }]) => leasedUntilMs <= nowMs,
    );
    for (const [blocks] of lapsed) this.deleteBlocks(blocks);
    return lapsed.length;
  }

  putWorker(worker: WorkerRow): void {
    this.#set(this.#workers, worker.id, worker);
  }

  beat(id: string, nowMs: number): boolean {
    const worker = this.#workers.get(id);
    if (worker === undefined) return false;
    this.putWorker({ ...worker, beats: worker.beats + 1, beatMs: nowMs });
    return true;
  }

  workers(): readonly WorkerRow[] {
    return [...this.#workers.values()];
  }

  deleteWorker(id: string): void {
    this.#delete(this.#workers, id);
  }

  queues(): readonly QueueRow[] {
    return [...this.#queues.values()];
  }

  putQueue(queue: QueueRow): void {
    this.#set(this.#queues, queue.name, queue);
  }

  bucket(name: string): BucketRow | undefined {
    return this.#buckets.get(name);
  }

  putBucket(bucket: BucketRow): void {
    this.#set(this.#buckets, bucket.name, bucket);
  }

  crons(): readonly CronRow[] {
    return [...this.#crons.values()];
  }

  putCron(cron: CronRow): void {
    this.#set(this.#crons, cron.name, cron);
  }

  deleteCron(name: string): boolean {
    return this.#delete(this.#crons, name);
  }

  #kept(seq: number): Kept {
    const kept = this.#jobs.get(seq);
    assert(kept !== undefined, "the job is in the store");
    return kept;
  }

  #leased(blocks: number): Blocks {
    const found = this.#blocks.get(blocks);
    if (found?.leasedUntilMs !== undefined) return found;
    throw new FabricError(
      "LEASE_EXPIRED",
      "The blocks of a payload were given back: its upload took too long",
      {
        blocks,
      },
    );
  }

  #ownedWhere(fits: (row: JobRow) => boolean): readonly JobRow[] {
    return [...this.#owned.values()].filter(fits);
  }

  #index(row: JobRow): void {
    const { seq, phase, queue, task, uniqueKey } = row;
    this.#count(row, 1);
    if (phase === PHASES.ready) getOr(this.#ready, keyOf(queue, task), readyRows).add(row);
    if (phase === PHASES.delayed) this.#delayed.add(row);
    if (canExpire(row)) this.#expiring.add(row);
    if (phase <= PHASES.running && uniqueKey !== null) this.#keys.set(uniqueKey, seq);
    if (phase > PHASES.running) getOr(this.#ended, statusOf(phase), endedRows).add(row);
    if (row.owner !== null) this.#owned.set(seq, row);
    if (row.root !== null && phase === PHASES.cancelled)
      getOr(this.#roots, row.root, numbers).add(seq);
  }

  #unindex(row: JobRow): void {
    const { seq, phase, queue, task, uniqueKey } = row;
    this.#count(row, -1);
    if (phase === PHASES.ready) this.#ready.get(keyOf(queue, task))?.delete(row);
    if (phase === PHASES.delayed) this.#delayed.delete(row);
    if (canExpire(row)) this.#expiring.delete(row);
    if (uniqueKey !== null && this.#keys.get(uniqueKey) === seq) this.#keys.delete(uniqueKey);
    if (phase > PHASES.running) this.#ended.get(statusOf(phase))?.delete(row);
    this.#owned.delete(seq);
    if (row.root !== null) this.#roots.get(row.root)?.delete(seq);
  }

  #count({ queue, phase }: JobRow, change: number): void {
    const status = statusOf(phase);
    const key = keyOf(queue, status);
    const count = (this.#counts.get(key)?.count ?? 0) + change;
    this.#counts.set(key, { queue, status, count });
  }

  #set<K, V>(map: Map<K, V>, key: K, value: V): void {
    const had = map.has(key);
    const before = map.get(key) as V;
    map.set(key, value);
    this.#undo.push(() => (had ? map.set(key, before) : map.delete(key)));
  }

  #delete<K, V>(map: Map<K, V>, key: K): boolean {
    if (!map.has(key)) return false;
    const before = map.get(key) as V;
    map.delete(key);
    this.#undo.push(() => map.set(key, before));
    return true;
  }
}

// No name has a zero in it that another one could begin with: lengths tell them apart.
function keyOf(queue: string, what: string): string {
  return `${queue.length}:${queue}:${what}`;
}

// One that has begun does not expire while it waits to be tried again.
function canExpire({ phase, startedMs, expiresMs }: JobRow): boolean {
  return phase < PHASES.running && startedMs === null && expiresMs !== null;
}

function readyRows(): SortedRows<ReadyJob> {
  return new SortedRows(byTurn);
}

function endedRows(): SortedRows<JobRow> {
  return new SortedRows((a, b) => (a.endedMs as number) - (b.endedMs as number) || a.seq - b.seq);
}

function numbers(): Set<number> {
  return new Set();
}

function getOr<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  const found = map.get(key);
  if (found !== undefined) return found;
  const made = make();
  map.set(key, made);
  return made;
}

function seqsOf(rows: readonly { readonly seq: number }[]): readonly number[] {
  return rows.map(({ seq }) => seq);
}

function remove(list: number[] | undefined, value: number): void {
  const at = list?.indexOf(value) ?? -1;
  if (at >= 0) list?.splice(at, 1);
}
