/** A durable queue of jobs. */
import { FabricError, invalidArgument } from "@selvage/fabric";
import { Combiner } from "./combine.ts";
import { DeadLetterShelf, type JobDeadLetter } from "./dead-letter-shelf.ts";
import { EventFeed } from "./event-feed.ts";
import type { JobBody } from "./job-body.ts";
import { JOB_STATUSES, type CronRow, type QueueRow, type StatusCount } from "./job-record.ts";
import type { JobStore } from "./job-store.ts";
import { JobWorker } from "./job-worker.ts";
import { cancel, enqueue, forget, type JobRequest } from "./lifecycle.ts";
import { QueueCore, type DeclaredTask } from "./queue-core.ts";
import type { JobQueueEvent } from "./queue-events.ts";
import type { JobPurge, JobQuery, JobStats, QueueLimits, WorkerInfo } from "./queue-queries.ts";
import {
  checkCount,
  checkMs,
  checkName,
  resolveQueue,
  resolveTask,
  type EnqueueOptions,
  type JobQueueOptions,
  type JobQueuePorts,
  type QueuedTaskOptions,
  type WorkerOptions,
} from "./queue-options.ts";
import { snapshotOf } from "./job-snapshot.ts";
import { specOf } from "./cron.ts";
import { QueuedJob } from "./queued-job.ts";
import { QueuedTask, type CronWanted, type JobWanted } from "./queued-task.ts";
import { parseRate } from "./rate-limit.ts";
import { plainBytes, requestOf, requestsOf } from "./request.ts";
import { purgeEnded } from "./retention.ts";
import { payloadBytes } from "./turn.ts";

/** How many jobs one transaction of a purge forgets. */
const purgedMax = 500;

/**
 * A queue of durable jobs whose claims are leases. See `docs/jobs.md`; open one with `JobQueue.open` of `selvage`.
 */
export class JobQueue implements AsyncDisposable {
  readonly #core: QueueCore;
  readonly #letters: DeadLetterShelf;
  readonly #workers = new Set<JobWorker>();
  readonly #feeds = new Set<EventFeed>();
  #closing: Promise<void> | undefined;

  /** @throws FabricError `INVALID_ARGUMENT`. */
  constructor(store: JobStore, ports: JobQueuePorts, options: JobQueueOptions = {}) {
    const core = new QueueCore(store, ports, resolveQueue(options));
    this.#core = core;
    this.#letters = new DeadLetterShelf(core);
    if (options.onEvent !== undefined) core.subscribe(options.onEvent);
  }

