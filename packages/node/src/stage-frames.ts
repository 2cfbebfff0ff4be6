/**
 * What crosses the edges between stages' threads: items by the frame. What it takes to encode a value, to push it and to
 * decode it costs ten times what a small item does (0.7 us and 40 ns: Node 24.21, 2-core VM, 2026-11), so items share it.
 *
 * A stage makes one frame of each that it gets, under the same number on the next edge. So whoever takes over after a death
 * makes the same frames again, and an edge's numbers say what has been seen.
 */
import { FabricError, isFabricError, type Codec, type FabricErrorWire } from "@selvage/fabric";
import { msgpackCodec } from "./msgpack-codec.ts";
import { skipMsgpack } from "./msgpack-walk.ts";
import type { RingShape } from "./stage-messages.ts";

/** Most items of a frame: from here on what they share is less than what an item costs by itself. */
const itemsMax = 64;
/** Where items are long a frame has fewer: what they share is little then, and so long a copy leaves the cache. */
const itemBytesMax = 65_536;
/** Frames that a ring has room for, however long they are. */
const ringFrames = 4;
/** What is on its way over an edge, however long the items: more only fills the heap with copies. In bytes. */
const windowBytesMax = 2_097_152;
/** Room in a frame beside its items: for its numbers, and for what a stage has failed with. */
const beside = 1_024;
const most = { bytes: 2 ** 30, elements: itemsMax * 1_000_000, depth: 102 };

/** Items whose numbers follow one another. */
export interface Frame {
  /** The number of the first. */
  readonly first: number;
  /** How many numbers it stands for. */
  readonly count: number;
  readonly values: readonly unknown[];
  /** Of each value, how far its number is from the first; undefined where no item was left out. */
  readonly offsets: Uint8Array | undefined;
  /** What a stage has failed with at the number after these: what is before it arrives, nothing after it does. */
  readonly failure: FabricErrorWire | undefined;
}

/** The rings of an edge, and how many frames its producer keeps. */
export interface FrameShape {
  readonly itemsMax: number;
  readonly capacity: number;
  readonly stride: number;
  readonly window: number;
}

/** What holds `capacity` items of `stride` bytes. */
export function frameShape({ capacity, stride }: RingShape): FrameShape {
  const perFrame = Math.max(
    1,
    Math.min(itemsMax, capacity >> 4, Math.floor(itemBytesMax / stride)),
  );
  return {
    itemsMax: perFrame,
    capacity: ringFrames,
    stride: perFrame * (stride + 1) + beside,
    window: Math.min(
      Math.ceil(capacity / perFrame),
      Math.max(ringFrames * 2, Math.floor(windowBytesMax / (perFrame * stride))),
    ),
  };
}

/** The number of a frame's value. */
export function numberAt({ first, offsets }: Frame, index: number): number {
  return first + (offsets === undefined ? index : (offsets[index] as number));
}

type Wire = readonly [
  first: number,
  count: number,
  offsets: Uint8Array | null,
  failure: FabricErrorWire | null,
  values: readonly unknown[],
];

/**
 * How frames cross. An item that MessagePack cannot say, or that takes more than `stride` bytes, is `ENCODE` or
 * `CAPACITY_EXCEEDED` with its `index` in `details`.
 */
export function frameCodec(stride: number): Codec<Frame> {
  const codec = msgpackCodec<Wire>(most);
  const single = msgpackCodec<unknown>();
  return {
    name: "frame",
    encode(frame) {
      const { first, count, offsets, failure, values } = frame;
      let bytes: Uint8Array;
      try {
        bytes = codec.encode([first, count, offsets ?? null, failure ?? null, values]);
      } catch (error) {
        throw ofItem(single, values, error);
      }
      // Where all of it is no longer than one may be, none is longer.
      if (bytes.length > stride) checkItems(codec, frame, bytes, stride);
      return bytes;
    },
    decode(bytes) {
      const [first, count, offsets, failure, values] = codec.decode(bytes);
      return {
        first,
        count,
        values,
        offsets: offsets ?? undefined,
        failure: failure ?? undefined,
      };
    },
  };
}

// The items' bytes are the last of a frame's.
function checkItems(
  codec: Codec<Wire>,
  { first, count, offsets, failure, values }: Frame,
  bytes: Uint8Array,
  stride: number,
): void {
  // A list's head is of one byte up to 15 members, of three beyond.
  const empty = codec.encode([first, count, offsets ?? null, failure ?? null, []]).length;
  let at = empty + (values.length < 16 ? 0 : 2);
  for (let index = 0; index < values.length; index++) {
    const end = skipMsgpack(bytes, at);
    if (end - at > stride)
      throw new FabricError(
        "CAPACITY_EXCEEDED",
        `Cannot send an item of ${end - at} bytes: there is room for ${stride}`,
        { bytes: end - at, bytesMax: stride, index },
      );
    at = end;
  }
}

// Finds the item that stands in the way.
function ofItem(single: Codec<unknown>, values: readonly unknown[], error: unknown): unknown {
  for (const [index, value] of values.entries()) {
    try {
      // In a list, undefined has a form.
      single.encode([value]);
    } catch (cause) {
      if (!isFabricError(cause)) return cause;
      return new FabricError(cause.code, cause.message, { ...cause.details, index }, { cause });
    }
  }
  return error;
}
