import { describe, expect, it } from "vitest";
import { codeOf, openManual, START_MS } from "./rig.ts";

describe.each([false, true])("MemLease.lend(), guard: %s", (guard) => {
  it("keeps the bytes of a lapsed lease from the next tenant until the loan ends", () => {
    using fabric = openManual({ guard, memoryBytes: 1_024 });
    const lease = fabric.mem().minBytes(1_024).leaseMs(100).acquire();
    lease.write(0, new Uint8Array(1_024).fill(3));
    const loan = lease.lend();
    expect(fabric.tick(START_MS + 100)).toMatchObject({ expired: 1, reclaimed: 0, pending: 1 });
    expect([loan.lapsed, loan.view[1_023]]).toEqual([true, 3]);
    expect(fabric.stats().memory).toMatchObject({ quarantinedBytes: 1_024, freeBytes: 0 });
    expect(codeOf(() => fabric.mem().acquire())).toBe("CAPACITY_EXCEEDED");
    loan.end();
    expect(fabric.tick(START_MS + 100)).toMatchObject({ reclaimed: 1, reclaimedBytes: 1_024 });
    expect(fabric.mem().minBytes(1_024).acquire().read(0, 1_024)).toEqual(new Uint8Array(1_024));
  });

  it("is never fenced: whoever lends knows how long the attempt takes", () => {
    using fabric = openManual({ guard, fenceAfterMs: 10 });
    const lease = fabric.mem().acquire();
    using loan = lease.lend();
    lease.release();
    expect(fabric.tick(START_MS + 1_000_000)).toMatchObject({ fenced: 0, pending: 1 });
    expect(loan.lapsed).toBe(true);
  });

  it("ends once: a second end() does not unpin what another loan holds", () => {
    using fabric = openManual({ guard });
    const lease = fabric.mem().acquire();
    const [first, second] = [lease.lend(), lease.lend()];
    lease.release();
    first.end();
    first.end();
    first[Symbol.dispose]();
    expect(fabric.tick(START_MS).pending).toBe(1);
    second.end();
    expect(fabric.tick(START_MS).pending).toBe(0);
  });

  it("lands what is written to a loan for writing, while the lease stands", () => {
    using fabric = openManual({ guard });
    const lease = fabric.mem().acquire();
    using loan = lease.lend({ write: true });
    loan.view.fill(8);
    loan.end();
    expect(lease.read(0, 64)).toEqual(new Uint8Array(64).fill(8));
  });
});

describe("MemLease.lend() in guard mode", () => {
  it("empties the view at its end, and lands nothing that was not lent for writing", () => {
    using fabric = openManual({ guard: true });
    const lease = fabric.mem().acquire();
    const loan = lease.lend();
    loan.view.fill(8);
    loan.end();
    expect([loan.view.length, lease.read(0, 1)[0]]).toEqual([0, 0]);
  });
});
