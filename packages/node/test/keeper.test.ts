import { isFabricError, type MemLease } from "@selvage/fabric";
import { RenewalManager, type Hold } from "@selvage/leasekit";
import { Fabric, type Fabric as HostFabric } from "@selvage/node";
import { afterEach, describe, expect, it, vi } from "vitest";

// Early, so that a keeper which a busy machine delays by 100 ms is still in time.
const policy = { renewAtFraction: 0.25, jitterFraction: 0 };
const ttlMs = 200;
// What a busy machine may add to any wait here.
const slackMs = 1_500;
// Two cores shared with everything else that runs: a thread may get no turn for longer than any TTL used here.
const RETRY = { retry: 3, timeout: 20_000 };

const open: HostFabric[] = [];

afterEach(() => {
  vi.restoreAllMocks();
  for (const fabric of open.splice(0)) fabric[Symbol.dispose]();
});

/** A fabric whose keeper is at work. */
async function openKept(Class: typeof Fabric = Fabric): Promise<HostFabric> {
  const fabric = Class.open({ memoryBytes: 1 << 16, blocks: 0, maxLeases: 64 });
  open.push(fabric);
  await fabric.keeper()?.ready;
  return fabric;
}

function lease(fabric: HostFabric, ms = ttlMs): MemLease {
  return fabric.mem().leaseMs(ms).acquire();
}

/** Keeps this thread from its event loop, without a break. */
function blockFor(ms: number, work: () => void = () => {}): void {
  const words = new Int32Array(new SharedArrayBuffer(4));
  for (const endMs = performance.now() + ms; performance.now() < endMs;) {
    work();
    Atomics.wait(words, 0, 0, 5);
  }
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

const use = (one: MemLease) => (): void => one.write(0, Uint8Array.of(1));

describe("the keeper, beside a busy main loop", () => {
  it("L6: keeps a lease of 200 ms through 2 s", RETRY, async () => {
    const fabric = await openKept();
    const [held, given] = [lease(fabric), lease(fabric)];
    using hold = new RenewalManager(fabric).hold(held, { policy });
    // Truly busy: never in a wait.
    for (const endMs = performance.now() + 2_000; performance.now() < endMs;);
    expect([codeOf(use(held)), held.state, hold.isLapsed]).toEqual(["no error", "active", false]);
    // The clock went on meanwhile, with no tick of this thread: the other is over by the first operation after.
    expect(codeOf(use(given))).toBe("LEASE_EXPIRED");
    expect(given.state).toBe("expired");
  });

  it("L8: ends a lease at its deadline, never before, and soon after", RETRY, async () => {
    const fabric = await openKept();
    for (const ms of [1, 7, 50, 123]) {
      const one = lease(fabric, ms);
      const { expiresAtMs } = one;
      expect(expiresAtMs - Date.now()).toBeLessThanOrEqual(ms);
      // No turn of the loop, so no tick: only the keeper moves the clock.
      while (one.state === "active" && Date.now() < expiresAtMs + slackMs);
      const endedAtMs = Date.now();
      expect(one.state).toBe("expired");
      expect(codeOf(use(one))).toBe("LEASE_EXPIRED");
      expect(endedAtMs).toBeGreaterThanOrEqual(expiresAtMs);
      expect(endedAtMs).toBeLessThan(expiresAtMs + slackMs);
    }
  });

  it("does not let the fabric's clock run ahead of Date.now()", async () => {
    const fabric = await openKept();
    let before = 0;
    let moved = 0;
    blockFor(300, () => {
      const clockMs = fabric.control.nowMs();
      expect(clockMs - Date.now()).toBeLessThanOrEqual(1);
      expect(clockMs).toBeGreaterThanOrEqual(before);
      if (clockMs > before) moved++;
      before = clockMs;
    });
    expect(moved).toBeGreaterThan(3);
  });

  it("keeps the leases of two fabrics, each by its own keeper", RETRY, async () => {
    const fabrics = [await openKept(), await openKept()];
    const leases = fabrics.map((fabric) => lease(fabric));
    const holds = fabrics.map((fabric, index) =>
      new RenewalManager(fabric).hold(leases[index] as MemLease, { policy }),
    );
    blockFor(800);
    expect(leases.map((one) => codeOf(use(one)))).toEqual(["no error", "no error"]);
    holds[0]?.end();
    blockFor(800);
    expect(leases.map((one) => codeOf(use(one)))).toEqual(["LEASE_EXPIRED", "no error"]);
  });
});

async function openHeld(): Promise<{ fabric: HostFabric; one: MemLease; hold: Hold }> {
  const fabric = await openKept();
  const one = lease(fabric);
  // Starts from a stamp of now, not of the last turn.
  fabric.progress();
  return { fabric, one, hold: new RenewalManager(fabric).hold(one, { policy, stallMs: 150 }) };
}

describe("work under a hold of stallMs 150", () => {
  it("loses its lease when silent, at stallMs + TTL", async () => {
    const { one, hold } = await openHeld();
    const fromMs = Date.now();
    blockFor(150 + ttlMs + 350);
    expect([codeOf(use(one)), hold.isLapsed]).toEqual(["LEASE_EXPIRED", true]);
    // The last renewal came before stallMs were over, by a clock that trails by a period.
    expect(one.expiresAtMs - fromMs).toBeLessThanOrEqual(150 + ttlMs + 20);
    expect(one.expiresAtMs - fromMs).toBeGreaterThanOrEqual(ttlMs - 20);
  });

  it("keeps it by calling progress()", RETRY, async () => {
    const { fabric, one, hold } = await openHeld();
    blockFor(1_200, () => fabric.progress());
    expect([codeOf(use(one)), hold.isLapsed]).toEqual(["no error", false]);
  });

  it("keeps it by using the fabric", RETRY, async () => {
    const { fabric, one, hold } = await openHeld();
    const other = lease(fabric, 60_000);
    blockFor(1_200, use(other));
    expect([codeOf(use(one)), hold.isLapsed]).toEqual(["no error", false]);
  });
});

/** The package, loaded by a program whose wall clock was off by `offMs` then, and is right by now. */
async function loadedWhenOff(offMs: number): Promise<typeof Fabric> {
  const realNow = Date.now.bind(Date);
  vi.spyOn(Date, "now").mockImplementation(() => realNow() + offMs);
  vi.resetModules();
  const { Fabric: Off } = await import("@selvage/node");
  vi.restoreAllMocks();
  return Off;
}

describe("a wall clock that was set between the program's start and the fabric's", () => {
  it(
    "L7: does not leave the keeper an hour behind: it keeps the leases of a busy loop",
    RETRY,
    async () => {
      const fabric = await openKept(await loadedWhenOff(3_600_000));
      const [one, given] = [lease(fabric), lease(fabric)];
      using hold = new RenewalManager(fabric).hold(one, { policy });
      blockFor(1_000);
      expect([codeOf(use(one)), codeOf(use(given))]).toEqual(["no error", "LEASE_EXPIRED"]);
      expect(hold.isLapsed).toBe(false);
    },
  );

  it("L7: does not put the keeper ahead: no lease ends early", RETRY, async () => {
    const fabric = await openKept(await loadedWhenOff(-600));
    const one = lease(fabric, 500);
    const fromMs = performance.now();
    while (one.state === "active" && performance.now() < fromMs + slackMs);
    expect(performance.now() - fromMs).toBeGreaterThanOrEqual(498);
    expect(one.state).toBe("expired");
  });
});
