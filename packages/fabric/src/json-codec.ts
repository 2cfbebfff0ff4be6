/**
 * JSON in UTF-8. Invariant B1: an input within the budget costs memory in proportion to its bytes and elements, and one
 * beyond it is refused before anything is made of it.
 */
import type { Codec } from "./codecs.ts";
import { overBudget, resolveBudget, type DecodeBudget, type Excess } from "./decode-budget.ts";
import { FabricError } from "./errors.ts";
import type { Text } from "./ports.ts";
import { plainText } from "./utf8.ts";

/**
 * JSON in UTF-8. Decoding stays within `budget`; keys like `__proto__` stay plain properties, as in `JSON.parse`.
 * What JSON cannot say is lost or refused as `JSON.stringify` does: `undefined` members go, `NaN` becomes `null`.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { jsonCodec } from "@selvage/fabric";
 *
 * const points = jsonCodec<{ x: number }[]>(undefined, { elements: 100 });
 * assert.deepEqual(points.decode(points.encode([{ x: 1 }])), [{ x: 1 }]);
 * assert.throws(() => points.decode(new TextEncoder().encode("[".repeat(500))), { code: "DECODE" });
 * ```
 */
export function jsonCodec<T>(text: Text = plainText, budget?: DecodeBudget): Codec<T> {
  const most = resolveBudget(budget);
  return {
    name: "json",
    encode(value) {
      const json: string | undefined = stringify(value);
      if (json === undefined)
        throw new FabricError("ENCODE", "Cannot encode: the value has no JSON form", {
          codec: "json",
        });
      const bytes = text.encode(json);
      // What this codec would not read again is not written.
      const excess = excessOf(bytes, most);
      if (excess !== undefined) throw overBudget("ENCODE", "json", excess);
      return bytes;
    },
    decode(bytes) {
      // Another thread could change shared bytes between the walk and the parse.
      const own = bytes.buffer instanceof ArrayBuffer ? bytes : bytes.slice();
      const excess = excessOf(own, most);
      if (excess !== undefined) throw overBudget("DECODE", "json", excess);
      try {
        return JSON.parse(text.decode(own)) as T;
      } catch (cause) {
        throw new FabricError("DECODE", "Cannot decode: not JSON", { codec: "json" }, { cause });
      }
    },
  };
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const COLON = 0x3a;
const OPEN = 0x5b;
const CLOSE = 0x5d;
/** Sets the bit by which braces differ from brackets, and no other byte becomes a brace by it. */
const BRACE_BIT = 0x20;

// A comma, a colon and an opening bracket each bring one element more; text that is no JSON is left to the parser.
function excessOf(bytes: Uint8Array, most: Required<DecodeBudget>): Excess | undefined {
  if (bytes.length > most.bytes) return { what: "bytes", came: bytes.length, most: most.bytes };
  let elements = 1;
  let depth = 0;
  let deepest = 0;
  for (let at = 0; at < bytes.length; at++) {
    const byte = bytes[at] as number;
    if (byte === QUOTE) at = endOfString(bytes, at + 1);
    else if (byte === COMMA || byte === COLON) elements++;
    else if ((byte & ~BRACE_BIT) === OPEN) {
      elements++;
      if (++depth > deepest) deepest = depth;
    } else if ((byte & ~BRACE_BIT) === CLOSE) depth--;
  }
  if (elements > most.elements) return { what: "elements", came: elements, most: most.elements };
  return deepest > most.depth ? { what: "depth", came: deepest, most: most.depth } : undefined;
}

function endOfString(bytes: Uint8Array, from: number): number {
  let at = from;
  while (at < bytes.length && bytes[at] !== QUOTE) at += bytes[at] === BACKSLASH ? 2 : 1;
  return at;
}

function stringify(value: unknown): string | undefined {
  try {
    return JSON.stringify(value);
  } catch (cause) {
    throw new FabricError(
      "ENCODE",
      "Cannot encode: not a JSON value",
      { codec: "json" },
      { cause },
    );
  }
}
