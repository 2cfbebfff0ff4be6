/** What a map promises while threads meet in it, tried at every access to its memory. */
import { rawCodec, regionOf, ThreadPulse, type Fabric, type MemLease } from "@selvage/fabric";
import { FabricHashMap, numberCodec, stringCodec } from "@selvage/collections";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { codeIfThrown, codeOf, openManual } from "./manual-fabric.ts";
import { watchedProvider, type Watch } from "./map-rig.ts";

const codecs = { key: stringCodec, value: rawCodec };
// Two buckets for three entries and their spare: chains, and nodes that are used again at once.
const shape = { capacity: 4, keyBytes: 8, valueBytes: 40 };
const codecsOfNumbers = { key: stringCodec, value: numberCodec };

/** A value of ten words that are all alike: half of one and half of another is neither. */
const whole = (byte: number): Uint8Array => new Uint8Array(40).fill(byte);

interface Scene {
  readonly watch: Watch;
  readonly fabric: Fabric;
  readonly lease: MemLease;
  /** Two handles on one map: two threads, as far as the map can tell, but for their nonce. */
  readonly one: FabricHashMap<string, Uint8Array>;
  readonly other: FabricHashMap<string, Uint8Array>;
}

function openScene(keys: readonly string[]): Scene {
  const watch: Watch = { before: undefined };
  const bytes = FabricHashMap.bytesFor(shape);
  const fabric = openManual({ memoryBytes: bytes + 64 }, watchedProvider(watch));
  const lease = fabric.mem().minBytes(bytes).acquire();
  const one = new FabricHashMap(lease, { ...shape, ...codecs });
  for (const [index, key] of keys.entries()) one.set(key, whole(index + 1));
  return { watch, fabric, lease, one, other: FabricHashMap.attach(lease, codecs) };
}

/** Runs `run`; before its access number `at` to the memory, `interrupt`. Returns whether there was such an access. */
function interruptedAt(watch: Watch, at: number, run: () => void, interrupt: () => void): boolean {
  let accesses = 0;
  let met = false;
  watch.before = () => {
    if (accesses++ !== at) return;
    const { before } = watch;
    watch.before = undefined;
    interrupt();
    watch.before = before;
    met = true;
  };
  try {
    run();
  } finally {
    watch.before = undefined;
  }
  return met;
}

type Write = (map: FabricHashMap<string, Uint8Array>) => unknown;

const writes: readonly [name: string, write: Write][] = [
  ["replaces a", (map) => map.set("a", whole(101))],
  ["replaces c", (map) => map.set("c", whole(103))],
  ["adds d", (map) => map.set("d", whole(104))],
  ["removes a", (map) => map.delete("a")],
  ["removes b", (map) => map.delete("b")],
  ["clears", (map) => map.clear()],
  [
    "replaces a, then adds d where a was",
    (map) => map.set("a", whole(101)) && map.set("d", whole(104)),
  ],
  ["removes a, then adds it again", (map) => map.delete("a") && map.set("a", whole(105))],
  ["replaces a twice", (map) => map.set("a", whole(101)) && map.set("a", whole(106))],
  ["clears, then adds d where others were", (map) => map.clear() ?? map.set("d", whole(104))],
  [
    "replaces everything twice",
    (map) => {
      for (const byte of [110, 120])
        for (const [index, key] of ["a", "b", "c"].entries()) map.set(key, whole(byte + index));
    },
  ],
];

/** The values that each key has between the single steps of a write, its first and last state among them. */
function statesOf(write: Write): Map<string, (number | undefined)[]> {
  const states = new Map<string, (number | undefined)[]>();
  const note = (map: FabricHashMap<string, Uint8Array>): void => {
    for (const key of ["a", "b", "c", "d"])
      states.set(key, [...(states.get(key) ?? []), map.get(key)?.[0]]);
  };
  const { one } = openScene(["a", "b", "c"]);
  note(one);
  // Each of these writes is made of operations of the map; their states are the ones in between.
  const steps = new Proxy(one, {
    get(target, name) {
      const member: unknown = Reflect.get(target, name, target);
      if (typeof member !== "function") return member;
      return (...given: unknown[]) => {
        const result: unknown = Reflect.apply(member, target, given);
        note(target);
        return result;
      };
    },
  });
  write(steps);
  return states;
}

