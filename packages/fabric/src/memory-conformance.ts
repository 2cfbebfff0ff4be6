/**
 * What every {@link MemoryProvider} must do, as cases that any test runner, or none, can run. Ours pass it; so must
 * yours. A case that fails throws, and says what was expected and what came.
 */
import { describe, isFabricError } from "./errors.ts";
import type { ArenaMemory, MemoryHandle, MemoryKind, MemoryProvider } from "./ports.ts";

/** What the memories under test are to be. */
export interface MemoryConformanceOptions {
  /** Passed to `reserve`. */
  readonly shared: boolean;
  /** The kind that `reserve` must give here. */
  readonly kind: MemoryKind;
}

/** One behaviour. */
export interface ConformanceCase {
  /** A sentence: what the provider does. */
  readonly name: string;
  /** Throws unless the provider does it. */
  readonly run: () => void;
}

/** A whole number of WebAssembly pages, so that the memory ends where its rounded size does. */
const SIZE_BYTES = 65_536;
const INT_MAX = 0x7fff_ffff;
const INT_MIN = -0x8000_0000;

type Numbers = readonly (readonly [number, number])[];
/** Target and source. */
const COPIES: Numbers = [
  [0, 0],
  [0, 1],
  [1, 0],
  [3, 96],
  [96, 5],
  [2000, 7],
  [9, 2001],
];
/** Offset and length, not inside {@link SIZE_BYTES}. */
const OUTSIDE: Numbers = [
  [-1, 1],
  [0, -1],
  [SIZE_BYTES, 1],
  [1, SIZE_BYTES],
  [2 ** 32, 1],
  [0, 2 ** 32],
  [NaN, 1],
  [0, NaN],
];
/** Halves that are not -1 and 0x0403_0201: one differs, both do, or they are the wrong way round. */
const OTHER_PAIRS: Numbers = [
  [0, 0x0403_0201],
  [-1, 0],
  [0x0403_0201, -1],
  [0, 0],
];

/** The cases for `provider`. Each reserves memory of its own, at most 128 KiB. */
export function memoryConformance(
  provider: MemoryProvider,
  options: MemoryConformanceOptions,
): readonly ConformanceCase[] {
  const reserve = (byteLength = SIZE_BYTES): ArenaMemory => provider.reserve(byteLength, options);
  const scenarios: Readonly<Record<string, (memory: ArenaMemory) => void>> = {
    ...(options.shared ? sharedScenarios(provider) : unsharedScenarios),
    ...rangeScenarios,
    ...wordScenarios,
    "reserve() gives the expected kind and size": (memory) => {
      same("kind", memory.kind, options.kind);
      same("byteLength", memory.byteLength, SIZE_BYTES);
      same("bytes.length", memory.bytes.length, SIZE_BYTES);
      same("plain.length", memory.plain.length, SIZE_BYTES / 4);
    },
    "reserve() gives zero bytes": (memory) => {
      same(
        "first byte that is not zero",
        memory.bytes.findIndex((byte) => byte !== 0),
        -1,
      );
    },
    "reserve() rounds up to whole pairs and remembers the size asked for": () => {
      for (const byteLength of [1, 7, 9, 65_535, 65_537]) {
        const memory = reserve(byteLength);
        const lastPair = Math.ceil(byteLength / 8) * 2 - 2;
        same("byteLength", memory.byteLength, byteLength);
        atLeast("bytes.length", memory.bytes.length, byteLength);
        same("plain.byteLength", memory.plain.byteLength, memory.bytes.length);
        same("last pair", memory.words.compareExchangePair(lastPair, 0, 0, 1, 2), true);
        same("last word", memory.plain[lastPair + 1], 2);
      }
    },
    "reserve() refuses a size that is no positive whole number": () => {
      for (const byteLength of [0, -1, 1.5, NaN, Infinity, 2 ** 53]) {
        failsWith(`reserve(${byteLength})`, "INVALID_ARGUMENT", () => reserve(byteLength));
      }
    },
    "reserve() reports a size beyond any host as CAPACITY_EXCEEDED": () => {
      failsWith("reserve(2^52)", "CAPACITY_EXCEEDED", () => reserve(2 ** 52));
    },
    "attach() refuses what is no handle": () => {
      for (const handle of [undefined, null, 7, {}, new ArrayBuffer(8), new Uint8Array(8)]) {
        const attach = (): ArenaMemory => provider.attach(handle as MemoryHandle, 8);
        failsWith(`attach(${describe(handle)})`, "INVALID_ARGUMENT", attach);
      }
    },
  };
  return Object.entries(scenarios).map(([name, check]) => ({ name, run: () => check(reserve()) }));
}

type Scenarios = Readonly<Record<string, (memory: ArenaMemory) => void>>;

