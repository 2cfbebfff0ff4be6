/**
 * Epochs, by which a resource refuses a holder that has been replaced; locators, by which it is found; and handoff
 * records, by which others learn where it is now.
 *
 * @packageDocumentation
 */
export { EPOCH_MAX, FenceEpoch } from "./fence-epoch.ts";
export { Fenced, FenceGuard } from "./fenced.ts";
export { FencedRecord, FencedRecordReader } from "./fenced-record.ts";
export type { FencedReading } from "./fenced-record.ts";
export {
  HandoffReader,
  HandoffWriter,
  STAGE_ID_BYTES_MAX,
  WATCH_PERIOD_MS_MAX,
} from "./handoff.ts";
export type { HandoffState, WatchOptions } from "./handoff.ts";
export { decodeLocator, encodeLocator } from "./locators.ts";
export type {
  BlockRegionLocator,
  LeaseAddress,
  Locator,
  MemRegionLocator,
  QueueLocator,
} from "./locators.ts";
export { inTurn, keyOf } from "./record-turns.ts";
export type { RecordKey } from "./record-turns.ts";
