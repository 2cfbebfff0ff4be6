import { execFileSync, spawnSync } from "node:child_process";
import { once } from "node:events";
import { Worker } from "node:worker_threads";
import {
  bufferMemoryProvider,
  memoryConformance,
  type ArenaMemory,
  type MemoryKind,
  type MemoryProvider,
} from "@selvage/fabric";
import { createMemoryProvider, nodeMemoryProvider } from "@selvage/node";
import fc from "fast-check";
import { afterEach, describe, expect, it, vi } from "vitest";
import { WORDS, type MemoryWorkerData } from "./threads/memory-worker.ts";

const GIB = 2 ** 30;
const SHARED = { shared: true };
const atomicsProvider = createMemoryProvider({ wasm: false });

afterEach(() => {
  vi.unstubAllGlobals();
});

const subjects: [kind: MemoryKind, name: string, provider: MemoryProvider][] = [
  ["wasm", "nodeMemoryProvider", nodeMemoryProvider],
  ["plain", "nodeMemoryProvider", nodeMemoryProvider],
  ["shared", "createMemoryProvider({ wasm: false })", atomicsProvider],
  ["shared", "bufferMemoryProvider", bufferMemoryProvider],
  ["plain", "bufferMemoryProvider", bufferMemoryProvider],
];

describe.each(subjects)("kind %s by %s", (kind, _name, provider) => {
  const cases = memoryConformance(provider, { shared: kind !== "plain", kind });
  it.each(cases.map((one) => [one.name, one] as const))("%s", (_case, one) => {
    expect(one.run).not.toThrow();
  });
});

describe("nodeMemoryProvider", () => {
  it("addresses words, copies and fills beyond 2 GiB, where addresses have the sign bit", () => {
    const memory = nodeMemoryProvider.reserve(3 * GIB, SHARED);
    expect(memory.kind).toBe("wasm");
    const word = (2 * GIB + 4096) / 4;
    const last = memory.plain.length - 2;
    memory.words.store(word, 41);
    expect(memory.words.add(word, 1)).toBe(41);
    expect(memory.words.exchange(word, 43)).toBe(42);
    expect(memory.words.compareExchange(word, 43, 44)).toBe(43);
    expect(memory.words.compareExchangePair(word, 44, 0, -1, -2)).toBe(true);
    expect([...memory.plain.subarray(word - 1, word + 3)]).toEqual([0, -1, -2, 0]);
    memory.fill(3 * GIB - 7, 9, 7);
    expect(memory.bytes.subarray(-8)).toEqual(Uint8Array.of(0, 9, 9, 9, 9, 9, 9, 9));
    memory.copyWithin(2 * GIB + 1, 3 * GIB - 8, 8);
    expect(memory.bytes.subarray(2 * GIB, 2 * GIB + 10)).toEqual(
      Uint8Array.of(0, 0, 9, 9, 9, 9, 9, 9, 9, 0),
    );
    expect(memory.words.load(last)).toBe(0x0909_0900);
    expect(memory.plain.subarray(0, 4096)).toEqual(new Int32Array(4096));
  });

  it("reserves as much as 4 GiB by WebAssembly, and more than that as kind shared", () => {
    const most = nodeMemoryProvider.reserve(4 * GIB, SHARED);
    most.words.store(most.plain.length - 1, 5);
    expect([most.kind, most.bytes[4 * GIB - 4]]).toEqual(["wasm", 5]);
    const more = nodeMemoryProvider.reserve(4 * GIB + 1, SHARED);
    more.words.store(more.plain.length - 1, 6);
    expect([more.kind, more.byteLength]).toEqual(["shared", 4 * GIB + 1]);
  });

  it("tells how many bytes were refused, and why", () => {
    const refused = expect.objectContaining({
      code: "CAPACITY_EXCEEDED",
      details: { requestedBytes: 2 ** 50, shared: false },
      cause: expect.any(RangeError) as unknown,
    }) as unknown;
    expect(() => nodeMemoryProvider.reserve(2 ** 50, { shared: false })).toThrow(refused);
  });

  it.each([
    ["there is no WebAssembly", undefined],
    ["its memories are refused", webAssemblyWithout("Memory")],
    ["its modules are refused", webAssemblyWithout("Module")],
    ["its instances are refused", webAssemblyWithout("Instance")],
  ])("falls back to kind shared when %s", async (_when, stub) => {
    const wasm = nodeMemoryProvider.reserve(8, SHARED);
    // A fresh copy, which has compiled nothing yet.
    vi.resetModules();
    const { createMemoryProvider: create } = await import("@selvage/node");
    vi.stubGlobal("WebAssembly", stub);
    for (const { run } of memoryConformance(create(), { shared: true, kind: "shared" })) run();
    if (wasm.handle === undefined) throw new Error("a wasm memory has a handle");
    const attached = create().attach(wasm.handle, 8);
    attached.words.store(1, 7);
    expect([attached.kind, wasm.words.load(1)]).toEqual(["shared", 7]);
  });
});

