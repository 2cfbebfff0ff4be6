/** The store's cold tier when power fails, sectors are lost and bits flip. */
import { BLOCK_BYTES, isFabricError, type MemLease } from "@selvage/fabric";
import { FabricKvStore, stringCodec } from "@selvage/collections";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { openManual, rejectionOf } from "./manual-fabric.ts";
import { afterCrash, choicesOf, CrashingBlocks, PowerLoss } from "./kv-rig.ts";

type Store = FabricKvStore<string>;
type Model = ReadonlyMap<string, string>;

// Time is what ticks say.
const options = { value: stringCodec, clock: { nowMs: () => 0 } };
const BLOCKS = 34; // halves of 16 blocks: a compaction every dozen operations

/** An operation on a store, and on its model. */
interface Step {
  readonly name: string;
  run(store: Store): Promise<unknown>;
  after(model: Model): Model;
  /** A model in between, where the operation may be done by halves. */
  between?(model: Model): Model;
}

const put = (key: string, length: number, mark: string): Step => {
  const value = mark.repeat(length);
  return {
    name: `put ${key}`,
    run: (store) => store.put(key, value),
    after: (model) => new Map([...model].filter(([name]) => name !== key)).set(key, value),
  };
};

const remove = (key: string): Step => ({
  name: `delete ${key}`,
  run: (store) => store.delete(key),
  after: (model) => new Map([...model].filter(([name]) => name !== key)),
});

/** A value that is gone a millisecond later: every tick of the script moves time on by one at least. */
const lend: Step = {
  name: "put t for a millisecond",
  run: (store) => store.putWithTtl("t", "t".repeat(50), 1),
  after: (model) => put("t", 50, "t").after(model),
};

const tick = (nowMs: number): Step => ({
  name: `tick ${nowMs}`,
  run: (store) => store.tick(nowMs),
  after: (model) => remove("t").after(model),
});

/** Two values that are set at a time: they go into one batch, unless it does not fit before a compaction. */
const putBoth = (mark: string): Step => ({
  name: `put both ${mark}`,
  run: (store) => Promise.all([store.put("a", mark.repeat(300)), store.put("b", mark.repeat(700))]),
  after: (model) => put("b", 700, mark).after(put("a", 300, mark).after(model)),
  between: (model) => put("a", 300, mark).after(model),
});

/** Short and long values, deletes and ticks, over several compactions. */
function script(baseMs = 0): Step[] {
  const steps: Step[] = [put("a", 3, "x"), put("__proto__", 1_200, "p"), tick(baseMs + 1)];
  for (let round = 0; round < 7; round++) {
    const mark = String.fromCharCode(97 + round);
    steps.push(
      put("a", 10 + round, mark),
      put("c", 900, mark),
      remove("a"),
      putBoth(mark),
      lend,
      tick(baseMs + 10 + round),
    );
  }
  return steps;
}

function memory(): MemLease {
  return openManual().mem().minBytes(4_096).acquire();
}

function isPowerLoss(thrown: unknown): boolean {
  const cause = isFabricError(thrown) ? thrown.cause : thrown;
  return cause instanceof PowerLoss;
}

async function contentOf(store: Store): Promise<Map<string, string | undefined>> {
  const content = new Map<string, string | undefined>();
  for (const key of await store.keys()) content.set(key, await store.get(key));
  return content;
}

/** Runs the script until power fails; the models before and after the operation that it failed in. */
async function runUntil(blocks: CrashingBlocks, steps: readonly Step[]): Promise<Model[]> {
  let model: Model = new Map();
  try {
    const store = await FabricKvStore.fromLeases(memory(), blocks, options);
    for (const step of steps) {
      const next = step.after(model);
      try {
        await step.run(store);
      } catch (thrown) {
        if (isPowerLoss(thrown)) return [model, next, step.between?.(model) ?? next];
        throw thrown;
      }
      model = next;
    }
  } catch (thrown) {
    if (!isPowerLoss(thrown)) throw thrown;
  }
  return [model];
}

/** What a store opened on these blocks holds; undefined if there is none. */
async function recovered(blocks: CrashingBlocks): Promise<Model | undefined> {
  try {
    return (await contentOf(await FabricKvStore.fromCold(blocks, options))) as Model;
  } catch (thrown) {
    if (isFabricError(thrown) && thrown.code === "NOT_FOUND") return undefined;
    throw thrown;
  }
}

