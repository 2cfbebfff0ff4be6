/** The port to where jobs are kept. */
import type {
  AttemptFailure,
  BucketRow,
  CronRow,
  JobDraft,
  JobRow,
  JobStatus,
  QueueRow,
  StatusCount,
  WorkerRow,
} from "./job-record.ts";

/** A job that could start: what orders it. */
export interface ReadyJob {
  readonly seq: number;
  readonly priority: number;
  readonly dueMs: number;
}

/** Which jobs to list: newest first. */
export interface JobFilter {
  readonly status?: JobStatus;
  readonly queue?: string;
  readonly task?: string;
  /** Jobs made before this one, for the next page. */
  readonly beforeSeq?: number;
  readonly limit: number;
}

/**
 * What one transaction sees and does: all of it, or nothing, and nobody else in between. It is synchronous, so that no
 * transaction waits for anything but its store. What it returns is its own: changing a row changes nothing until `saveJob`.
 */
export interface JobTx {
  /** How many writes this transaction has done so far. */
  readonly writes: number;

  /** Adds a job and returns its number. Its id and the key of an unfinished job are unique: the caller has looked. */
  insertJob(job: JobDraft): number;
  jobAt(seq: number): JobRow | undefined;
  jobById(id: string): JobRow | undefined;
  /** The unfinished job that holds a unique key. */
  jobByKey(uniqueKey: string): JobRow | undefined;
  /** Writes what can change of a job. `before` is its phase until now. */
  saveJob(job: JobRow, before: JobRow["phase"]): void;
  /** Forgets a job with all that belongs to it. */
  deleteJob(job: JobRow): void;

  /** Jobs of a task that could start, the first ones by priority (higher first), due time, and number. */
  ready(queue: string, task: string, limit: number): readonly ReadyJob[];
  /** Delayed jobs whose time has come by `nowMs`. */
  dueBy(nowMs: number, limit: number): readonly number[];
  /** Jobs that have not started and expire by `nowMs`. */
  expiredBy(nowMs: number, limit: number): readonly number[];
  /** When the next delayed job is due, or the next one expires. */
  nextTimeMs(): number | undefined;
  /** Jobs that a worker has: those it has claimed, and ended ones whose body it could not stop. */
  runningOf(owner: string): readonly number[];
  /** How many jobs of a task some worker has, in all queues. */
  runningOfTask(task: string): number;
  /** How many jobs of a queue some worker has. */
  runningOfQueue(queue: string): number;
  /** Claimed jobs of a worker whose cancellation was asked for. */
  cancellingOf(owner: string): readonly number[];
  list(filter: JobFilter): readonly JobRow[];
  /** Ended jobs of a status that ended by `endedByMs`, the oldest first. */
  endedBy(status: JobStatus, endedByMs: number, limit: number): readonly number[];
  /** Cancelled jobs whose root is this job. */
  cancelledBy(rootId: string): readonly number[];
  counts(): readonly StatusCount[];

  addDependency(parentSeq: number, childSeq: number): void;
  /** Jobs that depend on this one, in the order of their numbers. */
  childrenOf(seq: number): readonly number[];
  /** Jobs that this one depends on, in the order of their numbers. */
  parentsOf(seq: number): readonly number[];

  addFailure(seq: number, failure: AttemptFailure): void;
  failuresOf(seq: number): readonly AttemptFailure[];
  /** Keeps a partial result. */
  addPartial(seq: number, bytes: Uint8Array): void;
  /** Partial results from number `from` on, which counts from 0. */
  partialsOf(seq: number, from: number): readonly Uint8Array[];

  /** Starts blocks for a long payload, leased until `leasedUntilMs`: what no job takes over until then is swept. */
  openBlocks(leasedUntilMs: number): number;
  /** Adds a piece, and renews the lease. @throws FabricError `LEASE_EXPIRED` once they were swept. */
  addBlock(blocks: number, bytes: Uint8Array, leasedUntilMs: number): void;
  /** The blocks are a job's now, and go with it. @throws FabricError `LEASE_EXPIRED` once they were swept. */
  keepBlocks(blocks: number): void;
  readBlocks(blocks: number): Uint8Array | undefined;
  deleteBlocks(blocks: number): void;
  /** Gives back what nobody took over. Returns how many payloads went. */
  sweepBlocks(nowMs: number): number;

  putWorker(worker: WorkerRow): void;
  /** Says that a worker is alive. False when it was given up. */
  beat(id: string, nowMs: number): boolean;
  workers(): readonly WorkerRow[];
  deleteWorker(id: string): void;
  queues(): readonly QueueRow[];
  putQueue(queue: QueueRow): void;
  bucket(name: string): BucketRow | undefined;
  putBucket(bucket: BucketRow): void;
  crons(): readonly CronRow[];
  putCron(cron: CronRow): void;
  deleteCron(name: string): boolean;
}

/** Where jobs are kept, for one process or many. */
export interface JobStore {
  /**
   * Does `work` in one transaction, and resolves once what it did survives a crash, as far as this store survives one. What
   * `work` throws undoes it, and is thrown.
   * @throws FabricError `STORE_UNAVAILABLE`, `CAPACITY_EXCEEDED` (the disk is full), `CORRUPT_RECORD`.
   */
  transact<T>(work: (tx: JobTx) => T): Promise<T>;
  /** As `transact`, for what only looks: it waits for nobody's write. */
  look<T>(work: (tx: JobTx) => T): Promise<T>;
  /** Calls back when another process may have changed something. A hint: some changes are not told, some told are none. */
  watch(onChange: () => void): () => void;
  close(): Promise<void>;
}
