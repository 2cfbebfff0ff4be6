/** Which keys a store has, and where in its log their values are. */
import type { FoundBatch } from "./kv-log.ts";
import { readRecords, recordBytes, type KvRecord } from "./kv-records.ts";
import { stringCodec } from "./slot-codecs.ts";

/** A key that is there. */
export interface KvEntry {
  readonly key: string;
  readonly keyBytes: number;
  readonly valueBytes: number;
  /** Which put of the store's made it. */
  readonly sequence: number;
  /** Infinite if it never expires. */
  readonly ttlMs: number;
  deadlineMs: number;
  /** True while the deadline in the log is an older one. */
  isTouched: boolean;
  /** Where the value is: the first block of its batch, and the record in it. */
  first: number;
  at: number;
}

/** The index, as the log tells it. */
export class IndexReplay {
  readonly entries: Map<string, KvEntry> = new Map();
  sequence = 1;
  clockMs = 0;
  latestMs = 0;

  take({ first, payload }: FoundBatch): void {
    readRecords(payload, (record, at) => this.#apply(record, first, at));
  }

  #apply(record: KvRecord, first: number, at: number): void {
    const { kind, ttlMs, deadlineMs, sequence } = record;
    if (kind === "clock") {
      this.clockMs = Math.max(this.clockMs, deadlineMs);
      this.latestMs = Math.max(this.latestMs, deadlineMs);
      this.sequence = Math.max(this.sequence, sequence);
      for (const expired of expiredBy(this.entries, deadlineMs)) this.entries.delete(expired);
      return;
    }
    const key = stringCodec.decode(record.key);
    if (kind === "delete") {
      this.entries.delete(key);
      return;
    }
    if (Number.isFinite(ttlMs)) this.latestMs = Math.max(this.latestMs, deadlineMs - ttlMs);
    if (kind === "put") {
      this.sequence = Math.max(this.sequence, sequence + 1);
      this.entries.delete(key);
      this.entries.set(key, entryOf(record, key, first, at));
      return;
    }
    const entry = this.entries.get(key);
    if (entry?.sequence === sequence) entry.deadlineMs = deadlineMs;
  }
}

/** The entry that a put makes. */
export function entryOf(record: KvRecord, key: string, first: number, at: number): KvEntry {
  const { ttlMs, deadlineMs, sequence } = record;
  const [keyBytes, valueBytes] = [record.key.length, record.value.length];
  return { key, keyBytes, valueBytes, sequence, ttlMs, deadlineMs, isTouched: false, first, at };
}

/** Keys whose deadline has come. */
export function expiredBy(entries: ReadonlyMap<string, KvEntry>, nowMs: number): string[] {
  const expired: string[] = [];
  for (const [key, { deadlineMs }] of entries) if (deadlineMs <= nowMs) expired.push(key);
  return expired;
}

/** Bytes of an entry's record. */
export function bytesOf({ keyBytes, valueBytes }: KvEntry): number {
  return recordBytes(keyBytes, valueBytes);
}
