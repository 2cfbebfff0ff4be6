/** What a handle holds, and what becomes of it: values in hand, spans, waits, and calls that are refused. */
import { jsonCodec, type Codec } from "@selvage/fabric";
import { FabricQueue } from "@selvage/collections";
import { describe, expect, it } from "vitest";
import { openManual } from "./manual-fabric.ts";
import { idOf, kinds, openRing, optionsOf, OtherThread, valueOf } from "./queue-rig.ts";

const stride = 8;
const at = (id: number): Uint8Array => valueOf(id, stride);
const idIn = (bytes: Uint8Array | undefined): number | undefined => bytes && idOf(bytes);

function openValues(kind: (typeof kinds)[number]): FabricQueue<unknown> {
  const bytes = FabricQueue.bytesFor(8, 16, optionsOf(kind));
  const lease = openManual({ memoryBytes: 1 << 16 })
    .mem()
    .minBytes(bytes)
    .acquire();
  return new FabricQueue<unknown>(lease, 8, 16, jsonCodec<unknown>(), optionsOf(kind));
}

describe.each(kinds)("FabricQueue of %s", (kind) => {
  it("gives null like any other value, also to for await", async () => {
    const queue = openValues(kind);
    for (const value of [1, null, 2, null]) expect(queue.push(value)).toBe(true);
    expect([queue.pop(), queue.pop()]).toEqual([1, null]);
    queue.push(3);
    queue.close();
    const rest: unknown[] = [];
    for await (const value of queue) rest.push(value);
    expect(rest).toEqual([2, null, 3]);
  });

  it("waitForItem() leaves the value for whoever pops", () => {
    const { queue, lease } = openRing(kind, 4, stride);
    queue.push(at(7));
    {
      using other = FabricQueue.attach(lease);
      expect(other.waitForItem(10)).toBe(true);
    }
    using next = FabricQueue.attach(lease);
    expect(idIn(next.pop())).toBe(7);
  });

  it("a value that was peeked at and not consumed stays when its handle leaves", () => {
    const { queue, lease } = openRing(kind, 4, stride);
    for (const id of [1, 2]) queue.push(at(id));
    {
      using other = FabricQueue.attach(lease);
      expect(idIn(other.peek())).toBe(1);
    }
    using next = FabricQueue.attach(lease);
    expect([idIn(next.pop()), idIn(next.pop())]).toEqual([1, 2]);
    expect(next.stats().lost).toBe(0);
  });

  it("a batch call that is refused for its argument takes no end", () => {
    const { queue, lease } = openRing(kind, 4, stride);
    const refused = expect.objectContaining({ code: "INVALID_ARGUMENT" });
    const other = FabricQueue.attach(lease);
    expect(() => other.pushBatch("12" as never)).toThrow(refused);
    expect(() => other.popBatch(-1)).toThrow(refused);
    expect(queue.push(at(1))).toBe(true);
    expect(idIn(queue.pop())).toBe(1);
  });

  it("a refused constructor leaves the lease blank", () => {
    const { lease } = openRing("slots", 4, stride);
    const blank = openManual({ memoryBytes: 1 << 16 })
      .mem()
      .minBytes(lease.bytes)
      .acquire();
    const fixed: Codec<number> = {
      name: "wide",
      encode: () => new Uint8Array(16),
      decode: () => 0,
      fixed: { bytes: 16, writeTo() {}, readFrom: () => 0 },
    };
    const refused: [() => unknown, string][] = [
      [() => new FabricQueue(blank, 4, 8, fixed, optionsOf(kind)), "CAPACITY_EXCEEDED"],
      [() => new FabricQueue(blank, 4, 8, {} as Codec<number>), "INVALID_ARGUMENT"],
      [() => new FabricQueue(blank, 4, 8, undefined, null as never), "INVALID_ARGUMENT"],
      [() => new FabricQueue(blank, 4, 8, undefined, { unblockAfterMs: -1 }), "INVALID_ARGUMENT"],
    ];
    for (const [make, code] of refused) expect(make).toThrow(expect.objectContaining({ code }));
    expect(new FabricQueue(blank, 2, 8).push(at(1))).toBe(true);
  });

  it("pushBatch() takes arrays alone", () => {
    const { queue } = openRing(kind, 4, stride);
    for (const values of [undefined, new Set([at(1)]), "12"])
      expect(() => queue.pushBatch(values as never)).toThrow(
        expect.objectContaining({ code: "INVALID_ARGUMENT" }),
      );
  });
});

describe("FabricQueue for many", () => {
  it("M3: a slow consumer keeps its value, whatever passes, also after 8,192 laps", () => {
    const { fabric, lease, queue } = openRing("many", 2, stride, { unblockAfterMs: 0 });
    using slow = FabricQueue.attach(lease, undefined, { unblockAfterMs: 0 });
    queue.push(at(111));
    expect(idIn(slow.peek())).toBe(111);
    for (let id = 0; id < 2 * 8_192; id++) {
      queue.push(at(id));
      fabric.tick(fabric.nowMs() + 1);
      queue.pop();
    }
    expect([idIn(slow.peek()), slow.consume(), queue.stats().lost]).toEqual([111, true, 0]);
    while (queue.pop() !== undefined);
    for (let id = 0; id < 10; id++) {
      expect(queue.push(at(id))).toBe(true);
      expect(idIn(slow.pop())).toBe(id);
    }
  });

  it("a batch whose producer dies is given up in one go, and its unfilled slots count as no claim", () => {
    const values = Array.from({ length: 16 }, (_, id) => at(id));
    let isBegun = false;
    for (let step = 0; step < 200; step++) {
      const { fabric, lease, queue } = openRing("many", 32, stride, { unblockAfterMs: 10 });
      const thread = new OtherThread(fabric);
      const producer = thread.join(lease, 10);
      if (!thread.diesAt(step, () => void producer.pushBatch(values))) break;
      thread.exit();
      queue.push(at(99));
      const seen: (number | undefined)[] = [];
      // Two looks around one timeout are enough for all that was left behind.
      for (let look = 0; look < 2; look++) {
        for (let id = idIn(queue.pop()); id !== undefined; id = idIn(queue.pop())) seen.push(id);
        fabric.tick(fabric.nowMs() + 10);
      }
      for (let id = idIn(queue.pop()); id !== undefined; id = idIn(queue.pop())) seen.push(id);
      const { skipped, lost } = queue.stats();
      const filled = seen.slice(0, -1);
      expect([seen.at(-1), filled], `step ${step}`).toEqual([99, filled.map((_, id) => id)]);
      // At most the one slot that it was filling.
      expect([skipped <= 1, lost]).toEqual([true, 0]);
      isBegun ||= filled.length > 0;
    }
    expect(isBegun).toBe(true);
  });
});
