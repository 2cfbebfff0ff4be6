/* oxlint-disable vitest/no-conditional-expect -- what holds differs by kind, and by the step at which a schedule stands */
/** What a queue does once its lease has ended, and what it lends meanwhile. */
import { isFabricError, regionOf, type MemLease } from "@selvage/fabric";
import { FabricQueue } from "@selvage/collections";
import type { Fabric } from "@selvage/node";
import { describe, expect, it } from "vitest";
import { codeOf } from "./manual-fabric.ts";
import { kinds, openRing, OtherThread, valueOf } from "./queue-rig.ts";

const stride = 24;
const at = (id: number): Uint8Array => valueOf(id, 4 + (id % 20));

/** Ends the lease and gives its bytes to another tenant, filled. */
const reLease = (fabric: Fabric, lease: MemLease, thread: OtherThread, how: string): MemLease => {
  if (how === "revoked") lease.revoke();
  else if (how === "released") lease.release();
  else fabric.tick(lease.expiresAtMs);
  fabric.tick(fabric.nowMs());
  thread.announce();
  fabric.tick(fabric.nowMs());
  const next = fabric.mem().minBytes(lease.bytes).leaseMs(1e9).acquire();
  next.write(0, new Uint8Array(next.bytes).fill(1));
  expect(regionOf(next).offset).toBe(regionOf(lease).offset);
  return next;
};

