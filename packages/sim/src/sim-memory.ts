/**
 * A node's memory: the language's own, whose waits are the simulation's. On the one thread there is, nothing may block; who
 * waits without blocking is woken at an event of its own.
 */
import {
  bufferMemoryProvider,
  FabricError,
  type ArenaMemory,
  type MemoryHandle,
  type MemoryProvider,
  type SharedWords,
} from "@selvage/fabric";
import type { SimNode } from "./sim-node.ts";

/** From a wake to the woken, in virtual microseconds. */
const wakeUs = 20;

type Sleepers = Map<number, Set<() => void>>;

/** Memories of a node's incarnation. */
export function simMemory(node: SimNode): MemoryProvider {
  // Handles to one memory sleep and wake together.
  const sleepers = new WeakMap<object, Sleepers>();
  const simulated = (memory: ArenaMemory): ArenaMemory => {
    const key = memory.bytes.buffer;
    const own = sleepers.get(key) ?? new Map<number, Set<() => void>>();
    sleepers.set(key, own);
    return {
      kind: memory.kind,
      byteLength: memory.byteLength,
      bytes: memory.bytes,
      plain: memory.plain,
      handle: memory.handle,
      words: wordsOf(memory.words, own, node),
      copyWithin: (target, source, length) => memory.copyWithin(target, source, length),
      fill: (offset, value, length) => memory.fill(offset, value, length),
    };
  };
  return {
    reserve: (byteLength, options) => simulated(bufferMemoryProvider.reserve(byteLength, options)),
    attach: (handle: MemoryHandle, byteLength) =>
      simulated(bufferMemoryProvider.attach(handle, byteLength)),
  };
}

function wordsOf(words: SharedWords, sleepers: Sleepers, node: SimNode): SharedWords {
  return {
    load: (index) => words.load(index),
    store: (index, value) => words.store(index, value),
    add: (index, delta) => words.add(index, delta),
    exchange: (index, value) => words.exchange(index, value),
    compareExchange: (index, expected, replacement) =>
      words.compareExchange(index, expected, replacement),
    compareExchangePair: (index, expectedLow, expectedHigh, low, high) =>
      words.compareExchangePair(index, expectedLow, expectedHigh, low, high),
    wait() {
      throw new FabricError(
        "UNSUPPORTED",
        "Cannot block in a simulation: nobody else would ever run; wait without blocking instead",
      );
    },
    waitAsync(index, expected, timeoutMs) {
      if (words.load(index) !== expected) return Promise.resolve();
      return new Promise((resolve) => {
        const asleep = sleepers.get(index) ?? new Set<() => void>();
        sleepers.set(index, asleep);
        const wake = (): void => {
          asleep.delete(wake);
          cancel();
          resolve();
        };
        // A wait without an end has no timer.
        const cancel = timeoutMs < Infinity ? node.timer.after(timeoutMs, wake) : (): void => {};
        asleep.add(wake);
      });
    },
    wake(index) {
      const asleep = sleepers.get(index);
      if (asleep === undefined || asleep.size === 0) return;
      for (const wake of [...asleep]) {
        asleep.delete(wake);
        node.after(wakeUs, "wake", wake);
      }
    },
  };
}
