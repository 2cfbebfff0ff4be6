import { jsonCodec, rawCodec, type BlockLease, type Fabric, type MemLease } from "@selvage/fabric";
import { FabricHashMap, FabricKvStore, stringCodec, type KvOptions } from "@selvage/collections";
import { systemText } from "@selvage/node";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { openManual, rejectionOf, START_MS } from "./manual-fabric.ts";
import { CrashingBlocks } from "./kv-rig.ts";

const text = { value: stringCodec };
const HOUR = 3_600_000;

interface Scene {
  readonly fabric: Fabric;
  readonly mem: MemLease;
  readonly disk: BlockLease;
}

async function openScene(memBytes = 8_192, blocks = 128): Promise<Scene> {
  const fabric = openManual({ memoryBytes: 1 << 16, blocks: 256 });
  return {
    fabric,
    mem: fabric
      .mem()
      .minBytes(memBytes)
      .leaseMs(24 * HOUR)
      .acquire(),
    disk: await fabric
      .block()
      .minBlocks(blocks)
      .leaseMs(24 * HOUR)
      .acquire(),
  };
}

async function openText(): Promise<Scene & { store: FabricKvStore<string> }> {
  const scene = await openScene();
  return { ...scene, store: await FabricKvStore.fromLeases(scene.mem, scene.disk, text) };
}

const reasonOf = async (promise: Promise<unknown>): Promise<string> =>
  (await rejectionOf(promise)).code;

