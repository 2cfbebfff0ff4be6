/**
 * A shared WebAssembly memory and its words, by way of the kernel.
 *
 * Order: the kernel's atomics are sequentially consistent and of one memory model with JavaScript's (WebAssembly
 * threads proposal), so a thread that fell back to `Atomics` on the same bytes works together with one that did not.
 * Copies and fills are plain accesses, as everywhere.
 */
import { assert, waitOn, waitOnAsync, type ArenaMemory, type SharedWords } from "@selvage/fabric";
import { WASM_BYTES_MAX, type MemoryKernel, type SharedWasmMemory } from "./memory-kernel.ts";

/**
 * {@link SharedWords} by the kernel: one call into WebAssembly each, no allocation. An index is a whole number from
 * 0 to 2^30 - 1, the last word of 4 GiB; outside the memory, or at an odd index for a pair, the kernel traps with a
 * `WebAssembly.RuntimeError`. There is no check here on top: it would cost a fifth of a load.
 */
class WasmWords implements SharedWords {
  // Functions in fields, not the exports object: one property read fewer on the way to each call.
  readonly #load: MemoryKernel["load"];
  readonly #store: MemoryKernel["store"];
  readonly #add: MemoryKernel["add"];
  readonly #exchange: MemoryKernel["exchange"];
  readonly #compareExchange: MemoryKernel["compareExchange"];
  readonly #compareExchangePair: MemoryKernel["compareExchangePair"];

  readonly #plain: Int32Array;

  constructor(kernel: MemoryKernel, plain: Int32Array) {
    this.#plain = plain;
    this.#load = kernel.load;
    this.#store = kernel.store;
    this.#add = kernel.add;
    this.#exchange = kernel.exchange;
    this.#compareExchange = kernel.compareExchange;
    this.#compareExchangePair = kernel.compareExchangePair;
  }

  // `index << 2` turns negative from 2 GiB on; the kernel takes its 32 bits as unsigned.

  load(index: number): number {
    return this.#load(index << 2);
  }

  store(index: number, value: number): void {
    this.#store(index << 2, value);
  }

  add(index: number, delta: number): number {
    return this.#add(index << 2, delta);
  }

  exchange(index: number, value: number): number {
    return this.#exchange(index << 2, value);
  }

  compareExchange(index: number, expected: number, replacement: number): number {
    return this.#compareExchange(index << 2, expected, replacement);
  }

  compareExchangePair(
    index: number,
    expectedLow: number,
    expectedHigh: number,
    low: number,
    high: number,
  ): boolean {
    return this.#compareExchangePair(index << 2, expectedLow, expectedHigh, low, high) === 1;
  }

  // Sleeping costs microseconds: the language's own way is fast enough, and knows when not to block.

  wait(index: number, expected: number, timeoutMs: number): void {
    waitOn(this.#plain, index, expected, timeoutMs);
  }

  waitAsync(index: number, expected: number, timeoutMs: number): Promise<void> {
    return waitOnAsync(this.#plain, index, expected, timeoutMs);
  }

  wake(index: number): void {
    Atomics.notify(this.#plain, index);
  }
}

/** An {@link ArenaMemory} over a shared WebAssembly memory. */
export class WasmMemory implements ArenaMemory {
  readonly kind = "wasm";
  readonly byteLength: number;
  readonly bytes: Uint8Array;
  readonly plain: Int32Array;
  readonly words: SharedWords;
  readonly handle: SharedWasmMemory;
  readonly #copy: MemoryKernel["copy"];
  readonly #fill: MemoryKernel["fill"];

  constructor(memory: SharedWasmMemory, kernel: MemoryKernel, byteLength: number) {
    // Whole pairs, as in the other kinds, so that code behaves alike on all; the page's rest stays unused.
    const words = Math.ceil(byteLength / 8) * 2;
    this.byteLength = byteLength;
    this.bytes = new Uint8Array(memory.buffer, 0, words * 4);
    this.plain = new Int32Array(memory.buffer, 0, words);
    this.words = new WasmWords(kernel, this.plain);
    this.handle = memory;
    this.#copy = kernel.copy;
    this.#fill = kernel.fill;
  }

  /** @throws InvariantError when a range leaves the memory. */
  copyWithin(target: number, source: number, length: number): void {
    const end = this.bytes.length - length;
    assert(length >= 0 && target >= 0 && target <= end, "target lies inside the memory", target);
    assert(source >= 0 && source <= end, "source lies inside the memory", source);
    // The one length that 32 bits do not hold, all of 4 GiB, crosses as 0: right, since it is a copy onto itself.
    this.#copy(target, source, length);
  }

  /** @throws InvariantError when the range leaves the memory. */
  fill(offset: number, value: number, length: number): void {
    const end = this.bytes.length - length;
    assert(length >= 0 && offset >= 0 && offset <= end, "range lies inside the memory", offset);
    if (length === WASM_BYTES_MAX) {
      // It would cross as 0 and fill nothing.
      this.#fill(0, value, length / 2);
      this.#fill(length / 2, value, length / 2);
      return;
    }
    this.#fill(offset, value, length);
  }
}