  /**
   * Declares a task: its body is a function, or the URL of a module that default-exports one and runs on worker threads. Types flow
   * from here to `enqueue` and `result`.
   * @throws FabricError `INVALID_ARGUMENT`; `CONFLICT` when the name is taken.
   */
  task<A extends readonly unknown[] = readonly unknown[], R = unknown>(
    name: string,
    options: QueuedTaskOptions<A>,
    body: JobBody<A, R> | { readonly href: string },
  ): QueuedTask<A, Awaited<R>>;
  task<A extends readonly unknown[] = readonly unknown[], R = unknown>(
    name: string,
    body: JobBody<A, R>,
  ): QueuedTask<A, Awaited<R>>;
  task(name: string, given: unknown, then?: unknown): QueuedTask<readonly unknown[], unknown> {
    checkName("name", name);
    const options = (typeof given === "function" ? {} : given) as QueuedTaskOptions;
    const body = (typeof given === "function" ? given : then) as DeclaredTask["body"] | undefined;
    if (typeof options !== "object" || options === null)
      throw invalidArgument("options", "an object", options);
    if (typeof body !== "function" && typeof body?.href !== "string")
      throw invalidArgument("body", "a function, or the URL of a module", body);
    if (this.#core.tasks.has(name))
      throw new FabricError("CONFLICT", `The task "${name}" was declared before`, { task: name });
    const declared = { ...resolveTask(options, this.#core.options), name, body };
    this.#core.tasks.set(name, declared);
    for (const worker of this.#workers) worker.wake();
    return new QueuedTask(
      {
        enqueue: (task, jobs) => this.#enqueue(task, jobs),
        fanOut: (task, items, fanOptions) => this.#fanOut(task, items, fanOptions),
        cron: (task, cron) => this.#cron(task, cron),
      },
      name,
    );
  }

  /** Names a function for `from(jobs, combine)`, so that every process that declares it can run what waits for it. @throws FabricError. */
  combiner<C>(name: string, combine: (...results: never[]) => C): Combiner<Awaited<C>> {
    checkName("name", name);
    if (typeof combine !== "function") throw invalidArgument("combine", "a function", combine);
    this.#core.combiners.set(name, combine);
    return new Combiner(name);
  }

  /** Makes a job of a task by name, also of one that other processes declare. @throws as `QueuedTask.enqueue`. */
  async enqueue(
    task: string,
    args: readonly unknown[],
    options: EnqueueOptions = {},
  ): Promise<QueuedJob> {
    const [job] = await this.#enqueue(task, [{ args, options }]);
    return job as QueuedJob;
  }

  /** A job by its id; undefined when there is none. */
  async getJob<R = unknown>(id: string): Promise<QueuedJob<R> | undefined> {
    const found = await this.#core.look((tx) => {
      const row = tx.jobById(id);
      return row === undefined ? undefined : snapshotOf(tx, row);
    });
    return found === undefined ? undefined : new QueuedJob<R>(this.#core, found);
  }

  /** Jobs, newest first. */
  async listJobs(query: JobQuery = {}): Promise<readonly QueuedJob[]> {
    const { status, queue, taskName, before, limit = 100 } = query;
    checkCount("limit", limit, 1);
    if (status !== undefined && !JOB_STATUSES.includes(status))
      throw invalidArgument("status", JOB_STATUSES.join(", "), status);
    const found = await this.#core.look((tx) => {
      const beforeSeq = before === undefined ? undefined : tx.jobById(before)?.seq;
      if (before !== undefined && beforeSeq === undefined)
        throw new FabricError("NOT_FOUND", `There is no job ${before} to list from`, {
          job: before,
        });
      const filter = {
        ...{ limit, ...(status && { status }), ...(queue && { queue }) },
        ...{ ...(taskName && { task: taskName }), ...(beforeSeq && { beforeSeq }) },
      };
      return tx.list(filter).map((row) => snapshotOf(tx, row));
    });
    return found.map((known) => new QueuedJob(this.#core, known));
  }

  /** The arguments of a job, as they were given; those made of results are null until then. */
  async argsOf(id: string): Promise<readonly unknown[] | undefined> {
    const bytes = await this.#core.look((tx) => {
      const row = tx.jobById(id);
      return row === undefined ? undefined : payloadBytes(tx, row.args);
    });
    return bytes === undefined ? undefined : (this.#core.decode(bytes) as readonly unknown[]);
  }

  /**
   * Cancels a job: at once when it waits, with all that waits for it; a running one is told by its signal. Resolves with whether
   * there was anything to cancel.
   */
  async cancel(id: string): Promise<boolean> {
    this.#core.checkOpen();
    const done = await this.#core.committer.write((turn) => {
      const job = turn.tx.jobById(id);
      return job === undefined ? undefined : { seq: job.seq, what: cancel(turn, job) };
    });
    if (done?.what === "cancelling") for (const worker of this.#workers) worker.cancelled(done.seq);
    return done !== undefined && done.what !== "over";
  }

  /** Forgets a job, and cancels what waits for it. False when there is none. @throws FabricError `CONFLICT` while it runs. */
  async purgeJob(id: string): Promise<boolean> {
    this.#core.checkOpen();
    return this.#core.committer.write((turn) => {
      const job = turn.tx.jobById(id);
      if (job === undefined) return false;
      if (job.owner !== null)
        throw new FabricError("CONFLICT", `Cannot purge the job ${id}: it runs; cancel it first`, {
          job: id,
        });
      forget(turn, job);
      return true;
    });
  }

  /** How many jobs there are, of one queue or of all. Cost: does not grow with them. */
  async stats({ queue }: { readonly queue?: string } = {}): Promise<JobStats> {
    return countsOf(await this.#core.look((tx) => tx.counts()), queue);
  }

  /** Names of the queues that have or had jobs, and what was set on them. */
  async queues(): Promise<readonly (QueueRow & { readonly stats: JobStats })[]> {
    const { counts, set } = await this.#core.look((tx) => ({
      counts: tx.counts(),
      set: tx.queues(),
    }));
    const names = new Set([...counts.map(({ queue }) => queue), ...set.map(({ name }) => name)]);
    return [...names].toSorted().map((name) => {
      const row = set.find((one) => one.name === name) ?? unset(name);
      const stats = countsOf(counts, name);
      return { ...row, stats };
    });
  }

  /** Dead letters, the newest first: jobs that failed for good, with all that a replay needs. */
  async deadLetters({ limit = 100 }: { readonly limit?: number } = {}): Promise<
    readonly JobDeadLetter[]
  > {
    return this.#letters.list(checkCount("limit", limit, 1));
  }

  /** One dead letter, by the id of its job; undefined when there is none. */
  async deadLetter(id: string): Promise<JobDeadLetter | undefined> {
    return this.#letters.find(id);
  }

  /**
   * Gives a dead job its retries anew, and revives the jobs that its death cancelled. It keeps its id; what has completed is not
   * run again.
   * @throws FabricError `NOT_FOUND` when no dead job has this id; `CONFLICT` while its last body has not stopped.
   */
  async replay(id: string): Promise<QueuedJob> {
    this.#core.checkOpen();
    const known = await this.#letters.replay(id);
    this.#wake();
    return new QueuedJob(this.#core, known);
  }

  /** Gives dead letters up: their jobs have failed, and can be replayed no more. Resolves with how many. */
  async purgeDeadLetters({
    olderThanMs = 0,
  }: { readonly olderThanMs?: number } = {}): Promise<number> {
    this.#core.checkOpen();
    return this.#letters.purge(checkMs("olderThanMs", olderThanMs, 0, Number.MAX_SAFE_INTEGER));
  }

  /** Forgets ended jobs. Resolves with their ids. A job that another one still waits with is kept. */
  async purge(wanted: JobPurge = {}): Promise<readonly string[]> {
    this.#core.checkOpen();
    const {
      statuses = ["complete", "cancelled", "failed"],
      olderThanMs = 0,
      dryRun = false,
    } = wanted;
    checkMs("olderThanMs", olderThanMs, 0, Number.MAX_SAFE_INTEGER);
    for (const status of statuses)
      if (!JOB_STATUSES.includes(status) || status === "pending" || status === "running")
        throw invalidArgument("statuses", "complete, cancelled, failed or dead", status);
    const gone: string[] = [];
    for (const status of new Set(statuses)) {
      for (;;) {
        const ids = await this.#core.committer.write((turn) =>
          purgeEnded(
            turn,
            status,
            turn.nowMs - olderThanMs,
            dryRun ? Number.MAX_SAFE_INTEGER : purgedMax,
            dryRun,
          ),
        );
        for (const id of ids) gone.push(id);
        if (dryRun || ids.length === 0) break;
      }
    }
    return gone;
  }

  /** Lets no job of a queue start, in any process; those that run go on. */
  async pause(queue: string): Promise<void> {
    await this.#setQueue(queue, (row) => ({ ...row, isPaused: true }), "paused");
  }

  /** Lets a paused queue's jobs start again. */
  async resume(queue: string): Promise<void> {
    await this.#setQueue(queue, (row) => ({ ...row, isPaused: false }), "resumed");
    this.#wake();
  }

  /** Sets limits of a queue, which hold over all processes. @throws FabricError `INVALID_ARGUMENT`. */
  async limit(queue: string, limits: QueueLimits): Promise<void> {
    const { maxConcurrent, rateLimit } = limits;
    if (maxConcurrent !== undefined && maxConcurrent !== null)
      checkCount("maxConcurrent", maxConcurrent, 1);
    const rate =
      rateLimit === undefined || rateLimit === null ? undefined : parseRate("rateLimit", rateLimit);
    await this.#setQueue(queue, (row) => ({
      ...row,
      maxConcurrent: maxConcurrent === undefined ? row.maxConcurrent : maxConcurrent,
      ...(rateLimit === undefined
        ? {}
        : { ratePerSecond: rate?.perSecond ?? null, rateBurst: rate?.burst ?? null }),
    }));
    this.#wake();
  }

  /** Schedules, by name. */
  async crons(): Promise<readonly Omit<CronRow, "args">[]> {
    const rows = await this.#core.look((tx) => tx.crons());
    return rows.map(({ args: _args, ...row }) => row);
  }

  /** Ends a schedule. False when there is none of this name. */
  async deleteCron(name: string): Promise<boolean> {
    this.#core.checkOpen();
    return this.#core.committer.write((turn) => turn.tx.deleteCron(name));
  }

  /** The workers of all processes. */
  async workers(): Promise<readonly WorkerInfo[]> {
    return this.#core.look((tx) =>
      tx
        .workers()
        .map(({ beats: _beats, ...row }) => ({ ...row, running: tx.runningOf(row.id).length })),
    );
  }

  /** What happens in this process from now on, as it happens. Ends with the queue, or when its reader leaves. */
  events(): AsyncIterableIterator<JobQueueEvent> {
    const feed: EventFeed = new EventFeed(
      (watcher) => this.#core.subscribe(watcher),
      () => this.#feeds.delete(feed),
    );
    this.#feeds.add(feed);
    // Nobody else would end it any more.
    if (this.#core.isClosed) feed.end();
    return feed;
  }

  /** Calls `watcher` with every event of this process, until the returned function is called. */
  onEvent(watcher: (event: JobQueueEvent) => void): () => void {
    return this.#core.subscribe(watcher);
  }

  /**
   * Starts a worker, which runs jobs of the declared tasks until `signal` is aborted or the queue is closed. Awaiting it waits for its
   * end.
   * @throws FabricError `INVALID_ARGUMENT`.
   */
  runWorker(options: WorkerOptions = {}): JobWorker {
    this.#core.checkOpen();
    if (this.#closing !== undefined)
      throw new FabricError("STORE_UNAVAILABLE", "The job queue is being closed", {});
    const { queues, signal, concurrency, drainMs = 30_000 } = options;
    for (const queue of queues ?? []) checkName("queues", queue);
    if (signal !== undefined && typeof signal?.addEventListener !== "function")
      throw invalidArgument("signal", "an AbortSignal", signal);
    const { options: own, tasks } = this.#core;
    const worker = new JobWorker(this.#core, {
      queues: () =>
        queues ?? [...new Set(["default", ...[...tasks.values()].map(({ queue }) => queue)])],
      concurrency: checkCount("concurrency", concurrency ?? own.concurrency, 1),
      drainMs: checkMs("drainMs", drainMs, 0),
    });
    this.#workers.add(worker);
    // Why one could not begin is told by the worker.
    const stop = (): void => void worker.stop().catch(() => {});
    signal?.addEventListener("abort", stop);
    const forgetWorker = (): void => {
      signal?.removeEventListener("abort", stop);
      this.#workers.delete(worker);
    };
    void worker.run(signal?.aborted === true).then(forgetWorker, forgetWorker);
    return worker;
  }

  /** Stops the workers of this queue, each within its `drainMs`, and lets the store go. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #close(): Promise<void> {
    await Promise.allSettled([...this.#workers].map((worker) => worker.stop()));
    for (const feed of this.#feeds) feed.end();
    await this.#core.close();
  }

  #wake(): void {
    for (const worker of this.#workers) worker.wake();
  }

  async #enqueue(name: string, wanted: readonly JobWanted[]): Promise<readonly QueuedJob[]> {
    const core = this.#core;
    core.checkOpen();
    checkName("task", name);
    return this.#add(await requestsOf(core, name, wanted));
  }

  async #fanOut(name: string, items: string, options: EnqueueOptions): Promise<QueuedJob> {
    const core = this.#core;
    core.checkOpen();
    // Its items have arguments, and are held against the schema; it has none.
    const payload = { kind: "inline", bytes: core.ports.codec.encode([]) } as const;
    const fan = { task: name, items };
    const [job] = await this.#add([requestOf(core, name, { payload, inputs: [] }, options, fan)]);
    return job as QueuedJob;
  }

  // All of one call, or none: one that is refused undoes the others.
  async #add(requests: readonly ((nowMs: number) => JobRequest)[]): Promise<readonly QueuedJob[]> {
    const core = this.#core;
    const pending = core.committer.write((turn) =>
      requests.map((request) => enqueue(turn, request(turn.nowMs))),
    );
    this.#wake();
    return (await pending).map((known) => new QueuedJob(core, known));
  }

  async #cron(task: string, wanted: CronWanted): Promise<void> {
    const core = this.#core;
    core.checkOpen();
    const { cronNextMs } = core.ports;
    if (cronNextMs === undefined)
      throw new FabricError("UNSUPPORTED", "This host has no cron", { task });
    const { name, expression, timeZone } = wanted;
    checkName("name", name);
    const { args, inputs } = await plainBytes(core, task, wanted.args);
    if (inputs.length > 0)
      throw invalidArgument("args", "values: no job is there yet", wanted.args);
    const declared = core.tasks.get(task);
    const queue = checkName("queue", wanted.queue ?? declared?.queue ?? "default");
    const { defaultRetries, defaultTimeoutMs } = core.options;
    // Told here, once: whoever fires it need not declare the task.
    const spec = specOf(
      declared?.backoff,
      declared?.timeoutMs ?? defaultTimeoutMs,
      declared?.retries ?? defaultRetries,
    );
    const priority = declared?.priority ?? 0;
    await core.committer.write(({ tx, nowMs }) => {
      const before = tx.crons().find((one) => one.name === name);
      const isSame = before?.expression === expression && before.timeZone === timeZone;
      const nextMs = isSame ? before.nextMs : firstFire(cronNextMs, wanted, nowMs);
      const isPaused = before?.isPaused ?? false;
      const row = { name, task, queue, expression, timeZone, args, nextMs, isPaused };
      tx.putCron({ ...row, spec, priority });
    });
    this.#wake();
  }

  async #setQueue(
    name: string,
    change: (row: QueueRow) => QueueRow,
    told?: "paused" | "resumed",
  ): Promise<void> {
    this.#core.checkOpen();
    checkName("queue", name);
    await this.#core.committer.write((turn) => {
      const { tx, nowMs } = turn;
      tx.putQueue(change(tx.queues().find((one) => one.name === name) ?? unset(name)));
      if (told !== undefined) turn.told.push({ type: told, queue: name, atMs: nowMs });
    });
  }
}

function firstFire(
  cronNextMs: NonNullable<JobQueuePorts["cronNextMs"]>,
  { expression, timeZone }: CronWanted,
  nowMs: number,
): number {
  try {
    return cronNextMs(expression, timeZone, nowMs) ?? Infinity;
  } catch (cause) {
    const said = cause instanceof Error ? cause.message : String(cause);
    throw new FabricError(
      "INVALID_ARGUMENT",
      `cron: expected five or six fields and an IANA time zone, got "${expression}" in "${timeZone}": ${said}`,
      { expression, timeZone },
      { cause },
    );
  }
}

function unset(name: string): QueueRow {
  return { name, isPaused: false, maxConcurrent: null, ratePerSecond: null, rateBurst: null };
}

function countsOf(counts: readonly StatusCount[], queue: string | undefined): JobStats {
  const stats = { pending: 0, running: 0, complete: 0, failed: 0, dead: 0, cancelled: 0 };
  for (const one of counts)
    if (queue === undefined || one.queue === queue) stats[one.status] += one.count;
  return stats;
}
