/**
 * One block of a store's log. A block says where it belongs, so that one that was lost, swapped or written elsewhere is
 * told from one that was never written.
 *
 * ```
 *  byte  0  magic "SVK1"       4  position: index of this block in its lease
 *        8  epoch, 64 bits: which filling of its area           16  life, 64 bits: which opening of the store wrote it
 *       24  batch, from 1     28  index in the batch           32  blocks of the batch
 *       36  bytes of the batch's payload                        40  kind: 0 log, 1 image
 *       44  checksum of all other bytes, one word              48  its second word        52  payload
 * ```
 */
import { BLOCK_BYTES, checksum } from "@selvage/fabric";

/** Payload of one block. */
export const PAYLOAD_BYTES: number = BLOCK_BYTES - 52;

/** What a block says of itself. */
export interface BlockMark {
  readonly position: number;
  readonly epoch: number;
  readonly life: number;
  readonly batch: number;
  readonly index: number;
  readonly count: number;
  readonly payloadBytes: number;
  /** Part of an image: what was live when the area was begun. */
  readonly isImage: boolean;
}

const magic = 0x314b_5653;
const checksumAt = 44;
const payloadAt = 52;

/** The blocks that a batch of so many bytes takes. */
export function blocksFor(payloadBytes: number): number {
  return Math.max(1, Math.ceil(payloadBytes / PAYLOAD_BYTES));
}

/** Lays a batch out in blocks. `first` is the position of its first. */
export function encodeBatch(
  payload: Uint8Array,
  first: number,
  mark: Pick<BlockMark, "epoch" | "life" | "batch" | "isImage">,
): Uint8Array {
  const count = blocksFor(payload.length);
  const bytes = new Uint8Array(count * BLOCK_BYTES);
  const view = new DataView(bytes.buffer);
  for (let index = 0; index < count; index++) {
    const at = index * BLOCK_BYTES;
    view.setUint32(at, magic, true);
    view.setUint32(at + 4, first + index, true);
    setCount(view, at + 8, mark.epoch);
    setCount(view, at + 16, mark.life);
    view.setUint32(at + 24, mark.batch, true);
    view.setUint32(at + 28, index, true);
    view.setUint32(at + 32, count, true);
    view.setUint32(at + 36, payload.length, true);
    view.setUint32(at + 40, mark.isImage ? 1 : 0, true);
    bytes.set(payload.subarray(index * PAYLOAD_BYTES, (index + 1) * PAYLOAD_BYTES), at + payloadAt);
    const [one, other] = checksumOf(bytes, at);
    view.setInt32(at + checksumAt, one, true);
    view.setInt32(at + checksumAt + 4, other, true);
  }
  return bytes;
}

/**
 * What the block at byte `at` of `bytes` says; `"blank"` if it is all zeros, `"damaged"` if it is anything else, or says
 * that it belongs elsewhere than at `position`.
 */
export function readMark(
  bytes: Uint8Array<ArrayBuffer>,
  at: number,
  position: number,
): BlockMark | "blank" | "damaged" {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  if (view.getUint32(at, true) !== magic) {
    for (let byte = at; byte < at + BLOCK_BYTES; byte++) if (bytes[byte] !== 0) return "damaged";
    return "blank";
  }
  const [one, other] = checksumOf(bytes, at);
  if (view.getInt32(at + checksumAt, true) !== one) return "damaged";
  if (view.getInt32(at + checksumAt + 4, true) !== other) return "damaged";
  if (view.getUint32(at + 4, true) !== position) return "damaged";
  return {
    position,
    epoch: getCount(view, at + 8),
    life: getCount(view, at + 16),
    batch: view.getUint32(at + 24, true),
    index: view.getUint32(at + 28, true),
    count: view.getUint32(at + 32, true),
    payloadBytes: view.getUint32(at + 36, true),
    isImage: view.getUint32(at + 40, true) === 1,
  };
}

/** The payload of block `index` of a batch, within `bytes`, whose block begins at `at`. */
export function payloadOf(
  bytes: Uint8Array,
  at: number,
  { index, payloadBytes }: BlockMark,
): Uint8Array {
  const length = Math.min(PAYLOAD_BYTES, payloadBytes - index * PAYLOAD_BYTES);
  return bytes.subarray(at + payloadAt, at + payloadAt + length);
}

/** Writes a whole number below 2^53. */
export function setCount(view: DataView, at: number, value: number): void {
  view.setUint32(at, value >>> 0, true);
  view.setUint32(at + 4, Math.floor(value / 0x1_0000_0000), true);
}

/** Reads what {@link setCount} wrote. */
export function getCount(view: DataView, at: number): number {
  return view.getUint32(at + 4, true) * 0x1_0000_0000 + view.getUint32(at, true);
}

function checksumOf(bytes: Uint8Array, at: number): readonly [number, number] {
  const [one, other] = checksum(bytes, at, checksumAt);
  const [first, second] = checksum(bytes, at + payloadAt, PAYLOAD_BYTES);
  // Mixed, so that neither part can stand in for the other.
  return [first ^ Math.imul(one, 0x9e37_79b1), second ^ Math.imul(other, 0x85eb_ca6b)];
}
