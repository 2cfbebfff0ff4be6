/**
 * One value on blocks, replaced as a whole: after a crash at any moment the old value is read, or the new one.
 *
 * Two slots share the blocks half and half, and are written in turn. A slot, little endian:
 *
 * ```
 *  byte  0  magic "SVR1"                16  length of the value in bytes
 *        4  version 1                   20  checksum of bytes 0 to 19, and 28 to the value's end (two words)
 *        8  generation, 64 bits         28  the value
 * ```
 *
 * Invariant R1: the slot that holds the newest readable generation is never written to. So a write torn at any byte
 * leaves it whole.
 * Invariant R2: `write` resolves only after the device has flushed: what was acknowledged is read again.
 * Invariant R3: a slot that cannot be read is told (`recovered`), and the next generation is then at least the
 * readable one + 2, so that a generation which may have been acknowledged and lost is never given out again.
 * Invariant R4: when a write resolves, both slots are whole and their generations are one apart at most. R3 rests on
 * it: were they two apart, as after that step of 2, the loss of the newer slot would bring its generation up again. So
 * a write after a fallback goes into both slots, the damaged one first (R1).
 * Invariant R5: no slot is written to before what was read from both of them is durable. What reads newest may be what a
 * process wrote that died before its flush: R1 would then spare bytes that power can still take, and give up the ones
 * that were acknowledged. So the blocks are flushed between the look at the slots and the first write after it.
 * Two slots of which neither can be read are `CORRUPT_RECORD`, never taken for "nothing written yet": before its
 * first value a record gets an empty one, generation 0, in slot 1. So a first write that was torn (slot 0 unreadable,
 * slot 1 empty) differs from a value that was lost with nothing beside it.
 */
import { checksum } from "./checksum.ts";
import { FabricError, invalidArgument } from "./errors.ts";
import { BLOCK_BYTES } from "./ports.ts";

/** Where a record lives: a block lease, or anything with its shape. */
export interface RecordBlocks {
  readonly numBlocks: number;
  /** Fills `target`, a whole number of blocks, from block `index` on. */
  readInto(index: number, target: Uint8Array): Promise<void>;
  /** Writes a whole number of blocks from block `index` on. */
  write(index: number, bytes: Uint8Array): Promise<void>;
  flush(): Promise<void>;
}

/** What a record holds. */
export interface RecordReading {
  /** The value, in an array of its own; undefined when none was ever written. */
  readonly state: Uint8Array<ArrayBuffer> | undefined;
  /** Counts the writes, from 1; 0 when there was none. */
  readonly generation: number;
  /** Set when the other slot was unreadable: a later value may have been lost. `slot` is the one that was. */
  readonly recovered?: { readonly slot: 0 | 1 };
}

const magic = 0x3152_5653;
const version = 1;
const headerBytes = 28;
/** The longest value of a slot of one block: it leaves no byte that is not under the checksum. */
export const SLOT_VALUE_BYTES: number = BLOCK_BYTES - headerBytes;
const generationMax = Number.MAX_SAFE_INTEGER;

/** One of a record's two slots, as read. */
export interface RecordSlot {
  readonly kind: "blank" | "bad" | "good";
  readonly generation: number;
  readonly state: Uint8Array<ArrayBuffer>;
}

/** What a writer knows of the slots. */
interface Known {
  readonly next: number;
  readonly target: 0 | 1;
  /** True when the target is damaged: then the other slot is written too (R4). */
  readonly mend: boolean;
}

const nothing = new Uint8Array(0);

/**
 * One record. Whoever writes it is alone: several readers may look on.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { Fabric, TwoSlotRecord } from "selvage";
 *
 * using fabric = Fabric.open({ memoryBytes: 1 << 20, blocks: 64 });
 * const record = new TwoSlotRecord(await fabric.block().minBlocks(4).acquire());
 * assert.equal((await record.read()).state, undefined);
 * await record.write(Uint8Array.of(1, 2, 3));
 * assert.deepEqual([...(await record.read()).state!], [1, 2, 3]);
 * ```
 */
export class TwoSlotRecord {
  readonly #blocks: RecordBlocks;
  readonly #slotBlocks: number;
  // What this writer knows of the slots; undefined until it has looked, and again after a write that failed.
  #known: Known | undefined;
  // True once what it knows is durable (R5): its own writes are, those of another life only after a flush.
  #isDurable = false;

  /** A record over all of `blocks`, 2 at least. @throws FabricError `INVALID_ARGUMENT`. */
  constructor(blocks: RecordBlocks) {
    if (blocks.numBlocks < 2)
      throw invalidArgument("blocks", "at least 2 blocks", blocks.numBlocks);
    this.#blocks = blocks;
    this.#slotBlocks = Math.floor(blocks.numBlocks / 2);
  }

  /** Blocks that a record for values of up to `bytes` bytes needs. */
  static blocksFor(bytes: number): number {
    return 2 * Math.ceil((headerBytes + bytes) / BLOCK_BYTES);
  }

  /** The longest value that fits, in bytes. */
  get bytesMax(): number {
    return this.#slotBlocks * BLOCK_BYTES - headerBytes;
  }

