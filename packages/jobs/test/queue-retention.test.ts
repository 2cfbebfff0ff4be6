/** What a purge says that it would forget, and what it forgets, of many jobs. */
import { PHASES, type JobPurge, type JobQueue, type QueuedJob } from "@selvage/jobs";
import { describe, expect, it } from "vitest";
import { Rig } from "./queue-rig.ts";

const minuteMs = 60_000;

function idsOf(jobs: readonly { readonly id: string }[]): readonly string[] {
  return jobs.map(({ id }) => id);
}

function none(count: number): readonly [][] {
  return Array.from({ length: count }, () => []);
}

/** All that the store has of its jobs. */
function everything(rig: Rig): Promise<unknown> {
  return rig.store.look((tx) => ({
    counts: tx.counts(),
    jobs: tx.list({ limit: 1e6 }).map((job) => ({
      job,
      parents: tx.parentsOf(job.seq),
      children: tx.childrenOf(job.seq),
      failures: tx.failuresOf(job.seq),
    })),
  }));
}

/** 5,000 jobs that ended long ago, of every status, with what depends on them; some that ended lately, and some that wait. */
async function past(rig: Rig, queue: JobQueue) {
  const once = { retries: 0 } as const;
  const fine = queue.task("fine", once, async () => 1);
  const fails = queue.task("fails", once, async () => {
    throw new Error("no");
  });
  const held = await rig.pump(queue.enqueue("nobody", []));
  const loose = await rig.pump(fine.enqueueMany(none(1_400)));
  const awaited = await rig.pump(fine.enqueueMany(none(700)));
  await rig.pump(
    fine.enqueueMany(none(700), (at) => ({ dependsOn: [held, awaited[at] as QueuedJob] })),
  );
  const parents = await rig.pump(fine.enqueueMany(none(600)));
  const children = await rig.pump(
    fine.enqueueMany(none(600), (at) => ({
      dependsOn: [awaited[at] as QueuedJob, parents[at] as QueuedJob],
    })),
  );
  const failed = await rig.pump(fails.enqueueMany(none(300)));
  // Cancelled by what they depended on.
  const felled = await rig.pump(
    fine.enqueueMany(none(300), (at) => ({ dependsOn: failed[at] as QueuedJob })),
  );
  const cancelled = await rig.pump(fine.enqueueMany(none(700), { delayMs: 1_000_000 }));
  queue.runWorker({ concurrency: 500 });
  await rig.pump(Promise.all(cancelled.map(({ id }) => queue.cancel(id))));
  for (const job of [...children, ...failed]) await rig.statusOf(job);
  expect(await rig.pump(queue.purgeDeadLetters())).toBe(300);
  const dead = await rig.pump(fails.enqueueMany(none(400)));
  for (const job of dead) await rig.statusOf(job);
  await rig.pass(2 * minuteMs);
  // What these depend on goes, and they stay.
  const late = await rig.pump(
    fine.enqueueMany(none(40), (at) => ({ dependsOn: loose[at] as QueuedJob })),
  );
  for (const job of late) await rig.statusOf(job);
  return { loose, parents, children, failed, felled, cancelled, dead };
}

describe("a dry run of a purge", () => {
  it("over 5,000 jobs says exactly which would go, changes nothing, and these go", async () => {
    const rig = new Rig();
    const queue = rig.open();
    const { loose, parents, children, failed, felled, cancelled, dead } = await past(rig, queue);
    const stats = await queue.stats();
    expect(stats).toMatchObject({ pending: 701, complete: 3_340, failed: 300, dead: 400 });
    const before = await everything(rig);
    const told = rig.events.length;
    const old = { olderThanMs: minuteMs };
    const wanted = [...loose, ...parents, ...children, ...felled, ...cancelled, ...failed];
    const would = await queue.purge({ ...old, dryRun: true });
    expect(would.toSorted()).toEqual(idsOf(wanted).toSorted());
    // Dead letters go when they are named; whoever names a status twice names it.
    const letters: JobPurge = { ...old, statuses: ["dead", "dead"] };
    const wouldBury = await queue.purge({ ...letters, dryRun: true });
    expect(wouldBury.toSorted()).toEqual(idsOf(dead).toSorted());
    expect(await everything(rig)).toEqual(before);
    expect(rig.events.length).toBe(told);

    expect((await rig.pump(queue.purge(old))).toSorted()).toEqual(would.toSorted());
    expect((await rig.pump(queue.purge(letters))).toSorted()).toEqual(wouldBury.toSorted());
    const { pending, complete, ...rest } = await queue.stats();
    expect([pending, complete, rest]).toEqual([
      ...[701, 740, { running: 0, failed: 0, dead: 0, cancelled: 0 }],
    ]);
    await rig.store.look((tx) => {
      for (const id of [...would, ...wouldBury]) expect(tx.jobById(id)).toBeUndefined();
      const jobs = tx.list({ limit: 1e6 });
      // What waits has all that it waits for, and nothing leads to what is gone.
      const waiting = jobs.filter(({ phase }) => phase === PHASES.blocked);
      expect(waiting.filter(({ seq }) => tx.parentsOf(seq).length !== 2)).toEqual([]);
      const around = jobs.flatMap(({ seq }) => [...tx.parentsOf(seq), ...tx.childrenOf(seq)]);
      expect(around.filter((seq) => tx.jobAt(seq) === undefined)).toEqual([]);
    });
    expect(await rig.pump(queue.purge({ ...old, dryRun: true }))).toEqual([]);
    await rig.pump(queue.close());
  });
});

it("A purge that names a status that does not end forgets nothing", async () => {
  const rig = new Rig();
  const queue = rig.open();
  const job = await rig.pump(queue.enqueue("t", []));
  await rig.pump(queue.cancel(job.id));
  await expect(rig.pump(queue.purge({ statuses: ["cancelled", "pending"] }))).rejects.toMatchObject(
    { code: "INVALID_ARGUMENT", details: { argument: "statuses" } },
  );
  expect((await queue.getJob(job.id))?.status).toBe("cancelled");
});
