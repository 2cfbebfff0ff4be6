import { FabricError, isFabricError, type Fabric, type MemLease } from "@selvage/fabric";
import {
  RENEWAL_DEFAULTS,
  RenewalManager,
  RenewalPolicy,
  type RenewalSummary,
} from "@selvage/leasekit";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { openKept, openManual, START_MS } from "./hand-fabric.ts";

const nothing: RenewalSummary = {
  renewed: 0,
  failed: 0,
  expired: 0,
  nearExpiry: 0,
  pending: 0,
  nextDueAtMs: undefined,
};
const exact = { jitterFraction: 0 };

function lease(fabric: Fabric, ttlMs: number): MemLease {
  return fabric.mem().leaseMs(ttlMs).acquire();
}

function codeOf(call: () => unknown): string {
  try {
    call();
  } catch (thrown) {
    if (isFabricError(thrown)) return thrown.code;
    throw thrown;
  }
  return "no error";
}

/** Ticks renewals, then the fabric, as an engine does. */
function tickBoth(renewals: RenewalManager, fabric: Fabric, nowMs: number): RenewalSummary {
  const summary = renewals.tick(nowMs);
  fabric.tick(nowMs);
  return summary;
}

describe("RenewalManager.tick()", () => {
  it("finds nothing to do when nothing is registered", () => {
    using fabric = openManual();
    expect(new RenewalManager(fabric).tick(START_MS)).toEqual(nothing);
  });

  it("renews at the due moment, not 1 ms before, for the TTL that the lease had, and says when next", () => {
    using fabric = openManual();
    const renewals = new RenewalManager(fabric);
    const one = lease(fabric, 1_000);
    renewals.register(one.leaseId, one.expiresAtMs, exact);
    const dueAtMs = START_MS + 750;
    expect(tickBoth(renewals, fabric, dueAtMs - 1)).toEqual({ ...nothing, nextDueAtMs: dueAtMs });
    expect(one.expiresAtMs).toBe(START_MS + 1_000);
    expect(tickBoth(renewals, fabric, dueAtMs)).toEqual({
      ...nothing,
      renewed: 1,
      nextDueAtMs: dueAtMs + 750,
    });
    expect(one.expiresAtMs).toBe(dueAtMs + 1_000);
    expect(renewals.renewedTotal).toBe(1);
  });

  it("tells the first of several due moments", () => {
    using fabric = openManual();
    const renewals = new RenewalManager(fabric);
    for (const ttlMs of [4_000, 1_000, 2_000]) {
      const { leaseId, expiresAtMs } = lease(fabric, ttlMs);
      renewals.register(leaseId, expiresAtMs, exact);
    }
    expect(renewals.tick(START_MS).nextDueAtMs).toBe(START_MS + 750);
  });

  it("is itself progress: who ticks is at work, whenever it last said so", () => {
    using fabric = openManual();
    const renewals = new RenewalManager(fabric, { stallMs: 100 });
    const one = lease(fabric, 1_000);
    renewals.register(one.leaseId, one.expiresAtMs, exact);
    fabric.control.advanceClock(START_MS + 740);
    expect(renewals.tick(START_MS + 760).renewed).toBe(1);
  });

  it("takes the jitter from the lease's id", () => {
    using fabric = openManual();
    const renewals = new RenewalManager(fabric);
    const dues = new Set<number>();
    for (let count = 0; count < 8; count++) {
      const one = lease(fabric, 1_000_000);
      const seed = Number.parseInt(one.leaseId.slice(0, 8), 16);
      const dueAtMs = new RenewalPolicy().renewalDeadline(START_MS, one.expiresAtMs, seed);
      renewals.register(one.leaseId, one.expiresAtMs);
      expect(renewals.tick(START_MS).nextDueAtMs).toBe(Math.floor(dueAtMs));
      dues.add(Math.floor(dueAtMs));
      renewals.unregister(one.leaseId);
    }
    expect(dues.size).toBe(8);
  });

  it("L4: does not revive a lease whose deadline has come, and tells it once as failed and expired", () => {
    using fabric = openManual();
    const renewals = new RenewalManager(fabric);
    const one = lease(fabric, 1_000);
    renewals.register(one.leaseId, one.expiresAtMs);
    expect(tickBoth(renewals, fabric, one.expiresAtMs)).toEqual({
      ...nothing,
      failed: 1,
      expired: 1,
    });
    expect(one.state).toBe("expired");
    expect(tickBoth(renewals, fabric, START_MS + 5_000)).toEqual(nothing);
    expect(renewals.unregister(one.leaseId)).toBe(false);
  });

  it("L4: renews in the last millisecond before the deadline", () => {
    using fabric = openManual();
    const renewals = new RenewalManager(fabric);
    const one = lease(fabric, 1_000);
    renewals.register(one.leaseId, one.expiresAtMs);
    expect(tickBoth(renewals, fabric, one.expiresAtMs - 1).renewed).toBe(1);
    expect(one.expiresAtMs).toBe(START_MS + 1_999);
  });

  it("never shortens a deadline that its holder moved further", () => {
    using fabric = openManual();
    const renewals = new RenewalManager(fabric);
    const one = lease(fabric, 1_000);
    renewals.register(one.leaseId, one.expiresAtMs, exact);
    const farMs = one.renew(60_000);
    for (let nowMs = START_MS; nowMs < START_MS + 5_000; nowMs += 100)
      tickBoth(renewals, fabric, nowMs);
    expect(one.expiresAtMs).toBe(farMs);
  });

  it.each([
    ["revoked", (one: MemLease) => one.revoke()],
    ["warned", (one: MemLease) => one.revoke({ graceMs: 900 })],
    ["released", (one: MemLease) => one.release()],
  ])("counts a %s lease as failed, once, and no longer keeps it", (_how, end) => {
    using fabric = openManual();
    const renewals = new RenewalManager(fabric);
    const [one, other] = [lease(fabric, 1_000), lease(fabric, 1_000)];
    for (const { leaseId, expiresAtMs } of [one, other])
      renewals.register(leaseId, expiresAtMs, exact);
    end(one);
    const { expiresAtMs } = one;
    expect(tickBoth(renewals, fabric, START_MS + 750)).toEqual({
      ...nothing,
      renewed: 1,
      failed: 1,
      expired: 1,
      nextDueAtMs: START_MS + 1_500,
    });
    expect(one.expiresAtMs).toBe(expiresAtMs);
    expect(tickBoth(renewals, fabric, START_MS + 760).failed).toBe(0);
    expect(renewals.unregister(one.leaseId)).toBe(false);
  });

  it("calls near expiry what is due and whose holder is silent, until it is over", () => {
    using fabric = openManual();
    const renewals = new RenewalManager(fabric);
    const one = lease(fabric, 1_000);
    // Thread 9 has never said anything; the clock is 0 at its stamp.
    renewals.hold(one, { thread: 9, stallMs: 100, policy: exact });
    expect(tickBoth(renewals, fabric, START_MS + 749).nearExpiry).toBe(0);
    expect(tickBoth(renewals, fabric, START_MS + 750)).toEqual({
      ...nothing,
      nearExpiry: 1,
      nextDueAtMs: START_MS + 750,
    });
    expect(tickBoth(renewals, fabric, START_MS + 999).nearExpiry).toBe(1);
    expect(tickBoth(renewals, fabric, START_MS + 1_000)).toEqual({
      ...nothing,
      failed: 1,
      expired: 1,
    });
    expect(tickBoth(renewals, fabric, START_MS + 1_010)).toEqual(nothing);
  });

  it("tells the end of a hold once, whether a tick or the hold's own end comes first", () => {
    using fabric = openManual();
    const renewals = new RenewalManager(fabric);
    const told = renewals.hold(lease(fabric, 1_000));
    tickBoth(renewals, fabric, START_MS + 500);
    expect(tickBoth(renewals, fabric, START_MS + 2_000).expired).toBe(1);
    expect([told.isLapsed, tickBoth(renewals, fabric, START_MS + 2_001).expired]).toEqual([
      true,
      0,
    ]);
    told.end();
    expect(tickBoth(renewals, fabric, START_MS + 2_002)).toEqual(nothing);
    expect(told.isLapsed).toBe(true);
  });

  it("counts what was renewed since the tick before, also by leases unregistered meanwhile", () => {
    const { fabric, pass, keep } = openKept();
    const renewals = new RenewalManager(fabric);
    const one = lease(fabric, 100);
    renewals.register(one.leaseId, one.expiresAtMs, exact);
    for (let count = 0; count < 20; count++) {
      pass(10);
      keep();
    }
    expect(renewals.renewedTotal).toBe(2);
    renewals.unregister(one.leaseId);
    expect(renewals.tick(fabric.nowMs())).toEqual({ ...nothing, renewed: 2 });
    expect(renewals.tick(fabric.nowMs())).toEqual(nothing);
    expect(renewals.renewedTotal).toBe(2);
    fabric[Symbol.dispose]();
  });
});

