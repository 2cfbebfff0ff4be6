import { BLOCK_BYTES, FABRIC_DEFAULTS, MemLease, type Fabric } from "@selvage/fabric";
import { describe, expect, expectTypeOf, it } from "vitest";
import { openManual, settled, START_MS } from "./rig.ts";

describe("Fabric.leases() and find()", () => {
  it("list the leases that stand, of both kinds, and find them by an id once asked for", async () => {
    using fabric = openManual();
    const mem = fabric.mem().leaseMs(100).acquire();
    const disk = await fabric.block().acquire();
    expect(new Set(fabric.leases())).toEqual(new Set([mem, disk]));
    expect([fabric.find(mem.leaseId), fabric.find(disk.leaseId)]).toEqual([mem, disk]);
    fabric.tick(START_MS + 100);
    expect([fabric.leases(), fabric.find(mem.leaseId)]).toEqual([[disk], undefined]);
    expect(fabric.find("0".repeat(32))).toBeUndefined();
  });

  it("leave out a lease that ended and whose bytes are not back yet", () => {
    using fabric = openManual();
    const lease = fabric.mem().acquire();
    const { leaseId } = lease;
    lease.lend();
    lease.release();
    expect([fabric.leases(), fabric.find(leaseId)]).toEqual([[], undefined]);
  });
});

describe("Fabric.stats()", () => {
  it("accounts for every byte of both kinds", async () => {
    using fabric = openManual({ memoryBytes: 1_000, blocks: 4 });
    const none = { leasedBytes: 0, quarantinedBytes: 0, fencedBytes: 0, activeLeases: 0 };
    const ends = { expired: 0, revoked: 0, released: 0 };
    expect(fabric.stats()).toEqual({
      memory: { ...none, ...ends, capacityBytes: 960, freeBytes: 960, largestFreeBytes: 960 },
      blocks: { ...none, ...ends, capacityBytes: 2_048, freeBytes: 2_048, largestFreeBytes: 2_048 },
    });
    fabric.mem().minBytes(100).acquire();
    const lease = fabric.mem().leaseMs(10).acquire();
    lease.lend();
    const disk = await fabric.block().minBlocks(3).acquire();
    fabric.tick(START_MS + 10);
    expect(fabric.stats()).toMatchObject({
      memory: {
        leasedBytes: 128,
        quarantinedBytes: 64,
        freeBytes: 768,
        activeLeases: 1,
        expired: 1,
      },
      blocks: { leasedBytes: 3 * BLOCK_BYTES, largestFreeBytes: BLOCK_BYTES, activeLeases: 1 },
    });
    disk.release();
    await settled();
    expect(fabric.stats().blocks).toMatchObject({ freeBytes: 2_048, released: 1 });
  });
});

describe("Fabric.open()", () => {
  it("fills in the defaults, for options left out and for options given as undefined", () => {
    using fabric = openManual({ maxLeases: undefined as never, fenceAfterMs: undefined as never });
    expect(fabric.options).toEqual({
      ...FABRIC_DEFAULTS,
      memoryBytes: 65_536,
      blocks: 64,
      tick: "manual",
    });
  });

  it("gives each fabric an id of its own", () => {
    using a = openManual();
    using b = openManual();
    expect(a.fabricId).toMatch(/^[0-9a-f]{32}$/);
    expect(a.fabricId).not.toBe(b.fabricId);
  });

  it("gives handles whose types say what each can do", () => {
    expectTypeOf<ReturnType<ReturnType<Fabric["mem"]>["acquire"]>>().toEqualTypeOf<MemLease>();
    using fabric = openManual();
    expect(fabric.mem().acquire()).toBeInstanceOf(MemLease);
  });
});

describe("a builder", () => {
  it("is a value: each step gives a new one and leaves the old as it was", () => {
    using fabric = openManual();
    const small = fabric.mem().minBytes(64).tenant("a").label("small").leaseMs(10);
    const large = small.minBytes(640).leaseSecs(2).label("large");
    const [s, l] = [small.acquire(), large.acquire()];
    expect([s.bytes, s.label, s.expiresAtMs]).toEqual([64, "small", START_MS + 10]);
    expect([l.bytes, l.label, l.expiresAtMs, l.tenant]).toEqual([
      640,
      "large",
      START_MS + 2_000,
      "a",
    ]);
    expect(small.acquire().bytes).toBe(64);
  });

  it("rounds a TTL up to a whole millisecond: no lease is shorter than was asked for", () => {
    using fabric = openManual();
    expect(fabric.mem().leaseMs(0.25).acquire().expiresAtMs).toBe(START_MS + 1);
    expect(fabric.mem().leaseSecs(0.0105).acquire().expiresAtMs).toBe(START_MS + 11);
  });
});
