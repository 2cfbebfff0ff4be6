/**
 * Every decoder of bytes that may be a stranger's, and what is asked of it: a typed error, or a value that stands, in
 * bounded time and memory, and no prototype changed (S1).
 */
import { isDeepStrictEqual } from "node:util";
import {
  BLOCK_BYTES,
  columnsCodec,
  isFabricError,
  jsonCodec,
  plainText,
  ramBlockDevice,
  recordCodec,
  TwoSlotRecord,
  type Codec,
  type FabricErrorCode,
  type RecordBlocks,
} from "@selvage/fabric";
import { Durable } from "@selvage/collections";
import { decodeLocator, encodeLocator, HandoffReader, HandoffWriter } from "@selvage/fence";
import { msgpackCodec, systemText } from "@selvage/node";
import { Inputs } from "./inputs.ts";
import { storeTargets } from "./stores.ts";

/** One decoder. */
export interface Target {
  readonly name: string;
  /** Good inputs, to be spoilt. */
  readonly samples: readonly Uint8Array[];
  /** What it may say instead of a value. */
  readonly errors: readonly FabricErrorCode[];
  /** Decodes, and returns false when the value does not stand. */
  readonly stands: (bytes: Uint8Array) => boolean | Promise<boolean>;
}

/** How the inputs to one decoder ended. */
export interface Outcome {
  readonly name: string;
  readonly inputs: number;
  readonly values: number;
  readonly errors: number;
}

const records = [
  { id: 1, name: "flax", on: true, tags: ["a", "b"], deep: { x: [1, [2, [3, { y: null }]]] } },
  [1, -1, 1e300, "é\u0000\ud83d\ude00", "", {}, [], [[]], { "": { constructor: 1 } }],
  Object.fromEntries(Array.from({ length: 40 }, (_, index) => [`key${index}`, index * 1e6])),
];

/** A value stands when what it encodes to decodes to what encodes to the same. */
function codecTarget<T>(codec: Codec<T>, values: readonly T[]): Target {
  return {
    name: codec.name,
    samples: values.map((value) => codec.encode(value)),
    errors: ["DECODE"],
    stands(bytes) {
      const written = codec.encode(codec.decode(bytes));
      return isDeepStrictEqual(codec.encode(codec.decode(written)), written);
    },
  };
}

/** Blocks that hold these bytes. */
async function blocksOf(bytes: Uint8Array, numBlocks: number): Promise<RecordBlocks> {
  const device = ramBlockDevice(numBlocks);
  const whole = new Uint8Array(numBlocks * BLOCK_BYTES);
  whole.set(bytes.subarray(0, whole.length));
  await device.write(0, whole);
  return {
    numBlocks,
    readInto: async (index, target) => device.read(index, target),
    write: async (index, source) => device.write(index, source),
    flush: async () => device.flush(),
  };
}

async function imageOf(write: (blocks: RecordBlocks) => Promise<unknown>): Promise<Uint8Array> {
  const blocks = await blocksOf(new Uint8Array(0), 4);
  await write(blocks);
  const image = new Uint8Array(4 * BLOCK_BYTES);
  await blocks.readInto(0, image);
  return image;
}

const address = { leaseId: "0123456789abcdef0123456789abcdef", slot: 1, generation: 2 };
const locators = [
  { kind: "queue", ...address, offset: 0, capacity: 16, stride: 64 },
  { kind: "mem", ...address, offset: 64, bytes: 128 },
  { kind: "block", ...address, firstBlock: 0, numBlocks: 4 },
] as const;

/** Blocks with a whole record of these bytes: past the checksums, to the decoders of what they cover. */
const inRecord = async (bytes: Uint8Array): Promise<RecordBlocks> => {
  const blocks = await blocksOf(new Uint8Array(0), 4);
  const two = new TwoSlotRecord(blocks);
  await two.write(bytes.subarray(0, two.bytesMax));
  return blocks;
};
const follow = async (blocks: RecordBlocks): Promise<boolean> => {
  const state = await new HandoffReader(blocks).poll();
  return state === undefined || encodeLocator(state.locator).length > 0;
};
const restore = async (blocks: RecordBlocks): Promise<boolean> =>
  (await Durable.restore<unknown, RecordBlocks>(blocks, undefined, () => null)).generation >= 0;

