/** Jobs: functions that hand on maps, on the thread that runs them. The same machine decides as for plans. */
import { FabricError, type AbortSignalLike } from "@selvage/fabric";
import type { AbortSource } from "../run/execution-options.ts";
import type { AttemptError } from "../run/execution-result.ts";
import { isMap, JobContexts, type JobMap } from "./job-context.ts";
import { jobGraph, type JobGraph } from "./job-graph.ts";
import {
  resolveJob,
  type JobEvent,
  type JobFailureReason,
  type JobOptions,
  type JobPorts,
  type JobResult,
  type JobState,
  type JobTask,
  type JobTaskReport,
  type JobTaskState,
  type ResolvedJob,
  type TaskControls,
} from "./job-options.ts";
import { Lanes } from "../machine/lanes.ts";
import { RunMachine, type RunStep, type StopReason } from "../machine/run-machine.ts";
import { late } from "../run/task-book.ts";

/**
 * Runs tasks that hand on maps: each sees what the job was given and what the tasks before it returned. Starts at the next turn
 * of the microtask queue. The job resolves however it ended; it rejects with what `onEvent` threw.
 * @throws FabricError that tells everything that is wrong with the tasks, in `details.problems`: `UNRESOLVED_REF`, `GRAPH_CYCLE`,
 * `CONFLICT`, or `INVALID_ARGUMENT`, also where it is several of those.
 */
export function runTasks<C extends JobMap = JobMap>(
  tasks: readonly JobTask<C>[],
  options: JobOptions<C>,
  ports: JobPorts,
): Job<C> {
  const resolved = resolveJob(options);
  const graph = jobGraph(tasks as readonly JobTask[]);
  return new Job<C>({
    tasks: tasks as readonly JobTask[],
    graph,
    options,
    resolved,
    ports,
  });
}

interface JobParts {
  readonly tasks: readonly JobTask[];
  readonly graph: JobGraph & { readonly shape: NonNullable<JobGraph["shape"]> };
  readonly options: JobOptions;
  readonly resolved: ResolvedJob;
  readonly ports: JobPorts;
}

interface Failure {
  readonly reason: JobFailureReason;
  readonly name: string;
  readonly error?: unknown;
  readonly result?: unknown;
}

/** Tasks at work. Await it. */
export class Job<C extends JobMap = JobMap> implements PromiseLike<JobResult<C>> {
  readonly #parts: JobParts;
  readonly #machine: RunMachine;
  readonly #lanes: Lanes;
  readonly #contexts: JobContexts;
  readonly #states: JobTaskState[];
  readonly #attempts: Uint32Array;
  readonly #errors = new Map<number, AttemptError[]>();
  // Of attempts at work.
  readonly #controls: (Controls | undefined)[] = [];
  readonly #timers = new Map<number, () => void>();
  readonly #overrunning = new Set<number>();
  readonly #settled = Promise.withResolvers<JobResult<C>>();
  #state: JobState = "idle";
  // The first failure that is the job's.
  #failure: Failure | undefined;
  #thrown: { readonly thrown: unknown } | undefined;
  #reason: unknown;
  #release: (() => void) | undefined;

