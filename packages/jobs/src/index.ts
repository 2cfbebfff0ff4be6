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
export { Combiner, From, from } from "./queue/combine.ts";
export type { Combine, Given, ResultOf, ResultsOf } from "./queue/combine.ts";
export type { JobDeadLetter } from "./queue/dead-letter-shelf.ts";
export { NonRetryableError } from "./queue/job-attempt.ts";
export { jobTask } from "./queue/job-body.ts";
export type {
  JobBody,
  JobBodyContext,
  JobContext,
  JobFarEnd,
  JobModuleBody,
} from "./queue/job-body.ts";
export { JobQueue } from "./queue/job-queue.ts";
export type {
  JobPurge,
  JobQuery,
  JobStats,
  QueueLimits,
  WorkerInfo,
} from "./queue/queue-queries.ts";
export { JOB_STATUSES, phasesOf, PHASES, statusOf } from "./queue/job-record.ts";
export type {
  AttemptFailure,
  BucketRow,
  CronRow,
  FanSpec,
  InputSpec,
  JobDraft,
  JobRow,
  JobSpec,
  JobStatus,
  Payload,
  Phase,
  PhaseTable,
  QueueRow,
  StatusCount,
  WorkerRow,
} from "./queue/job-record.ts";
export { jobStoreConformance } from "./queue/job-store-conformance.ts";
export type { JobStoreSubject } from "./queue/job-store-conformance.ts";
export type { JobFilter, JobStore, JobTx, ReadyJob } from "./queue/job-store.ts";
export { JobWorker } from "./queue/job-worker.ts";
export type { WorkerResult } from "./queue/worker-state.ts";
export { MemoryJobStore } from "./queue/memory-job-store.ts";
export type { JobQueueEvent, JobQueueJobEvent } from "./queue/queue-events.ts";
export { JOB_QUEUE_DEFAULTS } from "./queue/queue-options.ts";
export type {
  ClaimKeeper,
  EnqueueOptions,
  JobQueueOptions,
  JobQueuePorts,
  Keeping,
  QueuedTaskOptions,
  Retention,
  SchemaResult,
  StandardSchema,
  WorkerOptions,
} from "./queue/queue-options.ts";
export { QueuedJob } from "./queue/queued-job.ts";
export { QueuedTask } from "./queue/queued-task.ts";
export type { CronOptions } from "./queue/queued-task.ts";
