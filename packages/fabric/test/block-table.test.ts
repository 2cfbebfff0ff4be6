import { BlockTable, type BlockTicket } from "@selvage/fabric";
import { describe, expect, it } from "vitest";
import {
  emptyEntry,
  encodeEntry,
  encodeSuperblock,
  recordAt,
  superblockAt,
} from "../src/block-layout.ts";
import {
  codeOf,
  imbalances,
  openManual,
  openOn,
  rejectionOf,
  START_MS,
  VirtualHost,
} from "./rig.ts";
import {
  dataAt,
  failing,
  flipped,
  recordsAt,
  slots,
  tableOf,
  untoldFlips,
  used,
} from "./block-flips.ts";
import { bytesOf, filled, openSim, quiet, SimDisk, type Platter } from "./sim-disk.ts";

/** Zeroes copies of lease slots' records. */
function without(platter: Platter, slot: number, ...copies: readonly number[]): Platter {
  const bytes = platter.bytes.slice();
  for (const copy of copies) {
    const at = recordsAt + (copy * slots + slot) * 512;
    bytes.fill(0, at, at + 512);
  }
  return { bytes };
}

describe("J3: any single bit that flips in the table", () => {
  it("is told, with the slot that it hit", async () => {
    const platter = await used();
    expect(tableOf(platter).damage).toEqual([]);
    // Of the superblock every 31st bit: `npm run soak` has them all.
    const { untold, told } = untoldFlips(platter, 31);
    expect(untold).toEqual([]);
    expect(told).toBe(Math.ceil((recordsAt * 8) / 31) + 4 * 512 * 8);
  });

  it("is not noticed in leased blocks: those have no checksum", async () => {
    const platter = await used();
    expect(tableOf(flipped(platter, (dataAt + 5) * 8)).damage).toEqual([]);
  });

  it("nor is a sector taken for another one's, a short file for a whole one, or a strange file for a block file", async () => {
    const platter = await used();
    const bytes = platter.bytes.slice();
    bytes.copyWithin(recordsAt + 512, recordsAt, recordsAt + 512); // slot 0's record where slot 1's belongs
    expect(tableOf({ bytes }).damage).toEqual([{ slot: 1, kind: "recovered", copies: [0] }]);
    const short = tableOf({ bytes: platter.bytes.slice(0, recordsAt + (slots + 3) * 512 + 60) });
    expect(short.damage.map(({ slot }) => slot)).toEqual([3, 4, 5, 6, 7]);
    const other = await used();
    bytes.set(other.bytes.subarray(recordsAt, recordsAt + 512), recordsAt);
    expect(tableOf({ bytes }).damageOf(0)).toMatchObject({ kind: "recovered", copies: [0] });
    // Cut within the first copies: then its length is not one of so many slots.
    expect(codeOf(() => tableOf({ bytes: platter.bytes.slice(0, recordsAt + 4_095) }))).toBe(
      "CORRUPT_RECORD",
    );
    for (const strange of [new Uint8Array(0), new Uint8Array(20_000), filled(0x41, 40)])
      expect(codeOf(() => tableOf({ bytes: strange }))).toBe("CORRUPT_RECORD");
  });
});

describe("a superblock with a good checksum", () => {
  const storeId = new Int32Array(4);
  /** A file of 8 slots whose superblock says something else, in both copies or in the first. */
  const saying = (numBlocks: number, count: number, copies: readonly number[]): Platter => {
    const bytes = BlockTable.image({ storeId, numBlocks: 8, slots: 8 });
    const superblock = encodeSuperblock({ storeId, numBlocks, slots: count });
    for (const copy of copies) bytes.set(superblock, superblockAt(copy));
    return { bytes };
  };

  it.each([
    [8, 2 ** 31],
    [8, 65_544],
    [8, 0],
    [8, 12],
    [8, 24],
    [8, 65_536],
    [2 ** 32 - 1, 8],
    [2 ** 26 + 1, 8],
  ])("that says %i blocks and %i slots is CORRUPT_RECORD at open", (numBlocks, count) => {
    const host = new VirtualHost();
    expect(codeOf(() => openSim(host, saying(numBlocks, count, [0, 1])))).toBe("CORRUPT_RECORD");
  });

  it("in one copy only costs nothing: the other one counts", () => {
    const { shape, damage } = tableOf(saying(2 ** 32 - 1, 2 ** 31, [0]));
    expect([shape.numBlocks, shape.slots]).toEqual([8, 8]);
    expect(damage).toEqual([{ slot: -1, kind: "recovered", copies: [0] }]);
  });

  it("may say as much as a fabric may have", () => {
    expect(tableOf(saying(2 ** 26, 8, [0, 1])).shape.numBlocks).toBe(2 ** 26);
  });
});

