/** What a run of a pipeline gives. */
import type { PipelineStatus } from "./pipeline-events.ts";

/** What went through one stage. */
export interface StageResult {
  readonly name: string;
  readonly kind: StageKind;
  /** Items that reached it, those that waited in its queue among them. A source takes none in. */
  readonly itemsIn: number;
  /** Items that it gave on. A sink's are those that it has taken. */
  readonly itemsOut: number;
  /** Attempts after the first. */
  readonly retries: number;
  /** Items that were set aside. */
  readonly deadLettered: number;
  /** Items that it had, and that came to nothing, because the run ended first. */
  readonly dropped: number;
}

/** What a stage does. */
export type StageKind =
  "source" | "map" | "filter" | "flatMap" | "batch" | "tee" | "merge" | "sink";

/** How a run ended. */
export interface PipelineResult {
  readonly status: PipelineStatus;
  /** True when every source came to its end, and a sink has all that was to come to it. */
  readonly isComplete: boolean;
  /** What ended it: a `FabricError` with `details.stage` and `details.offset`, or the reason of an abort. */
  readonly error?: unknown;
  /** In the order in which they were added. */
  readonly stages: readonly StageResult[];
  /** Sums over the sources, the sinks and all stages. */
  readonly itemsIn: number;
  readonly itemsOut: number;
  readonly retries: number;
  readonly deadLettered: number;
  readonly dropped: number;
  /** From the start until everything was given back. */
  readonly elapsedMs: number;
}
