import { GRANULE_BYTES, type Fabric, type MemLease } from "@selvage/fabric";
import { describe, expect, it } from "vitest";
import { codeOf, openManual, START_MS, thrownBy } from "./rig.ts";

const shared = [true, false];

describe.each(shared)("a memory lease, shared: %s", (isShared) => {
  const open = (): Fabric => openManual({ shared: isShared });

  it("is granted active, zero, and rounded up to whole granules", () => {
    using fabric = open();
    const lease = fabric.mem().minBytes(65).leaseMs(500).label("scratch").acquire();
    expect(lease.bytes).toBe(2 * GRANULE_BYTES);
    expect(lease.read(0, lease.bytes)).toEqual(new Uint8Array(128));
    expect(lease.toJSON()).toEqual({
      kind: "mem",
      leaseId: lease.leaseId,
      generation: 1,
      state: "active",
      tenant: "default",
      label: "scratch",
      bytes: 128,
      expiresAtMs: START_MS + 500,
    });
  });

  it("lasts 300 seconds, of one granule, unless told otherwise", () => {
    using fabric = open();
    const lease = fabric.mem().acquire();
    expect([lease.bytes, lease.expiresAtMs]).toEqual([GRANULE_BYTES, START_MS + 300_000]);
  });

  it("has an id of 128 bits that no other lease has", () => {
    using fabric = open();
    const ids = Array.from({ length: 600 }, () => fabric.mem().acquire().leaseId);
    expect(new Set(ids).size).toBe(600);
    expect(ids.filter((id) => !/^[0-9a-f]{32}$/.test(id))).toEqual([]);
  });

  it.each([1, 12, 96, 97, 4_096])("reads back %i bytes that were written, and only those", (n) => {
    using fabric = open();
    const lease = fabric.mem().minBytes(8_192).acquire();
    const bytes = Uint8Array.from({ length: n }, (_, index) => index * 7 + 1);
    lease.write(100, bytes);
    const target = new Uint8Array(n);
    lease.readInto(100, target);
    expect(lease.read(100, n)).toEqual(bytes);
    expect(target).toEqual(bytes);
    expect([...lease.read(99, 1), ...lease.read(100 + n, 1)]).toEqual([0, 0]);
  });

  it("gives copies: writing to what read() returned does not reach the lease", () => {
    using fabric = open();
    const lease = fabric.mem().acquire();
    lease.read(0, 8).fill(9);
    expect(lease.read(0, 8)).toEqual(new Uint8Array(8));
  });

  it("is renewed to the later of its deadline and the TTL from now", () => {
    using fabric = open();
    const lease = fabric.mem().leaseMs(500).acquire();
    expect(lease.renew(100)).toBe(START_MS + 500);
    fabric.tick(START_MS + 450);
    expect(lease.renew(100)).toBe(START_MS + 550);
    fabric.tick(START_MS + 549);
    expect([lease.state, lease.expiresAtMs]).toEqual(["active", START_MS + 550]);
  });

  it("is released once: the second release says false, and both leave it released", () => {
    using fabric = open();
    const lease = fabric.mem().acquire();
    expect([lease.release(), lease.state, lease.release(), lease.state]).toEqual([
      true,
      "released",
      false,
      "released",
    ]);
    expect(fabric.stats().memory).toMatchObject({ released: 1, leasedBytes: 0, activeLeases: 0 });
  });

  it("ends with its block when held by `using`, and disposing it again changes nothing", () => {
    using fabric = open();
    let kept: MemLease;
    {
      using lease = fabric.mem().acquire();
      kept = lease;
      expect(lease.isLive).toBe(true);
    }
    kept[Symbol.dispose]();
    expect(kept.state).toBe("released");
    expect(fabric.stats().memory).toMatchObject({ released: 1, freeBytes: 65_536 });
  });

  it("takes no operation once it is released, and says why", () => {
    using fabric = open();
    const lease = fabric.mem().label("scratch").acquire();
    lease.release();
    const { code, message, details } = thrownBy(() => lease.read(0, 1));
    expect([code, details["state"], details["leaseId"]]).toEqual([
      "LEASE_EXPIRED",
      "released",
      lease.leaseId,
    ]);
    expect(message).toBe('Cannot use lease "scratch": it was released');
    expect([
      codeOf(() => lease.write(0, new Uint8Array(1))),
      codeOf(() => lease.readInto(0, new Uint8Array(1))),
      codeOf(() => lease.with(() => 0)),
      codeOf(() => lease.renew(10)),
      codeOf(() => lease.ticket()),
      codeOf(() => lease.lend()),
    ]).toEqual(Array.from({ length: 6 }, () => "LEASE_EXPIRED"));
  });

  it("A2: is zero when its bytes are leased again", () => {
    using fabric = open();
    const first = fabric.mem().minBytes(65_536).acquire();
    first.with((view) => view.fill(0xab), { write: true });
    first.release();
    const second = fabric.mem().minBytes(65_536).acquire();
    expect(second.with((view) => view.reduce((sum, byte) => sum + byte, 0))).toBe(0);
  });

  it("keeps telling its own deadline after its bytes went back, however far off that was", () => {
    using fabric = open();
    // Beyond 2^32 ms from the base the deadline needs the upper bits that a freed slot clears.
    const lease = fabric
      .mem()
      .leaseSecs(100 * 86_400)
      .acquire();
    lease.release();
    expect(lease.expiresAtMs).toBe(START_MS + 100 * 86_400_000);
  });
});
