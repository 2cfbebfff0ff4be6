/** A declared task: what makes its jobs. */
import type { EnqueueOptions } from "./queue-options.ts";
import type { Given, ResultOf } from "./combine.ts";
import type { QueuedJob } from "./queued-job.ts";

/** What a task asks of its queue. */
export interface TaskHome {
  enqueue(task: string, jobs: readonly JobWanted[]): Promise<readonly QueuedJob[]>;
  fanOut(task: string, items: string, options: EnqueueOptions): Promise<QueuedJob>;
  cron(task: string, cron: CronWanted): Promise<void>;
}

/** One job to be made. */
export interface JobWanted {
  readonly args: readonly unknown[];
  readonly options: EnqueueOptions;
}

/** A schedule to be set. */
export interface CronWanted {
  readonly name: string;
  readonly expression: string;
  readonly timeZone: string;
  readonly args: readonly unknown[];
  readonly queue: string | undefined;
}

/** Options of a schedule. */
export interface CronOptions<A extends readonly unknown[]> {
  /** Its name: setting it again replaces it. Default: the task's. */
  readonly name?: string;
  readonly args?: A;
  /** IANA time zone. Default `"UTC"`. */
  readonly timeZone?: string;
  readonly queue?: string;
}

/** A task of a {@link JobQueue}, with the types of its arguments and its result. */
export class QueuedTask<A extends readonly unknown[], R> {
  readonly name: string;
  readonly #home: TaskHome;

  constructor(home: TaskHome, name: string) {
    this.#home = home;
    this.name = name;
  }

  /**
   * Makes a job, and resolves once it is durable. Cost: a write to the disk, which all jobs that are made in one turn of the loop share.
   * @throws FabricError `INVALID_ARGUMENT`, `ENCODE`, `NOT_FOUND` and `CONFLICT` (a job that it depends on), `CAPACITY_EXCEEDED`,
   * `STORE_UNAVAILABLE`.
   */
  async enqueue(args: Given<A>, options: EnqueueOptions = {}): Promise<QueuedJob<R>> {
    const [job] = await this.#home.enqueue(this.name, [{ args, options }]);
    return job as QueuedJob<R>;
  }

  /** Makes many jobs in one transaction: all, or, when one is refused, none. @throws as {@link enqueue}. */
  async enqueueMany(
    jobs: readonly Given<A>[],
    options: EnqueueOptions | ((index: number) => EnqueueOptions) = {},
  ): Promise<readonly QueuedJob<R>[]> {
    const wanted = jobs.map((args, index) => ({
      args,
      options: typeof options === "function" ? options(index) : options,
    }));
    return (await this.#home.enqueue(this.name, wanted)) as readonly QueuedJob<R>[];
  }

  /**
   * Makes one job for each item that another job's result will have, and one that gathers what they return, in the order of the
   * items: that one is returned. An empty list is gathered at once.
   * @throws as {@link enqueue}.
   */
  async fanOut(
    items: ResultOf<readonly A[0][]>,
    options: EnqueueOptions = {},
  ): Promise<QueuedJob<R[]>> {
    return (await this.#home.fanOut(this.name, items.id, options)) as QueuedJob<R[]>;
  }

  /**
   * Makes a job whenever `expression` fires: five fields, or six with seconds first. Fires that nobody was there for are one.
   * @throws FabricError `INVALID_ARGUMENT`, `UNSUPPORTED` (a host without cron).
   */
  async cron(expression: string, options: CronOptions<A> = {}): Promise<void> {
    const { name = this.name, args = [], timeZone = "UTC", queue } = options;
    await this.#home.cron(this.name, { name, expression, timeZone, args, queue });
  }
}
