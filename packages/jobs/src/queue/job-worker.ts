/** A worker: claims jobs as it has room, runs them, and gives back what it cannot finish. */
import { assert, FabricError } from "@selvage/fabric";
import { claim, giveUp, sweep, Watch, type Catch, type Claim } from "./claims.ts";
import { fireCrons } from "./cron.ts";
import { JobAttempt } from "./job-attempt.ts";
import { PHASES, type WorkerRow } from "./job-record.ts";
import { claimed, fail, failureOf, handBack, letGo, overrun } from "./lifecycle.ts";
import { refuse, settle, timedOut, type Halt, type Outcome } from "./outcome.ts";
import { startKeeper } from "./loop-keeper.ts";
import type { QueueCore } from "./queue-core.ts";
import type { ClaimKeeper } from "./queue-options.ts";
import { sweepRetained } from "./retention.ts";
import { upload } from "./request.ts";
import type { ResolvedWorker, Running, WorkerResult } from "./worker-state.ts";
import { WorkerThreads } from "./worker-threads.ts";

/** Beats within a TTL: two may be missed. */
const beatsPerLease = 3;

/**
 * A worker of this process, running until it is stopped. Awaiting it waits for its end.
 */
export class JobWorker implements PromiseLike<WorkerResult> {
  readonly #core: QueueCore;
  readonly #options: ResolvedWorker;
  readonly #running = new Set<Running>();
  // How many bodies have not ended.
  #busy = 0;
  readonly #watch: Watch;
  readonly #threads: WorkerThreads;
  readonly #ended = Promise.withResolvers<WorkerResult>();
  readonly #counts = { completed: 0, failed: 0, handedBack: 0 };
  #id = "";
  #starting: Promise<void> | undefined;
  #keeper: ClaimKeeper | undefined;
  #cancelTick: () => void = () => {};
  #isClaiming = false;
  #isStopping = false;
  #hasLeft = false;
  // End the waits for a store that is out of order.
  readonly #sleepers = new Set<() => void>();
  #isTicking = false;
  #unhint: () => void = () => {};
  #idle: (() => void) | undefined;
  #nextMs = Infinity;

  constructor(core: QueueCore, options: ResolvedWorker) {
    this.#core = core;
    this.#options = options;
    this.#watch = new Watch(core.options.pollMs);
    // Whoever wants to know awaits it; nobody has to.
    this.#ended.promise.catch(() => {});
    this.#threads = new WorkerThreads(core, Math.min(options.concurrency, core.ports.parallelism));
  }

  /** Who it is; another one after it was given up by others. */
  get id(): string {
    return this.#id;
  }

  /** Jobs that it runs. */
  get running(): number {
    return this.#running.size;
  }

  /** Resolves with what it did, once it has stopped. */
  get done(): Promise<WorkerResult> {
    return this.#ended.promise;
  }

  // oxlint-disable-next-line unicorn/no-thenable -- awaiting a worker is how it is used
  then<T = WorkerResult, E = never>(
    onFulfilled?: ((result: WorkerResult) => T | PromiseLike<T>) | null,
    onRejected?: ((error: unknown) => E | PromiseLike<E>) | null,
  ): Promise<T | E> {
    return this.#ended.promise.then(onFulfilled, onRejected);
  }

  /** Runs until it is stopped. A store that cannot be had yet is waited for. */
  async run(isStopped: boolean): Promise<void> {
    this.#starting = this.#beginAnew();
    await this.#starting;
    this.#unhint = this.#core.onHint(() => this.wake());
    this.#tick();
    this.wake();
    if (isStopped) void this.stop();
    await this.#ended.promise;
  }

