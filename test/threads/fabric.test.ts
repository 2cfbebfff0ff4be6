import { BLOCK_BYTES } from "@selvage/fabric";
import { Fabric } from "@selvage/node";
import { describe, expect, it } from "vitest";
import { Hand, isQuiet, kinds, openFabric, tickUntil } from "./fabric-hand.ts";
import { lateHolderRounds, renewalRounds } from "./fabric-rounds.ts";
import { GO } from "./fabric-worker.ts";

/** Threads attached besides the owner: entries in use, of 16 words each from word 64 on (`control-layout.ts`). */
const threadsOf = ({ control }: Fabric): number =>
  Array.from({ length: 255 }, (_, thread) => control.words.load(64 + (thread + 1) * 16)).filter(
    (nonce) => nonce !== 0,
  ).length;

const told = (fabric: Fabric): string[] => {
  const types: string[] = [];
  fabric.subscribe(({ type }) => types.push(type));
  return types;
};

describe.each(kinds)("threads on %s memory", (kind) => {
  it("reach a lease's bytes by its ticket, both ways", async () => {
    using fabric = openFabric(kind);
    const lease = fabric.mem().acquire();
    lease.write(0, new Uint8Array(64).fill(5));
    const hand = new Hand();
    expect(await hand.ask({ do: "attachAndRead", ticket: lease.ticket() })).toMatchObject({
      value: 5,
    });
    expect(await hand.ask({ do: "write", value: 6 })).toMatchObject({ code: null });
    expect(lease.read(0, 64)).toEqual(new Uint8Array(64).fill(6));
    await hand.end();
  });

  it("A3: hold a ticket past the end and neither read nor write the next tenant's bytes", async () => {
    const passed = await lateHolderRounds(kind, 1_000);
    expect(passed).toBeGreaterThan(1_000);
  });

  it("A3: are told LEASE_EXPIRED at the deadline, before the owner has got round to it", async () => {
    using fabric = openFabric(kind);
    const lease = fabric.mem().leaseMs(100).acquire();
    const hand = new Hand();
    await hand.attach(lease.ticket());
    fabric.control.advanceClock(lease.expiresAtMs - 1);
    expect(await hand.ask({ do: "read" })).toMatchObject({ code: null });
    fabric.control.advanceClock(lease.expiresAtMs);
    expect(await hand.ask({ do: "read" })).toMatchObject({ code: "LEASE_EXPIRED" });
    expect(await hand.ask({ do: "renew" })).toMatchObject({ code: "LEASE_EXPIRED" });
    await hand.end();
  });

  it("release a lease, which its owner sees at once and books at its next tick", async () => {
    using fabric = openFabric(kind);
    const lease = fabric.mem().acquire();
    const hand = new Hand();
    await hand.attach(lease.ticket());
    expect(await hand.ask({ do: "release" })).toEqual({ value: true, code: null });
    expect([lease.state, lease.release()]).toEqual(["released", false]);
    fabric.tick(fabric.nowMs());
    expect(fabric.stats().memory).toMatchObject({ activeLeases: 0, released: 2 });
    await tickUntil(fabric, isQuiet(fabric));
    await hand.end();
  });

  it("L4: renew against the owner's expiry with one outcome each time", async () => {
    const outcomes = await renewalRounds(kind, 300);
    expect(outcomes.renewed + outcomes.expired).toBe(300);
    expect(outcomes.expired).toBeGreaterThan(0);
  });

  it("keep a lease's bytes while they are inside a `with`, until their exit and no longer", async () => {
    using fabric = openFabric(kind, { memoryBytes: 4_096 });
    const lease = fabric.mem().minBytes(4_096).acquire();
    const hand = new Hand();
    await hand.attach(lease.ticket());
    await hand.enter("hold");
    lease.release();
    for (let turn = 0; turn < 50; turn++) {
      await new Promise((resolve) => setImmediate(resolve));
      expect(fabric.tick(fabric.nowMs())).toMatchObject({ reclaimed: 0, pending: 1 });
    }
    expect(fabric.stats().memory).toMatchObject({ quarantinedBytes: 4_096, largestFreeBytes: 0 });
    await hand.end();
    await tickUntil(fabric, isQuiet(fabric));
    expect(fabric.mem().minBytes(4_096).acquire().read(0, 4_096)).toEqual(new Uint8Array(4_096));
    expect(threadsOf(fabric)).toBe(0);
  });

  it("get the region fenced by silence, and lift the fence when they are heard again", async () => {
    using fabric = openFabric(kind, { fenceAfterMs: 500 });
    const events = told(fabric);
    const lease = fabric.mem().acquire();
    const hand = new Hand();
    await hand.attach(lease.ticket());
    const { flags, answer } = await hand.enter("block");
    const endedMs = fabric.nowMs();
    lease.release();
    expect(fabric.tick(endedMs + 499)).toMatchObject({ fenced: 0, pending: 1 });
    expect(fabric.tick(endedMs + 500)).toMatchObject({ fenced: 1, pending: 1 });
    expect(fabric.stats().memory).toMatchObject({ fencedBytes: 64, quarantinedBytes: 0 });
    Atomics.store(flags, GO, 1);
    Atomics.notify(flags, GO);
    await answer;
    await tickUntil(fabric, isQuiet(fabric));
    expect(events).toEqual(["granted", "released", "fenced", "unfenced", "reclaimed"]);
    await hand.end();
  });

  it("get the region fenced by silence, and lift the fence by their exit", async () => {
    using fabric = openFabric(kind, { fenceAfterMs: 500 });
    const lease = fabric.mem().acquire();
    const hand = new Hand();
    await hand.attach(lease.ticket());
    await hand.enter("block");
    lease.revoke();
    fabric.tick(fabric.nowMs() + 500);
    expect(fabric.stats().memory.fencedBytes).toBe(64);
    await hand.end();
    await tickUntil(fabric, isQuiet(fabric));
    expect(fabric.stats().memory.freeBytes).toBe(65_536);
  });

  it("attach once, however many tickets they hold", async () => {
    using fabric = openFabric(kind);
    const hand = new Hand();
    for (let turn = 0; turn < 5; turn++) await hand.attach(fabric.mem().acquire().ticket());
    expect(threadsOf(fabric)).toBe(1);
    await hand.end();
  });

  it("are refused a lease of a fabric that has closed meanwhile", async () => {
    const fabric = openFabric(kind);
    const lease = fabric.mem().acquire();
    const ticket = lease.ticket();
    const other = fabric.mem().acquire().ticket();
    const late = new Hand();
    const early = new Hand();
    await early.attach(ticket);
    fabric[Symbol.dispose]();
    expect(await late.ask({ do: "attach", ticket })).toMatchObject({ code: "REVOKED" });
    expect(await early.ask({ do: "attach", ticket: other })).toMatchObject({ code: "REVOKED" });
    expect(await early.ask({ do: "read" })).toMatchObject({ code: "REVOKED" });
    await Promise.all([late.end(), early.end()]);
  });
});