describe("a lease record with a good checksum", () => {
  it.each([
    ["no blocks", { count: 0 }],
    ["no deadline", { deadlineMs: NaN }],
    ["blocks beyond the file's", { count: 2 ** 32 - 1 }],
  ])("that has %s is damage", (_what, part) => {
    const shape = { storeId: new Int32Array(4), numBlocks: 8, slots: 8 };
    const bytes = BlockTable.image(shape);
    const entry = { ...emptyEntry, phase: "live", generation: 1, count: 1, ...part } as const;
    bytes.set(encodeEntry(shape, 3, 2, entry), recordAt(shape, 3, 0));
    expect(tableOf({ bytes }).damage).toEqual([{ slot: 3, kind: "recovered", copies: [0] }]);
  });
});

/** The copy without which a slot is not what it was. */
function newestOf(platter: Platter, slot: number): number {
  const entry = tableOf(platter).entry(slot);
  const isFirst = tableOf(without(platter, slot, 1)).entry(slot);
  return JSON.stringify(isFirst) === JSON.stringify(entry) ? 0 : 1;
}

describe("B3: a lease slot whose record is damaged", () => {
  it("goes on by the other copy, and says so", async () => {
    const platter = await used();
    for (const copy of [0, 1]) {
      const { fabric } = openSim(platter.host, without(platter, 0, copy));
      expect(fabric.blockDamage()).toEqual([{ slot: 0, kind: "recovered", copies: [copy] }]);
      const lease = await fabric.attachBlock(platter.tickets.live);
      expect(await bytesOf(lease)).toEqual(filled(0xaa, 2));
      expect(lease.expiresAtMs).toBe(START_MS + 5_000);
      expect(await lease.renew(9_000)).toBe(START_MS + 9_000);
    }
  });

  it("B5: keeps its last renewal, whichever copy is lost, once a sync has covered both", async () => {
    const host = new VirtualHost();
    const { fabric, disk } = openSim(host);
    const lease = await fabric.block().leaseMs(1_000).acquire();
    await lease.renew(5_000);
    // Power that fails at once may take the second copy's write, and damage then takes the other one.
    const cut = disk.platter(0);
    await lease.flush();
    const whole = disk.platter(0);
    const found = [cut, whole].map((platter) =>
      [0, 1].map((copy) => tableOf(without(platter, 0, copy)).entry(0)?.deadlineMs),
    );
    const [early, late] = [START_MS + 1_000, START_MS + 5_000];
    expect(found.map((two) => two.toSorted((a = 0, b = 0) => a - b))).toEqual([
      [early, late],
      [late, late],
    ]);
    expect([cut, whole].map((platter) => tableOf(platter).isTwice(0))).toEqual([false, true]);
    // Whoever opens the file brings the older copy up.
    const { disk: later } = openSim(host, cut);
    await quiet();
    expect(tableOf({ bytes: later.view }).isTwice(0)).toBe(true);
  });

  it("B5: has its second copy from the next tick, where it could not be written at once", async () => {
    const { fabric, disk } = openSim(new VirtualHost());
    const lease = await fabric.block().leaseMs(1_000).acquire();
    expect(await failing(disk, 2, () => lease.renew(5_000))).toBe(START_MS + 5_000);
    expect(tableOf({ bytes: disk.view }).isTwice(0)).toBe(false);
    fabric.tick(START_MS + 1);
    await quiet();
    expect(tableOf({ bytes: disk.view }).isTwice(0)).toBe(true);
    const { changes } = disk;
    fabric.tick(START_MS + 2);
    await quiet();
    expect(disk.changes).toBe(changes);
  });

  it("without any copy is CORRUPT_RECORD: what it may have held is fenced, and other leases go on", async () => {
    const platter = await used();
    const { fabric } = openSim(platter.host, without(platter, 1, 0, 1));
    expect(fabric.blockDamage()).toEqual([{ slot: 1, kind: "lost", copies: [0, 1] }]);
    expect(await rejectionOf(fabric.attachBlock(platter.tickets.over))).toMatchObject({
      code: "CORRUPT_RECORD",
      details: { slot: 1 },
    });
    expect(fabric.stats().blocks).toMatchObject({
      leasedBytes: 1_024,
      fencedBytes: 6 * 512,
      freeBytes: 0,
    });
    expect(imbalances(fabric.stats())).toEqual([]);
    expect((await rejectionOf(fabric.block().acquire())).code).toBe("CAPACITY_EXCEEDED");
    const lease = await fabric.attachBlock(platter.tickets.live);
    expect(await bytesOf(lease)).toEqual(filled(0xaa, 2));
    lease.release();
    await quiet();
    // What the readable lease held is known, and free.
    const next = await fabric.block().minBlocks(2).acquire();
    expect(await bytesOf(next)).toEqual(filled(0, 2));
    expect(next.slot).not.toBe(1);
  });

  it("skips the generation that a lost copy may have granted, for ever, and zeroes what it may have held", async () => {
    const host = new VirtualHost();
    const { fabric, disk } = openSim(host);
    const lost = await failing(disk, 2, () => fabric.block().minBlocks(3).acquire());
    await lost.write(0, filled(0xcc, 3));
    await lost.flush();
    const ticket = lost.ticket();
    expect(ticket).toMatchObject({ slot: 0, generation: 1 });
    const platter = { bytes: disk.view };
    // Only the copy from before the grant is left.
    const damaged = without(platter, 0, newestOf(platter, 0));
    const { fabric: second, disk: secondDisk } = openSim(host, damaged);
    expect(second.blockDamage()).toHaveLength(1);
    expect((await rejectionOf(second.attachBlock(ticket))).code).toBe("CORRUPT_RECORD");
    await quiet();
    const next = await second.block().minBlocks(8).acquire();
    expect(await bytesOf(next)).toEqual(filled(0, 8));
    next.release();
    await quiet();
    // Whichever copy is damaged next, no generation comes up again.
    for (const copy of [0, 1]) {
      const again = without({ bytes: secondDisk.view }, 0, copy);
      const { fabric: third } = openSim(host, again);
      await quiet();
      const leases = [];
      for (let count = 0; count < 8; count++) leases.push(await third.block().acquire());
      const inSlot = leases.find(({ slot }) => slot === 0);
      expect(inSlot?.generation).toBeGreaterThan(2);
    }
  });
});

