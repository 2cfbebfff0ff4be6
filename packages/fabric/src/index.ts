/**
 * Leases over memory and blocks, and what they need from a host.
 *
 * @packageDocumentation
 */
export { AtomicsWords, waitOn, waitOnAsync } from "./atomics-words.ts";
export { AttachedSite, Attachments } from "./attachments.ts";
export type { AttachmentPorts, ThreadHost, Threads } from "./attachments.ts";
export { BlockLease } from "./block-lease.ts";
export type { BlockAuthority, BlockRegion } from "./block-lease.ts";
export { readLeases } from "./block-reading.ts";
export type { BlockLeaseReading } from "./block-reading.ts";
export { BlockStore, diskBlockDevice } from "./block-store.ts";
export { ensureFile } from "./file-names.ts";
export type { FileNames } from "./file-names.ts";
export { BlockTable } from "./block-table.ts";
export type { BlockDamage } from "./block-table.ts";
export type { BlockEntry, BlockFileShape, Phase } from "./block-layout.ts";
export { ramBlockDevice } from "./block-pool.ts";
export { bufferMemoryProvider } from "./buffer-memory.ts";
export { BlockBuilder, LEASE_SECS_DEFAULT, MemBuilder } from "./builders.ts";
export type { LeaseRequest } from "./builders.ts";
export { checksum } from "./checksum.ts";
export { columnsCodec, rawCodec } from "./codecs.ts";
export type { Codec, FixedLayout } from "./codecs.ts";
export { columnsBytes, layColumns, shapeOf, viewColumns, writeColumns } from "./columns.ts";
export type {
  Column,
  ColumnArrays,
  ColumnOf,
  Columns,
  ColumnShape,
  ColumnsOf,
  ColumnType,
} from "./columns.ts";
export { DECODE_BUDGET, overBudget, resolveBudget } from "./decode-budget.ts";
export type { DecodeBudget, Excess } from "./decode-budget.ts";
export { ControlPlane } from "./control-plane.ts";
export type { ControlHandle, LeaseMoment, Renewal } from "./control-plane.ts";
export {
  assert,
  describe,
  FABRIC_ERRORS,
  FabricError,
  fromWire,
  InvariantError,
  invalidArgument,
  isFabricError,
  toWire,
} from "./errors.ts";
export type {
  ErrorDetail,
  ErrorDetails,
  FabricErrorCode,
  FabricErrorWire,
  Recovery,
} from "./errors.ts";
export type { FabricEvent, FabricEventType, Unsubscribe } from "./events.ts";
export { Fabric, fabricOf } from "./fabric.ts";
export type { CloseOptions, CloseSummary, FabricStats } from "./fabric.ts";
export type { FabricPorts, Keeper } from "./fabric-ports.ts";
export { FABRIC_DEFAULTS } from "./fabric-options.ts";
export type { FabricOptions, ResolvedOptions } from "./fabric-options.ts";
export { checkTtl, LeaseHandle, TTL_MAX_MS } from "./lease-handle.ts";
export type { LeaseParts, LeaseSite, RevokeOptions } from "./lease-handle.ts";
export { viewOf } from "./lease-view.ts";
export type { ReadonlyBytes } from "./lease-view.ts";
export type { LeaseState } from "./lease-word.ts";
export type { ResourceStats } from "./ledger.ts";
export type { ReclaimSummary } from "./lessor.ts";
export { MemLease, regionOf } from "./mem-lease.ts";
export type { LeaseRegion, Loan, WriteOption } from "./mem-lease.ts";
export { memoryConformance } from "./memory-conformance.ts";
export type { ConformanceCase, MemoryConformanceOptions } from "./memory-conformance.ts";
export { GRANULE_BYTES, POISON } from "./memory-pool.ts";
export { BLOCK_BYTES } from "./ports.ts";
export type {
  AbortSignalLike,
  ArenaMemory,
  BlockAccess,
  BlockDevice,
  Clock,
  Disk,
  DiskRequest,
  MemoryHandle,
  MemoryKind,
  MemoryProvider,
  Random,
  SharedWords,
  Text,
  Timer,
} from "./ports.ts";
export { jsonCodec } from "./json-codec.ts";
export { recordCodec } from "./record-codec.ts";
export type { RecordCodec, RecordOf, RecordShape } from "./record-codec.ts";
export type { BytesType, FieldType, FieldValue, RecordField, TextType } from "./record-fields.ts";
export { sha256 } from "./sha256.ts";
export { RangeAllocator } from "./range-allocator.ts";
export type { Range } from "./range-allocator.ts";
export type { Quota } from "./tenant.ts";
export { TENANTS_MAX } from "./tenant.ts";
export { THREADS_MAX } from "./control-layout.ts";
export { isAttached, nonceOf, OWNER_THREAD, progressOf, ThreadPulse } from "./thread-registry.ts";
export { TimingWheel } from "./timing-wheel.ts";
export { TwoSlotRecord } from "./two-slot-record.ts";
export type { RecordBlocks, RecordReading } from "./two-slot-record.ts";
export { formatId, parseId } from "./ticket.ts";
export type { BlockTicket, FabricTicket, LeaseAddress, MemTicket } from "./ticket.ts";
export { isUtf8, plainText } from "./utf8.ts";
export { SystemClock } from "./system-clock.ts";
export type { TimeSource } from "./system-clock.ts";
