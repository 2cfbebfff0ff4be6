/** Processes that run stages in virtual time, and can be killed or stopped at any step. */
import type { Clock, Timer } from "@selvage/fabric";
import type { CheckpointStore, StagedPorts } from "@selvage/pipeline";

/** Time that passes only when nothing else can happen. */
export class VirtualTime implements Clock, Timer {
  #nowMs = 1_800_000_000_000;
  #timers: { readonly atMs: number; readonly fire: () => void }[] = [];
  #isPumping = false;

  nowMs(): number {
    return this.#nowMs;
  }

  after(delayMs: number, callback: () => void): () => void {
    const timer = { atMs: this.#nowMs + delayMs, fire: callback };
    this.#timers.push(timer);
    this.#timers.sort((a, b) => a.atMs - b.atMs);
    this.#pump();
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer);
    };
  }

  every(): () => void {
    throw new Error("stages use no periods");
  }

  /** Resolves after so much time. */
  async wait(delayMs: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.after(delayMs, resolve);
    await promise;
  }

  #pump(): void {
    if (this.#isPumping) return;
    this.#isPumping = true;
    // Whatever is ready goes first.
    setImmediate(() => {
      this.#isPumping = false;
      const next = this.#timers.shift();
      if (next === undefined) return;
      this.#nowMs = Math.max(this.#nowMs, next.atMs);
      next.fire();
      if (this.#timers.length > 0) this.#pump();
    });
  }
}

/** What happens to a process at one of its steps: a call of the store, or one that a body takes. */
export interface Mishap {
  readonly atStep: number;
  /** True: after what the step does, before anybody hears of it. */
  readonly isDone: boolean;
  /** For how long it stands still; undefined: it dies. */
  readonly pauseMs?: number;
}

/** One process: its timers, and its way to the store, end with it. */
export class StagedProcess {
  readonly ports: StagedPorts;
  readonly store: CheckpointStore;
  readonly #time: VirtualTime;
  readonly #mishap: Mishap | undefined;
  #steps = 0;
  #isDead = false;
  // Set while it stands still.
  #resumed: Promise<void> | undefined;
  /** Resolves when it dies. */
  readonly died: Promise<"died">;
  readonly #die: (word: "died") => void;

  constructor(time: VirtualTime, store: CheckpointStore, id: number, mishap?: Mishap) {
    const { promise, resolve } = Promise.withResolvers<"died">();
    this.died = promise;
    this.#die = resolve;
    this.#time = time;
    this.#mishap = mishap;
    this.ports = {
      clock: time,
      timer: {
        after: (delayMs, callback) => time.after(delayMs, () => void this.#alive(callback)),
        every: () => time.every(),
      },
      random: { fill: (words) => void words.fill(id) },
      abortSource: () => new AbortController(),
    };
    this.store = {
      read: (key) => this.step(() => store.read(key)),
      write: (key, bytes, expected) => this.step(() => store.write(key, bytes, expected)),
      remove: (key, expected) => this.step(() => store.remove(key, expected)),
    };
  }

  /** Does one step, unless this is where it dies: then it is never heard of again. */
  async step<T>(work: () => Promise<T>): Promise<T> {
    await this.#resumed;
    if (this.#isDead) return never();
    const isMishap = ++this.#steps === this.#mishap?.atStep;
    if (isMishap && !this.#mishap?.isDone) await this.#befall();
    if (this.#isDead) return never();
    const result = await work().then(
      (value) => () => value,
      (error: unknown) => (): T => {
        throw error;
      },
    );
    if (isMishap && this.#mishap?.isDone) await this.#befall();
    await this.#resumed;
    return this.#isDead ? never() : result();
  }

  async #befall(): Promise<void> {
    const pauseMs = this.#mishap?.pauseMs;
    if (pauseMs === undefined) {
      this.#isDead = true;
      this.#die("died");
      return;
    }
    this.#resumed = this.#time.wait(pauseMs);
    await this.#resumed;
    this.#resumed = undefined;
  }

  async #alive(callback: () => void): Promise<void> {
    if (this.#resumed !== undefined) await this.#resumed;
    if (!this.#isDead) callback();
  }
}

function never<T>(): Promise<T> {
  return Promise.withResolvers<T>().promise;
}
