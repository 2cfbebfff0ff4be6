/**
 * Where checkpoints are kept: one record a key, replaced by compare-and-set.
 *
 * Invariant C1: the revisions of a key strictly increase, for ever, whatever is removed in between.
 * Invariant C2: what `write` answered with a revision survives a crash; a crash during it leaves the record before, or it.
 * Invariant C3: of several writers that expect one revision, one at most gets a revision.
 */

/** One record, as it was written. */
export interface CheckpointRecord {
  /** From 1 up. */
  readonly revision: number;
  /** As they were given, in an array of the reader's own. */
  readonly bytes: Uint8Array;
}

/** What a key holds. */
export interface CheckpointReading extends CheckpointRecord {
  /** The record before this one, where the store still has it: what is left when this one turns out to be damaged. */
  readonly previous?: CheckpointRecord;
  /** True when the store itself found a later record damaged: `bytes` are then an earlier one's. */
  readonly isRecovered?: boolean;
}

/**
 * Records by key. A key is any text that is not empty; a store over something narrower encodes it. Every call may also
 * fail with `STORE_UNAVAILABLE`: whether a write was done is then not known, and a read tells. A store never takes a
 * failure for an empty key. It shares no clock with its callers.
 */
export interface CheckpointStore {
  /** What the key holds; undefined when it holds nothing. @throws FabricError `CORRUPT_RECORD`: nothing of it is whole. */
  read(key: string): Promise<CheckpointReading | undefined>;
  /**
   * Replaces the key's record if its revision is `expected` (0: the key holds nothing), durably, and keeps the one before
   * it. Resolves with the new revision; undefined when another wrote or removed it meanwhile: nothing is done then.
   * @throws FabricError `CAPACITY_EXCEEDED` (`bytes`, `bytesMax`).
   */
  write(key: string, bytes: Uint8Array, expected: number): Promise<number | undefined>;
  /** Removes the key's record if its revision is `expected`, durably. Resolves with whether it did. */
  remove(key: string, expected: number): Promise<boolean>;
}