describe.each(kinds)("one thread with two fabrics on %s memory", (kind) => {
  it("reaches the one's lease from the other, and its bytes go back without waiting for anybody", async () => {
    using here = openFabric(kind);
    using there = openFabric(kind);
    const lease = here.mem().acquire();
    lease.write(0, Uint8Array.of(9));
    const reached = there.attachMem(lease.ticket());
    expect([reached.read(0, 1)[0], Fabric.attachMem(lease.ticket()).read(0, 1)[0]]).toEqual([9, 9]);
    expect(threadsOf(here)).toBe(1);
    lease.release();
    await tickUntil(here, isQuiet(here));
    expect(here.stats().memory).toMatchObject({ quarantinedBytes: 0, freeBytes: 65_536 });
  });
});

describe("worker threads", () => {
  it("come and go without leaving an entry: twenty in turn", async () => {
    using fabric = openFabric("wasm");
    const lease = fabric.mem().acquire();
    for (let turn = 0; turn < 20; turn++) {
      const hand = new Hand();
      await hand.attach(lease.ticket());
      expect(threadsOf(fabric)).toBe(1);
      await hand.end();
      await tickUntil(fabric, () => threadsOf(fabric) === 0);
    }
  });
});

describe("a fabric ticked by itself", () => {
  it("expires a lease without anybody's tick, and closes with every byte back", async () => {
    const fabric = Fabric.open({ memoryBytes: 65_536, blocks: 8, maxLeases: 64 });
    const mem = fabric.mem().leaseMs(30).acquire();
    const disk = await fabric.block().leaseMs(30).acquire();
    const ends: string[] = [];
    const both = new Promise<void>((resolve) => {
      fabric.subscribe(({ type }) => {
        if (type === "expired") ends.push(type);
        if (ends.length === 2) resolve();
      });
    });
    await both;
    expect([mem.state, disk.state]).toEqual(["expired", "expired"]);
    expect(await fabric.close()).toEqual({ revoked: 0, pending: 0, pendingBytes: 0 });
    expect(fabric.stats().blocks.freeBytes).toBe(8 * BLOCK_BYTES);
  });
});
