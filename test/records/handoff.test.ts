import {
  BLOCK_BYTES,
  ramBlockDevice,
  TwoSlotRecord,
  type AbortSignalLike,
  type RecordBlocks,
} from "@selvage/fabric";
import {
  HandoffReader,
  HandoffWriter,
  STAGE_ID_BYTES_MAX,
  type HandoffState,
  type MemRegionLocator,
} from "@selvage/fence";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { CrashDisk, crashStates } from "../../packages/fabric/test/crash-disk.ts";
import { openOn, rejectionOf, settled, VirtualHost } from "../../packages/fabric/test/rig.ts";

const at = (offset: number): MemRegionLocator => ({
  kind: "mem",
  leaseId: "0123456789abcdef0123456789abcdef",
  slot: 7,
  generation: 3,
  offset,
  bytes: 64,
});
const offsetOf = (state: HandoffState | undefined): number | undefined =>
  state === undefined ? undefined : (state.locator as MemRegionLocator).offset;
const published = async (...offsets: number[]): Promise<CrashDisk> => {
  const disk = CrashDisk.blank(2);
  const writer = new HandoffWriter(disk, "parse");
  for (const offset of offsets) await writer.publish(at(offset));
  return disk;
};
const codeOf = async (promise: Promise<unknown>): Promise<string> =>
  (await rejectionOf(promise)).code;

