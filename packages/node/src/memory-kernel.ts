/**
 * The WebAssembly kernel: `memory-kernel.wat`, assembled, and the types by which the rest of this package sees it.
 * Compiled once per thread, at the first use; instantiated once per memory.
 */
import { Buffer } from "node:buffer";

/** A `WebAssembly.Memory` whose buffer is a SharedArrayBuffer. It crosses `postMessage`. */
export interface SharedWasmMemory {
  readonly buffer: SharedArrayBuffer;
}

/** What the kernel exports. Addresses, offsets and lengths are bytes; all numbers cross as 32 bits. */
export interface MemoryKernel {
  readonly copy: (target: number, source: number, length: number) => void;
  readonly fill: (offset: number, value: number, length: number) => void;
  readonly load: (address: number) => number;
  readonly store: (address: number, value: number) => void;
  readonly add: (address: number, delta: number) => number;
  readonly exchange: (address: number, value: number) => number;
  readonly compareExchange: (address: number, expected: number, replacement: number) => number;
  /** Returns 1 if it replaced the pair, else 0. */
  readonly compareExchangePair: (
    address: number,
    expectedLow: number,
    expectedHigh: number,
    low: number,
    high: number,
  ) => number;
}

/** The part of the host's WebAssembly in use: neither the language's nor Node's type library declares it. */
declare const WebAssembly: {
  readonly Memory: new (limits: {
    readonly initial: number;
    readonly maximum: number;
    readonly shared: true;
  }) => SharedWasmMemory;
  readonly Module: new (bytes: Uint8Array) => WasmModule;
  readonly Instance: new (
    module: WasmModule,
    imports: { readonly host: { readonly memory: SharedWasmMemory } },
  ) => { readonly exports: MemoryKernel };
};
interface WasmModule {
  readonly __brand: "WebAssembly.Module";
}

/** Bytes of a WebAssembly page. */
const PAGE_BYTES = 65_536;

/** What 32-bit addresses reach. */
export const WASM_BYTES_MAX: number = 65_536 * PAGE_BYTES;

/** `memory-kernel.wat` assembled by wabt: 291 bytes, in base64. */
export const KERNEL_BASE64: string = [
  "AGFzbQEAAAABJwZgA39/fwBgAX8Bf2ACf38AYAJ/fwF/YAN/f38Bf2AFf39/f38BfwITAQRob3N0Bm1lbW9yeQID",
  "AICABAMJCAAAAQIDAwQFB1cIBGNvcHkAAARmaWxsAAEEbG9hZAACBXN0b3JlAAMDYWRkAAQIZXhjaGFuZ2UABQ9j",
  "b21wYXJlRXhjaGFuZ2UABhNjb21wYXJlRXhjaGFuZ2VQYWlyAAcKdwgMACAAIAEgAvwKAAALCwAgACABIAL8CwAL",
  "CAAgAP4QAgALCgAgACAB/hcCAAsKACAAIAH+HgIACwoAIAAgAf5BAgALDAAgACABIAL+SAIACyUBAX4gAa0gAq1C",
  "IIaEIQUgBSAAIAUgA60gBK1CIIaE/kkDAFEL",
].join("");

let compiled: WasmModule | undefined;

/** Reserves a shared memory of whole pages, never to grow. @throws RangeError when the host refuses. */
export function reserveWasmMemory(byteLength: number): SharedWasmMemory {
  const pages = Math.ceil(byteLength / PAGE_BYTES);
  return new WebAssembly.Memory({ shared: true, initial: pages, maximum: pages });
}

/** True for a memory of this thread's WebAssembly, made here or received; false where there is no WebAssembly. */
export function isWasmMemory(value: unknown): value is SharedWasmMemory {
  return typeof WebAssembly === "object" && value instanceof WebAssembly.Memory;
}

/** Binds the kernel to `memory`. */
export function instantiateKernel(memory: SharedWasmMemory): MemoryKernel {
  compiled ??= new WebAssembly.Module(Buffer.from(KERNEL_BASE64, "base64"));
  return new WebAssembly.Instance(compiled, { host: { memory } }).exports;
}