/** A file in which slot 1 has the blocks that slot 0 had before it. */
async function handedOn(): Promise<Platter & { host: VirtualHost; ticket: BlockTicket }> {
  const host = new VirtualHost();
  const { fabric, disk } = openSim(host);
  const before = await fabric.block().minBlocks(2).acquire();
  const other = await fabric.block().minBlocks(2).acquire();
  // Of its copies, one says that it is being wiped, and one that it is free.
  await failing(disk, 4, async () => before.release());
  other.release();
  await quiet();
  const after = await fabric.block().minBlocks(2).acquire();
  await after.write(0, filled(0xdd, 2));
  await after.flush();
  expect([before.slot, after.slot]).toEqual([0, 1]);
  return { bytes: disk.view, host, ticket: after.ticket() };
}

describe("two leases over one block", () => {
  it("are told apart where the older one's end is what was lost", async () => {
    const platter = await handedOn();
    const { fabric } = openSim(platter.host, without(platter, 0, newestOf(platter, 0)));
    expect(fabric.blockDamage()).toHaveLength(1);
    await quiet();
    expect(await bytesOf(await fabric.attachBlock(platter.ticket))).toEqual(filled(0xdd, 2));
    expect(fabric.stats().blocks).toMatchObject({ leasedBytes: 1_024, freeBytes: 6 * 512 });
  });

  it("without damage are CORRUPT_RECORD at open, which leaves nothing open", async () => {
    const platter = await handedOn();
    const bytes = platter.bytes.slice();
    const gone = without(platter, 0, newestOf(platter, 0)).bytes;
    // Both copies of slot 0 say what the older one said: a disk that lost a write and says so nowhere.
    const [first, second] = [recordsAt, recordsAt + slots * 512];
    const whole = gone.subarray(first, first + 512).some((byte) => byte !== 0) ? first : second;
    for (const at of [first, second]) bytes.set(gone.subarray(whole, whole + 512), at);
    let closed: SimDisk | undefined;
    const open = (): unknown =>
      openOn(
        platter.host,
        { blockFile: "sim", blocks: 8, memoryBytes: 64, tick: "auto" },
        { disk: () => (closed = new SimDisk({ bytes })) },
      );
    expect(codeOf(open)).toBe("CORRUPT_RECORD");
    expect([closed?.closed, platter.host.alarms]).toEqual([1, 0]);
  });
});

