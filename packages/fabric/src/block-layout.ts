/**
 * What a block file holds. In blocks of 512 bytes, numbers little endian:
 *
 * ```
 *  block  0            superblock, copy 0: 8 blocks
 *         8            superblock, copy 1: 8 blocks
 *        16            lease records, copy 0: one block a lease slot, S of them
 *        16 + S        lease records, copy 1: another S
 *        16 + 2S       the blocks that are leased, as far as the file reaches; beyond its end blocks are zero
 *
 *  superblock              lease record
 *   0  magic "SVBF"         0  lease slot                  40  deadline, ms since the Unix epoch, 64-bit float
 *   4  version 1            4  phase                       48  store id
 *   8  leased blocks        8  how the lease ended         64  1 = warned
 *  12  S, a multiple of 8  12  lease generation            68  length of the tenant's name, 16 bits
 *  16  store id, 4 words   16  lease id, 4 words           70  length of the label, 16 bits
 *                          32  first block                 72  tenant and label, in UTF-16 units
 *                          36  number of blocks
 * ```
 *
 * Superblock and lease records are two-slot records (`two-slot-record.ts`): the layouts above are of their values, which
 * fill their slots, so that no bit is outside the checksum. The copies of one record lie apart, and S is a multiple of
 * 8, so that one bad sector of 4 KiB takes one copy at most.
 */
import { FabricError } from "./errors.ts";
import { BLOCK_BYTES } from "./ports.ts";
import { decodeSlot, encodeSlot, SLOT_VALUE_BYTES } from "./two-slot-record.ts";

/** What a block file is, for good: told by its superblock. */
export interface BlockFileShape {
  /** Made with the file: four words. */
  readonly storeId: Int32Array;
  /** Blocks to lease. */
  readonly numBlocks: number;
  /** Lease slots. */
  readonly slots: number;
}

/** How a lease slot stands: nobody's; a lease's; or a lease's that is over, and whose blocks are not zero yet. */
export type Phase = "free" | "live" | "ending";

/** What the disk knows of one lease slot. */
export interface BlockEntry {
  readonly phase: Phase;
  /** How the lease ended (a state of `lease-word.ts`); 0 while it stands, or when there never was one. */
  readonly end: number;
  readonly isWarned: boolean;
  /** Of the lease that has the slot, or had it last; 0 before the first. */
  readonly generation: number;
  /** Its id: four words. */
  readonly id: Int32Array;
  /** Its blocks. */
  readonly first: number;
  readonly count: number;
  /** Milliseconds since the Unix epoch. */
  readonly deadlineMs: number;
  readonly tenant: string;
  readonly label: string;
}

const magic = 0x4642_5653;
const version = 1;
const superblockBlocks = 8;
const tableAt = 2 * superblockBlocks;
const textAt = 72;
/** As `Fabric.open` bounds them: a file that says more was made by nobody. */
const blocksMax = 2 ** 26;
const slotsMax = 65_536;
const phases: readonly Phase[] = ["free", "live", "ending"];

/** How long a tenant's name and a label may be together, in UTF-16 units. */
export const TEXT_UNITS_MAX: number = Math.floor((SLOT_VALUE_BYTES - textAt) / 2);

/** The slot of a lease that was never granted. */
export const emptyEntry: BlockEntry = Object.freeze({
  phase: "free",
  end: 0,
  isWarned: false,
  generation: 0,
  id: new Int32Array(4),
  first: 0,
  count: 0,
  deadlineMs: 0,
  tenant: "",
  label: "",
});

/** Where a lease record's copy begins, in bytes. */
export function recordAt(shape: BlockFileShape, slot: number, copy: number): number {
  return (tableAt + copy * shape.slots + slot) * BLOCK_BYTES;
}

/** Where the leased blocks begin, in bytes. */
export function dataAt(shape: BlockFileShape): number {
  return recordAt(shape, 0, 2);
}

/** What a new file holds: both copies of everything, with nothing leased. */
export function blockFileImage(shape: BlockFileShape): Uint8Array<ArrayBuffer> {
  const image = new Uint8Array(dataAt(shape));
  for (const copy of [0, 1]) {
    image.set(encodeSuperblock(shape), superblockAt(copy));
    for (let slot = 0; slot < shape.slots; slot++)
      image.set(encodeEntry(shape, slot, 1 - copy, emptyEntry), recordAt(shape, slot, copy));
  }
  return image;
}

/** Where a copy of the superblock begins, in bytes. */
export function superblockAt(copy: number): number {
  return copy * superblockBlocks * BLOCK_BYTES;
}

/** Lays a copy of the superblock out. */
export function encodeSuperblock(shape: BlockFileShape): Uint8Array<ArrayBuffer> {
  const value = new Uint8Array(superblockBlocks * BLOCK_BYTES - (BLOCK_BYTES - SLOT_VALUE_BYTES));
  const view = new DataView(value.buffer);
  view.setUint32(0, magic, true);
  view.setUint32(4, version, true);
  view.setUint32(8, shape.numBlocks, true);
  view.setUint32(12, shape.slots, true);
  setId(view, 16, shape.storeId);
  return encodeSlot(1, value);
}

/** What a superblock says, and which copy of it could not be read. */
export interface SuperblockReading {
  readonly shape: BlockFileShape;
  readonly damagedCopy: number | undefined;
}

/**
 * Reads the superblock through `read`, which fills its target from an offset and says how many bytes there were.
 * @throws FabricError `CORRUPT_RECORD` when neither copy can be read, or says what can't be: it may be no block file at
 * all; and when the file is too short for the lease slots that it says it has.
 */
