/**
 * One side of the codecs benchmark, in a process of its own, because one code that serves several classes is compiled
 * for none of them: `codecs-worker.ts <record | JSON | msgpack | v8> <ops>`.
 */
import { deserialize, serialize } from "node:v8";
import { recordCodec } from "@selvage/fabric";
import { msgpackCodec } from "@selvage/node";
import { serveTurns } from "./children.ts";
import { timed } from "./harness.ts";

const slots = 256;
const slotBytes = 512;

const layout = recordCodec({
  id: "uint32",
  at: "float64",
  price: "float64",
  quantity: "int32",
  fee: "float32",
  venue: "uint16",
  isBuy: "bool",
  flags: "uint8",
  sequence: "float64",
  low: "float64",
  high: "float64",
  symbol: { text: 16 },
  account: { text: 24 },
});
type Trade = ReturnType<typeof layout.decode>;

/** A trade whose JSON is some 230 bytes. */
function trade(index: number): Trade {
  return {
    id: 100_000 + index,
    at: 1_732_260_000_123.5 + index,
    price: 101.25 + index / 4,
    quantity: index - 128,
    fee: index / 8,
    venue: 500 + (index % 7),
    isBuy: index % 2 === 0,
    flags: index % 200,
    sequence: 90_071_992_547 + index,
    low: 99.5 + index / 16,
    high: 103.75 + index / 16,
    symbol: `SELV${index % 50}.XAMS`,
    account: `acc-0000-1234-${5_000 + index}`,
  };
}

/** What one side does with a value: bytes of its own, or a place in a ring. */
interface Side {
  encode(value: Trade): Uint8Array;
  decode(bytes: Uint8Array): Trade;
  writeTo(slot: number, value: Trade): void;
  readFrom(slot: number): Trade;
  /** The sum of one number of the values in `count` slots, round and round. */
  prices(count: number): number;
}

function recordSide(): Side {
  const view = new DataView(new ArrayBuffer(slots * slotBytes));
  const { price } = layout.fields;
  return {
    encode: (value) => layout.encode(value),
    decode: (bytes) => layout.decode(bytes),
    writeTo: (slot, value) => layout.writeTo(view, slot * slotBytes, value),
    readFrom: (slot) => layout.readFrom(view, slot * slotBytes),
    prices: (count) => {
      let sum = 0;
      for (let op = 0; op < count; op++) sum += price.get(view, (op % slots) * slotBytes);
      return sum;
    },
  };
}

/** Whoever has no layout decodes a value to read a number of it, and remembers how long it is. */
function streamSide(
  encode: (value: Trade) => Uint8Array,
  decode: (bytes: Uint8Array) => Trade,
  write: (value: Trade, target: Uint8Array) => number,
): Side {
  const ring = new Uint8Array(slots * slotBytes);
  const lengths = new Int32Array(slots);
  const readFrom = (slot: number): Trade => {
    const at = slot * slotBytes;
    return decode(ring.subarray(at, at + (lengths[slot] as number)));
  };
  return {
    encode,
    decode,
    writeTo: (slot, value) => {
      const at = slot * slotBytes;
      lengths[slot] = write(value, ring.subarray(at, at + slotBytes));
    },
    readFrom,
    prices: (count) => {
      let sum = 0;
      for (let op = 0; op < count; op++) sum += readFrom(op % slots).price;
      return sum;
    },
  };
}

/** Writes by encoding, and copying what came of it. */
const copied =
  (encode: (value: Trade) => Uint8Array) =>
  (value: Trade, target: Uint8Array): number => {
    const bytes = encode(value);
    target.set(bytes);
    return bytes.length;
  };

function sideOf(name: string | undefined): Side {
  if (name === "record") return recordSide();
  if (name === "JSON") {
    const encoder = new TextEncoder();
    const decoder = new TextDecoder();
    return streamSide(
      (value) => encoder.encode(JSON.stringify(value)),
      (bytes) => JSON.parse(decoder.decode(bytes)) as Trade,
      (value, target) => encoder.encodeInto(JSON.stringify(value), target).written,
    );
  }
  if (name === "msgpack") {
    const codec = msgpackCodec<Trade>();
    const encode = (value: Trade): Uint8Array => codec.encode(value);
    return streamSide(encode, (bytes) => codec.decode(bytes), copied(encode));
  }
  return streamSide(serialize, (bytes) => deserialize(bytes) as Trade, copied(serialize));
}

function main([name, opsText]: readonly string[]): void {
  const side = sideOf(name);
  const ops = Number(opsText);
  const values = Array.from({ length: slots }, (_, index) => trade(index));
  const encoded = values.map((value) => side.encode(value));
  for (const [slot, value] of values.entries()) side.writeTo(slot, value);
  const each = (run: (index: number) => number) => (count: number) => {
    let sum = 0;
    for (let op = 0; op < count; op++) sum += run(op % slots);
    return sum;
  };
  const encode = each((index) => {
    encoded[index] = side.encode(values[index] as Trade);
    return 1;
  });
  const decode = each((index) => {
    const { id, quantity, account } = side.decode(encoded[index] as Uint8Array);
    return id + quantity + account.length;
  });
  const writeTo = each((index) => {
    side.writeTo(index, values[index] as Trade);
    return 1;
  });
  const readFrom = each((index) => {
    const { id, quantity, account } = side.readFrom(index);
    return id + quantity + account.length;
  });
  serveTurns(() => ({
    encode: timed(ops, encode),
    decode: timed(ops, decode),
    writeTo: timed(ops, writeTo),
    readFrom: timed(ops, readFrom),
    field: timed(ops, (count) => side.prices(count)),
  }));
}

main(process.argv.slice(2));
