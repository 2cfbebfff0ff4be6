/** Several stores on one block lease, and stores that are full of what has expired. */
import { FabricKvStore, stringCodec, type KvOptions } from "@selvage/collections";
import { isFabricError } from "@selvage/fabric";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { openManual, rejectionOf } from "./manual-fabric.ts";
import { CrashingBlocks } from "./kv-rig.ts";

const text = { value: stringCodec };
const reasonOf = async (promise: Promise<unknown>): Promise<string> =>
  (await rejectionOf(promise)).code;

async function openCold(
  blocks: CrashingBlocks,
  options: KvOptions<string> = text,
): Promise<FabricKvStore<string>> {
  return FabricKvStore.fromCold(blocks, options);
}

/** Blocks with an empty store on them. */
async function begun(numBlocks = 128): Promise<CrashingBlocks> {
  const blocks = new CrashingBlocks(numBlocks);
  const fabric = openManual({ memoryBytes: 1 << 16, blocks: 8 });
  const mem = fabric.mem().minBytes(8_192).acquire();
  await (await FabricKvStore.fromLeases(mem, blocks, text)).close();
  await fabric.close();
  return blocks;
}

async function contentOf(blocks: CrashingBlocks): Promise<Map<string, string | undefined>> {
  const store = await openCold(blocks);
  const content = new Map<string, string | undefined>();
  for (const key of await store.keys()) content.set(key, await store.get(key));
  return content;
}

describe("FabricKvStore, several on one block lease", { timeout: 120_000 }, () => {
  it("K4: the one that was opened last goes on, the one before acknowledges nothing more", async () => {
    const fabric = openManual({ memoryBytes: 1 << 16, blocks: 256 });
    const disk = await fabric.block().minBlocks(128).acquire();
    const first = await FabricKvStore.fromLeases(
      fabric.mem().minBytes(8_192).acquire(),
      disk,
      text,
    );
    await first.put("a", "1");
    const second = await FabricKvStore.fromCold(disk, text);
    await second.put("b", "2");
    expect(await reasonOf(first.put("c", "3"))).toBe("STALE_EPOCH");
    await second.put("d", "4");
    for (const refused of [
      first.put("a", "5"),
      first.get("a"),
      first.delete("b"),
      first.keys(),
      first.tick(1),
      first.flush(),
    ])
      expect(await reasonOf(refused)).toBe("STALE_EPOCH");
    await second.close();
    expect(await (await FabricKvStore.fromCold(disk, text)).keys()).toEqual(["a", "b", "d"]);
    await fabric.close();
  });

  it("K4: by whichever call a store that was replaced hears of it, it is over", async () => {
    const calls: readonly ((store: FabricKvStore<string>) => Promise<unknown>)[] = [
      async (store) => store.put("x", "1"),
      async (store) => store.delete("a"),
      async (store) => store.delete("nothing"),
      async (store) => store.tick(1),
      async (store) => store.flush(),
      async (store) => store.close(),
    ];
    for (const call of calls) {
      const blocks = await begun();
      const first = await openCold(blocks);
      await first.put("a", "1");
      await openCold(blocks);
      const { operations } = blocks;
      expect(await reasonOf(call(first))).toBe("STALE_EPOCH");
      expect(blocks.operations).toBe(operations);
      expect(await contentOf(blocks)).toEqual(new Map([["a", "1"]]));
    }
  });

  it("K4: a value that another store has moved is no damage", async () => {
    const blocks = await begun(34);
    const first = await openCold(blocks);
    await first.put("a", "1");
    const second = await openCold(blocks);
    for (let count = 0; second.stats().compactions < 2; count++) await second.put("b", `${count}`);
    expect(await reasonOf(first.get("a"))).toBe("STALE_EPOCH");
    expect(await second.get("a")).toBe("1");
  });

  it("K4: a compaction that failed over a value that is unreadable makes no store stale", async () => {
    const blocks = await begun(34);
    const store = await openCold(blocks);
    await store.put("a", "1");
    // The first batch of the half.
    await blocks.write(2, new Uint8Array(512).fill(7));
    await blocks.flush();
    const codes = new Set<string>();
    for (let count = 0; count < 40; count++)
      await store.put("b", `${count}`).catch((thrown: unknown) => {
        codes.add(isFabricError(thrown) ? thrown.code : String(thrown));
      });
    expect([...codes]).toEqual(["CORRUPT_RECORD"]);
  });

  it("K4: whatever was acknowledged is there, however openings, puts and compactions meet", async () => {
    const step = fc.record({
      kind: fc.constantFrom("open", "put", "put", "churn", "churn", "churn", "tick"),
      store: fc.nat(3),
      bytes: fc.constantFrom(1, 400, 1_200),
      waits: fc.nat(12),
    });
    let stale = 0;
    let compactions = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 60 }), async (steps) => {
        const blocks = await begun(40);
        const stores = [await openCold(blocks)];
        const acknowledged = new Set<string>();
        const under: Promise<unknown>[] = [];
        let late = 0;
        for (const [index, { kind, store: which, bytes, waits }] of steps.entries()) {
          const at = which % stores.length;
          const store = stores[at] as FabricKvStore<string>;
          const isReplaced = at < stores.length - 1;
          const isDone = (): void => {
            if (isReplaced) late++;
          };
          const isRefused = (thrown: unknown): void => {
            if (!isFabricError(thrown)) throw thrown;
            expect(["STALE_EPOCH", "CAPACITY_EXCEEDED"]).toContain(thrown.code);
            if (thrown.code === "STALE_EPOCH") stale++;
          };
          // No key is put twice but for the one that fills the log.
          const key = `k${index}`;
          const value = "v".repeat(bytes);
          if (kind === "open") under.push(openCold(blocks).then((another) => stores.push(another)));
          else if (kind === "tick") under.push(store.tick(index).then(isDone, isRefused));
          else if (kind === "churn") under.push(store.put("churn", value).then(isDone, isRefused));
          else
            under.push(
              store.put(key, value).then(() => {
                isDone();
                acknowledged.add(key);
              }, isRefused),
            );
          for (let turn = 0; turn < waits * waits; turn++) await Promise.resolve();
        }
        await Promise.all(under);
        expect(late).toBe(0);
        for (const store of stores) compactions += store.stats().compactions;
        const content = [...(await contentOf(blocks)).keys()].filter((key) => key !== "churn");
        expect(content.toSorted()).toEqual([...acknowledged].toSorted());
      }),
      { numRuns: 200 },
    );
    expect(stale).toBeGreaterThan(0);
    expect(compactions).toBeGreaterThan(0);
  });
});

