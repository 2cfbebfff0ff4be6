import { type Fabric, TENANTS_MAX } from "@selvage/fabric";
import { describe, expect, it } from "vitest";
import { codeOf, openManual, rejectionOf, START_MS, thrownBy } from "./rig.ts";

const lease = (fabric: Fabric, tenant: string, bytes: number) =>
  fabric.mem().tenant(tenant).minBytes(bytes).acquire();

describe("A6: a tenant's quota", () => {
  it("of bytes refuses what would exceed it, and names the largest lease that fits", () => {
    using fabric = openManual({ tenants: { a: { memoryBytes: 1_024 } } });
    lease(fabric, "a", 640);
    const { code, recovery, details } = thrownBy(() => lease(fabric, "a", 448));
    expect([code, recovery]).toEqual(["CAPACITY_EXCEEDED", "wait"]);
    expect(details).toEqual({
      kind: "mem",
      tenant: "a",
      requestedBytes: 448,
      largestFreeBytes: 384,
      limit: "quota",
    });
    expect(lease(fabric, "a", 384).bytes).toBe(384);
  });

  it("is whole again once what was leased has ended, however often", () => {
    using fabric = openManual({ tenants: { a: { memoryBytes: 1_024, leases: 1 } } });
    for (let turn = 0; turn < 5; turn++) lease(fabric, "a", 1_024).release();
    expect(lease(fabric, "a", 1_024).bytes).toBe(1_024);
  });

  it("of leases counts leases of both kinds until their bytes are back", async () => {
    using fabric = openManual({ tenants: { a: { leases: 2 } } });
    const first = lease(fabric, "a", 64);
    await fabric.block().tenant("a").acquire();
    const { code, details } = thrownBy(() => lease(fabric, "a", 64));
    expect([code, details["leases"], details["leasesMax"]]).toEqual(["CAPACITY_EXCEEDED", 2, 2]);
    expect(details["largestFreeBytes"]).toBe(65_536 - 64);
    const loan = first.lend();
    first.release();
    expect(codeOf(() => lease(fabric, "a", 64))).toBe("CAPACITY_EXCEEDED");
    loan.end();
    fabric.tick(START_MS);
    expect(lease(fabric, "a", 64).state).toBe("active");
  });

  it("of blocks refuses what would exceed it, by rejection", async () => {
    using fabric = openManual({ tenants: { a: { blocks: 4 } } });
    await fabric.block().tenant("a").minBlocks(3).acquire();
    const { code, details } = await rejectionOf(fabric.block().tenant("a").minBlocks(2).acquire());
    expect([code, details["largestFreeBytes"]]).toEqual(["CAPACITY_EXCEEDED", 512]);
  });

  it.each([0, 63])("of %i bytes, less than a granule, refuses everything", (memoryBytes) => {
    using fabric = openManual({ tenants: { a: { memoryBytes } } });
    expect(thrownBy(() => lease(fabric, "a", 1)).details["largestFreeBytes"]).toBe(0);
  });

  it("that is no multiple of a granule still names a lease that is granted", () => {
    using fabric = openManual({ tenants: { a: { memoryBytes: 1_000 } } });
    const { details } = thrownBy(() => lease(fabric, "a", 1_000));
    expect(details["largestFreeBytes"]).toBe(960);
    expect(lease(fabric, "a", 960).bytes).toBe(960);
  });

  it("bounds what stats() says the default tenant can take, also before its first lease", () => {
    using fabric = openManual({ tenants: { default: { memoryBytes: 1_024, blocks: 2 } } });
    const { memory, blocks } = fabric.stats();
    expect([memory.largestFreeBytes, blocks.largestFreeBytes]).toEqual([1_024, 1_024]);
  });

  it("does not keep other tenants from what is left", () => {
    using fabric = openManual({ tenants: { a: { memoryBytes: 64 } } });
    lease(fabric, "a", 64);
    expect(lease(fabric, "b", 65_536 - 64).bytes).toBe(65_536 - 64);
    expect(codeOf(() => lease(fabric, "c", 1))).toBe("CAPACITY_EXCEEDED");
  });
});

