import { BLOCK_BYTES, type RecordBlocks } from "@selvage/fabric";
import {
  BlockCheckpointStore,
  checkpointConformance,
  MemoryCheckpointStore,
  type CheckpointStore,
} from "@selvage/pipeline";
import { describe, expect, it } from "vitest";

/** Blocks in memory, to be damaged, and to fail. */
class PlainBlocks implements RecordBlocks {
  readonly bytes: Uint8Array;
  readonly numBlocks: number;
  isDown = false;

  constructor(numBlocks: number) {
    this.numBlocks = numBlocks;
    this.bytes = new Uint8Array(numBlocks * BLOCK_BYTES);
  }

  async readInto(index: number, target: Uint8Array): Promise<void> {
    if (this.isDown) throw new Error("EIO");
    target.set(this.bytes.subarray(index * BLOCK_BYTES, index * BLOCK_BYTES + target.length));
  }

  async write(index: number, bytes: Uint8Array): Promise<void> {
    if (this.isDown) throw new Error("EIO");
    this.bytes.set(bytes, index * BLOCK_BYTES);
  }

  async flush(): Promise<void> {
    if (this.isDown) throw new Error("EIO");
  }
}

const blocksOf = new WeakMap<CheckpointStore, PlainBlocks>();

async function openBlocks(blocks = new PlainBlocks(256)): Promise<CheckpointStore> {
  const store = new BlockCheckpointStore(blocks);
  blocksOf.set(store, blocks);
  return store;
}

const subjects = [
  ["MemoryCheckpointStore", { open: async () => new MemoryCheckpointStore() }],
  [
    "BlockCheckpointStore",
    {
      open: () => openBlocks(),
      reopen: (store: CheckpointStore) => openBlocks(blocksOf.get(store)),
    },
  ],
] as const;

describe.each(subjects)("%s", (_name, subject) => {
  const cases = checkpointConformance(subject);
  it.each(cases.map((one) => [one.name, one] as const))("%s", async (_case, one) => {
    await expect(one.run()).resolves.toBeUndefined();
  });
});

describe("BlockCheckpointStore", () => {
  it("takes the record before when the newest is damaged, says so, and gives no revision twice", async () => {
    const blocks = new PlainBlocks(8);
    const store = new BlockCheckpointStore(blocks);
    const first = (await store.write("a", Uint8Array.of(1), 0)) as number;
    const second = (await store.write("a", Uint8Array.of(2), first)) as number;
    expect(await store.read("a")).toMatchObject({ revision: second, bytes: Uint8Array.of(2) });
    // Generation 1 is in slot 0, generation 2 in slot 1.
    blocks.bytes.fill(0xee, 4 * BLOCK_BYTES, 5 * BLOCK_BYTES);
    const found = await store.read("a");
    expect(found).toMatchObject({ revision: first, bytes: Uint8Array.of(1), isRecovered: true });
    expect(await store.write("a", Uint8Array.of(3), second)).toBeUndefined();
    const third = (await store.write("a", Uint8Array.of(3), first)) as number;
    expect(third).toBeGreaterThan(second);
    expect(await store.read("a")).not.toHaveProperty("isRecovered");
  });

  it("never takes damage, an outage or something else's record for an empty store", async () => {
    const blocks = new PlainBlocks(8);
    const store = new BlockCheckpointStore(blocks);
    const first = (await store.write("a", Uint8Array.of(1), 0)) as number;
    blocks.isDown = true;
    const calls = [
      () => store.read("a"),
      () => store.write("a", Uint8Array.of(2), first),
      () => store.remove("a", first),
    ];
    for (const call of calls)
      await expect(call()).rejects.toMatchObject({ code: "STORE_UNAVAILABLE" });
    blocks.isDown = false;
    blocks.bytes.fill(0xee);
    for (const call of calls)
      await expect(call()).rejects.toMatchObject({ code: "CORRUPT_RECORD" });
  });

  it("refuses a record that is too long for its blocks, and keeps the one it has", async () => {
    const store = new BlockCheckpointStore(new PlainBlocks(2));
    const first = (await store.write("a", Uint8Array.of(1), 0)) as number;
    await expect(store.write("a", new Uint8Array(512), first)).rejects.toMatchObject({
      code: "CAPACITY_EXCEEDED",
    });
    expect(await store.read("a")).toMatchObject({ revision: first });
    expect(() => new BlockCheckpointStore(new PlainBlocks(1))).toThrow(/2 blocks/);
    expect(() => new BlockCheckpointStore({} as never)).toThrow(/block lease/);
  });
});
