import { bufferMemoryProvider, POISON, type MemoryProvider } from "@selvage/fabric";
import { nodeMemoryProvider } from "@selvage/node";
import { describe, expect, it } from "vitest";
import { codeOf, openManual, START_MS, thrownBy } from "./rig.ts";

const kinds: [kind: string, shared: boolean, memory: MemoryProvider][] = [
  ["wasm", true, nodeMemoryProvider],
  ["shared", true, bufferMemoryProvider],
  ["plain", false, bufferMemoryProvider],
];

/** A lease in the middle of an arena, between two neighbours full of sevens. */
function neighbours(shared: boolean, memory: MemoryProvider, guard: boolean) {
  const fabric = openManual({ shared, guard }, { memory });
  const all = [0, 1, 2].map(() => fabric.mem().minBytes(128).acquire());
  for (const one of all) one.write(0, new Uint8Array(128).fill(7));
  const [before, lease, after] = all as [
    (typeof all)[number],
    (typeof all)[number],
    (typeof all)[number],
  ];
  lease.write(0, new Uint8Array(128).fill(1));
  return { fabric, before, lease, after };
}

describe.each(kinds)("MemLease.with() on %s memory", (_kind, shared, memory) => {
  it.each([false, true])("lends the lease's bytes and no more, guard: %s", (guard) => {
    const { lease } = neighbours(shared, memory, guard);
    const seen = lease.with((view) => ({
      length: view.length,
      sum: view.reduce((a, b) => a + b, 0),
    }));
    expect(seen).toEqual({ length: 128, sum: 128 });
  });

  it.each([false, true])("lands what is written through a writable view, guard: %s", (guard) => {
    const { before, lease, after } = neighbours(shared, memory, guard);
    lease.with((view) => view.fill(9), { write: true });
    expect([before, lease, after].map((one) => one.read(0, 1)[0])).toEqual([7, 9, 7]);
    expect([before.read(127, 1)[0], lease.read(127, 1)[0]]).toEqual([7, 9]);
  });

  it("A4: gives no `buffer` beyond the lease: a copy to a reader, nothing to a writer", () => {
    const { lease } = neighbours(shared, memory, false);
    lease.with((view) => {
      const bytes = view as Uint8Array;
      for (const one of [bytes, bytes.subarray(3, 9), bytes.slice(2, 4), bytes.map((x) => x)]) {
        expect([one.buffer.byteLength, one.byteOffset]).toEqual([one.length, 0]);
        expect(new Uint8Array(one.buffer)).toEqual(new Uint8Array(one.length).fill(1));
      }
      new Uint8Array(bytes.buffer).fill(9);
    });
    expect(lease.read(0, 1)).toEqual(Uint8Array.of(1));
    lease.with(
      (view) => {
        for (const one of [view, view.subarray(3, 9)])
          expect(codeOf(() => one.buffer)).toBe("UNSUPPORTED");
      },
      { write: true },
    );
  });

  it.each([{}, { write: true as const }])(
    "A4: in guard mode gives a view whose buffer is its own: %o",
    (options) => {
      const { lease } = neighbours(shared, memory, true);
      const size = lease.with((view) => view.buffer.byteLength, options as { write: true });
      expect(size).toBe(128);
    },
  );

  it.each([false, true])(
    "returns what the callback returns, and throws what it throws",
    (guard) => {
      const { fabric, lease } = neighbours(shared, memory, guard);
      expect(lease.with((view) => view.at(-1))).toBe(1);
      const cause = new RangeError("of the caller's");
      expect(() =>
        lease.with(() => {
          throw cause;
        }),
      ).toThrow(cause);
      // Whatever came of the callback, the bytes are no longer in use.
      lease.release();
      expect(fabric.stats().memory.quarantinedBytes).toBe(0);
    },
  );

  it.each([false, true])("refuses an async callback, guard: %s", (guard) => {
    const { lease } = neighbours(shared, memory, guard);
    const { code, message } = thrownBy(() => lease.with(async (view) => view[0]));
    expect([code, message]).toEqual([
      "INVALID_ARGUMENT",
      "use: expected a synchronous callback, got a Promise",
    ]);
  });

  it.each([false, true])("keeps the bytes of a lease that ends inside, guard: %s", (guard) => {
    const { fabric, lease } = neighbours(shared, memory, guard);
    const code = codeOf(() =>
      lease.with(
        (view) => {
          lease.release();
          const next = fabric.mem().minBytes(128).acquire();
          next.write(0, new Uint8Array(128).fill(5));
          view.fill(6);
          expect(next.read(0, 128)).toEqual(new Uint8Array(128).fill(5));
        },
        { write: true },
      ),
    );
    expect([code, fabric.stats().memory.quarantinedBytes]).toEqual(["LEASE_EXPIRED", 128]);
    fabric.tick(START_MS);
    expect(fabric.stats().memory.quarantinedBytes).toBe(0);
  });

  it("nests", () => {
    const { before, lease } = neighbours(shared, memory, false);
    const sum = lease.with((a) =>
      before.with((b) => lease.with((c) => (a[0] ?? 0) + (b[0] ?? 0) + (c[0] ?? 0))),
    );
    expect(sum).toBe(9);
  });
});

