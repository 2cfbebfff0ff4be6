/** What a run of a pipeline tells its watchers: one stream, in order. Times are milliseconds since the Unix epoch. */
import type { FabricError, FabricEvent } from "@selvage/fabric";

/** How a run ended. */
export type PipelineStatus = "succeeded" | "failed" | "cancelled" | "timedOut";

/** The run takes in the first items. */
export interface PipelineStartedEvent {
  readonly type: "started";
  /** Every stage, sources and sinks among them, in the order in which they were added. */
  readonly stages: readonly string[];
  readonly atMs: number;
}

/** A stage failed at an item, and tries it again after `delayMs`. */
export interface PipelineRetryEvent {
  readonly type: "retry";
  readonly stage: string;
  readonly offset: number;
  /** The attempt that failed, from 1. */
  readonly attempt: number;
  readonly error: unknown;
  readonly delayMs: number;
  readonly atMs: number;
}

/** A stage set an item aside, and went on. */
export interface PipelineDeadLetterEvent {
  readonly type: "deadLetter";
  readonly stage: string;
  readonly offset: number;
  readonly subject: string;
  readonly error: FabricError;
  readonly atMs: number;
}

/** The run takes nothing more in. */
export interface PipelineStoppingEvent {
  readonly type: "stopping";
  /** `"ended"`: the sources have. The others may have had more to give. */
  readonly because: "ended" | "stop" | "deadline" | "failure" | "abort";
  readonly atMs: number;
}

/** Something happened to the lease of a queue between two stages. */
export interface PipelineLeaseEvent {
  readonly type: "lease";
  /** The stage that reads the queue. */
  readonly stage: string;
  readonly event: FabricEvent;
  readonly atMs: number;
}

/** Every item has its outcome; what follows is teardown. */
export interface PipelineSettledEvent {
  readonly type: "settled";
  readonly status: PipelineStatus;
  readonly atMs: number;
}

/** Any event of a run. */
export type PipelineEvent =
  | PipelineStartedEvent
  | PipelineRetryEvent
  | PipelineDeadLetterEvent
  | PipelineStoppingEvent
  | PipelineLeaseEvent
  | PipelineSettledEvent;
