/**
 * What a producer has pushed and nobody has acknowledged, in order: bytes of its own, which a lost lease does not take.
 *
 * Bytes and values of one length are copied into slots, as the ring's are; what a codec has encoded is an array of its own
 * already, and is kept as it is.
 */
import { Payload, type FabricQueue } from "@selvage/collections";
import { assert, FabricError, rawCodec, type Codec } from "@selvage/fabric";

/** More items than a ring holds may be unacknowledged: so many, or as many again as it holds. */
const beyondRingMax = 1_024;

/**
 * From here on `set` is faster than a loop over doubles where nothing is shared: 67 to 106 ns at 4 KiB against 325, 20 against 29
 * at 256 bytes; below, it costs 14 before its first byte (Node 24.21, 2-core VM, 2026-11).
 */
const setBytesMin = 256;

/** Items from the oldest that is kept to the newest. */
export class ReplayWindow<T> {
  /** How many it holds. */
  readonly capacity: number;
  readonly #codec: Codec<T>;
  readonly #isRaw: boolean;
  readonly #stride: number;
  // Of slots: their bytes, and the lengths of what is in them.
  readonly #slotBytes: number;
  readonly #payload: Payload | undefined;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #lengths: Int32Array;
  /** Whether slots are used again soon, and so `drop` is worth calling often: long ones, whose bytes are then in the cache. */
  readonly isReusing: boolean;
  // Where they are: which slot an item has, and which are free, the one that was freed last first. Else a place is its slot.
  readonly #slots: Int32Array;
  readonly #free: Int32Array;
  #freeCount: number;
  // Of encoded values.
  readonly #encoded: (Uint8Array | undefined)[];
  // The place of the oldest, and of the next.
  #oldest = 0;
  #next = 0;
  #count = 0;

  constructor(queue: FabricQueue<T>, itemsMax?: number) {
    const { capacity, stride } = queue;
    const { codec } = queue.settings;
    this.capacity = itemsMax ?? capacity + Math.min(capacity, beyondRingMax);
    this.#codec = codec;
    this.#stride = stride;
    this.#isRaw = (codec as unknown) === rawCodec;
    const fixed = codec.fixed?.bytes;
    const isSlots = this.#isRaw || fixed !== undefined;
    this.#slotBytes = Math.ceil((fixed ?? stride) / 8) * 8;
    // Memory that is never written to costs none.
    this.#bytes = new Uint8Array(isSlots ? this.capacity * this.#slotBytes : 0);
    this.#view = new DataView(this.#bytes.buffer);
    const slots = { first: 0, words: this.#slotBytes / 4 };
    this.#payload = this.#isRaw ? new Payload({ bytes: this.#bytes }, slots) : undefined;
    this.#lengths = new Int32Array(this.#isRaw ? this.capacity : 0);
    this.isReusing = isSlots && this.#slotBytes >= setBytesMin;
    const count = this.isReusing ? this.capacity : 0;
    this.#freeCount = count;
    this.#slots = new Int32Array(count);
    this.#free = Int32Array.from({ length: count }, (_, index) => count - 1 - index);
    this.#encoded = Array.from({ length: isSlots ? 0 : this.capacity });
  }

  /** How many items it keeps. */
  get count(): number {
    return this.#count;
  }

  get isFull(): boolean {
    return this.#count === this.capacity;
  }

  /** Pushes `value` to the queue and keeps it. False when the queue is full. Errors as `queue.push`; then nothing is kept. */
  push(queue: FabricQueue<T>, value: T): boolean {
    const at = this.#next;
    if (this.#payload !== undefined) {
      const bytes = value as unknown as Uint8Array;
      if (!queue.push(value)) return false;
      this.#copy(this.#payload, at, bytes);
    } else if (this.#codec.fixed !== undefined) {
      if (!queue.push(value)) return false;
      this.#codec.fixed.writeTo(this.#view, this.#slotFor(at) * this.#slotBytes, value);
    } else {
      const encoded = this.#codec.encode(value);
      if (!queue.pushBytes(encoded)) return false;
      this.#encoded[at] = encoded;
    }
    this.#keepAt(at);
    return true;
  }

  /** Keeps `value`, which the queue has had from somebody else. @throws FabricError `ENCODE`, `CAPACITY_EXCEEDED`. */
  keep(value: T): void {
    const at = this.#next;
    if (this.#codec.fixed !== undefined)
      this.#codec.fixed.writeTo(this.#view, this.#slotFor(at) * this.#slotBytes, value);
    else {
      const bytes = this.#codec.encode(value);
      if (bytes.length > this.#stride)
        throw new FabricError(
          "CAPACITY_EXCEEDED",
          "Cannot keep a value that no slot has room for",
          {
            bytes: bytes.length,
            bytesMax: this.#stride,
          },
        );
      if (this.#payload === undefined) this.#encoded[at] = bytes;
      else this.#copy(this.#payload, at, bytes);
    }
    this.#keepAt(at);
  }

  /** Pushes items that are kept, from the `from`th oldest on, until the queue is full. Returns how many. */
  replay(queue: FabricQueue<T>, from: number): number {
    let done = 0;
    while (from + done < this.#count && queue.pushBytes(this.#bytesAt(from + done))) done++;
    return done;
  }

  /** Lets go of the `count` oldest. */
  drop(count: number): void {
    assert(count <= this.#count, "no more is acknowledged than was pushed");
    if (this.isReusing)
      for (let index = 0; index < count; index++)
        this.#free[this.#freeCount++] = this.#slots[this.#placeOf(index)] as number;
    if (this.#encoded.length > 0)
      for (let index = 0; index < count; index++) this.#encoded[this.#placeOf(index)] = undefined;
    this.#oldest = this.#placeOf(count);
    this.#count -= count;
  }

  #keepAt(at: number): void {
    if (this.isReusing) this.#freeCount--;
    this.#next = at + 1 === this.capacity ? 0 : at + 1;
    this.#count++;
  }

  #copy(payload: Payload, at: number, bytes: Uint8Array): void {
    const byte = this.#slotFor(at) * this.#slotBytes;
    if (bytes.length >= setBytesMin) this.#bytes.set(bytes, byte);
    else payload.write(byte / 4, bytes);
    this.#lengths[at] = bytes.length;
  }

  // A slot for the item of a place; taken when it is kept.
  #slotFor(at: number): number {
    if (!this.isReusing) return at;
    return (this.#slots[at] = this.#free[this.#freeCount - 1] as number);
  }

  #placeOf(index: number): number {
    return (this.#oldest + index) % this.capacity;
  }

  #bytesAt(index: number): Uint8Array {
    const at = this.#placeOf(index);
    const encoded = this.#encoded[at];
    if (encoded !== undefined) return encoded;
    const length = this.#codec.fixed?.bytes ?? this.#lengths[at] ?? 0;
    const byte = (this.#slots[at] ?? at) * this.#slotBytes;
    return this.#bytes.subarray(byte, byte + length);
  }
}
