/** What a stage's thread and its owner say to each other. */
import type { MessagePort } from "node:worker_threads";
import type { FabricErrorWire } from "@selvage/fabric";
import type { EdgeEvent } from "@selvage/pipeline";

/** What each edge of a run holds. */
export interface RingShape {
  /** Items that are not acknowledged, at most. */
  readonly capacity: number;
  /** The longest item's bytes. */
  readonly stride: number;
}

/** What a stage's thread starts with. */
export interface StageWorkerData {
  readonly stage: string;
  readonly module: string;
  /** How many threads the stage has had before. */
  readonly restarts: number;
  readonly shape: RingShape;
  readonly input: MessagePort;
  readonly output: MessagePort;
  /** Calls of the stage's function, and results that were undefined. One thread writes, and is read when it has ended. */
  readonly counts: Float64Array<SharedArrayBuffer>;
}

/** Of {@link StageWorkerData.counts}. */
export const CALLS = 0;
/** Of {@link StageWorkerData.counts}. */
export const LEAVINGS = 1;

/** Which end of an edge it is that tells of something. */
export type EdgeSide = "producer" | "consumer";

/** From a stage's thread. Errors in events are as `toWire` has them. */
export type FromStage =
  | { readonly type: "ready" }
  | { readonly type: "edge"; readonly side: EdgeSide; readonly event: EdgeEvent }
  | { readonly type: "failed"; readonly error: FabricErrorWire };
