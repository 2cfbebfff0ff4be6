/** What every {@link JobStore} must do. Ours pass it; so must yours. */
import { expectCode, expectSame, type StoreConformanceCase } from "@selvage/collections";
import { PHASES, type CronRow, type JobDraft, type JobRow } from "./job-record.ts";
import type { JobStore, JobTx } from "./job-store.ts";

/** Makes what the cases run on. */
export interface JobStoreSubject {
  /** A new store that holds nothing. */
  open(): Promise<JobStore>;
  /** The same jobs through another handle, as another process finds them. Left out where nothing outlives the store. */
  reopen?(store: JobStore): Promise<JobStore>;
}

/** A job as it is made, changed by `given`. */
function draft(given: Partial<JobDraft> = {}): JobDraft {
  return {
    ...{ id: "a", task: "t", queue: "q", priority: 0, createdMs: 1, metadata: null, notes: null },
    spec: { timeoutMs: 0, retries: 3, baseMs: 1, factor: 2, maxMs: 3, jitter: "full" },
    args: { kind: "inline", bytes: Uint8Array.of(1, 2) },
    ...{
      uniqueKey: null,
      expiresMs: null,
      phase: PHASES.ready,
      dueMs: 0,
      blockers: 0,
      attempts: 0,
    },
    ...{ retriesLeft: 3, epoch: 0, owner: null, isCancelling: false, progress: 0 },
    ...{ startedMs: null, endedMs: null, because: null, root: null, result: null },
    ...given,
  };
}

/** A schedule with options of its task's own. */
const cron: CronRow = {
  ...{ name: "c", task: "t", queue: "q", expression: "* * * * *", timeZone: "UTC" },
  ...{ args: Uint8Array.of(1), nextMs: 60_000, isPaused: false },
  spec: {
    ...{ timeoutMs: 1.5, retries: 7, baseMs: 2, factor: 1.25, maxMs: 9, jitter: "none" },
    delaysMs: [0, 0.5, 1e9],
  },
  priority: -2,
};

function save(tx: JobTx, seq: number, change: Partial<JobRow>): void {
  const row = tx.jobAt(seq) as JobRow;
  const { phase: before } = row;
  tx.saveJob(Object.assign(row, change), before);
}

function insertAll(tx: JobTx, drafts: readonly Partial<JobDraft>[]): readonly number[] {
  return drafts.map((one) => tx.insertJob(draft(one)));
}

type Scenario = (store: JobStore, subject: JobStoreSubject) => Promise<void>;