describe("HandoffWriter", () => {
  it("publishes generation after generation, each to be read by whoever comes", async () => {
    const disk = CrashDisk.blank(2);
    const writer = new HandoffWriter(disk, "parse");
    expect(writer.generation).toBe(0);
    for (const generation of [1, 2, 3]) {
      const state = { stageId: "parse", generation, locator: at(generation * 64) };
      expect(await writer.publish(at(generation * 64))).toEqual(state);
      expect(await new HandoffReader(disk).poll()).toEqual(state);
      expect(writer.generation).toBe(generation);
    }
  });

  it("carries out calls made at once one after the other, each under its own generation", async () => {
    const disk = CrashDisk.blank(2);
    const writer = new HandoffWriter(disk, "parse");
    const states = await Promise.all([1, 2, 3, 4].map((offset) => writer.publish(at(offset))));
    expect(states.map((state) => [state.generation, offsetOf(state)])).toEqual([
      [1, 1],
      [2, 2],
      [3, 3],
      [4, 4],
    ]);
    expect(offsetOf(await new HandoffReader(disk).poll())).toBe(4);
  });

  it("goes on where another ended: the blocks come back, the record stays", async () => {
    const first = new HandoffWriter(CrashDisk.blank(2), "parse");
    const underWay = first.publish(at(1));
    const blocks = await first.intoBlockLease();
    expect((await underWay).generation).toBe(1);
    expect(await codeOf(first.publish(at(2)))).toBe("DISCONNECTED");
    expect(await codeOf(first.intoBlockLease())).toBe("DISCONNECTED");
    expect((await new HandoffWriter(blocks, "parse").publish(at(2))).generation).toBe(2);
  });

  it("P2: of two writers the one that publishes goes on, the other is over", async () => {
    const disk = await published(1);
    const [paused, successor] = [
      await HandoffWriter.open(disk, "parse"),
      await HandoffWriter.open(disk, "parse"),
    ];
    expect((await successor.publish(at(2))).generation).toBe(2);
    const error = await rejectionOf(paused.publish(at(9)));
    expect([error.code, error.details]).toEqual(["STALE_EPOCH", { generation: 1, found: 2 }]);
    expect(await codeOf(paused.publish(at(9)))).toBe("STALE_EPOCH");
    expect(offsetOf(await new HandoffReader(disk).poll())).toBe(2);
    expect((await successor.publish(at(3))).generation).toBe(3);
    // It stays over, also when what replaced it cannot be read any more.
    const other = await published(1);
    const late = await HandoffWriter.open(other, "parse");
    await new HandoffWriter(other, "parse").publish(at(2));
    expect(await codeOf(late.publish(at(9)))).toBe("STALE_EPOCH");
    const newest = other.bytes[8] === 2 ? 0 : BLOCK_BYTES;
    other.bytes[newest + 40] = 99;
    expect(await codeOf(late.publish(at(9)))).toBe("STALE_EPOCH");
    expect(await paused.intoBlockLease()).toBe(disk);
  });

  it("P2: of writers that publish at the same moment exactly one is acknowledged", async () => {
    const disk = await published(1);
    const writers = await Promise.all([1, 2, 3].map(async () => HandoffWriter.open(disk, "parse")));
    const outcomes = await Promise.allSettled(
      writers.map(async (writer, index) => writer.publish(at(10 + index))),
    );
    expect(outcomes.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "rejected"]);
    expect(offsetOf(await new HandoffReader(disk).poll())).toBe(10);
  });

  it("P2: handles that differ but say one lease id are one record", async () => {
    const disk = CrashDisk.blank(2);
    const home = {};
    const handle = (): RecordBlocks & { leaseId: string; home: object } => ({
      leaseId: "one",
      home,
      numBlocks: disk.numBlocks,
      readInto: async (index, target) => disk.readInto(index, target),
      write: async (index, bytes) => disk.write(index, bytes),
      flush: async () => disk.flush(),
    });
    const writers = [1, 2, 3, 4].map(() => new HandoffWriter(handle(), "parse"));
    await Promise.all(writers.map(async (writer) => writer.publish(at(1)).catch(() => {})));
    // One at a time (T1), so none tore what another wrote.
    expect(await new HandoffReader(disk).poll()).not.toHaveProperty("recovered");
  });

  it("T1: whoever is left in the middle of a write keeps nobody of another fabric waiting", async () => {
    const disk = await published(1);
    const stuck: RecordBlocks & { leaseId: string; home: object } = {
      leaseId: "one",
      home: {},
      numBlocks: disk.numBlocks,
      readInto: async (index, target) => disk.readInto(index, target),
      write: () => new Promise(() => {}),
      flush: async () => disk.flush(),
    };
    void new HandoffWriter(stuck, "parse").publish(at(2));
    await settled();
    const next = Object.assign(disk, { leaseId: "one", home: {} });
    expect(await new HandoffWriter(next, "parse").publish(at(3))).toMatchObject({ generation: 2 });
  });

  it("does not touch another stage's record, nor one of another kind", async () => {
    const disk = await published(1);
    expect(await codeOf(HandoffWriter.open(disk, "join"))).toBe("CONFLICT");
    expect(await codeOf(new HandoffWriter(disk, "join").publish(at(1)))).toBe("CONFLICT");
    const other = CrashDisk.blank(2);
    await new TwoSlotRecord(other).write(new TextEncoder().encode("something else"));
    expect(await codeOf(new HandoffWriter(other, "parse").publish(at(1)))).toBe("DECODE");
    expect(await codeOf(new HandoffReader(other).poll())).toBe("DECODE");
  });

  it("looks again after a publication that failed, and takes its own attempt for its own", async () => {
    const disk = await published(1);
    const writer = await HandoffWriter.open(disk, "parse");
    await writer.publish(at(2));
    disk.failFlushes = 1;
    await expect(writer.publish(at(3))).rejects.toThrow("fsync failed");
    // The bytes are there, and were not acknowledged; the next publication is newer than they are.
    expect((await writer.publish(at(4))).generation).toBe(4);
    // Another's publication in its place makes it stale.
    disk.failFlushes = 1;
    await expect(writer.publish(at(5))).rejects.toThrow("fsync failed");
    await (await HandoffWriter.open(disk, "parse")).publish(at(6));
    expect(await codeOf(writer.publish(at(7)))).toBe("STALE_EPOCH");
  });

  it("says CORRUPT_RECORD when what it published was undone behind its back", async () => {
    const disk = await published(1, 2);
    const writer = await HandoffWriter.open(disk, "parse");
    const before = disk.bytes.slice();
    await writer.publish(at(3));
    const reader = new HandoffReader(disk);
    expect((await reader.poll())?.generation).toBe(3);
    disk.bytes.set(before);
    expect(await codeOf(writer.publish(at(4)))).toBe("CORRUPT_RECORD");
    expect(await codeOf(reader.poll())).toBe("CORRUPT_RECORD");
  });

  it.each(["", "\ud800", "a".repeat(STAGE_ID_BYTES_MAX + 1), "é".repeat(STAGE_ID_BYTES_MAX), 7])(
    "refuses the stage id %o",
    (stageId) => {
      expect(() => new HandoffWriter(CrashDisk.blank(2), stageId as string)).toThrow(
        expect.objectContaining({ code: "INVALID_ARGUMENT" }),
      );
    },
  );

  it("fits the longest id and locator into BLOCKS blocks, and says CAPACITY_EXCEEDED in fewer", async () => {
    const stageId = "s".repeat(STAGE_ID_BYTES_MAX);
    const { leaseId } = at(0);
    const queue = { kind: "queue", leaseId, slot: 1, generation: 1 } as const;
    const locator = { ...queue, offset: 1, capacity: 2, stride: 3 };
    const writer = new HandoffWriter(CrashDisk.blank(HandoffWriter.BLOCKS), stageId);
    expect((await writer.publish(locator)).locator).toEqual(locator);
    const small = new HandoffWriter(CrashDisk.blank(2), stageId);
    expect(await codeOf(small.publish(locator))).toBe("CAPACITY_EXCEEDED");
  });
});

