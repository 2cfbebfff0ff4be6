/** A thread that counts in a shared memory together with others. Words: see {@link MemoryWorkerData}. */
import { parentPort, workerData } from "node:worker_threads";
import type { MemoryHandle } from "@selvage/fabric";
import { createMemoryProvider } from "@selvage/node";

export interface MemoryWorkerData {
  readonly handle: MemoryHandle;
  readonly byteLength: number;
  /** Which words this thread uses: the kernel's where it can, or `Atomics`. */
  readonly wasm: boolean;
  readonly rounds: number;
  /** How many threads wait for each other before they start. */
  readonly threads: number;
}

/** Word of the start barrier, of the counter moved by `add`, by `compareExchange`, and of the 64-bit pair's low half. */
export const WORDS = { arrived: 0, added: 32, exchanged: 64, pair: 96 } as const;

function count({ handle, byteLength, wasm, rounds, threads }: MemoryWorkerData): string {
  const { kind, words } = createMemoryProvider({ wasm }).attach(handle, byteLength);
  words.add(WORDS.arrived, 1);
  while (words.load(WORDS.arrived) < threads); // Bounded by the test, which ends its workers.
  // Ten to the round and nothing in between: a lost addition needs two threads within a few nanoseconds.
  for (let round = 0; round < 10 * rounds; round++) words.add(WORDS.added, 1);
  for (let round = 0; round < rounds; round++) {
    let held = words.load(WORDS.exchanged);
    for (;;) {
      const found = words.compareExchange(WORDS.exchanged, held, held + 1);
      if (found === held) break;
      held = found;
    }
    for (;;) {
      // Two loads may straddle another thread's exchange; the compare then refuses what never was one pair.
      const low = words.load(WORDS.pair);
      const high = words.load(WORDS.pair + 1);
      const next = (low + 1) | 0;
      const carry = next === 0 ? 1 : 0;
      if (words.compareExchangePair(WORDS.pair, low, high, next, (high + carry) | 0)) break;
    }
  }
  return kind;
}

if (parentPort !== null) parentPort.postMessage(count(workerData as MemoryWorkerData));