const sharedScenarios = (provider: MemoryProvider): Scenarios => ({
  "attach() reaches the same bytes, both ways": (memory) => {
    const other = provider.attach(memory.handle as MemoryHandle, memory.byteLength);
    same("kind", other.kind, memory.kind);
    same("byteLength", other.byteLength, memory.byteLength);
    memory.words.store(5, 0x0403_0201);
    same("bytes", [...other.bytes.subarray(20, 24)], [1, 2, 3, 4]);
    other.fill(SIZE_BYTES - 3, 9, 3);
    same("last bytes", [...memory.bytes.subarray(SIZE_BYTES - 4)], [0, 9, 9, 9]);
    same("add", other.words.add(5, 1), 0x0403_0201);
    same("word", memory.words.load(5), 0x0403_0202);
  },
  "wait() returns at once when the word holds something else, and in the end when nobody wakes it":
    (memory) => {
      memory.words.store(6, 1);
      memory.words.wait(6, 0, Infinity);
      memory.words.wait(6, 1, 1);
      memory.words.wake(6);
      same("word", memory.words.load(6), 1);
    },
  "attach() keeps to the size it is given": (memory) => {
    const other = provider.attach(memory.handle as MemoryHandle, 100);
    same("byteLength", other.byteLength, 100);
    same("bytes.length", other.bytes.length, 104);
    throws("fill beyond", () => other.fill(100, 1, 5));
  },
  "attach() refuses more bytes than the handle has, and a size that is no size": (memory) => {
    for (const byteLength of [SIZE_BYTES + 1, 2 ** 40, 0, -1, 1.5, NaN]) {
      const attach = (): ArenaMemory => provider.attach(memory.handle as MemoryHandle, byteLength);
      failsWith(`attach(handle, ${byteLength})`, "INVALID_ARGUMENT", attach);
    }
  },
});

const unsharedScenarios: Scenarios = {
  "wait() refuses to sleep where nobody can wake": (memory) => {
    failsWith("wait", "UNSUPPORTED", () => memory.words.wait(0, 0, 1));
    memory.words.wake(0);
  },
  "reserve() gives an unshared memory no handle": (memory) => {
    same("handle", memory.handle, undefined);
  },
};

const rangeScenarios: Scenarios = {
  "copyWithin() moves every length and alignment, forwards, backwards and overlapping": (
    memory,
  ) => {
    for (const length of [0, 1, 3, 8, 31, 64, 200, 1000]) {
      for (const [target, source] of COPIES) {
        pattern(memory);
        const want = [...memory.bytes.subarray(0, 4096)];
        const moved = want.slice(source, source + length);
        want.splice(target, length, ...moved);
        memory.copyWithin(target, source, length);
        same(
          `${length} bytes from ${source} to ${target}`,
          [...memory.bytes.subarray(0, 4096)],
          want,
        );
      }
    }
  },
  "copyWithin() reaches both edges": (memory) => {
    memory.fill(0, 1, 4);
    memory.copyWithin(SIZE_BYTES - 4, 0, 4);
    memory.copyWithin(0, SIZE_BYTES - 8, 8);
    same("first bytes", [...memory.bytes.subarray(0, 8)], [0, 0, 0, 0, 1, 1, 1, 1]);
    memory.copyWithin(SIZE_BYTES, 0, 0);
    memory.copyWithin(0, SIZE_BYTES, 0);
    memory.copyWithin(0, 0, SIZE_BYTES);
    same("first bytes again", [...memory.bytes.subarray(0, 8)], [0, 0, 0, 0, 1, 1, 1, 1]);
  },
  "fill() sets exactly its range, at every alignment": (memory) => {
    for (const length of [0, 1, 2, 7, 8, 127, 128, 129, 1000, 32_768, 40_001]) {
      for (const offset of [1, 2, 4, 5, 8]) {
        memory.fill(0, 0x55, SIZE_BYTES);
        memory.fill(offset, 0xfe, length);
        const end = offset + length;
        const wrong = memory.bytes.findIndex(
          (byte, at) => byte !== (at >= offset && at < end ? 0xfe : 0x55),
        );
        same(`first wrong byte, ${length} bytes at ${offset}`, wrong, -1);
      }
    }
  },
  "fill() takes every byte value, and reaches both edges": (memory) => {
    for (const value of [255, 128, 127, 1, 0]) {
      memory.fill(0, value, SIZE_BYTES);
      same(
        "first wrong byte",
        memory.bytes.findIndex((byte) => byte !== value),
        -1,
      );
    }
    memory.fill(SIZE_BYTES, 7, 0);
    memory.fill(SIZE_BYTES - 1, 7, 1);
    same("last byte", memory.bytes[SIZE_BYTES - 1], 7);
  },
  "copyWithin() and fill() refuse a range outside, and change nothing": (memory) => {
    for (const [offset, length] of OUTSIDE) {
      throws(`fill(${offset}, 9, ${length})`, () => memory.fill(offset, 9, length));
      throws(`copyWithin(${offset}, 0, ${length})`, () => memory.copyWithin(offset, 0, length));
      throws(`copyWithin(0, ${offset}, ${length})`, () => memory.copyWithin(0, offset, length));
    }
    same(
      "first byte changed",
      memory.bytes.findIndex((byte) => byte !== 0),
      -1,
    );
  },
};

