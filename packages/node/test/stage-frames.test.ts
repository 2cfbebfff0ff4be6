import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { msgpackCodec } from "../src/msgpack-codec.ts";
import { skipMsgpack } from "../src/msgpack-walk.ts";
import { frameCodec, frameShape, numberAt, type Frame } from "../src/stage-frames.ts";
import { StagePace } from "../src/stage-pace.ts";

const anyValue = fc.oneof(
  fc.anything({
    withDate: true,
    maxDepth: 3,
    values: [
      fc.integer(),
      fc.double({ noDefaultInfinity: true, noNaN: true }).map((value) => value + 0),
      fc.string(),
      fc.boolean(),
      fc.constant(null),
      fc.bigInt({ min: -(2n ** 63n), max: 2n ** 64n - 1n }),
      fc.uint8Array(),
    ],
  }),
  fc.integer({ min: 0, max: 70_000 }).map((length) => "x".repeat(length)),
  fc.integer({ min: 0, max: 70_000 }).map((length) => new Uint8Array(length)),
  fc.integer({ min: 0, max: 70_000 }).map((length) => Array.from({ length }, () => 1)),
);

function frameOf(values: readonly unknown[], offsets?: Uint8Array): Frame {
  return { first: 5_000_000_000, count: values.length, values, offsets, failure: undefined };
}

function thrownBy(run: () => unknown): unknown {
  try {
    return run();
  } catch (error) {
    return error;
  }
}

describe("frames of items", () => {
  it("end where their values do: what skips them knows every form", () => {
    const codec = msgpackCodec<unknown>();
    fc.assert(
      fc.property(anyValue, (value) => {
        let bytes: Uint8Array;
        try {
          bytes = codec.encode(value);
        } catch {
          return fc.pre(false);
        }
        expect(skipMsgpack(bytes, 0)).toBe(bytes.length);
      }),
    );
  });

  it("come back as they were, with the numbers of what is left", () => {
    const codec = frameCodec(64);
    const frame = frameOf(["a", { b: [1, 2] }], Uint8Array.of(3, 60));
    const back = codec.decode(codec.encode(frame));
    expect(back).toEqual(frame);
    expect([0, 1].map((index) => numberAt(back, index))).toEqual([5_000_000_003, 5_000_000_060]);
    expect(numberAt(frameOf(["a", "b"]), 1)).toBe(5_000_000_001);
  });

  it("say which item is too long, or has no form, however many are beside it", () => {
    for (const count of [1, 15, 16, 64])
      for (const index of [0, count >> 1, count - 1]) {
        const values: unknown[] = Array.from({ length: count }, () => "x".repeat(62));
        const codec = frameCodec(64);
        expect(codec.decode(codec.encode(frameOf(values))).values).toEqual(values);
        values[index] = "x".repeat(63);
        const encode = (): unknown => codec.encode(frameOf(values));
        const details = { index, bytes: 65, bytesMax: 64 };
        expect(thrownBy(encode)).toMatchObject({ code: "CAPACITY_EXCEEDED", details });
        values[index] = () => {};
        expect(thrownBy(encode)).toMatchObject({ code: "ENCODE", details: { index } });
      }
  });

  it("have room in their ring, as long as their items may be", () => {
    for (const capacity of [1, 15, 16, 128, 4_096])
      for (const stride of [64, 256]) {
        const { itemsMax, stride: most, window } = frameShape({ capacity, stride });
        expect(itemsMax * window).toBeGreaterThanOrEqual(capacity);
        expect((window - 1) * itemsMax, "not a frame more").toBeLessThan(capacity);
        const longest = Array.from({ length: itemsMax }, () => new Uint8Array(stride - 2));
        const offsets = new Uint8Array(itemsMax);
        expect(frameCodec(stride).encode(frameOf(longest, offsets)).length).toBeLessThan(most);
      }
  });

  it("are as long as a stage takes two milliseconds for, and of one item until that is known", () => {
    const clock = { nowMs: 0 };
    const pace = new StagePace(64, () => clock.nowMs);
    let reached = 0;
    const goOn = (items: number, ms: number): number => {
      clock.nowMs += ms;
      pace.reach((reached += items));
      return pace.itemsMax;
    };
    expect(pace.itemsMax).toBe(1);
    expect(goOn(1, 5_000)).toBe(1);
    expect(goOn(10, 1)).toBe(20);
    for (let turn = 0; turn < 40; turn++) goOn(10, 10);
    expect(pace.itemsMax).toBe(2);
    for (let turn = 0; turn < 40; turn++) goOn(1, 100);
    expect(pace.itemsMax).toBe(1);
    for (let turn = 0; turn < 40; turn++) goOn(1_000, 1);
    expect(pace.itemsMax).toBe(64);
  });
});
