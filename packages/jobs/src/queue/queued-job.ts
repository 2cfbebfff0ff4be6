/** A job, as its users hold it. */
import { FabricError, type FabricErrorCode } from "@selvage/fabric";
import {
  isEnd,
  PHASES,
  statusOf,
  type AttemptFailure,
  type JobStatus,
  type Payload,
} from "./job-record.ts";
import { snapshotOf, type JobSnapshot } from "./job-snapshot.ts";
import type { JobTx } from "./job-store.ts";
import { payloadBytes } from "./turn.ts";

/** What a handle asks of its queue. */
export interface JobHome {
  look<T>(work: (tx: JobTx) => T): Promise<T>;
  decode(bytes: Uint8Array): unknown;
  /** Resolves when a job may have changed, or after a while. */
  settled(jobId: string, timeoutMs: number): Promise<void>;
  monotonicMs(): number;
}

/**
 * A job. What it shows is what was known when it was last looked at: by `refresh`, by `result`, or when it was made.
 */
export class QueuedJob<R = unknown> {
  readonly #home: JobHome;
  #known: JobSnapshot;

  constructor(home: JobHome, known: JobSnapshot) {
    this.#home = home;
    this.#known = known;
  }

  get id(): string {
    return this.#known.row.id;
  }

  get taskName(): string {
    return this.#known.row.task;
  }

  get queue(): string {
    return this.#known.row.queue;
  }

  get status(): JobStatus {
    return statusOf(this.#known.row.phase);
  }

  /** 0 to 100. */
  get progress(): number {
    return this.#known.row.progress;
  }

  get priority(): number {
    return this.#known.row.priority;
  }

  /** Attempts begun. */
  get attempts(): number {
    return this.#known.row.attempts;
  }

  /** Ids of the jobs that it depends on. */
  get dependencies(): readonly string[] {
    return this.#known.dependencies;
  }

  /** Ids of the jobs that depend on it. */
  get dependents(): readonly string[] {
    return this.#known.dependents;
  }

  get metadata(): string | undefined {
    return this.#known.row.metadata ?? undefined;
  }

  get notes(): Readonly<Record<string, unknown>> | undefined {
    const { notes } = this.#known.row;
    return notes === null ? undefined : (JSON.parse(notes) as Record<string, unknown>);
  }

  /** Each attempt that failed, in order. */
  get errors(): readonly AttemptFailure[] {
    return this.#known.errors;
  }

  /** Why it was cancelled or died. */
  get because(): string | undefined {
    return this.#known.row.because ?? undefined;
  }

  /** When it was made, first started and ended, and when it is due: milliseconds since the Unix epoch. */
  get times(): {
    readonly createdMs: number;
    readonly dueMs: number;
    readonly startedMs: number | undefined;
    readonly endedMs: number | undefined;
  } {
    const { createdMs, dueMs, startedMs, endedMs } = this.#known.row;
    return { createdMs, dueMs, startedMs: startedMs ?? undefined, endedMs: endedMs ?? undefined };
  }

  /** Looks again. Resolves with this job, or undefined once it was purged: then it shows what was known. */
  async refresh(): Promise<this | undefined> {
    const found = await this.#home.look((tx) => {
      const row = tx.jobAt(this.#known.row.seq);
      return row?.id === this.id ? snapshotOf(tx, row) : undefined;
    });
    if (found === undefined) return undefined;
    this.#known = found;
    return this;
  }

  /**
   * Waits until the job has ended, in whatever process, and resolves with what it returned. A `timeoutMs` of 0 looks once.
   * @throws FabricError `TIMED_OUT` (the job goes on), `EXHAUSTED` (it is dead, or failed), `REVOKED` (it was cancelled),
   * `NOT_FOUND` (it was purged).
   */
  async result({ timeoutMs = 30_000 }: { readonly timeoutMs?: number } = {}): Promise<R> {
    const home = this.#home;
    const untilMs = home.monotonicMs() + timeoutMs;
    for (;;) {
      const leftMs = untilMs - home.monotonicMs();
      // Asked for before it is looked at: what changes in between is heard.
      const changed = home.settled(this.id, Math.max(0, leftMs));
      const found = await this.refresh();
      if (found === undefined) throw ended(this, "NOT_FOUND", "was purged");
      if (isEnd(this.#known.row.phase)) return (await this.#outcome()) as R;
      if (!(leftMs > 0)) throw ended(this, "TIMED_OUT", `has not ended within ${timeoutMs} ms`);
      await changed;
    }
  }

  /**
   * Partial results, from the first one on, as the job publishes them; it ends when the job has.
   * @throws FabricError `NOT_FOUND` when the job was purged.
   */
  async *partials<P = unknown>(): AsyncGenerator<P, void, undefined> {
    let from = 0;
    for (;;) {
      const changed = this.#home.settled(this.id, 200);
      const found = await this.#home.look((tx) => {
        const row = tx.jobAt(this.#known.row.seq);
        if (row === undefined) return undefined;
        return { isOver: isEnd(row.phase), parts: tx.partialsOf(row.seq, from) };
      });
      if (found === undefined) throw ended(this, "NOT_FOUND", "was purged");
      from += found.parts.length;
      for (const bytes of found.parts) yield this.#home.decode(bytes) as P;
      if (found.isOver) return;
      await changed;
    }
  }

  async #outcome(): Promise<unknown> {
    const { row } = this.#known;
    if (row.phase !== PHASES.complete) {
      const isCancelled = row.phase === PHASES.cancelled;
      const said = row.because ?? statusOf(row.phase);
      throw isCancelled
        ? ended(this, "REVOKED", `was cancelled: ${said}`)
        : ended(this, "EXHAUSTED", `failed for good: ${said}`);
    }
    const { result } = row;
    if (result === null) return undefined;
    const bytes =
      result.kind === "inline"
        ? result.bytes.slice()
        : await this.#home.look((tx) => payloadBytes(tx, result));
    if (bytes === undefined) throw ended(this, "NOT_FOUND", "has lost its result");
    return bytes.length === 0 ? undefined : this.#home.decode(bytes);
  }

  /** The encoded arguments. */
  get args(): Payload {
    return this.#known.row.args;
  }
}

function ended(job: QueuedJob, code: FabricErrorCode, what: string): FabricError {
  const { id, taskName, status } = job;
  return new FabricError(code, `The job ${id} of "${taskName}" ${what}`, {
    job: id,
    task: taskName,
    status,
  });
}
