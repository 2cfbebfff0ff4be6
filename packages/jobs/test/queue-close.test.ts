/** What is left of a queue that is closed: nothing that waits, listens or fires. */
import { FabricError } from "@selvage/fabric";
import { MemoryJobStore, type ClaimKeeper, type JobStore, type JobTx } from "@selvage/jobs";
import { describe, expect, it } from "vitest";
import { gate, Rig } from "./queue-rig.ts";

const never = new Promise<never>(() => {});
const hourMs = 3_600_000;
const everyMinute = (_expression: string, _timeZone: string, afterMs: number): number =>
  afterMs + 60_000;

/** A store that counts who listens and what is written, and can be out of order. */
class CountingStore implements JobStore {
  readonly #store = new MemoryJobStore();
  isDown = false;
  /** What a failure takes its time by. */
  beforeFailure: () => Promise<void> = async () => {};
  transactions = 0;
  watchers = 0;

  async transact<T>(work: (tx: JobTx) => T): Promise<T> {
    this.transactions++;
    if (this.isDown) {
      await this.beforeFailure();
      throw new FabricError("STORE_UNAVAILABLE", "The disk is gone");
    }
    return this.#store.transact(work);
  }

  look<T>(work: (tx: JobTx) => T): Promise<T> {
    return this.#store.look(work);
  }

  watch(onChange: () => void): () => void {
    this.watchers++;
    const unwatch = this.#store.watch(onChange);
    return () => {
      this.watchers--;
      unwatch();
    };
  }

  close(): Promise<void> {
    return this.#store.close();
  }
}

/** Keepers that count how many of them keep. */
function countedKeepers() {
  const kept = { started: 0, keeping: 0 };
  const keep = (): ClaimKeeper => {
    kept.started++;
    kept.keeping++;
    return { stamp: () => {}, stop: async () => void kept.keeping-- };
  };
  return { keep, kept };
}

/** Fails where anything of the rig's queues still waits, listens or fires. */
async function expectNothingLeft(rig: Rig, store: CountingStore): Promise<void> {
  expect([rig.host.alarms, store.watchers]).toEqual([0, 0]);
  const [{ transactions }, told] = [store, rig.events.length];
  await rig.pass(hourMs / 2);
  expect([store.transactions, rig.events.length]).toEqual([transactions, told]);
}

