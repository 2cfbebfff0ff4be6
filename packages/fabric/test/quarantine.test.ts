import { Attachments, bufferMemoryProvider, type Fabric } from "@selvage/fabric";
import { describe, expect, it } from "vitest";
import { threadAt } from "../src/control-layout.ts";
import { codeOf, openOn, START_MS, VirtualHost } from "./rig.ts";

/** A fabric, and a second thread that announces only when it is told to. */
function twoThreads(options: { fenceAfterMs?: number } = {}) {
  const host = new VirtualHost();
  let exit: ((nonce: number) => void) | undefined;
  let nudges = 0;
  const expected = new Set<number>();
  const fabric: Fabric = openOn(host, options, {
    threads: {
      threadId: 0,
      host(_fabricId, onExit) {
        exit = onExit;
        return {
          nudge: () => void nudges++,
          expect: (nonce) => void expected.add(nonce),
          close() {},
        };
      },
      introduce() {},
    },
  });
  const nonces: number[] = [];
  const announcements: (() => void)[] = [];
  const attachments = (): Attachments =>
    new Attachments({
      clock: host.clock,
      timer: host.timer,
      random: host.random,
      memory: bufferMemoryProvider,
      threads: {
        threadId: 1,
        host: () => ({ nudge() {}, expect() {}, close() {} }),
        introduce(_owner, _fabricId, nonce, onNudge) {
          nonces.push(nonce);
          announcements.push(onNudge);
        },
      },
    });
  return {
    fabric,
    attachments,
    nudges: () => nudges,
    expected,
    nonces,
    announce: (thread = 0) => announcements[thread]?.(),
    exit: (thread = 0) => exit?.(nonces[thread] as number),
  };
}

const quarantined = (fabric: Fabric): number => fabric.stats().memory.quarantinedBytes;

