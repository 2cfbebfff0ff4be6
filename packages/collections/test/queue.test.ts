/* oxlint-disable vitest/no-conditional-expect, vitest/no-standalone-expect -- what holds differs by kind, and by step; a walk is taken inside tests only */
/** What a queue promises on one thread: every operation, against an array; and every misuse, by its error. */
import { jsonCodec, rawCodec, recordCodec, regionOf, type Codec } from "@selvage/fabric";
import { FabricQueue } from "@selvage/collections";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { codeOf, openManual, rejectionOf } from "./manual-fabric.ts";
import { idOf, kinds, openRing, optionsOf, valueOf, type Kind } from "./queue-rig.ts";

const thread = { handles: ["one", "two"] } as const;

type Step = readonly [
  name:
    | "push"
    | "pop"
    | "popInto"
    | "pushBatch"
    | "popBatch"
    | "claim"
    | "abort"
    | "peek"
    | "look"
    | "flush"
    | "size",
  number: number,
];

const stepOf = fc.tuple(
  fc.constantFrom<Step[0]>(
    "push",
    "push",
    "pop",
    "popInto",
    "pushBatch",
    "popBatch",
    "claim",
    "abort",
    "peek",
    "look",
    "flush",
    "size",
  ),
  fc.nat(40),
);

/** Takes the steps on a queue and on an array, and holds them against each other. */
class Walk {
  readonly #into: FabricQueue;
  readonly #from: FabricQueue;
  readonly #kind: Kind;
  readonly #model: number[] = [];
  readonly #stride: number;
  readonly #target: Uint8Array;
  readonly #source: Uint8Array;
  #next = 0;
  // In a ring for many, an aborted claim keeps its slot until the consumers have come by.
  #isHoled = false;

  constructor(into: FabricQueue, from: FabricQueue, kind: Kind) {
    this.#into = into;
    this.#from = from;
    this.#kind = kind;
    this.#stride = into.stride;
    this.#target = new Uint8Array(this.#stride);
    this.#source = new Uint8Array(this.#stride);
  }

