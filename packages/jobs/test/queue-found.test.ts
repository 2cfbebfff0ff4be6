/** Mistakes that the jobs campaign has found, each as its smallest story. */
import { FabricError } from "@selvage/fabric";
import { from, MemoryJobStore, type JobStore, type JobTx } from "@selvage/jobs";
import { describe, expect, test } from "vitest";
import { gate, Rig } from "./queue-rig.ts";

const once = { retries: 0 } as const;

/** A store that can be out of order. */
class FailingStore implements JobStore {
  readonly #store = new MemoryJobStore();
  isDown = false;
  onTransact: () => void = () => {};

  async transact<T>(work: (tx: JobTx) => T): Promise<T> {
    this.onTransact();
    if (this.isDown) throw new FabricError("STORE_UNAVAILABLE", "The disk is gone");
    return this.#store.transact(work);
  }

  look<T>(work: (tx: JobTx) => T): Promise<T> {
    return this.#store.look(work);
  }

  watch(onChange: () => void): () => void {
    return this.#store.watch(onChange);
  }

  close(): Promise<void> {
    return this.#store.close();
  }
}

describe("a replay", () => {
  test("is refused while another unfinished job has the dead letter's unique key", async () => {
    const rig = new Rig();
    const queue = rig.open();
    const fails = queue.task("fails", once, () => {
      throw new Error("no");
    });
    const job = await fails.enqueue([], { uniqueKey: "key" });
    const worker = queue.runWorker();
    expect(await rig.statusOf(job)).toBe("dead");
    await rig.pump(worker.stop());
    const holder = await fails.enqueue([], { uniqueKey: "key" });
    await expect(rig.pump(queue.replay(job.id))).rejects.toMatchObject({
      code: "CONFLICT",
      details: { holder: holder.id },
    });
    await job.refresh();
    expect([job.status, holder.id === job.id]).toEqual(["dead", false]);
    await rig.pump(queue.close());
  });

  test("leaves those cancelled whose unique key another unfinished job has, and what waits for them", async () => {
    const rig = new Rig();
    const queue = rig.open();
    const odd = queue.task("odd", once, ({ attempt }) => {
      if (attempt === 1) throw new Error("no");
    });
    const even = queue.task("even", once, () => {});
    const root = await odd.enqueue([]);
    const keyed = await even.enqueue([], { uniqueKey: "key", dependsOn: root });
    const last = await even.enqueue([], { dependsOn: keyed });
    const free = await even.enqueue([], { dependsOn: root });
    const worker = queue.runWorker();
    expect(await rig.statusOf(root)).toBe("dead");
    const holder = await even.enqueue([], { uniqueKey: "key", delayMs: 1_000_000 });
    await rig.pump(queue.replay(root.id));
    expect(await rig.statusOf(free)).toBe("complete");
    for (const job of [keyed, last, holder]) await job.refresh();
    expect([keyed.status, last.status, holder.status]).toEqual([
      ...["cancelled", "cancelled", "pending"],
    ]);
    await rig.pump(worker.stop());
    await rig.pump(queue.close());
  });

  test("is refused once a result that the dead letter is made of was purged", async () => {
    const rig = new Rig();
    const queue = rig.open();
    const one = queue.task("one", once, () => 1);
    const fails = queue.task("fails", once, (_ctx, _value: number) => {
      throw new Error("no");
    });
    const input = await one.enqueue([]);
    const job = await fails.enqueue([from(input)]);
    const worker = queue.runWorker();
    expect(await rig.statusOf(job)).toBe("dead");
    expect(await rig.pump(queue.purge())).toEqual([input.id]);
    await expect(rig.pump(queue.replay(job.id))).rejects.toMatchObject({ code: "NOT_FOUND" });
    await job.refresh();
    expect(job.status).toBe("dead");
    await rig.pump(worker.stop());
    await rig.pump(queue.close());
  });

  test("revives no job whose other input was purged meanwhile, or which had not waited for it", async () => {
    const rig = new Rig();
    const queue = rig.open();
    const given: unknown[] = [];
    const odd = queue.task("odd", once, ({ attempt }) => {
      if (attempt === 1) throw new Error("no");
    });
    const one = queue.task("one", once, () => 1);
    const takes = queue.task("takes", once, (_ctx, value: number) => void given.push(value));
    const [root, input] = [await odd.enqueue([]), await one.enqueue([])];
    const later = await one.enqueue([], { delayMs: 1_000_000 });
    const made = await takes.enqueue([from(input)], { dependsOn: root });
    const waits = await takes.enqueue([2], { dependsOn: [root, later] });
    const after = await takes.enqueue([3], { dependsOn: [root, input] });
    const worker = queue.runWorker();
    expect(await rig.statusOf(root)).toBe("dead");
    expect(await rig.statusOf(input)).toBe("complete");
    await rig.pump(queue.purgeJob(input.id));
    await rig.pump(queue.purgeJob(later.id));
    await rig.pump(queue.replay(root.id));
    expect(await rig.statusOf(after)).toBe("complete");
    for (const job of [made, waits]) await job.refresh();
    expect([made.status, waits.status, given]).toEqual(["cancelled", "cancelled", [3]]);
    await rig.pump(worker.stop());
    await rig.pump(queue.close());
  });
});

