import { FabricError, SystemClock } from "@selvage/fabric";
import { HeldLease, HolderClock, type LeaseStore } from "@selvage/leasekit";
import { expect, test } from "vitest";
import { Machine, turns } from "./lease-rig.ts";

const ttlMs = 1_000;
/** TTL * 0.9 less a margin of 10. */
const ownMs = 890;

/** A store whose answers the test gives. */
class HandStore implements LeaseStore {
  readonly asked: { readonly what: string; readonly request: unknown }[] = [];
  answer: (what: string) => Promise<unknown> = async () => ({ epoch: 7, ttlMs });

  acquire(request: unknown): Promise<{ epoch: number; ttlMs: number }> {
    return this.#ask("acquire", request);
  }

  renew(request: unknown): Promise<{ ttlMs: number }> {
    return this.#ask("renew", request);
  }

  release(request: unknown): Promise<void> {
    return this.#ask("release", request);
  }

  revoke(request: unknown): Promise<void> {
    return this.#ask("revoke", request);
  }

  look(resource: string): Promise<never> {
    return this.#ask("look", resource);
  }

  count(what: string): number {
    return this.asked.filter((one) => one.what === what).length;
  }

  #ask<T>(what: string, request: unknown): Promise<T> {
    this.asked.push({ what, request });
    return this.answer(what) as Promise<T>;
  }
}

function rig() {
  const machine = new Machine();
  const store = new HandStore();
  const ports = { clock: new HolderClock(machine), timer: machine, random: machine };
  const acquire = (retry = 3): Promise<HeldLease> =>
    HeldLease.acquire({ store, resource: "orders", holder: "a", ttlMs, retry }, ports);
  return { machine, store, acquire, ports };
}

const refusal = (code: ConstructorParameters<typeof FabricError>[0]): FabricError =>
  new FabricError(code, "refused");

test("L3: the deadline counts from when the request was sent, not from when its answer came", async () => {
  const { machine, store, acquire } = rig();
  const { promise, resolve } = Promise.withResolvers<unknown>();
  store.answer = () => promise;
  const acquiring = acquire();
  await machine.pass(600);
  resolve({ epoch: 7, ttlMs });
  const lease = await acquiring;
  expect(lease.remainingMs).toBe(ownMs - 600);
});

test("L3: a renewal counts from when it was sent, too", async () => {
  const { machine, store, acquire } = rig();
  const lease = await acquire();
  store.answer = () => new Promise((resolve) => machine.after(300, () => resolve({ ttlMs })));
  await machine.pass(ownMs * 0.4 + 301);
  expect(lease.renewed).toBe(1);
  expect(Math.round(lease.remainingMs)).toBe(ownMs - 301);
});

test("L3: a holder that nobody answers stops at its own deadline, and guard() throws from then on", async () => {
  const { machine, store, acquire } = rig();
  const lease = await acquire();
  store.answer = () => Promise.reject(refusal("TIMED_OUT"));
  await machine.pass(ownMs - 1);
  expect(lease.guard((epoch) => epoch)).toBe(7);
  await machine.pass(2);
  expect(() => lease.guard(() => "acted")).toThrow(
    expect.objectContaining({ code: "LEASE_EXPIRED" }),
  );
  expect(await lease.ended).toEqual({ reason: "deadline" });
  expect(store.count("renew")).toBeGreaterThan(3);
  expect(machine.timers).toBe(0);
});

test("L3: a process that stood still past its deadline does not act when it goes on", async () => {
  const { machine, acquire } = rig();
  const lease = await acquire();
  machine.stall(ownMs);
  expect(lease.isHeld).toBe(false);
});

test("L4: an answer that comes after the deadline revives nothing", async () => {
  const { machine, store, acquire } = rig();
  const lease = await acquire();
  const { promise, resolve } = Promise.withResolvers<unknown>();
  store.answer = () => promise;
  await machine.pass(ownMs * 0.4 + 1);
  machine.stall(ownMs * 0.6);
  resolve({ ttlMs });
  await turns();
  expect(lease.isHeld).toBe(false);
  expect(await lease.ended).toEqual({ reason: "deadline" });
});

