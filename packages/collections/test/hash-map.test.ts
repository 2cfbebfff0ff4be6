import { jsonCodec, rawCodec, type Codec, type MemLease } from "@selvage/fabric";
import { FabricHashMap, numberCodec, stringCodec } from "@selvage/collections";
import { systemText } from "@selvage/node";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { codeOf, openManual, START_MS } from "./manual-fabric.ts";

const codecs = { key: stringCodec, value: numberCodec };
const small = { capacity: 8, keyBytes: 16, valueBytes: 8 };

function leaseFor(shape: { capacity: number; keyBytes: number; valueBytes: number }): MemLease {
  const bytes = FabricHashMap.bytesFor(shape);
  return openManual({ memoryBytes: bytes + 64 })
    .mem()
    .minBytes(bytes)
    .acquire();
}

function openSmall(): FabricHashMap<string, number> {
  return new FabricHashMap(leaseFor(small), { ...small, ...codecs });
}

describe("FabricHashMap", () => {
  it("does as a Map does, until it is full", () => {
    const map = openSmall();
    expect(map.get("a")).toBeUndefined();
    for (let key = 0; key < 8; key++) expect(map.set(`k${key}`, key)).toBe(true);
    expect(map.set("one more", 9)).toBe(false);
    expect(map.set("k3", 33)).toBe(true);
    expect([map.size, map.capacity, map.get("k3"), map.has("k4")]).toEqual([8, 8, 33, true]);
    expect([map.delete("k4"), map.delete("k4"), map.has("k4"), map.size]).toEqual([
      true,
      false,
      false,
      7,
    ]);
    expect(map.set("one more", 9)).toBe(true);
    expect([...map.keys()].toSorted()).toEqual([
      "k0",
      "k1",
      "k2",
      "k3",
      "k5",
      "k6",
      "k7",
      "one more",
    ]);
    expect([...map.values()].reduce((sum, value) => sum + value)).toBe(
      0 + 1 + 2 + 33 + 5 + 6 + 7 + 9,
    );
    map.clear();
    expect([map.size, [...map], map.set("k0", 1), map.size]).toEqual([0, [], true, 1]);
  });

  it("takes keys that plain objects choke on, and leaves Object.prototype alone", () => {
    const before = Object.getOwnPropertyNames(Object.prototype);
    const map = openSmall();
    for (const [index, key] of ["__proto__", "constructor", "", "\0", "né", "😀"].entries())
      map.set(key, index);
    expect(map.get("__proto__")).toBe(0);
    expect(new Map(map)).toEqual(
      new Map([
        ["__proto__", 0],
        ["constructor", 1],
        ["", 2],
        ["\0", 3],
        ["né", 4],
        ["😀", 5],
      ]),
    );
    expect(Object.getOwnPropertyNames(Object.prototype)).toEqual(before);
  });

  it("behaves like a Map under any sequence of operations", () => {
    const key = fc.constantFrom("a", "b", "c", "dd", "ee", "__proto__", "ß", "long key, this");
    const act = fc.oneof(
      { weight: 6, arbitrary: fc.tuple(fc.constant("set" as const), key, fc.double()) },
      { weight: 4, arbitrary: fc.tuple(fc.constant("delete" as const), key, fc.constant(0)) },
      { weight: 3, arbitrary: fc.tuple(fc.constant("get" as const), key, fc.constant(0)) },
      fc.tuple(fc.constant("clear" as const), key, fc.constant(0)),
      fc.tuple(fc.constant("attach" as const), key, fc.constant(0)),
    );
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 6 }),
        fc.array(act, { maxLength: 60 }),
        (capacity, acts) => {
          const lease = leaseFor({ ...small, capacity });
          let map = new FabricHashMap(lease, { ...small, capacity, ...codecs });
          const model = new Map<string, number>();
          const checks: [came: boolean, expected: boolean][] = [];
          for (const [what, name, value] of acts) {
            const fits = model.has(name) || model.size < capacity;
            if (what === "set") {
              checks.push([map.set(name, value), fits]);
              if (fits) model.set(name, value);
            } else if (what === "delete") {
              checks.push([map.delete(name), model.delete(name)]);
            } else if (what === "clear") {
              map.clear();
              model.clear();
            } else if (what === "attach") map = FabricHashMap.attach(lease, codecs);
            for (const [came, expected] of checks.splice(0)) expect(came).toBe(expected);
            expect(map.get(name)).toEqual(model.get(name));
            expect(map.has(name)).toBe(model.has(name));
            expect(map.size).toBe(model.size);
          }
          expect(new Map(map)).toEqual(model);
        },
      ),
      { numRuns: 300 },
    );
  });

  it("keeps values of every length whole, short and long, and takes none that is too long", () => {
    const shape = { capacity: 4, keyBytes: 4, valueBytes: 10_000 };
    const map = new FabricHashMap(leaseFor(shape), { ...shape, key: stringCodec, value: rawCodec });
    for (const length of [0, 1, 3, 4, 5, 255, 256, 257, 260, 4_096, 4_097, 9_999, 10_000]) {
      const value = Uint8Array.from({ length }, (_, index) => index * 7 + length);
      expect(map.set("key", value)).toBe(true);
      expect(map.get("key")).toEqual(value);
    }
    expect(codeOf(() => map.set("key", new Uint8Array(10_001)))).toBe("CAPACITY_EXCEEDED");
    expect(codeOf(() => map.set("longer", new Uint8Array(1)))).toBe("CAPACITY_EXCEEDED");
    expect([map.get("longer"), map.has("longer"), map.delete("longer")]).toEqual([
      undefined,
      false,
      false,
    ]);
    expect(map.get("key")?.length).toBe(10_000);
  });

  it("gives raw values that do not change when the map does", () => {
    const shape = { capacity: 2, keyBytes: 4, valueBytes: 4 };
    const map = new FabricHashMap(leaseFor(shape), { ...shape, key: stringCodec, value: rawCodec });
    map.set("a", Uint8Array.of(1, 2));
    const held = map.get("a");
    map.set("a", Uint8Array.of(3, 4));
    expect(held).toEqual(Uint8Array.of(1, 2));
    expect(held?.buffer.byteLength).toBe(2);
  });

  it("reads a value's bytes into an array that it is given, and no byte beyond", () => {
    const shape = { capacity: 2, keyBytes: 4, valueBytes: 300 };
    const map = new FabricHashMap(leaseFor(shape), { ...shape, key: stringCodec, value: rawCodec });
    for (const length of [0, 1, 64, 97, 300]) {
      map.set("a", new Uint8Array(length).fill(7));
      const target = new Uint8Array(301).fill(1);
      expect(map.readInto("a", target)).toBe(length);
      expect(target).toEqual(Uint8Array.from({ length: 301 }, (_, at) => (at < length ? 7 : 1)));
    }
    expect([
      map.readInto("b", new Uint8Array(0)),
      map.readInto("too long", new Uint8Array(0)),
    ]).toEqual([-1, -1]);
    expect(codeOf(() => map.readInto("a", new Uint8Array(299)))).toBe("INVALID_ARGUMENT");
    expect(codeOf(() => map.readInto("a", [] as unknown as Uint8Array))).toBe("INVALID_ARGUMENT");
  });

  it("is not confused by codecs that use the map while they encode", () => {
    const shape = { capacity: 8, keyBytes: 32, valueBytes: 64 };
    const json = jsonCodec<unknown>(systemText);
    const map = new FabricHashMap(leaseFor(shape), { ...shape, key: json, value: json });
    map.set("other", "OTHER");
    const meddle = (text: string): unknown => ({
      toJSON() {
        map.set("meddled", map.get("other"));
        return text;
      },
    });
    expect(map.set(meddle("key"), meddle("value"))).toBe(true);
    expect(new Map(map)).toEqual(
      new Map([
        ["other", "OTHER"],
        ["meddled", "OTHER"],
        ["key", "value"],
      ]),
    );
  });

  it("joins the map that is in the lease, and no other thing", () => {
    const lease = leaseFor(small);
    const map = new FabricHashMap(lease, { ...small, ...codecs });
    map.set("a", 1);
    expect(new FabricHashMap(lease, { ...small, ...codecs }).get("a")).toBe(1);
    expect(codeOf(() => new FabricHashMap(lease, { ...small, capacity: 4, ...codecs }))).toBe(
      "CONFLICT",
    );
    expect(
      codeOf(() => FabricHashMap.attach(lease, { key: stringCodec, value: stringCodec })),
    ).toBe("CONFLICT");
    const used = leaseFor(small);
    used.write(0, Uint8Array.of(1));
    expect(codeOf(() => new FabricHashMap(used, { ...small, ...codecs }))).toBe("CONFLICT");
    expect(codeOf(() => FabricHashMap.attach(leaseFor(small), codecs))).toBe("CORRUPT_RECORD");
  });

  it("takes as many entries as the lease holds, and refuses a lease that holds none", () => {
    const shape = { keyBytes: 16, valueBytes: 8 };
    const lease = openManual({ memoryBytes: 1 << 16 })
      .mem()
      .minBytes(5_000)
      .acquire();
    const { capacity } = new FabricHashMap(lease, { ...shape, ...codecs });
    expect(FabricHashMap.bytesFor({ ...shape, capacity })).toBeLessThanOrEqual(lease.bytes);
    expect(FabricHashMap.bytesFor({ ...shape, capacity: capacity + 1 })).toBeGreaterThan(
      lease.bytes,
    );
    const tiny = openManual().mem().minBytes(64).acquire();
    expect(codeOf(() => new FabricHashMap(tiny, { ...shape, ...codecs }))).toBe(
      "CAPACITY_EXCEEDED",
    );
    expect(codeOf(() => new FabricHashMap(tiny, { ...small, ...codecs }))).toBe(
      "CAPACITY_EXCEEDED",
    );
    expect(codeOf(() => FabricHashMap.attach(tiny, codecs))).toBe("CORRUPT_RECORD");
  });

  it.each([
    ["capacity", { ...small, capacity: 0 }],
    ["capacity", { ...small, capacity: 1.5 }],
    ["capacity", { ...small, capacity: 2 ** 26, valueBytes: 1_000 }],
    ["keyBytes", { ...small, keyBytes: 0 }],
    ["keyBytes", { ...small, keyBytes: Number.NaN }],
    ["valueBytes", { ...small, valueBytes: -1 }],
  ])("refuses a bad %s: %o", (argument, shape) => {
    expect(() => FabricHashMap.bytesFor(shape)).toThrow(
      expect.objectContaining({
        code: "INVALID_ARGUMENT",
        details: expect.objectContaining({ argument }) as unknown,
      }),
    );
  });

  it("refuses what is no lease and no codec", () => {
    const none = undefined as unknown;
    expect(codeOf(() => new FabricHashMap(none as MemLease, { ...small, ...codecs }))).toBe(
      "INVALID_ARGUMENT",
    );
    const bad = { ...codecs, value: none as Codec<number> };
    expect(codeOf(() => new FabricHashMap(leaseFor(small), { ...small, ...bad }))).toBe(
      "INVALID_ARGUMENT",
    );
    expect(codeOf(() => FabricHashMap.attach(leaseFor(small), none as typeof codecs))).toBe(
      "INVALID_ARGUMENT",
    );
    expect(codeOf(() => openSmall().set(7 as unknown as string, 1))).toBe("ENCODE");
    expect(codeOf(() => openSmall().set("a", "b" as unknown as number))).toBe("ENCODE");
  });

  it("reads and writes nothing once its lease has expired", () => {
    const bytes = FabricHashMap.bytesFor(small);
    const fabric = openManual({ memoryBytes: 1 << 16 });
    const lease = fabric.mem().minBytes(bytes).leaseMs(100).acquire();
    const map = new FabricHashMap(lease, { ...small, ...codecs });
    map.set("a", 1);
    fabric.tick(START_MS + 100);
    // The same bytes, somebody else's now.
    const next = fabric.mem().minBytes(bytes).acquire();
    const before = next.read(0, bytes);
    const uses: (() => unknown)[] = [
      () => map.get("a"),
      () => map.has("a"),
      () => map.readInto("a", new Uint8Array(8)),
      () => map.set("a", 2),
      () => map.delete("a"),
      () => map.clear(),
      () => map.size,
      () => map.repairs,
      () => [...map],
      () => map.ticket(),
      () => FabricHashMap.attach(lease, codecs),
      () => new FabricHashMap(lease, { ...small, ...codecs }),
    ];
    expect(uses.map(codeOf)).toEqual(uses.map(() => "LEASE_EXPIRED"));
    expect(next.read(0, bytes)).toEqual(before);
  });
});

