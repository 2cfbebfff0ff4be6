import { decodeLocator, encodeLocator, type Locator } from "@selvage/fence";
import fc from "fast-check";
import { describe, expect, it } from "vitest";

const count = fc.nat({ max: Number.MAX_SAFE_INTEGER });
const word = fc.nat({ max: 0xffff_ffff });
const address = {
  leaseId: fc
    .array(fc.nat({ max: 15 }), { minLength: 32, maxLength: 32 })
    .map((digits) => digits.map((digit) => digit.toString(16)).join("")),
  slot: word,
  generation: word,
};
const locators: fc.Arbitrary<Locator> = fc.oneof(
  fc.record({
    kind: fc.constant("queue" as const),
    ...address,
    offset: count,
    capacity: count,
    stride: count,
  }),
  fc.record({ kind: fc.constant("mem" as const), ...address, offset: count, bytes: count }),
  fc.record({
    kind: fc.constant("block" as const),
    ...address,
    firstBlock: count,
    numBlocks: count,
  }),
);

describe("locators", () => {
  it("come back from their bytes as they were", () => {
    fc.assert(
      fc.property(locators, (locator) => {
        expect(decodeLocator(encodeLocator(locator))).toEqual(locator);
      }),
    );
  });

  it("S1: any other bytes end in DECODE", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), (bytes) => {
        try {
          decodeLocator(bytes);
        } catch (thrown) {
          expect(thrown).toMatchObject({ code: "DECODE" });
        }
      }),
    );
  });

  it("of another version are refused", () => {
    const bytes = encodeLocator({
      kind: "mem",
      leaseId: "0".repeat(32),
      slot: 1,
      generation: 2,
      offset: 3,
      bytes: 4,
    });
    bytes[0] = 2;
    expect(() => decodeLocator(bytes)).toThrow(
      expect.objectContaining({ code: "DECODE", details: { why: "version 2" } }),
    );
  });

  it.each([-1, 1.5, NaN])("cannot be made of %s", (offset) => {
    const locator = {
      kind: "mem",
      leaseId: "0".repeat(32),
      slot: 1,
      generation: 2,
      offset,
      bytes: 4,
    } as const;
    expect(() => encodeLocator(locator)).toThrow(
      expect.objectContaining({ code: "INVALID_ARGUMENT" }),
    );
  });
});
