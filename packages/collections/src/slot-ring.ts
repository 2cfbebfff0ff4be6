/**
 * A ring of slots of one size: the fast one. See `ring-side.ts` for what holds between the two sides.
 *
 * B1: a *burst* is a run of slots that can be used without asking anything: they are known to be free (or filled), they
 * are of one lap, and the batch to publish does not end before them. Within a burst an operation moves two numbers; what
 * they mean for the position and the counts is folded in when the burst ends; and it ends when somebody asks, or when
 * this side has been settled, so that what follows is noted anew.
 * B2: the short way is for an array that is pushed (or filled) again and again. It is one flat function over two typed
 * arrays, because every other array costs its checks anew and V8 inlines only so much: by way of `reserve`, `write` and
 * `commit` a push of 64 bytes took 33 ns, this way 16 (Node 24.21, 2-core VM, 2026-11).
 */
import { assert } from "@selvage/fabric";
import { copyDoubles } from "./payload.ts";
import { ConsumerSide, ProducerSide, type Ring } from "./ring-side.ts";

// A binding of this module's own is a constant to V8; an imported one is looked up at every use.
const copy = copyDoubles;

/** The one that pushes. */
export class SlotProducer extends ProducerSide {
  // The burst: slots left of it, and of what was granted; the unit of the next slot; the seal of its lap.
  #burst = 0;
  #granted = 0;
  #unit = 0;
  #seal = 0;
  #isReserved = false;
  // The array that was pushed the last time, if it may take the short way, and the doubles under it.
  #last: Uint8Array | undefined;
  #lastLength = 0;
  #lastDoubles: Float64Array;
  readonly #doubles: Float64Array;
  readonly #slotUnits: number;

  constructor(ring: Ring) {
    super(ring);
    this.#doubles = this.payload.doubles;
    this.#lastDoubles = this.#doubles;
    this.#slotUnits = this.slotUnits;
  }

  /**
   * Pushes the array that was pushed the last time, if nothing stands in the way: `reserve`, copy and `commit` in one.
   * False, with nothing done, when it has to take the long way (B2).
   */
  pushAgain(bytes: Uint8Array): boolean {
    this.lease.assertLive();
    const source = this.#lastDoubles;
    const count = this.#lastLength >> 3;
    // An array whose buffer was transferred has no doubles left.
    if (bytes !== this.#last || source.length !== count) return false;
    if (this.#burst === 0 && !this.#startBurst()) return false;
    const unit = this.#unit;
    const target = this.#doubles;
    target[unit] = this.#seal + this.#lastLength;
    copy(source, 0, target, unit + 1, count);
    this.#unit = unit + this.#slotUnits;
    if (--this.#burst === 0) this.#endBurst();
    return true;
  }

  /** Pushes bytes, the long way; the next time the same array may take the short one. */
  pushBytes(bytes: Uint8Array): boolean {
    const { length } = bytes;
    const at = this.reserve(length);
    if (at < 0) return false;
    this.payload.write(at, bytes);
    this.commit(length);
    const doubles = this.payload.doublesOf(bytes);
    this.#last = doubles === undefined ? undefined : bytes;
    this.#lastLength = length;
    this.#lastDoubles = doubles ?? this.#doubles;
    return true;
  }

  reserve(_length: number): number {
    this.lease.assertLive();
    if (this.#burst === 0 && !this.#startBurst()) return -1;
    this.#isReserved = true;
    return (this.#unit + 1) * 2;
  }

  commit(length: number): void {
    // A codec that pushes while it writes has used the reservation up.
    assert(this.#isReserved, "a value is committed once");
    this.#isReserved = false;
    // Asked for its size meanwhile, this side has ended the burst.
    if (this.#burst === 0) this.#startBurst();
    this.#doubles[this.#unit] = this.#seal + length;
    this.#unit += this.#slotUnits;
    if (--this.#burst === 0) this.#endBurst();
  }

  shorten(): void {}

  protected override fold(): void {
    const done = this.#granted - this.#burst;
    this.#granted = 0;
    this.#burst = 0;
    if (done === 0) return;
    this.free -= done * this.slotUnits;
    this.count += done;
    this.unpublished += done;
    this.advance(done * this.slotUnits);
  }

  #startBurst(): boolean {
    if (this.free < this.slotUnits && !this.findRoom(this.slotUnits)) return false;
    const usable = Math.min(this.free, this.units - this.at) / this.slotUnits;
    this.#burst = Math.min(usable, this.batch - this.unpublished);
    this.#granted = this.#burst;
    this.#unit = this.start + this.at;
    this.#seal = this.seal();
    this.note();
    return true;
  }

  #endBurst(): void {
    this.fold();
    if (this.unpublished >= this.batch) this.publish();
  }
}

/** The one that pops. */
export class SlotConsumer extends ConsumerSide {
  #burst = 0;
  #granted = 0;
  #unit = 0;
  #seal = 0;
  #last: Uint8Array | undefined;
  #lastLength = 0;
  #lastDoubles: Float64Array;
  readonly #doubles: Float64Array;
  readonly #slotUnits: number;

  constructor(ring: Ring) {
    super(ring);
    this.#doubles = this.payload.doubles;
    this.#lastDoubles = this.#doubles;
    this.#slotUnits = this.slotUnits;
  }

  /**
   * Pops a value as long as `target` to the array that was filled the last time, if nothing stands in the way: `next`,
   * copy and `release` in one. Its bytes, or -1, with nothing done, when it has to take the long way (B2).
   */
  popAgain(target: Uint8Array): number {
    this.lease.assertLive();
    const into = this.#lastDoubles;
    const length = this.#lastLength;
    const count = length >> 3;
    if (target !== this.#last || into.length !== count) return -1;
    if (this.#burst === 0 && !this.#startBurst()) return -1;
    const unit = this.#unit;
    const source = this.#doubles;
    if (source[unit] !== this.#seal + length) return -1;
    copy(source, unit + 1, into, 0, count);
    this.#unit = unit + this.#slotUnits;
    if (--this.#burst === 0) this.#endBurst();
    return length;
  }

  /** Notes the array that was filled: the next time it may take the short way. */
  filledInto(target: Uint8Array): void {
    const doubles = this.payload.doublesOf(target);
    this.#last = doubles === undefined ? undefined : target;
    this.#lastLength = target.length;
    this.#lastDoubles = doubles ?? this.#doubles;
  }

  next(): number {
    this.lease.assertLive();
    if (this.#burst === 0 && !this.#startBurst()) return -1;
    const length = this.lengthAt(this.#unit);
    this.checkLength(length);
    this.length = length;
    return (this.#unit + 1) * 2;
  }

  release(): boolean {
    if (this.#burst === 0) this.#startBurst();
    this.#unit += this.#slotUnits;
    if (--this.#burst === 0) this.#endBurst();
    return true;
  }

  protected override fold(): void {
    const done = this.#granted - this.#burst;
    this.#granted = 0;
    this.#burst = 0;
    if (done === 0) return;
    this.filled -= done * this.slotUnits;
    this.count += done;
    this.unpublished += done;
    this.advance(done * this.slotUnits);
  }

  #startBurst(): boolean {
    if (this.filled === 0 && !this.findItems()) return false;
    const usable = Math.min(this.filled, this.units - this.at) / this.slotUnits;
    this.#burst = Math.min(usable, this.batch - this.unpublished);
    this.#granted = this.#burst;
    this.#unit = this.start + this.at;
    this.#seal = this.seal();
    this.note();
    return true;
  }

  #endBurst(): void {
    this.fold();
    if (this.unpublished >= this.batch) this.publish();
  }
}
