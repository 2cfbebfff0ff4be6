/** Where dead letters are kept. */
import type { FabricErrorWire } from "@selvage/fabric";

/** What is to be kept. */
export interface DeadLetterDraft {
  /** What the letter is about: names the sink that a replay sends it to. */
  readonly subject: string;
  readonly bytes: Uint8Array;
  /** Why it could not be delivered. */
  readonly error: FabricErrorWire;
  /** When it was set aside, in milliseconds since the Unix epoch. */
  readonly sentAtMs: number;
}

/** One that is kept. Its bytes are in an array of the reader's own. */
export interface DeadLetter extends DeadLetterDraft {
  /** Counts the letters of a store from 1; never given out again. */
  readonly id: number;
  /** How often a replay has begun to deliver it. Above 1 in a sink: an earlier one may have been delivered. */
  readonly replays: number;
  /** Why its last replay failed, where one did. */
  readonly replayError?: FabricErrorWire;
}

/** Which letters, in the order of their ids. */
export interface DeadLetterQuery {
  /** Of this subject only. */
  readonly subject?: string;
  /** With a larger id than this. */
  readonly after: number;
  /** At most so many. */
  readonly limit: number;
}

/** The right to replay: one at a time, until it is ended or its process dies. */
export interface ReplayTurn {
  /** Counts a delivery before it begins, durably; resolves with the count, undefined when the letter is gone. */
  begin(id: number): Promise<number | undefined>;
  /** Removes a letter that was delivered, durably; false when it was gone. */
  settle(id: number): Promise<boolean>;
  /** Notes why a delivery failed; the letter stays. */
  fail(id: number, error: FabricErrorWire): Promise<void>;
  /** Gives the right back. Idempotent. */
  end(): Promise<void>;
}

/**
 * Letters, by ascending id. Every call may fail with `STORE_UNAVAILABLE`; a store never takes a failure for "nothing
 * there". What resolved survives a crash, where the store survives one at all.
 */
export interface DeadLetterStore {
  /** Keeps a letter; resolves with its id, larger than every one before. @throws FabricError `CAPACITY_EXCEEDED`. */
  add(letter: DeadLetterDraft): Promise<number>;
  /** The letters that a query names. */
  list(query: DeadLetterQuery): Promise<readonly DeadLetter[]>;
  /** The id of the newest letter there is; 0 when there is none. */
  newestId(): Promise<number>;
  /** Removes the letters that were set aside at this time or before; resolves with how many. */
  purge(sentByMs: number): Promise<number>;
  /** Takes the right to replay. @throws FabricError `CONFLICT`: another has it, here or in another process. */
  takeTurn(): Promise<ReplayTurn>;
}
