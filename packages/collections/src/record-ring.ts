/**
 * A ring of records: each takes what it needs, to a multiple of eight bytes. See `ring-side.ts` for what holds between
 * the two sides.
 *
 * W1: a record lies in one piece. One that does not fit before the ring's end goes to the front, and a mark says so. The
 * mark is published together with the record that it makes way for, so it is never the last thing that a consumer finds,
 * and never stands at the front.
 */
import { assert } from "@selvage/fabric";
import { copyDoubles } from "./payload.ts";
import { damaged } from "./ring-layout.ts";
import { ConsumerSide, ProducerSide } from "./ring-side.ts";

// A binding of this module's own is a constant to V8; an imported one is looked up at every use.
const copy = copyDoubles;

/** Instead of a length: the rest of the ring is unused, go on at the front. */
const wrapMark = 2 ** 31 - 1;

/** Units of a record of `length` bytes. */
function recordUnits(length: number): number {
  return 1 + ((length + 7) >>> 3);
}

/** The one that pushes. */
export class RecordProducer extends ProducerSide {
  // The reserved record: its units, and those that are left unused before it. 0 units: none.
  #units = 0;
  #skipped = 0;

  /**
   * Pushes the array that was pushed the last time, if nothing stands in the way: `reserve`, copy and `commit` in one.
   * False, with nothing done, when it has to take the long way: the first and last of a batch, and at the ring's end.
   */
  pushAgain(bytes: Uint8Array): boolean {
    this.lease.assertLive();
    const { payload, at, unpublished } = this;
    const source = payload.doublesOf(bytes);
    if (source === undefined || unpublished === 0 || unpublished + 1 >= this.batch) return false;
    const count = source.length;
    if (this.free <= count || at + count + 1 >= this.units) return false;
    const target = payload.doubles;
    const unit = this.start + at;
    this.writeHeader(unit, count * 8);
    copy(source, 0, target, unit + 1, count);
    this.free -= count + 1;
    this.at = at + count + 1;
    this.count++;
    this.unpublished = unpublished + 1;
    return true;
  }

  reserve(length: number): number {
    this.lease.assertLive();
    const units = recordUnits(length);
    const left = this.units - this.at;
    const skipped = units <= left ? 0 : left;
    if (this.free < units + skipped && !this.findRoom(units + skipped)) return -1;
    this.#units = units;
    this.#skipped = skipped;
    const at = skipped === 0 ? this.at : 0;
    return (this.start + at + 1) * 2;
  }

  commit(length: number): void {
    // A codec that pushes while it writes has used the reservation up.
    assert(this.#units > 0, "a value is committed once");
    if (this.#skipped > 0) {
      this.writeHeader(this.start + this.at, wrapMark);
      this.#advance(this.#skipped);
    }
    this.writeHeader(this.start + this.at, length);
    this.#advance(this.#units);
    this.#units = 0;
    this.count++;
    if (++this.unpublished >= this.batch) this.publish();
    else this.note();
  }

  shorten(length: number): void {
    this.#units = recordUnits(length);
  }

  #advance(units: number): void {
    this.free -= units;
    this.advance(units);
  }
}

/** The one that pops. */
export class RecordConsumer extends ConsumerSide {
  #units = 0;

  /**
   * Pops a value as long as `target` to the array that was filled the last time, if nothing stands in the way: `next`,
   * copy and `release` in one. Its bytes, or -1, with nothing done, when it has to take the long way.
   */
  popAgain(target: Uint8Array): number {
    this.lease.assertLive();
    const { payload, at, unpublished } = this;
    const into = payload.doublesOf(target);
    if (into === undefined || unpublished === 0 || unpublished + 1 >= this.batch) return -1;
    const count = into.length;
    if (this.filled <= count || at + count + 1 >= this.units) return -1;
    const source = payload.doubles;
    const unit = this.start + at;
    if (this.lengthAt(unit) !== count * 8) return -1;
    copy(source, unit + 1, into, 0, count);
    this.filled -= count + 1;
    this.at = at + count + 1;
    this.count++;
    this.unpublished = unpublished + 1;
    return count * 8;
  }

  next(): number {
    this.lease.assertLive();
    if (this.filled === 0 && !this.findItems()) return -1;
    let length = this.lengthAt(this.start + this.at);
    if (length === wrapMark) {
      const left = this.units - this.at;
      if (this.at === 0 || left >= this.filled) throw damaged("a record wraps where none can");
      this.filled -= left;
      this.advance(left);
      length = this.lengthAt(this.start + this.at);
    }
    this.checkLength(length);
    this.length = length;
    this.#units = recordUnits(length);
    if (this.#units > Math.min(this.filled, this.units - this.at))
      throw damaged("a record is longer than what was published");
    return (this.start + this.at + 1) * 2;
  }

  release(): boolean {
    this.filled -= this.#units;
    this.advance(this.#units);
    this.count++;
    if (++this.unpublished >= this.batch) this.publish();
    else this.note();
    return true;
  }
}