const plain = (model: Model | undefined): object | undefined => model && Object.fromEntries(model);

/** The number of writes and flushes of the whole script. */
async function operationsOf(steps: readonly Step[]): Promise<number> {
  const blocks = new CrashingBlocks(BLOCKS);
  await runUntil(blocks, steps);
  return blocks.operations;
}

/** The blocks after power failed in the flush of a value of three blocks, of which `choice` arrived. */
async function torn(from: Uint8Array | number, mark: string, choice: number): Promise<Uint8Array> {
  const blocks = new CrashingBlocks(from);
  const store = await FabricKvStore.fromLeases(memory(), blocks, options);
  blocks.failAt = blocks.operations + 1;
  expect(isPowerLoss(await rejectionOf(store.put("a", mark.repeat(1_200))))).toBe(true);
  const wreck = blocks.wreck();
  expect(wreck.inFlight.length).toBe(3);
  return afterCrash(wreck, choice);
}

describe("J1, J2: power that fails", { timeout: 120_000 }, () => {
  it("in any write or flush, with any sectors lost, leaves what was acknowledged, or that and the last operation", async () => {
    const steps = script();
    const operations = await operationsOf(steps);
    expect(operations).toBeGreaterThan(100);
    let seenOld = 0;
    let seenNew = 0;
    for (let failAt = 0; failAt < operations; failAt++) {
      const blocks = new CrashingBlocks(BLOCKS);
      blocks.failAt = failAt;
      const models = await runUntil(blocks, steps);
      const wreck = blocks.wreck();
      for (const choice of choicesOf(wreck, 33)) {
        const found = await recovered(new CrashingBlocks(afterCrash(wreck, choice)));
        const expected = models.map(plain);
        // Before the first operation there may be no store yet.
        if (failAt < 8) expected.push(undefined);
        expect(expected).toContainEqual(plain(found));
        if (models.length === 1) continue;
        const isNew = JSON.stringify(plain(found)) === JSON.stringify(expected[1]);
        if (isNew) seenNew++;
        else seenOld++;
      }
    }
    expect(Math.min(seenOld, seenNew)).toBeGreaterThan(50);
  });

  it("while a store is being opened changes nothing, however often", async () => {
    const steps = script();
    const operations = await operationsOf(steps);
    for (let failAt = 5; failAt < operations; failAt += 7) {
      const blocks = new CrashingBlocks(BLOCKS);
      blocks.failAt = failAt;
      await runUntil(blocks, steps);
      const wreck = blocks.wreck();
      for (const choice of choicesOf(wreck, 5)) {
        let bytes = afterCrash(wreck, choice);
        const expected = plain(await recovered(new CrashingBlocks(bytes)));
        for (let failures = 0; failures < 3; failures++) {
          const opening = new CrashingBlocks(bytes);
          opening.failAt = failures;
          await FabricKvStore.fromCold(opening, options).catch(() => undefined);
          const left = opening.wreck();
          bytes = afterCrash(left, failures);
          expect(plain(await recovered(new CrashingBlocks(bytes)))).toEqual(expected);
        }
      }
    }
  });

  it("twice in the same place does not make one value of two halves", async () => {
    for (let first = 0; first < 7; first++) {
      for (let second = 0; second < 7; second++) {
        const bytes = await torn(await torn(BLOCKS, "x", first), "y", second);
        expect(plain(await recovered(new CrashingBlocks(bytes)))).toEqual({});
      }
    }
  });

  it("again and again, with work in between, loses nothing and mixes nothing", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.record({ failAt: fc.nat({ max: 60 }), choice: fc.nat(), from: fc.nat({ max: 30 }) }),
          {
            minLength: 2,
            maxLength: 5,
          },
        ),
        async (lives) => {
          let bytes = new Uint8Array(BLOCKS * BLOCK_BYTES);
          let before: Model = new Map();
          for (const [life, { failAt, choice, from }] of lives.entries()) {
            const blocks = new CrashingBlocks(bytes);
            blocks.failAt = failAt;
            const models = await continued(blocks, before, script(life * 1_000).slice(from));
            const wreck = blocks.wreck();
            bytes = afterCrash(wreck, choice % 2 ** Math.min(30, wreck.inFlight.length));
            before = (await recovered(new CrashingBlocks(bytes))) ?? new Map();
            expect(models.map(plain)).toContainEqual(plain(before));
          }
        },
      ),
      { numRuns: 60 },
    );
  });
});