const jobScenarios: Readonly<Record<string, Scenario>> = {
  "an empty store finds nothing": async (store) => {
    await store.look((tx) => {
      expectSame(
        "jobs",
        [tx.jobAt(1), tx.jobById("a"), tx.jobByKey("k")],
        [undefined, undefined, undefined],
      );
      expectSame(
        "lists",
        [tx.list({ limit: 9 }), tx.counts(), tx.workers(), tx.queues(), tx.crons()],
        [[], [], [], [], []],
      );
      expectSame(
        "found",
        [tx.ready("q", "t", 9), tx.dueBy(9, 9), tx.expiredBy(9, 9)],
        [[], [], []],
      );
      expectSame("next", [tx.nextTimeMs(), tx.bucket("b")], [undefined, undefined]);
    });
  },
  "a job comes back as it was made": async (store) => {
    const made = draft({
      ...{ id: "x", metadata: "Bücher \u0000", notes: '{"n":1}', uniqueKey: "k", expiresMs: 7.5 },
      ...{
        priority: -3,
        dueMs: 1e12,
        createdMs: 0.25,
        args: { kind: "inline", bytes: new Uint8Array(0) },
      },
    });
    const seq = await store.transact((tx) => tx.insertJob(made));
    const found = await store.look((tx) => [tx.jobAt(seq), tx.jobById("x"), tx.jobByKey("k")]);
    for (const row of found) {
      for (const [name, value] of Object.entries(made))
        expectSame(name, row?.[name as keyof JobDraft], value);
      expectSame("number", row?.seq, seq);
    }
  },
  "what is saved comes back, and numbers rise": async (store) => {
    await store.transact((tx) => {
      const [first, second] = insertAll(tx, [{ id: "a" }, { id: "b" }]) as [number, number];
      expectSame("rises", second > first, true);
      const change = {
        ...{ phase: PHASES.complete, dueMs: 5, blockers: 2, attempts: 3, retriesLeft: 1, epoch: 9 },
        ...{
          owner: "w",
          isCancelling: true,
          progress: 12.5,
          startedMs: 4,
          endedMs: 6,
          because: "why",
        },
        ...{ root: "a", result: { kind: "inline", bytes: Uint8Array.of(7) } as const },
      };
      save(tx, second, change);
      for (const [name, value] of Object.entries(change))
        expectSame(name, tx.jobAt(second)?.[name as keyof JobRow], value);
      expectSame("the other", tx.jobAt(first)?.phase, PHASES.ready);
    });
  },
  "a row that was given out is the reader's own": async (store) => {
    const seq = await store.transact((tx) => tx.insertJob(draft()));
    await store.transact((tx) => Object.assign(tx.jobAt(seq) as JobRow, { attempts: 99 }));
    expectSame("attempts", await store.look((tx) => tx.jobAt(seq)?.attempts), 0);
  },
  "what a transaction throws undoes all of it": async (store) => {
    const seq = await store.transact((tx) => tx.insertJob(draft({ uniqueKey: "k", expiresMs: 9 })));
    const broken = store.transact((tx) => {
      save(tx, seq, { phase: PHASES.running, owner: "w" });
      const [other] = insertAll(tx, [{ id: "b" }]) as [number];
      tx.addDependency(seq, other);
      tx.addFailure(seq, {
        attempt: 1,
        error: "e",
        failedAt: 1,
        name: "E",
        code: null,
        stack: null,
      });
      tx.putQueue({ name: "q", isPaused: true, maxConcurrent: 1, ratePerSecond: 1, rateBurst: 1 });
      tx.deleteJob(tx.jobAt(seq) as JobRow);
      throw new Error("undone");
    });
    expectSame("thrown", await broken.catch((error: Error) => error.message), "undone");
    await store.look((tx) => {
      expectSame(
        "phase",
        [tx.jobAt(seq)?.phase, tx.jobByKey("k")?.seq, tx.nextTimeMs()],
        [0, seq, 9],
      );
      expectSame(
        "rest",
        [tx.list({ limit: 9 }).length, tx.childrenOf(seq), tx.failuresOf(seq), tx.queues()],
        [1, [], [], []],
      );
      expectSame("counts", tx.counts(), [{ queue: "q", status: "pending", count: 1 }]);
      expectSame("ready", tx.ready("q", "t", 9).length, 1);
    });
  },
  "it tells how much a transaction wrote": async (store) => {
    await store.transact((tx) => {
      expectSame("none", tx.writes, 0);
      tx.insertJob(draft());
      expectSame("some", tx.writes > 0, true);
    });
    await store.transact((tx) => expectSame("anew", tx.writes, 0));
  },
  "jobs that could start come by priority, due time and number, of their task and queue": async (
    store,
  ) => {
    await store.transact((tx) => {
      const [low, late, early, high] = insertAll(tx, [
        { id: "a" },
        { id: "b", priority: 1, dueMs: 5 },
        { id: "c", priority: 1, dueMs: 2 },
        { id: "d", priority: 9, dueMs: 9 },
      ]) as [number, number, number, number];
      insertAll(tx, [
        { id: "e", task: "other" },
        { id: "f", queue: "other" },
        { id: "g", phase: PHASES.blocked },
        { id: "h", phase: PHASES.delayed },
      ]);
      const seqs = (limit: number): number[] => tx.ready("q", "t", limit).map(({ seq }) => seq);
      expectSame("all", seqs(9), [high, early, late, low]);
      expectSame("first", seqs(2), [high, early]);
      save(tx, high, { phase: PHASES.running, owner: "w" });
      expectSame("without", seqs(9), [early, late, low]);
    });
  },
  "delayed jobs come when they are due, unstarted ones expire, and the next time is known": async (
    store,
  ) => {
    await store.transact((tx) => {
      const [later, soon, expiring] = insertAll(tx, [
        { id: "a", phase: PHASES.delayed, dueMs: 30 },
        { id: "b", phase: PHASES.delayed, dueMs: 20 },
        { id: "c", expiresMs: 10 },
        { id: "d", expiresMs: 5, phase: PHASES.running, owner: "w" },
        // It has begun, and waits to be tried again.
        { id: "e", expiresMs: 5, startedMs: 1 },
      ]) as [number, number, number, number];
      expectSame(
        "due",
        [tx.dueBy(19, 9), tx.dueBy(20, 9), tx.dueBy(30, 9), tx.dueBy(30, 1)],
        [[], [soon], [soon, later], [soon]],
      );
      expectSame("expired", [tx.expiredBy(9, 9), tx.expiredBy(10, 9)], [[], [expiring]]);
      expectSame("next", tx.nextTimeMs(), 10);
      save(tx, expiring, { phase: PHASES.complete, endedMs: 1 });
      expectSame("then", tx.nextTimeMs(), 20);
    });
  },
  "a worker's jobs are found by their owner, whatever their phase": async (store) => {
    await store.transact((tx) => {
      const [mine, ended, , asked] = insertAll(tx, [
        { id: "a", phase: PHASES.running, owner: "w" },
        { id: "b", phase: PHASES.dead, owner: "w", endedMs: 1, task: "u" },
        { id: "c", phase: PHASES.running, owner: "v" },
        { id: "d", phase: PHASES.running, owner: "w", isCancelling: true, queue: "p" },
      ]) as [number, number, number, number];
      const sorted = [...tx.runningOf("w")].toSorted((a, b) => a - b);
      expectSame("of the worker", sorted, [mine, ended, asked]);
      expectSame("asked", tx.cancellingOf("w"), [asked]);
      expectSame(
        "counts",
        [
          tx.runningOfTask("t"),
          tx.runningOfTask("u"),
          tx.runningOfQueue("q"),
          tx.runningOfQueue("p"),
        ],
        [3, 1, 3, 1],
      );
    });
  },
  "a unique key is an unfinished job's": async (store) => {
    await store.transact((tx) => {
      const [seq] = insertAll(tx, [{ id: "a", uniqueKey: "k" }]) as [number];
      save(tx, seq, { phase: PHASES.running, owner: "w" });
      expectSame("running", tx.jobByKey("k")?.seq, seq);
      save(tx, seq, { phase: PHASES.complete, owner: null, endedMs: 1 });
      expectSame("free", tx.jobByKey("k"), undefined);
      const [next] = insertAll(tx, [{ id: "b", uniqueKey: "k" }]) as [number];
      expectSame("the next", tx.jobByKey("k")?.seq, next);
    });
  },
  "jobs are listed newest first, by status, queue and task, page by page": async (store) => {
    await store.transact((tx) => {
      const [a, b, c] = insertAll(tx, [
        { id: "a", phase: PHASES.blocked },
        { id: "b", phase: PHASES.delayed, task: "u" },
        { id: "c", phase: PHASES.dead, endedMs: 1, queue: "p" },
      ]) as [number, number, number];
      const seqs = (filter: object): number[] =>
        tx.list({ limit: 9, ...filter }).map(({ seq }) => seq);
      expectSame("all", seqs({}), [c, b, a]);
      expectSame("status", [seqs({ status: "pending" }), seqs({ status: "dead" })], [[b, a], [c]]);
      expectSame("queue, task", [seqs({ queue: "p" }), seqs({ task: "u" })], [[c], [b]]);
      expectSame("pages", [seqs({ limit: 1 }), seqs({ beforeSeq: c, limit: 1 })], [[c], [b]]);
    });
  },
  "counts follow every change": async (store) => {
    const counts = (): Promise<unknown> =>
      store.look((tx) =>
        [...tx.counts()]
          .map(({ queue, status, count }) => `${queue} ${status} ${count}`)
          .toSorted(),
      );
    const seqs = await store.transact((tx) =>
      insertAll(tx, [{ id: "a" }, { id: "b" }, { id: "c", queue: "p" }]),
    );
    expectSame("made", await counts(), ["p pending 1", "q pending 2"]);
    await store.transact((tx) =>
      save(tx, seqs[0] as number, { phase: PHASES.running, owner: "w" }),
    );
    expectSame("moved", await counts(), ["p pending 1", "q pending 1", "q running 1"]);
    await store.transact((tx) => tx.deleteJob(tx.jobAt(seqs[2] as number) as JobRow));
    expectSame("deleted", await counts(), ["q pending 1", "q running 1"]);
  },
  "ended jobs come by when they ended": async (store) => {
    await store.transact((tx) => {
      const [late, early] = insertAll(tx, [
        { id: "a", phase: PHASES.complete, endedMs: 20 },
        { id: "b", phase: PHASES.complete, endedMs: 10 },
        { id: "c", phase: PHASES.cancelled, endedMs: 5 },
      ]) as [number, number, number];
      expectSame("by 15", tx.endedBy("complete", 15, 9), [early]);
      expectSame("by 20", tx.endedBy("complete", 20, 9), [early, late]);
      expectSame("one", tx.endedBy("complete", 20, 1), [early]);
    });
  },
  "dependencies go both ways, and with their jobs": async (store) => {
    await store.transact((tx) => {
      const [a, b, c] = insertAll(tx, [{ id: "a" }, { id: "b" }, { id: "c" }]) as [
        number,
        number,
        number,
      ];
      tx.addDependency(a, c);
      tx.addDependency(b, c);
      expectSame(
        "children",
        [tx.childrenOf(a), tx.parentsOf(c), tx.parentsOf(a)],
        [[c], [a, b], []],
      );
      tx.deleteJob(tx.jobAt(a) as JobRow);
      expectSame(
        "after",
        [tx.parentsOf(c), tx.jobAt(a), tx.jobById("a")],
        [[b], undefined, undefined],
      );
    });
  },
  "cancelled jobs are found by their root": async (store) => {
    await store.transact((tx) => {
      const [, b] = insertAll(tx, [
        { id: "a", phase: PHASES.dead, endedMs: 1 },
        { id: "b", phase: PHASES.cancelled, root: "a", endedMs: 1 },
        { id: "c", phase: PHASES.cancelled, root: "z", endedMs: 1 },
      ]) as [number, number, number];
      expectSame("of a", tx.cancelledBy("a"), [b]);
      save(tx, b, { phase: PHASES.blocked, root: null, endedMs: null });
      expectSame("revived", tx.cancelledBy("a"), []);
    });
  },
};

