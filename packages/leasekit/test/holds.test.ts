import { ThreadPulse, type Fabric, type MemLease } from "@selvage/fabric";
import { RenewalManager, RenewalPolicy } from "@selvage/leasekit";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { openKept, START_MS, type Kept } from "./hand-fabric.ts";

const exact = { jitterFraction: 0 };

function lease(fabric: Fabric, ttlMs: number): MemLease {
  return fabric.mem().leaseMs(ttlMs).acquire();
}

/** Lets the keeper work every 10 ms for a while; calls `work` before each period. */
function keepFor({ pass, keep }: Kept, ms: number, work: () => void = () => {}): void {
  for (let passed = 0; passed < ms; passed += 10) {
    pass(10);
    work();
    keep();
  }
}

describe("a hold beside the work", () => {
  it("gives its desk to the keeper once, however many holds there are", () => {
    const kept = openKept();
    const renewals = new RenewalManager(kept.fabric);
    expect(kept.desks.length).toBe(0);
    for (let count = 0; count < 3; count++) renewals.hold(lease(kept.fabric, 1_000));
    expect(kept.desks.length).toBe(1);
  });

  it("L6: keeps a lease through a blocked event loop, which neither ticks nor makes progress", () => {
    const kept = openKept();
    const one = lease(kept.fabric, 200);
    using hold = new RenewalManager(kept.fabric).hold(one);
    keepFor(kept, 2_000);
    expect([one.state, hold.isLapsed]).toEqual(["active", false]);
    expect(one.expiresAtMs).toBeGreaterThan(START_MS + 2_000);
  });

  it("L8: silent work loses its lease at stallMs + TTL at the latest, and not before stallMs", () => {
    const kept = openKept();
    const one = lease(kept.fabric, 200);
    using hold = new RenewalManager(kept.fabric, { stallMs: 1_000 }).hold(one);
    keepFor(kept, 1_000);
    expect([one.state, hold.isLapsed]).toEqual(["active", false]);
    keepFor(kept, 200);
    expect([one.state, hold.isLapsed]).toEqual(["expired", true]);
  });

  it.each([
    ["progress()", (fabric: Fabric) => fabric.progress()],
    ["an operation on any lease", (_: Fabric, other: MemLease) => void other.read(0, 1)],
    ["a tick", (fabric: Fabric) => void fabric.tick(fabric.nowMs())],
  ])("%s is progress", (_name, work) => {
    const kept = openKept();
    const one = lease(kept.fabric, 200);
    const other = lease(kept.fabric, 1e6);
    using hold = new RenewalManager(kept.fabric, { stallMs: 150 }).hold(one);
    keepFor(kept, 3_000, () => work(kept.fabric, other));
    expect([one.state, hold.isLapsed]).toEqual(["active", false]);
  });

  it("agrees with a model over every pattern of progress", () => {
    const ttlMs = 200;
    const policy = new RenewalPolicy();
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 60 }), { maxLength: 30 }), (gaps) => {
        const kept = openKept();
        const one = lease(kept.fabric, ttlMs);
        const stallMs = 150;
        using hold = new RenewalManager(kept.fabric).hold(one, { stallMs });
        const seed = Number.parseInt(one.leaseId.slice(0, 8), 16);
        const afterMs = Math.floor(policy.renewalDeadline(0, ttlMs, seed));
        let model = { dueMs: afterMs, endMs: ttlMs, lapsed: false };
        let progressMs = 0;
        let clockMs = 0;
        let nowMs = 0;
        for (const gap of gaps) {
          for (let period = 0; period < gap; period++) {
            kept.pass(10);
            nowMs += 10;
            kept.keep();
            clockMs = nowMs;
            const over = nowMs >= model.endMs;
            if (over) model = { ...model, lapsed: true };
            else if (nowMs >= model.dueMs && nowMs - progressMs < stallMs)
              model = { dueMs: nowMs + afterMs, endMs: nowMs + ttlMs, lapsed: false };
            expect(hold.isLapsed).toBe(model.lapsed);
            expect(one.state).toBe(model.lapsed ? "expired" : "active");
            if (model.lapsed) return;
          }
          kept.fabric.progress();
          progressMs = clockMs;
        }
      }),
    );
  });

  it("keeps nothing once it has ended, and may end twice", () => {
    const kept = openKept();
    const one = lease(kept.fabric, 200);
    const hold = new RenewalManager(kept.fabric).hold(one);
    keepFor(kept, 500);
    const { expiresAtMs } = one;
    hold.end();
    hold.end();
    hold[Symbol.dispose]();
    expect(hold.isLapsed).toBe(false);
    keepFor(kept, expiresAtMs - kept.keep());
    expect([one.state, one.expiresAtMs]).toEqual(["expired", expiresAtMs]);
    expect(hold.isLapsed).toBe(false);
  });

  it("asks for its own ttlMs, and lapses by that, whatever is left of the lease", () => {
    const kept = openKept();
    const one = lease(kept.fabric, 10_000);
    const renewals = new RenewalManager(kept.fabric, { stallMs: 100 });
    using short = renewals.hold(one, { ttlMs: 300, policy: exact });
    using long = renewals.hold(one, { ttlMs: 60_000, policy: exact });
    keepFor(kept, 299);
    expect([short.isLapsed, long.isLapsed]).toEqual([true, false]);
    keepFor(kept, 10_000, () => kept.fabric.progress());
    expect([one.state, long.isLapsed]).toEqual(["active", false]);
    // At 7,500 ms, three quarters of what was left, it asked for 60 s.
    expect(one.expiresAtMs).toBe(START_MS + 67_500);
  });

  it("has lapsed at once when its lease is released or revoked", () => {
    const kept = openKept();
    const [one, other] = [lease(kept.fabric, 1_000), lease(kept.fabric, 1_000)];
    const renewals = new RenewalManager(kept.fabric);
    const holds = [renewals.hold(one), renewals.hold(other)];
    one.release();
    other.revoke();
    expect(holds.map((hold) => hold.isLapsed)).toEqual([true, true]);
  });
});

