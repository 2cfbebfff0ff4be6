/** What the parts of a queue share: its store, its tasks, and who waits for what. */
import { FabricError, invalidArgument } from "@selvage/fabric";
import type { Combine } from "./combine.ts";
import { Committer } from "./committer.ts";
import type { JobBody } from "./job-body.ts";
import type { JobStore, JobTx } from "./job-store.ts";
import type { JobQueueEvent } from "./queue-events.ts";
import type { JobQueuePorts, ResolvedQueue, ResolvedTask } from "./queue-options.ts";
import type { JobHome } from "./queued-job.ts";
import { idMaker, type Turn } from "./turn.ts";

/** A task that was declared in this process. */
export interface DeclaredTask extends ResolvedTask {
  readonly name: string;
  /** A function of this thread, or the URL of a module for worker threads. */
  readonly body: JobBody<readonly unknown[], unknown> | { readonly href: string };
}

/** How long whoever waits for a job of another process sleeps between looks, at most, in milliseconds. */
const lookMs = 200;

/** The heart of a `JobQueue`. */
export class QueueCore implements JobHome {
  readonly store: JobStore;
  readonly ports: JobQueuePorts;
  readonly options: ResolvedQueue;
  readonly tasks: Map<string, DeclaredTask> = new Map();
  /** Ids of the workers of this process that have not stopped. */
  readonly ownWorkers: Set<string> = new Set();
  readonly combiners: Map<string, Combine> = new Map();
  readonly committer: Committer;
  readonly #watchers = new Set<(event: JobQueueEvent) => void>();
  readonly #waiting = new Map<string, Set<() => void>>();
  readonly #hurried = new Set<() => void>();
  readonly #unwatch: () => void;
  #cancelLook: (() => void) | undefined;
  readonly #names = new WeakMap<Combine, string>();
  readonly #makeId: (nowMs: number) => string;
  #isClosed = false;

  constructor(store: JobStore, ports: JobQueuePorts, options: ResolvedQueue) {
    this.store = store;
    this.ports = ports;
    this.options = options;
    const makeId = idMaker(ports.random);
    this.#makeId = makeId;
    this.committer = new Committer({
      store,
      nextTurn: () => ports.nextTurn(),
      emit: (events) => this.emit(events),
      turn: (tx): Turn => {
        const nowMs = ports.clock.nowMs();
        return {
          ...{ tx, nowMs, codec: ports.codec, told: [] },
          nextId: () => makeId(nowMs),
          inlineBytesMax: options.inlineBytesMax,
        };
      },
    });
    this.#unwatch = store.watch(() => this.#hear());
  }

  /** The name of a function that was given without one: of this very function, in this process. */
  nameOf(combine: Combine): string {
    const known = this.#names.get(combine);
    if (known !== undefined) return known;
    const name = `${combine.name}#${this.newId()}`;
    this.#names.set(combine, name);
    this.combiners.set(name, combine);
    return name;
  }

  /** An id that nothing else has, later ones behind it. */
  newId(): string {
    return this.#makeId(this.ports.clock.nowMs());
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** @throws FabricError `STORE_UNAVAILABLE`. */
  checkOpen(): void {
    if (this.#isClosed) throw new FabricError("STORE_UNAVAILABLE", "The job queue was closed", {});
  }

  async look<T>(work: (tx: JobTx) => T): Promise<T> {
    this.checkOpen();
    return this.store.look(work);
  }

  decode(bytes: Uint8Array): unknown {
    return this.ports.codec.decode(bytes);
  }

  monotonicMs(): number {
    return this.ports.monotonicMs();
  }

  /** Encodes arguments or a result, within the queue's bounds. @throws FabricError `ENCODE`, `CAPACITY_EXCEEDED`. */
  checkSize(what: string, bytes: Uint8Array): Uint8Array {
    const { payloadBytesMax: most } = this.options;
    if (bytes.length <= most) return bytes;
    throw new FabricError(
      "CAPACITY_EXCEEDED",
      `${what}: expected at most ${most} bytes, got ${bytes.length}`,
      {
        bytes: bytes.length,
        most,
      },
    );
  }

  /** Calls `watcher` with every event, until the returned function is called. */
  subscribe(watcher: (event: JobQueueEvent) => void): () => void {
    if (typeof watcher !== "function") throw invalidArgument("onEvent", "a function", watcher);
    this.#watchers.add(watcher);
    return () => this.#watchers.delete(watcher);
  }

  emit(events: readonly JobQueueEvent[]): void {
    for (const event of events) {
      for (const watcher of this.#watchers) {
        // One watcher's mistake is not another's, nor the queue's.
        try {
          watcher(event);
        } catch (thrown) {
          this.ports.warn(thrown);
        }
      }
      // Nobody waits for a job to be made, or to start.
      if (!("jobId" in event) || event.type === "enqueued" || event.type === "started") continue;
      for (const wake of this.#waiting.get(event.jobId) ?? []) wake();
    }
  }

  /** Calls `hurry` when another process may have changed something, until the returned function is called. */
  onHint(hurry: () => void): () => void {
    this.#hurried.add(hurry);
    return () => this.#hurried.delete(hurry);
  }

  settled(jobId: string, timeoutMs: number): Promise<void> {
    // The next look says that it is closed.
    if (this.#isClosed) return Promise.resolve();
    const { promise, resolve } = Promise.withResolvers<void>();
    const waiting = this.#waiting.get(jobId) ?? new Set();
    this.#waiting.set(jobId, waiting);
    const wake = (): void => {
      cancel?.();
      waiting.delete(wake);
      if (waiting.size === 0 && this.#waiting.get(jobId) === waiting) this.#waiting.delete(jobId);
      if (this.#waiting.size === 0) this.#rest();
      resolve();
    };
    waiting.add(wake);
    const cancel = timeoutMs < lookMs ? this.ports.timer.after(timeoutMs, wake) : undefined;
    // One timer for all who wait for long.
    this.#cancelLook ??= this.ports.timer.after(lookMs, () => this.#wakeAll());
    return promise;
  }

  #wakeAll(): void {
    this.#rest();
    for (const waiting of this.#waiting.values()) for (const wake of waiting) wake();
  }

  #rest(): void {
    this.#cancelLook?.();
    this.#cancelLook = undefined;
  }

  /** What was under way is done; from now on nothing is. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#unwatch();
    this.#wakeAll();
    await this.committer.idle();
    await this.store.close();
  }

  #hear(): void {
    for (const hurry of this.#hurried) hurry();
    this.#wakeAll();
  }
}
