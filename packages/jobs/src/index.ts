/**
 * Jobs: work on chunks in parallel, whose outputs are kept once each.
 *
 * @packageDocumentation
 */
export { BlockOutputStore } from "./chunks/block-outputs.ts";
export { chunkTask } from "./chunks/chunk-work.ts";
export type { ChunkContext, ChunkFarEnd, ChunkModule, ChunkWork } from "./chunks/chunk-work.ts";
export { chunkId } from "./chunks/chunk.ts";
export type { Chunk, ChunkId } from "./chunks/chunk.ts";
export { JobCoordinator } from "./chunks/job-coordinator.ts";
export type { ChunkOutput, CoordinatorResult } from "./chunks/job-coordinator.ts";
export type {
  ChunkEvent,
  ChunkLogEvent,
  ChunkState,
  CoordinatorEvent,
  CoordinatorProgressEvent,
  CoordinatorSettledEvent,
} from "./chunks/coordinator-events.ts";
export { COORDINATOR_DEFAULTS } from "./chunks/coordinator-options.ts";
export type {
  JobAbortSource,
  CoordinatorOptions,
  JobPorts,
  ResolvedJob,
} from "./chunks/coordinator-options.ts";
export { MemoryOutputStore } from "./chunks/memory-outputs.ts";
export { outputConformance } from "./chunks/output-conformance.ts";
export type { OutputSubject } from "./chunks/output-conformance.ts";
export type { OutputStore } from "./chunks/output-store.ts";
