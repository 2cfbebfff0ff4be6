/**
 * Selvage on Node.js: the real clock, memory, threads and stores, and the same names with them filled in.
 *
 * @packageDocumentation
 */
export { fileBlockDevice, scratchBlockDevice } from "./block-file.ts";
export { readBlockFile } from "./block-file-reading.ts";
export type { BlockFileReading } from "./block-file-reading.ts";
export { DeadLetters } from "./dead-letters.ts";
export { edgeHost, edgePort } from "./edge-port.ts";
export type { EdgeHost, EdgeHostOptions, EdgePort } from "./edge-port.ts";
export { Executor } from "./executor.ts";
export { eventLogger, runTasks } from "./run-tasks.ts";
export { attachments, Fabric } from "./fabric.ts";
export { FabricQueue } from "./fabric-queue.ts";
export { HandoffReader } from "./handoff.ts";
export type { WatchOptions } from "./handoff.ts";
export { systemRandom, systemText, systemTimer } from "./host-ports.ts";
export { JobCoordinator } from "./job-coordinator.ts";
export { JobQueue } from "./job-queue.ts";
export type { OpenJobQueueOptions } from "./job-queue.ts";
export { liveView } from "./live-view.ts";
export type { LiveView, LiveViewOptions } from "./live-view.ts";
export { msgpackCodec } from "./msgpack-codec.ts";
export { Pipeline } from "./pipeline.ts";
export { createMemoryProvider, nodeMemoryProvider } from "./memory-provider.ts";
export type { MemoryProviderOptions } from "./memory-provider.ts";
export { redraw } from "./redraw.ts";
export type { Redraw, RedrawOptions, ViewStream } from "./redraw.ts";
export { SqliteCheckpointStore } from "./sqlite-checkpoints.ts";
export { SqliteDeadLetterStore } from "./sqlite-dead-letters.ts";
export { SqliteJobStore } from "./sqlite-job-store.ts";
export type { SqliteJobStoreOptions } from "./sqlite-job-store.ts";
export { runStages } from "./stage-threads.ts";
export type {
  NumberedItem,
  StageThreadsEvent,
  StageThreadsOptions,
  StageThreadsResult,
  StageThreadsRun,
  ThreadEdgeResult,
  ThreadStage,
  ThreadStageContext,
  ThreadStageFunction,
  ThreadStageResult,
} from "./stage-options.ts";
export { StagedPipeline } from "./staged-pipeline.ts";
export { SystemClock } from "./system-clock.ts";

export { openTaskThreads } from "./task-threads.ts";
export type { TaskThreads, TaskThreadsOptions, TaskThreadsStats } from "./task-threads.ts";
export { systemThreads } from "./threads.ts";