test("L4: a refusal ends the lease at once", async () => {
  const { machine, store, acquire } = rig();
  const lease = await acquire();
  const error = refusal("STALE_EPOCH");
  store.answer = () => Promise.reject(error);
  await machine.pass(ownMs * 0.4 + 1);
  expect(lease.isHeld).toBe(false);
  expect(await lease.ended).toEqual({ reason: "refused", error });
});

test("it renews for as long as it is answered", async () => {
  const { machine, acquire } = rig();
  const lease = await acquire();
  await machine.pass(10_000);
  expect(lease.isHeld).toBe(true);
  expect(lease.renewed).toBeGreaterThan(20);
});

test("release() stops at once, then tells the store, once", async () => {
  const { machine, store, acquire } = rig();
  const lease = await acquire();
  const released = lease.release();
  expect(lease.isHeld).toBe(false);
  await released;
  await lease.release();
  expect(store.asked.at(-1)).toEqual({
    what: "release",
    request: { resource: "orders", holder: "a", epoch: 7 },
  });
  expect(store.count("release")).toBe(1);
  expect(machine.timers).toBe(0);
});

test("acquire() asks again by the same request while nobody answers, and by a new one when that is over", async () => {
  const { machine, store, acquire } = rig();
  const answers = ["TIMED_OUT", "LEASE_EXPIRED", "CONFLICT"] as const;
  store.answer = async () => {
    const code = answers[store.asked.length - 1];
    if (code !== undefined) throw refusal(code);
    return { epoch: 8, ttlMs };
  };
  const acquiring = acquire();
  await machine.pass(10_000);
  expect((await acquiring).epoch).toBe(8);
  const ids = store.asked
    .slice(0, 4)
    .map(({ request }) => (request as { requestId: string }).requestId);
  expect(ids[1]).toBe(ids[0]);
  expect(ids[2]).not.toBe(ids[1]);
  expect(ids[3]).toBe(ids[2]);
});

test("acquire() does not hold what was answered too late", async () => {
  const { machine, store, acquire } = rig();
  store.answer = () =>
    new Promise((resolve) =>
      machine.after(store.asked.length === 1 ? ownMs : 1, () => resolve({ epoch: 7, ttlMs })),
    );
  const acquiring = acquire();
  await machine.pass(2_000);
  expect((await acquiring).isHeld).toBe(true);
  expect(store.count("acquire")).toBe(2);
});

test("acquire() gives up with what the store said last", async () => {
  const { machine, store, acquire } = rig();
  store.answer = () => Promise.reject(refusal("CONFLICT"));
  const given = acquire(2).catch((error: unknown) => (error as FabricError).code);
  await machine.pass(10_000);
  expect(await given).toBe("CONFLICT");
  expect(store.count("acquire")).toBe(3);
});

test("L7: a machine that slept, for however short a time, finds its lease over", async () => {
  const { machine, acquire } = rig();
  const lease = await acquire();
  machine.suspend(ownMs);
  expect(lease.isHeld).toBe(false);
});

test("L7: the system's clock would miss a sleep of less than a second", () => {
  const machine = new Machine();
  const [system, holder] = [new SystemClock(machine), new HolderClock(machine)];
  const [systemMs, holderMs] = [system.nowMs(), holder.nowMs()];
  machine.stall(20);
  machine.suspend(900);
  expect(system.nowMs() - systemMs).toBe(20);
  expect(holder.nowMs() - holderMs).toBe(920);
});

test("L7: a wall clock that is set back neither moves time nor hides a later sleep", () => {
  const machine = new Machine();
  const clock = new HolderClock(machine);
  const startMs = clock.nowMs();
  machine.stall(10);
  machine.step(-3_600_000);
  expect(clock.nowMs() - startMs).toBe(10);
  machine.suspend(500);
  expect(clock.nowMs() - startMs).toBe(510);
});

test("L7: two clocks that differ by rounding do not add up", () => {
  let ms = 0;
  const clock = new HolderClock({ monotonicMs: () => ms, wallMs: () => Math.round(ms) });
  const startMs = clock.nowMs();
  for (; ms < 1_000; ms += 0.3) clock.nowMs();
  expect(clock.nowMs() - startMs).toBeLessThan(1_001);
});
