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
  // Of encoded values.
  readonly #encoded: (Uint8Array | undefined)[];
  // The slot of the oldest, and of the next.
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
      this.#payload.write((at * this.#slotBytes) / 4, bytes);
      this.#lengths[at] = bytes.length;
    } else if (this.#codec.fixed !== undefined) {
      if (!queue.push(value)) return false;
      this.#codec.fixed.writeTo(this.#view, at * this.#slotBytes, value);
    } else {
      const encoded = this.#codec.encode(value);
      if (!queue.pushBytes(encoded)) return false;
      this.#encoded[at] = encoded;
    }
    this.#next = at + 1 === this.capacity ? 0 : at + 1;
    this.#count++;
    return true;
  }

  /** Keeps `value`, which the queue has had from somebody else. @throws FabricError `ENCODE`, `CAPACITY_EXCEEDED`. */
  keep(value: T): void {
    const at = this.#next;
    if (this.#codec.fixed !== undefined)
      this.#codec.fixed.writeTo(this.#view, at * this.#slotBytes, value);
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
      else {
        this.#payload.write((at * this.#slotBytes) / 4, bytes);
        this.#lengths[at] = bytes.length;
      }
    }
    this.#next = at + 1 === this.capacity ? 0 : at + 1;
    this.#count++;
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
    if (this.#encoded.length > 0)
      for (let index = 0; index < count; index++) this.#encoded[this.#slotOf(index)] = undefined;
    this.#oldest = this.#slotOf(count);
    this.#count -= count;
  }

  #slotOf(index: number): number {
    return (this.#oldest + index) % this.capacity;
  }

  #bytesAt(index: number): Uint8Array {
    const slot = this.#slotOf(index);
    const encoded = this.#encoded[slot];
    if (encoded !== undefined) return encoded;
    const length = this.#codec.fixed?.bytes ?? this.#lengths[slot] ?? 0;
    return this.#bytes.subarray(slot * this.#slotBytes, slot * this.#slotBytes + length);
  }
}
