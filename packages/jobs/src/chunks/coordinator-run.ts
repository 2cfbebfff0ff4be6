/** One run of a job: chunks that become ready, are tried, and end. */
import { assert, FabricError, type Fabric } from "@selvage/fabric";
import {
  randomFraction,
  RenewalManager,
  retryDelayMs,
  type RetryPolicy,
  type TaskRunner,
} from "@selvage/leasekit";
import {
  attemptHere,
  attemptThere,
  lapsed,
  type AttemptTold,
  type ChunkAttempt,
} from "./chunk-attempt.ts";
import type { NamedChunk } from "./chunk.ts";
import type { ChunkModule, ChunkWork } from "./chunk-work.ts";
import type {
  ChunkState,
  CoordinatorEvent,
  CoordinatorSettledEvent,
} from "./coordinator-events.ts";
import type {
  JobAbortSource,
  CoordinatorOptions,
  JobPorts,
  ResolvedJob,
} from "./coordinator-options.ts";
import type { OutputStore } from "./output-store.ts";

/** What a run is made of. */
export interface RunParts {
  readonly chunks: readonly NamedChunk[];
  readonly store: OutputStore;
  readonly work: ChunkWork | ChunkModule;
  readonly policy: RetryPolicy;
  readonly options: CoordinatorOptions;
  readonly resolved: ResolvedJob;
  readonly ports: JobPorts;
}

/** What a run did. */
export interface RunCount {
  readonly computed: number;
  readonly found: number;
  readonly attempts: number;
  readonly retries: number;
}

/** How often a run looks at its threads, and renews where no keeper does, in milliseconds. */
const lookEveryMs = 20;
/** How long a run that was stopped waits for threads that it ended to be gone, in milliseconds. */
const exitMs = 1_000;
/** Memory of a job's own fabric at least, in bytes: room for outputs that are larger than their chunks. */
const memoryBytesMin = 64 << 20;

interface Book {
  readonly chunk: NamedChunk;
  state: ChunkState;
  attempts: number;
  /** What the running attempt says of itself, 0 to 1. */
  fraction: number;
}

/** An attempt that is running. */
interface Live {
  readonly chunk: NamedChunk;
  readonly attempt: ChunkAttempt;
  /** Why what it makes does not count, once it was told to stop. */
  because: { readonly why: unknown } | undefined;
}

/** Worker threads, and what leads to them. */
interface Far {
  readonly fabric: Fabric;
  readonly runner: TaskRunner;
  readonly renewals: RenewalManager;
}

/** Runs a job's chunks. */
export class JobRun {
  readonly #parts: RunParts;
  readonly #books: readonly Book[];
  // What comes next: first what was never tried, in order; then what is tried again.
  #cursor = 0;
  readonly #again: Book[] = [];
  #running = 0;
  // What waits out its delay. One that waits for a thread is in `#live`, whatever its state says.
  readonly #waiting = new Set<Book>();
  readonly #live = new Set<Live>();
  readonly #timers = new Set<() => void>();
  readonly #ended = Promise.withResolvers<void>();
  readonly #halted = Promise.withResolvers<never>();
  #stopped: { readonly why: unknown; readonly status: "failed" | "cancelled" } | undefined;
  #far: Far | undefined;
  #isMute = false;
  #isOver = false;
  #done = 0;
  #partly = 0;
  #fraction = 0;
  #found = 0;
  #attempts = 0;
  #retries = 0;

