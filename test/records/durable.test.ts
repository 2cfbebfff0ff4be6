import { BLOCK_BYTES, jsonCodec, rawCodec, recordCodec, TwoSlotRecord } from "@selvage/fabric";
import { Durable } from "@selvage/collections";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { CrashDisk, crashStates } from "../../packages/fabric/test/crash-disk.ts";
import { openManual, rejectionOf } from "../../packages/fabric/test/rig.ts";

interface Counts {
  seen: number;
  names?: string[];
}

const codeOf = async (promise: Promise<unknown>): Promise<string> =>
  (await rejectionOf(promise)).code;
const fresh = (blocks = CrashDisk.blank(4)): Durable<Counts, CrashDisk> =>
  new Durable<Counts, CrashDisk>({ seen: 0 }, blocks);
const add = (value: Counts): void => {
  value.seen++;
};

describe("Durable", () => {
  it("is there again after its blocks were given back: the checkpoint, not what came after", async () => {
    using fabric = openManual();
    const first = new Durable<Counts>({ seen: 0 }, await fabric.block().minBlocks(4).acquire());
    await first.mutate(add);
    await first.mutate((value) => void (value.names = ["a", "b"]));
    expect(first.pending).toBe(2);
    expect(await first.checkpoint()).toBe(1);
    expect(first.pending).toBe(0);
    await first.mutate(add);
    const again = await Durable.restore<Counts>(await first.intoBlockLease());
    expect(again.value).toEqual({ seen: 1, names: ["a", "b"] });
    expect([again.generation, again.recovered, again.pending]).toEqual([1, undefined, 0]);
    expect(await again.checkpoint()).toBe(2);
  });

  it("writes nothing until it is asked to", async () => {
    const blocks = CrashDisk.blank(4);
    const durable = new Durable<Counts, CrashDisk>({ seen: 0 }, blocks);
    await durable.mutate(add);
    expect(blocks.bytes.every((byte) => byte === 0)).toBe(true);
    expect(await codeOf(Durable.restore(blocks))).toBe("NOT_FOUND");
    const made = await Durable.restore<Counts, CrashDisk>(blocks, jsonCodec<Counts>(), () => ({
      seen: 40,
    }));
    expect([made.value.seen, made.generation]).toEqual([40, 0]);
    expect(await made.checkpoint()).toBe(1);
  });

  it("changes a value in place, or for what the change returns", async () => {
    const list = new Durable<number[], CrashDisk>([], CrashDisk.blank(4));
    // What `push` returns is no list, so it does not replace one.
    await list.mutate((value) => value.push(7) as never);
    expect(list.value).toEqual([7]);
    await list.mutate((value) => [...value, 8]);
    expect(list.value).toEqual([7, 8]);
    const count = new Durable<number, CrashDisk>(1, CrashDisk.blank(4));
    await count.mutate((value) => value + 1);
    expect([count.value, count.pending]).toEqual([2, 1]);
  });

  it("applies a mutation before the call returns, refuses an asynchronous one, and does not count one that throws", async () => {
    const durable = fresh();
    const done = durable.mutate(add);
    expect(durable.value.seen).toBe(1);
    await done;
    await expect(
      durable.mutate(() => {
        throw new Error("no");
      }),
    ).rejects.toThrow("no");
    const slow = (async () => {}) as unknown as (value: Counts) => void;
    expect(await codeOf(durable.mutate(slow))).toBe("INVALID_ARGUMENT");
    expect(await codeOf(durable.mutate(7 as never))).toBe("INVALID_ARGUMENT");
    expect(durable.pending).toBe(1);
  });

  it("starts a checkpoint at every n-th mutation, which that mutation waits for", async () => {
    const durable = fresh();
    durable.setAutoCheckpoint(3);
    const generations: number[] = [];
    for (let mutation = 0; mutation < 7; mutation++) {
      await durable.mutate(add);
      generations.push(durable.generation);
    }
    expect(generations).toEqual([0, 0, 1, 1, 1, 2, 2]);
    durable.setAutoCheckpoint(undefined);
    for (let mutation = 0; mutation < 7; mutation++) await durable.mutate(add);
    expect([durable.generation, durable.pending]).toEqual([2, 8]);
    for (const bad of [-1, 1.5, Number.NaN, "3"])
      expect(() => durable.setAutoCheckpoint(bad as number)).toThrow(
        expect.objectContaining({ code: "INVALID_ARGUMENT" }),
      );
  });

  it("D2: shares one checkpoint among calls, and takes a mutation made during one into the next", async () => {
    const durable = fresh();
    await durable.mutate(add);
    const first = durable.checkpoint();
    const together = durable.checkpoint();
    // One that has begun has encoded already.
    await Promise.resolve();
    await Promise.resolve();
    await durable.mutate(add);
    const second = durable.checkpoint();
    await durable.mutate(add);
    const third = durable.checkpoint();
    expect(await Promise.all([first, together, second, third])).toEqual([1, 1, 2, 2]);
    expect(durable.pending).toBe(0);
    const blocks = await durable.intoBlockLease();
    expect((await Durable.restore<Counts, CrashDisk>(blocks)).value.seen).toBe(3);
  });

  it("ends with its blocks, which come back once what was under way has ended", async () => {
    const durable = fresh();
    const underWay = durable.checkpoint();
    const blocks = await durable.intoBlockLease();
    expect(await underWay).toBe(1);
    expect(await codeOf(durable.checkpoint())).toBe("DISCONNECTED");
    expect(await codeOf(durable.mutate(add))).toBe("DISCONNECTED");
    expect(await codeOf(durable.intoBlockLease())).toBe("DISCONNECTED");
    expect((await Durable.restore<Counts, CrashDisk>(blocks)).generation).toBe(1);
  });

  it("P2: an instance that was replaced overwrites nothing, and stays over", async () => {
    const blocks = CrashDisk.blank(4);
    const paused = fresh(blocks);
    await paused.checkpoint();
    const successor = await Durable.restore<Counts, CrashDisk>(blocks);
    await successor.mutate((value) => void (value.seen = 100));
    await successor.checkpoint();
    await paused.mutate(add);
    const error = await rejectionOf(paused.checkpoint());
    expect([error.code, error.details]).toEqual(["STALE_EPOCH", { generation: 1, found: 2 }]);
    expect(await codeOf(paused.checkpoint())).toBe("STALE_EPOCH");
    expect([paused.isStale, paused.pending, successor.isStale]).toEqual([true, 1, false]);
    expect((await Durable.restore<Counts, CrashDisk>(blocks)).value.seen).toBe(100);
    expect(await successor.checkpoint()).toBe(3);
  });

  it("P2: of checkpoints asked for at once by two instances one is acknowledged", async () => {
    const blocks = CrashDisk.blank(4);
    await new Durable({ seen: 0 }, blocks).checkpoint();
    const rivals = await Promise.all(
      [1, 2, 3].map(async () => Durable.restore<Counts, CrashDisk>(blocks)),
    );
    const outcomes = await Promise.allSettled(rivals.map(async (rival) => rival.checkpoint()));
    expect(outcomes.filter(({ status }) => status === "fulfilled").length).toBe(1);
  });

  it("P2: a new value does not overwrite the checkpoints of another", async () => {
    const blocks = CrashDisk.blank(4);
    await new Durable({ seen: 1 }, blocks).checkpoint();
    expect(await codeOf(new Durable({ seen: 2 }, blocks).checkpoint())).toBe("STALE_EPOCH");
    expect((await Durable.restore<Counts, CrashDisk>(blocks)).value.seen).toBe(1);
  });

  it("refuses what is too large with its size, and what has no bytes; the old checkpoint stands", async () => {
    const durable = new Durable(new Uint8Array(10), CrashDisk.blank(2), rawCodec);
    await durable.checkpoint();
    await durable.mutate(() => new Uint8Array(durable.bytesMax + 1));
    const error = await rejectionOf(durable.checkpoint());
    expect([error.code, error.details]).toEqual([
      "CAPACITY_EXCEEDED",
      { bytes: durable.bytesMax + 1, bytesMax: BLOCK_BYTES - 28 - 4 },
    ]);
    expect(durable.pending).toBe(1);
    await durable.mutate(() => new Uint8Array(durable.bytesMax));
    expect(await durable.checkpoint()).toBe(2);
    await durable.mutate(() => [7] as never);
    expect(await codeOf(durable.checkpoint())).toBe("ENCODE");
    expect(durable.pending).toBe(1);
  });

  it("looks again after a checkpoint that failed, and counts its mutations again", async () => {
    const blocks = CrashDisk.blank(4);
    const durable = fresh(blocks);
    await durable.checkpoint();
    durable.setAutoCheckpoint(2);
    await durable.mutate(add);
    blocks.failFlushes = 1;
    await expect(durable.mutate(add)).rejects.toThrow("fsync failed");
    expect([durable.pending, durable.value.seen]).toEqual([2, 2]);
    // Due still: the next mutation tries again.
    await durable.mutate(add);
    expect([durable.pending, durable.generation]).toEqual([0, 3]);
    expect((await Durable.restore<Counts, CrashDisk>(blocks)).value.seen).toBe(3);
  });

  it("P3: tells that it fell back, and gives the checkpoint before", async () => {
    const blocks = CrashDisk.blank(4);
    const durable = fresh(blocks);
    for (let round = 0; round < 3; round++) {
      await durable.mutate(add);
      await durable.checkpoint();
    }
    blocks.bytes[36] = 0xff; // generation 3 is in slot 0
    const again = await Durable.restore<Counts, CrashDisk>(blocks);
    expect([again.value.seen, again.generation, again.recovered]).toEqual([2, 2, { slot: 0 }]);
    expect(await again.checkpoint()).toBe(4);
    // The one that had written 3 finds a newer one.
    expect(await codeOf(durable.checkpoint())).toBe("STALE_EPOCH");
    blocks.bytes.fill(9);
    expect(await codeOf(Durable.restore(blocks))).toBe("CORRUPT_RECORD");
  });

  it("tells a checkpoint of another codec, and a record that is none", async () => {
    const blocks = CrashDisk.blank(4);
    await new Durable({ seen: 1 }, blocks).checkpoint();
    expect(await codeOf(Durable.restore(blocks, recordCodec({ seen: "int32" })))).toBe("DECODE");
    const other = CrashDisk.blank(4);
    await new TwoSlotRecord(other).write(Uint8Array.of(1, 2, 3, 4, 5));
    expect(await codeOf(Durable.restore(other))).toBe("DECODE");
  });

  it("is refused once its lease has ended, and nothing is taken for written", async () => {
    using fabric = openManual();
    const blocks = await fabric.block().minBlocks(4).leaseMs(1_000).acquire();
    const durable = new Durable<Counts>({ seen: 0 }, blocks);
    await durable.checkpoint();
    fabric.tick(blocks.expiresAtMs);
    await durable.mutate(add);
    expect(await codeOf(durable.checkpoint())).toBe("LEASE_EXPIRED");
    expect(durable.pending).toBe(1);
  });
});

