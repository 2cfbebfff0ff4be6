/** A host whose time moves only when a test pumps it, and short words for pipelines and for what runs say. */
import { bufferMemoryProvider, Fabric, jsonCodec, type FabricOptions } from "@selvage/fabric";
import {
  Pipeline,
  type PipelinePorts,
  type PipelineResult,
  type PipelineSource,
} from "@selvage/pipeline";

/** When every virtual host starts. */
const START_MS = 1_800_000_000_000;
/** A run that is not over by then, in virtual milliseconds, hangs. */
const HANG_MS = 60_000;

interface Alarm {
  atMs: number;
  readonly everyMs: number | undefined;
  readonly ring: () => void;
}

/** Lets everything that was promised happen. */
export function turn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

/** Clock, timers, randomness and fabrics that a test moves by hand. */
export class Rig {
  nowMs: number = START_MS;
  /** Fabrics that runs have opened. */
  readonly fabrics: Fabric[] = [];
  readonly #alarms = new Set<Alarm>();
  #seed = 1;
  readonly clock = { nowMs: (): number => this.nowMs };
  readonly timer = {
    after: (delayMs: number, ring: () => void): (() => void) => this.#set(delayMs, undefined, ring),
    every: (periodMs: number, ring: () => void): (() => void) =>
      this.#set(periodMs, periodMs, ring),
  };
  readonly random = {
    fill: (words: Int32Array): void => {
      for (let index = 0; index < words.length; index++) {
        this.#seed ^= this.#seed << 13;
        this.#seed ^= this.#seed >>> 17;
        this.#seed ^= this.#seed << 5;
        words[index] = this.#seed;
      }
    },
  };
  readonly ports: PipelinePorts = {
    clock: this.clock,
    timer: this.timer,
    random: this.random,
    nextTurn: turn,
    abortSource: () => new AbortController(),
    openFabric: () => this.open(),
    codec: jsonCodec(),
  };

  /** Opens a fabric that ticks by virtual time, and no keeper stands beside it. */
  open(options: FabricOptions = {}): Fabric {
    const { clock, timer, random } = this;
    const fabric = Fabric.open(
      { memoryBytes: 4 << 20, maxLeases: 256, ...options },
      { clock, timer, random, memory: bufferMemoryProvider },
    );
    this.fabrics.push(fabric);
    return fabric;
  }

  from<T>(source: PipelineSource<T>, name?: string): Pipeline<T> {
    return Pipeline.fromSource(source, name === undefined ? {} : { name }, this.ports);
  }

  chunks<T>(source: PipelineSource<readonly T[]>): Pipeline<T> {
    return Pipeline.fromChunks(source, {}, this.ports);
  }

  /** Timers that are set. */
  get alarms(): number {
    return this.#alarms.size;
  }

  /** Resolves `ms` later. */
  later(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.timer.after(ms, resolve);
    });
  }

  /** Moves time on by `ms`, ringing on the way what is due. */
  async advance(ms: number): Promise<void> {
    const endMs = this.nowMs + ms;
    await turn();
    while ([...this.#alarms].some(({ atMs }) => atMs <= endMs)) await this.#next();
    this.nowMs = endMs;
    await turn();
  }

  /** Moves time until `promise` is settled; fails where it never is. */
  async pump<T>(promise: Promise<T>): Promise<T> {
    const run = { isOver: false };
    const over = (): void => {
      run.isOver = true;
    };
    promise.then(over, over);
    const untilMs = this.nowMs + HANG_MS;
    // As long as something happens by itself, time stands still.
    for (let turns = 0; turns < 20; turns++) await turn();
    while (!run.isOver) {
      if (this.nowMs >= untilMs) throw new Error(`it hangs: not over after ${HANG_MS} ms`);
      await this.#next();
    }
    return promise;
  }

  async #next(): Promise<void> {
    await turn();
    const [first] = [...this.#alarms].toSorted((a, b) => a.atMs - b.atMs);
    if (first === undefined) return;
    this.nowMs = Math.max(this.nowMs, first.atMs);
    if (first.everyMs === undefined) this.#alarms.delete(first);
    else first.atMs += first.everyMs;
    first.ring();
    await turn();
  }

  #set(delayMs: number, everyMs: number | undefined, ring: () => void): () => void {
    // Clocks tell whole milliseconds.
    const alarm: Alarm = { atMs: this.nowMs + Math.ceil(delayMs), everyMs, ring };
    this.#alarms.add(alarm);
    return () => void this.#alarms.delete(alarm);
  }
}

/** A run's counts, stage by stage: `name in>out`, and what else came of its items. */
export function counts({ stages }: PipelineResult): string[] {
  return stages.map(({ name, itemsIn, itemsOut, retries, deadLettered, dropped }) => {
    const more = Object.entries({ retries, deadLettered, dropped })
      .filter(([, count]) => count !== 0)
      .map(([what, count]) => ` ${what} ${count}`);
    return `${name} ${itemsIn}>${itemsOut}${more.join("")}`;
  });
}

/** What an error says: code, stage, offset. */
export function about(error: unknown): readonly unknown[] {
  const { code, details } = error as { code?: unknown; details?: Record<string, unknown> };
  return [code, details?.["stage"], details?.["offset"]];
}

/** The numbers from `from` to below `to`. */
export function numbers(to: number, from = 0): number[] {
  return Array.from({ length: to - from }, (_, index) => from + index);
}

/** A source that says what is done to it. */
export class WatchedSource {
  next = 0;
  returned = 0;
  readonly #most: number;

  constructor(most = Infinity) {
    this.#most = most;
  }

  *[Symbol.iterator](): Generator<number, void> {
    try {
      while (this.next < this.#most) yield this.next++;
    } finally {
      this.returned++;
    }
  }

  async *slowly(gap: () => Promise<void>): AsyncGenerator<number, void> {
    try {
      while (this.next < this.#most) {
        await gap();
        yield this.next++;
      }
    } finally {
      this.returned++;
    }
  }
}
