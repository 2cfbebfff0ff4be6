import { createHash } from "node:crypto";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { sha256 } from "../src/sha256.ts";

function expected(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

describe("sha256", () => {
  it("is the platform's, at every length around a block's end", () => {
    for (let length = 0; length <= 200; length++) {
      const bytes = Uint8Array.from({ length }, (_, at) => (at * 37 + length) & 0xff);
      expect(sha256(bytes)).toBe(expected(bytes));
    }
  });

  it("is the platform's, of any bytes, also of a view", () => {
    const bytesOf = fc.tuple(fc.uint8Array({ maxLength: 2_000 }), fc.nat(64));
    fc.assert(
      fc.property(bytesOf, ([bytes, from]) => {
        const view = bytes.subarray(from);
        expect(sha256(view)).toBe(expected(view));
      }),
    );
  });
});
