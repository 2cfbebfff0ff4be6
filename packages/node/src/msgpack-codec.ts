/** MessagePack, by the community's library, within budgets that it does not have. */
import { Decoder, Encoder } from "@msgpack/msgpack";
import {
  FabricError,
  isFabricError,
  overBudget,
  resolveBudget,
  type Codec,
  type DecodeBudget,
} from "@selvage/fabric";
import { checkValue } from "./msgpack-values.ts";
import { walkMsgpack } from "./msgpack-walk.ts";

/** The encoder's memory grows to twice its longest value; beyond this it is let go. */
const keptBytesMax = 1024 * 1024;

/**
 * MessagePack: plain objects, arrays, texts, numbers, bigints of 64 bits, booleans, null, Dates, Uint8Arrays. Members
 * that are undefined are left out, and become null in an array, as in JSON; -0 becomes 0. Integers of 64 bits decode as
 * bigints, byte arrays as views of the input
 * (of a copy, where it is shared). Encoding refuses what would not come back; decoding stays within
 * `budget`.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { msgpackCodec } from "@selvage/node";
 *
 * const codec = msgpackCodec<{ id: bigint; at: Date }>({ elements: 100 });
 * const value = { id: 2n ** 60n, at: new Date(0) };
 * assert.deepEqual(codec.decode(codec.encode(value)), value);
 * const bomb = new Uint8Array(72_000).fill(0xdc); // arrays of 56,540 arrays of 56,540 arrays
 * assert.throws(() => codec.decode(bomb), { code: "DECODE" });
 * ```
 */
export function msgpackCodec<T>(budget?: DecodeBudget): Codec<T> {
  const most = resolveBudget(budget);
  const makeEncoder = (): Encoder =>
    new Encoder({ useBigInt64: true, ignoreUndefined: true, maxDepth: most.depth + 1 });
  let encoder = makeEncoder();
  const decoder = new Decoder({ useBigInt64: true });
  return {
    name: "msgpack",
    encode(value) {
      const bytes = guarded("ENCODE", () => {
        checkValue(value, most);
        return encoder.encode(value);
      });
      if (bytes.length > keptBytesMax) encoder = makeEncoder();
      if (bytes.length > most.bytes)
        throw overBudget("ENCODE", "msgpack", {
          what: "bytes",
          came: bytes.length,
          most: most.bytes,
        });
      return bytes;
    },
    decode(bytes) {
      return guarded("DECODE", () => {
        // Another thread could change shared bytes between the walk and the decoder.
        const own = bytes.buffer instanceof ArrayBuffer ? bytes : bytes.slice();
        walkMsgpack(own, most);
        return decoder.decode(own) as T;
      });
    },
  };
}

function guarded<R>(code: "ENCODE" | "DECODE", run: () => R): R {
  try {
    return run();
  } catch (cause) {
    if (isFabricError(cause)) throw cause;
    const what =
      code === "ENCODE" ? "encode: MessagePack cannot say it" : "decode: not MessagePack";
    throw new FabricError(code, `Cannot ${what}`, { codec: "msgpack" }, { cause });
  }
}
