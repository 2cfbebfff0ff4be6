/** One attempt at a job: its arguments are made, its body runs, here or on a thread, and it ends in one way. */
import { FabricError, isFabricError, type AbortSignalLike } from "@selvage/fabric";
import type { RetryPolicy } from "@selvage/leasekit";
import { randomFraction, retryDelayMs } from "@selvage/leasekit";
import { attemptThere, type ChunkAttempt, type ThreadParts } from "../chunks/chunk-attempt.ts";
import type { Claim } from "./claims.ts";
import { checkPercent, encodeResult, type FarJob, type JobContext } from "./job-body.ts";
import type { InputSpec } from "./job-record.ts";
import { claimed } from "./lifecycle.ts";
import type { DeclaredTask, QueueCore } from "./queue-core.ts";
import { eventBase } from "./queue-events.ts";
import { validate } from "./validate.ts";

/** How a body ended. */
export type BodyEnd =
  { readonly bytes: Uint8Array } | { readonly error: unknown; readonly retries: boolean };

/** Progress is written at most this often, in milliseconds. */
const progressEveryMs = 200;

/** Marks a failure that no other attempt can mend. */
export class NonRetryableError extends Error {
  override readonly name = "NonRetryableError";
}

/** An attempt under way. */
export class JobAttempt {
  readonly claim: Claim;
  readonly task: DeclaredTask;
  readonly #core: QueueCore;
  readonly #stamp: () => void;
  // Made when it is first needed: most bodies never look at their signal.
  #source: ReturnType<QueueCore["ports"]["abortSource"]> | undefined;
  #far: ChunkAttempt | undefined;
  #progress: number | undefined;
  #progressTimer: (() => void) | undefined;
  #isOver = false;

  constructor(core: QueueCore, claim: Claim, task: DeclaredTask, stamp: () => void) {
    this.#core = core;
    this.claim = claim;
    this.task = task;
    this.#stamp = stamp;
  }