function fail(view: Uint8Array): void {
  view.fill(9);
  throw new RangeError("of the caller's");
}

describe.each(kinds)("guard mode on %s memory", (_kind, shared, memory) => {
  it("A4: empties a stashed view after the call", () => {
    using fabric = openManual({ shared, guard: true }, { memory });
    const lease = fabric.mem().acquire();
    let stashed: Uint8Array = Uint8Array.of(1);
    lease.with((view) => (stashed = view), { write: true });
    expect([stashed.length, stashed[0]]).toEqual([0, undefined]);
  });

  it("does not land what is written without `write`", () => {
    using fabric = openManual({ shared, guard: true }, { memory });
    const lease = fabric.mem().acquire();
    lease.with((view) => (view as Uint8Array).fill(9));
    expect(lease.read(0, 64)).toEqual(new Uint8Array(64));
  });

  it("does not land what is written by a callback that throws", () => {
    using fabric = openManual({ shared, guard: true }, { memory });
    const lease = fabric.mem().acquire();
    expect(() => lease.with(fail, { write: true })).toThrow("of the caller's");
    expect(lease.read(0, 64)).toEqual(new Uint8Array(64));
  });

  it("poisons reclaimed bytes, and gives zeroes to the next lease: A2", () => {
    const arenas: Uint8Array[] = [];
    const reserve: MemoryProvider["reserve"] = (byteLength, options) => {
      const arena = memory.reserve(byteLength, options);
      arenas.push(arena.bytes);
      return arena;
    };
    using fabric = openManual({ shared, guard: true }, { memory: { ...memory, reserve } });
    const lease = fabric.mem().acquire();
    lease.write(0, new Uint8Array(64).fill(9));
    const arena = arenas.at(-1) as Uint8Array;
    expect(arena.slice(0, 64)).toEqual(new Uint8Array(64).fill(9));
    lease.release();
    expect(arena.slice(0, 64)).toEqual(new Uint8Array(64).fill(POISON));
    expect(fabric.mem().acquire().read(0, 64)).toEqual(new Uint8Array(64));
  });
});

describe("A4: bytes that a caller brings", () => {
  it("are never handed the arena, also when they bring a `set` of their own", () => {
    using fabric = openManual();
    const lease = fabric.mem().minBytes(256).acquire();
    const handed: number[] = [];
    class Greedy extends Uint8Array {
      override set(source: ArrayLike<number>): void {
        handed.push((source as Uint8Array).buffer.byteLength);
      }
    }
    lease.readInto(0, new Greedy(200));
    expect(handed).toEqual([]);
  });
});
