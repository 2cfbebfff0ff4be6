/**
 * Checkpoints on a block lease: all keys in one two-slot record, which is replaced as a whole.
 *
 * A revision is the generation of the record that brought it: generations strictly increase, also after damage (R3), so
 * C1 holds. C2 is R1 and R2 of the record, C3 its P2. The table, little endian, one entry after the other:
 *
 * ```
 *  byte  0  bytes of the key (Uint32)              16  bytes of the record before (Uint32)
 *        4  bytes of the record (Uint32)           20  its revision (Float64); 0 when there is none
 *        8  its revision (Float64); 0: this        28  the key in UTF-8, the record, the record before
 *           generation's
 * ```
 */
import {
  FabricError,
  invalidArgument,
  isFabricError,
  plainText,
  type BlockLease,
  type RecordBlocks,
} from "@selvage/fabric";
import { FencedRecord } from "@selvage/fence";
import type { CheckpointReading, CheckpointRecord, CheckpointStore } from "./checkpoint-store.ts";

const kind = "CKPT";
const headBytes = 28;
/** How often a write begins anew because another one came between its look and its write. */
const roundsMax = 64;

interface Entry extends CheckpointRecord {
  readonly previous?: CheckpointRecord;
}

type Table = Map<string, Entry>;

/**
 * Keeps checkpoints on blocks, which may be leased from a file. Every write replaces all of them: for tens of runs with states of
 * some kilobytes, not for thousands. Several of these on one lease, in one thread, are one store.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { BlockCheckpointStore, Fabric } from "selvage";
 *
 * using fabric = Fabric.open({ memoryBytes: 1 << 20, blocks: 64 });
 * const store = new BlockCheckpointStore(await fabric.block().minBlocks(16).acquire());
 * const revision = await store.write("nightly", Uint8Array.of(1), 0);
 * assert.equal(await store.write("nightly", Uint8Array.of(2), 0), undefined); // another was first
 * assert.deepEqual([...(await store.read("nightly"))!.bytes], [1]);
 * assert.equal(await store.remove("nightly", revision!), true);
 * ```
 */
export class BlockCheckpointStore<B extends RecordBlocks = BlockLease> implements CheckpointStore {
  readonly #blocks: B;

  /** A store on all of `blocks`, 2 at least. Nothing is written yet. @throws FabricError `INVALID_ARGUMENT`. */
  constructor(blocks: B) {
    if (typeof (blocks as B | undefined)?.readInto !== "function")
      throw invalidArgument("blocks", "a block lease", blocks);
    this.#blocks = blocks;
    // Refuses blocks that are too few.
    void new FencedRecord(blocks, kind);
  }

  async read(key: string): Promise<CheckpointReading | undefined> {
    const { table, isRecovered } = await this.#look();
    const entry = table.get(key);
    if (entry === undefined) return undefined;
    return isRecovered ? { ...entry, isRecovered } : entry;
  }

  async write(key: string, bytes: Uint8Array, expected: number): Promise<number | undefined> {
    return this.#replace((table) => {
      const found = table.get(key);
      if ((found?.revision ?? 0) !== expected) return false;
      const previous = found && { revision: found.revision, bytes: found.bytes };
      const entry = { revision: 0, bytes };
      table.set(key, previous === undefined ? entry : { ...entry, previous });
      return true;
    });
  }

  async remove(key: string, expected: number): Promise<boolean> {
    const done = await this.#replace((table) =>
      table.get(key)?.revision === expected ? table.delete(key) : false,
    );
    return done !== undefined;
  }

  // Resolves with the generation that has the change, undefined when `change` made none.
  async #replace(change: (table: Table) => boolean): Promise<number | undefined> {
    for (let round = 1; ; round++) {
      const { table, record } = await this.#look();
      if (!change(table)) return undefined;
      try {
        return await record.write(encode(table));
      } catch (error) {
        // Another wrote since the look: what is expected is looked at again.
        const isStale = isFabricError(error) && error.code === "STALE_EPOCH";
        if (!isStale || round === roundsMax) throw failureOf(error);
      }
    }
  }

  async #look(): Promise<{ table: Table; record: FencedRecord<B>; isRecovered: boolean }> {
    const record = new FencedRecord(this.#blocks, kind);
    try {
      const { state, generation, recovered } = await record.read();
      const table = state === undefined ? new Map<string, Entry>() : decode(state, generation);
      return { table, record, isRecovered: recovered !== undefined };
    } catch (error) {
      throw failureOf(error);
    }
  }
}

// What a lease says of its own end is the store's failure here: nothing is known of what it held.
function failureOf(cause: unknown): unknown {
  if (isFabricError(cause)) {
    const { code } = cause;
    if (code === "CORRUPT_RECORD" || code === "DECODE" || code === "CAPACITY_EXCEEDED")
      return cause;
  }
  return new FabricError("STORE_UNAVAILABLE", "The checkpoints' blocks failed", {}, { cause });
}

function encode(table: Table): Uint8Array {
  const parts = [...table].map(([key, entry]) => ({ key: plainText.encode(key), ...entry }));
  const sizeOf = ({ key, bytes, previous }: (typeof parts)[number]): number =>
    headBytes + key.length + bytes.length + (previous?.bytes.length ?? 0);
  const target = new Uint8Array(parts.reduce((sum, part) => sum + sizeOf(part), 0));
  const view = new DataView(target.buffer);
  let at = 0;
  for (const part of parts) {
    const { key, bytes, revision, previous } = part;
    view.setUint32(at, key.length, true);
    view.setUint32(at + 4, bytes.length, true);
    view.setFloat64(at + 8, revision, true);
    view.setUint32(at + 16, previous?.bytes.length ?? 0, true);
    view.setFloat64(at + 20, previous?.revision ?? 0, true);
    target.set(key, at + headBytes);
    target.set(bytes, at + headBytes + key.length);
    if (previous !== undefined)
      target.set(previous.bytes, at + headBytes + key.length + bytes.length);
    at += sizeOf(part);
  }
  return target;
}

function decode(state: Uint8Array<ArrayBuffer>, generation: number): Table {
  const view = new DataView(state.buffer, state.byteOffset, state.byteLength);
  const table: Table = new Map();
  for (let at = 0; at < state.length;) {
    if (at + headBytes > state.length) throw torn();
    const keyBytes = view.getUint32(at, true);
    const bytes = view.getUint32(at + 4, true);
    const revision = view.getFloat64(at + 8, true) || generation;
    const previousBytes = view.getUint32(at + 16, true);
    const previousRevision = view.getFloat64(at + 20, true);
    const keyAt = at + headBytes;
    const bytesAt = keyAt + keyBytes;
    const previousAt = bytesAt + bytes;
    at = previousAt + previousBytes;
    if (at > state.length) throw torn();
    const entry = { revision, bytes: state.slice(bytesAt, previousAt) };
    const previous = { revision: previousRevision, bytes: state.slice(previousAt, at) };
    const key = plainText.decode(state.subarray(keyAt, bytesAt));
    table.set(key, previousRevision === 0 ? entry : { ...entry, previous });
  }
  return table;
}

function torn(): FabricError {
  return new FabricError("CORRUPT_RECORD", "Cannot read the checkpoints: a length is wrong");
}
