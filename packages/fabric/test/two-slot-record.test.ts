import { BLOCK_BYTES, TwoSlotRecord, type RecordBlocks } from "@selvage/fabric";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { CrashDisk } from "./crash-disk.ts";

/** Blocks that lose power: of what is not flushed, any prefix of bytes may be there afterwards. */
class CrashingBlocks implements RecordBlocks {
  readonly numBlocks: number;
  bytes: Uint8Array<ArrayBuffer>;
  writes = 0;
  /** Cuts the write of this number short, after so many bytes, and fails it. */
  cut: { readonly write: number; readonly bytes: number } | undefined;
  failFlush = false;

  constructor(numBlocks: number) {
    this.numBlocks = numBlocks;
    this.bytes = new Uint8Array(numBlocks * BLOCK_BYTES);
  }

  async readInto(index: number, target: Uint8Array): Promise<void> {
    target.set(this.bytes.subarray(index * BLOCK_BYTES, index * BLOCK_BYTES + target.length));
  }

  async write(index: number, bytes: Uint8Array): Promise<void> {
    const kept = this.cut?.write === this.writes++ ? this.cut.bytes : bytes.length;
    this.bytes.set(bytes.subarray(0, kept), index * BLOCK_BYTES);
    if (kept < bytes.length) throw new Error("power lost");
  }

  async flush(): Promise<void> {
    if (this.failFlush) throw new Error("fsync failed");
  }
}

const value = (byte: number, length: number): Uint8Array => new Uint8Array(length).fill(byte);

async function written(...values: Uint8Array[]): Promise<CrashingBlocks> {
  const blocks = new CrashingBlocks(4);
  const record = new TwoSlotRecord(blocks);
  for (const state of values) await record.write(state);
  return blocks;
}