const restScenarios: Readonly<Record<string, Scenario>> = {
  "failures and partial results come in their order, and go with their job": async (store) => {
    await store.transact((tx) => {
      const [seq] = insertAll(tx, [{ id: "a" }]) as [number];
      const failure = {
        attempt: 1,
        error: "e",
        failedAt: 2.5,
        name: "E",
        code: "TIMED_OUT",
        stack: null,
      };
      tx.addFailure(seq, failure);
      tx.addFailure(seq, { ...failure, attempt: 2 });
      expectSame("failures", tx.failuresOf(seq), [failure, { ...failure, attempt: 2 }]);
      tx.addPartial(seq, Uint8Array.of(1));
      tx.addPartial(seq, Uint8Array.of(2));
      expectSame("partials", [tx.partialsOf(seq, 0), tx.partialsOf(seq, 1)], [[[1], [2]], [[2]]]);
      tx.deleteJob(tx.jobAt(seq) as JobRow);
      expectSame("gone", [tx.failuresOf(seq), tx.partialsOf(seq, 0)], [[], []]);
    });
  },
  "blocks are leased until a job takes them over, and go with it": async (store) => {
    const blocks = await store.transact((tx) => tx.openBlocks(10));
    await store.transact((tx) => {
      tx.addBlock(blocks, Uint8Array.of(1, 2), 20);
      tx.addBlock(blocks, Uint8Array.of(3), 30);
      expectSame("read", tx.readBlocks(blocks), Uint8Array.of(1, 2, 3));
      expectSame("swept too early", tx.sweepBlocks(29), 0);
      tx.keepBlocks(blocks);
      expectSame("kept", tx.sweepBlocks(1e15), 0);
    });
    await store.transact((tx) => {
      const seq = tx.insertJob(draft({ args: { kind: "blocks", blocks } }));
      expectSame("args", tx.jobAt(seq)?.args, { kind: "blocks", blocks });
      tx.deleteJob(tx.jobAt(seq) as JobRow);
      expectSame("gone", tx.readBlocks(blocks), undefined);
    });
  },
  "blocks that nobody took over are swept, and refuse what comes then": async (store) => {
    const blocks = await store.transact((tx) => {
      const opened = tx.openBlocks(10);
      tx.addBlock(opened, Uint8Array.of(1), 10);
      expectSame("swept", tx.sweepBlocks(10), 1);
      return opened;
    });
    expectSame("read", await store.look((tx) => tx.readBlocks(blocks)), undefined);
    const add = store.transact((tx) => tx.addBlock(blocks, Uint8Array.of(1), 20));
    await expectCode("add", "LEASE_EXPIRED", add);
    await expectCode(
      "keep",
      "LEASE_EXPIRED",
      store.transact((tx) => tx.keepBlocks(blocks)),
    );
  },
  "workers are put, beat, and go": async (store) => {
    const worker = {
      id: "w",
      label: "l",
      queues: ["a", "b"],
      startedMs: 1,
      leaseMs: 2,
      beats: 0,
      beatMs: 1,
    };
    await store.transact((tx) => {
      tx.putWorker(worker);
      expectSame("beats", [tx.beat("w", 5), tx.beat("x", 5)], [true, false]);
      expectSame("workers", tx.workers(), [{ ...worker, beats: 1, beatMs: 5 }]);
      tx.deleteWorker("w");
      expectSame("gone", [tx.workers(), tx.beat("w", 6)], [[], false]);
    });
  },
  "queues, buckets and schedules are replaced by name": async (store) => {
    const queue = {
      name: "q",
      isPaused: true,
      maxConcurrent: null,
      ratePerSecond: 0.5,
      rateBurst: 2,
    };
    await store.transact((tx) => {
      tx.putQueue({ ...queue, isPaused: false });
      tx.putQueue(queue);
      tx.putBucket({ name: "b", tokens: 1, atMs: 1 });
      tx.putBucket({ name: "b", tokens: 0.25, atMs: 2 });
      tx.putCron({ ...cron, nextMs: 1, priority: 1, spec: draft().spec });
      tx.putCron(cron);
      expectSame("queues", tx.queues(), [queue]);
      expectSame("bucket", tx.bucket("b"), { name: "b", tokens: 0.25, atMs: 2 });
      expectSame("crons", tx.crons(), [cron]);
      expectSame(
        "deleted",
        [tx.deleteCron("c"), tx.deleteCron("c"), tx.crons()],
        [true, false, []],
      );
    });
  },
  "another handle finds all of it": async (store, subject) => {
    if (subject.reopen === undefined) return;
    const seq = await store.transact((tx) => {
      tx.putCron(cron);
      return tx.insertJob(draft({ metadata: "m" }));
    });
    const other = await subject.reopen(store);
    try {
      expectSame("schedule", await other.look((tx) => tx.crons()), [cron]);
      expectSame("job", await other.look((tx) => tx.jobAt(seq)?.metadata), "m");
      await other.transact((tx) => save(tx, seq, { phase: PHASES.running, owner: "w" }));
      expectSame("seen", await store.look((tx) => tx.jobAt(seq)?.owner), "w");
      expectSame("counted", await store.look((tx) => tx.counts()), [
        { queue: "q", status: "running", count: 1 },
      ]);
    } finally {
      await other.close();
    }
  },
};

/** The cases of the suite. Each opens a store of its own, and closes it. */
export function jobStoreConformance(subject: JobStoreSubject): readonly StoreConformanceCase[] {
  return Object.entries({ ...jobScenarios, ...restScenarios }).map(([name, scenario]) => ({
    name,
    run: async () => {
      const store = await subject.open();
      try {
        await scenario(store, subject);
      } finally {
        await store.close();
      }
    },
  }));
}