  /** Runs the body, and says when it begins. Resolves with how it ended; never rejects. */
  async run(threads: () => Promise<ThreadParts>, onStart: () => void): Promise<BodyEnd> {
    try {
      const args = await this.#args();
      const { body } = this.task;
      if (typeof body !== "function")
        return { bytes: await this.#there(body, args, threads, onStart) };
      onStart();
      const value: unknown = await body(this.#context(), ...args);
      const bytes = encodeResult(this.#core.ports.codec, value);
      return { bytes: this.#core.checkSize("result", bytes) };
    } catch (error) {
      return { error, retries: isRetryable(error) };
    } finally {
      this.#isOver = true;
      this.#progressTimer?.();
    }
  }

  /** Tells the body to stop. */
  abort(reason: unknown): void {
    this.#signals().abort(reason);
    this.#far?.abort(reason);
  }

  /** Ends the body, whatever it does. False where nothing can: a function on this thread goes on. */
  terminate(): boolean {
    this.#far?.end();
    // One that waits for its thread does not begin any more.
    return typeof this.task.body !== "function";
  }

  /** True once what it holds on its thread has lapsed: it was silent for too long. */
  get isLapsed(): boolean {
    return this.#far?.isLapsed ?? false;
  }

  /** What it says counts no more. */
  disown(): void {
    this.#isOver = true;
    this.#progressTimer?.();
  }

  #signals(): ReturnType<QueueCore["ports"]["abortSource"]> {
    return (this.#source ??= this.#core.ports.abortSource());
  }

  async #args(): Promise<readonly unknown[]> {
    const { args: bytes, job, results } = this.claim;
    if (bytes === undefined)
      throw new FabricError("NOT_FOUND", `The arguments of the job ${job.id} are gone`, {
        job: job.id,
      });
    const args = [...(this.#core.decode(bytes) as unknown[])];
    const { inputs = [] } = job.spec;
    for (const input of inputs) {
      while (args.length <= input.index) args.push(null);
      args[input.index] = await this.#input(input, results);
    }
    const { input: schema } = this.task;
    return (inputs.length > 0 || job.spec.item !== undefined) && schema !== undefined
      ? validate(job.task, schema, args)
      : args;
  }

  async #input(input: InputSpec, results: Claim["results"]): Promise<unknown> {
    const values = input.jobs.map((id) => {
      const bytes = results.get(id);
      if (bytes === undefined)
        throw new FabricError(
          "UNRESOLVED_REF",
          `Cannot make argument ${input.index} of "${this.task.name}": the result of the job ${id} is gone, purged with it`,
          { task: this.task.name, job: id },
        );
      return bytes === null || bytes.length === 0 ? undefined : this.#core.decode(bytes);
    });
    if (input.combine === "value") return values[0];
    if (input.combine === "list") return values;
    const combine = this.#core.combiners.get(input.combine);
    if (combine !== undefined) return (combine as (...of: unknown[]) => unknown)(...values);
    throw new FabricError(
      "UNRESOLVED_REF",
      `Cannot make argument ${input.index} of "${this.task.name}": this process does not know the function ${input.combine}; declare it with JobQueue.combiner`,
      { task: this.task.name, combine: input.combine },
    );
  }

  async #there(
    module: { readonly href: string },
    args: readonly unknown[],
    threads: () => Promise<ThreadParts>,
    onStart: () => void,
  ): Promise<Uint8Array> {
    const { job, epoch } = this.claim;
    const far: FarJob = {
      args,
      queue: job.queue,
      taskName: job.task,
      metadata: job.metadata,
      epoch,
    };
    const bytes = this.#core.ports.codec.encode(far);
    const parts = await threads();
    const { signal } = this.#signals();
    if (signal.aborted) throw signal.reason;
    this.#far = attemptThere(
      module,
      {
        chunk: { id: job.id, index: 0, bytes },
        attempt: job.attempts,
        onStart,
        onProgress: (fraction) =>
          this.#advance(fraction === undefined ? undefined : fraction * 100),
        onLog: () => {},
      },
      { ...parts, form: "job" },
    );
    return this.#core.checkSize("result", await this.#far.output);
  }

  #context(): JobContext {
    const { job, epoch } = this.claim;
    const signalOf = (): AbortSignalLike => this.#signals().signal;
    return {
      jobId: job.id,
      taskName: job.task,
      queue: job.queue,
      attempt: job.attempts,
      epoch,
      get signal() {
        return signalOf();
      },
      metadata: job.metadata ?? undefined,
      isActive: () => !this.#isOver && this.#source?.signal.aborted !== true,
      updateProgress: (percent) => this.#advance(checkPercent(percent)),
      progress: () => this.#advance(undefined),
      publish: (value) => this.#publish(value),
    };
  }

  // The stamp is moved at once, also while the loop is busy; what is shown follows when it turns.
  #advance(percent: number | undefined): void {
    this.#stamp();
    if (percent === undefined || this.#isOver) return;
    this.#progress = percent;
    this.#progressTimer ??= this.#core.ports.timer.after(progressEveryMs, () => {
      this.#progressTimer = undefined;
      void this.#showProgress();
    });
  }

  async #showProgress(): Promise<void> {
    const { claim } = this;
    const progress = this.#progress as number;
    try {
      await this.#core.committer.write((turn) => {
        const job = claimed(turn, claim);
        if (job === undefined) return;
        job.progress = progress;
        turn.tx.saveJob(job, job.phase);
        turn.told.push({ type: "progress", progress, ...eventBase(job, turn.nowMs) });
      });
    } catch (error) {
      // Only shown: the work goes on without.
      this.#core.emit([{ type: "trouble", error, atMs: this.#core.ports.clock.nowMs() }]);
    }
  }

  async #publish(value: unknown): Promise<void> {
    this.#stamp();
    const { claim } = this;
    const bytes = this.#core.checkSize("partial result", this.#core.ports.codec.encode(value));
    const isKept = await this.#core.committer.write((turn) => {
      const job = claimed(turn, claim);
      if (job === undefined) return false;
      turn.tx.addPartial(job.seq, bytes);
      turn.told.push({ type: "progress", progress: job.progress, ...eventBase(job, turn.nowMs) });
      return true;
    });
    if (isKept) return;
    const { id } = claim.job;
    throw new FabricError("LEASE_EXPIRED", `Cannot publish: the claim of the job ${id} is over`, {
      job: id,
    });
  }

  /** How long to wait before the next attempt, in milliseconds; undefined when none may come. */
  retryAfterMs(error: unknown, retries: boolean): number | undefined {
    const { job } = this.claim;
    if (!retries || job.retriesLeft === 0 || !this.#isWorth(error)) return undefined;
    const { baseMs, factor, maxMs, jitter, delaysMs } = job.spec;
    const policy: RetryPolicy = {
      ...{ baseMs, factor, maxMs, jitter, retries: Infinity },
      ...(delaysMs === undefined ? {} : { delaysMs }),
    };
    return retryDelayMs(
      policy,
      job.spec.retries - job.retriesLeft + 1,
      error,
      randomFraction(this.#core.ports.random),
    );
  }

  // A predicate that throws says nothing: the failure is tried again.
  #isWorth(error: unknown): boolean {
    try {
      return this.task.retryOn?.(error) ?? true;
    } catch {
      return true;
    }
  }
}

function isRetryable(error: unknown): boolean {
  if (error instanceof Error && error.name === "NonRetryableError") return false;
  if (!isFabricError(error)) return true;
  // The same bytes and the same code would fail in the same way.
  const { code } = error;
  return (
    code !== "ENCODE" &&
    code !== "UNRESOLVED_REF" &&
    code !== "INVALID_ARGUMENT" &&
    code !== "DECODE"
  );
}
