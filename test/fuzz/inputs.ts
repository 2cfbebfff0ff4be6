/** Bytes from strangers: nothing but bytes, good bytes spoilt, and headers that promise too much. */

/** A stream of whole numbers below 2^32, the same for a seed. Source: Chris Doty-Humphrey's sfc32. */
function sfc32(seed: number): () => number {
  let [a, b, c, counter] = [seed | 0, 0x9e37_79b9 | 0, 0x85eb_ca6b | 0, 1];
  const next = (): number => {
    const sum = (((a + b) | 0) + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = ((c << 21) | (c >>> 11)) + sum;
    return sum >>> 0;
  };
  for (let round = 0; round < 15; round++) next();
  return next;
}

/** Bytes at which decoders turn: heads and lengths of MessagePack, marks of JSON, edges of numbers and of UTF-8. */
const turning = [
  0x00, 0x01, 0x02, 0x7f, 0x80, 0x81, 0x8f, 0x90, 0x91, 0x9f, 0xa1, 0xbf, 0xc0, 0xc1, 0xc4, 0xc6,
  0xc7, 0xc9, 0xca, 0xcb, 0xcf, 0xd3, 0xd4, 0xd6, 0xd7, 0xd9, 0xdb, 0xdc, 0xdd, 0xde, 0xdf, 0xed,
  0xf4, 0xff, 0x22, 0x2c, 0x30, 0x3a, 0x5b, 0x5c, 0x5d, 0x7b, 0x7d,
];

/** Makes inputs out of good ones. */
export class Inputs {
  readonly #next: () => number;

  constructor(seed: number) {
    this.#next = sfc32(seed);
  }

  /** A whole number from 0 to `below - 1`. */
  below(below: number): number {
    return this.#next() % below;
  }

  /** One of a list. */
  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)] as T;
  }

  /** An input: of the good ones `samples`, or of nothing. */
  next(samples: readonly Uint8Array[]): Uint8Array {
    switch (this.below(8)) {
      case 0:
        return this.#bytes(this.below(300), () => this.below(256));
      case 1:
        return this.#bytes(this.below(300), () => this.pick(turning));
      case 2:
        return this.#bomb();
      default:
        return this.#spoilt(this.pick(samples));
    }
  }

  #bytes(length: number, byte: () => number): Uint8Array {
    return Uint8Array.from({ length }, byte);
  }

  // One header again and again, up to 64 KiB: each promises as many things as it can.
  #bomb(): Uint8Array {
    const unit = Array.from({ length: 1 + this.below(6) }, () => this.pick(turning));
    const repeats = 1 + this.below(2 ** this.below(14));
    return this.#bytes(repeats * unit.length, () => 0).map(
      (_, at) => unit[at % unit.length] as number,
    );
  }

  #spoilt(sample: Uint8Array): Uint8Array {
    const bytes = [...sample];
    for (let edits = 1 + this.below(4); edits > 0; edits--) {
      const at = this.below(bytes.length + 1);
      switch (this.below(6)) {
        case 0:
          bytes[at] = this.below(256);
          break;
        case 1:
          bytes[at] = this.pick(turning);
          break;
        case 2:
          bytes[at] = (bytes[at] ?? 0) ^ (1 << this.below(8));
          break;
        case 3:
          bytes.length = at;
          break;
        case 4:
          bytes.splice(at, 0, ...bytes.slice(at, at + this.below(16)));
          break;
        default:
          bytes.splice(at, 1 + this.below(8));
      }
    }
    return Uint8Array.from(bytes);
  }
}