describe("RenewalManager.register()", () => {
  it("says NOT_FOUND for an id that no lease has, and for a lease that is over", () => {
    using fabric = openManual();
    const renewals = new RenewalManager(fabric);
    const one = lease(fabric, 1_000);
    const { leaseId, expiresAtMs } = one;
    one.release();
    for (const id of ["0".repeat(32), "", leaseId])
      expect(codeOf(() => renewals.register(id, expiresAtMs))).toBe("NOT_FOUND");
  });

  it("says LEASE_EXPIRED at the deadline, before the fabric has got round to it", () => {
    const { fabric, pass } = openKept();
    const renewals = new RenewalManager(fabric);
    const one = lease(fabric, 1_000);
    const { leaseId, expiresAtMs } = one;
    pass(1_000);
    expect(codeOf(() => renewals.register(leaseId, expiresAtMs))).toBe("LEASE_EXPIRED");
    expect(codeOf(() => renewals.hold(one, { ttlMs: 1_000 }))).toBe("LEASE_EXPIRED");
    fabric[Symbol.dispose]();
    expect(codeOf(() => renewals.hold(one, { ttlMs: 1_000 }))).toBe("REVOKED");
  });

  it.each([NaN, Infinity, -Infinity, START_MS, START_MS - 1, "soon", undefined])(
    "refuses %s as the end of a lease",
    (expiresAtMs) => {
      using fabric = openManual();
      const renewals = new RenewalManager(fabric);
      const { leaseId } = lease(fabric, 1_000);
      const call = (): void => renewals.register(leaseId, expiresAtMs as number);
      expect(codeOf(call)).toBe("INVALID_ARGUMENT");
    },
  );

  it("replaces the policy when it comes again, and keeps the lease once", () => {
    using fabric = openManual();
    const renewals = new RenewalManager(fabric);
    const { leaseId, expiresAtMs } = lease(fabric, 1_000);
    renewals.register(leaseId, expiresAtMs, exact);
    renewals.register(leaseId, expiresAtMs, { ...exact, renewAtFraction: 0.5 });
    expect(renewals.tick(START_MS).nextDueAtMs).toBe(START_MS + 500);
    expect(renewals.tick(START_MS + 800).renewed).toBe(1);
    expect(renewals.unregister(leaseId)).toBe(true);
    expect(renewals.tick(START_MS + 801)).toEqual(nothing);
  });

  it("leaves an earlier registration as it was when the new one is refused", () => {
    using fabric = openManual();
    const renewals = new RenewalManager(fabric);
    const { leaseId, expiresAtMs } = lease(fabric, 1_000);
    renewals.register(leaseId, expiresAtMs, exact);
    const bad = { renewAtFraction: 2 };
    expect(codeOf(() => renewals.register(leaseId, expiresAtMs, bad))).toBe("INVALID_ARGUMENT");
    expect(renewals.tick(START_MS).nextDueAtMs).toBe(START_MS + 750);
  });
});

