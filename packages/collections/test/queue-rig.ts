/** Queues of every kind, and threads that a test makes, stops at any access to shared memory, and buries. */
import {
  Attachments,
  bufferMemoryProvider,
  regionOf,
  type ArenaMemory,
  type MemLease,
  type MemoryProvider,
  type SharedWords,
} from "@selvage/fabric";
import { FabricQueue, type QueueOptions } from "@selvage/collections";
import type { Fabric } from "@selvage/node";
import { openManual, START_MS } from "./manual-fabric.ts";

export const kinds = ["slots", "records", "many"] as const;
export type Kind = (typeof kinds)[number];

/** Words of a ring's header, as `docs/memory-map.md` has them. */
export const TAIL = 32;
export const HEAD = 64;
export const TAIL_COUNT = 33;
export const HEAD_COUNT = 65;
export const CLAIM = 98;
export const HEADER_BYTES = 1_024;

export function optionsOf(kind: Kind, unblockAfterMs?: number): QueueOptions {
  const timeout = unblockAfterMs === undefined ? {} : { unblockAfterMs };
  return { many: kind === "many", records: kind === "records", ...timeout };
}

/** A fabric with room for one ring and one lease of as many bytes again. */
export function openRing(
  kind: Kind,
  capacity: number,
  stride: number,
  { guard = false, unblockAfterMs }: { guard?: boolean; unblockAfterMs?: number } = {},
): { fabric: Fabric; lease: MemLease; queue: FabricQueue } {
  const bytes = FabricQueue.bytesFor(capacity, stride, optionsOf(kind));
  const rounded = Math.ceil(bytes / 64) * 64;
  const fabric = openManual({ memoryBytes: 2 * rounded, guard });
  const lease = fabric.mem().minBytes(bytes).leaseMs(1e9).acquire();
  const options = optionsOf(kind, unblockAfterMs);
  const queue = new FabricQueue<Uint8Array>(lease, capacity, stride, undefined, options);
  return { fabric, lease, queue };
}

/** `length` bytes that say which value they are. */
export function valueOf(id: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length).fill(id * 7 + 1);
  if (length >= 4) new DataView(bytes.buffer).setInt32(0, id, true);
  else bytes[0] = id;
  return bytes;
}

/** Which value bytes are; -1 for bytes that were never pushed. */
export function idOf(bytes: Uint8Array): number {
  const { length } = bytes;
  const id =
    length >= 4 ? new DataView(bytes.slice().buffer).getInt32(0, true) : (bytes[0] as number);
  const whole = valueOf(id, length);
  return bytes.every((byte, index) => byte === whole[index]) ? id : -1;
}

/** Sets a ring's head and tail, before anybody has used it, to where `position` values have passed. */
export function startAt(
  lease: MemLease,
  kind: Kind,
  capacity: number,
  stride: number,
  position: number,
): void {
  const { memory, offset } = regionOf(lease);
  const base = offset / 4;
  const units = 1 + Math.ceil(stride / 8);
  const word = kind === "many" ? position : position * units;
  memory.words.store(base + TAIL, word);
  memory.words.store(base + HEAD, word);
  if (kind !== "many") return;
  const last = lastPosition(capacity) + 1;
  for (let step = 0; step < capacity; step++) {
    const next = (position + step) % last;
    const lap = Math.floor(next / capacity);
    memory.words.store(base + 256 + (next % capacity) * units * 2, lap << 19);
  }
}

/** The last position of a ring for many before it starts over. */
export function lastPosition(capacity: number): number {
  const laps = Math.floor(2 ** 31 / capacity);
  return capacity * (laps > 8_191 ? laps - (laps % 8_192) : laps) - 1;
}

class Death extends Error {}

/** A thread as far as leases can tell: it has an entry of its own, and may die at any access to shared memory. */
export class OtherThread {
  /** Called before each access to shared memory. */
  before: (() => void) | undefined;
  /** What happens while this thread sleeps. */
  sleeps: (() => void) | undefined;
  /** Accesses so far. */
  accesses = 0;
  #isDead = false;
  #isRunning = false;
  readonly #fabric: Fabric;
  readonly #attachments: Attachments;
  #lease: MemLease | undefined;