describe("FabricKvStore", { timeout: 120_000 }, () => {
  it("puts, gets and deletes, keys that plain objects choke on among them", async () => {
    const { store } = await openText();
    await store.put("a", "1");
    await store.put("__proto__", "2");
    await store.put("a", "3");
    expect([await store.get("a"), await store.get("__proto__"), await store.get("b")]).toEqual([
      "3",
      "2",
      undefined,
    ]);
    expect(await store.keys()).toEqual(["__proto__", "a"]);
    expect([await store.delete("a"), await store.delete("a"), await store.has("a")]).toEqual([
      true,
      false,
      false,
    ]);
    expect(Object.keys(Object.prototype)).toEqual([]);
  });

  it("takes effect in the order of the calls, also when nobody waits in between", async () => {
    const { store } = await openText();
    const outcomes = await Promise.all([
      store.put("a", "1"),
      store.delete("a"),
      store.delete("a"),
      store.put("a", "2"),
      store.put("b", "1"),
      store.put("b", "2"),
      store.delete("c"),
    ]);
    expect(outcomes.filter((outcome) => typeof outcome === "boolean")).toEqual([
      true,
      false,
      false,
    ]);
    expect([await store.get("a"), await store.get("b")]).toEqual(["2", "2"]);
    // They waited together, so they were written together.
    expect(store.stats().batches).toBe(1);
  });

  it("writes what was put, whatever becomes of the caller's array", async () => {
    const { mem, disk } = await openScene();
    const store = await FabricKvStore.fromLeases(mem, disk, { value: rawCodec });
    const bytes = Uint8Array.of(1, 2, 3);
    const done = store.put("a", bytes);
    bytes.fill(9);
    await done;
    expect(await store.get("a")).toEqual(Uint8Array.of(1, 2, 3));
    const cold = await FabricKvStore.fromCold(disk, { value: rawCodec });
    expect(await cold.get("a")).toEqual(Uint8Array.of(1, 2, 3));
  });

  it("expires a key at its deadline, exactly; get puts it off by the whole TTL, has and ttl do not", async () => {
    const { store, fabric } = await openText();
    await store.putWithTtl("a", "1", 100);
    await store.put("stays", "2");
    fabric.tick(START_MS + 60);
    expect([await store.ttl("a"), await store.ttl("stays"), await store.ttl("none")]).toEqual([
      40,
      Infinity,
      undefined,
    ]);
    expect([await store.has("a"), await store.ttl("a")]).toEqual([true, 40]);
    expect(await store.get("a")).toBe("1");
    expect(await store.ttl("a")).toBe(100);
    fabric.tick(START_MS + 159);
    expect(await store.has("a")).toBe(true);
    fabric.tick(START_MS + 160);
    expect([
      await store.get("a"),
      await store.has("a"),
      await store.ttl("a"),
      await store.delete("a"),
    ]).toEqual([undefined, false, undefined, false]);
    expect(await store.keys()).toEqual(["stays"]);
    expect(await store.tick(START_MS + 160)).toEqual({
      expired: 1,
      touched: 0,
      nextDueAtMs: Infinity,
    });
    expect(store.stats()).toMatchObject({ keys: 1, hotKeys: 1 });
  });

  it("gives put the default TTL, and tick the next moment at which a key may expire", async () => {
    const { mem, disk } = await openScene();
    const store = await FabricKvStore.fromLeases(mem, disk, { ...text, defaultTtlMs: 50 });
    await store.put("a", "1");
    await store.putWithTtl("b", "2", 70);
    expect(await store.tick(START_MS)).toEqual({
      expired: 0,
      touched: 0,
      nextDueAtMs: START_MS + 50,
    });
    await store.get("a");
    await store.tick(START_MS + 49);
    expect(await store.get("a")).toBe("1");
    expect((await store.tick(START_MS + 70)).expired).toBe(1);
    expect(await store.keys()).toEqual(["a"]);
    // Time does not go back.
    await store.tick(START_MS);
    expect(await store.ttl("a")).toBe(29);
  });

  it("K3: makes a deadline that get has moved durable with the next tick or flush", async () => {
    const { store, disk } = await openText();
    await store.putWithTtl("a", "1", 100);
    await store.tick(START_MS + 90);
    await store.get("a");
    const atRisk = await FabricKvStore.fromCold(await copyOf(disk), text);
    await atRisk.tick(START_MS + 90);
    expect(await atRisk.ttl("a")).toBe(10);
    expect((await store.tick(START_MS + 91)).touched).toBe(1);
    const safe = await FabricKvStore.fromCold(await copyOf(disk), text);
    expect((await safe.tick(START_MS + 150)).expired).toBe(0);
    expect(await safe.ttl("a")).toBe(40);
    await store.get("a");
    await store.flush();
    expect((await store.tick(START_MS + 92)).touched).toBe(0);
  });

  it("does not take a key back that a tick expired, even if the clock is behind after a restart", async () => {
    const { store, disk } = await openText();
    await store.putWithTtl("a", "1", 100);
    await store.tick(START_MS + 100);
    const again = await FabricKvStore.fromCold(disk, { ...text, clock: { nowMs: () => START_MS } });
    expect([await again.keys(), await again.get("a")]).toEqual([[], undefined]);
  });

  it("knows after a restart without a clock what time it was, also when compactions came between", async () => {
    const { store, disk } = await openText();
    await store.putWithTtl("a", "1", 100);
    await store.putWithTtl("b", "2", 10_000);
    await store.tick(START_MS + 100);
    for (let round = 0; round < 200; round++) await store.put("c", `${round}`);
    expect(store.stats().compactions).toBeGreaterThan(1);
    expect(await (await FabricKvStore.fromCold(disk, text)).ttl("b")).toBe(9_900);
  });

  it("serves hot values from memory, and promotes cold ones when they are read", async () => {
    const { mem, disk } = await openScene();
    const options = { ...text, hotValueBytes: 16 };
    const first = await FabricKvStore.fromLeases(mem, disk, options);
    await first.put("small", "s");
    await first.put("large", "l".repeat(17));
    expect([await first.get("small"), await first.get("large"), await first.get("large")]).toEqual([
      "s",
      "l".repeat(17),
      "l".repeat(17),
    ]);
    // A value that fits no slot is always read from the blocks.
    expect(first.stats()).toMatchObject({ hotHits: 1, coldReads: 2, hotKeys: 1, hot: "live" });
    const fresh = openManual().mem().minBytes(8_192).acquire();
    const again = await FabricKvStore.fromCold(disk, { ...options, mem: fresh });
    expect(again.stats().hotKeys).toBe(0);
    expect([await again.get("small"), await again.get("small")]).toEqual(["s", "s"]);
    expect(again.stats()).toMatchObject({ hotHits: 1, coldReads: 1, hotKeys: 1 });
    await again.put("small", "now too long for its slot");
    expect(await again.get("small")).toBe("now too long for its slot");
    expect(again.stats()).toMatchObject({ hotKeys: 0, coldReads: 2 });
  });

  it("evicts the values used longest ago when the memory is full, and still has them", async () => {
    const shape = { keyBytes: 8, valueBytes: 16 + 16 };
    const bytes = FabricHashMap.bytesFor({ ...shape, capacity: 4 });
    const { mem, disk } = await openScene(bytes);
    const store = await FabricKvStore.fromLeases(mem, disk, {
      ...text,
      hotKeyBytes: 8,
      hotValueBytes: 16,
    });
    for (const key of ["a", "b", "c", "d"]) await store.put(key, key);
    await store.get("a");
    await store.put("e", "e");
    expect(store.stats()).toMatchObject({ hotKeys: 4, evictions: 1 });
    await store.get("a");
    expect(store.stats().coldReads).toBe(0);
    expect(await store.get("b")).toBe("b");
    expect(store.stats()).toMatchObject({ coldReads: 1, evictions: 2 });
  });

  it("reattaches both tiers: what is hot stays hot", async () => {
    const { store, mem, disk } = await openText();
    await store.put("a", "1");
    await store.put("b", "2");
    const again = await FabricKvStore.fromLeases(mem, disk, text);
    expect([await again.get("a"), await again.get("b"), again.stats().coldReads]).toEqual([
      "1",
      "2",
      0,
    ]);
  });

  it("takes no hot value for true that its blocks do not know", async () => {
    const { store, mem, fabric, disk } = await openText();
    await store.put("a", "stale");
    // Another store on other blocks, with the same keys and as many puts.
    const other = await fabric.block().minBlocks(64).acquire();
    const second = await FabricKvStore.fromLeases(mem, other, text);
    expect(await second.get("a")).toBeUndefined();
    await second.put("a", "new");
    // And the first one's blocks again, with what the second one left in memory.
    const third = await FabricKvStore.fromLeases(mem, disk, text);
    expect(await third.get("a")).toBe("stale");
  });

  it("goes on without its memory: the blocks have it all", async () => {
    const { store, mem } = await openText();
    await store.put("a", "1");
    mem.release();
    expect(await store.get("a")).toBe("1");
    await store.put("b", "2");
    expect([await store.get("b"), await store.delete("a")]).toEqual(["2", true]);
    expect(store.stats()).toMatchObject({ hot: "lost", hotKeys: 0 });
  });

  it("begins a damaged hot tier anew, and says so", async () => {
    const { store, mem, disk } = await openText();
    await store.put("a", "1");
    mem.write(256, new Uint8Array(mem.bytes - 256).fill(0x77));
    expect(await store.get("a")).toBe("1");
    expect(store.stats()).toMatchObject({ hotRebuilds: 1, coldReads: 1 });
    mem.write(8, new Uint8Array(20).fill(0x77));
    const again = await FabricKvStore.fromLeases(mem, disk, text);
    expect([await again.get("a"), again.stats().hotRebuilds]).toEqual(["1", 1]);
  });

  it("compacts when a half is full, refuses what does not fit, and takes deletes even then", async () => {
    const { store, disk } = await openText();
    const value = "v".repeat(1_000);
    let keys = 0;
    for (; ; keys++) {
      const refused = await store.put(`k${keys}`, value).then(
        () => undefined,
        (thrown: { code: string }) => thrown.code,
      );
      if (refused === undefined) continue;
      expect(refused).toBe("CAPACITY_EXCEEDED");
      break;
    }
    expect(keys).toBeGreaterThan(15);
    for (let round = 0; round < 100; round++) await store.put(`k${round % keys}`, value.slice(1));
    expect(store.stats().compactions).toBeGreaterThan(5);
    expect(await reasonOf(store.put("more", value))).toBe("CAPACITY_EXCEEDED");
    expect(await reasonOf(store.put("more", "v".repeat(1 << 20)))).toBe("CAPACITY_EXCEEDED");
    expect(await store.delete("k0")).toBe(true);
    await store.put("more", value);
    expect((await store.keys()).length).toBe(keys);
    const again = await FabricKvStore.fromCold(disk, text);
    expect(new Set(await again.keys())).toEqual(new Set(await store.keys()));
    expect(await again.get("more")).toBe(value);
  });

  it("counts what a tick expired also where making room for it did that", async () => {
    const { disk } = await openText();
    let nowMs = START_MS;
    const store = await FabricKvStore.fromCold(disk, { ...text, clock: { nowMs: () => nowMs } });
    for (let round = 0; round < 200; round++) {
      await store.putWithTtl("a", "v".repeat(400), 5);
      await store.putWithTtl("b", "v".repeat(300 + round), 5);
      nowMs += 10;
      expect((await store.tick(nowMs)).expired, `round ${round}`).toBe(2);
    }
    expect(store.stats().compactions).toBeGreaterThan(3);
  });

  it("reads whole values while compactions move them", async () => {
    const { disk } = await openText();
    const store = await FabricKvStore.fromCold(disk, { ...text, clock: { nowMs: () => 1 } });
    for (let key = 0; key < 10; key++) await store.put(`k${key}`, `${key}`.repeat(700));
    const writer = { isDone: false };
    const reads = Array.from({ length: 10 }, async (_, key) => {
      let count = 0;
      while (!writer.isDone) {
        expect(await store.get(`k${key}`)).toBe(`${key}`.repeat(700));
        count++;
      }
      return count;
    });
    for (let round = 0; round < 300; round++) await store.put("other", "x".repeat(round));
    writer.isDone = true;
    expect(Math.min(...(await Promise.all(reads)))).toBeGreaterThan(0);
    expect(store.stats().compactions).toBeGreaterThan(3);
  });

  it("ends in typed errors: ended leases, a closed store, no store, bad arguments", async () => {
    const { store, fabric, mem, disk } = await openText();
    const blank = await fabric.block().minBlocks(64).acquire();
    expect(await reasonOf(FabricKvStore.fromCold(blank, text))).toBe("NOT_FOUND");
    const few = await fabric.block().minBlocks(33).acquire();
    expect(await reasonOf(FabricKvStore.fromLeases(mem, few, text))).toBe("INVALID_ARGUMENT");
    const tiny = fabric.mem().minBytes(64).acquire();
    expect(await reasonOf(FabricKvStore.fromLeases(tiny, blank, text))).toBe("CAPACITY_EXCEEDED");
    tiny.write(0, Uint8Array.of(1));
    const used = fabric.mem().minBytes(8_192).acquire();
    used.write(0, Uint8Array.of(1));
    expect(await reasonOf(FabricKvStore.fromLeases(used, blank, text))).toBe("CONFLICT");
    const none = undefined as unknown;
    expect(await reasonOf(FabricKvStore.fromLeases(none as MemLease, disk, text))).toBe(
      "INVALID_ARGUMENT",
    );
    expect(await reasonOf(FabricKvStore.fromLeases(mem, none as BlockLease, text))).toBe(
      "INVALID_ARGUMENT",
    );
    expect(await reasonOf(FabricKvStore.fromCold(disk, none as KvOptions<string>))).toBe(
      "INVALID_ARGUMENT",
    );
    for (const ttlMs of [0, -1, Number.NaN, Infinity])
      expect(await reasonOf(store.putWithTtl("a", "1", ttlMs))).toBe("INVALID_ARGUMENT");
    expect(await reasonOf(store.tick(Number.NaN))).toBe("INVALID_ARGUMENT");
    expect(await reasonOf(store.put("\ud800", "1"))).toBe("ENCODE");
    expect(await reasonOf(store.put("k".repeat(65_536), "1"))).toBe("CAPACITY_EXCEEDED");
    await store.put("k".repeat(65), "a key that fits no slot");
    expect(await store.get("k".repeat(65))).toBe("a key that fits no slot");
    disk.release();
    const uses = [
      () => store.put("a", "1"),
      () => store.get("a"),
      () => store.keys(),
      () => store.tick(1),
    ];
    for (const use of uses) expect(await reasonOf(use())).toBe("LEASE_EXPIRED");
    const { store: closed } = await openText();
    await closed.put("a", "1");
    await closed[Symbol.asyncDispose]();
    await closed.close();
    expect(await reasonOf(closed.get("a"))).toBe("DISCONNECTED");
  });

  it("keeps structured values by a codec", async () => {
    const { mem, disk } = await openScene();
    const store = await FabricKvStore.fromLeases(mem, disk, {
      value: jsonCodec<{ n: number }>(systemText),
    });
    await store.put("a", { n: 1 });
    expect(await store.get("a")).toEqual({ n: 1 });
  });

  it("K1: behaves like a Map with deadlines under any operations, restarts and losses of memory", async () => {
    const key = fc.constantFrom("a", "b", "c", "dd", "__proto__");
    const act = fc.oneof(
      {
        weight: 5,
        arbitrary: fc.record({
          what: fc.constant("put"),
          key,
          size: fc.nat({ max: 900 }),
          ms: fc.integer({ min: 1, max: 60 }),
        }),
      },
      {
        weight: 3,
        arbitrary: fc.record({
          what: fc.constantFrom("putForever", "get", "delete", "has"),
          key,
          size: fc.nat({ max: 40 }),
          ms: fc.constant(0),
        }),
      },
      {
        weight: 3,
        arbitrary: fc.record({
          what: fc.constantFrom("tick", "advance"),
          key,
          size: fc.constant(0),
          ms: fc.nat({ max: 40 }),
        }),
      },
      fc.record({
        what: fc.constantFrom("reattach", "fromCold", "fresh"),
        key,
        size: fc.constant(0),
        ms: fc.constant(0),
      }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(act, { minLength: 5, maxLength: 70 }), async (acts) => {
        const blocks = new CrashingBlocks(44);
        let nowMs = START_MS;
        let lastChangeMs = START_MS;
        const options = { ...text, hotValueBytes: 100, clock: { nowMs: () => nowMs } };
        const mem = openManual().mem().minBytes(4_096).acquire();
        let store = await FabricKvStore.fromLeases(mem, blocks, options);
        const model = new Map<string, { value: string; ttlMs: number; deadlineMs: number }>();
        for (const [step, { what, key: name, size, ms }] of acts.entries()) {
          const value = String.fromCharCode(65 + (step % 26)).repeat(size);
          const live = (
            at: string,
          ): { value: string; ttlMs: number; deadlineMs: number } | undefined => {
            const found = model.get(at);
            return found !== undefined && found.deadlineMs > nowMs ? found : undefined;
          };
          const expected = live(name);
          const outcomes: [came: unknown, expected: unknown][] = [];
          if (!["get", "has", "tick", "advance"].includes(what)) lastChangeMs = nowMs;
          if (what === "put") {
            await store.putWithTtl(name, value, ms);
            model.set(name, { value, ttlMs: ms, deadlineMs: nowMs + ms });
          } else if (what === "putForever") {
            await store.put(name, value);
            model.set(name, { value, ttlMs: Infinity, deadlineMs: Infinity });
          } else if (what === "get") {
            outcomes.push([await store.get(name), expected?.value]);
            if (expected !== undefined) expected.deadlineMs = nowMs + expected.ttlMs;
          } else if (what === "delete") {
            outcomes.push([await store.delete(name), expected !== undefined]);
            if (expected !== undefined) model.delete(name);
          } else if (what === "has") {
            outcomes.push([await store.has(name), expected !== undefined]);
          } else if (what === "tick") {
            nowMs += ms;
            const gone = [...model].filter(([, { deadlineMs }]) => deadlineMs <= nowMs);
            const { expired } = await store.tick(nowMs);
            // What a put has met expired, it may have removed to make room: no tick tells of that.
            const certain = gone.filter(([, { deadlineMs }]) => deadlineMs > lastChangeMs);
            outcomes.push([expired >= certain.length && expired <= gone.length, true]);
            for (const [at] of gone) model.delete(at);
          } else if (what === "advance") nowMs += ms;
          else {
            // An orderly end: deadlines that get has moved are kept.
            await store.close();
            const fresh = openManual().mem().minBytes(4_096).acquire();
            store =
              what === "reattach"
                ? await FabricKvStore.fromLeases(mem, blocks, options)
                : await FabricKvStore.fromCold(
                    blocks,
                    what === "fresh" ? { ...options, mem: fresh } : options,
                  );
          }
          for (const [came, wanted] of outcomes) expect(came).toBe(wanted);
          const keys = [...model.keys()].filter((at) => live(at) !== undefined);
          expect(new Set(await store.keys())).toEqual(new Set(keys));
          const wantedTtl = live(name);
          expect(await store.ttl(name)).toBe(wantedTtl && wantedTtl.deadlineMs - nowMs);
        }
        for (const [at, { value, deadlineMs }] of model)
          expect(await store.get(at)).toBe(deadlineMs > nowMs ? value : undefined);
      }),
      { numRuns: 150 },
    );
  });
});

/** The blocks as a crash would leave them. */
async function copyOf(disk: BlockLease): Promise<CrashingBlocks> {
  const bytes = new Uint8Array(disk.numBlocks * 512);
  await disk.readInto(0, bytes);
  return new CrashingBlocks(bytes);
}
