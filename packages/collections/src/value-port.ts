/** Values through a ring: what the codec makes of them, and the views that claims and peeks lend. */
import {
  FabricError,
  invalidArgument,
  InvariantError,
  rawCodec,
  type Codec,
  type FixedLayout,
  type LeaseRegion,
} from "@selvage/fabric";
import { ManyConsumer, ManyProducer, manySize } from "./many-ring.ts";
import { bufferOf } from "./payload.ts";
import {
  baseOf,
  damaged,
  HEAD,
  HEAD_COUNT,
  readRing,
  RING_HEADER_BYTES,
  ringUnits,
  TAIL,
  TAIL_COUNT,
  type RingShape,
} from "./ring-layout.ts";
import type { ConsumerSide, ProducerSide, Ring } from "./ring-side.ts";
import { SlotConsumer, SlotProducer } from "./slot-ring.ts";

/** Any that pushes. */
export type PushSide = ProducerSide | ManyProducer;
/** Any that pops. */
export type PopSide = ConsumerSide | ManyConsumer;

/** Publishes what a batch has pushed, and gives back what it took and did not use. */
export function endBatch(side: PushSide): void {
  if (side instanceof ManyProducer) side.abandon();
  else side.publish();
}

/** How one handle puts values in and takes them out. */
export class ValuePort<T> {
  readonly #codec: Codec<T>;
  readonly #isRaw: boolean;
  readonly #fixed: FixedLayout<T> | undefined;
  readonly #stride: number;
  readonly #guard: boolean;
  readonly #isRecords: boolean;
  // All slots, for fixed layouts. Nothing that a codec is given leads to bytes beyond the ring.
  readonly #slots: DataView;
  readonly #start: number;
  readonly #slotWords: number;
  // One view a slot, made when it is first lent.
  readonly #claimViews: Uint8Array[] = [];
  readonly #peekViews: Uint8Array[] = [];
  #staging: Uint8Array | undefined;
  #peekAt = -1;
  #peekLength = 0;

  /** @throws FabricError `CAPACITY_EXCEEDED`: the codec's values are longer than a slot. */
  constructor(codec: Codec<T>, region: LeaseRegion, shape: RingShape) {
    if (typeof codec?.encode !== "function" || typeof codec.decode !== "function")
      throw invalidArgument("codec", "a codec", codec);
    this.#codec = codec;
    this.#isRaw = (codec as unknown) === rawCodec;
    this.#fixed = codec.fixed;
    this.#stride = shape.stride;
    this.#guard = region.site.guard;
    this.#isRecords = shape.kind === "records";
    const { bytes } = region.memory;
    const first = region.offset + RING_HEADER_BYTES;
    this.#slots = dataViewOf(bytes, first, ringUnits(shape) * 8);
    this.#start = first / 4;
    this.#slotWords = (1 + Math.ceil(shape.stride / 8)) * 2;
    if (codec.fixed !== undefined && codec.fixed.bytes > shape.stride)
      throw tooLong(codec.fixed.bytes, shape.stride);
  }

  /** How values become bytes. */
  get codec(): Codec<T> {
    return this.#codec;
  }

  /** Whether values are bytes as they are. */
  get isRaw(): boolean {
    return this.#isRaw;
  }