describe("a queue that was closed leaves nothing behind", () => {
  it("after work of every kind: no timer, no watcher, no keeper", async () => {
    const store = new CountingStore();
    const rig = new Rig(store);
    const { keep, kept } = countedKeepers();
    const queue = rig.open({ pollMs: 50 }, { keep, cronNextMs: everyMinute });
    const task = queue.task("t", { timeoutMs: 5_000 }, async (ctx, n: number) => {
      ctx.updateProgress(50);
      await rig.host.later(n);
      ctx.updateProgress(60);
      if (n === 13) throw new Error("no luck");
      return n;
    });
    const feed = queue.events();
    queue.runWorker();
    queue.runWorker({ concurrency: 1 });
    await rig.pump(task.cron("* * * * *", { args: [1] }));
    const jobs = await rig.pump(task.enqueueMany([[1], [300], [13]]));
    const later = await rig.pump(task.enqueue([1], { delayMs: 90_000, expiresMs: 95_000 }));
    await rig.pump(Promise.all([jobs[0]?.result(), jobs[1]?.result()]));
    const waiting = later.result({ timeoutMs: hourMs }).catch((error: unknown) => error);
    const soon = later.result({ timeoutMs: 150 }).catch((error: unknown) => error);
    const partials = later.partials().next();
    partials.catch(() => {});
    await rig.pass(10);
    await rig.pump(queue.close());
    expect(rig.host.alarms).toBe(0);
    expect(await rig.pump(waiting)).toMatchObject({ code: "STORE_UNAVAILABLE" });
    expect(await rig.pump(soon)).toMatchObject({ code: "STORE_UNAVAILABLE" });
    await expect(rig.pump(partials)).rejects.toMatchObject({ code: "STORE_UNAVAILABLE" });
    expect(kept).toEqual({ started: 2, keeping: 0 });
    await expectNothingLeft(rig, store);
    expect((await feed.next()).done).toBe(false);
  });

  it("after its loop kept the claims itself, and while a worker has not begun", async () => {
    const store = new CountingStore();
    const rig = new Rig(store);
    const queue = rig.open();
    queue.runWorker();
    await rig.pass(5_000);
    queue.runWorker();
    await rig.pump(queue.close());
    await expectNothingLeft(rig, store);
  });

  it("though a body goes on that was handed back: its timeout and its progress wait for nobody", async () => {
    const store = new CountingStore();
    const rig = new Rig(store);
    const queue = rig.open({ graceMs: 100 });
    const task = queue.task("deaf", { timeoutMs: 300_000 }, async (ctx) => {
      ctx.signal.addEventListener("abort", () => void rig.host.later(90).then(say));
      const say = (): void => ctx.updateProgress(7);
      await never;
    });
    await rig.pump(task.enqueue([]));
    const worker = queue.runWorker({ drainMs: 0 });
    await rig.pass(10);
    expect(worker.running).toBe(1);
    await rig.pump(queue.close());
    await expectNothingLeft(rig, store);
  });

  it("though a body went on after its time, and its end could not be written", async () => {
    const store = new CountingStore();
    const rig = new Rig(store);
    const queue = rig.open({ pollMs: 10_000, graceMs: 100 });
    const task = queue.task("deaf", { timeoutMs: 100 }, () => never);
    await rig.pump(task.enqueueMany([[], []]));
    queue.runWorker({ drainMs: 0 });
    await rig.pass(150);
    store.isDown = true;
    await rig.pass(100);
    await rig.pump(queue.close());
    await expectNothingLeft(rig, store);
  });

  it("though it was tried again to write that end while the worker left", async () => {
    const store = new CountingStore();
    const rig = new Rig(store);
    store.beforeFailure = () => rig.host.later(50);
    const queue = rig.open({ pollMs: 10_000, graceMs: 100, leaseMs: 90_000 });
    const task = queue.task("deaf", { timeoutMs: 100 }, () => never);
    await rig.pump(task.enqueue([]));
    const worker = queue.runWorker({ drainMs: 0 });
    await rig.pass(150);
    store.isDown = true;
    // Its end is tried at 200, and again 10 s after that has failed: while what the worker had is handed back, in vain.
    await rig.pass(9_970);
    const { transactions } = store;
    await rig.pump(worker.stop());
    // It is handed back, its end is tried, the worker leaves.
    expect(store.transactions - transactions).toBe(3);
    await rig.pump(queue.close());
    await expectNothingLeft(rig, store);
  });

  it("though several outcomes could not be written", async () => {
    const store = new CountingStore();
    const rig = new Rig(store);
    const queue = rig.open({ pollMs: 10_000, graceMs: 100 });
    const end = gate();
    const task = queue.task("t", () => end.promise);
    await rig.pump(task.enqueueMany([[], [], []]));
    queue.runWorker({ drainMs: 0 });
    await rig.pass(10);
    store.isDown = true;
    end.resolve();
    await rig.pass(10);
    await rig.pump(queue.close());
    await expectNothingLeft(rig, store);
  });

  it("though it is asked afterwards", async () => {
    const store = new CountingStore();
    const rig = new Rig(store);
    const queue = rig.open();
    const job = await rig.pump(queue.enqueue("t", []));
    await rig.pump(queue.close());
    const asked = [
      () => job.result({ timeoutMs: 100 }),
      () => job.result(),
      () => job.partials().next(),
      () => queue.getJob(job.id),
      () => queue.enqueue("t", []),
      () => queue.purge(),
    ];
    for (const ask of asked)
      await expect(ask()).rejects.toMatchObject({ code: "STORE_UNAVAILABLE" });
    expect(await queue.events().next()).toEqual({ value: undefined, done: true });
    await expectNothingLeft(rig, store);
  });
});

describe("a worker", () => {
  it("is refused by a queue that is closing or closed, and the close that is under way ends", async () => {
    const rig = new Rig();
    const queue = rig.open();
    const end = gate();
    const task = queue.task("t", () => end.promise.then(() => "done"));
    const job = await rig.pump(task.enqueue([]));
    const worker = queue.runWorker();
    await rig.pass(10);
    const closing = queue.close();
    const refused = expect.objectContaining({
      name: "FabricError",
      code: "STORE_UNAVAILABLE",
      message: expect.stringContaining("job queue"),
    });
    expect(() => queue.runWorker()).toThrow(refused);
    await rig.pass(100);
    expect(() => queue.runWorker()).toThrow(refused);
    end.resolve();
    await expect(rig.pump(closing)).resolves.toBeUndefined();
    expect(await worker.done).toMatchObject({ status: "drained", completed: 1 });
    expect(() => queue.runWorker()).toThrow(refused);
    await expect(rig.pump(queue.close())).resolves.toBeUndefined();
    const { phase, workers } = await rig.store.look((tx) => ({
      phase: tx.jobById(job.id)?.phase,
      workers: tx.workers(),
    }));
    expect([phase, workers]).toEqual([4, []]);
  });
});
