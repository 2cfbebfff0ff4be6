/** Mistakes that several worker processes on one machine have shown, each as its smallest story. */
import { MemoryJobStore, type ClaimKeeper } from "@selvage/jobs";
import { describe, expect, it } from "vitest";
import { gate, Rig } from "./queue-rig.ts";

describe("a rate limit", () => {
  it("holds over processes whose clocks differ: one that is behind gets no burst of its own", async () => {
    const rig = new Rig();
    const startsMs: number[] = [];
    const tasks = [0, 3, 2_000].map((behindMs) => {
      const clock = { nowMs: () => rig.host.nowMs - behindMs };
      const queue = rig.open({ pollMs: 50, concurrency: 1 }, { clock });
      queue.runWorker();
      return queue.task("call", { rateLimit: "5/s" }, async () => {
        startsMs.push(rig.host.nowMs);
        await rig.host.later(1);
      });
    });
    const [task] = tasks as [(typeof tasks)[number]];
    const jobs = await rig.pump(task.enqueueMany(Array.from({ length: 40 }, () => [])));
    for (const job of jobs) await rig.pump(job.result({ timeoutMs: 60_000 }));
    const most = startsMs.map(
      (fromMs) => startsMs.filter((at) => at >= fromMs && at < fromMs + 1_000).length,
    );
    expect(Math.max(...most)).toBeLessThanOrEqual(10);
  });

  it("goes on at once after the clock of all of them was set far back", async () => {
    const rig = new Rig();
    const state = { setBackMs: 0 };
    const clock = { nowMs: () => rig.host.nowMs - state.setBackMs };
    const queue = rig.open({ pollMs: 50 }, { clock });
    const task = queue.task("call", { rateLimit: "2/s" }, async () => rig.host.nowMs);
    queue.runWorker();
    for (const job of await rig.pump(task.enqueueMany([[], []]))) await rig.pump(job.result());
    state.setBackMs = 3_600_000;
    const fromMs = rig.host.nowMs;
    const job = await rig.pump(task.enqueue([]));
    expect((await rig.pump(job.result())) - fromMs).toBeLessThan(1_000);
  });
});

/** Keepers that are ready when a test says so, and say nothing to anybody. */
function slowKeepers() {
  const gates: PromiseWithResolvers<void>[] = [];
  const lost: (() => void)[] = [];
  const keep = (_store: unknown, { onLost }: { readonly onLost: () => void }): ClaimKeeper => {
    const ready = gate();
    gates.push(ready);
    lost.push(onLost);
    return { ready: ready.promise, stamp: () => {}, stop: async () => {} };
  };
  return { keep, gates, lost };
}

describe("a worker whose keeper takes longer than the TTL to start", () => {
  const options = { leaseMs: 1_000, pollMs: 100 };

  it("B5: takes work at once, and nobody takes it away", async () => {
    const rig = new Rig();
    const { keep, gates } = slowKeepers();
    const slow = rig.open(options, { keep });
    const task = slow.task("t", async () => {
      await rig.host.later(5_000);
      return "done";
    });
    slow.runWorker();
    const job = await rig.pump(task.enqueue([]));
    await rig.pass(50);
    expect((await job.refresh())?.status).toBe("running");
    rig.open(options).runWorker();
    expect(await rig.pump(job.result())).toBe("done");
    expect(job.attempts).toBe(1);
    expect(rig.events.filter(({ type }) => type === "worker-lost")).toEqual([]);
    gates[0]?.resolve();
  });

  it("B5: is kept by its loop where its keeper cannot be started", async () => {
    const rig = new Rig();
    const { keep, gates } = slowKeepers();
    rig.open(options, { keep }).runWorker();
    await rig.pass(50);
    gates[0]?.reject(new Error("no thread"));
    rig.open(options).runWorker();
    await rig.pass(5_000);
    expect(rig.events.filter(({ type }) => type === "worker-lost")).toEqual([]);
  });

  it("B5: is kept by its keeper alone once that is ready", async () => {
    const rig = new Rig();
    const { keep, gates } = slowKeepers();
    const slow = rig.open(options, { keep });
    slow.runWorker();
    await rig.pass(50);
    gates[0]?.resolve();
    await rig.pass(50);
    rig.open(options).runWorker();
    // This keeper says nothing.
    await rig.pass(2_000);
    expect(rig.events.filter(({ type }) => type === "worker-lost")).not.toEqual([]);
  });

  it("B5: is kept by its keeper alone also where that is ready before the store knows the worker", async () => {
    const inner = new MemoryJobStore();
    const rig: Rig = new Rig({
      transact: async (work) => {
        await rig.host.later(100);
        return inner.transact(work);
      },
      look: (work) => inner.look(work),
      watch: (onChange) => inner.watch(onChange),
      close: () => inner.close(),
    });
    const { keep, gates } = slowKeepers();
    const quick = rig.open(options, { keep });
    quick.runWorker();
    await rig.pass(10);
    expect(gates).toHaveLength(1);
    gates[0]?.resolve();
    await rig.pass(2_000);
    const beats = await inner.look((tx) => tx.workers().map((worker) => worker.beats));
    // This keeper says nothing, and nobody in its place.
    expect(beats).toEqual([0]);
    await rig.pump(quick.close());
    expect(rig.host.alarms).toBe(0);
  });

  it("and that is stopped while it begins anew leaves nothing behind", async () => {
    const rig = new Rig();
    const { keep, gates, lost } = slowKeepers();
    const slow = rig.open(options, { keep });
    const worker = slow.runWorker();
    await rig.pass(10);
    gates[0]?.resolve();
    await rig.pass(10);
    expect(await slow.workers()).toHaveLength(1);
    await rig.pump(rig.store.transact((tx) => tx.deleteWorker(worker.id)));
    lost[0]?.();
    await rig.pass(10);
    const stopped = worker.stop();
    gates[1]?.resolve();
    expect(await rig.pump(stopped)).toMatchObject({ status: "drained" });
    await rig.pass(10);
    expect(await slow.workers()).toEqual([]);
  });
});