/** Three sectors a checkpoint, no two alike, so that a mixture shows. */
const valueOf = (round: number): Uint8Array =>
  Uint8Array.from({ length: 1_400 }, (_, index) => (index * 7 + round * 31) & 0xff);
const roundOf = (value: Uint8Array): number => {
  for (let round = 0; round < 40; round++)
    if (Buffer.compare(value, valueOf(round)) === 0) return round;
  throw new Error("a mixture of checkpoints");
};
const read = async (
  image: Uint8Array<ArrayBuffer>,
): Promise<[round: number, generation: number]> => {
  const { value, generation } = await Durable.restore(new CrashDisk(image), rawCodec, () =>
    valueOf(0),
  );
  return [roundOf(value), generation];
};
const checkpointing =
  (...rounds: readonly number[]) =>
  async (
    disk: CrashDisk,
    acknowledge: (what: { readonly round: number; readonly generation: number }) => void,
  ): Promise<void> => {
    const durable = await Durable.restore<Uint8Array, CrashDisk>(disk, rawCodec, () => valueOf(0));
    for (const round of rounds) {
      await durable.mutate(() => valueOf(round));
      acknowledge({ round, generation: await durable.checkpoint() });
    }
  };

describe("Durable that loses power", () => {
  it("D1: is its old self or its new one after every crash, and after a crash in what follows", async () => {
    let states = 0;
    const explore = async (
      image: Uint8Array<ArrayBuffer>,
      generations: readonly number[],
      sessions: readonly (readonly number[])[],
    ): Promise<void> => {
      const [rounds, ...more] = sessions;
      if (rounds === undefined) return;
      const [before] = await read(image);
      for await (const state of crashStates(image, checkpointing(...rounds))) {
        states++;
        const { acknowledged } = state;
        const all = [...generations, ...acknowledged.map(({ generation }) => generation)];
        const [found, generation] = await read(state.image);
        expect([acknowledged.at(-1)?.round ?? before, rounds[acknowledged.length]]).toContain(
          found,
        );
        expect(generation).toBeGreaterThanOrEqual(Math.max(0, ...all));
        expect(new Set(all).size).toBe(all.length);
        await explore(state.image, all, more);
      }
    };
    await explore(new Uint8Array(6 * BLOCK_BYTES), [], [[1, 2, 3], [11]]);
    expect(states).toBeGreaterThan(2_000);
  });

  it("J3: reports any flipped bit of its checkpoints, or it changes nothing", async () => {
    const disk = CrashDisk.blank(6);
    await checkpointing(1, 2)(disk, () => {});
    await fc.assert(
      fc.asyncProperty(fc.nat({ max: disk.bytes.length * 8 - 1 }), async (bit) => {
        const image = disk.bytes.slice();
        image[bit >> 3] = (image[bit >> 3] as number) ^ (1 << (bit & 7));
        const { value, recovered } = await Durable.restore(new CrashDisk(image), rawCodec);
        expect(recovered === undefined ? [2] : [1, 2]).toContain(roundOf(value));
      }),
      { numRuns: 1_000 },
    );
  });
});