function refuse(): never {
  throw new RangeError("could not allocate memory");
}

function webAssemblyWithout(member: "Memory" | "Module" | "Instance"): object {
  const { WebAssembly: host } = globalThis as unknown as { WebAssembly: object };
  return Object.create(host, { [member]: { value: refuse } }) as object;
}

describe("kinds wasm, shared and plain", () => {
  const size = 512;
  const words = size / 4;
  const offset = fc.nat(size);
  const value = fc.oneof(fc.integer(), fc.constantFrom(0, -1, 2 ** 31, 2 ** 32 - 1));
  const index = fc.nat(words - 1);
  type Act = (memory: ArenaMemory) => unknown;
  const act: fc.Arbitrary<Act> = fc.oneof(
    fc.tuple(offset, offset, offset).map(([to, from, n]) => (m: ArenaMemory) => {
      m.copyWithin(to, from, Math.min(n, size - to, size - from));
    }),
    fc.tuple(offset, fc.nat(255), offset).map(([at, byte, n]) => (m: ArenaMemory) => {
      m.fill(at, byte, Math.min(n, size - at));
    }),
    fc.tuple(index, value).map(([i, v]) => (m: ArenaMemory) => {
      m.words.store(i, v);
    }),
    index.map((i) => (m: ArenaMemory) => m.words.load(i)),
    fc.tuple(index, value).map(
      ([i, v]) =>
        (m: ArenaMemory) =>
          m.words.add(i, v),
    ),
    fc.tuple(index, value).map(
      ([i, v]) =>
        (m: ArenaMemory) =>
          m.words.exchange(i, v),
    ),
    fc.tuple(index, index, value).map(([i, seen, v]) => (m: ArenaMemory) => {
      return m.words.compareExchange(i, m.words.load(seen), v);
    }),
    fc.tuple(index, index, value, value).map(([i, seen, low, high]) => (m: ArenaMemory) => {
      const [at, from] = [i & ~1, seen & ~1];
      const [seenLow, seenHigh] = [m.words.load(from), m.words.load(from + 1)];
      return m.words.compareExchangePair(at, seenLow, seenHigh, low, high);
    }),
  );
  const memories = [
    nodeMemoryProvider.reserve(size, SHARED),
    atomicsProvider.reserve(size, SHARED),
    nodeMemoryProvider.reserve(size, { shared: false }),
  ] as const;

  it("answer alike and hold the same bytes after any sequence of operations", () => {
    fc.assert(
      fc.property(fc.array(act, { maxLength: 40 }), (acts) => {
        const [wasm, shared, plain] = memories.map((memory) => {
          memory.bytes.set(new Uint8Array(size));
          return [acts.map((one) => one(memory)), Buffer.from(memory.bytes).toString("hex")];
        });
        expect(wasm).toEqual(plain);
        expect(shared).toEqual(plain);
      }),
      { numRuns: 500 },
    );
  });
});