/** What `decode` gives, or undefined when it throws. */
function outcome(decode: () => string): string | undefined {
  try {
    return decode();
  } catch {
    return undefined;
  }
}

describe("stringCodec", () => {
  const scratch = new Uint8Array(400);

  it("writes the same bytes as the host's encoder, and reads them back", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme", maxLength: 60 }), (text) => {
        const bytes = systemText.encode(text);
        expect(stringCodec.encode(text)).toEqual(bytes);
        expect(stringCodec.encodeInto(text, scratch)).toBe(bytes.length);
        expect(scratch.slice(0, bytes.length)).toEqual(bytes);
        expect(stringCodec.decode(bytes)).toBe(text);
        // A room of less than nothing is none.
        const tooSmall = new Uint8Array(Math.max(0, bytes.length - 1));
        expect(stringCodec.encodeInto(text, tooSmall)).toBe(bytes.length === 0 ? 0 : -1);
      }),
    );
    const long = "x".repeat(10_000);
    expect(stringCodec.decode(stringCodec.encode(long))).toBe(long);
  });

  it("refuses lone surrogates, which would make two keys one", () => {
    for (const text of ["\ud800", "a\udc00b", "\ud800\ud800"])
      expect(codeOf(() => stringCodec.encode(text))).toBe("ENCODE");
  });

  it("refuses exactly the bytes that the host's strict decoder refuses", () => {
    const bytes = fc.uint8Array({ maxLength: 12 });
    const nasty = fc
      .array(
        fc.constantFrom(
          0x41,
          0x80,
          0xbf,
          0xc0,
          0xc2,
          0xe0,
          0xed,
          0xa0,
          0xef,
          0xf0,
          0xf4,
          0x90,
          0xf5,
        ),
        { maxLength: 6 },
      )
      .map((list) => Uint8Array.from(list));
    fc.assert(
      fc.property(fc.oneof(bytes, nasty), (source) => {
        // The host's takes a byte order mark away.
        fc.pre(!(source[0] === 0xef && source[1] === 0xbb));
        expect(outcome(() => stringCodec.decode(source))).toBe(
          outcome(() => systemText.decode(source)),
        );
      }),
      { numRuns: 2_000 },
    );
    expect(codeOf(() => stringCodec.decode(Uint8Array.of(0xff)))).toBe("DECODE");
  });
});

describe("numberCodec", () => {
  it("gives every number back, and takes all that are none for one", () => {
    for (const value of [0, -0, 1.5, Number.NaN, Infinity, -Number.MAX_VALUE, 5e-324])
      expect(Object.is(numberCodec.decode(numberCodec.encode(value)), value)).toBe(true);
    expect(codeOf(() => numberCodec.decode(new Uint8Array(7)))).toBe("DECODE");
    expect(numberCodec.encodeInto(1, new Uint8Array(7))).toBe(-1);
  });
});
