import { isUtf8, plainText } from "@selvage/fabric";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { codeIfThrown, codeOf } from "./rig.ts";

const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const strictly = (bytes: Uint8Array): string | undefined => {
  try {
    return strict.decode(bytes);
  } catch {
    return undefined;
  }
};
const ours = (bytes: Uint8Array): string | undefined => {
  const code = codeIfThrown(() => plainText.decode(bytes));
  if (code === undefined) return plainText.decode(bytes);
  expect(code).toBe("DECODE");
  return undefined;
};
const judged = (bytes: Uint8Array): boolean => isUtf8(new DataView(bytes.buffer), 0, bytes.length);

describe("plainText", () => {
  it("writes every text as the platform does, and reads it back", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 300 }), (text) => {
        const bytes = plainText.encode(text);
        expect(bytes).toEqual(new TextEncoder().encode(text));
        expect(plainText.decode(bytes)).toBe(text);
      }),
    );
  });

  it("reads wide texts of every length about those of its parts, pairs across their ends among them", () => {
    const wrong: string[] = [];
    for (const narrow of ["", "a", "a".repeat(63), "a".repeat(64)])
      for (const wide of ["\u00e9", "\u4e00", "\u{1f980}", "\u00e9\u{1f980}", "\u{10ffff}a"])
        for (let count = 1; count <= 200; count++) {
          const text = narrow + wide.repeat(count);
          if (ours(new TextEncoder().encode(text)) !== text)
            wrong.push(`${narrow.length} ${wide} ${count}`);
        }
    expect(wrong).toEqual([]);
  });

  it("refuses a lone surrogate, which UTF-8 cannot say", () => {
    for (const text of ["\ud800", "a\udc00b", "\udc00\ud800", "é\ud83d"])
      expect(codeOf(() => plainText.encode(text))).toBe("ENCODE");
  });

  // The leads of two and more bytes and some that are none; and the continuations at which their forms change.
  const leads = [0x00, 0x41, 0x7f, 0x80, 0xbf, ...Array.from({ length: 64 }, (_, at) => 0xc0 + at)];
  const edges = [0x00, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xff];
  it("S1: judges every form at its edges as the platform's strict decoder does", () => {
    // Told at the end: an assertion a form would take minutes.
    const wrong: Uint8Array[] = [];
    for (const lead of leads)
      for (const second of edges)
        for (const third of edges)
          for (const bytes of [
            Uint8Array.of(lead),
            Uint8Array.of(lead, second),
            Uint8Array.of(lead, second, third),
            Uint8Array.of(lead, second, third, 0x80),
            Uint8Array.of(lead, second, third, 0x41),
          ]) {
            const expected = strictly(bytes);
            const agrees = ours(bytes) === expected && judged(bytes) === (expected !== undefined);
            if (!agrees) wrong.push(bytes);
          }
    expect(wrong).toEqual([]);
  });

  it("S1: reads any bytes as the platform's strict decoder does", () => {
    const piece = fc.oneof(
      fc.uint8Array({ maxLength: 5 }),
      fc.string({ unit: "binary" }).map((text) => new TextEncoder().encode(text)),
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 40 }), (pieces) => {
        const bytes = Uint8Array.from(pieces.flatMap((part) => [...part]));
        expect(ours(bytes)).toBe(strictly(bytes));
        expect(judged(bytes)).toBe(strictly(bytes) !== undefined);
      }),
      { numRuns: 1_000 },
    );
  });
});
