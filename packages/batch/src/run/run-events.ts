/** What a run tells its watchers: one stream, in order. Times are milliseconds since the Unix epoch. */
import type { FabricEvent } from "@selvage/fabric";
import type { RunStatus, TaskStatus } from "../machine/run-machine.ts";

/** A wave started or ended; told where the schedule is `"waves"`. */
export interface WaveEvent {
  readonly type: "wave";
  readonly index: number;
  readonly state: "started" | "ended";
  readonly tasks: readonly string[];
  readonly atMs: number;
}

/** A task changed its state. `waiting` is between two attempts. */
export interface TaskEvent {
  readonly type: "task";
  readonly name: string;
  readonly oldState: TaskStatus;
  readonly newState: TaskStatus;
  /** The attempt that this is about, from 1; 0 before the first. */
  readonly attempt: number;
  readonly error?: unknown;
  /** The root cause of a skip, or of a cancellation that a failure brought about. */
  readonly because?: string;
  readonly atMs: number;
}

/** A task said how far it is. */
export interface ProgressEvent {
  readonly type: "progress";
  readonly name: string;
  readonly attempt: number;
  /** 0 to 1; undefined when the task only said that it advances. */
  readonly fraction: number | undefined;
  readonly atMs: number;
}

/** A task logged. */
export interface LogEvent {
  readonly type: "log";
  readonly name: string;
  readonly attempt: number;
  readonly message: string;
  readonly atMs: number;
}

/** Something happened to a lease of the run. */
export interface LeaseEvent {
  readonly type: "lease";
  readonly task: string;
  /** Which output it holds. Both are empty for blocks, which hold outputs of several tasks. */
  readonly output: string;
  readonly event: FabricEvent;
  readonly atMs: number;
}

/** An output went to blocks because memory was full, or came back to be read. */
export interface SpillEvent {
  readonly type: "spill";
  /** Who made it. */
  readonly task: string;
  readonly output: string;
  readonly direction: "out" | "back";
  readonly bytes: number;
  readonly atMs: number;
}

/** A run under a `runId` found what an earlier one had committed, or could not read it: then it is done again. */
export interface ResumeEvent {
  readonly type: "resume";
  readonly state: "restored" | "damaged";
  /** Which task; undefined: the whole checkpoint. */
  readonly name: string | undefined;
  /** Why it is damaged, where there is more to say. */
  readonly error?: unknown;
  readonly atMs: number;
}

/** The last outcome is there; what follows is teardown. */
export interface SettledEvent {
  readonly type: "settled";
  readonly status: RunStatus;
  readonly atMs: number;
}

/** Any event of a run. */
export type ExecutionEvent =
  | WaveEvent
  | TaskEvent
  | ProgressEvent
  | LogEvent
  | LeaseEvent
  | SpillEvent
  | ResumeEvent
  | SettledEvent;