/** As {@link runUntil}, on a store that may hold something already. */
async function continued(
  blocks: CrashingBlocks,
  model: Model,
  steps: readonly Step[],
): Promise<Model[]> {
  const models = await runUntil(blocks, [
    { name: "as found", run: async () => {}, after: () => model },
    ...steps,
  ]);
  return models.some((one) => one === model || one.size > 0) ? models : [model, ...models];
}

/** A store that was synced: what it holds, and its blocks. */
async function synced(): Promise<{ bytes: Uint8Array; model: Model }> {
  const blocks = new CrashingBlocks(BLOCKS);
  const [model = new Map()] = await runUntil(blocks, script());
  return { bytes: blocks.wreck().durable, model };
}

/** The right answer, or CORRUPT_RECORD: by opening, or by the value that is damaged. */
async function checkToldOrRight(bytes: Uint8Array, model: Model): Promise<"told" | "right"> {
  const prototype = Object.getOwnPropertyNames(Object.prototype);
  const found = await recovered(new CrashingBlocks(bytes)).then(
    (content) => ({ outcome: "right", content: plain(content) }) as const,
    (thrown: unknown) => ({ outcome: "told", code: (thrown as { code?: unknown }).code }) as const,
  );
  expect(Object.getOwnPropertyNames(Object.prototype)).toEqual(prototype);
  expect([
    { outcome: "right", content: plain(model) },
    { outcome: "told", code: "CORRUPT_RECORD" },
  ]).toContainEqual(found);
  return found.outcome;
}

