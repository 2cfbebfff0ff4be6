/**
 * A ring of records: each takes what it needs, to a multiple of eight bytes. See `ring-side.ts` for what holds between
 * the two sides.
 *
 * W1: a record lies in one piece. One that does not fit before the ring's end goes to the front, and a mark says so. The
 * mark is published together with the record that it makes way for, so it is never the last thing that a consumer finds,
 * and never stands at the front.
 */
import { assert } from "@selvage/fabric";
import { damaged } from "./ring-layout.ts";
import { ConsumerSide, ProducerSide } from "./ring-side.ts";

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
      this.#mark(wrapMark);
      this.#advance(this.#skipped);
    }
    this.#mark(length);
    this.#advance(this.#units);
    this.#units = 0;
    this.count++;
    if (++this.unpublished >= this.batch) this.publish();
    else this.note();
  }

  shorten(length: number): void {
    this.#units = recordUnits(length);
  }

  #mark(length: number): void {
    this.payload.doubles[this.start + this.at] = this.seal() + length;
  }

  #advance(units: number): void {
    this.free -= units;
    this.advance(units);
  }
}

/** The one that pops. */
export class RecordConsumer extends ConsumerSide {
  #units = 0;

  next(): number {
    this.lease.assertLive();
    if (this.filled === 0 && !this.findItems()) return -1;
    if (this.#header() === this.seal() + wrapMark) {
      const left = this.units - this.at;
      if (this.at === 0 || left >= this.filled) throw damaged("a record wraps where none can");
      this.filled -= left;
      this.advance(left);
    }
    this.length = this.lengthIn(this.#header(), this.seal());
    this.#units = recordUnits(this.length);
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

  #header(): number {
    return this.payload.doubles[this.start + this.at] as number;
  }
}
