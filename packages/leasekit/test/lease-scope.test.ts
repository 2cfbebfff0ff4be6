import { InvariantError, type Fabric, type MemLease } from "@selvage/fabric";
import { LeaseScope, RenewalManager } from "@selvage/leasekit";
import { describe, expect, it } from "vitest";
import { openManual, START_MS } from "./hand-fabric.ts";

const options = { policy: { jitterFraction: 0 } };

/** A scope of two leases of 1,000 ms, and a hand on its time. */
function open(): {
  fabric: Fabric;
  scope: LeaseScope;
  leases: MemLease[];
  tick: (nowMs: number) => number;
} {
  const fabric = openManual();
  const renewals = new RenewalManager(fabric);
  const scope = new LeaseScope(renewals, options);
  const leases = [1, 2].map(() => fabric.mem().leaseMs(1_000).acquire());
  for (const lease of leases) scope.add(lease);
  const tick = (nowMs: number): number => {
    const { renewed } = renewals.tick(START_MS + nowMs);
    fabric.tick(START_MS + nowMs);
    return renewed;
  };
  return { fabric, scope, leases, tick };
}

const statesOf = (leases: readonly MemLease[]): string[] => leases.map((lease) => lease.state);

describe("LeaseScope", () => {
  it("keeps its leases while it has a consumer, and lets them end once the last has left", () => {
    const { scope, leases, tick } = open();
    const consumers = [scope.join(), scope.join()];
    expect(tick(800)).toBe(2);
    consumers[0]?.leave();
    expect([tick(1_600), scope.consumers, scope.isOver]).toEqual([2, 1, false]);
    consumers[1]?.leave();
    expect([scope.consumers, scope.isOver]).toEqual([0, true]);
    expect(tick(2_500)).toBe(0);
    expect(statesOf(leases)).toEqual(["active", "active"]);
    tick(2_599);
    expect(statesOf(leases)).toEqual(["active", "active"]);
    tick(2_600);
    expect(statesOf(leases)).toEqual(["expired", "expired"]);
  });

  it("counts a consumer that leaves twice, or is disposed after leaving, once", () => {
    const { scope, tick } = open();
    const [first, second] = [scope.join(), scope.join()];
    first.leave();
    first.leave();
    first[Symbol.dispose]();
    expect([scope.consumers, scope.isOver, tick(800)]).toEqual([1, false, 2]);
    second[Symbol.dispose]();
    second.leave();
    expect([scope.consumers, scope.isOver]).toEqual([0, true]);
  });

  it("is not over before anyone has joined: its leases are kept for who comes", () => {
    const { scope, tick } = open();
    expect([tick(800), scope.isOver]).toEqual([2, false]);
  });

  it("keeps a lease that is added while consumers are at work", () => {
    const { fabric, scope, tick } = open();
    scope.join();
    tick(500);
    const late = fabric.mem().leaseMs(1_000).acquire();
    scope.add(late);
    expect([tick(1_250), scope.leases.size]).toEqual([1 + 0, 3]);
    expect(late.state).toBe("active");
  });

  it("ends whoever is in it: leaving afterwards changes nothing", () => {
    const { scope, leases, tick } = open();
    const consumer = scope.join();
    scope.end();
    scope.end();
    scope[Symbol.dispose]();
    consumer.leave();
    expect([scope.isOver, scope.consumers]).toEqual([true, 0]);
    tick(1_000);
    expect(statesOf(leases)).toEqual(["expired", "expired"]);
  });

  it("releases every lease at once, and says nothing about those that are over already", () => {
    const { fabric, scope, leases } = open();
    leases[0]?.revoke();
    scope.release();
    expect([statesOf(leases), scope.isOver]).toEqual([["revoked", "released"], true]);
    fabric.tick(START_MS + 1);
    expect(fabric.stats().memory).toMatchObject({ leasedBytes: 0, revoked: 1, released: 1 });
    scope.release();
  });

  it("releases after its end, too", () => {
    const { scope, leases } = open();
    scope.end();
    scope.release();
    expect(statesOf(leases)).toEqual(["released", "released"]);
  });

  it("takes no lease and no consumer once it is over", () => {
    const { fabric, scope } = open();
    scope.join().leave();
    const late = fabric.mem().acquire();
    expect(() => scope.join()).toThrow(InvariantError);
    expect(() => scope.add(late)).toThrow(InvariantError);
    expect(scope.leases.has(late)).toBe(false);
  });

  it("without renewals only counts", () => {
    const { fabric } = open();
    const scope = new LeaseScope(undefined);
    const lease = fabric.mem().leaseMs(1_000).acquire();
    scope.add(lease);
    const consumer = scope.join();
    fabric.tick(START_MS + 1_000);
    expect([lease.state, scope.consumers]).toEqual(["expired", 1]);
    consumer.leave();
    expect(scope.isOver).toBe(true);
  });

  it("does not take in a lease that cannot be kept any more", () => {
    const { fabric, scope } = open();
    const lease = fabric.mem().leaseMs(1_000).acquire();
    lease.release();
    expect(() => scope.add(lease)).toThrow(expect.objectContaining({ code: "LEASE_EXPIRED" }));
    expect(scope.leases.has(lease)).toBe(false);
  });
});
