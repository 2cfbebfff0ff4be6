import { Worker } from "node:worker_threads";
import { once } from "node:events";
import type { TimeSource } from "@selvage/fabric";
import { SystemClock } from "@selvage/node";
import fc from "fast-check";
import { describe, expect, it } from "vitest";

const WALL_MS = 1_700_000_000_000;

/** A host whose two clocks a test sets, one by one. */
class Host implements TimeSource {
  monotonic = 12_345;
  wall = WALL_MS;
  monotonicMs(): number {
    return this.monotonic;
  }
  wallMs(): number {
    return this.wall;
  }
  /** Time passes as it should. */
  pass(ms: number): void {
    this.monotonic += ms;
    this.wall += ms;
  }
}

function open(): { host: Host; clock: SystemClock } {
  const host = new Host();
  return { host, clock: new SystemClock(host) };
}

describe("SystemClock.nowMs()", () => {
  it("starts at the wall clock and goes on by the monotonic one, in whole milliseconds", () => {
    const { host, clock } = open();
    expect(clock.nowMs()).toBe(WALL_MS);
    host.pass(7.9);
    expect(clock.nowMs()).toBe(WALL_MS + 7);
    host.pass(86_400_000);
    expect(clock.nowMs()).toBe(WALL_MS + 86_400_007);
  });

  it.each([-3_600_000, -1_000, -1])(
    "L7: does not move when the wall clock steps by %i ms",
    (step) => {
      const { host, clock } = open();
      host.wall += step;
      host.pass(50);
      expect(clock.nowMs()).toBe(WALL_MS + 50);
      host.wall -= step;
      host.pass(50);
      expect(clock.nowMs()).toBe(WALL_MS + 100);
    },
  );

  it.each([1, 500, 1_000])("L7: does not follow a wall clock that is %i ms ahead", (step) => {
    const { host, clock } = open();
    host.wall += step;
    host.pass(1_000);
    expect(clock.nowMs()).toBe(WALL_MS + 1_000);
  });

  it.each([1_001, 7_346_000, 3_600_000])(
    "L7: jumps by %i ms when the machine slept so long: what ran out meanwhile has expired",
    (sleptMs) => {
      const { host, clock } = open();
      host.pass(5);
      // nodejs/node#47724: the monotonic clock stands still meanwhile.
      host.wall += sleptMs;
      host.pass(10);
      expect(clock.nowMs()).toBe(WALL_MS + 15 + sleptMs);
      host.wall -= sleptMs;
      host.pass(20);
      expect(clock.nowMs()).toBe(WALL_MS + 35 + sleptMs);
    },
  );

  it("sees a sleep at the first look 10 ms of work later, and not before it must", () => {
    const { host, clock } = open();
    host.wall += 60_000;
    host.pass(9);
    expect(clock.nowMs()).toBe(WALL_MS + 9);
    host.pass(1);
    expect(clock.nowMs()).toBe(WALL_MS + 60_010);
  });

  it("adds up small steps: it never trails the wall clock by more than a second", () => {
    const { host, clock } = open();
    for (let count = 0; count < 50; count++) {
      host.wall += 300;
      host.pass(100);
      expect(host.wall - clock.nowMs()).toBeLessThanOrEqual(1_000);
    }
  });

  it("never goes back, nor ahead of the later of its clocks, over every sequence of steps", () => {
    const step = fc.record({
      passMs: fc.double({ min: 0, max: 5_000, noNaN: true }),
      wallMs: fc.oneof(
        fc.constant(0),
        fc.integer({ min: -2_000, max: 2_000 }),
        fc.integer({ min: -4_000_000, max: 4_000_000 }),
      ),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 100 }), (steps) => {
        const { host, clock } = open();
        let before = clock.nowMs();
        // The furthest that the wall clock ever was ahead of the monotonic one.
        let furthestMs = WALL_MS - host.monotonic;
        for (const { passMs, wallMs } of steps) {
          host.pass(passMs);
          host.wall += wallMs;
          furthestMs = Math.max(furthestMs, host.wall - host.monotonic);
          const nowMs = clock.nowMs();
          expect(nowMs).toBeGreaterThanOrEqual(before);
          // Time passed counts in full, whatever the wall says.
          expect(nowMs - before).toBeGreaterThanOrEqual(Math.floor(passMs) - 1);
          expect(nowMs).toBeLessThanOrEqual(furthestMs + host.monotonic + 1e-3);
          // Looked at 10 ms after the last comparison at the earliest.
          const behindMs = passMs >= 10 ? host.wall - nowMs : 0;
          expect(behindMs).toBeLessThanOrEqual(1_001);
          before = nowMs;
        }
      }),
    );
  });

  it("of another thread's offset tells that thread's time, whatever the wall says by then", () => {
    const { host, clock } = open();
    host.pass(100);
    host.wall -= 3_600_000;
    const other = new SystemClock(host, clock.offsetMs);
    expect(other.nowMs()).toBe(clock.nowMs());
    host.wall += 3_600_000 + 500;
    host.pass(100);
    expect(other.nowMs()).toBe(clock.nowMs());
  });
});

describe("SystemClock on this host", () => {
  it("is never ahead of Date.now(), nor 20 ms behind it, and never goes back", () => {
    const clock = new SystemClock();
    let before = 0;
    for (const end = performance.now() + 300; performance.now() < end;) {
      const nowMs = clock.nowMs();
      // Read second: it may have moved on, and the host may have put us to sleep, but not back.
      const aheadMs = nowMs - Date.now();
      expect(aheadMs).toBeLessThanOrEqual(1);
      expect(nowMs).toBeGreaterThanOrEqual(before);
      before = nowMs;
    }
    // The least of many differences, so that a busy machine does not decide.
    let behindMs = Infinity;
    for (let count = 0; count < 1_000; count++)
      behindMs = Math.min(behindMs, Date.now() - clock.nowMs());
    expect(behindMs).toBeLessThanOrEqual(1);
  });

  it("tells the same time on another thread, which counts its own from a later start", async () => {
    const clock = new SystemClock();
    const code = `
      const { parentPort, workerData } = require("node:worker_threads");
      import("@selvage/node").then(({ SystemClock }) => {
        const clock = new SystemClock(undefined, workerData);
        parentPort.on("message", () => parentPort.postMessage(clock.nowMs()));
        parentPort.postMessage("ready");
      });`;
    // Of an hour's difference, so that the other thread's own wall clock is of no help.
    const offsetMs = clock.offsetMs + 3_600_000;
    const worker = new Worker(code, { eval: true, workerData: offsetMs });
    await once(worker, "message");
    for (let count = 0; count < 20; count++) {
      const fromMs = clock.nowMs();
      worker.postMessage("now");
      const [otherMs] = (await once(worker, "message")) as [number];
      expect(otherMs - 3_600_000).toBeGreaterThanOrEqual(fromMs - 1);
      expect(otherMs - 3_600_000).toBeLessThanOrEqual(clock.nowMs() + 1);
    }
    await worker.terminate();
  });
});
