/** The store's cold tier when processes are killed, and power fails while a later one works. */
import { isFabricError } from "@selvage/fabric";
import { FabricKvStore, stringCodec } from "@selvage/collections";
import { describe, expect, it } from "vitest";
import { openManual } from "./manual-fabric.ts";
import { afterCrash, choicesOf, CrashingBlocks, PowerLoss } from "./kv-rig.ts";

type Model = Readonly<Record<string, string>>;

const options = { value: stringCodec, clock: { nowMs: () => 0 } };
const BLOCKS = 34; // halves of 16 blocks: a compaction every few values

/** Values of one block and of three, in turn. */
const values = (mark: string, count: number): [string, string][] =>
  Array.from({ length: count }, (_, at) => [
    at % 2 === 0 ? "a" : "b",
    `${mark}${at}`.repeat(at % 2 === 0 ? 3 : 500),
  ]);

async function contentOf(blocks: CrashingBlocks): Promise<Model> {
  try {
    const store = await FabricKvStore.fromCold(blocks, options);
    const content: Record<string, string> = {};
    for (const key of await store.keys()) content[key] = (await store.get(key)) ?? "";
    return content;
  } catch (thrown) {
    // Before its first operation there may be no store yet.
    if (isFabricError(thrown) && thrown.code === "NOT_FOUND") return {};
    throw thrown;
  }
}

/** One process: puts what it is told to until it is cut. What it leaves must be one of the models. */
async function live(
  blocks: CrashingBlocks,
  before: readonly Model[],
  puts: readonly (readonly [string, string])[],
): Promise<{ readonly models: readonly Model[]; readonly isCut: boolean }> {
  let models = before;
  try {
    const memory = openManual().mem().minBytes(4_096).acquire();
    const store = await FabricKvStore.fromLeases(memory, blocks, options);
    let model: Model = {};
    for (const key of await store.keys()) model = { ...model, [key]: (await store.get(key)) ?? "" };
    // What it told its user counts.
    models = [model];
    for (const [key, value] of puts) {
      const next = { ...model, [key]: value };
      models = [model, next];
      await store.put(key, value);
      model = next;
      models = [model];
    }
    return { models, isCut: false };
  } catch (thrown) {
    const cause = isFabricError(thrown) ? thrown.cause : thrown;
    if (!(cause instanceof PowerLoss)) throw thrown;
    return { models, isCut: true };
  }
}

describe("J4: a process that is killed, and power that fails while the next one works", () => {
  it("loses nothing that either acknowledged, with any part of what neither flushed kept", async () => {
    let looked = 0;
    for (let killed = 0, isKilled = true; isKilled; killed++) {
      const first = new CrashingBlocks(BLOCKS);
      first.failAt = killed;
      const one = await live(first, [{}], values("x", 9));
      isKilled = one.isCut;
      for (let at = 0, isCut = true; isCut; at++) {
        const second = first.successor();
        second.failAt = at;
        const two = await live(second, one.models, values("y", 3));
        isCut = two.isCut;
        const wreck = second.wreck();
        for (const choice of choicesOf(wreck, 16)) {
          looked++;
          const found = await contentOf(new CrashingBlocks(afterCrash(wreck, choice)));
          expect(two.models).toContainEqual(found);
        }
      }
    }
    expect(looked).toBeGreaterThan(1_000);
  }, 120_000);

  it("flushes before it reads anything, and does not open where that fails", async () => {
    const first = new CrashingBlocks(BLOCKS);
    await live(first, [{}], values("x", 2));
    const second = first.successor();
    second.failAt = 0;
    second.fault = new Error("flush failed");
    await expect(FabricKvStore.fromCold(second, options)).rejects.toBe(second.fault);
    expect(second.reads).toBe(0);
  });
});