  take([name, number]: Step): void {
    const into = this.#into;
    const from = this.#from;
    switch (name) {
      case "push": {
        const isIn = into.push(this.#value(number));
        return this.#pushed(isIn, isIn ? 1 : 0);
      }
      case "pushBatch": {
        const values = Array.from({ length: number }, (_, index) => this.#value(index * 7, index));
        const done = into.pushBatch(values);
        this.#pushed(done === number, done);
        this.#next += number - done;
        return;
      }
      case "claim":
      case "abort":
        return this.#claim(name === "abort", number);
      case "pop":
        return this.#popped(from.pop());
      case "popInto": {
        const bytes = from.popInto(this.#target);
        return this.#popped(bytes < 0 ? undefined : this.#target.slice(0, bytes));
      }
      case "popBatch": {
        const values = from.popBatch(number);
        expect(values.length).toBe(Math.min(number, this.#model.length));
        for (const value of values) this.#popped(value);
        return;
      }
      case "look":
      case "peek": {
        const bytes = from.peek();
        expect(bytes === undefined ? undefined : idOf(bytes)).toBe(this.#model[0]);
        // In a ring for many, what was looked at has left the ring.
        if (name === "look") this.#isHoled ||= this.#kind === "many";
        if (bytes === undefined || name === "look") return;
        expect(from.consume()).toBe(true);
        this.#model.shift();
        return;
      }
      case "flush":
        return (number % 2 === 0 ? into : from).flush();
      case "size":
        if (into === from && !this.#isHoled) expect(into.size).toBe(this.#model.length);
    }
  }

  drain(): void {
    while (this.#model.length > 0) this.#popped(this.#from.pop());
    expect(this.#from.pop()).toBeUndefined();
  }

  #claim(isAborted: boolean, number: number): void {
    const bytes = this.#into.claim();
    const value = this.#value(number);
    if (bytes !== undefined) {
      expect(bytes.length).toBe(this.#stride);
      bytes.set(value);
    }
    if (bytes === undefined) this.#pushed(false, 0);
    else if (isAborted) {
      this.#into.abort();
      this.#isHoled ||= this.#kind === "many";
    } else {
      this.#into.commit(value.length);
      this.#pushed(true, 1);
    }
  }

  // Two in three in one array, by which the short way goes.
  #value(number: number, ahead = 0): Uint8Array {
    const whole = number % 3 !== 0 && ahead === 0 && number !== 0;
    const length = whole ? this.#stride : 1 + (number % this.#stride);
    const value = valueOf((this.#next + ahead) & 0x7f, length);
    if (!whole) return value;
    this.#source.set(value);
    return this.#source;
  }

  #pushed(isAll: boolean, done: number): void {
    const { capacity } = this.#into;
    const size = this.#model.length + done;
    if (!isAll && !this.#isHoled) expect(size).toBeGreaterThanOrEqual(capacity);
    if (this.#kind !== "records") expect(size).toBeLessThanOrEqual(capacity);
    for (let index = 0; index < done; index++) this.#model.push(this.#next++ & 0x7f);
  }

  #popped(value: Uint8Array | undefined): void {
    expect(value === undefined ? undefined : idOf(value)).toBe(this.#model.shift());
  }
}

describe.each(kinds)("R1, R3: a queue of %s", (kind) => {
  it.each([1, 2, 3, 100, 1_024])("of %i gives what an array gives", (capacity) => {
    fc.assert(
      fc.property(
        fc.constantFrom(1, 8, 13, 64, 600),
        fc.constantFrom(...thread.handles),
        fc.boolean(),
        fc.array(stepOf, { maxLength: 120 }),
        (stride, handles, guard, steps) => {
          const { fabric, lease, queue } = openRing(kind, capacity, stride, { guard });
          const other = handles === "two" ? FabricQueue.attach(lease) : queue;
          const walk = new Walk(queue, other, kind);
          for (const step of steps) walk.take(step);
          walk.drain();
          queue[Symbol.dispose]();
          other[Symbol.dispose]();
          fabric[Symbol.dispose]();
        },
      ),
      { numRuns: 60 },
    );
  });

  it("takes exactly its capacity of the longest values, anywhere in the ring", () => {
    for (const capacity of [1, 2, 3, 5, 16, 17]) {
      const { queue } = openRing(kind, capacity, 13);
      for (let turn = 0; turn < 4 * capacity + 3; turn++) {
        for (let id = 0; id < capacity; id++) expect(queue.push(valueOf(id, 13))).toBe(true);
        expect(queue.size).toBe(capacity);
        if (kind !== "records") expect(queue.push(valueOf(99, 13))).toBe(false);
        for (let id = 0; id < capacity; id++) expect(idOf(queue.pop() as Uint8Array)).toBe(id);
        expect(queue.pop()).toBeUndefined();
        // Moves the ring on by a few bytes, so that the next turn wraps elsewhere.
        queue.push(valueOf(1, 1 + (turn % 13)));
        queue.pop();
      }
    }
  });

  it("takes values of no bytes", () => {
    const { queue } = openRing(kind, 2, 8);
    expect([queue.push(new Uint8Array(0)), queue.push(new Uint8Array(0))]).toEqual([true, true]);
    expect([queue.pop(), queue.popInto(new Uint8Array(0)), queue.pop()]).toEqual([
      new Uint8Array(0),
      0,
      undefined,
    ]);
  });

  it("publishes after 16 values, at a flush, before a wait, and at the end of the turn", async () => {
    const { queue, lease } = openRing(kind, 1_024, 8);
    const { memory, offset } = regionOf(lease);
    const tail = (): number => memory.words.load(offset / 4 + 32) / (kind === "many" ? 1 : 2);
    const pushed = (count: number): number[] => {
      for (let index = 0; index < count; index++) queue.push(valueOf(index, 8));
      return [tail()];
    };
    if (kind === "many") expect(pushed(1)).toEqual([1]);
    else {
      expect([pushed(15), pushed(2)]).toEqual([[0], [16]]);
      queue.flush();
      expect([tail(), memory.words.load(offset / 4 + 33)]).toEqual([17, 17]);
      pushed(1);
      await Promise.resolve().then(() => {});
      expect(tail()).toBe(18);
      pushed(1);
      const empty = openRing("slots", 1, 8).queue;
      expect(empty.popWait(0)).toBeUndefined();
      expect(tail()).toBe(19);
    }
  });

  it("leaves a value that is too long for the target where it is", () => {
    const { queue } = openRing(kind, 3, 13);
    queue.push(valueOf(7, 13));
    expect(codeOf(() => queue.popInto(new Uint8Array(12)))).toBe("CAPACITY_EXCEEDED");
    expect(idOf(queue.pop() as Uint8Array)).toBe(7);
  });

  it("pushes and fills lease views, again and again, as they are at that moment", () => {
    const { fabric, queue } = openRing(kind, 1, 64);
    const other = fabric.mem().minBytes(64).acquire();
    const into = new Uint8Array(64);
    for (const write of [false, true])
      for (let turn = 1; turn < 6; turn++) {
        other.write(0, into.fill(turn));
        if (write) other.with((view) => queue.push(view), { write });
        else other.with((view) => queue.push(view as Uint8Array));
        expect(queue.pop()).toEqual(new Uint8Array(64).fill(turn));
        queue.push(into.fill(50 + turn));
        other.with((view) => queue.popInto(view), { write: true });
        expect(other.read(0, 64)).toEqual(new Uint8Array(64).fill(50 + turn));
        other.write(0, into.fill(turn));
        const push = (view: unknown): boolean => queue.push(view as Uint8Array);
        for (let again = 0; again < 4; again++) {
          other.write(0, into.fill(turn + again));
          if (write) other.with(push, { write });
          else other.with(push);
          expect(queue.pop()).toEqual(new Uint8Array(64).fill(turn + again));
        }
      }
    for (let turn = 1; turn < 8; turn++) {
      other.write(0, new Uint8Array(64).fill(turn));
      for (const write of [false, true] as const) {
        if (write) other.with((view) => queue.push(view), { write });
        else other.with((view) => queue.push(view as Uint8Array));
        queue.popInto(into);
        expect(into).toEqual(new Uint8Array(64).fill(turn));
      }
      queue.push(into.fill(100 + turn));
      other.with((view) => queue.popInto(view), { write: true });
      expect(other.read(0, 64)).toEqual(new Uint8Array(64).fill(100 + turn));
    }
  });

  it("carries what was peeked at into another queue, turn by turn", () => {
    const one = openRing(kind, 1, 64, { guard: true }).queue;
    const two = openRing(kind, 1, 64, { guard: true }).queue;
    for (let id = 0; id < 20; id++) {
      one.push(valueOf(id, 64));
      while (two.push(valueOf(100, 64)));
      const peeked = one.peek() as Uint8Array;
      expect(two.push(peeked)).toBe(false);
      while (two.pop() !== undefined);
      expect(two.push(peeked)).toBe(true);
      expect(one.consume()).toBe(true);
      expect(idOf(two.pop() as Uint8Array)).toBe(id);
    }
  });

  it("gives the values before a bad one, and the error at the next call", () => {
    const { lease, queue } = openRing(kind, 8, 16);
    for (const text of ["1", "2", "{", "3"]) queue.push(new TextEncoder().encode(text));
    queue.flush();
    queue[Symbol.dispose]();
    const json = FabricQueue.attach<unknown>(lease, jsonCodec());
    expect(json.popBatch(10)).toEqual([1, 2]);
    expect(codeOf(() => json.popBatch(10))).toBe("DECODE");
    expect(json.popBatch(10)).toEqual([3]);
    expect(json.pushBatch([4, "too long for its slot", 5])).toBe(1);
    expect(codeOf(() => json.pushBatch(["too long for its slot", 5]))).toBe("CAPACITY_EXCEEDED");
    expect([json.pop(), json.pop()]).toEqual([4, undefined]);
  });
});

const shape = {
  id: "int32",
  ok: "bool",
  name: { text: 10 },
  raw: { bytes: 3 },
  x: "float64",
} as const;
const record = recordCodec(shape);
const recordOf = (id: number) => ({
  id,
  ok: id % 2 === 0,
  name: `n${id}`,
  raw: Uint8Array.of(id, id, id),
  x: id / 3,
});

describe.each(kinds)("codecs on a queue of %s", (kind) => {
  const expectRoundTrip = <T>(codec: Codec<T>, stride: number, values: readonly T[]): void => {
    const fabric = openManual();
    const options = optionsOf(kind);
    const lease = fabric
      .mem()
      .minBytes(FabricQueue.bytesFor(3, stride, options))
      .acquire();
    const queue = new FabricQueue(lease, 3, stride, codec, options);
    for (let turn = 0; turn < 5; turn++) {
      expect(queue.pushBatch(values)).toBe(values.length);
      expect(queue.popBatch(9)).toEqual(values);
      for (const value of values) queue.push(value);
      for (const value of values) expect(queue.pop()).toEqual(value);
    }
  };

  it("raw, JSON and fixed layouts bring every value back", () => {
    expectRoundTrip(rawCodec, 9, [valueOf(1, 9), valueOf(2, 4)]);
    expectRoundTrip(jsonCodec(), 40, [{ a: [1, null, "x"] }, 7, "seven"]);
    expectRoundTrip(record, record.bytes, [recordOf(1), recordOf(2), recordOf(3)]);
    expectRoundTrip(record, record.bytes + 5, [recordOf(4)]);
  });

  it("a value that the layout refuses is not pushed, one that it cannot read is taken out", () => {
    const fabric = openManual();
    const options = optionsOf(kind);
    const bytes = FabricQueue.bytesFor(5, record.bytes, options);
    const lease = fabric.mem().minBytes(bytes).acquire();
    const queue = new FabricQueue(lease, 5, record.bytes, record, options);
    expect(codeOf(() => queue.push({ ...recordOf(1), id: 1.5 }))).toBe("ENCODE");
    expect(queue.push(recordOf(2))).toBe(true);
    queue.flush();
    queue[Symbol.dispose]();
    const raw = FabricQueue.attach(lease);
    const bad = record.encode(recordOf(3));
    bad[record.fields.ok.offset] = 2;
    raw.push(bad);
    raw.push(new Uint8Array(2));
    raw.flush();
    raw[Symbol.dispose]();
    const again = FabricQueue.attach(lease, record);
    expect(again.popBatch(9)).toEqual([recordOf(2)]);
    expect(codeOf(() => again.pop())).toBe("DECODE");
    expect(codeOf(() => again.pop())).toBe("DECODE");
    expect(again.pop()).toBeUndefined();
    expect(again.push(recordOf(5))).toBe(true);
    expect(again.pop()).toEqual(recordOf(5));
  });

  it("a layout is lent nothing that leads beyond the ring", () => {
    const seen: DataView[] = [];
    const codec: Codec<number> = {
      ...rawCodec,
      name: "spy",
      encode: () => new Uint8Array(8),
      decode: () => 0,
      fixed: {
        bytes: 8,
        writeTo: (view) => void seen.push(view),
        readFrom: (view) => (seen.push(view), 0),
      },
    };
    const fabric = openManual();
    const bytes = FabricQueue.bytesFor(3, 8, optionsOf(kind));
    const lease = fabric.mem().minBytes(bytes).acquire();
    const queue = new FabricQueue(lease, 3, 8, codec, optionsOf(kind));
    queue.push(1);
    queue.pop();
    expect(seen.length).toBe(2);
    for (const view of seen) {
      expect(codeOf(() => view.buffer)).toBe("UNSUPPORTED");
      expect(view.byteLength).toBeLessThanOrEqual(bytes - 1_024);
      expect(() => view.getInt8(view.byteLength)).toThrow(RangeError);
    }
  });

  it("a codec that pushes while it writes gets an error, and the ring goes on", () => {
    const fabric = openManual();
    const bytes = FabricQueue.bytesFor(4, 8, optionsOf(kind));
    const lease = fabric.mem().minBytes(bytes).acquire();
    let nested: FabricQueue<number> | undefined;
    const codec: Codec<number> = {
      ...rawCodec,
      name: "nested",
      encode: () => new Uint8Array(8),
      decode: () => 0,
      fixed: {
        bytes: 8,
        writeTo: (view, at, value) => {
          const inner = nested;
          nested = undefined;
          inner?.push(value + 1);
          view.setFloat64(at, value);
        },
        readFrom: (view, at) => view.getFloat64(at),
      },
    };
    const queue = new FabricQueue(lease, 4, 8, codec, optionsOf(kind));
    nested = queue;
    expect(() => queue.push(1)).toThrow(/committed once/);
    expect(queue.push(5)).toBe(true);
    const values = queue.popBatch(9);
    expect(values.at(-1)).toBe(5);
    for (let value = 0; value < 40; value++) {
      expect(queue.push(value)).toBe(true);
      expect(queue.pop()).toBe(value);
    }
  });
});

describe.each(kinds)("misuse of a queue of %s", (kind) => {
  const held = () => openRing(kind, 2, 8);

  it("is told by its code", () => {
    const { lease, queue } = held();
    expect(codeOf(() => queue.push(new Uint8Array(9)))).toBe("CAPACITY_EXCEEDED");
    expect(codeOf(() => queue.push("text" as unknown as Uint8Array))).toBe("ENCODE");
    expect(codeOf(() => queue.push(undefined as unknown as Uint8Array))).toBe("ENCODE");
    const moved = new Uint8Array(8);
    queue.push(moved);
    queue.push(moved);
    moved.buffer.transfer();
    expect(codeOf(() => queue.push(moved))).toBe("ENCODE");
    expect(codeOf(() => queue.popInto([] as unknown as Uint8Array))).toBe("ENCODE");
    for (const max of [-1, 1.5, Number.NaN])
      expect(codeOf(() => queue.popBatch(max))).toBe("INVALID_ARGUMENT");
    for (const run of [() => queue.commit(), () => queue.abort(), () => queue.consume()])
      expect(codeOf(run)).toBe("INVALID_ARGUMENT");
    for (const timeout of [-1, Number.NaN, "1" as unknown as number])
      expect(codeOf(() => queue.popWait(timeout))).toBe("INVALID_ARGUMENT");
    if (kind !== "many") {
      const second = FabricQueue.attach(lease);
      expect(codeOf(() => second.push(new Uint8Array(1)))).toBe("CONFLICT");
      second[Symbol.dispose]();
    }
  });

  it("with claims is told by its code, and leaves the claim open", () => {
    const { queue } = held();
    expect(queue.claim()?.length).toBe(8);
    expect(codeOf(() => queue.claim())).toBe("CONFLICT");
    expect(codeOf(() => queue.push(new Uint8Array(1)))).toBe("CONFLICT");
    expect(codeOf(() => queue.pushBatch([new Uint8Array(1)]))).toBe("CONFLICT");
    for (const length of [-1, 9, 0.5])
      expect(codeOf(() => queue.commit(length))).toBe("INVALID_ARGUMENT");
    queue.commit(3);
    expect(queue.pop()?.length).toBe(3);
  });

  it("a closed queue takes nothing more, gives what it has, and then ends", async () => {
    const { lease, queue } = held();
    queue.push(valueOf(1, 8));
    queue.close();
    expect(codeOf(() => queue.push(valueOf(2, 8)))).toBe("DISCONNECTED");
    queue.close();
    expect(codeOf(() => queue.claim())).toBe("DISCONNECTED");
    expect(codeOf(() => queue.pushBatch([valueOf(2, 8)]))).toBe("DISCONNECTED");
    expect(codeOf(() => queue.pushWait(valueOf(2, 8), 10))).toBe("DISCONNECTED");
    expect(queue.stats()).toEqual({ capacity: 2, size: 1, skipped: 0, lost: 0, isClosed: true });
    const got: number[] = [];
    for await (const value of queue) got.push(idOf(value));
    expect([got, queue.pop(), queue.popWait(), await queue.popAsync()]).toEqual([
      [1],
      undefined,
      undefined,
      undefined,
    ]);
    expect(FabricQueue.attach(lease).isClosed).toBe(true);
  });

  it("R1: a queue for many that is closed gives what stands behind an open claim, then ends", async () => {
    if (kind !== "many") return;
    const { fabric, lease, queue } = openRing(kind, 4, 8, { unblockAfterMs: 20 });
    const other = FabricQueue.attach(lease, undefined, { unblockAfterMs: 20 });
    queue.claim();
    other.push(valueOf(7, 8));
    other.close();
    // The fabric's time stands still unless it is ticked.
    const ticking = setInterval(() => void fabric.tick(fabric.nowMs() + 10), 1);
    const got: number[] = [];
    for await (const value of other) got.push(idOf(value));
    clearInterval(ticking);
    expect(got).toEqual([7]);
    expect(codeOf(() => queue.commit(1))).toBe("STALE_EPOCH");
    expect(other.stats()).toMatchObject({ size: 0, skipped: 1, lost: 0 });
  });

  it("a handle that has left is told DISCONNECTED, and another takes its place", () => {
    const { lease, queue } = held();
    queue.push(valueOf(1, 8));
    queue.push(valueOf(2, 8));
    queue.pop();
    queue[Symbol.dispose]();
    queue[Symbol.dispose]();
    for (const run of [() => queue.push(valueOf(3, 8)), () => queue.pop(), () => queue.peek()])
      expect(codeOf(run)).toBe("DISCONNECTED");
    const next = FabricQueue.attach(lease);
    expect(idOf(next.pop() as Uint8Array)).toBe(2);
    expect(next.push(valueOf(3, 8))).toBe(true);
    expect(idOf(next.pop() as Uint8Array)).toBe(3);
  });

  it("a handle that leaves with an open claim gives it back", () => {
    const { lease, queue } = held();
    queue.push(valueOf(1, 8));
    queue.claim();
    queue[Symbol.dispose]();
    const next = FabricQueue.attach(lease);
    expect(idOf(next.pop() as Uint8Array)).toBe(1);
    for (let id = 0; id < 5; id++) {
      expect(next.push(valueOf(id, 8))).toBe(true);
      expect(idOf(next.pop() as Uint8Array)).toBe(id);
    }
    expect(next.stats().skipped).toBe(0);
  });
});

describe("where there is no queue", () => {
  const fabric = openManual();
  const lease = fabric.mem().minBytes(4_096).acquire();

  it.each([
    ["capacity", 0, 8, {}],
    ["capacity", 1.5, 8, {}],
    ["capacity", 2 ** 25, 8, {}],
    ["stride", 1, 0, {}],
    ["stride", 1, 2 ** 30 + 1, {}],
    ["unblockAfterMs", 1, 8, { unblockAfterMs: -1 }],
    ["unblockAfterMs", 1, 8, { unblockAfterMs: Number.NaN }],
  ])("a wrong %s is refused (%#)", (_name, capacity, stride, options) => {
    const own = fabric.mem().minBytes(4_096).acquire();
    const make = () => new FabricQueue(own, capacity, stride, undefined, options);
    expect(codeOf(make)).toBe("INVALID_ARGUMENT");
    own.release();
  });

  it("says so", () => {
    expect(codeOf(() => FabricQueue.attach(lease))).toBe("CORRUPT_RECORD");
    expect(codeOf(() => FabricQueue.attach(fabric.mem().minBytes(64).acquire()))).toBe(
      "CORRUPT_RECORD",
    );
    for (const place of [undefined, {}, { kind: "queue", version: 2 }])
      expect(codeOf(() => FabricQueue.attach(place as never))).toBe("INVALID_ARGUMENT");
    expect(
      codeOf(() => FabricQueue.attach({ kind: "queue", version: 1, lease: lease.ticket() })),
    ).toBe("INVALID_ARGUMENT");
    expect(codeOf(() => new FabricQueue({} as never, 1, 8))).toBe("INVALID_ARGUMENT");
    const both = { many: true, records: true };
    expect(codeOf(() => new FabricQueue(lease, 1, 8, undefined, both))).toBe("UNSUPPORTED");
    expect(codeOf(() => new FabricQueue(lease, 1_000, 8))).toBe("CAPACITY_EXCEEDED");
    expect(codeOf(() => new FabricQueue(lease, 1, record.bytes - 1, record))).toBe(
      "CAPACITY_EXCEEDED",
    );
  });

  it("a lease that holds something else is left alone", () => {
    const own = fabric.mem().minBytes(4_096).acquire();
    own.write(0, Uint8Array.of(1, 2, 3, 4));
    expect(codeOf(() => new FabricQueue(own, 1, 8))).toBe("CONFLICT");
    expect(own.read(0, 6)).toEqual(Uint8Array.of(1, 2, 3, 4, 0, 0));
    const ring = fabric.mem().minBytes(4_096).acquire();
    const queue = new FabricQueue(ring, 3, 8);
    queue.push(valueOf(1, 8));
    expect(codeOf(() => new FabricQueue(ring, 4, 8))).toBe("CONFLICT");
    expect(codeOf(() => new FabricQueue(ring, 3, 8, undefined, { many: true }))).toBe("CONFLICT");
    expect(idOf(new FabricQueue(ring, 3, 8).pop() as Uint8Array)).toBe(1);
  });
});

describe("waiting without another thread", () => {
  it.each([true, false])(
    "shared: %s: an async wait ends with the value that comes later",
    async (shared) => {
      const fabric = openManual({ shared });
      const lease = fabric.mem().minBytes(FabricQueue.bytesFor(1, 8)).acquire();
      const queue = new FabricQueue(lease, 1, 8);
      const waiting = queue.popAsync(10_000);
      await new Promise((resolve) => setImmediate(resolve));
      queue.push(valueOf(4, 8));
      expect(idOf((await waiting) as Uint8Array)).toBe(4);
      queue.push(valueOf(5, 8));
      const pushing = queue.pushAsync(valueOf(6, 8), 10_000);
      await new Promise((resolve) => setImmediate(resolve));
      expect(idOf(queue.pop() as Uint8Array)).toBe(5);
      expect(await pushing).toBe(true);
      expect(await queue.pushAsync(valueOf(7, 8), 30)).toBe(false);
      queue.pop();
      expect(await queue.popAsync(30)).toBeUndefined();
    },
  );

  it("blocking where nobody could help is refused", () => {
    const fabric = openManual({ shared: false });
    const lease = fabric.mem().minBytes(FabricQueue.bytesFor(1, 8)).acquire();
    expect(codeOf(() => new FabricQueue(lease, 1, 8).popWait(10))).toBe("UNSUPPORTED");
  });

  it("an async wait ends with the lease", async () => {
    const { fabric, lease, queue } = openRing("slots", 1, 8);
    const waiting = rejectionOf(queue.popAsync());
    lease.release();
    fabric.tick(fabric.nowMs());
    expect((await waiting).code).toBe("LEASE_EXPIRED");
  });
});
