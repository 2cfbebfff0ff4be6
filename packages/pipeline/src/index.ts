/**
 * Streams that rewire around failures, and stages that resume where they stopped.
 *
 * @packageDocumentation
 */
export type { CheckpointReading, CheckpointRecord, CheckpointStore } from "./checkpoint-store.ts";