describe("R7, A3: a ring whose lease has ended", () => {
  /** What can be asked of a queue, on whichever thread. */
  const asks: readonly [name: string, ask: (queue: FabricQueue) => unknown][] = [
    ["push", (queue) => queue.push(at(1))],
    ["pushBatch", (queue) => queue.pushBatch([at(1), at(2)])],
    ["claim", (queue) => queue.claim()],
    ["pop", (queue) => queue.pop()],
    ["popInto", (queue) => queue.popInto(new Uint8Array(stride))],
    ["popBatch", (queue) => queue.popBatch(3)],
    ["peek", (queue) => queue.peek()],
    ["flush", (queue) => queue.flush()],
    ["size", (queue) => queue.size],
    ["isClosed", (queue) => queue.isClosed],
    ["stats", (queue) => queue.stats()],
    ["pushWait", (queue) => queue.pushWait(at(1), 0)],
    ["popWait", (queue) => queue.popWait(0)],
    ["waitForItem", (queue) => queue.waitForItem(0)],
    ["ticket", (queue) => queue.ticket()],
  ];

  it.each(
    kinds.flatMap((kind) => ["expired", "revoked", "released"].map((how) => [kind, how] as const)),
  )("of %s, %s: every operation is refused at both ends, and writes nothing", (kind, how) => {
    for (const [name, ask] of asks)
      for (const prepare of [
        () => {},
        (queue: FabricQueue) => void queue.push(at(1)),
        (queue: FabricQueue) => {
          queue.push(at(1));
          queue.push(at(2));
          queue.pop();
        },
      ]) {
        const { fabric, lease, queue } = openRing(kind, 4, stride);
        const thread = new OtherThread(fabric);
        const theirs = kind === "many" ? thread.join(lease) : queue;
        if (kind !== "many") thread.attach(lease);
        prepare(theirs);
        const next = reLease(fabric, lease, thread, how);
        const code = how === "revoked" ? "REVOKED" : "LEASE_EXPIRED";
        expect(
          codeOf(() => ask(theirs)),
          name,
        ).toBe(code);
        expect(
          codeOf(() => ask(queue)),
          name,
        ).toBe(code);
        theirs.close();
        theirs[Symbol.dispose]();
        queue[Symbol.dispose]();
        expect(next.read(0, next.bytes), name).toEqual(new Uint8Array(next.bytes).fill(1));
        fabric[Symbol.dispose]();
      }
  });

  it.each(kinds)("of %s: what is held is given up, and nothing is written", async (kind) => {
    for (const guard of [false, true]) {
      const { fabric, lease, queue } = openRing(kind, 4, stride, { guard });
      const thread = new OtherThread(fabric, guard);
      queue.push(at(1));
      queue.push(at(2));
      queue.flush();
      thread.attach(lease);
      const peeked = queue.peek() as Uint8Array;
      const claimed = queue.claim() as Uint8Array;
      lease.release();
      fabric.tick(fabric.nowMs());
      // Lent bytes are not reclaimed.
      expect(fabric.stats().memory.quarantinedBytes).toBeGreaterThan(0);
      expect(codeOf(() => queue.commit(4))).toBe("LEASE_EXPIRED");
      expect([codeOf(() => queue.commit(4)), codeOf(() => queue.abort())]).toEqual([
        "INVALID_ARGUMENT",
        "INVALID_ARGUMENT",
      ]);
      if (guard) expect(claimed.length).toBe(0);
      await Promise.resolve().then(() => {});
      if (guard) expect(peeked.length).toBe(0);
      const next = reLease(fabric, lease, thread, "released");
      expect([codeOf(() => queue.peek()), codeOf(() => queue.consume())]).toEqual([
        "LEASE_EXPIRED",
        "LEASE_EXPIRED",
      ]);
      expect(next.read(0, next.bytes)).toEqual(new Uint8Array(next.bytes).fill(1));
      fabric[Symbol.dispose]();
    }
  });

  it.each(kinds)("of %s: what was not published by then never is", async (kind) => {
    const { fabric, lease, queue } = openRing(kind, 100, stride);
    const thread = new OtherThread(fabric);
    thread.attach(lease);
    queue.push(at(1));
    queue.push(at(2));
    const next = reLease(fabric, lease, thread, "released");
    await Promise.resolve().then(() => {});
    expect(next.read(0, next.bytes)).toEqual(new Uint8Array(next.bytes).fill(1));
    fabric[Symbol.dispose]();
  });

  it.each(kinds)("of %s: one that sleeps wakes, and rings no bell there", (kind) => {
    for (const wait of ["popWait", "pushWait"] as const) {
      const { fabric, lease } = openRing(kind, 1, stride);
      const thread = new OtherThread(fabric);
      const theirs = thread.join(lease);
      if (wait === "pushWait") while (theirs.push(at(1)));
      let next: MemLease | undefined;
      thread.sleeps = () => void (next ??= reLease(fabric, lease, thread, "released"));
      const code = codeOf(() => (wait === "popWait" ? theirs.popWait() : theirs.pushWait(at(2))));
      expect(code).toBe("LEASE_EXPIRED");
      expect(next?.read(0, next.bytes)).toEqual(new Uint8Array(lease.bytes).fill(1));
      fabric[Symbol.dispose]();
    }
  });

  it.each(kinds)("of %s: one that waits wakes, and rings no bell there", async (kind) => {
    for (const wait of ["popAsync", "pushAsync"] as const) {
      const { fabric, lease, queue } = openRing(kind, 1, stride);
      const thread = new OtherThread(fabric);
      thread.attach(lease);
      if (wait === "pushAsync") while (queue.push(at(1)));
      const waiting = (wait === "popAsync" ? queue.popAsync() : queue.pushAsync(at(2))).then(
        () => undefined,
        (error: unknown) => (isFabricError(error) ? error.code : "untyped"),
      );
      await Promise.resolve();
      const next = reLease(fabric, lease, thread, "released");
      expect(await waiting).toBe("LEASE_EXPIRED");
      expect(next.read(0, next.bytes)).toEqual(new Uint8Array(next.bytes).fill(1));
      fabric[Symbol.dispose]();
    }
  });

  it("settled in the middle of another ring's operation announces nothing: that ring's bytes are in use", () => {
    const { fabric, lease } = openRing("slots", 8, stride);
    const thread = new OtherThread(fabric);
    const ended = thread.join(lease);
    const own = fabric.mem().minBytes(FabricQueue.bytesFor(1, 8)).leaseMs(1e9).acquire();
    const { pulse } = regionOf(thread.attach(lease)).site;
    const queue = new FabricQueue(thread.attachAlso(own), 1, 8);
    expect([ended.push(at(1)), queue.push(Uint8Array.of(1))]).toEqual([true, true]);
    let announced = 0;
    const announce = pulse.announce.bind(pulse);
    pulse.announce = () => {
      if (pulse.depth === 0) announced++;
      announce();
    };
    lease.release();
    expect([queue.push(Uint8Array.of(2)), announced]).toEqual([false, 0]);
    expect([codeOf(() => ended.push(at(1))), announced]).toEqual(["LEASE_EXPIRED", 1]);
    fabric[Symbol.dispose]();
  });

  it.each(kinds)("of %s: a batch that meets the end half way leaves the rest alone", (kind) => {
    // Far more steps than a batch takes: each is a moment at which the lease ends and its bytes are given away, as soon
    // as this thread announces.
    for (const isPush of [true, false])
      for (let step = 0; ; step++) {
        const { fabric, lease, queue } = openRing(kind, 4, stride);
        const thread = new OtherThread(fabric);
        const theirs = thread.join(lease);
        if (!isPush) queue.pushBatch([at(1), at(2)]);
        let next: MemLease | undefined;
        let isEnded = false;
        const { pulse } = regionOf(thread.attach(lease)).site;
        const announce = pulse.announce.bind(pulse);
        pulse.announce = () => {
          announce();
          if (!isEnded || next !== undefined) return;
          next = reLease(fabric, lease, new OtherThread(fabric), "released");
        };
        const met = thread.interruptedAt(
          step,
          () => {
            try {
              if (isPush) theirs.pushBatch([at(3), at(4)]);
              else theirs.popBatch(5);
              theirs.flush();
            } catch (thrown) {
              expect(isFabricError(thrown) && thrown.code).toBe("LEASE_EXPIRED");
            }
          },
          () => {
            isEnded = true;
            lease.release();
          },
        );
        if (next !== undefined)
          expect(next.read(0, next.bytes), `step ${step}`).toEqual(
            new Uint8Array(next.bytes).fill(1),
          );
        fabric[Symbol.dispose]();
        if (!met) break;
        expect(step).toBeLessThan(400);
      }
  });
});