describe("HandoffReader", () => {
  it("H1: gives each state once, the newest, and none where none is", async () => {
    const disk = CrashDisk.blank(2);
    const reader = new HandoffReader(disk);
    expect(await reader.poll()).toBeUndefined();
    const writer = new HandoffWriter(disk, "parse");
    await writer.publish(at(1));
    await writer.publish(at(2));
    expect(offsetOf(await reader.poll())).toBe(2);
    expect([await reader.poll(), reader.generation]).toEqual([undefined, 2]);
  });

  it("P3: tells damage, and does not go back to what it had given before", async () => {
    const disk = await published(1, 2, 3); // 3 is in slot 0
    const follower = new HandoffReader(disk);
    await follower.poll();
    disk.bytes[40] = (disk.bytes[40] as number) ^ 1;
    expect([await follower.poll(), follower.recovered]).toEqual([undefined, { slot: 0 }]);
    const fresh = new HandoffReader(disk);
    expect(await fresh.poll()).toMatchObject({ generation: 2, recovered: { slot: 0 } });
    // 3 may have been followed by somebody: the next is 4.
    expect((await new HandoffWriter(disk, "parse").publish(at(4))).generation).toBe(4);
    expect(await follower.poll()).toMatchObject({ generation: 4 });
    expect(follower.recovered).toBeUndefined();
  });

  it("P3: believes no damage that is gone at a second look", async () => {
    const disk = await published(1, 2, 3);
    let looks = 0;
    const whole = disk.bytes.slice();
    const torn: RecordBlocks = {
      numBlocks: disk.numBlocks,
      // As it is while a writer of another process is in the middle of slot 0, and then of slot 1.
      readInto: async (index, target) => {
        disk.bytes.set(whole);
        if (looks++ < 2) disk.bytes.fill(9, index * BLOCK_BYTES + 100, index * BLOCK_BYTES + 110);
        if (looks <= 2) disk.bytes[index * BLOCK_BYTES + 30] = 99;
        await disk.readInto(index, target);
      },
      write: async () => {},
      flush: async () => {},
    };
    const reader = new HandoffReader(torn);
    expect(await reader.poll()).toMatchObject({ generation: 3 });
    expect(reader.recovered).toBeUndefined();
    expect(looks).toBe(4);
  });

  it("J3: reports any flipped bit of what was written, or it changes nothing", async () => {
    const disk = await published(1, 2);
    const state = await new HandoffReader(disk).poll();
    const old = await new HandoffReader(await published(1)).poll();
    const recovered = expect.objectContaining({}) as unknown;
    const original = disk.bytes.slice();
    let silent = 0;
    for (let bit = 0; bit < original.length * 8; bit++) {
      const image = original.slice();
      image[bit >> 3] = (image[bit >> 3] as number) ^ (1 << (bit & 7));
      const reader = new HandoffReader(new CrashDisk(image));
      const found = await reader.poll();
      const isTold = reader.recovered !== undefined;
      if (!isTold) silent++;
      // Told, it may be the older one; untold it is the very state.
      const known = isTold
        ? [
            { ...old, recovered },
            { ...state, recovered },
          ]
        : [state];
      expect(known).toContainEqual(found);
    }
    // What the checksums do not cover is padding: from byte 28 + 4 + 4 + 5 + 44 to the block's end, twice.
    expect(silent).toBe(2 * (BLOCK_BYTES - 85) * 8);
  });

  it("S1: makes a state or a typed error of any record", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.uint8Array({ maxLength: 120 }),
        fc.boolean(),
        fc.array(fc.tuple(fc.nat({ max: 56 }), fc.nat({ max: 255 })), { maxLength: 3 }),
        async (bytes, isMutated, edits) => {
          const disk = CrashDisk.blank(2);
          const valid = (await new TwoSlotRecord(await published(64)).read()).state as Uint8Array;
          const state = isMutated
            ? valid.slice()
            : Uint8Array.from([...valid.slice(0, 4), ...bytes]);
          if (isMutated) for (const [index, byte] of edits) state[index] = byte;
          await new TwoSlotRecord(disk).write(state);
          const outcome = await new HandoffReader(disk).poll().then(
            (found) => typeof found?.stageId,
            (error: { code: string }) => error.code,
          );
          expect(["string", "DECODE"]).toContain(outcome);
        },
      ),
      { numRuns: 500 },
    );
  });
});