  constructor(fabric: Fabric, guard = false) {
    this.#fabric = fabric;
    let seed = Math.imul(++OtherThread.#made, 0x9e37_79b1);
    this.#attachments = new Attachments({
      clock: { nowMs: () => START_MS },
      timer: { after: () => () => {}, every: () => () => {} },
      random: { fill: (words) => words.fill((seed += 2)) },
      memory: this.#provider(),
      threads: undefined,
      guard,
    });
  }
  static #made = 0;

  attach(lease: MemLease): MemLease {
    return (this.#lease ??= this.#attachments.attachMem(lease.ticket()));
  }

  /** Another lease than the one that `attach` gives. */
  attachAlso(lease: MemLease): MemLease {
    return this.#attachments.attachMem(lease.ticket());
  }

  join(lease: MemLease, unblockAfterMs = 1_000): FabricQueue {
    return FabricQueue.attach(this.attach(lease), undefined, { unblockAfterMs });
  }

  /** Runs `run`, dying before access number `at`. Returns whether it came to that. */
  diesAt(at: number, run: () => void): boolean {
    const last = this.accesses + at;
    this.before = () => {
      if (this.accesses <= last) return;
      this.#isDead = true;
      this.#isRunning = true;
      throw new Death();
    };
    try {
      run();
    } catch (thrown) {
      if (!(thrown instanceof Death)) throw thrown;
    } finally {
      this.before = undefined;
      this.#isRunning = false;
    }
    return this.#isDead;
  }

  /** Runs `run`; before its access number `at`, `interrupt`. Returns whether there was such an access. */
  interruptedAt(at: number, run: () => void, interrupt: () => void): boolean {
    const meets = this.accesses + at;
    return this.interruptedWhen(() => this.accesses > meets, run, interrupt);
  }

  /** As above, before the first access at which `isTime`. */
  interruptedWhen(isTime: () => boolean, run: () => void, interrupt: () => void): boolean {
    let met = false;
    this.before = () => {
      if (met || !isTime()) return;
      met = true;
      interrupt();
    };
    try {
      run();
    } finally {
      this.before = undefined;
    }
    return met;
  }

  /** The owner notices this thread's exit. */
  exit(): void {
    this.#isDead = true;
    if (this.#lease === undefined) return;
    const { thread, nonce } = regionOf(this.#lease).site.pulse;
    // The thread table: see `docs/memory-map.md`.
    this.#fabric.control.words.compareExchange(64 + thread * 16, nonce, 0);
  }

  /** Says that this thread is inside no operation. */
  announce(): void {
    if (this.#lease !== undefined) regionOf(this.#lease).site.pulse.announce();
  }

  #step(): void {
    this.accesses++;
    // Whatever catches a death meets it again.
    if (this.#isRunning) throw new Death();
    if (!this.#isDead) this.before?.();
  }

  #provider(): MemoryProvider {
    return {
      reserve: (bytes, options) => bufferMemoryProvider.reserve(bytes, options),
      attach: (handle, bytes) => this.#watched(bufferMemoryProvider.attach(handle, bytes)),
    };
  }

  #watched(memory: ArenaMemory): ArenaMemory {
    const plain = new Proxy(memory.plain, {
      get: (target, name) => {
        if (typeof name === "string" && /^\d+$/.test(name)) this.#step();
        const value: unknown = Reflect.get(target, name, target);
        return typeof value === "function" ? (value.bind(target) as unknown) : value;
      },
      set: (target, name, value) => {
        this.#step();
        return this.#isDead || Reflect.set(target, name, value, target);
      },
    });
    const { kind, byteLength, bytes, handle } = memory;
    const copyWithin: ArenaMemory["copyWithin"] = (...given) => memory.copyWithin(...given);
    const fill: ArenaMemory["fill"] = (...given) => memory.fill(...given);
    const words = this.#words(memory.words);
    return { kind, byteLength, bytes, plain, words, handle, copyWithin, fill };
  }

  // The dead read what they like and write nothing.
  #words(words: SharedWords): SharedWords {
    const write = <R>(run: () => R, refused: R): R => {
      this.#step();
      return this.#isDead ? refused : run();
    };
    return {
      load: (index) => {
        this.#step();
        return words.load(index);
      },
      store: (index, value) => write(() => words.store(index, value), undefined),
      add: (index, delta) => write(() => words.add(index, delta), 0),
      exchange: (index, value) => write(() => words.exchange(index, value), 0),
      compareExchange: (index, expected, value) =>
        write(() => words.compareExchange(index, expected, value), ~expected),
      compareExchangePair: (...given) => write(() => words.compareExchangePair(...given), false),
      // Nobody could wake this thread but the test, on the same one.
      wait: () => this.sleeps?.(),
      waitAsync: (index, expected, timeoutMs) => words.waitAsync(index, expected, timeoutMs),
      wake: (index) => words.wake(index),
    };
  }
}
