/** What crosses the edges between stages' threads, and what a stage's thread and its owner say to each other. */
import type { MessagePort } from "node:worker_threads";
import type { Codec, FabricErrorWire } from "@selvage/fabric";
import type { EdgeEvent } from "@selvage/pipeline";
import { msgpackCodec } from "./msgpack-codec.ts";

/** In place of an item that a stage has left out: every number is there on every edge. */
export const LEFT_OUT = 0;
/** An item. */
export const ITEM = 1;
/** What a stage has failed with, at the number of the item: what is before it arrives, nothing after it does. */
export const FAILURE = 2;

/** What crosses an edge. The number is the edge's. */
export type Parcel =
  | readonly [kind: typeof LEFT_OUT]
  | readonly [kind: typeof ITEM, value: unknown]
  | readonly [kind: typeof FAILURE, error: FabricErrorWire];

/** How it crosses. */
export const parcelCodec: Codec<Parcel> = msgpackCodec<Parcel>();

/** What each ring of a run is like. */
export interface RingShape {
  readonly capacity: number;
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
  /** Calls of the stage's function, and results that were undefined. */
  readonly counts: BigUint64Array<SharedArrayBuffer>;
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
