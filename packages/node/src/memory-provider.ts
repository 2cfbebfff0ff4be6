/**
 * Node's memories. A shared one is a WebAssembly memory where that can be had, because its kernel copies, fills and
 * synchronises fastest; else a SharedArrayBuffer with the same behaviour.
 */
import {
  bufferMemoryProvider,
  type ArenaMemory,
  type MemoryHandle,
  type MemoryProvider,
} from "@selvage/fabric";
import {
  WASM_BYTES_MAX,
  instantiateKernel,
  isWasmMemory,
  reserveWasmMemory,
  type SharedWasmMemory,
} from "./memory-kernel.ts";
import { WasmMemory } from "./wasm-memory.ts";

/** How {@link createMemoryProvider} picks. */
export interface MemoryProviderOptions {
  /** False keeps to the language's buffers. Default true. */
  readonly wasm?: boolean;
}

/**
 * Makes a provider of kinds "wasm", "shared" and "plain".
 *
 * `reserve` with `shared: true` gives "wasm", and "shared" when WebAssembly is off, cannot be had, or has no room: each
 * of its memories takes 8 to 10 GiB of address space, which `ulimit -v` may refuse, and none exceeds 4 GiB. Untouched
 * memory of any kind takes address space only. Few large memories, kept: a process can have some 16,000 of kind "wasm".
 *
 * `attach` takes the handle of any shared memory; without WebAssembly, and with `wasm: false`, it reaches a "wasm" one
 * by `Atomics`, as kind "shared".
 */
export function createMemoryProvider(options: MemoryProviderOptions = {}): MemoryProvider {
  const { wasm = true } = options;
  return {
    reserve(byteLength, { shared }) {
      const memory = wasm && shared ? tryReserve(byteLength) : undefined;
      return memory ?? bufferMemoryProvider.reserve(byteLength, { shared });
    },
    attach(handle, byteLength) {
      const memory = wasm ? tryAttach(handle, byteLength) : undefined;
      return memory ?? bufferMemoryProvider.attach(handle, byteLength);
    },
  };
}

/** Node's memories, as {@link createMemoryProvider} makes them by default. */
export const nodeMemoryProvider: MemoryProvider = /* @__PURE__ */ createMemoryProvider();

/** Undefined for what WebAssembly cannot serve; the language's buffers then do, or say what is wrong. */
function tryReserve(byteLength: number): ArenaMemory | undefined {
  if (!Number.isSafeInteger(byteLength) || byteLength < 1 || byteLength > WASM_BYTES_MAX) {
    return undefined;
  }
  try {
    return bind(reserveWasmMemory(byteLength), byteLength);
  } catch {
    // Swallowed: RangeError (no address space, no memory), and whatever a host without WebAssembly, without threads
    // in it, or with code generation forbidden throws. None is an error here, only a slower memory.
    return undefined;
  }
}

function tryAttach(handle: MemoryHandle, byteLength: number): ArenaMemory | undefined {
  if (!isWasmMemory(handle)) return undefined;
  if (!Number.isSafeInteger(byteLength) || byteLength < 1) return undefined;
  if (byteLength > handle.buffer.byteLength) return undefined;
  try {
    return bind(handle, byteLength);
  } catch {
    // As in tryReserve: the bytes are there all the same, and Atomics reach them.
    return undefined;
  }
}

function bind(memory: SharedWasmMemory, byteLength: number): WasmMemory {
  return new WasmMemory(memory, instantiateKernel(memory), byteLength);
}
