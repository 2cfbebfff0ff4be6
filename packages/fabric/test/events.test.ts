import { InvariantError, type FabricEvent } from "@selvage/fabric";
import { describe, expect, it } from "vitest";
import { openManual, START_MS } from "./rig.ts";

describe("Fabric.subscribe()", () => {
  it("tells of every step of a lease in order, with its account", () => {
    using fabric = openManual();
    const events: FabricEvent[] = [];
    fabric.subscribe((event) => events.push(event));
    const lease = fabric.mem().tenant("a").label("scratch").leaseMs(100).acquire();
    lease.renew(500);
    fabric.tick(START_MS + 100);
    lease.revoke({ graceMs: 50 });
    fabric.tick(START_MS + 150);
    const constant = {
      kind: "mem",
      leaseId: lease.leaseId,
      generation: 1,
      tenant: "a",
      label: "scratch",
      bytes: 64,
    };
    expect(events).toEqual(
      [
        { type: "granted", atMs: START_MS, expiresAtMs: START_MS + 100 },
        { type: "renewed", atMs: START_MS + 100, expiresAtMs: START_MS + 500 },
        { type: "warned", atMs: START_MS + 100, expiresAtMs: START_MS + 150 },
        { type: "revoked", atMs: START_MS + 150, expiresAtMs: START_MS + 150 },
        { type: "reclaimed", atMs: START_MS + 150, expiresAtMs: START_MS + 150 },
      ].map((event) => ({ ...constant, ...event })),
    );
  });

  it("tells nothing after it is ended, and ends one subscription of a function subscribed twice", () => {
    using fabric = openManual();
    let told = 0;
    const count = (): void => void told++;
    const [first, second] = [fabric.subscribe(count), fabric.subscribe(count)];
    fabric.mem().acquire();
    first();
    first();
    fabric.mem().acquire();
    second();
    fabric.mem().acquire();
    expect(told).toBe(3);
  });

  it("drops a subscriber that throws, tells the others, and throws its error from the next tick, once", () => {
    using fabric = openManual();
    const cause = new RangeError("of the subscriber's");
    let told = 0;
    fabric.subscribe(() => {
      throw cause;
    });
    fabric.subscribe(() => void told++);
    const lease = fabric.mem().acquire();
    lease.release();
    expect([told, lease.state, fabric.stats().memory.freeBytes]).toEqual([3, "released", 65_536]);
    const failure = (() => {
      try {
        return fabric.tick(START_MS);
      } catch (thrown) {
        return thrown;
      }
    })();
    expect(failure).toBeInstanceOf(InvariantError);
    expect((failure as Error).cause).toBe(cause);
    expect(() => fabric.tick(START_MS)).not.toThrow();
  });

  it("A1: finds the books closed in every event, also when the listener leases and releases", () => {
    using fabric = openManual({ memoryBytes: 1_024, blocks: 0 });
    const sums = new Set<number>();
    let depth = 0;
    fabric.subscribe(({ type }) => {
      const { leasedBytes, freeBytes, quarantinedBytes, fencedBytes } = fabric.stats().memory;
      sums.add(leasedBytes + freeBytes + quarantinedBytes + fencedBytes);
      if (type !== "reclaimed" || ++depth > 3) return;
      fabric.mem().minBytes(1_024).acquire().release();
      fabric.tick(START_MS);
    });
    fabric.mem().minBytes(1_024).leaseMs(10).acquire();
    fabric.tick(START_MS + 10);
    expect([...sums]).toEqual([1_024]);
    expect(fabric.stats().memory).toMatchObject({ expired: 1, released: 3, freeBytes: 1_024 });
  });
});
