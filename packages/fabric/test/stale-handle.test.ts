import type { Fabric, MemLease } from "@selvage/fabric";
import { describe, expect, it } from "vitest";
import { slotAt } from "../src/control-layout.ts";
import { FREE, GENERATION_MAX, packHigh } from "../src/lease-word.ts";
import { codeOf, openManual, START_MS } from "./rig.ts";

/** A handle, and the next lease of its slot. */
function reLeased(): { fabric: Fabric; old: MemLease; next: MemLease } {
  const fabric = openManual();
  const old = fabric.mem().acquire();
  old.write(0, Uint8Array.of(1));
  old.release();
  const next = fabric.mem().tenant("next").leaseMs(1_000).acquire();
  next.write(0, Uint8Array.of(2));
  return { fabric, old, next };
}

/** Puts a free slot's generation where a million leases would have brought it. */
function age(lease: MemLease, fabric: Fabric): void {
  lease.release();
  const high = slotAt(lease.slot) + 1;
  fabric.control.words.store(high, packHigh(GENERATION_MAX - 1, FREE, 0));
}

describe("A5: a handle whose slot has been leased again", () => {
  it("does not end the next lease by release, revoke or dispose", () => {
    const { fabric, old, next } = reLeased();
    expect([next.slot, next.generation]).toEqual([old.slot, old.generation + 1]);
    const outcomes = [old.release(), old.revoke(), old.revoke({ graceMs: 5 })];
    old[Symbol.dispose]();
    fabric.tick(START_MS + 10);
    expect(outcomes).toEqual([false, false, false]);
    expect([next.state, next.expiresAtMs]).toEqual(["active", START_MS + 1_000]);
  });

  it("does not renew the next lease", () => {
    const { old, next } = reLeased();
    expect(codeOf(() => old.renew(60_000))).toBe("LEASE_EXPIRED");
    expect(next.expiresAtMs).toBe(START_MS + 1_000);
  });

  it("A3: neither reads nor writes the next lease's bytes", () => {
    const { old, next } = reLeased();
    const codes = [
      codeOf(() => old.read(0, 1)),
      codeOf(() => old.readInto(0, new Uint8Array(1))),
      codeOf(() => old.write(0, Uint8Array.of(9))),
      codeOf(() => old.with((view) => view.fill(9), { write: true })),
      codeOf(() => old.lend()),
    ];
    expect(codes).toEqual(Array.from({ length: 5 }, () => "LEASE_EXPIRED"));
    expect(next.read(0, 2)).toEqual(Uint8Array.of(2, 0));
  });

  it("still says how it ended itself, and when it would have", () => {
    const { fabric, old, next } = reLeased();
    next.revoke();
    const third = fabric.mem().leaseMs(5).acquire();
    expect([third.slot, old.expiresAtMs, next.state]).toEqual([
      old.slot,
      START_MS + 300_000,
      "revoked",
    ]);
    // Two leases later only that it is over is known; never that it stands.
    expect(old.isLive).toBe(false);
  });

  it("is not found by its ticket, which reaches nothing of the next lease", () => {
    using fabric = openManual();
    const old = fabric.mem().acquire();
    const ticket = old.ticket();
    old.release();
    const next = fabric.mem().acquire();
    expect(next.slot).toBe(old.slot);
    expect(codeOf(() => fabric.attachMem(ticket))).toBe("NOT_FOUND");
    const { generation } = next;
    expect(codeOf(() => fabric.attachMem({ ...ticket, generation }))).toBe("NOT_FOUND");
  });
});

describe("a slot whose generations are used up", () => {
  it("takes one last lease, then no more, and the fabric goes on with its other slots", () => {
    using fabric = openManual({ maxLeases: 2 });
    age(fabric.mem().acquire(), fabric);
    const last = fabric.mem().acquire();
    expect([last.slot, last.generation]).toEqual([0, GENERATION_MAX]);
    last.write(0, Uint8Array.of(1));
    expect(last.release()).toBe(true);
    const after = fabric.mem().acquire();
    expect([after.slot, after.generation, last.state]).toEqual([1, 1, "released"]);
    expect(codeOf(() => last.read(0, 1))).toBe("LEASE_EXPIRED");
    expect(codeOf(() => fabric.mem().acquire())).toBe("CAPACITY_EXCEEDED");
    after.release();
    expect(fabric.mem().acquire().slot).toBe(1);
  });

  it("gives its bytes back all the same", () => {
    using fabric = openManual({ maxLeases: 2 });
    age(fabric.mem().acquire(), fabric);
    fabric.mem().minBytes(65_536).acquire().release();
    expect(fabric.stats().memory.freeBytes).toBe(65_536);
  });

  it("keeps generations apart up to the largest, whose word is negative", () => {
    using fabric = openManual({ maxLeases: 1 });
    age(fabric.mem().acquire(), fabric);
    const lease = fabric.mem().leaseMs(100).acquire();
    lease.renew(200);
    fabric.tick(START_MS + 199);
    expect(lease.read(0, 1)).toEqual(Uint8Array.of(0));
    fabric.tick(START_MS + 200);
    expect(lease.state).toBe("expired");
  });
});
