/**
 * Where everything is in a ring's memory, and what a header must satisfy before any of it is believed.
 *
 * ```
 *  byte    0  magic "SVQ1"     4 version      8 kind         12 capacity    16 stride     20 units    24 checksum
 *         32  number of the first value, two words, and their checksum: `ring-notes.ts`
 *        128  tail, published  132 items pushed, published     136 a mark of both      line of the producers
 *        256  head, published  260 items popped, published     264 a mark of both      line of the consumers
 *        272  items acknowledged, and their checksum
 *        384  producer: thread entry + 1   388 its nonce   392 claim that is open   396 last claim   400 claims skipped
 *             404 values lost with their consumer
 *        512  consumer: thread entry + 1   516 its nonce       520 it asks for a new ring
 *        640  a consumer waits  644 rung for items             doorbells
 *        768  a producer waits  772 rung for room
 *        776  it waits for an acknowledgement  780 rung for one
 *        896  closed           900 the stream has ended
 *       1024  slots: eight bytes of header (`ring-side.ts`, `many-ring.ts`), then the payload, to a multiple of eight
 * ```
 *
 * A position counts units of eight bytes and runs from 0 to 2 * units - 1: full and empty differ, every slot is used,
 * and any capacity will do (rtrb's scheme). Words that different threads write stand 128 bytes apart: processors fetch
 * lines in pairs.
 *
 * Q1: nothing read from a ring's memory is used as an index or a length before it was held against the bounds that its
 * handle keeps for itself.
 */
import { FabricError, invalidArgument, type LeaseRegion } from "@selvage/fabric";

/** How a ring is shared, and what its slots are. */
type RingKind = "slots" | "records" | "many";

/** The shape of a ring. */
export interface RingShape {
  readonly kind: RingKind;
  /** How many values of `stride` bytes fit, at least. */
  readonly capacity: number;
  /** The longest value, in bytes. */
  readonly stride: number;
}

/** Bytes before the first slot. */
export const RING_HEADER_BYTES = 1_024;
/** Words of a slot's own header. */
export const SLOT_HEADER_WORDS = 2;
/** The longest value: what the length word of a slot holds, and half of what an arena does. */
const STRIDE_MAX: number = 2 ** 30;
/** The most slots. */
const CAPACITY_MAX: number = 2 ** 24;

/** Word offsets in the header. */
export const FIRST = 8;
export const TAIL = 32;
export const TAIL_COUNT = 33;
export const HEAD = 64;
export const HEAD_COUNT = 65;
/** From a count to the mark that is stored after count and position: it is another's where a thread died in between. */
export const SETTLED = 1;
export const ACKNOWLEDGED = 68;
export const PRODUCER = 96;
export const CLAIM = 98;
export const CLAIM_LAST = 99;
export const SKIPPED = 100;
export const LOST = 101;
export const CONSUMER = 128;
export const ASKED = 130;
export const ITEMS_BELL = 160;
export const ROOM_BELL = 192;
export const DEALT_BELL = 194;
export const CLOSED = 224;
export const ENDED = 225;

const magic = 0x3151_5653;
/** While a header is being written. */
const forming = 0x3051_5653;
const version = 1;
const kinds: readonly RingKind[] = ["slots", "records", "many"];
const headerWords = 6;
const checksumAt = 6;
/** How often a thread looks again while another forms the header: a few hundred nanoseconds' work. */
const formingLooksMax = 1_000_000;

/** What shows that count and position were stored together. Never 0. */
export function settledMark(count: number, position: number): number {
  return (Math.imul(count ^ 0x5eaf_00d1, 0x9e37_79b1) ^ Math.imul(position, 0x85eb_ca6b)) | 1;
}

/** What a mark is spoiled with, by exclusive or. It stays none that is 0. */
export const notSettled = 2;

/** Whether a count's mark shows that count and position were stored together; or that neither was ever stored. */
export function isSettled(count: number, position: number, mark: number): boolean {
  return mark === settledMark(count, position) || (count === 0 && position === 0 && mark === 0);
}

/** Units of eight bytes that one value takes, its header included. */
export function unitsOf(bytes: number): number {
  return 1 + Math.ceil(bytes / 8);
}

/** Units of all slots. */
export function ringUnits({ kind, capacity, stride }: RingShape): number {
  // A record that does not fit before the end starts again at the front, and what it left free is less than a slot.
  return (kind === "records" ? capacity + 1 : capacity) * unitsOf(stride);
}

/** Bytes that a ring of this shape takes. @throws FabricError `INVALID_ARGUMENT`. */
export function ringBytes(shape: RingShape): number {
  checkShape(shape);
  return RING_HEADER_BYTES + ringUnits(shape) * 8;
}