describe("capacity", () => {
  it("is shared by all tenants, and refused with its bound when it is used up", () => {
    using fabric = openManual();
    lease(fabric, "a", 65_536);
    expect(thrownBy(() => lease(fabric, "b", 64)).details).toMatchObject({
      largestFreeBytes: 0,
      limit: "capacity",
    });
  });

  it("may be free in pieces too small: the refusal says how large the largest is", () => {
    using fabric = openManual();
    const leases = Array.from({ length: 16 }, () => lease(fabric, "default", 4_096));
    for (const [index, one] of leases.entries()) if (index % 2 === 0) one.release();
    expect(fabric.stats().memory).toMatchObject({ freeBytes: 32_768, largestFreeBytes: 4_096 });
    expect(thrownBy(() => lease(fabric, "default", 4_097)).details).toMatchObject({
      largestFreeBytes: 4_096,
      limit: "fragmented",
    });
    leases[1]?.release();
    expect(lease(fabric, "default", 12_288).bytes).toBe(12_288);
  });

  it.each([2 ** 31, 2 ** 41, Number.MAX_SAFE_INTEGER])(
    "refuses %i bytes or blocks as it refuses any lease too large",
    async (size) => {
      using fabric = openManual();
      expect(codeOf(() => lease(fabric, "a", size))).toBe("CAPACITY_EXCEEDED");
      expect((await rejectionOf(fabric.block().minBlocks(size).acquire())).code).toBe(
        "CAPACITY_EXCEEDED",
      );
    },
  );

  it("takes nothing for a lease that was refused", () => {
    using fabric = openManual({ maxLeases: 1 });
    for (let turn = 0; turn < 5; turn++)
      expect(codeOf(() => lease(fabric, "a", 65_537))).toBe("CAPACITY_EXCEEDED");
    expect(lease(fabric, "a", 65_536).generation).toBe(1);
  });

  it("of the lease table is a bound too, and names what would fit once a lease ends", () => {
    using fabric = openManual({ maxLeases: 2 });
    const first = lease(fabric, "a", 64);
    lease(fabric, "a", 64);
    expect(thrownBy(() => lease(fabric, "a", 64)).details).toMatchObject({
      maxLeases: 2,
      largestFreeBytes: 65_536 - 128,
    });
    first.release();
    expect(lease(fabric, "a", 64).slot).toBe(first.slot);
  });
});

describe("S2: tenants", () => {
  it(`may be ${TENANTS_MAX}, and no more`, () => {
    using fabric = openManual();
    for (let tenant = 0; tenant < TENANTS_MAX; tenant++) lease(fabric, `t${tenant}`, 64);
    expect(codeOf(() => lease(fabric, "one too many", 64))).toBe("CAPACITY_EXCEEDED");
    expect(lease(fabric, "t0", 64).tenant).toBe("t0");
  });

  it("have arenas of their own: no ticket of one leads to another's memory", () => {
    using fabric = openManual();
    const [a, b, a2] = ["a", "b", "a"].map((name) => lease(fabric, name, 64).ticket());
    expect(a?.arena === b?.arena).toBe(false);
    expect(a?.arena === a2?.arena).toBe(true);
    expect(a?.control === a?.arena).toBe(false);
  });

  it.each(["__proto__", "constructor", "toString", "hasOwnProperty"])(
    "may be called %s, with no quota unless one is given",
    (name) => {
      using open = openManual();
      expect(lease(open, name, 65_536).tenant).toBe(name);
      const tenants = Object.fromEntries([[name, { memoryBytes: 128 }]]);
      using bounded = openManual({ tenants });
      expect(codeOf(() => lease(bounded, name, 192))).toBe("CAPACITY_EXCEEDED");
    },
  );
});
