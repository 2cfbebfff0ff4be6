/**
 * The one file that all processes of a machine keep their jobs in: transactions one after another, each of which takes time,
 * may fail, and may be in the file although whoever asked for it has died before it heard so.
 */
import { FabricError } from "@selvage/fabric";
import { MemoryJobStore, type JobStore, type JobTx } from "@selvage/jobs";
import { sometimes, type SimNode, type World } from "@selvage/sim";
import { WatchedTx, type Change } from "./jobs-change.ts";

/** One start of a process. */
export interface Incarnation {
  readonly node: SimNode;
  readonly number: number;
}

/** True while it lives: nothing of it happens later. */
function isAlive({ node, number }: Incarnation): boolean {
  return node.isUp && node.incarnation === number;
}

/** Is told of each transaction, as the last thing in it. */
export type Settled = (by: Incarnation, changes: readonly Change[], tx: JobTx) => void;

/** How long whoever finds the file locked waits before it looks again, in milliseconds. */
const pollMs = [1, 2, 5, 10, 25] as const;

/** The file, which no crash harms: what it has is synced before anybody sees it. */
export class JobFile {
  readonly #memory = new MemoryJobStore();
  readonly #settled: Settled;
  readonly #busyMs: number;
  readonly #open = new Set<OpenFile>();
  #holder: Incarnation | undefined;
  #now: JobTx | undefined;

  constructor(world: World, busyMs: number, settled: Settled) {
    this.#busyMs = busyMs;
    this.#settled = settled;
    void this.#memory.look((tx) => (this.#now = tx));
    world.kernel.observe(({ kind, node }) => {
      if (kind !== "node.crashed") return;
      // The system gives back what a dead process had locked, and closes its files.
      sometimes("a process died within a transaction", this.#holder?.node.name === node);
      if (this.#holder?.node.name === node) this.#holder = undefined;
      for (const open of this.#open) if (open.by.node.name === node) this.#open.delete(open);
    });
  }

  /** Opens it for this start of a process. */
  open(node: SimNode): JobStore {
    const open = new OpenFile(this, { node, number: node.incarnation });
    this.#open.add(open);
    return open;
  }

  close(open: OpenFile): void {
    this.#open.delete(open);
  }

  /** What somebody looks at, or does, from outside of the simulated world. */
  async outside<T>(work: (tx: JobTx) => T): Promise<T> {
    return this.#memory.transact(work);
  }

  /** What there is, now. */
  get now(): JobTx {
    return this.#now as JobTx;
  }

  /** Waits until it is nobody else's. @throws FabricError `STORE_UNAVAILABLE`. */
  async lock(by: Incarnation): Promise<void> {
    const { node } = by;
    const untilMs = node.monotonicMs() + this.#busyMs;
    for (let tries = 0; this.#holder !== undefined; tries++) {
      if (node.monotonicMs() >= untilMs) {
        sometimes("the file was locked for too long");
        throw new FabricError("STORE_UNAVAILABLE", "The database is locked");
      }
      await node.sleep(pollMs[Math.min(tries, pollMs.length - 1)] as number);
    }
    this.#holder = by;
  }

  unlock(by: Incarnation): void {
    if (this.#holder === by) this.#holder = undefined;
  }

  /** Does it, here and now: from now on it is in the file, whatever becomes of anybody. */
  apply<T>(by: Incarnation, work: (tx: JobTx) => T): Promise<T> {
    const { node } = by;
    const { condition } = node.disks;
    const fails = takeFailure(node);
    let writes = 0;
    const done = this.#memory.transact((tx) => {
      const watched = new WatchedTx(tx);
      const result = work(watched.tx);
      ({ writes } = tx);
      if (fails !== undefined) throw new FabricError("STORE_UNAVAILABLE", fails);
      if (condition.isFull && writes > 0) {
        sometimes("the disk was full");
        throw new FabricError("CAPACITY_EXCEEDED", "The disk is full");
      }
      this.#settled(by, watched.changes, tx);
      return result;
    });
    if (writes > 0) for (const open of this.#open) if (open.by !== by) open.hint();
    return done;
  }
}

function takeFailure(node: SimNode): string | undefined {
  const { failedIos, failedSyncs } = node.disks.condition;
  if (failedIos === 0 && failedSyncs === 0) return undefined;
  sometimes("the file could not be written");
  if (failedIos > 0) node.disks.setCondition({ failedIos: failedIos - 1 });
  else node.disks.setCondition({ failedSyncs: failedSyncs - 1 });
  return "The file cannot be written";
}

/** One process's hold on the file. */
class OpenFile implements JobStore {
  readonly by: Incarnation;
  readonly #file: JobFile;
  readonly #watchers = new Set<() => void>();
  #isHinted = false;
  #isClosed = false;

  constructor(file: JobFile, by: Incarnation) {
    this.#file = file;
    this.by = by;
  }

  async transact<T>(work: (tx: JobTx) => T): Promise<T> {
    this.#checkOpen();
    const { by } = this;
    await this.#file.lock(by);
    // Dying, or standing still, here: nothing was done, and others wait for the lock.
    await this.#wait();
    const outcome = await settledOf(this.#file.apply(by, work));
    this.#file.unlock(by);
    // Dying here: it was done, and nobody heard of it.
    await this.#wait();
    if ("error" in outcome) throw outcome.error;
    return outcome.value;
  }

  async look<T>(work: (tx: JobTx) => T): Promise<T> {
    this.#checkOpen();
    await this.#wait();
    return work(this.#file.now);
  }

  watch(onChange: () => void): () => void {
    this.#watchers.add(onChange);
    return () => this.#watchers.delete(onChange);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#file.close(this);
  }

  /** Another process may have changed something. Now and then nobody says so. */
  hint(): void {
    const { node } = this.by;
    if (this.#isHinted || !isAlive(this.by) || node.random.chance(1, 4)) return;
    this.#isHinted = true;
    node.after(node.random.between(500, 3_000), "hint", () => {
      this.#isHinted = false;
      for (const told of this.#watchers) told();
    });
  }

  #wait(): Promise<void> {
    const { node } = this.by;
    const us = node.random.below(Math.ceil(node.disks.condition.slowMs * 1_000) + 1);
    return new Promise((resolve) => void node.after(us, "disk", resolve));
  }

  #checkOpen(): void {
    if (this.#isClosed) throw new FabricError("STORE_UNAVAILABLE", "The file was closed");
  }
}

type Outcome<T> = { readonly value: T } | { readonly error: unknown };

function settledOf<T>(work: Promise<T>): Promise<Outcome<T>> {
  return work.then(
    (value): Outcome<T> => ({ value }),
    (error: unknown): Outcome<T> => ({ error }),
  );
}
