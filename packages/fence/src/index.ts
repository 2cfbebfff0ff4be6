/**
 * Epochs, by which a resource refuses a holder that has been replaced, and locators, by which it is found.
 *
 * @packageDocumentation
 */
export { EPOCH_MAX, FenceEpoch } from "./fence-epoch.ts";
export { Fenced, FenceGuard } from "./fenced.ts";
export { decodeLocator, encodeLocator } from "./locators.ts";
export type {
  BlockRegionLocator,
  LeaseAddress,
  Locator,
  MemRegionLocator,
  QueueLocator,
} from "./locators.ts";