describe.each(kinds)("guard mode on a ring of %s", (kind) => {
  it("lends private copies that end, and without it views that lead nowhere", async () => {
    for (const guard of [true, false]) {
      const { queue } = openRing(kind, 4, stride, { guard });
      const claimed = queue.claim() as Uint8Array;
      claimed.fill(3);
      if (!guard && kind !== "many") expect(codeOf(() => claimed.buffer)).toBe("UNSUPPORTED");
      else expect(claimed.buffer.byteLength).toBe(stride);
      queue.commit();
      if (guard) expect(claimed.length).toBe(0);
      const aborted = queue.claim() as Uint8Array;
      queue.abort();
      if (guard) expect(aborted.length).toBe(0);
      const peeked = queue.peek() as Uint8Array;
      expect([peeked.buffer.byteLength, peeked.byteOffset]).toEqual([stride, 0]);
      expect(new Uint8Array(peeked)).toEqual(new Uint8Array(stride).fill(3));
      await Promise.resolve().then(() => {});
      if (guard) expect(peeked.length).toBe(0);
      const again = queue.peek() as Uint8Array;
      expect(new Uint8Array(again)).toEqual(new Uint8Array(stride).fill(3));
      expect(queue.consume()).toBe(true);
      if (guard) expect(again.length).toBe(0);
      queue.push(at(1));
      const popped = queue.pop() as Uint8Array;
      expect(popped.buffer.byteLength).toBe(popped.length);
    }
  });
});
