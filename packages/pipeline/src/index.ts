/**
 * Streams that rewire around failures, and stages that resume where they stopped.
 *
 * @packageDocumentation
 */
export { BlockCheckpointStore } from "./staged/block-checkpoints.ts";
export { checkpointConformance } from "./staged/checkpoint-conformance.ts";
export type { CheckpointSubject } from "./staged/checkpoint-conformance.ts";
export type {
  CheckpointReading,
  CheckpointRecord,
  CheckpointStore,
} from "./staged/checkpoint-store.ts";
export { EDGE_LEASE_MS, EDGE_TICK_MS } from "./edge/edge-events.ts";
export type {
  EdgeAttachOptions,
  EdgeEvent,
  EdgeOptions,
  EdgeRenewals,
  EdgeStats,
  LostItems,
  RelocationCause,
} from "./edge/edge-events.ts";
export type { EdgeFabric, EdgeHandoff, EdgeReader, EdgeWriter } from "./edge/edge-home.ts";
export { openEdge } from "./edge/open-edge.ts";
export type { OpenEdgeOptions } from "./edge/open-edge.ts";
export { RelocatableQueueEdge } from "./edge/relocatable-queue-edge.ts";
export type { EdgeWaitOptions } from "./edge/edge-waits.ts";
export { BlockEdgeConsumer } from "./block-edge/block-edge-consumer.ts";
export type { BlockConsumerOptions } from "./block-edge/block-edge-consumer.ts";
export type { BlockEdgeOptions } from "./block-edge/block-edge-peer.ts";
export { BlockEdgeProducer } from "./block-edge/block-edge-producer.ts";
export type { BlockProducerOptions } from "./block-edge/block-edge-producer.ts";
export { CheckpointedStage } from "./staged/checkpointed-stage.ts";
export type {
  StageCheckpoint,
  StageInput,
  StageOutput,
  StageRun,
  StageStep,
  StageTotals,
} from "./staged/checkpointed-stage.ts";
export { MemoryCheckpointStore } from "./staged/memory-checkpoints.ts";
export type {
  CheckpointEvent,
  RecoveryEvent,
  StagedEvent,
  StagedRunEvent,
  StagedRunState,
  StageEvent,
  StageProgressEvent,
  StageState,
} from "./staged/staged-events.ts";
export { STAGE_DEFAULTS } from "./staged/staged-options.ts";
export type {
  StageAbort,
  StageContext,
  StagedOptions,
  StagedPorts,
  StagedRunOptions,
  StageHandler,
  StageOptions,
} from "./staged/staged-options.ts";
export { StagedPipeline } from "./staged/staged-pipeline.ts";
export type { LargeStates } from "./staged/state-shelf.ts";
export { Pipeline, RunnablePipeline } from "./flow/pipeline.ts";
export type { ParallelOptions } from "./flow/pipeline.ts";
export type {
  PipelineDeadLetterEvent,
  PipelineEvent,
  PipelineLeaseEvent,
  PipelineRetryEvent,
  PipelineSettledEvent,
  PipelineStartedEvent,
  PipelineStatus,
  PipelineStoppingEvent,
} from "./flow/pipeline-events.ts";
export type { Items } from "./flow/pipeline-flat.ts";
export { PIPELINE_DEFAULTS } from "./flow/pipeline-options.ts";
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
} from "./flow/pipeline-options.ts";
export type { PlanNode } from "./flow/pipeline-plan.ts";
export type { PipelineResult, StageKind, StageResult } from "./flow/pipeline-result.ts";
export type {
  NodeWritableLike,
  PipelineSink,
  SinkFunction,
  WritableLike,
} from "./flow/pipeline-sinks.ts";
export type {
  OffsetSource,
  PipelineSource,
  PullFunction,
  ReadableLike,
} from "./flow/pipeline-sources.ts";
export type { StageFunction } from "./flow/pipeline-work.ts";