  constructor(parts: RunParts) {
    this.#parts = parts;
    this.#books = parts.chunks.map((chunk) => ({
      ...{ chunk, state: "pending", attempts: 0, fraction: 0 },
    }));
  }

  /** What was done so far. */
  get count(): RunCount {
    return {
      computed: this.#done - this.#found,
      found: this.#found,
      attempts: this.#attempts,
      retries: this.#retries,
    };
  }

  /**
   * Brings every chunk to its output, then calls `finish`; resolves with what that gives. Nothing of the run is left when
   * it settles, but for work on this thread that did not listen. @throws why the job failed or was cancelled.
   */
  async run<R>(finish: () => Promise<R>): Promise<R> {
    const { options, ports } = this.#parts;
    const { signal } = options;
    this.#halted.promise.catch(() => {});
    const cancel = (): void => this.#stop(signal?.reason, "cancelled");
    signal?.addEventListener("abort", cancel);
    const stopLooking = ports.timer.every(lookEveryMs, () => this.#look());
    try {
      if (signal?.aborted === true) cancel();
      else await this.#open();
      this.#pump();
      await this.#ended.promise;
      this.#check();
      const made = await Promise.race([finish(), this.#halted.promise]);
      this.#settle("succeeded");
      // Whoever watches may have thrown just now.
      this.#check();
      return made;
    } catch (thrown) {
      this.#stop(thrown, "failed");
      // What was left to itself after the grace: whatever it still makes does not count.
      for (const book of this.#books) if (!isEnd(book.state)) this.#change(book, "cancelled");
      this.#settle(this.#stopped?.status ?? "failed");
      throw this.#stopped?.why;
    } finally {
      this.#isOver = true;
      signal?.removeEventListener("abort", cancel);
      stopLooking();
      for (const clear of this.#timers) clear();
      await this.#close();
    }
  }

  #check(): void {
    if (this.#stopped !== undefined) throw this.#stopped.why;
  }

  async #open(): Promise<void> {
    const { work, options, resolved, ports, chunks } = this.#parts;
    if (typeof work === "function" || chunks.length === 0) return;
    const threads = Math.min(resolved.concurrency, chunks.length);
    const largest = chunks.reduce((most, { bytes }) => Math.max(most, bytes.length), 0);
    const memoryBytes = Math.max(memoryBytesMin, 4 * threads * largest);
    const fabric = options.fabric ?? ports.openFabric(memoryBytes);
    const renewals = new RenewalManager(fabric);
    const runner = options.runner ?? ports.openRunner(threads);
    this.#far = { fabric, runner, renewals };
    runner.warm(threads);
    // Leases are kept by a thread beside this one: nothing starts before it is at work.
    await fabric.keeper()?.ready;
  }

  async #close(): Promise<void> {
    if (this.#far === undefined) return;
    const { fabric, runner, renewals } = this.#far;
    const { options } = this.#parts;
    if (options.runner === undefined) await runner.close();
    renewals[Symbol.dispose]();
    if (options.fabric === undefined) fabric[Symbol.dispose]();
  }

  #pump(): void {
    const { concurrency } = this.#parts.resolved;
    while (this.#stopped === undefined && this.#running < concurrency) {
      const book = this.#books[this.#cursor] === undefined ? this.#again.shift() : this.#next();
      if (book === undefined) break;
      this.#running++;
      void this.#drive(book).then(() => {
        this.#running--;
        this.#pump();
      });
    }
    if (this.#running > 0) return;
    if (this.#stopped !== undefined || this.#waiting.size === 0) this.#ended.resolve();
  }

  #next(): Book | undefined {
    return this.#books[this.#cursor++];
  }

  // Tries a chunk once. Never rejects.
  async #drive(book: Book): Promise<void> {
    const { store } = this.#parts;
    const { id } = book.chunk;
    try {
      // Also before a retry: the attempt before may have stored more than it was told.
      const isThere = await this.#isStored(book);
      if (this.#stopped !== undefined) return this.#change(book, "cancelled");
      if (isThere) return this.#finish(book, book.attempts === 0 ? "found" : "stored");
      this.#begin(book);
      const output = await this.#attempt(book);
      // Nothing of an attempt counts that was still at work when the job was stopped.
      if (this.#stopped !== undefined) return this.#change(book, "cancelled");
      await store.put(id, output);
      this.#finish(book, "stored");
    } catch (error) {
      this.#lose(book, error);
    }
  }

  async #isStored(book: Book): Promise<boolean> {
    try {
      return await this.#parts.store.has(book.chunk.id);
    } catch (thrown) {
      // An attempt, too: else a store that is down would be asked for ever.
      this.#begin(book);
      throw thrown;
    }
  }

  #begin(book: Book): void {
    book.attempts++;
    this.#attempts++;
  }

  async #attempt(book: Book): Promise<Uint8Array> {
    const { timeoutMs } = this.#parts.resolved;
    const source = this.#parts.ports.abortSource();
    let clear: (() => void) | undefined;
    let isOpen = true;
    const overrun = Promise.withResolvers<never>();
    const told: AttemptTold = {
      chunk: book.chunk,
      attempt: book.attempts,
      onStart: () => {
        this.#change(book, "running");
        if (timeoutMs === Infinity) return;
        clear = this.#after(timeoutMs, () => this.#timeOut(book, live, overrun.reject));
      },
      onProgress: (fraction) => isOpen && this.#progress(book, fraction),
      onLog: (message) => isOpen && this.#log(book, message),
    };
    const live: Live = {
      ...{ chunk: book.chunk, attempt: this.#start(told, source), because: undefined },
    };
    this.#live.add(live);
    try {
      const output = await Promise.race([live.attempt.output, overrun.promise]);
      if (live.because !== undefined) throw live.because.why;
      return output;
    } catch (thrown) {
      throw live.because === undefined ? thrown : live.because.why;
    } finally {
      isOpen = false;
      clear?.();
      this.#live.delete(live);
      this.#partly -= book.fraction;
      book.fraction = 0;
    }
  }

  #start(told: AttemptTold, source: JobAbortSource): ChunkAttempt {
    const { work, resolved } = this.#parts;
    if (typeof work === "function") return attemptHere(work, told, source);
    assert(this.#far !== undefined, "a job of a module has opened its threads");
    const { ttlMs, stallMs } = resolved;
    const parts = { ...this.#far, ttlMs, stallMs, epoch: this.#attempts };
    return attemptThere(work, told, parts);
  }

  // Tells the work to stop, and ends it after the grace.
  #timeOut(book: Book, live: Live, overrun: (error: unknown) => void): void {
    const { timeoutMs, graceMs } = this.#parts.resolved;
    const { id } = book.chunk;
    const details = { chunk: id, attempt: book.attempts, timeoutMs };
    const message = `Attempt ${book.attempts} at chunk "${id}" took longer than ${timeoutMs} ms`;
    const why = new FabricError("TIMED_OUT", message, details);
    live.because ??= { why };
    live.attempt.abort(why);
    this.#after(graceMs, () => {
      if (!this.#live.has(live) || live.attempt.end()) return;
      // It would run beside its next attempt.
      const more = { ...details, isOverrunning: true };
      const still = new FabricError("TIMED_OUT", `${message}, and does not stop`, more);
      live.because = { why: still };
      this.#change(book, "failed", still);
      this.#stop(still, "failed");
      overrun(still);
    });
  }

  #finish(book: Book, state: "stored" | "found"): void {
    this.#done++;
    if (state === "found") this.#found++;
    this.#change(book, state);
    this.#tellProgress();
  }

  #lose(book: Book, error: unknown): void {
    if (book.state === "failed") return;
    if (this.#stopped !== undefined) return this.#change(book, "cancelled", error);
    const delayMs = this.#retryDelayMs(book, error);
    if (delayMs === undefined) {
      this.#change(book, "failed", error);
      return this.#stop(error, "failed");
    }
    this.#retries++;
    this.#waiting.add(book);
    this.#change(book, "waiting", error);
    this.#after(delayMs, () => {
      this.#waiting.delete(book);
      this.#again.push(book);
      this.#pump();
    });
  }

  #retryDelayMs(book: Book, error: unknown): number | undefined {
    const { policy, resolved } = this.#parts;
    if (this.#retries >= resolved.retryBudget) return undefined;
    try {
      return retryDelayMs(policy, book.attempts, error, randomFraction(this.#parts.ports.random));
    } catch (thrown) {
      // `retryOn` is the caller's.
      this.#stop(thrown, "failed");
      return undefined;
    }
  }

  // No chunk starts any more; those that run are told, and ended after the grace. The first reason counts.
  #stop(why: unknown, status: "failed" | "cancelled"): void {
    if (this.#stopped !== undefined || this.#isOver) return;
    this.#stopped = { why, status };
    this.#halted.reject(why);
    for (const clear of this.#timers) clear();
    this.#timers.clear();
    for (const live of this.#live) {
      live.because ??= { why };
      live.attempt.abort(why);
    }
    for (const book of [...this.#waiting, ...this.#again]) this.#change(book, "cancelled", why);
    for (let book = this.#next(); book !== undefined; book = this.#next())
      this.#change(book, "cancelled");
    if (this.#running === 0) return this.#ended.resolve();
    this.#after(this.#parts.resolved.graceMs, () => {
      const ended = [...this.#live].map(({ attempt }) => attempt.end());
      // What cannot be ended, and a store that does not answer, are left to themselves.
      if (ended.includes(true)) this.#after(exitMs, this.#ended.resolve);
      else this.#ended.resolve();
    });
  }

  #look(): void {
    if (this.#far === undefined) return;
    const { fabric, renewals } = this.#far;
    if (fabric.keeper() === undefined) renewals.sweep(fabric.nowMs());
    for (const live of this.#live) {
      const { attempt, chunk } = live;
      if (live.because !== undefined || !attempt.isLapsed) continue;
      live.because = { why: lapsed(chunk) };
      attempt.end();
    }
  }

  #progress(book: Book, fraction: number | undefined): void {
    if (fraction === undefined || !(fraction >= 0 && fraction <= 1)) return;
    this.#partly += fraction - book.fraction;
    book.fraction = fraction;
    this.#tellProgress();
  }

  #tellProgress(): void {
    const total = this.#books.length;
    const now = this.#done === total ? 1 : (this.#done + this.#partly) / total;
    // An attempt that is lost takes nothing back.
    this.#fraction = Math.min(1, Math.max(this.#fraction, now));
    const fraction = this.#fraction;
    this.#tell({ type: "progress", done: this.#done, total, fraction, atMs: this.#nowMs() });
  }

  #log(book: Book, message: string): void {
    const { id } = book.chunk;
    this.#tell({ type: "log", id, attempt: book.attempts, message, atMs: this.#nowMs() });
  }

  #change(book: Book, newState: ChunkState, error?: unknown): void {
    const { state: oldState, attempts: attempt } = book;
    const { id, index } = book.chunk;
    if (oldState === newState) return;
    book.state = newState;
    const atMs = this.#nowMs();
    const why = error === undefined ? {} : { error };
    this.#tell({ type: "chunk", id, index, oldState, newState, attempt, ...why, atMs });
  }

  #settle(status: CoordinatorSettledEvent["status"]): void {
    this.#tell({ type: "settled", status, atMs: this.#nowMs() });
    this.#isMute = true;
  }

  #tell(event: CoordinatorEvent): void {
    if (this.#isMute) return;
    try {
      this.#parts.options.onEvent?.(event);
    } catch (thrown) {
      this.#isMute = true;
      this.#stop(thrown, "failed");
    }
  }

  #after(delayMs: number, ring: () => void): () => void {
    const clear = (): void => {
      this.#timers.delete(clear);
      stop();
    };
    const stop = this.#parts.ports.timer.after(delayMs, () => {
      this.#timers.delete(clear);
      ring();
    });
    this.#timers.add(clear);
    return clear;
  }

  #nowMs(): number {
    return this.#parts.ports.clock.nowMs();
  }
}

function isEnd(state: ChunkState): boolean {
  return state !== "pending" && state !== "running" && state !== "waiting";
}