test("a replay revives no fan of which an item was purged meanwhile", async () => {
  const rig = new Rig();
  const queue = rig.open();
  const list = queue.task("list", () => [1, 2]);
  const half = queue.task("half", once, ({ attempt }, item: number) => {
    if (item === 2 && attempt === 1) throw new Error("no");
    return item / 2;
  });
  const fan = await half.fanOut(await list.enqueue([]));
  const worker = queue.runWorker();
  expect(await rig.statusOf(fan)).toBe("cancelled");
  const [done] = await queue.listJobs({ taskName: "half", status: "complete" });
  await rig.pump(queue.purgeJob(done?.id ?? ""));
  const [letter] = await queue.deadLetters();
  const item = await rig.pump(queue.replay(letter?.id ?? ""));
  expect(await rig.statusOf(item)).toBe("complete");
  await fan.refresh();
  expect(fan.status).toBe("cancelled");
  await rig.pump(worker.stop());
  await rig.pump(queue.close());
});

test("a job whose input was purged before it began fails, and is not run with nothing", async () => {
  const rig = new Rig();
  const queue = rig.open();
  const one = queue.task("one", () => 1);
  const takes = queue.task("takes", { queue: "later" }, (_ctx, value: number) => value);
  const input = await one.enqueue([]);
  const job = await takes.enqueue([from(input)]);
  const worker = queue.runWorker({ queues: ["default"] });
  expect(await rig.statusOf(input)).toBe("complete");
  await rig.pump(queue.purgeJob(input.id));
  const other = queue.runWorker({ queues: ["later"] });
  expect(await rig.statusOf(job)).toBe("dead");
  expect(job.errors.map(({ code, attempt }) => [code, attempt])).toEqual([["UNRESOLVED_REF", 1]]);
  await rig.pump(Promise.all([worker.stop(), other.stop()]));
  await rig.pump(queue.close());
});

test("B1: a worker that was given up claims nothing by the name that nobody watches any more", async () => {
  const rig = new Rig();
  // It says nothing, and does not hear that it was given up: its next claim finds out.
  const silent = { keep: () => ({ stamp: () => {}, stop: async () => {} }) };
  const mute = rig.open({ leaseMs: 1_000, pollMs: 100 }, silent);
  const end = gate();
  const muted = mute.task("held", () => end.promise);
  const worker = mute.runWorker();
  const watching = rig.open({ leaseMs: 1_000, pollMs: 100 });
  const watcher = watching.runWorker();
  await rig.pass(50);
  const { id } = worker;
  await rig.pass(1_500);
  expect(rig.events).toContainEqual(expect.objectContaining({ type: "worker-lost", worker: id }));
  const job = await muted.enqueue([]);
  await rig.pass(150);
  const { owner, workers } = await rig.store.look((tx) => ({
    owner: tx.jobById(job.id)?.owner,
    workers: tx.workers().map((row) => row.id),
  }));
  expect(workers).toContain(owner);
  expect(owner).not.toBe(id);
  end.resolve();
  expect(await rig.statusOf(job)).toBe("complete");
  await rig.pump(Promise.all([worker.stop(), watcher.stop()]));
});

test("B4: after the store was out of order for longer than the TTL, no worker gives up another one of its process", async () => {
  const store = new FailingStore();
  const rig = new Rig(store);
  const queue = rig.open({ leaseMs: 1_000, pollMs: 50 });
  const end = gate();
  const held = queue.task("held", () => end.promise);
  const workers = [queue.runWorker({ concurrency: 1 }), queue.runWorker({ concurrency: 1 })];
  const jobs = await held.enqueueMany([[], []]);
  // Unlike in phase: one's tick comes before the other's beat.
  await rig.pass(500);
  store.isDown = true;
  await rig.pass(2_010);
  store.isDown = false;
  await rig.pass(1_000);
  end.resolve();
  for (const job of jobs) {
    expect(await rig.statusOf(job)).toBe("complete");
    expect(job.attempts).toBe(1);
  }
  expect(rig.events.filter(({ type }) => type === "worker-lost")).toEqual([]);
  await rig.pump(Promise.all(workers.map((worker) => worker.stop())));
  await rig.pump(queue.close());
});

test("a job that has expired does not begin, though no tick came between", async () => {
  const rig = new Rig();
  const queue = rig.open({ pollMs: 15_000 });
  const run: string[] = [];
  const names = queue.task("names", (_ctx, name: string) => void run.push(name));
  const worker = queue.runWorker({ concurrency: 1 });
  await rig.pass(10);
  const holds = gate();
  const holding = queue.task("holding", () => holds.promise);
  const held = await holding.enqueue([]);
  const job = await names.enqueue(["late"], { expiresMs: 100 });
  // Its own time was the worker's next tick; what frees the worker comes with it.
  await rig.pass(99);
  rig.host.nowMs += 5;
  holds.resolve();
  expect(await rig.statusOf(held)).toBe("complete");
  expect(await rig.statusOf(job)).toBe("cancelled");
  expect([job.because, run]).toEqual(["expired", []]);
  await rig.pump(worker.stop());
  await rig.pump(queue.close());
});

