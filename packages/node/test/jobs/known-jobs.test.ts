import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MemoryJobStore, PHASES, type JobDraft, type JobRow, type JobStore } from "@selvage/jobs";
import { JobQueue, SqliteJobStore } from "@selvage/node";
import { afterAll, describe, expect, it } from "vitest";

const folder = mkdtempSync(join(tmpdir(), "selvage-known-"));
let files = 0;
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function draft(id: string): JobDraft {
  return {
    ...{ id, task: "t", queue: "q", priority: 0, createdMs: 1, metadata: null, notes: null },
    spec: { timeoutMs: 0, retries: 3, baseMs: 1, factor: 2, maxMs: 3, jitter: "full" },
    args: { kind: "inline", bytes: Uint8Array.of(1, 2) },
    ...{ uniqueKey: null, expiresMs: null, phase: PHASES.ready, dueMs: 0, blockers: 0 },
    ...{ attempts: 0, retriesLeft: 3, epoch: 0, owner: null, isCancelling: false, progress: 0 },
    ...{ startedMs: null, endedMs: null, because: null, root: null, result: null },
  };
}

function twoOfOneFile(): readonly [SqliteJobStore, SqliteJobStore] {
  const path = join(folder, `${files++}.sqlite`);
  return [new SqliteJobStore(path), new SqliteJobStore(path)];
}

const failure = { attempt: 1, error: "no", failedAt: 1, name: "Error", code: null, stack: null };

describe("What a store knows of jobs that it has written", () => {
  it("is what another process has made of them since", async () => {
    const [one, other] = twoOfOneFile();
    const [parent, child] = await one.transact((tx) => [
      tx.insertJob(draft("a")),
      tx.insertJob(draft("b")),
    ]);
    const seen = (store: JobStore) =>
      store.look((tx) => [
        tx.jobAt(child)?.attempts,
        tx.jobById("b")?.owner,
        tx.childrenOf(parent),
        tx.parentsOf(child),
        tx.failuresOf(child).length,
      ]);
    expect(await seen(one)).toEqual([0, null, [], [], 0]);
    await other.transact((tx) => {
      const row = tx.jobAt(child) as JobRow;
      Object.assign(row, { attempts: 1, owner: "w", phase: PHASES.running });
      tx.saveJob(row, PHASES.ready);
      tx.addDependency(parent, child);
      tx.addFailure(child, failure);
    });
    expect(await seen(one)).toEqual([1, "w", [child], [parent], 1]);
    expect(await seen(other)).toEqual([1, "w", [child], [parent], 1]);
    await one.transact((tx) => tx.deleteJob(tx.jobAt(child) as JobRow));
    expect(await seen(one)).toEqual([undefined, undefined, [], [], 0]);
    expect(await seen(other)).toEqual([undefined, undefined, [], [], 0]);
    await Promise.all([one.close(), other.close()]);
  });

  it("is what was before, where a transaction was undone", async () => {
    const [one, other] = twoOfOneFile();
    const [parent, child] = await one.transact((tx) => [
      tx.insertJob(draft("a")),
      tx.insertJob(draft("b")),
    ]);
    const undone = one.transact((tx) => {
      tx.insertJob(draft("c"));
      const row = tx.jobAt(child) as JobRow;
      tx.saveJob({ ...row, attempts: 9 }, row.phase);
      tx.addDependency(parent, child);
      tx.addFailure(child, failure);
      throw new Error("undone");
    });
    await expect(undone).rejects.toThrow("undone");
    await one.look((tx) => {
      expect(tx.jobById("c")).toBeUndefined();
      expect(tx.jobAt(child)?.attempts).toBe(0);
      expect([tx.childrenOf(parent), tx.parentsOf(child), tx.failuresOf(child)]).toEqual([
        ...[[], [], []],
      ]);
    });
    await Promise.all([one.close(), other.close()]);
  });

  it("is looked at together by all that ask at one moment, and one that throws takes nobody along", async () => {
    const [one, other] = twoOfOneFile();
    const asked = [
      one.look((tx) => tx.counts()),
      one.look(() => {
        throw new Error("mine");
      }),
      one.look((tx) => tx.jobAt(1)),
    ];
    expect(await Promise.allSettled(asked)).toMatchObject([
      { status: "fulfilled", value: [] },
      { status: "rejected", reason: { message: "mine" } },
      { status: "fulfilled", value: undefined },
    ]);
    await Promise.all([one.close(), other.close()]);
    await expect(one.look((tx) => tx.counts())).rejects.toMatchObject({
      code: "STORE_UNAVAILABLE",
    });
  });

  it("is the same for many more jobs than it knows, and for those that are long", async () => {
    const [one, other] = twoOfOneFile();
    const long = { kind: "inline", bytes: new Uint8Array(10_000).fill(7) } as const;
    const seqs = await one.transact((tx) =>
      Array.from({ length: 6_000 }, (_, at) =>
        tx.insertJob({ ...draft(`j${at}`), ...(at % 100 === 0 && { args: long }) }),
      ),
    );
    await one.transact((tx) => {
      for (const [at, seq] of seqs.entries()) {
        const row = tx.jobAt(seq) as JobRow;
        Object.assign(row, { attempts: at, phase: at % 2 === 0 ? PHASES.complete : row.phase });
        tx.saveJob(row, PHASES.ready);
        if (at > 0) tx.addDependency(seqs[at - 1] as number, seq);
      }
    });
    const all = (store: JobStore) =>
      store.look((tx) =>
        seqs.map((seq, at) => [tx.jobAt(seq), tx.jobById(`j${at}`), tx.childrenOf(seq)]),
      );
    expect(await all(one)).toEqual(await all(other));
    await Promise.all([one.close(), other.close()]);
  });
});

describe("The bytes of arguments and results", () => {
  it.each([
    ["in memory", () => ({ store: new MemoryJobStore() })],
    ["in a file", () => ({ path: join(folder, `${files++}.sqlite`) })],
  ])(
    "are a body's own to change: the next attempt finds them as they were, %s",
    async (_, where) => {
      await using queue = await JobQueue.open(where());
      const task = queue.task(
        "spoil",
        { retries: 1, backoff: { delaysMs: [0] } },
        async (ctx, bytes: Uint8Array) => {
          const found = [...bytes];
          bytes.fill(0);
          if (ctx.attempt === 1) throw new Error("once more");
          return Uint8Array.from(found);
        },
      );
      const job = await task.enqueue([Uint8Array.of(1, 2, 3)]);
      queue.runWorker();
      const first = await job.result();
      expect([...first]).toEqual([1, 2, 3]);
      first.fill(9);
      expect([...(await job.result())]).toEqual([1, 2, 3]);
    },
  );
});