/** @throws FabricError `INVALID_ARGUMENT`. */
function checkShape({ kind, capacity, stride }: RingShape): void {
  if (!kinds.includes(kind)) throw invalidArgument("kind", `one of ${kinds.join(", ")}`, kind);
  if (!Number.isInteger(capacity) || capacity < 1 || capacity > CAPACITY_MAX)
    throw invalidArgument("capacity", `a whole number from 1 to ${CAPACITY_MAX}`, capacity);
  if (!Number.isInteger(stride) || stride < 1 || stride > STRIDE_MAX)
    throw invalidArgument("stride", `whole bytes from 1 to ${STRIDE_MAX}`, stride);
}

/** First word of the region. */
export function baseOf(region: LeaseRegion): number {
  return region.offset / 4;
}

/** @throws FabricError `INVALID_ARGUMENT`, `CAPACITY_EXCEEDED` (the lease is too small). */
export function checkBytes(region: LeaseRegion, shape: RingShape): void {
  const bytes = ringBytes(shape);
  if (bytes > region.bytes)
    throw new FabricError(
      "CAPACITY_EXCEEDED",
      `Cannot make the queue: it takes ${bytes} bytes, the lease has ${region.bytes}`,
      { bytes, leaseBytes: region.bytes, capacity: shape.capacity, stride: shape.stride },
    );
}

/**
 * Makes a ring in a blank region, or joins the same ring that is there already.
 * @throws FabricError `CONFLICT` (something else is there).
 */
export function formRing(region: LeaseRegion, shape: RingShape): void {
  const { words } = region.memory;
  const base = baseOf(region);
  // Order F1. The former stores the header (atomic), then the magic (atomic). Whoever sees the magic sees the header.
  const found = words.compareExchange(base, 0, forming);
  if (found === 0) {
    const header = headerOf(shape);
    for (const [index, value] of header.entries()) if (index > 0) words.store(base + index, value);
    words.store(base, magic);
    return;
  }
  const isRing = found === magic || found === forming;
  const there = isRing ? readRing(region) : undefined;
  if (there === undefined)
    throw new FabricError("CONFLICT", "Cannot make the queue: the lease holds something else", {});
  if (sameShape(there, shape)) return;
  throw new FabricError("CONFLICT", "Cannot make the queue: the lease holds another one", {
    kind: there.kind,
    capacity: there.capacity,
    stride: there.stride,
  });
}

/** The shape of the ring in a region. @throws FabricError `CORRUPT_RECORD`: there is none, or it is damaged. */
export function readRing(region: LeaseRegion): RingShape {
  if (region.bytes < RING_HEADER_BYTES) throw damaged("the lease is too small to hold a queue");
  const { words } = region.memory;
  const base = baseOf(region);
  for (let looks = 0; words.load(base) === forming; looks++)
    if (looks === formingLooksMax) throw damaged("whoever made the queue never finished");
  const header = Int32Array.from({ length: headerWords }, (_, index) => words.load(base + index));
  const [first, itsVersion, kindIndex, capacity, stride, units] = header as unknown as number[];
  if (first === 0) throw damaged("there is no queue in the lease");
  if (first !== magic || itsVersion !== version) throw damaged("the header is none");
  if (words.load(base + checksumAt) !== checksumOf(header)) throw damaged("its checksum is wrong");
  const kind = kinds[kindIndex as number];
  if (kind === undefined) throw damaged(`there is no kind ${kindIndex}`);
  const shape = { kind, capacity: capacity as number, stride: stride as number };
  try {
    checkShape(shape);
  } catch (cause) {
    throw damaged("its shape is none", cause);
  }
  if (ringUnits(shape) !== units) throw damaged("its size is not its shape's");
  if (RING_HEADER_BYTES + units * 8 > region.bytes) throw damaged("it is larger than its lease");
  return shape;
}

function headerOf(shape: RingShape): Int32Array {
  const header = new Int32Array(checksumAt + 1);
  header[0] = magic;
  header[1] = version;
  header[2] = kinds.indexOf(shape.kind);
  header[3] = shape.capacity;
  header[4] = shape.stride;
  header[5] = ringUnits(shape);
  header[checksumAt] = checksumOf(header);
  return header;
}

function checksumOf(header: Int32Array): number {
  let sum = 0x811c_9dc5;
  for (let index = 0; index < headerWords; index++)
    sum = Math.imul(sum ^ (header[index] as number), 0x0100_0193) ^ (sum >>> 15);
  return sum | 0;
}

function sameShape(one: RingShape, other: RingShape): boolean {
  return one.kind === other.kind && one.capacity === other.capacity && one.stride === other.stride;
}

/** The error for a ring whose memory says what cannot be. */
export function damaged(why: string, cause?: unknown): FabricError {
  return new FabricError(
    "CORRUPT_RECORD",
    `Cannot use the queue: ${why}`,
    { why },
    cause === undefined ? undefined : { cause },
  );
}