describe("J3: damage", { timeout: 120_000 }, () => {
  it("of any bit is told, or changes nothing", async () => {
    const { bytes, model } = await synced();
    const outcomes = new Set<string>();
    await fc.assert(
      fc.asyncProperty(fc.nat({ max: bytes.length * 8 - 1 }), async (bit) => {
        const damaged = bytes.slice();
        damaged[bit >> 3] = (damaged[bit >> 3] as number) ^ (1 << (bit & 7));
        outcomes.add(await checkToldOrRight(damaged, model));
      }),
      { numRuns: 600 },
    );
    expect(outcomes).toEqual(new Set(["told", "right"]));
  });

  it.each([
    [
      "zeroed",
      (bytes: Uint8Array, block: number) =>
        bytes.fill(0, block * BLOCK_BYTES, (block + 1) * BLOCK_BYTES),
    ],
    [
      "all ones",
      (bytes: Uint8Array, block: number) =>
        bytes.fill(255, block * BLOCK_BYTES, (block + 1) * BLOCK_BYTES),
    ],
  ])("of a block that is %s is told, or changes nothing", async (_how, damage) => {
    const { bytes, model } = await synced();
    for (let block = 0; block < BLOCKS; block++) {
      const damaged = bytes.slice();
      damage(damaged, block);
      await checkToldOrRight(damaged, model);
    }
  });

  it("of two blocks swapped, or one written over another, is told, or changes nothing", async () => {
    const { bytes, model } = await synced();
    let told = 0;
    for (let one = 0; one < BLOCKS; one++) {
      for (let other = 0; other < BLOCKS; other++) {
        if (one === other) continue;
        const from = bytes.slice(other * BLOCK_BYTES, (other + 1) * BLOCK_BYTES);
        const misdirected = bytes.slice();
        misdirected.set(from, one * BLOCK_BYTES);
        if ((await checkToldOrRight(misdirected, model)) === "told") told++;
        const swapped = misdirected.slice();
        swapped.set(
          bytes.subarray(one * BLOCK_BYTES, (one + 1) * BLOCK_BYTES),
          other * BLOCK_BYTES,
        );
        await checkToldOrRight(swapped, model);
      }
    }
    expect(told).toBeGreaterThan(100);
  });

  it("of random bytes anywhere ends in a typed error or the right answer", async () => {
    const { bytes, model } = await synced();
    await fc.assert(
      fc.asyncProperty(
        fc.nat({ max: bytes.length - 64 }),
        fc.uint8Array({ minLength: 1, maxLength: 64 }),
        async (at, noise) => {
          const damaged = bytes.slice();
          damaged.set(noise, at);
          await checkToldOrRight(damaged, model);
        },
      ),
      { numRuns: 300 },
    );
  });

  it("of a batch that the head does not know of is told by the batches after it", async () => {
    const blocks = new CrashingBlocks(BLOCKS);
    const store = await FabricKvStore.fromLeases(memory(), blocks, options);
    for (const key of ["a", "b", "c", "d", "e"]) await store.put(key, key);
    const bytes = blocks.wreck().durable;
    for (let batch = 0; batch < 4; batch++) {
      const damaged = bytes.slice();
      damaged.fill(0, (2 + batch) * BLOCK_BYTES, (3 + batch) * BLOCK_BYTES);
      expect(await checkToldOrRight(damaged, new Map())).toBe("told");
    }
  });

  it("of the whole head is told, and no new store is begun over the old one", async () => {
    const { bytes } = await synced();
    bytes.fill(0, 0, 2 * BLOCK_BYTES);
    const begun = FabricKvStore.fromLeases(memory(), new CrashingBlocks(bytes), options);
    expect((await rejectionOf(begun)).code).toBe("CORRUPT_RECORD");
    expect(await checkToldOrRight(bytes, new Map())).toBe("told");
  });

  it("by a head that is an old one is told by blocks that are newer", async () => {
    const steps = script();
    const young = new CrashingBlocks(BLOCKS);
    await runUntil(young, steps.slice(0, 2));
    const head = young.wreck().durable.slice(0, 2 * BLOCK_BYTES);
    const { bytes } = await synced();
    bytes.set(head, 0);
    expect(await checkToldOrRight(bytes, new Map())).toBe("told");
  });

  it("of the newer copy of the head falls back on the older, says so, and loses nothing", async () => {
    // At any moment of the script, one copy of the head is destroyed.
    const steps = script();
    for (let length = 0; length <= steps.length; length++) {
      for (const slot of [0, 1]) {
        const blocks = new CrashingBlocks(BLOCKS);
        const [model = new Map()] = await runUntil(blocks, steps.slice(0, length));
        const bytes = blocks.wreck().durable;
        bytes.fill(0x5a, slot * BLOCK_BYTES + 40, slot * BLOCK_BYTES + 60);
        const store = await FabricKvStore.fromCold(new CrashingBlocks(bytes), options);
        expect(plain((await contentOf(store)) as Model)).toEqual(plain(model));
        expect(store.stats().recovered).toBe(true);
      }
    }
  });

  it("of a value is told when it is read, and costs no other value", async () => {
    const blocks = new CrashingBlocks(BLOCKS);
    const store = await FabricKvStore.fromLeases(memory(), blocks, {
      ...options,
      hotValueBytes: 1,
    });
    await store.put("a", "first");
    await store.put("b", "second");
    const { durable } = blocks.wreck();
    const at = new TextDecoder("latin1").decode(durable).indexOf("first");
    const block = Math.floor(at / BLOCK_BYTES);
    const sector = durable.slice(block * BLOCK_BYTES, (block + 1) * BLOCK_BYTES);
    sector[at % BLOCK_BYTES] = 0;
    await blocks.write(block, sector);
    expect((await rejectionOf(store.get("a"))).code).toBe("CORRUPT_RECORD");
    expect(await store.get("b")).toBe("second");
  });
});

describe("J6: a device that fails once", { timeout: 120_000 }, () => {
  it("in any operation acknowledges nothing half done, refuses what follows, and is well again when opened anew", async () => {
    const steps = script();
    const operations = await operationsOf(steps);
    for (let skipped = 0; skipped < operations - 10; skipped++) {
      const blocks = new CrashingBlocks(BLOCKS);
      const store = await FabricKvStore.fromLeases(memory(), blocks, options);
      blocks.failAt = blocks.operations + skipped;
      blocks.fault = new Error("no space left on device");
      let before: Model = new Map();
      let after: Model = before;
      let between: Model = before;
      let failure: unknown;
      for (const step of steps) {
        after = step.after(before);
        between = step.between?.(before) ?? after;
        failure = await step.run(store).then(
          () => undefined,
          (thrown: unknown) => thrown,
        );
        if (failure !== undefined) break;
        before = after;
      }
      expect(failure).toMatchObject({ code: "STORE_UNAVAILABLE", cause: blocks.fault });
      expect((await rejectionOf(store.put("later", "1"))).code).toBe("STORE_UNAVAILABLE");
      blocks.failAt = Infinity;
      const again = await FabricKvStore.fromCold(blocks, options);
      const found = plain((await contentOf(again)) as Model);
      expect([before, between, after].map(plain)).toContainEqual(found);
      await again.put("later", "1");
      expect(await again.get("later")).toBe("1");
    }
  });
});
