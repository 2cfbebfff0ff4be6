/**
 * What an edge over blocks writes: items in batches, each in a slot of its own, under one checksum.
 *
 * ```
 *  byte 0  "SVBE"     4  version     8  number of the batch      16  number of its first item     (64-bit floats)
 *      24  items     28  bytes      32  1: the stream ends here  40  checksum of all of this and of the items, two words
 *      64  items: length, bytes, length, bytes, …
 * ```
 *
 * Invariant J3: a batch that was not written whole is not there. So, read from the first that is not acknowledged on, what
 * is there is what was made durable, and perhaps one batch more.
 */
import { BLOCK_BYTES, checksum, type RecordBlocks } from "@selvage/fabric";

/** A batch of items. */
export interface EdgeBatch {
  /** Counts the batches of one lease, from 0. */
  readonly batch: number;
  /** Number of its first item in the stream. */
  readonly first: number;
  readonly items: readonly Uint8Array[];
  /** Whether the stream ends with it. */
  readonly isLast: boolean;
}

const magic = 0x4542_5653;
const version = 1;
const headerBytes = 64;
const checksumAt = 40;
const lengthBytes = 4;

/** Bytes that items take in a batch. */
export function itemBytes(item: Uint8Array): number {
  return lengthBytes + item.length;
}

/** Bytes that a slot of so many blocks has for items. */
export function slotRoom(slotBlocks: number): number {
  return slotBlocks * BLOCK_BYTES - headerBytes;
}

/** The bytes of a batch: a whole number of blocks. */
export function encodeBatch({ batch, first, items, isLast }: EdgeBatch): Uint8Array {
  const payload = items.reduce((sum, item) => sum + itemBytes(item), 0);
  const blocks = Math.ceil((headerBytes + payload) / BLOCK_BYTES);
  const bytes = new Uint8Array(blocks * BLOCK_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, magic, true);
  view.setUint32(4, version, true);
  view.setFloat64(8, batch, true);
  view.setFloat64(16, first, true);
  view.setUint32(24, items.length, true);
  view.setUint32(28, payload, true);
  view.setUint32(32, isLast ? 1 : 0, true);
  let at = headerBytes;
  for (const item of items) {
    view.setUint32(at, item.length, true);
    bytes.set(item, at + lengthBytes);
    at += itemBytes(item);
  }
  for (const [index, word] of sumOf(bytes, payload).entries())
    view.setInt32(checksumAt + index * 4, word, true);
  return bytes;
}

/** The batch in a slot's bytes; undefined when there is none that is whole. */
export function decodeBatch(bytes: Uint8Array): EdgeBatch | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < headerBytes || view.getUint32(0, true) !== magic) return undefined;
  if (view.getUint32(4, true) !== version) return undefined;
  const payload = view.getUint32(28, true);
  if (headerBytes + payload > bytes.length) return undefined;
  const sums = sumOf(bytes, payload);
  if (sums.some((word, index) => word !== view.getInt32(checksumAt + index * 4, true)))
    return undefined;
  const items: Uint8Array[] = [];
  let at = headerBytes;
  for (let left = view.getUint32(24, true); left > 0; left--) {
    const length = view.getUint32(at, true);
    items.push(bytes.slice(at + lengthBytes, at + lengthBytes + length));
    at += lengthBytes + length;
  }
  const [batch, first] = [view.getFloat64(8, true), view.getFloat64(16, true)];
  return { batch, first, items, isLast: view.getUint32(32, true) === 1 };
}

/** Slots of one size on blocks: batch `n` is in slot `n` modulo their count. */
export class BatchSlots {
  readonly count: number;
  readonly slotBlocks: number;
  readonly #blocks: RecordBlocks;

  constructor(blocks: RecordBlocks, slotBlocks: number) {
    this.#blocks = blocks;
    this.slotBlocks = slotBlocks;
    this.count = Math.floor(blocks.numBlocks / slotBlocks);
  }

  /** Batch number `batch`; undefined when it is not there, or not any more. */
  async read(batch: number): Promise<EdgeBatch | undefined> {
    const found = await this.#at(batch % this.count);
    return found?.batch === batch ? found : undefined;
  }

  /** All batches that are there, oldest first. */
  async all(): Promise<readonly EdgeBatch[]> {
    const found: EdgeBatch[] = [];
    for (let slot = 0; slot < this.count; slot++) {
      const batch = await this.#at(slot);
      if (batch !== undefined) found.push(batch);
    }
    return found.toSorted((one, other) => one.batch - other.batch);
  }

  /** Writes a batch; it survives a crash once this resolves. */
  async write(batch: EdgeBatch): Promise<void> {
    await this.#blocks.write((batch.batch % this.count) * this.slotBlocks, encodeBatch(batch));
    await this.#blocks.flush();
  }

  async #at(slot: number): Promise<EdgeBatch | undefined> {
    const bytes = new Uint8Array(this.slotBlocks * BLOCK_BYTES);
    await this.#blocks.readInto(slot * this.slotBlocks, bytes);
    return decodeBatch(bytes);
  }
}

// Of the header before it, and of the items.
function sumOf(bytes: Uint8Array, payload: number): readonly number[] {
  const head = checksum(bytes, 0, checksumAt);
  const items = checksum(bytes, headerBytes, payload);
  return [head[0] ^ Math.imul(items[0], 3), head[1] ^ Math.imul(items[1], 3)];
}
