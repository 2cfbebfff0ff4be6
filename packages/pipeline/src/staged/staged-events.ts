/** What a run of stages tells its watchers: one stream, in order. Times are milliseconds since the Unix epoch. */

/** How a run stands. `waiting`: it looks whether the runner that was there before is still alive. */
export type StagedRunState = "idle" | "waiting" | "running" | "succeeded" | "failed" | "cancelled";

/**
 * How a stage stands. `restored`: an earlier run has ended it, and its checkpoint was found; `waiting`: between two attempts.
 */
export type StageState =
  "pending" | "restored" | "running" | "waiting" | "succeeded" | "failed" | "cancelled";

/** The run changed its state. */
export interface StagedRunEvent {
  readonly type: "run";
  readonly oldState: StagedRunState;
  readonly newState: StagedRunState;
  readonly error?: unknown;
  readonly atMs: number;
}

/** A stage changed its state. */
export interface StageEvent {
  readonly type: "stage";
  readonly name: string;
  readonly oldState: StageState;
  readonly newState: StageState;
  /** The attempt that this is about, from 1; 0 before the first. */
  readonly attempt: number;
  readonly error?: unknown;
  readonly atMs: number;
}

/** A handler said how far it is. */
export interface StageProgressEvent {
  readonly type: "progress";
  readonly name: string;
  readonly attempt: number;
  /** 0 to 1; undefined when the handler only said that it advances. */
  readonly fraction: number | undefined;
  readonly atMs: number;
}

/** The checkpoint after a stage is kept. */
export interface CheckpointEvent {
  readonly type: "checkpoint";
  /** The stage that has ended. */
  readonly name: string;
  readonly revision: number;
  /** Of the state; 0 for undefined. */
  readonly bytes: number;
  readonly place: "none" | "inline" | "blocks";
  readonly atMs: number;
}

/** What the run found under its id was not what was there last. */
export interface RecoveryEvent {
  /**
   * `recovered`: the newest checkpoint could not be read, and the one before it was taken (P3). `takenOver`: the runner before
   * went silent. `restarted`: the stages or the payload had changed, and `onMismatch` is `"restart"`.
   */
  readonly type: "recovered" | "takenOver" | "restarted";
  /** Stages that are not run again. */
  readonly finished: number;
  readonly atMs: number;
}

/** Any event of a run of stages. */
export type StagedEvent =
  StagedRunEvent | StageEvent | StageProgressEvent | CheckpointEvent | RecoveryEvent;
