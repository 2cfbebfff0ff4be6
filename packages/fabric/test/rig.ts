/** A host whose time stands still until a test moves it, and short words for what tests ask most. */
import {
  bufferMemoryProvider,
  Fabric,
  isFabricError,
  type FabricError,
  type FabricErrorCode,
  type FabricOptions,
  type FabricPorts,
  type FabricStats,
  type ResourceStats,
} from "@selvage/fabric";

/** When every virtual host starts: a date, as deadlines are. */
export const START_MS = 1_800_000_000_000;

interface Alarm {
  atMs: number;
  readonly everyMs: number | undefined;
  readonly ring: () => void;
}

/** Lets what was promised happen: devices in memory and wipes settle within a few turns of the microtask queue. */
export async function settled(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await Promise.resolve();
}

/** Clock, timers and randomness that a test moves by hand. */
export class VirtualHost {
  nowMs: number = START_MS;
  readonly #alarms = new Set<Alarm>();
  static #hosts = 0;
  // The ids of a test are the same in every run, and no two hosts draw the same.
  #seed: number = ++VirtualHost.#hosts;

  readonly clock = { nowMs: (): number => this.nowMs };
  readonly timer = {
    after: (delayMs: number, ring: () => void): (() => void) => this.#set(delayMs, undefined, ring),
    every: (periodMs: number, ring: () => void): (() => void) =>
      this.#set(periodMs, periodMs, ring),
  };
  readonly random = {
    fill: (words: Int32Array): void => {
      // xorshift32.
      for (let index = 0; index < words.length; index++) {
        this.#seed ^= this.#seed << 13;
        this.#seed ^= this.#seed >>> 17;
        this.#seed ^= this.#seed << 5;
        words[index] = this.#seed;
      }
    },
  };

  /** Timers that are set. A closed fabric leaves none. */
  get alarms(): number {
    return this.#alarms.size;
  }

  /** Moves time on by `ms`, ringing on the way what is due. */
  async advance(ms: number): Promise<void> {
    const endMs = this.nowMs + ms;
    await settled();
    for (;;) {
      const due = [...this.#alarms].filter(({ atMs }) => atMs <= endMs);
      const [first] = due.toSorted((a, b) => a.atMs - b.atMs);
      if (first === undefined) break;
      this.nowMs = Math.max(this.nowMs, first.atMs);
      if (first.everyMs === undefined) this.#alarms.delete(first);
      else first.atMs += first.everyMs;
      first.ring();
      await settled();
    }
    this.nowMs = endMs;
  }

  #set(delayMs: number, everyMs: number | undefined, ring: () => void): () => void {
    const alarm: Alarm = { atMs: this.nowMs + delayMs, everyMs, ring };
    this.#alarms.add(alarm);
    return () => void this.#alarms.delete(alarm);
  }
}

/** Opens a fabric on a virtual host: ticked by hand, small, on the language's memories, unless told otherwise. */
export function openOn(
  host: VirtualHost,
  options: FabricOptions = {},
  ports: Partial<FabricPorts> = {},
): Fabric {
  const { clock, timer, random } = host;
  return Fabric.open(
    { memoryBytes: 65_536, blocks: 64, maxLeases: 1_024, tick: "manual", ...options },
    { clock, timer, random, memory: bufferMemoryProvider, ...ports },
  );
}

/** As {@link openOn}, on a host of its own: time is what `tick` says. */
export function openManual(options: FabricOptions = {}, ports: Partial<FabricPorts> = {}): Fabric {
  return openOn(new VirtualHost(), options, ports);
}

/** The fabric error that `run` throws; fails on any other outcome. */
export function thrownBy(run: () => unknown): FabricError {
  let result: unknown;
  try {
    result = run();
  } catch (thrown) {
    if (isFabricError(thrown)) return thrown;
    throw new Error("expected a FabricError", { cause: thrown });
  }
  throw new Error("expected a FabricError, nothing was thrown", { cause: result });
}

/** The code that `run` throws, or undefined when it returns; fails on what is no fabric error. */
export function codeIfThrown(run: () => unknown): FabricErrorCode | undefined {
  try {
    run();
    return undefined;
  } catch (thrown) {
    if (isFabricError(thrown)) return thrown.code;
    throw new Error("expected a FabricError", { cause: thrown });
  }
}

/** The code that `run` throws. */
export function codeOf(run: () => unknown): FabricErrorCode {
  return thrownBy(run).code;
}

/** The fabric error that a promise rejects with; fails on any other outcome. */
export async function rejectionOf(promise: Promise<unknown>): Promise<FabricError> {
  const outcome = await promise.then(
    (value) => ({ value }),
    (reason: unknown) => ({ reason }),
  );
  return thrownBy(() => {
    if ("reason" in outcome) throw outcome.reason;
    return outcome.value;
  });
}

/** What the four accounts of a kind add up to; A1 says: its capacity. */
function sumOf(stats: ResourceStats): number {
  return stats.leasedBytes + stats.freeBytes + stats.quarantinedBytes + stats.fencedBytes;
}

/** The accounts of both kinds that break A1: none, if all is well. */
export function imbalances(stats: FabricStats): string[] {
  return (["memory", "blocks"] as const).filter((kind) => {
    const accounts = stats[kind];
    const negative = Object.values(accounts).some((bytes) => bytes < 0);
    return negative || sumOf(accounts) !== accounts.capacityBytes;
  });
}