describe("RenewalManager.unregister()", () => {
  it("lets the lease end exactly at the deadline that it had", () => {
    using fabric = openManual();
    const renewals = new RenewalManager(fabric);
    const one = lease(fabric, 1_000);
    const { leaseId } = one;
    renewals.register(leaseId, one.expiresAtMs, exact);
    tickBoth(renewals, fabric, START_MS + 800);
    expect([renewals.unregister(leaseId), renewals.unregister(leaseId)]).toEqual([true, false]);
    tickBoth(renewals, fabric, START_MS + 1_799);
    expect([one.state, one.expiresAtMs]).toEqual(["active", START_MS + 1_800]);
    tickBoth(renewals, fabric, START_MS + 1_800);
    expect(one.state).toBe("expired");
  });
});

describe("RenewalManager and holds: bad input", () => {
  it.each([0, -1, NaN, "30", null])("refuses stallMs %s", (stallMs) => {
    using fabric = openManual();
    const options = { stallMs: stallMs as number };
    const one = lease(fabric, 1_000);
    // Null counts as absent, as undefined does.
    const want = stallMs === null ? "no error" : "INVALID_ARGUMENT";
    expect(codeOf(() => new RenewalManager(fabric, options))).toBe(want);
    expect(codeOf(() => new RenewalManager(fabric).hold(one, options))).toBe(want);
  });

  it.each([
    [{ ttlMs: 0 }],
    [{ ttlMs: -5 }],
    [{ ttlMs: NaN }],
    [{ thread: -1 }],
    [{ thread: 1.5 }],
    [{ thread: NaN }],
    [{ policy: { renewAtFraction: 1 } }],
  ])("refuses to hold a lease with %j", (options) => {
    using fabric = openManual();
    const one = lease(fabric, 1_000);
    const renewals = new RenewalManager(fabric);
    expect(() => renewals.hold(one, options)).toThrow(FabricError);
    expect(renewals.tick(START_MS)).toEqual(nothing);
  });
});