  /** The newest value. @throws FabricError `CORRUPT_RECORD`, what the blocks throw. */
  async read(): Promise<RecordReading> {
    const slots = [await this.#readSlot(0), await this.#readSlot(1)] as const;
    const { newest, damaged } = judge(slots);
    if (newest === undefined) {
      this.#known = undefined;
      return { state: undefined, generation: 0 };
    }
    const { generation, state } = slots[newest];
    const next = generation + (damaged === undefined ? 1 : 2);
    // Another writer's work, done since: that may be unflushed.
    if (this.#known?.next !== next) this.#isDurable = false;
    this.#known = { next, target: newest === 0 ? 1 : 0, mend: damaged !== undefined };
    const reading = { state: generation === 0 ? undefined : state.slice(), generation };
    return damaged === undefined ? reading : { ...reading, recovered: { slot: damaged } };
  }

  /**
   * Replaces the value. Resolves with its generation, once it survives a crash.
   * @throws FabricError `CAPACITY_EXCEEDED` (longer than `bytesMax`), `EXHAUSTED`, `CORRUPT_RECORD`, what the blocks
   * throw; then the old value stands, or the new one.
   */
  async write(state: Uint8Array): Promise<number> {
    if (state.length > this.bytesMax)
      throw new FabricError("CAPACITY_EXCEEDED", "Cannot write the record: the value is too long", {
        bytes: state.length,
        bytesMax: this.bytesMax,
      });
    if (this.#known === undefined) await this.read();
    // Where nothing is there, nothing can be taken for durable.
    if (!this.#isDurable && this.#known !== undefined) await this.#blocks.flush();
    // Whatever becomes of this write, the next one begins with a look and a flush, unless this one succeeds (R5).
    this.#isDurable = false;
    // Nothing is there yet: the empty value goes first.
    if (this.#known === undefined) {
      await this.#writeSlot(1, 0, nothing);
      this.#known = { next: 1, target: 0, mend: false };
    }
    const { next, target, mend } = this.#known;
    if (next > generationMax)
      throw new FabricError("EXHAUSTED", "Cannot write the record: its generations are used up", {
        generation: generationMax,
      });
    this.#known = undefined;
    await this.#writeSlot(target, next, state);
    const other = target === 0 ? 1 : 0;
    if (mend) await this.#writeSlot(other, next, state);
    this.#known = { next: next + 1, target: other, mend: false };
    this.#isDurable = true;
    return next;
  }

  async #writeSlot(slot: 0 | 1, generation: number, state: Uint8Array): Promise<void> {
    await this.#blocks.write(slot * this.#slotBlocks, encodeSlot(generation, state));
    await this.#blocks.flush();
  }

  async #readSlot(slot: 0 | 1): Promise<RecordSlot> {
    const bytes = new Uint8Array(this.#slotBlocks * BLOCK_BYTES);
    await this.#blocks.readInto(slot * this.#slotBlocks, bytes);
    return decodeSlot(bytes);
  }
}

/** Which slot counts, and which one was damaged. Neither: nothing was ever written. */
function judge(slots: readonly [RecordSlot, RecordSlot]): {
  readonly newest?: 0 | 1;
  readonly damaged?: 0 | 1;
} {
  const [first, second] = slots;
  if (first.kind === "good" && second.kind === "good")
    return { newest: first.generation > second.generation ? 0 : 1 };
  // Slot 1 is written before slot 0, ever: where slot 0 counts, a blank slot 1 has lost what it held.
  if (first.kind === "good") return { newest: 0, damaged: 1 };
  if (second.kind === "good")
    return first.kind === "blank" && second.generation === 0
      ? { newest: 1 }
      : { newest: 1, damaged: 0 };
  // Slot 0 was never written, so nothing was: slot 1 is blank, or its first write was torn.
  if (first.kind === "blank") return {};
  throw new FabricError("CORRUPT_RECORD", "Cannot read the record: neither slot is whole", {
    slots: [first.kind, second.kind],
  });
}

/** Lays a slot out, in whole blocks. */
export function encodeSlot(generation: number, state: Uint8Array): Uint8Array<ArrayBuffer> {
  const blocks = Math.ceil((headerBytes + state.length) / BLOCK_BYTES);
  const bytes = new Uint8Array(blocks * BLOCK_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, magic, true);
  view.setUint32(4, version, true);
  view.setUint32(8, generation >>> 0, true);
  view.setUint32(12, Math.floor(generation / 0x1_0000_0000), true);
  view.setUint32(16, state.length, true);
  bytes.set(state, headerBytes);
  const [first, second] = slotChecksum(bytes, state.length);
  view.setInt32(20, first, true);
  view.setInt32(24, second, true);
  return bytes;
}

/**
 * Reads a slot. Every byte that its value's length covers is under the checksum; what follows is not looked at. The value
 * is a part of `bytes`, not a copy.
 */
export function decodeSlot(bytes: Uint8Array<ArrayBuffer>): RecordSlot {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const bad: RecordSlot = { kind: "bad", generation: 0, state: nothing };
  if (view.getUint32(0, true) !== magic)
    return bytes.every((byte) => byte === 0) ? { ...bad, kind: "blank" } : bad;
  const length = view.getUint32(16, true);
  // The length is held against the slot before anything is read by it.
  if (view.getUint32(4, true) !== version || length > bytes.length - headerBytes) return bad;
  const [first, second] = slotChecksum(bytes, length);
  if (view.getInt32(20, true) !== first || view.getInt32(24, true) !== second) return bad;
  const generation = view.getUint32(12, true) * 0x1_0000_0000 + view.getUint32(8, true);
  return { kind: "good", generation, state: bytes.subarray(headerBytes, headerBytes + length) };
}

// Over everything but itself: the header's part and the value's are summed apart and mixed, so neither can move.
function slotChecksum(bytes: Uint8Array, length: number): readonly [number, number] {
  const [headFirst, headSecond] = checksum(bytes, 0, 20);
  const [first, second] = checksum(bytes, headerBytes, length);
  return [first ^ Math.imul(headFirst, 0x9e37_79b1), second ^ Math.imul(headSecond, 0x85eb_ca6b)];
}
