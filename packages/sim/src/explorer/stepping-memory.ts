/**
 * A memory whose every access is a step: what a simulated thread is given in place of shared memory. Ordered accesses
 * come through `words`, plain ones through `plain`, `bytes` and `doubles`, which are proxies.
 *
 * Views that are made over `bytes.buffer` are not seen: they find what was written last, and what they write goes unnoticed.
 */
import {
  FabricError,
  type ArenaMemory,
  type MemoryHandle,
  type SharedWords,
} from "@selvage/fabric";
import type { WeakWords } from "./weak-words.ts";

/** What an access does. Named as the port's methods are; `read` and `write` are the plain ones. */
export type AccessKind =
  | "load"
  | "store"
  | "add"
  | "exchange"
  | "compareExchange"
  | "compareExchangePair"
  | "wait"
  | "wake"
  | "read"
  | "write"
  | "readDouble"
  | "writeDouble"
  | "writeByte"
  | "time"
  | "hasDied";

/** Carries out accesses for one thread: returns a number, 0 or 1 for booleans. */
export type Stepper = (
  kind: AccessKind,
  memory: ModelMemory | undefined,
  at: number,
  a?: number,
  b?: number,
  c?: number,
  d?: number,
) => number;

/** One memory of an exploration. */
export class ModelMemory {
  readonly index: number;
  readonly byteLength: number;
  readonly buffer: SharedArrayBuffer;
  readonly words: WeakWords;

  constructor(index: number, byteLength: number, buffer: SharedArrayBuffer, words: WeakWords) {
    this.index = index;
    this.byteLength = byteLength;
    this.buffer = buffer;
    this.words = words;
  }
}

/** A memory as one thread reaches it. */
export function steppingMemory(memory: ModelMemory, step: Stepper): ArenaMemory {
  const { byteLength, buffer } = memory;
  const handle: MemoryHandle = buffer;
  const bytes = steppedBytes(memory, step, 0, buffer.byteLength);
  return {
    kind: "shared",
    byteLength,
    bytes,
    plain: stepped(new Int32Array(buffer), {
      get: (index) => step("read", memory, index),
      set: (index, value) => void step("write", memory, index, value),
    }),
    doubles: stepped(new Float64Array(buffer), {
      get: (index) => step("readDouble", memory, index * 2),
      set: (index, value) => void step("writeDouble", memory, index * 2, value),
    }),
    words: steppingWords(memory, step),
    handle,
    copyWithin: (target, source, length) => {
      const copy = Array.from({ length }, (_, index) => bytes[source + index] as number);
      for (const [index, byte] of copy.entries()) bytes[target + index] = byte;
    },
    fill: (offset, value, length) => fill(memory, step, offset, value, length),
  };
}

// Whole words are written whole.
function fill(
  memory: ModelMemory,
  step: Stepper,
  offset: number,
  value: number,
  length: number,
): void {
  const end = offset + length;
  for (let at = offset; at < end;) {
    if (at % 4 === 0 && at + 4 <= end) {
      step("write", memory, at / 4, Math.imul(value & 0xff, 0x0101_0101));
      at += 4;
    } else step("writeByte", memory, at++, value);
  }
}

function steppingWords(memory: ModelMemory, step: Stepper): SharedWords {
  return {
    load: (index) => step("load", memory, index),
    store: (index, value) => void step("store", memory, index, value),
    add: (index, delta) => step("add", memory, index, delta),
    exchange: (index, value) => step("exchange", memory, index, value),
    compareExchange: (index, expected, replacement) =>
      step("compareExchange", memory, index, expected, replacement),
    compareExchangePair: (index, expectedLow, expectedHigh, low, high) =>
      step("compareExchangePair", memory, index, expectedLow, expectedHigh, low, high) === 1,
    wait: (index, expected, timeoutMs) => void step("wait", memory, index, expected, timeoutMs),
    waitAsync: async () => {
      throw new FabricError("UNSUPPORTED", "Cannot wait: a stepped thread runs synchronous code");
    },
    wake: (index) => void step("wake", memory, index),
  };
}

interface Elements {
  readonly get: (index: number) => number;
  readonly set: (index: number, value: number) => void;
}

function steppedBytes(
  memory: ModelMemory,
  step: Stepper,
  from: number,
  length: number,
): Uint8Array<SharedArrayBuffer> {
  const view = new Uint8Array(memory.buffer, from, length);
  const elements: Elements = {
    get: (index) => {
      const at = from + index;
      return (step("read", memory, at >> 2) >>> ((at & 3) * 8)) & 0xff;
    },
    set: (index, value) => void step("writeByte", memory, from + index, value),
  };
  const methods = {
    set: (source: ArrayLike<number>, at = 0): void => {
      for (let index = 0; index < source.length; index++)
        elements.set(at + index, source[index] as number);
    },
    subarray: (begin = 0, end = length): Uint8Array =>
      steppedBytes(memory, step, from + begin, end - begin),
  };
  return stepped(view, elements, methods);
}

function stepped<A extends Int32Array | Float64Array | Uint8Array>(
  array: A,
  elements: Elements,
  methods: object = {},
): A {
  const { length } = array;
  return new Proxy(array, {
    get: (target, name) => {
      const index = indexOf(name);
      if (index >= 0) return index < length ? elements.get(index) : undefined;
      if (Object.hasOwn(methods, name)) return Reflect.get(methods, name) as unknown;
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === "function" ? (value.bind(target) as unknown) : value;
    },
    set: (target, name, value) => {
      const index = indexOf(name);
      if (index < 0) return Reflect.set(target, name, value, target);
      if (index < length) elements.set(index, value as number);
      return true;
    },
  });
}

function indexOf(name: string | symbol): number {
  if (typeof name !== "string") return -1;
  const first = name.charCodeAt(0);
  return first >= 48 && first <= 57 ? Number(name) : -1;
}
