/** `node decoders-process.ts <inputs> <seed>`: the decoders, the bombs first. One line of JSON, and exit 0. */
import { isFabricError, jsonCodec, type Codec } from "@selvage/fabric";
import { msgpackCodec } from "@selvage/node";
import { fuzzDecoders } from "./decoders.ts";

const json = jsonCodec<unknown>();
const msgpack = msgpackCodec<unknown>();

/** `count` times `unit`, between `before` and `after`. */
function repeated(unit: readonly number[], count: number, before: number[] = []): Uint8Array {
  const bytes = new Uint8Array(before.length + unit.length * count);
  bytes.set(before);
  for (let at = before.length; at < bytes.length; at += unit.length) bytes.set(unit, at);
  return bytes;
}

const array32 = (length: number): number[] => {
  const header = new Uint8Array(5);
  header[0] = 0xdd;
  new DataView(header.buffer).setUint32(1, length);
  return [...header];
};

/** Inputs that ask for more than a heap of 128 MiB has, and the most that the budget lets through. */
const bombs: readonly (readonly [codec: Codec<unknown>, bytes: Uint8Array, decodes: boolean])[] = [
  [msgpack, repeated([0xdc, 0xff, 0xff], 24_000), false],
  [msgpack, repeated([0xdd, 0, 0xff, 0xff, 0xff], 1_000_000), false],
  [msgpack, repeated([0xdf, 0x7f, 0xff, 0xff, 0xff], 1_000_000), false],
  [msgpack, repeated([0x80], 16_000_000, array32(16_000_000)), false],
  [msgpack, repeated([0xdc, 0, 99], 160_000), false],
  [msgpack, repeated([0x80], 999_999, array32(999_999)), true],
  [msgpack, repeated([0x91, 0xc0], 499_999, array32(499_999)), true],
  [msgpack, distinctKeys(333_333), true],
  [json, repeated([0x5b], 16_000_000), false],
  [json, repeated([0x7b, 0x7d, 0x2c], 5_000_000, [0x5b]), false],
  [json, new TextEncoder().encode(`[${"{},".repeat(499_000)}{}]`), true],
  // One wide character makes two bytes of every other.
  [json, new TextEncoder().encode(`"${"a".repeat(16 * 1024 * 1024 - 8)}\u4e00"`), true],
  // Wide texts: a few bytes a character, however many there are.
  [json, wideText("\u00e9", 8 * 1024 * 1024), true],
  [json, wideText("\u4e00", 15 * 1024 * 1024), true],
  [json, wideText("\u{1f980}", 15 * 1024 * 1024), true],
  [json, wideKeys(1, 15 * 1024 * 1024), true],
  [json, wideKeys(333_000, 39), true],
  [json, wideKeys(64, 240 * 1024), true],
];

/** Maps of one key each, no two alike: each has a shape of its own. */
function distinctKeys(count: number): Uint8Array {
  const bytes = new Uint8Array(5 + count * 8);
  bytes.set(array32(count));
  for (let index = 0; index < count; index++) {
    const key = index.toString(36).padStart(5, "k");
    bytes.set([0x81, 0xa5, ...Buffer.from(key), 0xc0], 5 + index * 8);
  }
  return bytes;
}

/** A text of `bytes` bytes. */
function wideText(character: string, bytes: number): Uint8Array {
  const unit = [...new TextEncoder().encode(character)];
  const bytesOfText = unit.length * Math.floor(bytes / unit.length);
  const text = new Uint8Array(bytesOfText + 2).fill(0x22);
  text.set(repeated(unit, bytesOfText / unit.length), 1);
  return text;
}

/** An array of `count` objects, each with a key of its own of about `bytes` bytes, all wide. */
function wideKeys(count: number, bytes: number): Uint8Array {
  const objects = Array.from({ length: count }, (_, index) => {
    const own = index.toString(36);
    return `{"${"\u4e00".repeat(Math.max(1, Math.floor((bytes - own.length) / 3)))}${own}":0}`;
  });
  return new TextEncoder().encode(`[${objects.join(",")}]`);
}

for (const [index, [codec, bytes, decodes]] of bombs.entries()) {
  let outcome = "decoded";
  try {
    codec.decode(bytes);
  } catch (error) {
    outcome = isFabricError(error) ? error.code : String(error);
  }
  if (outcome !== (decodes ? "decoded" : "DECODE"))
    throw new Error(`bomb ${index} of ${codec.name}: ${outcome}`);
}
const [inputs, seed] = process.argv.slice(2).map(Number);
console.log(JSON.stringify(await fuzzDecoders(inputs ?? 0, seed ?? 0)));