export function readSuperblock(
  read: (offset: number, target: Uint8Array) => number,
): SuperblockReading {
  const shapes = [0, 1].map((copy) => {
    const bytes = new Uint8Array(superblockBlocks * BLOCK_BYTES);
    const length = read(superblockAt(copy), bytes);
    return length === bytes.length ? decodeSuperblock(bytes) : undefined;
  });
  const shape = shapes[0] ?? shapes[1];
  if (shape === undefined)
    throw new FabricError("CORRUPT_RECORD", "Cannot open: not a block file, or its head is lost", {
      record: "superblock",
    });
  // One copy of each lease record at least must be within the file: only then is its length one of that many slots.
  if (read(recordAt(shape, 0, 1) - 1, new Uint8Array(1)) < 1)
    throw new FabricError("CORRUPT_RECORD", "Cannot open: the file ends within its lease table", {
      record: "superblock",
      slots: shape.slots,
    });
  const damagedCopy = shapes.indexOf(undefined);
  return { shape, damagedCopy: damagedCopy < 0 ? undefined : damagedCopy };
}

function decodeSuperblock(bytes: Uint8Array<ArrayBuffer>): BlockFileShape | undefined {
  const { kind, state } = decodeSlot(bytes);
  if (kind !== "good") return undefined;
  const view = new DataView(state.buffer, state.byteOffset, state.length);
  if (state.length < 32 || view.getUint32(0, true) !== magic) return undefined;
  if (view.getUint32(4, true) !== version) return undefined;
  const numBlocks = view.getUint32(8, true);
  const slots = view.getUint32(12, true);
  // Before anything is allocated by them.
  const isSane = numBlocks <= blocksMax && slots >= 8 && slots <= slotsMax && slots % 8 === 0;
  if (!isSane) return undefined;
  return { storeId: idAt(view, 16), numBlocks, slots };
}

/** Lays one copy of a lease record out: a block. `generation` counts the record's writes. */
export function encodeEntry(
  shape: BlockFileShape,
  slot: number,
  generation: number,
  entry: BlockEntry,
): Uint8Array<ArrayBuffer> {
  const value = new Uint8Array(SLOT_VALUE_BYTES);
  const view = new DataView(value.buffer);
  view.setUint32(0, slot, true);
  view.setUint32(4, phases.indexOf(entry.phase), true);
  view.setUint32(8, entry.end, true);
  view.setUint32(12, entry.generation, true);
  setId(view, 16, entry.id);
  view.setUint32(32, entry.first, true);
  view.setUint32(36, entry.count, true);
  view.setFloat64(40, entry.deadlineMs, true);
  setId(view, 48, shape.storeId);
  view.setUint32(64, entry.isWarned ? 1 : 0, true);
  view.setUint16(68, entry.tenant.length, true);
  view.setUint16(70, entry.label.length, true);
  const text = entry.tenant + entry.label;
  for (let unit = 0; unit < text.length; unit++)
    view.setUint16(textAt + unit * 2, text.charCodeAt(unit), true);
  return encodeSlot(generation, value);
}

/** One copy of a lease record, as read. */
export interface EntryReading {
  /** How often the record had been written. */
  readonly generation: number;
  readonly entry: BlockEntry;
}

/** Reads one copy of a lease record; undefined if it is damaged, or another slot's, or another file's. */
export function decodeEntry(
  shape: BlockFileShape,
  slot: number,
  bytes: Uint8Array<ArrayBuffer>,
): EntryReading | undefined {
  const { kind, generation, state } = decodeSlot(bytes);
  if (kind !== "good" || state.length !== SLOT_VALUE_BYTES) return undefined;
  const view = new DataView(state.buffer, state.byteOffset, state.length);
  const isOwn = view.getUint32(0, true) === slot && isSameId(idAt(view, 48), shape.storeId);
  const phase = phases[view.getUint32(4, true)];
  const tenantUnits = view.getUint16(68, true);
  const labelUnits = view.getUint16(70, true);
  if (!isOwn || phase === undefined || tenantUnits + labelUnits > TEXT_UNITS_MAX) return undefined;
  const entry: BlockEntry = {
    phase,
    end: view.getUint32(8, true),
    isWarned: view.getUint32(64, true) === 1,
    generation: view.getUint32(12, true),
    id: idAt(view, 16),
    first: view.getUint32(32, true),
    count: view.getUint32(36, true),
    deadlineMs: view.getFloat64(40, true),
    tenant: textOf(view, textAt, tenantUnits),
    label: textOf(view, textAt + tenantUnits * 2, labelUnits),
  };
  const isInside = entry.first + entry.count <= shape.numBlocks;
  const isSane = (phase === "free" || entry.count > 0) && !Number.isNaN(entry.deadlineMs);
  return isInside && isSane ? { generation, entry } : undefined;
}

/** True if two ids are one. */
function isSameId(a: Int32Array, b: Int32Array): boolean {
  return a[0] === b[0] && a[1] === b[1] && a[2] === b[2] && a[3] === b[3];
}

function idAt(view: DataView, at: number): Int32Array {
  const id = new Int32Array(4);
  for (let word = 0; word < 4; word++) id[word] = view.getInt32(at + word * 4, true);
  return id;
}

function setId(view: DataView, at: number, id: Int32Array): void {
  for (let word = 0; word < 4; word++) view.setInt32(at + word * 4, id[word] as number, true);
}

function textOf(view: DataView, at: number, units: number): string {
  let text = "";
  for (let unit = 0; unit < units; unit++)
    text += String.fromCharCode(view.getUint16(at + unit * 2, true));
  return text;
}
