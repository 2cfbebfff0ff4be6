/** What a job tells its watcher. Times are milliseconds since the Unix epoch. */
import type { ChunkId } from "./chunk.ts";

/**
 * `"pending"`: not begun. `"running"`: an attempt is at it. `"waiting"`: for its next attempt. The others are ends: `"stored"`: this job
 * made its output, or found it stored by another meanwhile; `"found"`: the store had it before the first attempt.
 */
export type ChunkState =
  "pending" | "running" | "waiting" | "stored" | "found" | "failed" | "cancelled";

/** A chunk has changed its state. */
export interface ChunkEvent {
  readonly type: "chunk";
  readonly id: ChunkId;
  readonly index: number;
  readonly oldState: ChunkState;
  readonly newState: ChunkState;
  /** Attempts so far. */
  readonly attempt: number;
  /** Why it waits, failed, or was cancelled. */
  readonly error?: unknown;
  readonly atMs: number;
}

/** The job has advanced. */
export interface CoordinatorProgressEvent {
  readonly type: "progress";
  /** Chunks that have their output. */
  readonly done: number;
  readonly total: number;
  /** 0 to 1: chunks that are done, and what running ones say of themselves. Never falls. */
  readonly fraction: number;
  readonly atMs: number;
}

/** What work had to say. */
export interface ChunkLogEvent {
  readonly type: "log";
  readonly id: ChunkId;
  readonly attempt: number;
  readonly message: string;
  readonly atMs: number;
}

/** Every chunk has ended, and the aggregate is made. Always the last event. */
export interface CoordinatorSettledEvent {
  readonly type: "settled";
  readonly status: "succeeded" | "failed" | "cancelled";
  readonly atMs: number;
}

/** What `onEvent` is called with. */
export type CoordinatorEvent =
  ChunkEvent | CoordinatorProgressEvent | ChunkLogEvent | CoordinatorSettledEvent;
