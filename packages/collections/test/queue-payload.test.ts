/** Bytes through a ring: every pattern of bits survives, in whatever tier the engine copies them. */
import { describe, expect, it } from "vitest";
import { Payload } from "../src/payload.ts";
import { kinds, openRing } from "./queue-rig.ts";

/** Fills with words of which many are NaNs as doubles: signalling ones, negative ones, any payload. */
function scatter(words: Uint32Array, seed: number): number {
  let state = seed;
  for (let index = 0; index < words.length; index++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[index] = state;
    // The upper half of a double: one in two becomes a NaN, quiet or signalling, of either sign.
    if (index % 2 === 1 && (state & 16) !== 0)
      words[index] = (state & 0x800f_ffff) | 0x7ff0_0000 | ((state & 32) === 0 ? 0 : 0x8_0000);
  }
  return state;
}

const isSame = (one: Uint32Array, other: Uint32Array): boolean => {
  for (let index = 0; index < one.length; index++) if (one[index] !== other[index]) return false;
  return true;
};

describe.each(kinds)("a ring of %s", { timeout: 60_000 }, (kind) => {
  it("brings 200,000 random patterns of 64 bytes through one array each way, unchanged", () => {
    const { queue } = openRing(kind, 3, 64);
    const source = new Uint8Array(64);
    const target = new Uint8Array(64);
    const sent = new Uint32Array(source.buffer);
    const came = new Uint32Array(target.buffer);
    let state = 0x1234_5678;
    let wrong = 0;
    for (let turn = 0; turn < 200_000; turn++) {
      state = scatter(sent, state);
      // By another array now and then, so that the long way is hot too.
      queue.push(turn % 64 === 0 ? source.slice() : source);
      if (queue.popInto(target) !== 64 || !isSame(sent, came)) wrong++;
    }
    expect(wrong).toBe(0);
  });

  it("brings values of every length and alignment unchanged, reused or not", () => {
    for (const stride of [1, 8, 13, 64, 600, 4_000]) {
      const { queue } = openRing(kind, 3, stride);
      for (const shift of [0, 1, 8])
        for (let turn = 0; turn < 40; turn++) {
          const length = turn % 2 === 0 ? stride : (turn * 7) % (stride + 1);
          const source = new Uint8Array(stride + 8).subarray(shift, shift + length);
          const target = new Uint8Array(stride + 8).subarray(shift, shift + length);
          for (let again = 0; again < 4; again++) {
            for (let index = 0; index < length; index++) source[index] = index * 31 + turn + again;
            expect([queue.push(source), queue.popInto(target)]).toEqual([true, length]);
            expect(target).toEqual(source);
            queue.push(source);
            expect(queue.pop()).toEqual(source);
          }
        }
    }
  });

  it("copies an array whose buffer grew, shrank or went away as it is by then", () => {
    const { queue } = openRing(kind, 3, 16);
    const buffer = new ArrayBuffer(16, { maxByteLength: 32 });
    const growing = new Uint8Array(buffer);
    const target = new Uint8Array(16);
    for (let turn = 0; turn < 3; turn++) expect(queue.push(growing.fill(turn))).toBe(true);
    expect(queue.popBatch(3).map((value) => value[15])).toEqual([0, 1, 2]);
    buffer.resize(8);
    queue.push(growing);
    expect(queue.popInto(target)).toBe(8);
    const going = new Uint8Array(16);
    for (let turn = 0; turn < 3; turn++) {
      queue.push(target.fill(turn));
      queue.popInto(going);
    }
    const kept = going.buffer.transfer();
    queue.push(target.fill(9));
    expect(() => queue.popInto(going)).toThrow(/room for 0/);
    expect(new Uint8Array(kept)).toEqual(new Uint8Array(16).fill(2));
    expect(queue.pop()).toEqual(new Uint8Array(16).fill(9));
  });
});

describe("Payload", () => {
  it("reaches all of an arena of more than 2^31 bytes", () => {
    const bytes = new Uint8Array(new SharedArrayBuffer(2 ** 31 + 64));
    const payload = new Payload({ bytes });
    expect(payload.doubles.length).toBe(2 ** 28 + 8);
    payload.write(2 ** 29, Uint8Array.of(1, 2, 3));
    expect(payload.take(2 ** 29, 3)).toEqual(Uint8Array.of(1, 2, 3));
  });
});