interface Acknowledged {
  readonly generation: number;
  readonly offset: number;
}

const publishing =
  (...offsets: readonly number[]) =>
  async (disk: CrashDisk, acknowledge: (what: Acknowledged) => void): Promise<void> => {
    const writer = new HandoffWriter(disk, "parse");
    for (const offset of offsets) {
      const { generation } = await writer.publish(at(offset));
      acknowledge({ generation, offset });
    }
  };

describe("handoff records that lose power", () => {
  it("J1, J2, P4: read old or new after every crash, and after a crash in what follows, and again", async () => {
    let states = 0;
    const explore = async (
      image: Uint8Array<ArrayBuffer>,
      old: readonly Acknowledged[],
      rounds: readonly (readonly number[])[],
    ): Promise<void> => {
      const [offsets, ...more] = rounds;
      if (offsets === undefined) return;
      const before = offsetOf(await new HandoffReader(new CrashDisk(image)).poll());
      for await (const state of crashStates(image, publishing(...offsets))) {
        states++;
        const { acknowledged } = state;
        const all = [...old, ...acknowledged];
        const reader = new HandoffReader(new CrashDisk(state.image));
        const found = await reader.poll();
        const expected = [acknowledged.at(-1)?.offset ?? before, offsets[acknowledged.length]];
        expect(expected).toContain(offsetOf(found));
        const highest = Math.max(0, ...all.map(({ generation }) => generation));
        expect(found?.generation ?? 0).toBeGreaterThanOrEqual(highest);
        // No generation is acknowledged twice, whoever goes on from here.
        expect(new Set(all.map(({ generation }) => generation)).size).toBe(all.length);
        await explore(state.image, all, more);
      }
    };
    await explore(new Uint8Array(2 * BLOCK_BYTES), [], [[10, 11, 12], [20, 21], [30]]);
    expect(states).toBeGreaterThan(900);
  });

  it("P4: acknowledge no generation twice through crashes, damage, failed flushes and rivals", async () => {
    const step = fc.constantFrom(
      "publish 0",
      "publish 1",
      "reopen 0",
      "reopen 1",
      "crash",
      "damage newest",
      "fail flush",
    );
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { maxLength: 40 }),
        fc.infiniteStream(fc.nat()),
        async (steps, draw) => {
          let disk = CrashDisk.blank(2);
          let offset = 0;
          const generations: number[] = [];
          const writers = [new HandoffWriter(disk, "parse"), new HandoffWriter(disk, "parse")];
          for (const name of steps) {
            const which = Number(name.at(-1)) || 0;
            if (name.startsWith("publish"))
              await (writers[which] as HandoffWriter<CrashDisk>).publish(at(++offset)).then(
                ({ generation }) => generations.push(generation),
                () => {},
              );
            else if (name.startsWith("reopen")) writers[which] = new HandoffWriter(disk, "parse");
            else if (name === "fail flush") disk.failFlushes = 1;
            else if (name === "damage newest") {
              // Once at a time: two damaged slots are CORRUPT_RECORD for good.
              const found = new HandoffReader(disk);
              await found.poll();
              if (found.generation === 0 || found.recovered !== undefined) continue;
              const slot = disk.bytes[8] === (found.generation & 0xff) ? 0 : 1;
              const image = disk.bytes.slice();
              image[slot * BLOCK_BYTES + 50] = (image[slot * BLOCK_BYTES + 50] as number) ^ 4;
              disk.bytes.set(image);
            } else {
              const images = [...disk.images()];
              disk = new CrashDisk(
                images[(draw.next().value as number) % images.length] as Uint8Array<ArrayBuffer>,
              );
              writers.fill(new HandoffWriter(disk, "parse"));
            }
          }
          expect(generations).toEqual([...new Set(generations)].toSorted((a, b) => a - b));
        },
      ),
      { numRuns: 300 },
    );
  });
});