describe("two threads on one memory", () => {
  const rounds = 100_000;
  it.each([
    ["wasm", [true, true]],
    ["shared", [false, false]],
    ["wasm", [true, false]],
  ] as const)("lose no step of a counter: kind %s, kernel in each: %j", async (kind, kernels) => {
    const provider = kind === "wasm" ? nodeMemoryProvider : atomicsProvider;
    const memory = provider.reserve(4096, SHARED);
    expect(memory.kind).toBe(kind);
    // The low half is near its end, so that the carry into the high half happens under contention.
    const start = 2n ** 32n - BigInt(rounds);
    memory.words.store(WORDS.pair, Number(start));
    memory.words.store(WORDS.pair + 1, 1);
    const kinds = await runWorkers(memory, rounds, kernels);
    expect(kinds).toEqual(kernels.map((kernel) => (kernel && kind === "wasm" ? "wasm" : "shared")));
    expect(memory.words.load(WORDS.added)).toBe(2 * 10 * rounds);
    expect(memory.words.load(WORDS.exchanged)).toBe(2 * rounds);
    const [low, high] = [memory.words.load(WORDS.pair), memory.words.load(WORDS.pair + 1)];
    const pair = (BigInt(high) << 32n) | BigInt(low >>> 0);
    expect(pair).toBe(2n ** 32n + start + 2n * BigInt(rounds));
  });
});

async function runWorkers(
  memory: ArenaMemory,
  rounds: number,
  kernels: readonly boolean[],
): Promise<unknown[]> {
  const { handle, byteLength } = memory;
  if (handle === undefined) throw new Error("a shared memory has a handle");
  const workers = kernels.map((wasm) => {
    const workerData: MemoryWorkerData = {
      handle,
      byteLength,
      wasm,
      rounds,
      threads: kernels.length,
    };
    return new Worker(new URL("./threads/memory-worker.ts", import.meta.url), { workerData });
  });
  try {
    // `once` rejects on a worker's "error".
    const messages = await Promise.all(workers.map((worker) => once(worker, "message")));
    return messages.map(([message]) => message as unknown);
  } finally {
    await Promise.all(workers.map((worker) => worker.terminate()));
  }
}

describe("in a process of its own", () => {
  const program = new URL("./threads/memory-process.ts", import.meta.url).pathname;
  const conditions = process.execArgv.filter((option) => option.startsWith("--conditions="));
  // Room for two of V8's guarded reservations; then there is room only for memories without guard pages.
  const limitKiB = 25_000_000;
  const canLimit = spawnSync("sh", ["-c", `ulimit -v ${limitKiB}`]).status === 0;

  it.skipIf(!canLimit)(
    "reserve() falls back, then refuses, as address space runs out [skipped where sh cannot ulimit -v]",
    () => {
      const script = `ulimit -v ${limitKiB} && exec "$0" "$@"`;
      const run = ["-c", script, process.execPath, ...conditions, program, "exhaust"];
      const answer = JSON.parse(execFileSync("sh", run, { encoding: "utf8" })) as {
        kinds: MemoryKind[];
        error: unknown;
      };
      expect(new Set(answer.kinds)).toEqual(new Set(["wasm", "shared"]));
      expect(answer.error).toEqual({
        code: "CAPACITY_EXCEEDED",
        details: { requestedBytes: GIB, shared: true },
      });
    },
  );

  it("reserve() of gigabytes takes no resident memory until they are touched", () => {
    const run = [...conditions, program, "resident"];
    const answer = JSON.parse(execFileSync(process.execPath, run, { encoding: "utf8" })) as {
      kinds: MemoryKind[];
      grownMiB: number;
    };
    expect(answer.kinds).toEqual(["wasm", "shared", "plain"]);
    // A few MiB are the runtime's own; the memories are 6 GiB.
    expect(answer.grownMiB).toBeLessThan(32);
  });
});