const wordScenarios: Scenarios = {
  "bytes, plain and words are one memory, low byte first": (memory) => {
    memory.words.store(1, 0x0403_0201);
    same("bytes", [...memory.bytes.subarray(4, 8)], [1, 2, 3, 4]);
    same("plain", memory.plain[1], 0x0403_0201);
    memory.bytes[7] = 0x84;
    same("load", memory.words.load(1), 0x8403_0201 | 0);
    memory.plain[2] = -7;
    same("load of what plain wrote", memory.words.load(2), -7);
    const last = SIZE_BYTES / 4 - 1;
    memory.words.store(last, -1);
    same("last byte", memory.bytes[SIZE_BYTES - 1], 255);
  },
  "words keep 32 bits, signed": ({ words }) => {
    for (const value of [0, 1, -1, INT_MAX, INT_MIN, 2 ** 31, 2 ** 32 - 1, 2 ** 32 + 5]) {
      words.store(3, value);
      same(`load after store(${value})`, words.load(3), value | 0);
      same("exchange", words.exchange(3, 0), value | 0);
      same("load after exchange", words.load(3), 0);
    }
  },
  "add() returns the value before, and wraps around": ({ words }) => {
    same("0 + 5", words.add(0, 5), 0);
    same("5 + -8", words.add(0, -8), 5);
    same("now", words.exchange(0, INT_MAX), -3);
    same("highest + 1", words.add(0, 1), INT_MAX);
    same("lowest - 1", words.add(0, -1), INT_MIN);
    same("highest", words.load(0), INT_MAX);
    same("neighbour", words.load(1), 0);
  },
  "compareExchange() stores when the word holds what is expected, and always tells what it held": ({
    words,
  }) => {
    same("from 0", words.compareExchange(4, 0, -2), 0);
    same("refused", words.compareExchange(4, 2, 9), -2);
    same("kept", words.load(4), -2);
    same("from -2", words.compareExchange(4, -2, INT_MIN), -2);
    same("from an unsigned spelling", words.compareExchange(4, 2 ** 31, 1), INT_MIN);
    same("stored", words.load(4), 1);
    same("neighbour", words.load(5), 0);
  },
  "compareExchangePair() replaces both halves or neither, low word first": ({
    words,
    plain,
    bytes,
  }) => {
    same("from zero", words.compareExchangePair(2, 0, 0, -1, 0x0403_0201), true);
    same("halves", [...plain.subarray(1, 5)], [0, -1, 0x0403_0201, 0]);
    same("bytes", [...bytes.subarray(8, 16)], [255, 255, 255, 255, 1, 2, 3, 4]);
    for (const [low, high] of OTHER_PAIRS) {
      same(`from ${low}, ${high}`, words.compareExchangePair(2, low, high, 7, 7), false);
      same("halves kept", [...plain.subarray(2, 4)], [-1, 0x0403_0201]);
    }
    same("a low half of -1", words.compareExchangePair(2, -1, 0x0403_0201, INT_MIN, -1), true);
    same("unsigned spelling", words.compareExchangePair(2, 2 ** 31, 2 ** 32 - 1, 1, INT_MIN), true);
    same("halves at last", [...plain.subarray(2, 4)], [1, INT_MIN]);
  },
  "words refuse an index outside, and an odd pair": ({ words, plain }) => {
    for (const index of [-1, SIZE_BYTES / 4]) {
      throws(`load(${index})`, () => words.load(index));
      throws(`store(${index})`, () => words.store(index, 1));
      throws(`add(${index})`, () => words.add(index, 1));
      throws(`exchange(${index})`, () => words.exchange(index, 1));
      throws(`compareExchange(${index})`, () => words.compareExchange(index, 0, 1));
    }
    for (const index of [-2, 1, SIZE_BYTES / 4 - 1, SIZE_BYTES / 4]) {
      throws(`pair at ${index}`, () => words.compareExchangePair(index, 0, 0, 1, 1));
    }
    same(
      "first word changed",
      plain.findIndex((word) => word !== 0),
      -1,
    );
  },
};

/** Writes bytes that differ from their neighbours, with a period that no power of two divides. */
function pattern({ bytes }: ArenaMemory): void {
  for (let at = 0; at < 4096; at++) bytes[at] = at % 251;
}

function same(what: string, actual: unknown, expected: unknown): void {
  const came = spell(actual);
  const wanted = spell(expected);
  if (came !== wanted) throw new Error(`${what}: expected ${wanted}, got ${came}`);
}

function atLeast(what: string, actual: number, floor: number): void {
  if (!(actual >= floor)) throw new Error(`${what}: expected at least ${floor}, got ${actual}`);
}

function spell(value: unknown): string {
  return Array.isArray(value) ? `[${value.join(" ")}]` : describe(value);
}

function throws(what: string, act: () => void): unknown {
  try {
    act();
  } catch (thrown) {
    return thrown;
  }
  throw new Error(`${what}: expected it to throw, but it returned`);
}

function failsWith(what: string, code: string, act: () => void): void {
  const thrown = throws(what, act);
  same(what, isFabricError(thrown) ? thrown.code : thrown, code);
}
