/** What a transaction of a job queue changes, one change after another, as whoever judges it needs it. */
import type { AttemptFailure, JobRow, JobTx, WorkerRow } from "@selvage/jobs";

/** One change. */
export type Change =
  | { readonly kind: "inserted"; readonly job: JobRow }
  | { readonly kind: "saved"; readonly before: JobRow; readonly job: JobRow }
  | { readonly kind: "deleted"; readonly job: JobRow; readonly children: readonly number[] }
  | { readonly kind: "depends"; readonly parent: number; readonly child: number }
  | { readonly kind: "failed"; readonly seq: number; readonly failure: AttemptFailure }
  | { readonly kind: "registered"; readonly worker: WorkerRow }
  | { readonly kind: "beat"; readonly worker: string }
  | { readonly kind: "gone"; readonly worker: string };

type Heard = {
  readonly [K in keyof JobTx]?: JobTx[K];
};

/** A transaction that notes what is changed by it. */
export class WatchedTx {
  readonly changes: Change[] = [];
  readonly tx: JobTx;

  constructor(tx: JobTx) {
    const heard = this.#heard(tx);
    const bound = new Map<string | symbol, unknown>();
    this.tx = new Proxy(tx, {
      get(target, name): unknown {
        const own = heard[name as keyof JobTx];
        if (own !== undefined) return own;
        if (name === "writes") return target.writes;
        const known = bound.get(name);
        if (known !== undefined) return known;
        const method = Reflect.get(target, name, target) as (...args: unknown[]) => unknown;
        const made = method.bind(target);
        bound.set(name, made);
        return made;
      },
    });
  }

  #heard(tx: JobTx): Heard {
    const { changes } = this;
    return {
      insertJob: (draft) => {
        const seq = tx.insertJob(draft);
        changes.push({ kind: "inserted", job: { ...draft, seq } });
        return seq;
      },
      saveJob: (job, phase) => {
        const before = tx.jobAt(job.seq) as JobRow;
        tx.saveJob(job, phase);
        changes.push({ kind: "saved", before, job: { ...job } });
      },
      deleteJob: (job) => {
        const children = tx.childrenOf(job.seq);
        tx.deleteJob(job);
        changes.push({ kind: "deleted", job: { ...job }, children });
      },
      addDependency: (parent, child) => {
        tx.addDependency(parent, child);
        changes.push({ kind: "depends", parent, child });
      },
      addFailure: (seq, failure) => {
        tx.addFailure(seq, failure);
        changes.push({ kind: "failed", seq, failure });
      },
      putWorker: (worker) => {
        tx.putWorker(worker);
        changes.push({ kind: "registered", worker });
      },
      beat: (worker, nowMs) => {
        const isKnown = tx.beat(worker, nowMs);
        if (isKnown) changes.push({ kind: "beat", worker });
        return isKnown;
      },
      deleteWorker: (worker) => {
        tx.deleteWorker(worker);
        changes.push({ kind: "gone", worker });
      },
    };
  }
}
