/**
 * Jobs: work on chunks in parallel, whose outputs are kept once each.
 *
 * @packageDocumentation
 */
export { BlockOutputStore } from "./block-outputs.ts";
export { chunkTask } from "./chunk-work.ts";
export type { ChunkContext, ChunkFarEnd, ChunkModule, ChunkWork } from "./chunk-work.ts";
export { chunkId } from "./chunk.ts";
export type { Chunk, ChunkId } from "./chunk.ts";
export { JobCoordinator } from "./job-coordinator.ts";
export type { ChunkOutput, CoordinatorResult } from "./job-coordinator.ts";
export type {
  ChunkEvent,
  ChunkLogEvent,
  ChunkState,
  CoordinatorEvent,
  CoordinatorProgressEvent,
  CoordinatorSettledEvent,
} from "./job-events.ts";
export { COORDINATOR_DEFAULTS } from "./job-options.ts";
export type { JobAbortSource, CoordinatorOptions, JobPorts, ResolvedJob } from "./job-options.ts";
export { MemoryOutputStore } from "./memory-outputs.ts";
export { outputConformance } from "./output-conformance.ts";
export type { OutputSubject } from "./output-conformance.ts";
export type { OutputStore } from "./output-store.ts";
