/**
 * What the fabric needs from its host. The pure packages name no host global: time, randomness, memory and disks
 * come in through these interfaces, so that the same code runs in Node, in a worker thread and under the simulator.
 */

/** Reads time. */
export interface Clock {
  /** Milliseconds since the Unix epoch. Never goes back; never runs ahead of real time. */
  nowMs(): number;
}

/** Calls back later. */
export interface Timer {
  /** Calls `callback` once, no sooner than `delayMs` from now; the returned function cancels it. */
  after(delayMs: number, callback: () => void): () => void;
  /** Calls `callback` every `periodMs` until cancelled. Does not keep the program alive. */
  every(periodMs: number, callback: () => void): () => void;
}

/** Gives unpredictable words. */
export interface Random {
  /** Fills `words` from a source that cannot be guessed: lease ids are made of it. */
  fill(words: Int32Array<ArrayBuffer>): void;
}

/** Encodes and decodes UTF-8. */
export interface Text {
  encode(text: string): Uint8Array<ArrayBuffer>;
  /** Decodes a copy or a view; throws on bytes that are not UTF-8. */
  decode(bytes: Uint8Array): string;
}

/** The part of the platform's `AbortSignal` that Selvage uses. */
export interface AbortSignalLike {
  readonly aborted: boolean;
  readonly reason: unknown;
  addEventListener(type: "abort", listener: () => void): void;
  removeEventListener(type: "abort", listener: () => void): void;
}

/** Words and bytes of one memory, as every shared-memory algorithm reaches them. Indices count 32-bit words. */
export interface SharedWords {
  /** Sequentially consistent load. */
  load(index: number): number;
  /** Sequentially consistent store. */
  store(index: number, value: number): void;
  /** Adds and returns the value before. */
  add(index: number, delta: number): number;
  /** Stores `value` and returns the value before. */
  exchange(index: number, value: number): number;
  /** Stores `replacement` if the word holds `expected`; returns what it held. */
  compareExchange(index: number, expected: number, replacement: number): number;
  /**
   * Replaces the 64-bit pair at an even `index` (low word first) in one step, if it holds the expected pair.
   * Returns whether it did.
   */
  compareExchangePair(
    index: number,
    expectedLow: number,
    expectedHigh: number,
    low: number,
    high: number,
  ): boolean;
  /**
   * Sleeps while the word holds `expected`, until `wake`, or `timeoutMs` at most. Blocks the thread. It may also return
   * early: whoever waits for a condition looks at it again.
   * @throws FabricError `UNSUPPORTED` on a memory that no other thread reaches: nobody could wake the sleeper.
   */
  wait(index: number, expected: number, timeoutMs: number): void;
  /** As `wait`, without blocking. Does not keep the program alive. */
  waitAsync(index: number, expected: number, timeoutMs: number): Promise<void>;
  /** Wakes every thread that sleeps on the word. */
  wake(index: number): void;
}

/** What backs a memory: a shared WebAssembly memory, a SharedArrayBuffer, or a plain ArrayBuffer of one thread. */
export type MemoryKind = "wasm" | "shared" | "plain";

/** One fixed-size, zero-filled memory, kept for its fabric's life. Never grown. */
export interface ArenaMemory {
  readonly kind: MemoryKind;
  /** Size in bytes. `bytes.length` may be larger, rounded up by the host. */
  readonly byteLength: number;
  /** The whole memory. The fabric never hands this view, or anything that leads to it, to its users. */
  readonly bytes: Uint8Array;
  /** The whole memory as 32-bit words, for plain (unordered) reads on hot paths. */
  readonly plain: Int32Array;
  /** The same memory as 64-bit floats, where a provider has its own; elsewhere whoever needs them makes them of `bytes`. */
  readonly doubles?: Float64Array;
  /** The same words with order. */
  readonly words: SharedWords;
  /** What crosses `postMessage` to reach this memory from another thread; undefined for a plain one. */
  readonly handle: MemoryHandle | undefined;
  /** Copies `length` bytes inside this memory; ranges may overlap. */
  copyWithin(target: number, source: number, length: number): void;
  /** Sets `length` bytes from `offset` to `value` (0 to 255). */
  fill(offset: number, value: number, length: number): void;
}

/** A structured-cloneable handle: a SharedArrayBuffer, or a `WebAssembly.Memory` whose `buffer` is one. */
export type MemoryHandle = SharedArrayBuffer | { readonly buffer: ArrayBuffer | SharedArrayBuffer };

/** Reserves memories and reaches those of other threads. */
export interface MemoryProvider {
  /**
   * Reserves `byteLength` zero bytes (rounded up as the host needs), shared between threads or not.
   * @throws FabricError `CAPACITY_EXCEEDED` when the host refuses.
   */
  reserve(byteLength: number, options: { readonly shared: boolean }): ArenaMemory;
  /** Reaches a memory that another thread reserved, by its handle. */
  attach(handle: MemoryHandle, byteLength: number): ArenaMemory;
}

/** Blocks of {@link BLOCK_BYTES} bytes. Reads and writes of one block are all or nothing; nothing more is promised. */
export interface BlockDevice {
  /** Size in blocks. */
  readonly numBlocks: number;
  /** Fills `target` (a whole number of blocks) from block `index` on. */
  read(index: number, target: Uint8Array): Promise<void>;
  /** Writes `source` (a whole number of blocks) from block `index` on. */
  write(index: number, source: Uint8Array): Promise<void>;
  /** Zeroes `count` blocks from `index` on. */
  zero(index: number, count: number): Promise<void>;
  /** Resolves once what was written before will survive a crash, if this device survives one at all. */
  flush(): Promise<void>;
  /** Lets the device go. */
  close(): void;
}

/**
 * The bytes of one file, as a host gives them. One that is opened for writing holds what is durable: what can be read from it
 * survives a crash, also where an earlier process was killed before its sync, or its sync failed. Offsets and lengths are in bytes. Errors are the host's own; the fabric
 * wraps them. Never called after `close`, which is called once, with nothing in flight.
 */
export interface Disk {
  /** As `read`, at once: for opening only. */
  readNow(offset: number, target: Uint8Array): number;
  /** Fills `target` from `offset` on as far as it can; resolves with how many bytes it read, 0 at the end. */
  read(offset: number, target: Uint8Array): Promise<number>;
  /** Writes from `offset` on as far as it can, past the end too; resolves with how many bytes it wrote. */
  write(offset: number, source: Uint8Array): Promise<number>;
  /** Resolves once every write and truncation that had resolved before the call survives a crash. */
  sync(): Promise<void>;
  /** Sets the file's length. What is cut off reads as zero if the file grows again. */
  truncate(length: number): Promise<void>;
  /** Lets the file go, and the right to write it. */
  close(): void;
}

/** Which file a fabric asks its host for. */
export interface DiskRequest {
  readonly path: string;
  /** `"write"`: as its one writer. `"read"`: beside whoever writes. */
  readonly access: BlockAccess;
  /** What a new file holds. A file is there with all of it, after any crash, or not at all. Writers only. */
  readonly image: () => Uint8Array;
}

/** Whether a fabric writes its block file, or looks on. */
export type BlockAccess = "write" | "read";

/** Bytes of one block. */
export const BLOCK_BYTES = 512;