  /** For `runTasks`. */
  constructor(parts: JobParts) {
    const { graph, resolved, options, tasks } = parts;
    const { shape } = graph;
    this.#parts = parts;
    this.#machine = new RunMachine(shape, {
      ...resolved,
      tellsReady: options.onEvent !== undefined,
      tolerated: Uint8Array.from(tasks, (task) => (task.continueOnFailure === true ? 1 : 0)),
    });
    this.#contexts = new JobContexts(shape, resolved.ctx);
    this.#states = tasks.map(() => "unscheduled");
    this.#attempts = new Uint32Array(tasks.length);
    this.#lanes = new Lanes(this.#machine, {
      start: (task, epoch) => this.#start(task, epoch),
      done: (task, epoch, result) => this.#done(task, epoch, result),
      failed: (task, epoch, error) => this.#failed(task, epoch, error),
      step: (step) => this.#step(step),
      // A broken invariant: the machine may never settle now.
      broke: (thrown) => this.#settled.reject(thrown),
    });
    // Whoever starts a job has it before its first task runs.
    void Promise.resolve().then(() => this.#begin());
  }

  /** How the job stands. */
  get state(): JobState {
    return this.#state;
  }

  /** How each task stands, in the order in which they were given. */
  tasks(): readonly JobTaskReport[] {
    return this.#parts.tasks.map(({ name }, task) => {
      const cause = this.#machine.causeOf(task);
      return {
        name,
        state: this.#states[task] as JobTaskState,
        attempts: this.#attempts[task] as number,
        errors: this.#errors.get(task) ?? [],
        ...(cause < 0 ? {} : { because: this.#nameOf(cause) }),
      };
    });
  }

  /** Cancels the job: what runs is told, and given its grace; what it returns counts no more. Does nothing once it has ended. */
  cancel(reason?: unknown): void {
    this.#stop("cancelled", reason);
  }

  /** As of a promise of the result. */
  // oxlint-disable-next-line unicorn/no-thenable -- a job is awaited like a promise
  then<A = JobResult<C>, B = never>(
    onResult?: ((result: JobResult<C>) => A | PromiseLike<A>) | null,
    onError?: ((error: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    return this.#settled.promise.then(onResult, onError);
  }

  #begin(): void {
    const { options, ports } = this.#parts;
    const { signal, timeoutMs } = options;
    const onAbort = (): void => this.#stop("cancelled", signal?.reason);
    signal?.addEventListener("abort", onAbort);
    const stopTimer =
      timeoutMs === undefined
        ? undefined
        : ports.timer.after(timeoutMs, () => this.#stop("timedOut", late("The job", timeoutMs)));
    this.#release = () => {
      signal?.removeEventListener("abort", onAbort);
      stopTimer?.();
    };
    this.#enter("running");
    if (signal?.aborted === true) onAbort();
    this.#lanes.pump();
  }

  // Gives the result of a body, or a promise of it.
  #start(task: number, epoch: number): unknown {
    const { tasks, options, ports } = this.#parts;
    const { name, fn, timeoutMs } = tasks[task] as JobTask;
    const attempt = ((this.#attempts[task] as number) += 1);
    const controls = new Controls(this.#machine, ports, { task, epoch, name, attempt });
    this.#controls[task] = controls;
    if (timeoutMs !== undefined)
      this.#timers.set(
        task,
        ports.timer.after(timeoutMs, () => this.#timeOut(task, epoch, timeoutMs)),
      );
    this.#change(task, "running");
    // Whoever was told of this start may have ended the job.
    if (!this.#machine.isCurrent(task, epoch)) return undefined;
    const seen = this.#contexts.seenBy(task);
    return options.executor === undefined
      ? fn(seen, controls)
      : options.executor(() => fn(seen, controls));
  }

  #done(task: number, epoch: number, result: unknown): void {
    if (!this.#machine.isCurrent(task, epoch)) return this.#left(task);
    if (!isMap(result)) return this.#spoil(task, "invalid-result", { result });
    try {
      const conflict = this.#contexts.commit(task, result);
      if (conflict !== undefined)
        return this.#spoil(task, "conflict", {
          error: this.#conflictError(task, conflict.key, conflict.other),
        });
    } catch (error) {
      // A map that cannot be read is as good as thrown.
      return this.#failed(task, epoch, error);
    }
    this.#endAttempt(task);
    this.#change(task, "completed");
    this.#machine.succeed(task);
  }

  #failed(task: number, epoch: number, error: unknown): void {
    if (!this.#machine.isCurrent(task, epoch)) return this.#left(task);
    this.#endAttempt(task);
    this.#note(task, error);
    this.#fall(task, "exception", error, false);
  }

  #timeOut(task: number, epoch: number, timeoutMs: number): void {
    if (!this.#machine.isCurrent(task, epoch)) return;
    const name = this.#nameOf(task);
    const error = late(`Attempt ${this.#attempts[task]} of "${name}"`, timeoutMs, name);
    const controls = this.#controls[task];
    this.#controls[task] = undefined;
    this.#note(task, error);
    this.#grace(task);
    this.#fall(task, "timed-out", error, true);
    controls?.abort(error);
    this.#lanes.pump();
  }

  // An attempt failed: the task is tried again at once, or has failed.
  #fall(task: number, how: "exception" | "timed-out", error: unknown, lingers: boolean): void {
    const { tasks, resolved } = this.#parts;
    const retries = (tasks[task] as JobTask).maxRetries ?? resolved.maxRetries;
    if ((this.#attempts[task] as number) > retries) {
      this.#change(task, how, { error });
      this.#fail(task, { reason: how, name: this.#nameOf(task), error }, lingers);
      return;
    }
    this.#machine.wait(task, lingers);
    this.#change(task, how, { error });
    if (!lingers && this.#machine.statusOf(task) === "waiting") this.#machine.again(task);
  }

  // What trying again would not help.
  #spoil(
    task: number,
    how: "invalid-result" | "conflict",
    more: { readonly error?: unknown; readonly result?: unknown },
  ): void {
    this.#endAttempt(task);
    if (how === "conflict") this.#note(task, more.error);
    this.#change(task, how, more);
    this.#end(task, { reason: how, name: this.#nameOf(task), ...more }, false);
  }

  #fail(task: number, failure: Failure, lingers: boolean): void {
    const { error } = failure;
    this.#change(task, "failed", { error });
    this.#end(task, failure, lingers);
  }

  #end(task: number, failure: Failure, lingers: boolean): void {
    const { continueOnFailure } = this.#parts.tasks[task] as JobTask;
    if (continueOnFailure !== true) this.#failure ??= failure;
    this.#machine.end(task, failure.reason === "timed-out" ? "timedOut" : "failed", lingers);
  }

  // A body whose attempt was over has ended: its slot is free, and what it made is nobody's.
  #left(task: number): void {
    this.#endAttempt(task);
    this.#overrunning.delete(task);
    this.#machine.leave(task);
    if (this.#machine.statusOf(task) === "waiting") this.#machine.again(task);
  }

  // Gives a body that was told to end its time for it.
  #grace(task: number): void {
    this.#timers.get(task)?.();
    const { ports, resolved } = this.#parts;
    const giveUp = (): void => {
      this.#timers.delete(task);
      this.#overrunning.add(task);
      // It is not tried again beside itself.
      if (this.#machine.statusOf(task) === "waiting") {
        const error = this.#errors.get(task)?.at(-1)?.error;
        this.#fail(task, { reason: "timed-out", name: this.#nameOf(task), error }, true);
      }
      this.#machine.giveUp(task);
      this.#lanes.pump();
    };
    this.#timers.set(task, ports.timer.after(resolved.graceMs, giveUp));
  }

  #stop(why: StopReason, reason: unknown): void {
    if (this.#state !== "running" && this.#state !== "idle") return;
    this.#reason ??= reason;
    this.#machine.stop(why);
    this.#stopBodies();
    if (this.#state === "running") this.#lanes.pump();
  }

  // What runs is over now, whatever it still does.
  #stopBodies(): void {
    for (let task = 0; task < this.#controls.length; task++) {
      const controls = this.#controls[task];
      if (controls === undefined || this.#machine.statusOf(task) !== "running") continue;
      this.#grace(task);
      this.#machine.end(task, "cancelled", true);
      this.#change(task, "cancelled");
      controls.abort(this.#reason);
    }
  }

  #step(step: RunStep): void {
    const { task, cause } = this.#machine;
    switch (step) {
      case "ready":
        // Cancelled while it was on its way to be told.
        if (this.#machine.statusOf(task) === "ready") this.#change(task, "ready");
        break;
      case "skip":
      case "cancel": {
        const because = cause < 0 ? {} : { because: this.#nameOf(cause) };
        this.#change(task, step === "skip" ? "skipped" : "cancelled", because);
        break;
      }
      case "stop":
        this.#reason ??= this.#failure?.error;
        this.#stopBodies();
        break;
      case "settle":
        this.#settle();
        break;
      case "start":
      case "waveStarted":
      case "waveEnded":
      case "idle":
        break;
    }
  }

  #settle(): void {
    const { status } = this.#machine;
    const state =
      status === "succeeded" ? "completed" : status === "timedOut" ? "timed-out" : status;
    const ctx = this.#contexts.all() as C & Record<string, unknown>;
    const overrunning = [...this.#overrunning].map((task) => this.#nameOf(task));
    const result: JobResult<C> = {
      state,
      ctx,
      ...(state === "failed" ? this.#failure : {}),
      ...(overrunning.length === 0 ? {} : { overrunning }),
    };
    this.#release?.();
    // The result is there before anybody is told of the end.
    this.#enter(state);
    if (this.#thrown === undefined) this.#settled.resolve(result);
    else this.#settled.reject(this.#thrown.thrown);
  }

  #endAttempt(task: number): void {
    this.#controls[task] = undefined;
    if (this.#timers.size === 0) return;
    this.#timers.get(task)?.();
    this.#timers.delete(task);
  }

  #note(task: number, error: unknown): void {
    const failedAtMs = this.#parts.ports.clock.nowMs();
    const entry = { attempt: this.#attempts[task] as number, error, failedAtMs };
    const errors = this.#errors.get(task);
    if (errors === undefined) this.#errors.set(task, [entry]);
    else errors.push(entry);
  }

  #conflictError(task: number, key: string, other: number): FabricError {
    const tasks = [other, task].toSorted((a, b) => a - b).map((one) => this.#nameOf(one));
    return new FabricError(
      "CONFLICT",
      `"${tasks.join('" and "')}" both return "${key}", and neither depends on the other`,
      { key, tasks },
    );
  }

  #change(
    task: number,
    newState: JobTaskState,
    more: { readonly error?: unknown; readonly result?: unknown; readonly because?: string } = {},
  ): void {
    const oldState = this.#states[task] as JobTaskState;
    this.#states[task] = newState;
    if (this.#parts.options.onEvent === undefined) return;
    const attempt = this.#attempts[task] as number;
    this.#tell({ type: "task", name: this.#nameOf(task), oldState, newState, attempt, ...more });
  }

  #enter(newState: JobState): void {
    const oldState = this.#state;
    this.#state = newState;
    this.#tell({ type: "job", oldState, newState });
  }

  #tell(event: JobEvent): void {
    if (this.#thrown !== undefined) return;
    try {
      this.#parts.options.onEvent?.(event);
    } catch (thrown) {
      this.#thrown = { thrown };
      this.#stop("cancelled", thrown);
    }
  }

  #nameOf(task: number): string {
    return (this.#parts.tasks[task] as JobTask).name;
  }
}

/** An attempt's controls. The signal is made when it is asked for: most bodies never do. */
class Controls implements TaskControls {
  readonly name: string;
  readonly attempt: number;
  readonly #machine: RunMachine;
  readonly #ports: JobPorts;
  readonly #task: number;
  readonly #epoch: number;
  #source: AbortSource | undefined;
  #aborted: { readonly reason: unknown } | undefined;

  constructor(
    machine: RunMachine,
    ports: JobPorts,
    about: { readonly task: number; readonly epoch: number; name: string; attempt: number },
  ) {
    this.name = about.name;
    this.attempt = about.attempt;
    this.#machine = machine;
    this.#ports = ports;
    this.#task = about.task;
    this.#epoch = about.epoch;
  }

  get isActive(): () => boolean {
    return () => this.#machine.isCurrent(this.#task, this.#epoch);
  }

  get signal(): AbortSignalLike {
    if (this.#source === undefined) {
      this.#source = this.#ports.abortSource();
      if (this.#aborted !== undefined) this.#source.abort(this.#aborted.reason);
    }
    return this.#source.signal;
  }

  abort(reason: unknown): void {
    this.#aborted = { reason };
    this.#source?.abort(reason);
  }
}
