/** What stands in leases and files, read back from bytes that anybody may have changed. */
import { BLOCK_BYTES, ramBlockDevice, type RecordBlocks } from "@selvage/fabric";
import {
  FabricHashMap,
  FabricKvStore,
  numberCodec,
  stringCodec,
  type ColdBlocks,
} from "@selvage/collections";
import { Fabric } from "@selvage/node";
import { VirtualHost } from "../../packages/fabric/test/rig.ts";
import { openSim, quiet } from "../../packages/fabric/test/sim-disk.ts";
import type { Target } from "./decoders.ts";

const storeBlocks = 34;
const codecs = { key: stringCodec, value: numberCodec };
const shape = { capacity: 8, keyBytes: 16, valueBytes: 8 };
const mapBytes = FabricHashMap.bytesFor(shape);

/** Blocks in memory that hold these bytes, and zeros after. */
async function blocksWith(bytes: Uint8Array, numBlocks: number): Promise<ColdBlocks> {
  const device = ramBlockDevice(numBlocks);
  const whole = new Uint8Array(numBlocks * BLOCK_BYTES);
  whole.set(bytes.subarray(0, whole.length));
  await device.write(0, whole);
  const blocks: RecordBlocks = {
    numBlocks,
    readInto: async (index, target) => device.read(index, target),
    write: async (index, source) => device.write(index, source),
    flush: async () => device.flush(),
  };
  return { ...blocks, assertLive() {} };
}

async function storeImage(): Promise<Uint8Array> {
  const blocks = await blocksWith(new Uint8Array(0), storeBlocks);
  using fabric = Fabric.open({ memoryBytes: 1 << 16, blocks: 0, tick: "manual" });
  const mem = fabric
    .mem()
    .minBytes(1 << 14)
    .acquire();
  const store = await FabricKvStore.fromLeases(mem, blocks, { value: stringCodec });
  for (const key of ["flax", "__proto__", "é"]) await store.put(key, `${key} woven`);
  await store.delete("flax");
  await store.close();
  const image = new Uint8Array(storeBlocks * BLOCK_BYTES);
  await blocks.readInto(0, image);
  return image;
}

async function readStore(bytes: Uint8Array): Promise<boolean> {
  const blocks = await blocksWith(bytes, storeBlocks);
  const store = await FabricKvStore.fromCold(blocks, { value: stringCodec });
  for (const key of await store.keys())
    if (typeof (await store.get(key)) !== "string") return false;
  await store.close();
  return true;
}

function mapTarget(): Target {
  const fabric = Fabric.open({ memoryBytes: 1 << 16, blocks: 0, tick: "manual" });
  const lease = fabric.mem().minBytes(mapBytes).acquire();
  const map = new FabricHashMap(lease, { ...shape, ...codecs });
  for (const [index, key] of ["a", "__proto__", "é", "woven"].entries()) map.set(key, index);
  const image = lease.read(0, mapBytes);
  return {
    name: "hash map",
    samples: [image],
    errors: ["CORRUPT_RECORD", "DECODE", "TIMED_OUT"],
    stands(bytes) {
      lease.write(0, new Uint8Array(mapBytes));
      lease.write(0, bytes.subarray(0, mapBytes));
      const there = FabricHashMap.attach(lease, codecs);
      let entries = 0;
      for (const [key, value] of there) {
        there.get(key);
        if (typeof value !== "number" || ++entries > shape.capacity) return false;
      }
      return true;
    },
  };
}

async function fileImage(): Promise<Uint8Array> {
  const { fabric, disk } = openSim(new VirtualHost());
  const held = await fabric.block().minBlocks(2).leaseSecs(600).acquire();
  await held.write(0, new Uint8Array(2 * BLOCK_BYTES).fill(7));
  await held.renew(700_000);
  const ended = await fabric.block().minBlocks(1).acquire();
  ended.release();
  await ended.settle();
  return disk.view.slice();
}

async function openFile(bytes: Uint8Array): Promise<boolean> {
  const { fabric } = openSim(new VirtualHost(), { bytes: new Uint8Array(bytes) });
  await quiet();
  const { capacityBytes, leasedBytes, freeBytes, quarantinedBytes, fencedBytes } =
    fabric.stats().blocks;
  fabric[Symbol.dispose]();
  return leasedBytes + freeBytes + quarantinedBytes + fencedBytes === capacityBytes;
}

/** The targets: stores, maps and block files. */
export async function storeTargets(): Promise<readonly Target[]> {
  return [
    {
      name: "store blocks",
      samples: [await storeImage()],
      errors: ["CORRUPT_RECORD", "NOT_FOUND", "DECODE"],
      stands: readStore,
    },
    mapTarget(),
    {
      name: "block file",
      samples: [await fileImage()],
      errors: ["CORRUPT_RECORD", "CONFLICT", "EXHAUSTED"],
      stands: openFile,
    },
  ];
}