/** Puts a value of 900 bytes; false if the store is full. */
async function isPut(store: FabricKvStore<string>, key: string, ttlMs: number): Promise<boolean> {
  try {
    await store.putWithTtl(key, "v".repeat(900), ttlMs);
    return true;
  } catch (thrown) {
    if (isFabricError(thrown) && thrown.code === "CAPACITY_EXCEEDED") return false;
    throw thrown;
  }
}

/** A store of its own clock, with keys that expire at 1,000 until nothing fits. */
async function full(): Promise<{
  readonly blocks: CrashingBlocks;
  readonly clock: { at: number };
  readonly store: FabricKvStore<string>;
  readonly keys: number;
}> {
  const blocks = await begun(64);
  const clock = { at: 0 };
  const store = await openCold(blocks, { ...text, clock: { nowMs: () => clock.at } });
  await store.putWithTtl("read", "r", 1_000);
  await store.put("stays", "s");
  let keys = 2;
  while (await isPut(store, `k${keys}`, 1_000)) keys++;
  return { blocks, clock, store, keys };
}

describe("FabricKvStore, full of what has expired", { timeout: 120_000 }, () => {
  it("K5: a put takes the room of keys that have expired, and nobody has ticked", async () => {
    for (const bytes of [10, 3_000]) {
      const { blocks, clock, store, keys } = await full();
      expect(keys).toBeGreaterThan(5);
      clock.at = 500;
      expect(await store.get("read")).toBe("r");
      clock.at = 999;
      expect(await reasonOf(store.put("new", "n".repeat(5_000)))).toBe("CAPACITY_EXCEEDED");
      clock.at = 1_000;
      await store.put("new", "n".repeat(bytes));
      await store.put("newer", "n".repeat(900));
      expect(await store.keys()).toEqual(["read", "stays", "new", "newer"]);
      // The deadline that the get moved has not been lost to the clock in the log.
      const again = await openCold(blocks);
      expect(await again.keys()).toEqual(["read", "stays", "new", "newer"]);
      expect((await again.get("new"))?.length).toBe(bytes);
      expect(again.stats().keys).toBe(4);
    }
  });

  it("K5: a compaction leaves out what has expired, in the log and in the index", async () => {
    let compactions = 0;
    const counted: [here: number, again: number][] = [];
    const expected: [here: number, again: number][] = [];
    for (let churn = 0; churn < 35; churn++) {
      const blocks = await begun(64);
      const clock = { at: 0 };
      const store = await openCold(blocks, { ...text, clock: { nowMs: () => clock.at } });
      await store.putWithTtl("old", "o".repeat(900), 1_000);
      await store.putWithTtl("read", "r", 1_000);
      for (let count = 0; count < churn; count++) await store.put("churn", `${count}`);
      const before = store.stats().compactions;
      clock.at = 500;
      await store.get("read");
      clock.at = 1_000;
      await store.put("new", "n".repeat(3_000));
      const keys = churn === 0 ? 2 : 3;
      if (store.stats().compactions === before) continue;
      compactions++;
      counted.push([store.stats().keys, (await openCold(blocks)).stats().keys]);
      expected.push([keys, keys]);
    }
    expect(counted).toEqual(expected);
    expect(compactions).toBeGreaterThan(1);
  });

  it("K5: without a clock it goes by what was ticked", async () => {
    const blocks = await begun(64);
    const store = await openCold(blocks);
    const put = async (key: string, ttlMs: number): Promise<boolean> => isPut(store, key, ttlMs);
    let live = 0;
    while (await put(`k${live}`, live % 2 === 0 ? 100 : 1_000)) live++;
    await store.tick(99);
    expect(await put("new", 100)).toBe(false);
    await store.tick(100);
    expect(await put("new", 100)).toBe(true);
    expect((await store.keys()).length).toBe(Math.floor(live / 2) + 1);
  });

  it("K5: crashes at any moment of it leave the expired keys or the new one, and all others", async () => {
    for (let at = 0; ; at++) {
      const { blocks, clock, store } = await full();
      clock.at = 1_000;
      blocks.failAt = blocks.operations + at;
      const failed = await store.put("new", "n").then(
        () => false,
        () => true,
      );
      if (!failed) break;
      const after = new CrashingBlocks(blocks.wreck().durable);
      const again = await openCold(after, { ...text, clock: { nowMs: () => 1_000 } });
      expect((await again.keys()).filter((key) => key !== "new")).toEqual(["stays"]);
    }
  });
});