describe("a copy that was lost", () => {
  it("is written again, so that the damage is told once, and a second one loses nothing", async () => {
    const platter = await used();
    const superblock = flipped(platter, 100);
    const live = without(platter, 0, 1);
    const over = without(platter, 1, 0);
    for (const damaged of [superblock, live, over]) {
      const { fabric, disk } = openSim(platter.host, damaged);
      expect(fabric.blockDamage()).toHaveLength(1);
      await quiet();
      expect(tableOf({ bytes: disk.platter(0).bytes }).damage).toEqual([]);
    }
  });
});

describe("a block file", () => {
  it("is refused with other blocks than it was made with, and takes its own by default", async () => {
    const platter = await used();
    expect(codeOf(() => openSim(platter.host, platter, { blocks: 16 }))).toBe("CONFLICT");
    const { fabric } = openSim(platter.host, platter, { blocks: undefined as never });
    expect(fabric.stats().blocks.capacityBytes).toBe(8 * 512);
  });

  it("knows the tickets of another one, and says that it does not have their blocks", async () => {
    const { live } = (await used()).tickets;
    const { fabric } = openSim(new VirtualHost());
    const error = await rejectionOf(fabric.attachBlock(live));
    expect(error).toMatchObject({ code: "UNSUPPORTED", details: { fabricId: live.fabricId } });
    expect(error.message).toContain("another block file");
    expect(error.details["storeId"]).not.toBe(live.fabricId);
  });

  it("is UNSUPPORTED on a host without files", () => {
    expect(codeOf(() => openManual({ blockFile: "x" }))).toBe("UNSUPPORTED");
  });

  it("keeps tenant and label as they are, up to what a record holds", async () => {
    const host = new VirtualHost();
    const { fabric, disk } = openSim(host);
    const label = "\ud800 é 🜁".padEnd(190, "x");
    const lease = await fabric.block().tenant("té").label(label).acquire();
    const long = fabric.block().label("x".repeat(200)).acquire();
    expect((await rejectionOf(long)).code).toBe("INVALID_ARGUMENT");
    const { fabric: later } = openSim(host, disk.platter(-1));
    expect(await later.attachBlock(lease.ticket())).toMatchObject({ tenant: "té", label });
  });

  it("has no more leases at a time than its table has slots", async () => {
    const host = new VirtualHost();
    const { fabric } = openSim(host, undefined, { blocks: 64, blockLeases: 8 });
    for (let count = 0; count < 8; count++) await fabric.block().acquire();
    const refused = await rejectionOf(fabric.block().acquire());
    expect(refused).toMatchObject({ code: "CAPACITY_EXCEEDED", details: { blockLeases: 8 } });
    // Memory leases have slots of their own.
    expect(fabric.mem().acquire().slot).toBe(8);
  });
});

describe("J5: group commit", () => {
  it("acknowledges no grant, renewal or flush that a crash would lose, whenever in a batch it comes", async () => {
    const turns = Array.from({ length: 25 }, (_, index) => index);
    const found: string[] = [];
    for (const gap of turns) {
      const host = new VirtualHost();
      const { fabric, disk } = openSim(host);
      const lease = await fabric.block().leaseMs(1_000).acquire();
      const pause = async (): Promise<void> => {
        for (let turn = 0; turn < gap; turn++) await Promise.resolve();
      };
      // Each looks, at the moment of its acknowledgement, at what a crash then would leave at the least.
      const look = async (what: () => Promise<string>): Promise<void> =>
        void found.push(await what());
      const later = () => openSim(host, disk.platter(0)).fabric;
      const first = look(async () => {
        const { leaseId } = await fabric.block().acquire();
        const there = later()
          .leases()
          .map((one) => one.leaseId);
        return there.includes(leaseId) ? "kept" : "lost grant";
      });
      await pause();
      const second = look(async () => {
        const deadlineMs = await lease.renew(5_000);
        const one = await later().attachBlock(lease.ticket());
        return one.expiresAtMs === deadlineMs ? "kept" : "lost renewal";
      });
      await pause();
      const third = look(async () => {
        await lease.write(0, filled(7));
        await lease.flush();
        const bytes = await bytesOf(await later().attachBlock(lease.ticket()));
        return bytes[0] === 7 ? "kept" : "lost flush";
      });
      await Promise.all([first, second, third]);
    }
    expect(found).toEqual(turns.flatMap(() => ["kept", "kept", "kept"]));
  });
});

