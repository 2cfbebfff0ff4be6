import { JSON_BYTES_MAX, jsonCodec, rawCodec } from "@selvage/fabric";
import { systemText } from "@selvage/node";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { codeIfThrown, codeOf, thrownBy } from "./rig.ts";

const json = jsonCodec<unknown>(systemText);

describe("jsonCodec()", () => {
  it("gives back every JSON value, keys like __proto__ as plain properties", () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 3 }), (value) => {
        const written = JSON.stringify(value);
        expect(JSON.stringify(json.decode(json.encode(value)))).toBe(written);
      }),
    );
    const hostile = json.decode(systemText.encode('{"__proto__":{"polluted":1}}')) as object;
    expect([Object.keys(hostile), Object.getPrototypeOf(hostile) === Object.prototype]).toEqual([
      ["__proto__"],
      true,
    ]);
    expect("polluted" in {}).toBe(false);
  });

  const cyclic: Record<string, unknown> = {};
  cyclic["self"] = cyclic;
  const deep: unknown[] = [];
  for (let level = 0, at = deep; level < 100_000; level++) at.push((at = []));
  it.each([
    ["undefined", undefined],
    ["a function", () => 0],
    ["a symbol", Symbol("s")],
    ["a bigint", 5n],
    ["a cycle", cyclic],
    ["a nesting too deep", deep],
  ])("refuses to encode %s", (_what, value) => {
    expect(codeOf(() => json.encode(value))).toBe("ENCODE");
  });

  it("S1: makes a value or a DECODE error of any bytes", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
        expect([undefined, "DECODE"]).toContain(codeIfThrown(() => json.decode(bytes)));
      }),
      { numRuns: 1_000 },
    );
  });

  it("S1: takes nesting as deep as its bytes allow, or says DECODE", () => {
    const bytes = new Uint8Array(1_000_000).fill(0x5b);
    expect(codeOf(() => json.decode(bytes))).toBe("DECODE");
  });

  it("refuses more bytes than its bound before it looks at them", () => {
    const small = jsonCodec(systemText, 10);
    expect(small.decode(systemText.encode("1234567890"))).toBe(1_234_567_890);
    expect(thrownBy(() => small.decode(new Uint8Array(11))).message).toBe(
      "Cannot decode: 11 bytes, at most 10",
    );
    expect(codeOf(() => json.decode(new Uint8Array(JSON_BYTES_MAX + 1)))).toBe("DECODE");
  });

  it("decodes shared bytes, which the platform's decoder refuses", () => {
    const bytes = new Uint8Array(new SharedArrayBuffer(2));
    bytes.set(json.encode(42));
    expect(json.decode(bytes)).toBe(42);
  });
});

describe("rawCodec", () => {
  it("passes bytes through and refuses anything else", () => {
    const bytes = Uint8Array.of(1, 2);
    expect([rawCodec.encode(bytes), rawCodec.decode(bytes)]).toEqual([bytes, bytes]);
    for (const other of [[1], "ab", null, new Uint16Array(1)])
      expect(codeOf(() => rawCodec.encode(other as unknown as Uint8Array))).toBe("ENCODE");
  });
});
