/** Jobs under virtual time, with every event, and what may follow what. */
import {
  runTasks,
  type Job,
  type JobEvent,
  type JobOptions,
  type JobResult,
  type JobTask,
  type JobTaskState,
} from "@selvage/batch";
import { VirtualHost } from "./rig.ts";

/** What may follow a task's state. */
export const legalMoves: Readonly<Record<JobTaskState, readonly JobTaskState[]>> = {
  unscheduled: ["ready", "skipped", "cancelled"],
  ready: ["running", "cancelled"],
  running: ["completed", "exception", "timed-out", "invalid-result", "conflict", "cancelled"],
  exception: ["ready", "failed", "cancelled"],
  "timed-out": ["ready", "failed", "cancelled"],
  completed: [],
  "invalid-result": [],
  conflict: [],
  failed: [],
  skipped: [],
  cancelled: [],
};

/** A host, and every event of the jobs on it. */
export class JobRig {
  readonly host: VirtualHost = new VirtualHost();
  readonly events: JobEvent[] = [];

  start(tasks: readonly JobTask[], options: JobOptions = {}): Job {
    const { timer, clock } = this.host;
    const onEvent = (event: JobEvent): void => {
      this.events.push(event);
      options.onEvent?.(event);
    };
    const ports = { timer, clock, abortSource: () => new AbortController() };
    return runTasks(tasks, { ...options, onEvent }, ports);
  }

  /** Runs a job to its end, however long that takes. */
  async run(tasks: readonly JobTask[], options: JobOptions = {}): Promise<JobResult> {
    return this.host.pump(Promise.resolve(this.start(tasks, options)));
  }

  /** The task events, as `name:old>new`. */
  get moves(): string[] {
    return this.taskEvents.map(({ name, oldState, newState }) => `${name}:${oldState}>${newState}`);
  }

  get taskEvents(): Extract<JobEvent, { type: "task" }>[] {
    return this.events.filter((event) => event.type === "task");
  }

  get jobMoves(): string[] {
    return this.events
      .filter((event) => event.type === "job")
      .map(({ oldState, newState }) => `${oldState}>${newState}`);
  }

  /** Later, in virtual time. */
  later<T>(ms: number, value: T): Promise<T> {
    return this.host.later(ms).then(() => value);
  }
}