describe("a fabric that is disposed of", () => {
  it("has what was begun on the disk before it lets go, takes nothing more, and leaves leases as they are", async () => {
    const host = new VirtualHost();
    const { fabric, disk } = openSim(host);
    const [kept, released] = [await fabric.block().acquire(), await fabric.block().acquire()];
    const tickets = [kept.ticket(), released.ticket()] as const;
    const types: string[] = [];
    fabric.subscribe(({ type }) => types.push(type));
    released.release();
    const renewing = kept.renew(900_000);
    fabric[Symbol.dispose]();
    expect(disk.closed).toBe(0);
    expect((await rejectionOf(kept.readBlock(0))).code).toBe("DISCONNECTED");
    expect((await rejectionOf(kept.renew(1))).code).toBe("DISCONNECTED");
    expect((await rejectionOf(fabric.attachBlock(tickets[0]))).code).toBe("DISCONNECTED");
    expect(kept.release()).toBe(false);
    expect(await renewing).toBe(START_MS + 900_000);
    await quiet();
    expect(disk.closed).toBe(1);
    // The next one to open the file gives the blocks back, not this one.
    expect(types).toEqual(["released"]);
    const { fabric: later } = openSim(host, disk.platter(0));
    expect((await later.attachBlock(tickets[0])).expiresAtMs).toBe(START_MS + 900_000);
    expect((await rejectionOf(later.attachBlock(tickets[1]))).code).toBe("LEASE_EXPIRED");
  });
});

describe("D3: the file is never cut below a live lease", () => {
  it("a grant waits for a cut that was begun before it", async () => {
    const { fabric, disk } = openSim(new VirtualHost());
    const first = await fabric.block().minBlocks(2).acquire();
    await first.write(0, filled(1, 2));
    const gate = Promise.withResolvers<void>();
    const truncate = disk.truncate.bind(disk);
    disk.truncate = async (length) => {
      await gate.promise;
      await truncate(length);
    };
    first.release();
    await quiet();
    let isGranted = false;
    const granting = fabric.block().minBlocks(4).acquire();
    void granting.then(() => (isGranted = true));
    await quiet();
    expect(isGranted).toBe(false);
    gate.resolve();
    const next = await granting;
    await next.write(0, filled(2, 4));
    await quiet();
    expect(await bytesOf(next)).toEqual(filled(2, 4));
  });
});

describe("renewals by other threads, and warnings", () => {
  it("reach the disk with the next tick", async () => {
    const host = new VirtualHost();
    const { fabric, disk } = openSim(host);
    const kept = await fabric.block().leaseMs(1_000).acquire();
    const warned = await fabric.block().leaseMs(1_000).acquire();
    const tickets = [kept.ticket(), warned.ticket()] as const;
    // As the keeper's thread does: by the lease's word.
    fabric.control.renew(kept.slot, kept.generation, START_MS, START_MS + 9_000);
    warned.revoke({ graceMs: 100 });
    fabric.tick(START_MS + 1);
    await quiet();
    const { fabric: later } = openSim(host, disk.platter(0));
    expect((await later.attachBlock(tickets[0])).expiresAtMs).toBe(START_MS + 9_000);
    const one = await later.attachBlock(tickets[1]);
    expect([one.state, one.expiresAtMs]).toEqual(["warned", START_MS + 100]);
    await expect(one.renew(1_000)).rejects.toMatchObject({ code: "REVOKED" });
    later.tick(START_MS + 100);
    await quiet();
    await expect(later.attachBlock(tickets[1])).rejects.toMatchObject({ code: "REVOKED" });
  });
});