describe("HandoffReader.watch()", () => {
  it("wakes at once when this thread publishes, without a look at the clock", async () => {
    const host = new VirtualHost();
    using fabric = openOn(host);
    const blocks = await fabric.block().minBlocks(2).leaseSecs(600).acquire();
    const writer = await HandoffWriter.open(blocks, "parse");
    const seen: number[] = [];
    const done = (async () => {
      for await (const state of new HandoffReader(blocks).watch({ timer: host.timer })) {
        seen.push(state.generation);
        if (state.generation === 3) return;
      }
    })();
    for (const generation of [1, 2, 3]) {
      await writer.publish(at(generation));
      await settled();
      expect(seen.at(-1)).toBe(generation);
    }
    await done;
    expect(seen).toEqual([1, 2, 3]);
    expect(host.alarms).toBe(0);
  });

  it("finds by looking what nobody woke it for, within its period", async () => {
    const host = new VirtualHost();
    const device = ramBlockDevice(2);
    // Two objects and no lease: as two processes over one file.
    const side = (): RecordBlocks => ({
      numBlocks: 2,
      readInto: async (index, target) => device.read(index, target),
      write: async (index, bytes) => device.write(index, bytes),
      flush: async () => device.flush(),
    });
    const watch = new HandoffReader(side()).watch({ timer: host.timer, periodMs: 40 });
    const next = watch.next();
    await host.advance(100);
    await new HandoffWriter(side(), "parse").publish(at(1));
    await settled();
    expect(await Promise.race([next, Promise.resolve("asleep")])).toBe("asleep");
    await host.advance(40);
    expect((await next).value).toMatchObject({ generation: 1 });
    await watch.return();
    expect(host.alarms).toBe(0);
  });

  it("misses no write that is asked for while it looks", async () => {
    const host = new VirtualHost();
    const home = {};
    const disk = Object.assign(CrashDisk.blank(2), { leaseId: "shared", home });
    const writer = await HandoffWriter.open(disk, "parse");
    let late: Promise<unknown> | undefined;
    const blocks: RecordBlocks & { leaseId: string; home: object } = {
      leaseId: "shared",
      home,
      numBlocks: 2,
      readInto: async (index, target) => {
        await disk.readInto(index, target);
        // The look has read both slots: what is published from here on, it does not see.
        if (index === 1) late ??= writer.publish(at(1));
      },
      write: async () => {},
      flush: async () => {},
    };
    const watch = new HandoffReader(blocks).watch({ timer: host.timer, periodMs: 1_000 });
    expect((await watch.next()).value).toMatchObject({ generation: 1 });
    await late;
    await watch.return();
  });

  it("ends by its signal, asleep or before it began, and leaves no timer", async () => {
    const host = new VirtualHost();
    const disk = CrashDisk.blank(2);
    const controller = new AbortController();
    const signal: AbortSignalLike = controller.signal;
    const reason = new Error("enough");
    const watch = new HandoffReader(disk).watch({ timer: host.timer, signal });
    const next = watch.next();
    await settled();
    expect(host.alarms).toBe(1);
    controller.abort(reason);
    await expect(next).rejects.toBe(reason);
    expect(host.alarms).toBe(0);
    await expect(new HandoffReader(disk).watch({ timer: host.timer, signal }).next()).rejects.toBe(
      reason,
    );
  });

  it("ends with the lease", async () => {
    const host = new VirtualHost();
    using fabric = openOn(host);
    const blocks = await fabric.block().minBlocks(2).leaseMs(1_000).acquire();
    const watch = new HandoffReader(blocks).watch({ timer: host.timer, periodMs: 100 });
    const next = rejectionOf(watch.next());
    await host.advance(500);
    fabric.tick(host.nowMs + 500);
    await host.advance(100);
    expect((await next).code).toBe("LEASE_EXPIRED");
  });

  it.each([0, -1, Number.NaN, 3_600_001, "9"])("refuses a period of %s", async (periodMs) => {
    const { timer } = new VirtualHost();
    const watch = new HandoffReader(CrashDisk.blank(2)).watch({
      timer,
      periodMs: periodMs as number,
    });
    expect((await rejectionOf(watch.next())).code).toBe("INVALID_ARGUMENT");
  });
});
