import { FabricKvStore } from "@selvage/collections";
import { rawCodec, type BlockLease } from "@selvage/fabric";
import {
  BlockOutputStore,
  MemoryOutputStore,
  outputConformance,
  type OutputStore,
} from "@selvage/jobs";
import { Fabric } from "@selvage/node";
import { afterAll, describe, expect, it } from "vitest";

const fabric = Fabric.open({ memoryBytes: 8 << 20, blocks: 16_384 });
afterAll(() => fabric[Symbol.dispose]());
const blocksOf = new WeakMap<OutputStore, BlockLease>();

async function openKv(blocks?: BlockLease): Promise<BlockOutputStore> {
  const lease = blocks ?? (await fabric.block().minBlocks(512).leaseSecs(60).acquire());
  const mem = fabric.mem().minBytes(16_384).leaseSecs(60).acquire();
  const store = new BlockOutputStore(
    await FabricKvStore.fromLeases(mem, lease, { value: rawCodec }),
  );
  blocksOf.set(store, lease);
  return store;
}

const subjects = [
  ["MemoryOutputStore", { open: async () => new MemoryOutputStore() }],
  [
    "BlockOutputStore",
    { open: () => openKv(), reopen: (store: OutputStore) => openKv(blocksOf.get(store)) },
  ],
] as const;

describe.each(subjects)("%s", (_name, subject) => {
  const cases = outputConformance(subject);
  it.each(cases.map((one) => [one.name, one] as const))("%s", async (_case, one) => {
    await expect(one.run()).resolves.toBeUndefined();
  });
});

describe("BlockOutputStore", () => {
  it("keeps several jobs apart on one key-value store, by their prefixes", async () => {
    const blocks = await fabric.block().minBlocks(128).leaseSecs(60).acquire();
    const mem = fabric.mem().minBytes(16_384).leaseSecs(60).acquire();
    const kv = await FabricKvStore.fromLeases(mem, blocks, { value: rawCodec });
    const [one, other] = [new BlockOutputStore(kv, "a/"), new BlockOutputStore(kv, "b/")];
    expect([await one.put("x", Uint8Array.of(1)), await other.put("x", Uint8Array.of(2))]).toEqual([
      true,
      true,
    ]);
    expect((await kv.keys()).toSorted()).toEqual(["a/x", "b/x"]);
    expect(await other.get("x")).toEqual(Uint8Array.of(2));
  });

  it("O1: two of these on one key-value store are one store", async () => {
    const blocks = await fabric.block().minBlocks(128).leaseSecs(60).acquire();
    const mem = fabric.mem().minBytes(16_384).leaseSecs(60).acquire();
    const kv = await FabricKvStore.fromLeases(mem, blocks, { value: rawCodec });
    const [one, other] = [new BlockOutputStore(kv), new BlockOutputStore(kv)];
    const answers = await Promise.all([
      one.put("x", Uint8Array.of(1)),
      other.put("x", Uint8Array.of(2)),
    ]);
    expect([answers, await other.get("x")]).toEqual([[true, false], Uint8Array.of(1)]);
  });

  it("puts again after a put that failed: CAPACITY_EXCEEDED stores nothing", async () => {
    const blocks = await fabric.block().minBlocks(34).leaseSecs(60).acquire();
    const mem = fabric.mem().minBytes(16_384).leaseSecs(60).acquire();
    const kv = await FabricKvStore.fromLeases(mem, blocks, { value: rawCodec });
    const store = new BlockOutputStore(kv);
    const both = [store.put("x", new Uint8Array(100_000)), store.put("x", Uint8Array.of(1))];
    const [large, small] = await Promise.allSettled(both);
    expect(large).toMatchObject({ status: "rejected", reason: { code: "CAPACITY_EXCEEDED" } });
    expect([small, await store.get("x")]).toEqual([
      { status: "fulfilled", value: true },
      Uint8Array.of(1),
    ]);
  });

  it("refuses what is no key-value store", () => {
    expect(() => new BlockOutputStore({} as never)).toThrow(/expected a FabricKvStore/);
  });
});
