import { describe, expect, it } from "vitest";
import { codeOf, openManual, START_MS, thrownBy } from "./rig.ts";

describe("MemLease.revoke()", () => {
  it("without a grace ends the lease at once, and its holder learns REVOKED", () => {
    using fabric = openManual();
    const lease = fabric.mem().acquire();
    expect([lease.revoke(), lease.state, lease.revoke()]).toEqual([true, "revoked", false]);
    expect([codeOf(() => lease.read(0, 1)), codeOf(() => lease.renew(10))]).toEqual([
      "REVOKED",
      "REVOKED",
    ]);
    expect(fabric.stats().memory).toMatchObject({ revoked: 1, freeBytes: 65_536 });
  });

  it("with a grace lets the warned holder go on until the grace ends", () => {
    using fabric = openManual();
    const lease = fabric.mem().leaseMs(10_000).acquire();
    expect(lease.revoke({ graceMs: 100 })).toBe(true);
    expect([lease.state, lease.isLive, lease.expiresAtMs]).toEqual([
      "warned",
      true,
      START_MS + 100,
    ]);
    fabric.tick(START_MS + 99);
    lease.write(0, Uint8Array.of(7));
    expect(lease.with((view) => view[0])).toBe(7);
    expect(fabric.tick(START_MS + 100)).toMatchObject({ revoked: 1, expired: 0, reclaimed: 1 });
    expect([lease.state, codeOf(() => lease.read(0, 1))]).toEqual(["revoked", "REVOKED"]);
  });

  it("L4: refuses a warned holder's renewal", () => {
    using fabric = openManual();
    const lease = fabric.mem().leaseMs(10_000).acquire();
    lease.revoke({ graceMs: 100 });
    const { code, recovery } = thrownBy(() => lease.renew(10_000));
    expect([code, recovery, lease.expiresAtMs]).toEqual(["REVOKED", "readmit", START_MS + 100]);
  });

  it("never lengthens a lease by its grace", () => {
    using fabric = openManual();
    const lease = fabric.mem().leaseMs(50).acquire();
    lease.revoke({ graceMs: 10_000 });
    expect(lease.expiresAtMs).toBe(START_MS + 50);
    fabric.tick(START_MS + 50);
    expect(lease.state).toBe("revoked");
  });

  it("is told once: a second warning says false, a revocation without grace ends it", () => {
    using fabric = openManual();
    const lease = fabric.mem().acquire();
    expect([
      lease.revoke({ graceMs: 100 }),
      lease.revoke({ graceMs: 50 }),
      lease.expiresAtMs,
      lease.revoke(),
      lease.state,
    ]).toEqual([true, false, START_MS + 100, true, "revoked"]);
  });

  it("leaves a warned holder free to release first", () => {
    using fabric = openManual();
    const lease = fabric.mem().acquire();
    lease.revoke({ graceMs: 100 });
    expect([lease.release(), lease.state]).toEqual([true, "released"]);
    fabric.tick(START_MS + 1_000);
    expect(fabric.stats().memory).toMatchObject({ released: 1, revoked: 0, expired: 0 });
  });

  it("reads revoked at the end of the grace also before the owner has noticed", () => {
    using fabric = openManual();
    const lease = fabric.mem().acquire();
    lease.revoke({ graceMs: 100 });
    fabric.control.advanceClock(START_MS + 100);
    expect([lease.state, codeOf(() => lease.read(0, 1)), lease.release()]).toEqual([
      "revoked",
      "REVOKED",
      false,
    ]);
    expect(fabric.stats().memory.revoked).toBe(1);
  });

  it("does nothing to a lease that has ended", () => {
    using fabric = openManual();
    const lease = fabric.mem().acquire();
    lease.release();
    expect([lease.revoke(), lease.revoke({ graceMs: 5 }), lease.state]).toEqual([
      false,
      false,
      "released",
    ]);
  });
});
