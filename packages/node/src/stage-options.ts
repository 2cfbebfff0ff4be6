/** What stages on threads are given, what they tell, and what comes of them. */
import type { RetryPolicy } from "@selvage/leasekit";
import type { EdgeEvent, EdgeStats, RelocationCause } from "@selvage/pipeline";
import type { Fabric } from "./fabric.ts";
import type { EdgeSide } from "./stage-messages.ts";

/** Given to a stage's function with each item. */
export interface ThreadStageContext {
  readonly stage: string;
  /** The item's number in the run: the same one when it comes again to a thread that took over. */
  readonly sequence: number;
  /** How many threads the stage has had before this one. */
  readonly restarts: number;
}

/**
 * What a stage's module has as its default export: makes of an item what goes on, or nothing (undefined). It may be called again
 * for an item, on another thread, so what it does besides must bear that.
 */
export type ThreadStageFunction<T = never, R = unknown> = (
  item: T,
  context: ThreadStageContext,
) => R | undefined | PromiseLike<R | undefined>;

/** One stage. */
export interface ThreadStage {
  readonly name: string;
  /** The module that its thread loads. */
  readonly module: URL;
}

/** What the sink gets. */
export interface NumberedItem<T> {
  readonly sequence: number;
  readonly value: T;
}

/** What happens in a run. */
export type StageThreadsEvent =
  /** A stage has a thread, which has loaded its module. */
  | { readonly type: "ready"; readonly stage: string; readonly restarts: number }
  /** A stage's thread has ended; another follows after `delayMs`, unless that is undefined. */
  | {
      readonly type: "died";
      readonly stage: string;
      readonly error: unknown;
      readonly delayMs: number | undefined;
    }
  /** An edge tells something at one of its ends. */
  | {
      readonly type: "edge";
      readonly edge: string;
      readonly side: EdgeSide;
      readonly event: EdgeEvent;
    };

/** How stages run on threads of their own. */
export interface StageThreadsOptions<T, R> {
  /** Items, read as there is room for them. */
  readonly source: Iterable<T> | AsyncIterable<T>;
  readonly stages: readonly ThreadStage[];
  /**
   * Gets items in order, up to 256 at a time, and is waited for; then they are dealt with. Every item comes once in a run. A
   * sink that outlives the process stores `edge` and each item's `sequence` with its effect.
   */
  readonly sink: (items: readonly NumberedItem<R>[], edge: string) => unknown;
  /** Number of the first item. Default 0. */
  readonly from?: number;
  /** Where the rings are leased: room for three rings an edge and `HandoffWriter.BLOCKS` blocks. Default: one of its own. */
  readonly fabric?: Fabric;
  /** Items of an edge that are not acknowledged, at most: what is made again after a death. Fewer where that is more than 2 MiB. Default 4,096. */
  readonly capacity?: number;
  /** Longest item as MessagePack has it, in bytes. A ring has room for up to 256 of them. Default 1,024. */
  readonly stride?: number;
  /** TTL of the rings' leases, in milliseconds. Default 30,000. */
  readonly leaseMs?: number;
  /** Whether they are renewed. Where not, the edges move every `leaseMs`. Default true. */
  readonly renew?: boolean;
  /** How often a stage's thread may die with no item reaching the sink meanwhile. Default: 8 times, from 5 ms to 500 ms apart. */
  readonly restart?: number | Partial<RetryPolicy>;
  /** Cancels the run. */
  readonly signal?: AbortSignal;
  /** Is told what happens. What it throws is ignored. */
  readonly onEvent?: (event: StageThreadsEvent) => void;
}

/** What became of a stage. */
export interface ThreadStageResult {
  readonly name: string;
  /** Threads that took over from one that had died. */
  readonly restarts: number;
  /** Calls of its function, those for items that came again included. */
  readonly calls: number;
  /** Of them, those that came to undefined. */
  readonly leftOut: number;
}

/** What became of an edge: of all ends that it has had. Counts are of frames: of 1 to 64 items, as many as a stage takes 2 ms for. */
export interface ThreadEdgeResult extends Pick<
  EdgeStats,
  "generation" | "rebinds" | "replayed" | "dropped" | "lost" | "stallMsMax"
> {
  readonly name: string;
  /** Rings that its producer has moved to, by cause. Those that a thread begins with are not among them. */
  readonly relocations: Readonly<Partial<Record<RelocationCause, number>>>;
}

/** What became of a run. */
export interface StageThreadsResult {
  readonly status: "succeeded" | "failed" | "cancelled";
  /** With `failed`: a `FabricError`, whose `details` have the stage, and the item's `sequence` where it is one's; with `cancelled` the signal's reason. */
  readonly error: unknown;
  /** Items taken from the source. */
  readonly itemsIn: number;
  /** Items that the sink has dealt with. */
  readonly itemsOut: number;
  readonly stages: readonly ThreadStageResult[];
  readonly edges: readonly ThreadEdgeResult[];
}

/** A run. */
export interface StageThreadsRun {
  /** Resolves when the run is over, its threads have ended and its leases are given back. Never rejects. */
  readonly result: Promise<StageThreadsResult>;
  /** Ends a stage's thread as a crash would; another takes over. False where it has none that is at work. @throws FabricError `INVALID_ARGUMENT`. */
  terminate(stage: string): Promise<boolean>;
}