  /** False when full. */
  push(side: PushSide, value: T): boolean {
    const fixed = this.#fixed;
    if (fixed !== undefined) return this.#pushFixed(side, value, fixed);
    return this.pushBytes(side, this.#isRaw ? (value as Uint8Array) : this.#codec.encode(value));
  }

  /** As `push`, of a value that was encoded before. */
  pushBytes(side: PushSide, bytes: Uint8Array): boolean {
    if (!(bytes instanceof Uint8Array)) throw notBytes(this.#codec.name);
    const { length } = bytes;
    if (length > this.#stride) throw tooLong(length, this.#stride);
    // A view that was lent and has ended, most likely: not the empty value that it looks like.
    if (length === 0 && isDetached(bytes)) throw notBytes(this.#codec.name);
    if (side instanceof SlotProducer) return side.pushBytes(bytes);
    const at = side.reserve(length);
    if (at < 0) return false;
    side.payload.write(at, bytes);
    side.commit(length);
    return true;
  }

  /** Whether the longest value would find room. */
  hasRoom(side: PushSide): boolean {
    if (side.reserve(this.#stride) < 0) return false;
    if (side instanceof ManyProducer) side.abandon();
    return true;
  }

  /** Undefined when empty. A value that cannot be decoded is taken out, or left where it is with `keepsBad`. */
  pop(side: PopSide, keepsBad = false): T | undefined {
    for (;;) {
      const at = side.next();
      if (at < 0) return undefined;
      // A copy can be decoded once it is this thread's for good.
      const isCopied = this.#fixed === undefined && (this.#isRaw || !keepsBad);
      if (isCopied) {
        const bytes = side.payload.take(at, side.length);
        if (!side.release()) continue;
        return this.#isRaw ? (bytes as T) : this.#codec.decode(bytes);
      }
      let value: T;
      try {
        value = this.#decode(side, at);
      } catch (error) {
        if (keepsBad) side.keep();
        // Taken back meanwhile: it was no value that was read.
        else if (!side.release()) continue;
        throw error;
      }
      if (side.release()) return value;
    }
  }

  /** Bytes of the value that was copied to `target`; -1 when empty. */
  popInto(side: PopSide, target: Uint8Array): number {
    if (!(target instanceof Uint8Array)) throw notBytes("raw");
    for (;;) {
      const at = side.next();
      if (at < 0) return -1;
      const { length } = side;
      if (length > target.length) {
        side.keep();
        throw tooLong(length, target.length);
      }
      side.payload.read(at, target, length);
      if (!side.release()) continue;
      if (side instanceof SlotConsumer && length === target.length) side.filledInto(target);
      return length;
    }
  }

  /** The claimed bytes; undefined when full. */
  claim(side: PushSide): Uint8Array | undefined {
    if (side instanceof ManyProducer) return side.openClaim() ? this.#stage() : undefined;
    const at = side.reserve(this.#stride);
    if (at < 0) return undefined;
    side.openClaim();
    return this.#guard ? this.#stage() : this.#viewAt(this.#claimViews, side, at, this.#stride);
  }

  /** False: the claim had been given up. */
  commit(side: PushSide, claimed: Uint8Array, length: number): boolean {
    if (side instanceof ManyProducer) {
      const at = side.fillClaim();
      if (at < 0) return false;
      side.payload.write(at, length === claimed.length ? claimed : claimed.subarray(0, length));
      side.commit(length);
      return true;
    }
    if (!side.endClaim()) return false;
    const at = side.reserve(this.#stride);
    if (at < 0) throw new InvariantError("a claim's room stays free");
    if (this.#guard) side.payload.write(at, claimed.subarray(0, length));
    // What a shorter record does not take goes to the next one.
    if (length < this.#stride) side.shorten(length);
    side.commit(length);
    return true;
  }

  abort(side: PushSide): void {
    if (side instanceof ManyProducer) {
      if (side.fillClaim() >= 0) side.abandon();
    } else side.endClaim();
  }

  /** Whether a value has been looked at that `consume` removes. */
  get isPeeked(): boolean {
    return this.#peekAt >= 0;
  }

  /** The oldest value's bytes; undefined when empty. */
  peek(side: PopSide): Uint8Array | undefined {
    const at = this.#peekAt >= 0 ? this.#peekAt : side.next();
    if (at < 0) return undefined;
    if (this.#peekAt < 0) this.#peekLength = side.length;
    this.#peekAt = at;
    return this.#guard
      ? side.payload.take(at, this.#peekLength)
      : this.#viewAt(this.#peekViews, side, at, this.#peekLength, false);
  }

  /** Leaves the value that was looked at where it is. */
  unpeek(side: PopSide): void {
    if (this.#peekAt < 0) return;
    this.#peekAt = -1;
    side.keep();
  }

  /** Removes the value that was looked at; false: it had been taken back. */
  consume(side: PopSide): boolean {
    this.#peekAt = -1;
    return side.release();
  }

  /** Ends a lent view, where it can be ended. */
  forget(lent: Uint8Array): void {
    if (this.#guard && lent.byteLength > 0) (lent.buffer as ArrayBuffer).transfer();
  }

  /** Whether values may still come out where nothing goes in: with many, they stand behind a claim that is open. */
  isHeldBack(ring: Ring): boolean {
    return ring.shape.kind === "many" && this.sizeOf(ring) > 0;
  }

  /** Values in the ring, for a handle that neither pushes nor pops. @throws FabricError `CORRUPT_RECORD`. */
  sizeOf({ region, shape }: Ring): number {
    const { words } = region.memory;
    const base = baseOf(region);
    const { capacity } = shape;
    if (shape.kind === "many") return manySize(words, base, capacity);
    // The consumer's word first: it never passes the producer's. It may move on before that is loaded.
    if (shape.kind === "records") {
      const popped = words.load(base + HEAD_COUNT);
      return (words.load(base + TAIL_COUNT) - popped) | 0;
    }
    const wrap = 2 * ringUnits(shape);
    const head = words.load(base + HEAD);
    const tail = words.load(base + TAIL);
    if (head < 0 || head >= wrap || tail < 0 || tail >= wrap)
      throw damaged(`position ${head} or ${tail} is none`);
    const between = tail - head;
    return Math.min(
      capacity,
      Math.floor(((between < 0 ? between + wrap : between) * 2) / this.#slotWords),
    );
  }

  #pushFixed(side: PushSide, value: T, fixed: FixedLayout<T>): boolean {
    const at = side.reserve(fixed.bytes);
    if (at < 0) return false;
    try {
      fixed.writeTo(this.#slots, (at - this.#start) * 4, value);
    } catch (error) {
      if (side instanceof ManyProducer) side.abandon();
      throw error;
    }
    side.commit(fixed.bytes);
    return true;
  }

  #decode(side: PopSide, at: number): T {
    const fixed = this.#fixed;
    const { length } = side;
    if (fixed === undefined) return this.#codec.decode(side.payload.take(at, length));
    if (length === fixed.bytes) return fixed.readFrom(this.#slots, (at - this.#start) * 4);
    throw new FabricError(
      "DECODE",
      `Cannot decode: a value of ${length} bytes, where ${this.#codec.name} has ${fixed.bytes}`,
      { codec: this.#codec.name, bytes: length },
    );
  }

  #viewAt(
    views: Uint8Array[],
    side: PushSide | PopSide,
    at: number,
    length: number,
    write = true,
  ): Uint8Array {
    // Records begin anywhere: there are more places than views would be used again.
    if (this.#isRecords) return side.payload.view(at, length, write);
    const slot = ((at - this.#start) / this.#slotWords) | 0;
    const known = views[slot];
    if (known !== undefined && known.length === length) return known;
    return (views[slot] = side.payload.view(at, length, write));
  }

  #stage(): Uint8Array {
    if (this.#staging === undefined || this.#staging.length === 0)
      this.#staging = new Uint8Array(this.#stride);
    return this.#staging;
  }
}

/** Like a lease's view, its `buffer` leads nowhere. */
class SlotsView extends DataView<ArrayBufferLike> {
  override get buffer(): never {
    throw new FabricError("UNSUPPORTED", "Cannot give the buffer: it would reach beyond the queue");
  }
}

function dataViewOf(arena: Uint8Array, offset: number, length: number): DataView {
  return new SlotsView(arena.buffer, arena.byteOffset + offset, length);
}

function isDetached(bytes: Uint8Array): boolean {
  const buffer = bufferOf(bytes);
  return buffer instanceof ArrayBuffer && buffer.detached;
}

function tooLong(bytes: number, bytesMax: number): FabricError {
  return new FabricError(
    "CAPACITY_EXCEEDED",
    `Cannot move a value of ${bytes} bytes: there is room for ${bytesMax}`,
    { bytes, bytesMax },
  );
}

function notBytes(codec: string): FabricError {
  return new FabricError("ENCODE", "Cannot encode: expected a Uint8Array", { codec });
}

/** Publishes; the header and the positions must be what they were made. @throws FabricError `CORRUPT_RECORD`. */
export function assertRing(
  region: LeaseRegion,
  { kind, capacity, stride }: RingShape,
  sides: readonly (PushSide | PopSide | undefined)[],
): void {
  const found = readRing(region);
  if (found.kind !== kind || found.capacity !== capacity || found.stride !== stride)
    throw damaged("it says that it is another");
  for (const side of sides)
    if (side !== undefined && !(side instanceof ManyProducer || side instanceof ManyConsumer))
      side.assertWhole();
}
