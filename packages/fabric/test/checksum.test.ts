import { describe, expect, it } from "vitest";
import { checksum } from "../src/checksum.ts";

/** Bit by bit, as the polynomials are defined. */
function bitwise(polynomial: number, bytes: Uint8Array): number {
  let word = -1;
  for (const byte of bytes) {
    word ^= byte;
    for (let bit = 0; bit < 8; bit++)
      word = (word & 1) === 1 ? (word >>> 1) ^ polynomial : word >>> 1;
  }
  return ~word;
}

describe("checksum", () => {
  it("gives the check values of CRC-32 and CRC-32C", () => {
    const digits = new TextEncoder().encode("123456789");
    expect(checksum(digits).map((word) => word >>> 0)).toEqual([0xcbf4_3926, 0xe306_9283]);
  });

  it("sums the same whatever the length and wherever the bytes begin", () => {
    const bytes = Uint8Array.from({ length: 96 }, (_, at) => (at * at * 31) >> 3);
    for (let offset = 0; offset < 8; offset++)
      for (let length = 0; length <= 80; length++) {
        const part = bytes.subarray(offset, offset + length);
        expect(checksum(bytes, offset, length)).toEqual([
          bitwise(0xedb8_8320, part),
          bitwise(0x82f6_3b78, part),
        ]);
      }
  });
});