describe("Q2: bytes of a ticketed lease", () => {
  it("go back only once the attached thread has announced since the end", () => {
    const { fabric, attachments, announce } = twoThreads();
    const lease = fabric.mem().acquire();
    attachments().attachMem(lease.ticket());
    announce();
    lease.release();
    fabric.tick(START_MS + 1);
    expect(quarantined(fabric)).toBe(64);
    announce();
    expect(quarantined(fabric)).toBe(64);
    fabric.tick(START_MS + 2);
    expect(quarantined(fabric)).toBe(0);
  });

  it("wait for every thread, the slowest last", () => {
    const { fabric, attachments, announce, exit } = twoThreads();
    const ticket = fabric.mem().acquire().ticket();
    for (let thread = 0; thread < 3; thread++) attachments().attachMem(ticket);
    fabric.attachMem(ticket).release();
    announce(0);
    announce(2);
    fabric.tick(START_MS);
    expect(quarantined(fabric)).toBe(64);
    exit(1);
    fabric.tick(START_MS);
    expect(quarantined(fabric)).toBe(0);
  });

  it("count a failed check as an announcement, and one inside a `with` not", () => {
    const { fabric, attachments } = twoThreads();
    const [first, second] = [fabric.mem().acquire(), fabric.mem().acquire()];
    const thread = attachments();
    const [a, b] = [first, second].map((lease) => thread.attachMem(lease.ticket()));
    first.release();
    second.with(() => {
      b?.with(() => {
        expect(codeOf(() => a?.read(0, 1))).toBe("LEASE_EXPIRED");
        fabric.tick(START_MS);
        expect(quarantined(fabric)).toBe(64);
      });
    });
    expect(codeOf(() => a?.read(0, 1))).toBe("LEASE_EXPIRED");
    fabric.tick(START_MS);
    expect(quarantined(fabric)).toBe(0);
  });

  it("wait for nobody when no thread is attached, or the lease was never ticketed", () => {
    const { fabric, attachments } = twoThreads();
    const lease = fabric.mem().acquire();
    lease.ticket();
    lease.release();
    expect(quarantined(fabric)).toBe(0);
    attachments().attachMem(fabric.mem().acquire().ticket());
    fabric.mem().acquire().release();
    expect(quarantined(fabric)).toBe(0);
  });

  it("make the owner expect the introduction of every thread that is attached, at every tick", () => {
    const { fabric, attachments, expected, nonces, exit } = twoThreads();
    const lease = fabric.mem().acquire();
    attachments().attachMem(lease.ticket());
    attachments().attachMem(lease.ticket());
    expect(expected).toEqual(new Set());
    fabric.tick(START_MS + 1);
    expect(expected).toEqual(new Set(nonces));
    expected.clear();
    exit();
    fabric.tick(START_MS + 2);
    expect(expected).toEqual(new Set([nonces[1]]));
  });

  it("make the owner nudge idle threads, at the end and at every tick until they answer", () => {
    const { fabric, attachments, announce, nudges } = twoThreads();
    const lease = fabric.mem().acquire();
    attachments().attachMem(lease.ticket());
    lease.release();
    fabric.tick(START_MS);
    expect(nudges()).toBe(2);
    announce();
    fabric.tick(START_MS);
    fabric.tick(START_MS);
    expect(nudges()).toBe(2);
  });

  it("are fenced exactly at fenceAfterMs of silence, and freed when it ends", () => {
    const { fabric, attachments, announce } = twoThreads({ fenceAfterMs: 1_000 });
    const lease = fabric.mem().acquire();
    attachments().attachMem(lease.ticket());
    lease.release();
    expect(fabric.tick(START_MS + 999).fenced).toBe(0);
    expect(fabric.tick(START_MS + 1_000).fenced).toBe(1);
    expect(fabric.tick(START_MS + 5_000).fenced).toBe(0);
    expect(() => fabric.unfence(lease.leaseId)).toThrow("a lease whose teardown failed");
    expect(fabric.stats().memory).toMatchObject({ fencedBytes: 64, quarantinedBytes: 0 });
    announce();
    expect(fabric.tick(START_MS + 5_001)).toMatchObject({ reclaimed: 1, pending: 0 });
    expect(fabric.stats().memory).toMatchObject({ fencedBytes: 0, freeBytes: 65_536 });
  });

  it("stay while the owner pins them for an attached thread's loan, whatever that announces", () => {
    const { fabric, attachments, announce } = twoThreads();
    const lease = fabric.mem().acquire();
    attachments().attachMem(lease.ticket()).lend();
    const unpin = lease.pin();
    lease.release();
    announce();
    fabric.tick(START_MS);
    expect(quarantined(fabric)).toBe(64);
    unpin();
    unpin();
    fabric.tick(START_MS);
    expect(quarantined(fabric)).toBe(0);
  });

  it("compare epochs by their difference: they may wrap", () => {
    const { fabric, attachments, announce } = twoThreads();
    // Word 16 is the reclaim epoch: one short of the largest Int32, so that the next two raises wrap it.
    fabric.control.words.store(16, 0x7fff_fffe);
    const thread = attachments();
    for (let turn = 0; turn < 4; turn++) {
      const lease = fabric.mem().acquire();
      thread.attachMem(lease.ticket());
      announce();
      lease.release();
      fabric.tick(START_MS);
      expect(quarantined(fabric)).toBe(64);
      announce();
      fabric.tick(START_MS);
      expect(quarantined(fabric)).toBe(0);
    }
    expect(fabric.control.words.load(16)).toBeLessThan(0);
  });
});

describe("thread entries", () => {
  it("are bounded: the 256th thread is refused, and takes the place of one that exited", () => {
    const { fabric, attachments, exit } = twoThreads();
    const ticket = fabric.mem().acquire().ticket();
    for (let thread = 0; thread < 255; thread++) attachments().attachMem(ticket);
    expect(codeOf(() => attachments().attachMem(ticket))).toBe("CAPACITY_EXCEEDED");
    exit(17);
    expect(fabric.control.words.load(threadAt(18))).toBe(0);
    expect(attachments().attachMem(ticket).state).toBe("active");
  });
});
