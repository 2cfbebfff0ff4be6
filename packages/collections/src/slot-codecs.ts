/**
 * Codecs that write into bytes they are given and read out of them, so that a map need not make an array for each key
 * and value. They are the language's own: no text encoder of the host is asked.
 */
import { FabricError, type Codec } from "@selvage/fabric";

/** A codec that can do without arrays of its own. It uses nothing but its arguments, and keeps none of them. */
export interface SlotCodec<T> extends Codec<T> {
  /** Writes `value` to the front of `target`; returns how many bytes, or -1 if it does not fit. @throws FabricError `ENCODE`. */
  encodeInto(value: T, target: Uint8Array): number;
  /** Decodes the first `length` bytes of `source`. @throws FabricError `DECODE`. */
  decodeFrom(source: Uint8Array, length: number): T;
}

const notText = "expected well-formed text: a surrogate stands alone";

/**
 * Strings in UTF-8. Two strings never become the same bytes: text with a lone surrogate is refused, where a host's
 * encoder would replace it. Some 1 ns a character.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { stringCodec } from "selvage";
 *
 * assert.deepEqual([...stringCodec.encode("né")], [110, 195, 169]);
 * assert.equal(stringCodec.decode(Uint8Array.of(110, 195, 169)), "né");
 * assert.throws(() => stringCodec.encode("\ud800"), { code: "ENCODE" });
 * ```
 */
export const stringCodec: SlotCodec<string> = {
  name: "string",
  encode(text) {
    checkText(text);
    const bytes = new Uint8Array(text.length * 3);
    return bytes.slice(0, encodeUtf8(text, bytes));
  },
  decode(bytes) {
    return decodeUtf8(bytes, bytes.length);
  },
  encodeInto(text, target) {
    checkText(text);
    return encodeUtf8(text, target);
  },
  decodeFrom: decodeUtf8,
};

const float = new Float64Array(1);
const floatBytes = new Uint8Array(float.buffer);

/**
 * Numbers, as the eight bytes of a double in the machine's own order. Every number comes back as it was; so 0 and -0
 * are two different keys.
 */
export const numberCodec: SlotCodec<number> = {
  name: "number",
  encode(value) {
    const bytes = new Uint8Array(8);
    encodeNumber(value, bytes);
    return bytes;
  },
  decode(bytes) {
    return decodeNumber(bytes, bytes.length);
  },
  encodeInto: encodeNumber,
  decodeFrom: decodeNumber,
};

function encodeNumber(value: number, target: Uint8Array): number {
  if (typeof value !== "number")
    throw new FabricError("ENCODE", "Cannot encode: expected a number", { codec: "number" });
  if (target.length < 8) return -1;
  // All numbers that are none have one form, so that they are one key.
  float[0] = value === value ? value : Number.NaN;
  for (let at = 0; at < 8; at++) target[at] = floatBytes[at] as number;
  return 8;
}

function decodeNumber(source: Uint8Array, length: number): number {
  if (length !== 8)
    throw new FabricError("DECODE", `Cannot decode: ${length} bytes, expected 8`, {
      codec: "number",
    });
  for (let at = 0; at < 8; at++) floatBytes[at] = source[at] as number;
  return float[0] as number;
}

function checkText(text: string): void {
  if (typeof text !== "string")
    throw new FabricError("ENCODE", "Cannot encode: expected a string", { codec: "string" });
}

function encodeUtf8(text: string, target: Uint8Array): number {
  const { length } = text;
  const room = target.length;
  if (length > room) return -1;
  for (let at = 0; at < length; at++) {
    const code = text.charCodeAt(at);
    if (code >= 0x80) return encodeWide(text, at, target);
    target[at] = code;
  }
  return length;
}

/** From the first character on that is not ASCII. */
function encodeWide(text: string, from: number, target: Uint8Array): number {
  const room = target.length;
  let to = from;
  for (let at = from; at < text.length; at++) {
    const code = text.codePointAt(at) as number;
    if (code < 0x80) {
      if (to + 1 > room) return -1;
      target[to++] = code;
    } else if (code < 0x800) {
      if (to + 2 > room) return -1;
      target[to++] = 0xc0 | (code >> 6);
      target[to++] = 0x80 | (code & 0x3f);
    } else if (code < 0x1_0000) {
      if (code >= 0xd800 && code <= 0xdfff)
        throw new FabricError("ENCODE", `Cannot encode: ${notText}`, { codec: "string" });
      if (to + 3 > room) return -1;
      target[to++] = 0xe0 | (code >> 12);
      target[to++] = 0x80 | ((code >> 6) & 0x3f);
      target[to++] = 0x80 | (code & 0x3f);
    } else {
      if (to + 4 > room) return -1;
      target[to++] = 0xf0 | (code >> 18);
      target[to++] = 0x80 | ((code >> 12) & 0x3f);
      target[to++] = 0x80 | ((code >> 6) & 0x3f);
      target[to++] = 0x80 | (code & 0x3f);
      at++;
    }
  }
  return to;
}

/** Characters joined at a time: arguments of one call live on the stack. */
const joinedMax = 4_096;

function decodeUtf8(source: Uint8Array, length: number): string {
  let ascii = "";
  if (length <= 24) {
    for (let at = 0; at < length; at++) {
      const byte = source[at] as number;
      if (byte >= 0x80) return decodeWide(source, length);
      ascii += String.fromCharCode(byte);
    }
    return ascii;
  }
  for (let at = 0; at < length; at++)
    if ((source[at] as number) >= 0x80) return decodeWide(source, length);
  for (let at = 0; at < length; at += joinedMax)
    ascii += String.fromCharCode(...source.subarray(at, Math.min(at + joinedMax, length)));
  return ascii;
}

function decodeWide(source: Uint8Array, length: number): string {
  let text = "";
  let at = 0;
  while (at < length) {
    const first = source[at] as number;
    const extra = first < 0x80 ? 0 : first < 0xe0 ? 1 : first < 0xf0 ? 2 : 3;
    const isLead = first < 0x80 || (first >= 0xc2 && first <= 0xf4);
    if (!isLead || at + extra >= length) throw notUtf8(at);
    let code = extra === 0 ? first : first & (0x3f >> extra);
    for (let next = 1; next <= extra; next++) {
      const byte = source[at + next] as number;
      if ((byte & 0xc0) !== 0x80) throw notUtf8(at + next);
      code = (code << 6) | (byte & 0x3f);
    }
    // Written longer than need be, or what UTF-8 has no form for.
    const least = extra === 2 ? 0x800 : extra === 3 ? 0x1_0000 : 0;
    if (code < least || code > 0x10_ffff || (code >= 0xd800 && code <= 0xdfff)) throw notUtf8(at);
    text += String.fromCodePoint(code);
    at += extra + 1;
  }
  return text;
}

function notUtf8(at: number): FabricError {
  return new FabricError("DECODE", `Cannot decode: byte ${at} is not UTF-8`, {
    codec: "string",
    at,
  });
}