describe("RenewalManager[Symbol.dispose]()", () => {
  it("gives its desk back, ends every hold, and leaves the leases to expire", () => {
    const kept = openKept();
    const one = lease(kept.fabric, 200);
    const renewals = new RenewalManager(kept.fabric);
    const hold = renewals.hold(one, { policy: exact });
    keepFor(kept, 500);
    expect([hold.renewed, renewals.renewedTotal]).toEqual([3, 3]);
    renewals[Symbol.dispose]();
    renewals[Symbol.dispose]();
    expect(kept.desks.length).toBe(0);
    expect([hold.isLapsed, hold.renewed, renewals.renewedTotal]).toEqual([false, 3, 3]);
    keepFor(kept, 200);
    expect(one.state).toBe("expired");
  });
});

describe("several holds on one lease", () => {
  it("are independent: the silent one lapses at its own TTL, the working one keeps the lease", () => {
    const kept = openKept();
    const { control } = kept.fabric;
    const [left, right] = [ThreadPulse.attach(control, 11), ThreadPulse.attach(control, 13)];
    const one = lease(kept.fabric, 200);
    const renewals = new RenewalManager(kept.fabric, { stallMs: 150 });
    const holds = [left, right].map(({ thread }) => renewals.hold(one, { thread }));
    const lapsed = (): boolean[] => holds.map((hold) => hold.isLapsed);
    keepFor(kept, 1_000, () => {
      left.progress();
      right.progress();
    });
    expect(lapsed()).toEqual([false, false]);
    keepFor(kept, 350, () => right.progress());
    expect([lapsed(), one.state]).toEqual([[true, false], "active"]);
    // Waking up does not bring a lapsed hold back.
    keepFor(kept, 1_000, () => {
      left.progress();
      right.progress();
    });
    expect([lapsed(), one.state]).toEqual([[true, false], "active"]);
    keepFor(kept, 350);
    expect([lapsed(), one.state]).toEqual([[true, true], "expired"]);
  });

  it("keep the lease until the last of them ends", () => {
    const kept = openKept();
    const one = lease(kept.fabric, 200);
    const renewals = new RenewalManager(kept.fabric);
    const [first, second] = [renewals.hold(one), renewals.hold(one)];
    keepFor(kept, 500);
    first.end();
    keepFor(kept, 500);
    expect(one.state).toBe("active");
    second.end();
    keepFor(kept, 200);
    expect(one.state).toBe("expired");
  });

  it("belong to their threads: the owner's progress does not keep a worker's", () => {
    const kept = openKept();
    const worker = ThreadPulse.attach(kept.fabric.control, 11);
    const one = lease(kept.fabric, 200);
    const renewals = new RenewalManager(kept.fabric, { stallMs: 150 });
    using hold = renewals.hold(one, { thread: worker.thread });
    keepFor(kept, 400, () => {
      kept.fabric.progress();
      renewals.tick(kept.fabric.nowMs());
    });
    expect([one.state, hold.isLapsed]).toEqual(["expired", true]);
  });

  it("lapse when the keeper itself was late past their end: nobody renews after the fact", () => {
    const kept = openKept();
    const one = lease(kept.fabric, 200);
    using hold = new RenewalManager(kept.fabric).hold(one);
    kept.pass(200);
    kept.fabric.progress();
    kept.keep();
    expect([one.state, hold.isLapsed]).toEqual(["expired", true]);
  });

  it("do not come back by waking up, even where the lease still stands", () => {
    const kept = openKept();
    const one = lease(kept.fabric, 200);
    using hold = new RenewalManager(kept.fabric).hold(one);
    one.renew(10_000);
    kept.pass(200);
    kept.fabric.control.advanceClock(START_MS + 200);
    // At work again just before the keeper looks.
    kept.fabric.progress();
    kept.keep();
    expect([one.state, hold.isLapsed]).toEqual(["active", true]);
    keepFor(kept, 1_000, () => kept.fabric.progress());
    expect([hold.isLapsed, one.expiresAtMs]).toEqual([true, START_MS + 10_000]);
  });
});

describe("holds on leases of weeks", () => {
  const day = 86_400_000;

  it.each([10, 15, 25, 33, 40, 50, 60, 366])("%i days: kept, and ended at its deadline", (days) => {
    const kept = openKept();
    const one = lease(kept.fabric, days * day);
    // A day passes between two looks at the clock.
    const hold = new RenewalManager(kept.fabric, { stallMs: 2 * day }).hold(one);
    expect(one.expiresAtMs).toBe(START_MS + days * day);
    for (let passed = 0; passed < 2 * days; passed++) {
      kept.pass(day);
      kept.fabric.progress();
      kept.keep();
      kept.fabric.progress();
      expect([one.state, hold.isLapsed], `day ${passed}`).toEqual(["active", false]);
    }
    hold.end();
    const leftMs = one.expiresAtMs - kept.keep();
    kept.pass(leftMs - 1);
    kept.keep();
    expect(one.state).toBe("active");
    kept.pass(1);
    kept.keep();
    expect(one.state).toBe("expired");
  });
});
