import type { Fabric, MemLease } from "@selvage/fabric";
import { describe, expect, it } from "vitest";
import { codeOf, imbalances, openManual, rejectionOf, START_MS } from "./rig.ts";

const bytes = Uint8Array.of(1, 2, 3);

const operations: Record<string, (lease: MemLease) => unknown> = {
  read: (lease) => lease.read(0, 3),
  readInto: (lease) => lease.readInto(0, new Uint8Array(3)),
  write: (lease) => lease.write(0, bytes),
  with: (lease) => lease.with((view) => view[0]),
  "with for writing": (lease) => lease.with((view) => view.set(bytes), { write: true }),
  ticket: (lease) => lease.ticket(),
  lend: (lease) => lease.lend().end(),
  renew: (lease) => lease.renew(1),
};

describe.each(Object.entries(operations))("A3: %s", (_name, operate) => {
  it("passes one millisecond before the deadline", () => {
    using fabric = openManual();
    const lease = fabric.mem().leaseMs(250).acquire();
    fabric.tick(START_MS + 249);
    expect(() => operate(lease)).not.toThrow();
  });

  it("throws LEASE_EXPIRED at the deadline", () => {
    using fabric = openManual();
    const lease = fabric.mem().leaseMs(250).acquire();
    fabric.tick(START_MS + 250);
    expect(codeOf(() => operate(lease))).toBe("LEASE_EXPIRED");
  });

  it("throws LEASE_EXPIRED at the deadline also before the owner has noticed", () => {
    using fabric = openManual();
    const lease = fabric.mem().leaseMs(250).acquire();
    // As a keeper does: the clock moves, and nobody has ended the lease yet.
    fabric.control.advanceClock(START_MS + 250);
    expect(codeOf(() => operate(lease))).toBe("LEASE_EXPIRED");
    // W3: whoever is refused ends the lease by that, so that no renewal brings it back.
    expect(fabric.stats().memory.expired).toBe(1);
  });
});

describe("A3: a clock that jumps", () => {
  it.each([2 ** 31 - 1, 2 ** 31 + 1, 2 ** 32 - 1, 2 ** 32, 2 ** 32 + 50])(
    "by %i ms at once, as after a machine's sleep, passes no operation",
    (jumpMs) => {
      using fabric = openManual();
      const lease = fabric.mem().leaseMs(100).acquire();
      lease.read(0, 1);
      fabric.control.advanceClock(START_MS + 100 + jumpMs);
      expect(codeOf(() => lease.read(0, 1))).toBe("LEASE_EXPIRED");
      expect(codeOf(() => lease.renew(1))).toBe("LEASE_EXPIRED");
    },
  );
});

/** A lease whose deadline the clock has reached, and nobody has noticed. */
function late(): { fabric: Fabric; lease: MemLease } {
  const fabric = openManual();
  const lease = fabric.mem().leaseMs(250).acquire();
  fabric.control.advanceClock(START_MS + 250);
  return { fabric, lease };
}

describe("a lease whose deadline passed unnoticed", () => {
  it("is expired already", () => {
    const { lease } = late();
    expect([lease.state, lease.isLive]).toEqual(["expired", false]);
  });

  it("L4: cannot be released: it expired, and is counted so", () => {
    const { fabric, lease } = late();
    expect([lease.release(), lease.state]).toEqual([false, "expired"]);
    expect(fabric.stats().memory).toMatchObject({ expired: 1, released: 0, freeBytes: 65_536 });
  });

  it.each([0, 10])("L4: cannot be revoked with grace %i: it expired, and stays so", (graceMs) => {
    const { fabric, lease } = late();
    expect([lease.revoke({ graceMs }), lease.state]).toEqual([false, "expired"]);
    fabric.tick(START_MS + 1_000);
    expect([lease.state, fabric.stats().memory.revoked]).toEqual(["expired", 0]);
  });

  it("L4: is not revived by a renewal, and ends at the next tick", () => {
    const { fabric, lease } = late();
    expect(codeOf(() => lease.renew(1_000))).toBe("LEASE_EXPIRED");
    expect(fabric.tick(START_MS + 251)).toMatchObject({ expired: 1, reclaimed: 1, pending: 0 });
  });
});

describe("expiry", () => {
  it("gives every byte back at the tick that notices it, in one terminal state each", () => {
    using fabric = openManual();
    const leases = [10, 20, 30].map((ttlMs) =>
      fabric.mem().minBytes(1_024).leaseMs(ttlMs).acquire(),
    );
    const summary = fabric.tick(START_MS + 20);
    expect(summary).toEqual({
      nowMs: START_MS + 20,
      expired: 2,
      released: 0,
      revoked: 0,
      reclaimed: 2,
      reclaimedBytes: 2_048,
      fenced: 0,
      pending: 0,
    });
    expect(leases.map(({ state }) => state)).toEqual(["expired", "expired", "active"]);
    expect(fabric.stats().memory).toMatchObject({ leasedBytes: 1_024, expired: 2 });
    expect(imbalances(fabric.stats())).toEqual([]);
  });

  it("reaches block leases alike", async () => {
    using fabric = openManual();
    const lease = await fabric.block().minBlocks(2).leaseMs(250).acquire();
    fabric.tick(START_MS + 249);
    await lease.writeBlock(1, bytes);
    fabric.control.advanceClock(START_MS + 250);
    const { code } = await rejectionOf(lease.readBlock(1));
    expect([code, lease.state]).toEqual(["LEASE_EXPIRED", "expired"]);
  });

  it("does not come early for a lease renewed at the last millisecond", () => {
    using fabric = openManual();
    const lease = fabric.mem().leaseMs(100).acquire();
    for (let nowMs = START_MS + 99; nowMs < START_MS + 3_000; nowMs += 99) {
      fabric.tick(nowMs);
      expect(lease.renew(100)).toBe(nowMs + 100);
    }
    expect(lease.state).toBe("active");
  });

  it("cannot be put off by a tick that goes back", () => {
    using fabric = openManual();
    const lease = fabric.mem().leaseMs(100).acquire();
    fabric.tick(START_MS + 99);
    expect(fabric.tick(START_MS + 1).nowMs).toBe(START_MS + 99);
    expect(lease.renew(1)).toBe(START_MS + 100);
    fabric.tick(START_MS + 100);
    expect(lease.state).toBe("expired");
  });

  it.each([2 ** 31 - 1, 2 ** 31, 2 ** 32, 2 ** 32 + 5, 2 ** 39])(
    "is exact for a TTL of %i ms, which does not fit one word",
    (ttlMs) => {
      using fabric = openManual();
      const lease = fabric.mem().leaseMs(ttlMs).acquire();
      expect(lease.expiresAtMs).toBe(START_MS + ttlMs);
      expect(() => lease.read(0, 1)).not.toThrow();
      if (ttlMs > 2 ** 38) return;
      fabric.tick(START_MS + ttlMs - 1);
      expect(() => lease.read(0, 1)).not.toThrow();
      fabric.tick(START_MS + ttlMs);
      expect(codeOf(() => lease.read(0, 1))).toBe("LEASE_EXPIRED");
    },
  );
});
