/**
 * Streams that rewire around failures, and stages that resume where they stopped.
 *
 * @packageDocumentation
 */
export { BlockCheckpointStore } from "./block-checkpoints.ts";
export { checkpointConformance } from "./checkpoint-conformance.ts";
export type { CheckpointSubject } from "./checkpoint-conformance.ts";
export type { CheckpointReading, CheckpointRecord, CheckpointStore } from "./checkpoint-store.ts";
export { EDGE_LEASE_MS, EDGE_TICK_MS } from "./edge-events.ts";
export type {
  EdgeAttachOptions,
  EdgeEvent,
  EdgeOptions,
  EdgeRenewals,
  EdgeStats,
  LostItems,
  RelocationCause,
} from "./edge-events.ts";
export type { EdgeFabric, EdgeHandoff, EdgeReader, EdgeWriter } from "./edge-home.ts";
export { openEdge } from "./open-edge.ts";
export type { OpenEdgeOptions } from "./open-edge.ts";
export { RelocatableQueueEdge } from "./relocatable-queue-edge.ts";
export type { EdgeWaitOptions } from "./edge-waits.ts";
export { BlockEdgeConsumer } from "./block-edge-consumer.ts";
export type { BlockConsumerOptions } from "./block-edge-consumer.ts";
export type { BlockEdgeOptions } from "./block-edge-peer.ts";
export { BlockEdgeProducer } from "./block-edge-producer.ts";
export type { BlockProducerOptions } from "./block-edge-producer.ts";
export { CheckpointedStage } from "./checkpointed-stage.ts";
export type {
  StageCheckpoint,
  StageInput,
  StageOutput,
  StageRun,
  StageStep,
  StageTotals,
} from "./checkpointed-stage.ts";
export { MemoryCheckpointStore } from "./memory-checkpoints.ts";
export type {
  CheckpointEvent,
  RecoveryEvent,
  StagedEvent,
  StagedRunEvent,
  StagedRunState,
  StageEvent,
  StageProgressEvent,
  StageState,
} from "./staged-events.ts";
export { STAGE_DEFAULTS } from "./staged-options.ts";
export type {
  StageAbort,
  StageContext,
  StagedOptions,
  StagedPorts,
  StagedRunOptions,
  StageHandler,
  StageOptions,
} from "./staged-options.ts";
export { StagedPipeline } from "./staged-pipeline.ts";
export type { LargeStates } from "./state-shelf.ts";
export { Pipeline, RunnablePipeline } from "./pipeline.ts";
export type { ParallelOptions } from "./pipeline.ts";
export type {
  PipelineDeadLetterEvent,
  PipelineEvent,
  PipelineLeaseEvent,
  PipelineRetryEvent,
  PipelineSettledEvent,
  PipelineStartedEvent,
  PipelineStatus,
  PipelineStoppingEvent,
} from "./pipeline-events.ts";
export type { Items } from "./pipeline-flat.ts";
export { PIPELINE_DEFAULTS } from "./pipeline-options.ts";
export type {
  DeadLetterOptions,
  DeadLetterPort,
  QueueEdgeOptions,
  Edges,
  PipelineOptions,
  PipelinePorts,
  ResolvedPipeline,
  WorkContext,
  PipelineStageOptions,
  WorkOptions,
} from "./pipeline-options.ts";
export type { PlanNode } from "./pipeline-plan.ts";
export type { PipelineResult, StageKind, StageResult } from "./pipeline-result.ts";
export type {
  NodeWritableLike,
  PipelineSink,
  SinkFunction,
  WritableLike,
} from "./pipeline-sinks.ts";
export type {
  OffsetSource,
  PipelineSource,
  PullFunction,
  ReadableLike,
} from "./pipeline-sources.ts";
export type { StageFunction } from "./pipeline-work.ts";
