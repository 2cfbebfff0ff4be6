/**
 * Collections that live in leases: queues between threads, hash maps, key-value stores, and durable values.
 *
 * @packageDocumentation
 */
export { deadLetterConformance } from "./dead-letter-conformance.ts";
export type { DeadLetterSubject } from "./dead-letter-conformance.ts";
export type {
  DeadLetter,
  DeadLetterDraft,
  DeadLetterQuery,
  DeadLetterStore,
  ReplayTurn,
} from "./dead-letter-store.ts";
export { DeadLetters } from "./dead-letters.ts";
export type { DeadLetterSink, ListOptions, ReplayOptions, ReplayOutcome } from "./dead-letters.ts";
export { Durable } from "./durable.ts";
export { FabricQueue } from "./fabric-queue.ts";
export { FabricHashMap } from "./hash-map.ts";
export type { HashMapOptions, MapCodecs } from "./hash-map.ts";
export type { ColdBlocks } from "./kv-log.ts";
export { FabricKvStore } from "./kv-store.ts";
export type { KvColdOptions, KvOptions, KvStats, KvTick } from "./kv-store.ts";
export type { MapShape } from "./map-layout.ts";
export { MemoryDeadLetterStore } from "./memory-dead-letters.ts";
export { findQueue, UNBLOCK_AFTER_MS } from "./queue-options.ts";
export type {
  AttachOptions,
  FoundQueue,
  QueueOptions,
  QueueSettings,
  QueueStats,
  QueueTicket,
} from "./queue-options.ts";
export { Payload } from "./payload.ts";
export { RingNotes } from "./ring-notes.ts";
export type { FirstValue, RingAsking } from "./ring-notes.ts";
export { numberCodec, stringCodec } from "./slot-codecs.ts";
export type { SlotCodec } from "./slot-codecs.ts";
export { expectCode, expectSame } from "./store-conformance.ts";
export type { StoreConformanceCase } from "./store-conformance.ts";