describe("TwoSlotRecord", () => {
  it("reads nothing where nothing was written, and says generation 0", async () => {
    const reading = await new TwoSlotRecord(new CrashingBlocks(2)).read();
    expect(reading).toEqual({ state: undefined, generation: 0 });
  });

  it("gives the newest value and counts generations from 1, also to another reader", async () => {
    const blocks = await written(value(1, 5), value(2, 900), value(3, 0));
    expect(await new TwoSlotRecord(blocks).read()).toEqual({ state: value(3, 0), generation: 3 });
    expect(await new TwoSlotRecord(blocks).write(value(4, 1))).toBe(4);
  });

  it("R1: a write torn at any byte leaves the old value or the new, from the first write on", async () => {
    const length = 700;
    for (const before of [0, 1, 2, 3]) {
      const values = Array.from({ length: before }, (_, index) => value(index + 1, length));
      for (let kept = 0; kept < 1_024; kept += 3) {
        for (const first of before === 0 ? [0, 1] : [0]) {
          const blocks = await written(...values);
          blocks.cut = { write: blocks.writes + first, bytes: kept };
          const acknowledged = await new TwoSlotRecord(blocks).write(value(9, length)).then(
            () => true,
            () => false,
          );
          blocks.cut = undefined;
          const { state, generation } = await new TwoSlotRecord(blocks).read();
          const old = before === 0 ? undefined : value(before, length);
          // All that counts had arrived, the rest of the last block is padding: then the new value is there.
          const isNew = generation === before + 1;
          expect(state).toEqual(isNew ? value(9, length) : old);
          if (acknowledged) expect(isNew).toBe(true);
        }
      }
    }
  });

  it("R3: a damaged newer slot is told, and its generation is not given out again", async () => {
    const blocks = await written(value(1, 9), value(2, 9), value(3, 9));
    blocks.bytes[30] = (blocks.bytes[30] as number) ^ 1; // generation 3 is in slot 0
    const record = new TwoSlotRecord(blocks);
    expect(await record.read()).toEqual({
      state: value(2, 9),
      generation: 2,
      recovered: { slot: 0 },
    });
    expect(await record.write(value(4, 9))).toBe(4);
  });

  it("R4: damage after damage to the newest slot, and no generation is acknowledged twice", async () => {
    const blocks = await written(value(1, 9), value(2, 9));
    let last = 2;
    for (let round = 0; round < 6; round++) {
      const generationAt = (slot: 0 | 1): number => blocks.bytes[slot * 2 * BLOCK_BYTES + 8] ?? 0;
      const newest = generationAt(0) > generationAt(1) ? 0 : 1;
      blocks.bytes[newest * 2 * BLOCK_BYTES + 30] = 99;
      const record = new TwoSlotRecord(blocks);
      expect((await record.read()).recovered).toEqual({ slot: newest });
      const next = await record.write(value(round, 9));
      expect(next).toBeGreaterThan(last);
      last = next;
    }
  });

  it("R3: a first value that was lost is told, not taken for a blank record", async () => {
    const blocks = await written(value(1, 9));
    blocks.bytes[30] = 77;
    expect(await new TwoSlotRecord(blocks).read()).toEqual({
      state: undefined,
      generation: 0,
      recovered: { slot: 0 },
    });
    expect(await new TwoSlotRecord(blocks).write(value(2, 9))).toBe(2);
  });

  it("any single flipped bit is noticed, or falls into padding", async () => {
    const original = await written(value(1, 40), value(2, 40));
    await fc.assert(
      fc.asyncProperty(fc.nat({ max: original.bytes.length * 8 - 1 }), async (bit) => {
        const blocks = new CrashingBlocks(4);
        blocks.bytes = original.bytes.slice();
        blocks.bytes[bit >> 3] = (blocks.bytes[bit >> 3] as number) ^ (1 << (bit & 7));
        const { state, recovered } = await new TwoSlotRecord(blocks).read();
        if (recovered === undefined) expect(state).toEqual(value(2, 40));
        else expect([value(1, 40), value(2, 40)]).toContainEqual(state);
      }),
      { numRuns: 500 },
    );
  });

  it("both slots bad is CORRUPT_RECORD, for reading and for writing", async () => {
    const blocks = await written(value(1, 9), value(2, 9));
    blocks.bytes[29] = 99;
    blocks.bytes[2 * BLOCK_BYTES + 29] = 99;
    const corrupt = expect.objectContaining({ code: "CORRUPT_RECORD" });
    await expect(new TwoSlotRecord(blocks).read()).rejects.toEqual(corrupt);
    await expect(new TwoSlotRecord(blocks).write(value(3, 9))).rejects.toEqual(corrupt);
  });

  it("a value that was zeroed away beside nothing is corrupt, not blank", async () => {
    const blocks = await written(value(1, 9));
    blocks.bytes.fill(0, 2 * BLOCK_BYTES); // the empty value in slot 1
    blocks.bytes[29] = 99;
    await expect(new TwoSlotRecord(blocks).read()).rejects.toEqual(
      expect.objectContaining({ code: "CORRUPT_RECORD" }),
    );
  });

  it("looks at its slots again after a failed flush, before it writes", async () => {
    const blocks = new CrashingBlocks(4);
    const record = new TwoSlotRecord(blocks);
    await record.write(value(1, 9));
    blocks.failFlush = true;
    await expect(record.write(value(2, 9))).rejects.toThrow("fsync failed");
    blocks.failFlush = false;
    // The bytes had arrived: what was not acknowledged may be read, and the next write goes to the other slot.
    expect(await record.write(value(3, 9))).toBe(3);
    expect((await new TwoSlotRecord(blocks).read()).state).toEqual(value(3, 9));
  });

  it("R5: flushes what it found before it writes, once, and again after a write that failed", async () => {
    const disk = CrashDisk.blank(2);
    await new TwoSlotRecord(disk).write(value(1, 9));
    const record = new TwoSlotRecord(disk);
    const before = disk.bytes.slice();
    disk.failFlushes = 1;
    await expect(record.write(value(2, 9))).rejects.toThrow("fsync failed");
    expect(disk.bytes).toEqual(before);
    const counted = async (): Promise<number> => {
      const { flushes } = disk;
      await record.write(value(3, 9));
      return disk.flushes - flushes;
    };
    expect([await counted(), await counted()]).toEqual([2, 1]);
    disk.failFlushes = 1;
    await expect(record.write(value(4, 9))).rejects.toThrow("fsync failed");
    expect([await counted(), await counted()]).toEqual([2, 1]);
    // Another one's value, found since, may be unflushed too.
    await new TwoSlotRecord(disk).write(value(5, 9));
    await record.read();
    expect([await counted(), await counted()]).toEqual([2, 1]);
  });

  it.each([1, 2])(
    "R5: processes that die with writes unflushed, and power then, lose nothing acknowledged (%i blocks a slot)",
    async (slotBlocks) => {
      const seen = new Set<number>();
      // Writes of three lives, one after the other, each cut at any step; power fails at the last one's cut.
      const live = async (life: number, disk: CrashDisk, acknowledged: number): Promise<void> => {
        for (let steps = 0; ; steps++) {
          const now = disk.successor(steps);
          const record = new TwoSlotRecord(now);
          const isDone = await record.write(value(life, slotBlocks * 400)).then(
            () => true,
            () => false,
          );
          const known = isDone ? life : acknowledged;
          if (life < 5) await live(life + 1, now, known);
          else
            for (const image of now.images()) {
              const { state } = await new TwoSlotRecord(new CrashDisk(image)).read();
              expect(state?.length).toBe(slotBlocks * 400);
              expect(state?.[0]).toBeGreaterThanOrEqual(known);
              seen.add(state?.[0] ?? 0);
            }
          if (isDone) return;
        }
      };
      const first = CrashDisk.blank(2 * slotBlocks);
      const record = new TwoSlotRecord(first);
      for (const byte of [1, 2]) await record.write(value(byte, slotBlocks * 400));
      await live(3, first, 2);
      expect([...seen].toSorted((a, b) => a - b)).toEqual([2, 3, 4, 5]);
    },
    60_000,
  );

  it("refuses a value that is too long, and too few blocks", async () => {
    const record = new TwoSlotRecord(new CrashingBlocks(2));
    await expect(record.write(new Uint8Array(record.bytesMax + 1))).rejects.toEqual(
      expect.objectContaining({ code: "CAPACITY_EXCEEDED" }),
    );
    expect(await record.write(new Uint8Array(record.bytesMax))).toBe(1);
    expect(() => new TwoSlotRecord(new CrashingBlocks(1))).toThrow(
      expect.objectContaining({ code: "INVALID_ARGUMENT" }),
    );
    expect(TwoSlotRecord.blocksFor(record.bytesMax)).toBe(2);
    expect(TwoSlotRecord.blocksFor(record.bytesMax + 1)).toBe(4);
  });
});