describe("M3: a reader", { timeout: 60_000 }, () => {
  it.each(writes)(
    "interrupted at any access by a writer that %s reads one whole value",
    (_name, write) => {
      const states = statesOf(write);
      for (const key of ["a", "b", "c", "d"]) {
        for (let at = 0; ; at++) {
          const { watch, one, other } = openScene(["a", "b", "c"]);
          let read: Uint8Array | undefined;
          const met = interruptedAt(
            watch,
            at,
            () => (read = other.get(key)),
            () => write(one),
          );
          expect(read === undefined || read.every((byte) => byte === read?.[0])).toBe(true);
          expect(states.get(key)).toContain(read?.[0]);
          if (!met) break;
          expect(at).toBeLessThan(1_000);
        }
      }
    },
  );

  it.each(writes)(
    "that walks the map while a writer %s meets whole entries, and no key twice",
    (_name, write) => {
      const states = statesOf(write);
      for (let at = 0; ; at++) {
        const { watch, one, other } = openScene(["a", "b", "c"]);
        let entries: [string, Uint8Array][] = [];
        const met = interruptedAt(
          watch,
          at,
          () => (entries = [...other]),
          () => write(one),
        );
        for (const [key, value] of entries) {
          expect(value).toEqual(whole(value[0] as number));
          expect(states.get(key)).toContain(value[0]);
        }
        expect(new Set(entries.map(([key]) => key)).size).toBe(entries.length);
        if (!met) break;
      }
    },
  );

  it.each(writes)(
    "finds old values or new ones at any access of a writer that %s",
    (_name, write) => {
      const states = statesOf(write);
      for (let at = 0; ; at++) {
        const { watch, one, other } = openScene(["a", "b", "c"]);
        const met = interruptedAt(
          watch,
          at,
          () => write(one),
          () => {
            for (const [key, values] of states) {
              const read = other.get(key);
              expect(read).toEqual(read && whole(read[0] as number));
              expect(values).toContain(read?.[0]);
            }
          },
        );
        if (!met) break;
      }
    },
  );

  it("gives up in bounded time when the entry is replaced under each try", () => {
    const { watch, one, other } = openScene(["a", "b", "c"]);
    let inside = false;
    let accesses = 0;
    // A try takes some twenty accesses: each is met by one write or more.
    watch.before = () => {
      if (inside || ++accesses % 8 !== 0) return;
      inside = true;
      one.set("a", whole(7));
      inside = false;
    };
    expect(codeOf(() => other.get("a"))).toBe("TIMED_OUT");
    watch.before = undefined;
    expect(other.get("a")).toEqual(whole(7));
  });
});

class Death extends Error {}

describe("M4: a writer that dies at any access", { timeout: 60_000 }, () => {
  it.each(writes)(
    "while it %s leaves old or new, and the next one finds every place",
    (_name, write) => {
      const states = statesOf(write);
      let repairs = 0;
      for (let at = 0; ; at++) {
        const { watch, one, other } = openScene(["a", "b", "c"]);
        let accesses = 0;
        watch.before = () => {
          if (accesses++ >= at) throw new Death();
        };
        let died = false;
        try {
          write(one);
        } catch (thrown) {
          if (!(thrown instanceof Death)) throw thrown;
          died = true;
        }
        watch.before = undefined;
        const left = new Map<string, Uint8Array>();
        for (const [key, values] of states) {
          const read = other.get(key);
          expect(values).toContain(read?.[0]);
          if (read === undefined) continue;
          expect(read).toEqual(whole(read[0] as number));
          left.set(key, read);
        }
        expect(new Map(other)).toEqual(left);
        // The next writer: what is there stays, and every node is found again.
        expect(other.set("x", whole(50))).toBe(left.size < 4);
        other.delete("x");
        expect(other.size).toBe(left.size);
        expect(new Map(other)).toEqual(left);
        for (let key = left.size; key < 4; key++)
          expect(other.set(`n${key}`, whole(60 + key))).toBe(true);
        expect(other.set("full", whole(70))).toBe(false);
        for (const [key] of other) expect(other.set(key, whole(80))).toBe(true);
        repairs += other.repairs;
        if (!died) break;
      }
      expect(repairs).toBeGreaterThan(0);
    },
  );

  it("and whose successor dies while repairing, at any access, is repaired all the same", () => {
    for (let at = 0; ; at++) {
      const { watch, one, other } = openScene(["a", "b", "c"]);
      let left = 25;
      watch.before = () => {
        if (left-- <= 0) throw new Death();
      };
      expect(() => one.set("a", whole(9))).toThrow(Death);
      let accesses = 0;
      watch.before = () => {
        if (accesses++ >= at) throw new Death();
      };
      let died = false;
      try {
        other.set("b", whole(10));
      } catch {
        died = true;
      }
      watch.before = undefined;
      expect([1, 9]).toContain(other.get("a")?.[0]);
      expect(one.set("d", whole(4))).toBe(true);
      expect([one.size, one.set("e", whole(5)), [...one].length]).toEqual([4, false, 4]);
      if (!died) break;
    }
  });
});

