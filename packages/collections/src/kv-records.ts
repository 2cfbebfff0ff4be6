/**
 * What a store's log says, record by record. A record, little endian:
 *
 * ```
 *  byte  0  kind: 1 put, 2 delete, 3 touch, 4 clock    2  bytes of the key (16 bits)   4  bytes of the value
 *        8  sequence: counts the puts of the store    16  TTL in milliseconds         24  deadline, milliseconds
 *       32  key, then value
 * ```
 *
 * Sequence, TTL and deadline are doubles; no TTL is infinite. A clock's deadline is the time until which keys have expired.
 */
import { FabricError } from "@selvage/fabric";

/** Bytes of a record before its key. */
export const RECORD_BYTES = 32;

/** One record. */
export interface KvRecord {
  readonly kind: "put" | "delete" | "touch" | "clock";
  readonly key: Uint8Array;
  readonly value: Uint8Array;
  readonly sequence: number;
  readonly ttlMs: number;
  readonly deadlineMs: number;
}

/** A record that says new Uint8Array(0): others are made of it. */
export const NO_RECORD: KvRecord = {
  kind: "clock",
  key: new Uint8Array(0),
  value: new Uint8Array(0),
  sequence: 0,
  ttlMs: 0,
  deadlineMs: 0,
};

const kinds: readonly KvRecord["kind"][] = ["put", "delete", "touch", "clock"];

/** Bytes of a record. */
export function recordBytes(keyBytes: number, valueBytes: number): number {
  return RECORD_BYTES + keyBytes + valueBytes;
}

/** Writes a record at `at`; returns where the next one begins. */
export function writeRecord(target: Uint8Array<ArrayBuffer>, at: number, record: KvRecord): number {
  const view = new DataView(target.buffer, target.byteOffset);
  const { key, value } = record;
  view.setUint8(at, kinds.indexOf(record.kind) + 1);
  view.setUint16(at + 2, key.length, true);
  view.setUint32(at + 4, value.length, true);
  view.setFloat64(at + 8, record.sequence, true);
  view.setFloat64(at + 16, record.ttlMs, true);
  view.setFloat64(at + 24, record.deadlineMs, true);
  target.set(key, at + RECORD_BYTES);
  target.set(value, at + RECORD_BYTES + key.length);
  return at + recordBytes(key.length, value.length);
}

/** Calls `each` with every record of a payload, and where in it the record begins. @throws FabricError `CORRUPT_RECORD`. */
export function readRecords(
  payload: Uint8Array<ArrayBuffer>,
  each: (record: KvRecord, at: number) => void,
): void {
  const view = new DataView(payload.buffer, payload.byteOffset, payload.length);
  let at = 0;
  while (at < payload.length) {
    if (at + RECORD_BYTES > payload.length) throw misfit(at);
    const kind = kinds[view.getUint8(at) - 1];
    const keyBytes = view.getUint16(at + 2, true);
    const end = at + recordBytes(keyBytes, view.getUint32(at + 4, true));
    if (kind === undefined || end > payload.length) throw misfit(at);
    const keyAt = at + RECORD_BYTES;
    each(
      {
        kind,
        key: payload.subarray(keyAt, keyAt + keyBytes),
        value: payload.subarray(keyAt + keyBytes, end),
        sequence: view.getFloat64(at + 8, true),
        ttlMs: view.getFloat64(at + 16, true),
        deadlineMs: view.getFloat64(at + 24, true),
      },
      at,
    );
    at = end;
  }
}

function misfit(at: number): FabricError {
  return new FabricError("CORRUPT_RECORD", "Cannot read the store: a batch holds no records", {
    at,
  });
}