describe("RenewalManager over many leases", () => {
  const ttls = fc.array(fc.integer({ min: 40, max: 100_000 }), { minLength: 1, maxLength: 20 });
  // A renewal is due at 0.85 of the TTL at the latest, so ticks must be closer than 0.15 of the shortest.
  const jumps = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), {
    minLength: 1,
    maxLength: 80,
  });

  it.each([
    ["the default jitter", 0.14, RENEWAL_DEFAULTS],
    ["no jitter", 0.2, new RenewalPolicy(exact)],
  ])(
    "L8: with %s no registered lease ends while ticks come every %d of its TTL",
    (_j, part, policy) => {
      fc.assert(
        fc.property(ttls, jumps, (ttlsMs, parts) => {
          using fabric = openManual();
          const renewals = new RenewalManager(fabric);
          const leases = ttlsMs.map((ttlMs) => lease(fabric, ttlMs));
          const deadlines = leases.map((one) => one.expiresAtMs);
          for (const one of leases) renewals.register(one.leaseId, one.expiresAtMs, policy);
          const stepMs = Math.floor(Math.min(...ttlsMs) * part);
          let nowMs = START_MS;
          let renewed = 0;
          for (const jump of parts) {
            nowMs += Math.round(jump * stepMs);
            const summary = tickBoth(renewals, fabric, nowMs);
            renewed += summary.renewed;
            expect([summary.failed, summary.expired, summary.nearExpiry]).toEqual([0, 0, 0]);
            expect(summary.nextDueAtMs).toBeGreaterThan(nowMs);
            for (const [index, one] of leases.entries()) {
              expect(one.state).toBe("active");
              // Never shorter; and a renewal asks for the TTL, counted from the tick.
              const before = deadlines[index] ?? 0;
              const ttlMs = ttlsMs[index] ?? 0;
              expect([before, nowMs + ttlMs]).toContain(one.expiresAtMs);
              deadlines[index] = one.expiresAtMs;
            }
          }
          expect(renewals.renewedTotal).toBe(renewed);
          // Unregistered, each ends exactly at its deadline.
          for (const one of leases) expect(renewals.unregister(one.leaseId)).toBe(true);
          for (const one of leases.toSorted((a, b) => a.expiresAtMs - b.expiresAtMs)) {
            const atMs = one.expiresAtMs;
            if (atMs - 1 > nowMs) tickBoth(renewals, fabric, (nowMs = atMs - 1));
            expect(nowMs >= atMs || one.state === "active").toBe(true);
            tickBoth(renewals, fabric, (nowMs = Math.max(nowMs, atMs)));
            expect([one.state, one.expiresAtMs]).toEqual(["expired", atMs]);
          }
        }),
        { numRuns: 40 },
      );
    },
  );

  it("agrees with a model of one lease over every sequence of ticks, however late", () => {
    const step = fc.oneof(
      fc.integer({ min: 0, max: 60 }),
      fc.integer({ min: 0, max: 400 }),
      fc.constantFrom(749, 750, 999, 1_000),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        using fabric = openManual();
        const renewals = new RenewalManager(fabric);
        const one = lease(fabric, 1_000);
        renewals.register(one.leaseId, one.expiresAtMs, exact);
        let model = { dueMs: START_MS + 750, endMs: START_MS + 1_000, live: true };
        let nowMs = START_MS;
        for (const ms of steps) {
          nowMs += ms;
          const summary = tickBoth(renewals, fabric, nowMs);
          const isDue = model.live && nowMs >= model.dueMs;
          const isLost = isDue && nowMs >= model.endMs;
          expect([summary.renewed, summary.expired]).toEqual([
            isDue && !isLost ? 1 : 0,
            isLost ? 1 : 0,
          ]);
          if (isLost) model = { ...model, live: false };
          else if (isDue) model = { dueMs: nowMs + 750, endMs: nowMs + 1_000, live: true };
          expect(summary.nextDueAtMs).toBe(model.live ? model.dueMs : undefined);
          expect(one.state).toBe(model.live ? "active" : "expired");
          expect(one.expiresAtMs).toBe(model.endMs);
        }
      }),
    );
  });
});