describe(
  "M3, M4: a reader interrupted by a writer that dies, its successor, and what that one writes",
  { timeout: 60_000 },
  () => {
    it("at any accesses of reader and writer reads one whole value", () => {
      for (let death = 0; death < 40; death++) {
        for (let at = 0; at < 40; at++) {
          const { watch, one, other } = openScene(["a", "b", "c"]);
          let read: Uint8Array | undefined;
          interruptedAt(
            watch,
            at,
            () => (read = other.get("a")),
            () => {
              let left = death;
              watch.before = () => {
                if (left-- <= 0) throw new Death();
              };
              try {
                one.set("a", whole(101));
              } catch (thrown) {
                if (!(thrown instanceof Death)) throw thrown;
              }
              watch.before = undefined;
              // Other keys only: what they are written over was free, or has become so.
              for (const byte of [110, 120])
                for (const [index, key] of ["b", "c", "d"].entries())
                  one.set(key, whole(byte + index));
            },
          );
          expect(read).toEqual(whole(read?.[0] as number));
          expect([1, 101]).toContain(read?.[0]);
        }
      }
    });
  },
);

describe("a map that another thread writes to", { timeout: 60_000 }, () => {
  const writesAt = 32;
  const nonceAt = 33;

  function beginWrite({ lease }: Scene, nonce: number): void {
    const { memory, offset } = regionOf(lease);
    memory.words.add(offset / 4 + writesAt, 1);
    memory.words.store(offset / 4 + nonceAt, nonce);
  }

  it("is not written to meanwhile, but read; and is taken over once that thread has exited", () => {
    const scene = openScene(["a"]);
    const { fabric, one } = scene;
    const { thread } = ThreadPulse.attach(fabric.control, 4_711);
    beginWrite(scene, 4_711);
    expect(codeOf(() => one.set("a", whole(2)))).toBe("TIMED_OUT");
    expect(codeOf(() => one.delete("a"))).toBe("TIMED_OUT");
    expect(one.get("a")).toEqual(whole(1));
    expect(one.repairs).toBe(0);
    fabric.control.words.store(64 + thread * 16, 0);
    expect(one.set("a", whole(3))).toBe(true);
    expect([one.get("a"), one.repairs]).toEqual([whole(3), 1]);
  });

  it("is taken over at once from a thread that nobody knows any more", () => {
    const scene = openScene(["a"]);
    beginWrite(scene, 99);
    expect(scene.other.delete("a")).toBe(true);
    expect([scene.other.size, scene.other.repairs]).toEqual([0, 1]);
  });
});

/** Uses all of a map; what it finds there are strings and numbers. */
function useAll(lease: MemLease): void {
  const map = FabricHashMap.attach(lease, codecsOfNumbers);
  for (const key of ["a", "b", "k5"]) {
    map.get(key);
    map.set(key, 1);
    map.delete(key);
  }
  for (const [key, value] of map) expect([typeof key, typeof value]).toEqual(["string", "number"]);
  map.clear();
}

