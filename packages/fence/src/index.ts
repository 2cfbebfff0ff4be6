/**
 * Epochs, by which a resource refuses a holder that has been replaced.
 *
 * @packageDocumentation
 */
export { EPOCH_MAX, FenceEpoch } from "./fence-epoch.ts";
