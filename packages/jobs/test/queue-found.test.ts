/** Mistakes that the jobs campaign has found, each as its smallest story. */
import { from } from "@selvage/jobs";
import { describe, expect, test } from "vitest";
import { Rig } from "./queue-rig.ts";

const once = { retries: 0 } as const;

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