describe("M1: a damaged map", { timeout: 60_000 }, () => {
  const tolerated = ["CORRUPT_RECORD", "CONFLICT", "DECODE", "TIMED_OUT"];
  const numbers = { capacity: 8, keyBytes: 8, valueBytes: 8 };

  function filled(): { lease: MemLease; neighbour: MemLease; bytes: number } {
    const bytes = FabricHashMap.bytesFor(numbers);
    const fabric = openManual({ memoryBytes: 1 << 16 });
    const lease = fabric.mem().minBytes(bytes).acquire();
    const neighbour = fabric.mem().minBytes(1_024).acquire();
    neighbour.write(0, new Uint8Array(1_024).fill(0xee));
    const map = new FabricHashMap(lease, { ...numbers, ...codecsOfNumbers });
    for (let key = 0; key < 6; key++) map.set(`k${key}`, key);
    return { lease, neighbour, bytes };
  }

  function checkTyped(lease: MemLease): void {
    const before = Object.getOwnPropertyNames(Object.prototype);
    const code = codeIfThrown(() => useAll(lease));
    expect([undefined, ...tolerated]).toContain(code);
    expect(Object.getOwnPropertyNames(Object.prototype)).toEqual(before);
  }

  it("with any bit of its header flipped is CORRUPT_RECORD", () => {
    for (let bit = 0; bit < 36 * 8; bit++) {
      const { lease } = filled();
      const [byte = 0] = lease.read(bit >> 3, 1);
      lease.write(bit >> 3, Uint8Array.of(byte ^ (1 << (bit & 7))));
      expect(codeOf(() => FabricHashMap.attach(lease, codecsOfNumbers))).toBe("CORRUPT_RECORD");
    }
  });

  it("with any bytes anywhere ends in a typed error or none, in bounded time, within its lease", () => {
    const patch = fc.record({
      at: fc.nat({ max: FabricHashMap.bytesFor(numbers) - 8 }),
      bytes: fc.oneof(
        fc.uint8Array({ minLength: 1, maxLength: 8 }),
        fc.constantFrom(Uint8Array.of(1, 0, 0, 0), new Uint8Array(8).fill(255)),
      ),
    });
    fc.assert(
      fc.property(fc.array(patch, { minLength: 1, maxLength: 12 }), (patches) => {
        const { lease, neighbour } = filled();
        for (const { at, bytes } of patches) lease.write(at, bytes);
        checkTyped(lease);
        expect(neighbour.read(0, 1_024)).toEqual(new Uint8Array(1_024).fill(0xee));
      }),
      { numRuns: 1_000 },
    );
  });

  it("with a value longer than its slot is CORRUPT_RECORD", () => {
    const { watch, lease, one } = openScene(["a"]);
    expect(watch.before).toBeUndefined();
    const { memory, offset, bytes } = regionOf(lease);
    const words = memory.plain.subarray(offset / 4, (offset + bytes) / 4);
    // The only word after the header that says 40: the value's length.
    const at = words.indexOf(40, 64);
    for (const length of [41, -1, 2 ** 31 - 1]) {
      memory.words.store(offset / 4 + at, length);
      expect(codeOf(() => one.get("a"))).toBe("CORRUPT_RECORD");
      expect(codeOf(() => [...one])).toBe("CORRUPT_RECORD");
    }
  });

  it("with chains that run in circles ends in CORRUPT_RECORD", () => {
    const { lease, bytes } = filled();
    // Every word of every bucket and node that can be a link says 1.
    const words = (bytes - 256) / 4;
    for (let word = 0; word < words; word++) lease.write(256 + word * 4, Uint8Array.of(1, 0, 0, 0));
    const map = FabricHashMap.attach(lease, codecsOfNumbers);
    expect(codeOf(() => map.get("zz"))).toBe("CORRUPT_RECORD");
    expect(codeOf(() => map.set("zz", 1))).toBe("CORRUPT_RECORD");
    expect(codeOf(() => [...map])).toBe("CORRUPT_RECORD");
  });
});