test("a job that has begun does not expire while it waits to be tried again", async () => {
  const rig = new Rig();
  const queue = rig.open({ pollMs: 50 });
  const twice = queue.task("twice", { backoff: { delaysMs: [1_000] } }, ({ attempt }) => {
    if (attempt === 1) throw new Error("not yet");
  });
  const job = await twice.enqueue([], { expiresMs: 500 });
  const worker = queue.runWorker();
  expect(await rig.statusOf(job)).toBe("complete");
  expect(job.attempts).toBe(2);
  await rig.pump(worker.stop());
  await rig.pump(queue.close());
});

test("a worker that cannot write as it stops ends all the same, and its jobs go back by its TTL", async () => {
  const store = new FailingStore();
  const rig = new Rig(store);
  const queue = rig.open({ pollMs: 50, graceMs: 100, leaseMs: 1_000 });
  const held = queue.task("held", ({ attempt }) => (attempt === 1 ? gate().promise : undefined));
  const job = await held.enqueue([]);
  const worker = queue.runWorker({ drainMs: 0 });
  await rig.pass(30);
  store.isDown = true;
  expect(await rig.pump(worker.stop())).toMatchObject({ status: "handed-back", handedBack: 1 });
  store.isDown = false;
  queue.runWorker();
  expect(await rig.statusOf(job)).toBe("complete");
  expect(job.errors.map(({ code }) => code)).toEqual(["LEASE_EXPIRED"]);
  await rig.pump(queue.close());
});

test("B5: a clock that is set back while a worker looks does not put off its next look", async () => {
  const store = new FailingStore();
  const rig = new Rig(store);
  let offsetMs = 0;
  const clock = { nowMs: (): number => rig.host.nowMs + offsetMs };
  const queue = rig.open({ pollMs: 50 }, { clock });
  const held = queue.task("held", async ({ signal }) => {
    const end = gate();
    signal.addEventListener("abort", () => end.resolve());
    await end.promise;
    throw signal.reason;
  });
  const job = await held.enqueue([]);
  const worker = queue.runWorker();
  await rig.pass(120);
  store.onTransact = () => {
    offsetMs = -3_600_000;
  };
  await rig.pass(60);
  expect(offsetMs).toBeLessThan(0);
  // Of another process: only a tick hears of it.
  expect(await rig.pump(rig.open().cancel(job.id))).toBe(true);
  await rig.pass(200);
  await job.refresh();
  expect(job.status).toBe("cancelled");
  await rig.pump(worker.stop());
  await rig.pump(queue.close());
});

describe("a body that goes on after its time, while the store is out of order", () => {
  test("ends its job as soon as the store is there again, though it never ends itself", async () => {
    const store = new FailingStore();
    const rig = new Rig(store);
    const queue = rig.open({ pollMs: 50, graceMs: 100 });
    const deaf = queue.task("deaf", { timeoutMs: 100, maxConcurrent: 1 }, () => gate().promise);
    const job = await deaf.enqueue([]);
    queue.runWorker();
    await rig.pass(150);
    store.isDown = true;
    await rig.pass(500);
    store.isDown = false;
    expect(await rig.statusOf(job)).toBe("dead");
    expect(job.attempts).toBe(1);
  });

  test("frees its place, though its end could not be written when it came", async () => {
    const store = new FailingStore();
    const rig = new Rig(store);
    const queue = rig.open({ pollMs: 50, graceMs: 100 });
    const end = gate();
    const deaf = queue.task(
      "deaf",
      { timeoutMs: 100, maxConcurrent: 1 },
      async (_ctx, first: boolean) => {
        if (first) await end.promise;
      },
    );
    const job = await deaf.enqueue([true]);
    const next = await deaf.enqueue([false]);
    const worker = queue.runWorker();
    expect(await rig.statusOf(job)).toBe("dead");
    store.isDown = true;
    end.resolve();
    await rig.pass(30);
    store.isDown = false;
    await rig.pass(1_000);
    await next.refresh();
    expect(next.status).toBe("complete");
    await rig.pump(worker.stop());
    await rig.pump(queue.close());
  });
});

test("a worker that is told to stop while it cannot begin ends, with nothing done, and rejects nowhere", async () => {
  const store = new FailingStore();
  const rig = new Rig(store);
  const queue = rig.open();
  store.isDown = true;
  const source = new AbortController();
  const worker = queue.runWorker({ signal: source.signal });
  source.abort();
  // A rejection that nobody hears would fail this run.
  await expect(rig.pump(worker.done)).resolves.toMatchObject({ status: "drained", completed: 0 });
  await rig.pass(10);
});