async function targets(): Promise<readonly Target[]> {
  const record = recordCodec({
    id: "int32",
    on: "bool",
    price: "float64",
    big: "bigint64",
    key: { bytes: 5 },
    name: { text: 20 },
  });
  const trade = { id: 7, on: true, price: 0.5, big: 5n, key: new Uint8Array(5), name: "flax é" };
  const handoff = await imageOf(async (blocks) => {
    const writer = new HandoffWriter(blocks, "parse");
    for (const locator of locators) await writer.publish(locator);
  });
  const durable = await imageOf(async (blocks) => {
    const value = new Durable(records[0], blocks);
    for (let round = 0; round < 3; round++) await value.checkpoint();
  });
  const states = await Promise.all(
    [handoff, durable].map(
      async (image) => (await new TwoSlotRecord(await blocksOf(image, 4)).read()).state,
    ),
  );
  const whole = states.filter((state) => state !== undefined);
  const spoilt: readonly FabricErrorCode[] = ["CORRUPT_RECORD", "DECODE"];
  return [
    codecTarget(jsonCodec<unknown>(systemText), records),
    codecTarget(msgpackCodec<unknown>(), [...records, [new Date(0), 5n, new Uint8Array(9)]]),
    codecTarget(columnsCodec, [
      { a: Int16Array.of(1, 2, 3), b: Float64Array.of(1, 2, 3) },
      { c: new BigInt64Array(0) },
    ]),
    codecTarget(record, [trade]),
    {
      name: "text",
      samples: ["flax", "é\u0000\ud83d\ude00\uffff"].map((text) => plainText.encode(text)),
      errors: ["DECODE"],
      stands: (bytes) => isDeepStrictEqual(plainText.encode(plainText.decode(bytes)), bytes),
    },
    {
      name: "locator",
      samples: locators.map((locator) => encodeLocator(locator)),
      errors: ["DECODE"],
      stands: (bytes) => isDeepStrictEqual(encodeLocator(decodeLocator(bytes)), bytes),
    },
    {
      name: "two-slot record",
      samples: [handoff, durable],
      errors: ["CORRUPT_RECORD"],
      stands: async (bytes) =>
        (await new TwoSlotRecord(await blocksOf(bytes, 4)).read()).generation >= 0,
    },
    {
      name: "handoff blocks",
      samples: [handoff],
      errors: spoilt,
      stands: async (bytes) => follow(await blocksOf(bytes, 4)),
    },
    {
      name: "handoff state",
      samples: whole,
      errors: ["DECODE"],
      stands: async (bytes) => follow(await inRecord(bytes)),
    },
    {
      name: "durable blocks",
      samples: [durable],
      errors: spoilt,
      stands: async (bytes) => restore(await blocksOf(bytes, 4)),
    },
    {
      name: "durable state",
      samples: whole,
      errors: ["DECODE"],
      stands: async (bytes) => restore(await inRecord(bytes)),
    },
  ];
}

/** What code that comes after would meet, if an input had changed a prototype. */
function prototypes(): string {
  const keys = [Object, Array, Function, String, Uint8Array, Map].flatMap((Class) => [
    Reflect.ownKeys(Class.prototype as object).map(String),
    Reflect.ownKeys(Class).map(String),
  ]);
  return JSON.stringify(keys);
}

/** Gives `inputs` inputs to each decoder. Throws with the input that one of them did not answer as it should. */
export async function fuzzDecoders(inputs: number, seed: number): Promise<readonly Outcome[]> {
  const before = prototypes();
  const outcomes: Outcome[] = [];
  for (const { name, samples, errors, stands } of [
    ...(await targets()),
    ...(await storeTargets()),
  ]) {
    const source = new Inputs(seed);
    let values = 0;
    for (let input = 0; input < inputs; input++) {
      const bytes = source.next(samples);
      const fail = (why: string, cause?: unknown): Error => {
        const hex = Buffer.from(bytes).toString("hex");
        return new Error(`${name}: ${why}; seed ${seed}, input ${input}: ${hex}`, { cause });
      };
      try {
        if (!(await stands(bytes))) throw fail("a value that does not stand");
        values++;
      } catch (error) {
        if (!isFabricError(error)) throw fail("no FabricError", error);
        if (!errors.includes(error.code)) throw fail(`the error ${error.code}`, error);
      }
    }
    if (prototypes() !== before) throw new Error(`${name}: a prototype changed; seed ${seed}`);
    outcomes.push({ name, inputs, values, errors: inputs - values });
  }
  return outcomes;
}