  /**
   * Claims nothing more, and ends what runs: it may go on for `drainMs`, is then told to stop, and is handed back if it does
   * not. Resolves with what the worker did. Calling it again changes nothing.
   */
  async stop(drainMs: number = this.#options.drainMs): Promise<WorkerResult> {
    if (this.#isStopping) return this.#ended.promise;
    this.#isStopping = true;
    if (this.#id === "") this.#endSleeps();
    try {
      await this.#starting;
      this.#unhint();
      await this.#drain(drainMs);
    } finally {
      this.#cancelTick();
      await this.#leave();
      this.#endSleeps();
      const { handedBack } = this.#counts;
      this.#ended.resolve({ status: handedBack > 0 ? "handed-back" : "drained", ...this.#counts });
    }
    return this.#ended.promise;
  }

  /** Something may be there to claim. */
  wake(): void {
    if (this.#isStopping || this.#isClaiming || this.#id === "" || this.#room() <= 0) return;
    this.#isClaiming = true;
    void this.#claim();
  }

  #room(): number {
    return this.#options.concurrency - this.#busy;
  }

  async #claim(): Promise<void> {
    const { committer, tasks } = this.#core;
    const worker = this.#id;
    try {
      const found = await committer.writeLast((turn): Catch | undefined => {
        const slots = this.#room();
        if (this.#isStopping || slots <= 0) return { claims: [], nextMs: undefined };
        const queues = this.#options.queues();
        return claim(turn, { worker, queues, tasks: [...tasks.values()], slots });
      });
      this.#isClaiming = false;
      if (found === undefined) return void this.#lost(worker);
      // Given up since: what it has claimed is free again.
      if (worker !== this.#id) return;
      if (this.#isStopping) return await this.#giveBack(found.claims);
      for (const one of found.claims) this.#begin(one);
      if (found.nextMs !== undefined) this.#tickBy(found.nextMs);
      // As many as there was room for: there may be more.
      if (found.claims.length > 0) this.wake();
    } catch (error) {
      this.#isClaiming = false;
      this.#trouble(error);
    }
  }

  #begin(one: Claim): void {
    const task = this.#core.tasks.get(one.job.task);
    assert(task !== undefined, "only declared tasks are claimed");
    const attempt = new JobAttempt(this.#core, one, task, () => this.#keeper?.stamp());
    const running: Running = { attempt, hasSettled: false, halt: undefined, timers: [] };
    this.#running.add(running);
    this.#busy++;
    void this.#run(running);
  }

  async #run(running: Running): Promise<void> {
    const { attempt } = running;
    const { timeoutMs } = attempt.claim.job.spec;
    const ended = await attempt.run(
      () => this.#threads.parts(),
      () => {
        // The wait for a thread is not the body's.
        if (timeoutMs > 0) this.#after(running, timeoutMs, () => this.#timeOut(running, timeoutMs));
      },
    );
    running.hasSettled = true;
    this.#busy--;
    for (const clear of running.timers) clear();
    try {
      if (running.halt === "lost") return;
      const payload = "bytes" in ended ? await upload(this.#core, ended.bytes) : undefined;
      const written = this.#core.committer.write((turn) =>
        settle(turn, attempt, { ended, payload, halt: running.halt }),
      );
      // In the same transaction: the room that this leaves is taken.
      this.wake();
      this.#count(await written);
    } catch (error) {
      // The store has the claim still; the TTL gives it back if nothing else does.
      this.#trouble(error);
      await this.#failLater(attempt, "error" in ended ? ended : { error, retries: true });
    } finally {
      this.#running.delete(running);
      if (this.#running.size === 0) this.#idle?.();
      this.wake();
    }
  }

  #count(what: Outcome | undefined): void {
    if (what !== undefined) this.#counts[what]++;
  }

  // The outcome was not taken: the disk is full, an upload has lapsed. The attempt has failed, of that or of its own.
  async #failLater(
    attempt: JobAttempt,
    { error, retries }: { readonly error: unknown; readonly retries: boolean },
  ): Promise<void> {
    try {
      await this.#core.committer.write((turn) => {
        const job = claimed(turn, attempt.claim);
        if (job === undefined) return refuse(turn, attempt.claim);
        const failure = failureOf(error, job.attempts, turn.nowMs);
        fail(turn, job, { failure, retryAfterMs: attempt.retryAfterMs(error, retries) });
      });
    } catch (thrown) {
      this.#trouble(thrown);
      // Nothing can be written: what this worker has is given up with it, unless the store comes back before.
      if (this.#hasLeft) return;
      await this.#sleep(this.#core.options.pollMs);
      await this.#failLater(attempt, { error, retries });
    }
  }

  // Claimed in the moment of its stop: nothing of it has begun.
  async #giveBack(claims: readonly Claim[]): Promise<void> {
    await this.#core.committer.write((turn) => {
      for (const one of claims) {
        const job = claimed(turn, one);
        if (job !== undefined) handBack(turn, job);
      }
    });
  }

  #timeOut(running: Running, timeoutMs: number): void {
    const { id } = running.attempt.claim.job;
    this.#halt(running, "timed-out", timedOut(id, timeoutMs));
  }

  // Told once; a body that has not ended after its grace is ended, or goes on without its job.
  #halt(running: Running, halt: Halt, reason: FabricError): void {
    if (running.halt !== undefined || running.hasSettled) return;
    running.halt = halt;
    running.attempt.abort(reason);
    if (halt === "stopped") return;
    this.#after(running, this.#core.options.graceMs, () => {
      if (!running.hasSettled && !running.attempt.terminate()) void this.#overrun(running, reason);
    });
  }

  async #overrun(running: Running, reason: FabricError): Promise<void> {
    const { claim: token } = running.attempt;
    running.attempt.disown();
    const { graceMs } = this.#core.options;
    const error = new FabricError(
      reason.code,
      `${reason.message}; its body did not stop within ${graceMs} ms and may still run, so it is not tried again`,
      reason.details,
      { cause: reason },
    );
    try {
      await this.#core.committer.write((turn) => {
        const job = claimed(turn, token);
        if (job !== undefined) overrun(turn, job, failureOf(error, job.attempts, turn.nowMs));
      });
      this.#counts.failed++;
    } catch (thrown) {
      this.#trouble(thrown);
      // A body that never ends would keep its job for ever; one that was handed back does not have it any more.
      if (running.hasSettled || !this.#running.has(running)) return;
      this.#after(running, this.#core.options.pollMs, () => void this.#overrun(running, reason));
    }
  }

  #after(running: Running, ms: number, act: () => void): void {
    running.timers.push(this.#core.ports.timer.after(ms, act));
  }

  #tickBy(wallMs: number): void {
    if (this.#isStopping || wallMs >= this.#nextMs) return;
    this.#cancelTick();
    this.#nextMs = wallMs;
    const { clock } = this.#core.ports;
    // A clock that was set back meanwhile does not put the tick off.
    const waitMs = Math.min(this.#core.options.pollMs, Math.max(1, wallMs - clock.nowMs()));
    this.#cancelTick = this.#core.ports.timer.after(waitMs, () => this.#tick());
  }

  #tick(): void {
    if (this.#isTicking) return;
    this.#isTicking = true;
    this.#nextMs = Infinity;
    void this.#look();
  }

  async #look(): Promise<void> {
    const { committer, ports, options } = this.#core;
    let soonMs = ports.clock.nowMs() + options.pollMs;
    try {
      const seen = await committer.write((turn) => {
        const isMore = sweep(turn);
        const cronMs = fireCrons(turn, this.#core);
        sweepRetained(turn, options.retention);
        const nextMs = isMore ? turn.nowMs : (turn.tx.nextTimeMs() ?? Infinity);
        return {
          nextMs: Math.min(nextMs, cronMs),
          workers: turn.tx.workers(),
          cancelling: turn.tx.cancellingOf(this.#id),
        };
      });
      soonMs = Math.min(soonMs, seen.nextMs);
      this.#cancelAll(seen.cancelling);
      await this.#giveUpSilent(seen.workers);
      this.#endSilentThreads();
    } catch (error) {
      this.#trouble(error);
    }
    this.#isTicking = false;
    // What was set meanwhile found it at work.
    this.#nextMs = Infinity;
    this.#tickBy(Math.max(soonMs, ports.clock.nowMs() + 1));
    this.wake();
  }

  // A thread that says nothing for a TTL does not hold its claim: a loop without end, or work that reports nothing.
  #endSilentThreads(): void {
    for (const { attempt } of this.#running) if (attempt.isLapsed) attempt.terminate();
  }

  #cancelAll(seqs: readonly number[]): void {
    for (const running of this.#running) {
      const { seq, job } = running.attempt.claim;
      if (!seqs.includes(seq)) continue;
      const error = new FabricError("REVOKED", `The job ${job.id} was cancelled`, { job: job.id });
      this.#halt(running, "cancelled", error);
    }
  }

  /** A job that it may run was cancelled in this process: it need not wait for its tick. */
  cancelled(seq: number): void {
    this.#cancelAll([seq]);
  }

  async #giveUpSilent(workers: readonly WorkerRow[]): Promise<void> {
    // Silence is for other processes to judge: none adopts what it has itself.
    const others = workers.filter(({ id }) => !this.#core.ownWorkers.has(id));
    const silent = this.#watch.look(others, this.#core.monotonicMs());
    if (silent.length === 0) return;
    await this.#core.committer.write((turn) => {
      const now = new Map(turn.tx.workers().map((worker) => [worker.id, worker]));
      // One that said something since it was looked at is alive.
      for (const worker of silent)
        if (now.get(worker.id)?.beats === worker.beats) giveUp(turn, worker);
    });
  }

  async #register(): Promise<void> {
    const { committer, ports, options } = this.#core;
    const id = this.#core.newId();
    const keeper = startKeeper(this.#core, {
      worker: id,
      beatMs: options.leaseMs / beatsPerLease,
      onLost: () => void this.#lost(id),
    });
    this.#keeper = keeper;
    try {
      await committer.write((turn) => {
        const { nowMs: startedMs } = turn;
        turn.tx.putWorker({
          ...{ id, label: ports.label, queues: this.#options.queues(), startedMs },
          ...{ leaseMs: options.leaseMs, beats: 0, beatMs: startedMs },
        });
        turn.told.push({ type: "worker-started", worker: id, atMs: startedMs });
      });
    } catch (error) {
      await keeper.stop();
      throw error;
    }
    this.#id = id;
    this.#core.ownWorkers.add(id);
    keeper.begin?.();
  }

  // Others have given it up: nothing that it has counts, and it begins anew under another name.
  async #lost(id: string): Promise<void> {
    if (id !== this.#id || this.#isStopping) return;
    this.#id = "";
    this.#core.ownWorkers.delete(id);
    const error = new FabricError(
      "LEASE_EXPIRED",
      `The worker ${id} was given up: it was silent for too long`,
      { worker: id },
    );
    for (const running of this.#running) {
      running.attempt.disown();
      running.halt = "lost";
      running.attempt.abort(error);
      running.attempt.terminate();
    }
    // A stop waits for that: what begins anew is to end as well.
    this.#starting = this.#beginAnew();
    await this.#starting;
    this.wake();
  }

  async #beginAnew(): Promise<void> {
    await this.#keeper?.stop();
    while (this.#id === "" && !this.#isStopping) {
      try {
        await this.#register();
      } catch (thrown) {
        this.#trouble(thrown);
        if (!this.#isStopping) await this.#sleep(this.#core.options.pollMs);
      }
    }
  }

  async #drain(drainMs: number): Promise<void> {
    if (await this.#emptyWithin(drainMs)) return;
    const error = new FabricError("REVOKED", "The worker stops", {});
    for (const running of this.#running) this.#halt(running, "stopped", error);
    if (await this.#emptyWithin(this.#core.options.graceMs)) return;
    for (const running of this.#running) {
      running.attempt.disown();
      running.attempt.terminate();
    }
    await this.#handBackRest();
  }

  async #handBackRest(): Promise<void> {
    const rest = [...this.#running].filter(({ hasSettled }) => !hasSettled);
    let handed = rest.length;
    try {
      handed = await this.#core.committer.write((turn) => {
        const jobs = rest.flatMap(({ attempt }) => claimed(turn, attempt.claim) ?? []);
        for (const job of jobs) handBack(turn, job);
        return jobs.length;
      });
    } catch (error) {
      // They go back when its TTL has passed, unless it can say so as it leaves.
      this.#trouble(error);
    }
    for (const running of rest) {
      // Its body may go on; nothing waits for it.
      for (const clear of running.timers) clear();
      this.#running.delete(running);
    }
    this.#counts.handedBack += handed;
  }

  // What is left of it in the store: nothing, so that nobody need wait for its TTL.
  async #leave(): Promise<void> {
    const id = this.#id;
    try {
      await this.#keeper?.stop();
      await this.#core.committer.write((turn) => {
        for (const seq of turn.tx.runningOf(id)) {
          const job = turn.tx.jobAt(seq);
          if (job?.phase === PHASES.running) handBack(turn, job);
          else if (job !== undefined) letGo(turn, job);
        }
        turn.tx.deleteWorker(id);
        turn.told.push({ type: "worker-stopped", worker: id, atMs: turn.nowMs });
      });
    } catch (error) {
      // Its claims go back when its TTL has passed.
      this.#trouble(error);
    }
    this.#core.ownWorkers.delete(id);
    this.#hasLeft = true;
    try {
      await this.#threads.close();
    } catch (error) {
      this.#trouble(error);
    }
  }

  async #emptyWithin(ms: number): Promise<boolean> {
    if (this.#running.size === 0) return true;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#idle = resolve;
    const cancel = this.#core.ports.timer.after(ms, resolve);
    await promise;
    cancel();
    this.#idle = undefined;
    return this.#running.size === 0;
  }

  #sleep(ms: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const wake = (): void => {
      cancel();
      this.#sleepers.delete(wake);
      resolve();
    };
    const cancel = this.#core.ports.timer.after(ms, wake);
    this.#sleepers.add(wake);
    return promise;
  }

  #endSleeps(): void {
    for (const wake of this.#sleepers) wake();
  }

  #trouble(error: unknown): void {
    this.#core.emit([{ type: "trouble", error, atMs: this.#core.ports.clock.nowMs() }]);
  }
}
