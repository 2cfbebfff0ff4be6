/* oxlint-disable vitest/no-conditional-expect -- what holds differs by kind, and by the step at which a schedule stands */
/** What a queue promises while threads meet in it, tried at every access; and near the ends of its positions. */
import { regionOf } from "@selvage/fabric";
import { FabricQueue } from "@selvage/collections";
import type { Fabric } from "@selvage/node";
import { describe, expect, it } from "vitest";
import { Doorbell } from "../src/doorbell.ts";
import { codeOf } from "./manual-fabric.ts";
import {
  HEAD,
  HEADER_BYTES,
  idOf,
  kinds,
  lastPosition,
  openRing,
  OtherThread,
  startAt,
  TAIL,
  valueOf,
} from "./queue-rig.ts";

const stride = 24;
const at = (id: number): Uint8Array => valueOf(id, 4 + (id % 20));

/** Pops until nothing comes, letting as much time pass as gives up whatever is stuck. */
function drain(queue: FabricQueue, fabric: Fabric): number[] {
  const got: number[] = [];
  for (let idle = 0; idle < 8;) {
    const value = queue.pop();
    if (value !== undefined) got.push(idOf(value));
    else {
      idle++;
      fabric.tick(fabric.nowMs() + 1_000);
    }
  }
  return got;
}

describe.each(kinds)("R3: positions of %s near their limits", (kind) => {
  it.each([1, 2, 3, 100, 1_024])("keep their order, capacity %i", (capacity) => {
    const last = kind === "many" ? lastPosition(capacity) : 2 * capacity - 1;
    const starting =
      kind === "records"
        ? [0]
        : [0, 1, capacity - 1, capacity, last - 1, last, last - capacity, last - 2 * capacity + 1];
    for (const start of new Set(starting.filter((position) => position >= 0))) {
      const { fabric, lease, queue } = openRing(kind, capacity, 8);
      startAt(lease, kind, capacity, 8, start);
      let pushed = 0;
      let popped = 0;
      for (let turn = 0; turn < 3 * capacity + 20; turn++) {
        const most = capacity < 4 ? capacity : 1 + (turn % capacity);
        for (let index = 0; index < most && queue.push(valueOf(pushed, 8)); index++) pushed++;
        expect(queue.size).toBe(pushed - popped);
        queue.flush();
        expect(FabricQueue.attach(lease).size).toBe(pushed - popped);
        for (let index = turn % 2; index < most; index++) {
          const value = queue.pop();
          if (value === undefined) break;
          expect(idOf(value)).toBe(popped++);
        }
        if (pushed > 3_000) break;
      }
      for (const value of queue.popBatch(2_000)) expect(idOf(value)).toBe(popped++);
      expect([popped, queue.pop()]).toEqual([pushed, undefined]);
      fabric[Symbol.dispose]();
    }
  });

  it("are refused beyond them", () => {
    for (const position of [-1, 16, 2 ** 31 - 1, -(2 ** 31)])
      for (const word of [32, 64]) {
        if (kind === "many" && position >= 0 && position <= lastPosition(4)) continue;
        const { fabric, lease } = openRing(kind, 4, 8);
        const { memory, offset } = regionOf(lease);
        memory.words.store(offset / 4 + word, position);
        const own = FabricQueue.attach(lease);
        const codes = [codeOf(() => own.push(at(1)) && own.pop()), codeOf(() => own.pop())];
        if (kind !== "records") codes.push(codeOf(() => FabricQueue.attach(lease).size));
        expect(new Set(codes)).toEqual(new Set(["CORRUPT_RECORD"]));
        fabric[Symbol.dispose]();
      }
  });
});

describe.each(kinds)("Q1: a slot of %s", (kind) => {
  it("whose length is none is no value, and no mark", () => {
    const codes = new Set<string>();
    for (const length of [9, -1, 2 ** 30, 2 ** 31 - 1, 2 ** 31, -(2 ** 31), Number.NaN]) {
      const { lease, queue } = openRing(kind, 3, 8);
      queue.push(valueOf(1, 8));
      queue.flush();
      const { memory, offset } = regionOf(lease);
      const double = (offset + HEADER_BYTES) / 8;
      const doubles = new Float64Array(memory.bytes.buffer, 0, double + 1);
      if (kind === "many") memory.plain[double * 2 + 1] = length || 9;
      else doubles[double] = (doubles[double] as number) - 8 + length;
      codes.add(codeOf(() => queue.pop()));
    }
    expect([...codes]).toEqual(["CORRUPT_RECORD"]);
  });
});

describe.each(["slots", "records"] as const)("S5: a ring of %s", (kind) => {
  it("takes no slot for filled that was filled for another lap", () => {
    for (const laps of [1, 2, 3]) {
      const { lease, queue } = openRing(kind, 3, 8);
      // Of records there are four such places.
      for (let id = 0; id < laps * (kind === "slots" ? 3 : 4); id++) {
        queue.push(valueOf(id, 8));
        queue.flush();
        expect(idOf(queue.pop() as Uint8Array)).toBe(id);
      }
      queue.flush();
      const { memory, offset } = regionOf(lease);
      const tail = offset / 4 + TAIL;
      memory.words.store(tail, memory.words.load(tail) + 2);
      expect(codeOf(() => queue.pop())).toBe("CORRUPT_RECORD");
    }
  });
});

type Act = (
  queue: FabricQueue,
  note: (kind: "in" | "out", id: number) => void,
  from: number,
) => void;

const acts: readonly [name: string, act: Act][] = [
  ["push", (queue, note, from) => void (queue.push(at(from)) && note("in", from))],
  ["pop", (queue, note) => popOne(queue.pop(), note)],
  [
    "pushBatch",
    (queue, note, from) => {
      const done = queue.pushBatch([at(from), at(from + 1), at(from + 2)]);
      for (let index = 0; index < done; index++) note("in", from + index);
    },
  ],
  ["popBatch", (queue, note) => queue.popBatch(3).forEach((value) => popOne(value, note))],
  [
    "claim",
    (queue, note, from) => {
      const bytes = queue.claim();
      if (bytes === undefined) return;
      bytes.set(at(from));
      queue.commit(at(from).length);
      note("in", from);
    },
  ],
  [
    "abort",
    (queue) => {
      if (queue.claim() !== undefined) queue.abort();
    },
  ],
  [
    "peek",
    (queue, note) => {
      const bytes = queue.peek()?.slice();
      if (bytes !== undefined && queue.consume()) popOne(bytes, note);
    },
  ],
];

function popOne(
  value: Uint8Array | undefined,
  note: (kind: "in" | "out", id: number) => void,
): void {
  if (value !== undefined) note("out", idOf(value));
}

function meet(
  one: Act,
  other: Act,
  capacity: number,
  filled: number,
  start: number,
  step: number,
): boolean {
  const { fabric, lease, queue } = openRing("many", capacity, stride);
  startAt(lease, "many", capacity, stride, start);
  const pushed: number[] = [];
  const popped: number[] = [];
  const note = (kind: "in" | "out", id: number): void =>
    void (kind === "in" ? pushed : popped).push(id);
  for (let id = 0; id < filled; id++) {
    queue.push(at(id));
    note("in", id);
  }
  const thread = new OtherThread(fabric);
  const mine = thread.join(lease);
  const theirs = new OtherThread(fabric).join(lease);
  const met = thread.interruptedAt(
    step,
    () => one(mine, note, 100),
    () => other(theirs, note, 200),
  );
  popped.push(...drain(queue, fabric));
  expect(popped.toSorted((a, b) => a - b)).toEqual(pushed.toSorted((a, b) => a - b));
  // Each producer's values in its order, as far as one consumer got them.
  expect(queue.stats()).toMatchObject({ skipped: 0, lost: 0, size: 0 });
  for (let id = 0; id < 2 * capacity; id++) {
    expect(queue.push(at(id))).toBe(true);
    expect(idOf(queue.pop() as Uint8Array)).toBe(id);
  }
  fabric[Symbol.dispose]();
  return met;
}

describe("M2: two threads at a ring for many", { timeout: 60_000 }, () => {
  const pairs = acts.flatMap(([name, act]) =>
    acts.map(([otherName, other]) => [name, otherName, act, other] as const),
  );
  it.each(pairs)("%s interrupted anywhere by %s: every value once", (_name, _other, act, other) => {
    for (const [capacity, filled, start] of [
      [1, 0, 0],
      [1, 1, lastPosition(1)],
      [3, 0, 8_191 * 3 + 2],
      [3, 2, lastPosition(3) - 1],
      [3, 3, 1],
    ] as const) {
      let step = 0;
      while (meet(act, other, capacity, filled, start, step)) step++;
      expect(step).toBeLessThan(400);
    }
  });

  it("M3: a consumer that lives keeps the value in its hand, however long it sleeps", () => {
    const { fabric, lease, queue: producer } = openRing("many", 1, stride, { unblockAfterMs: 10 });
    const thread = new OtherThread(fabric);
    const consumer = thread.join(lease);
    let met = true;
    for (let step = 0; met; step++) {
      expect(producer.push(at(1))).toBe(true);
      let value: Uint8Array | undefined;
      met = thread.interruptedAt(
        step,
        () => void (value = consumer.pop()),
        () => {
          for (let look = 0; look < 3; look++) {
            producer.push(at(2));
            fabric.tick(fabric.nowMs() + 10);
          }
        },
      );
      expect([idOf(value as Uint8Array), producer.stats().lost]).toEqual([1, 0]);
      while (producer.pop() !== undefined);
      expect(step).toBeLessThan(100);
    }
  });

  it("M1: a slot that a live thread is filling is never given up, however long it takes", () => {
    const { fabric, lease, queue: consumer } = openRing("many", 2, stride, { unblockAfterMs: 10 });
    const thread = new OtherThread(fabric);
    const producer = thread.join(lease);
    let outcomes = 0;
    for (let step = 0; ; step++) {
      const skippedBefore = consumer.stats().skipped;
      let early: Uint8Array | undefined;
      const met = thread.interruptedAt(
        step,
        () => expect(producer.push(at(3))).toBe(true),
        () => {
          for (let look = 0; look < 3; look++) {
            early ??= consumer.pop();
            fabric.tick(fabric.nowMs() + 10);
          }
        },
      );
      const value = early ?? consumer.pop();
      // Skipped only where it had taken a position and no slot yet: it then pushes elsewhere.
      expect(idOf(value as Uint8Array), `step ${step}`).toBe(3);
      outcomes += consumer.stats().skipped - skippedBefore;
      if (!met) break;
    }
    // No claim was torn.
    expect(outcomes).toBe(0);
  });

  it("a word that looks the same 8,192 laps later is not taken for one that is stuck", () => {
    const { fabric, lease, queue } = openRing("many", 1, 8, { unblockAfterMs: 10 });
    const thread = new OtherThread(fabric);
    const consumer = thread.join(lease, 10);
    const { memory, offset } = regionOf(lease);
    const position = (word: number): number => memory.words.load(offset / 4 + word);
    // A push while the consumer has taken a value and not yet given its slot back.
    const pushMeanwhile = (): boolean | undefined => {
      let isIn: boolean | undefined;
      thread.interruptedWhen(
        () => position(HEAD) === position(TAIL),
        () => expect(idOf(consumer.pop() as Uint8Array)).toBe(1),
        () => void (isIn = queue.push(valueOf(2, 8))),
      );
      return isIn;
    };
    startAt(lease, "many", 1, 8, 5);
    queue.push(valueOf(1, 8));
    expect(pushMeanwhile()).toBe(false);
    startAt(lease, "many", 1, 8, 5 + 8_192);
    queue.push(valueOf(1, 8));
    fabric.tick(fabric.nowMs() + 1_000);
    expect([pushMeanwhile(), queue.stats().lost]).toEqual([false, 0]);
  });
});

/** Fills a ring from one position; then one end, interrupted before access number `step`, meets the other. */
function endsMeet(
  kind: "slots" | "records",
  capacity: number,
  one: { readonly isPush: boolean; readonly run: Act },
  other: Act,
  step: number,
): boolean {
  const { fabric, lease, queue } = openRing(kind, capacity, stride);
  const thread = new OtherThread(fabric);
  const theirs = thread.join(lease);
  const pushed: number[] = [];
  const popped: number[] = [];
  const note = (way: "in" | "out", id: number): void =>
    void (way === "in" ? pushed : popped).push(id);
  const [producer, consumer] = one.isPush ? [theirs, queue] : [queue, theirs];
  // On to the lap's end, and full.
  for (let id = 0; id < capacity - 1; id++) {
    producer.push(at(id));
    producer.flush();
    expect(consumer.popBatch(1).map(idOf)).toEqual([id]);
  }
  while (producer.push(at(pushed.length))) pushed.push(pushed.length);
  if (one.isPush) popped.push(...consumer.popBatch(1).map(idOf));
  const met = thread.interruptedAt(
    step,
    () => one.run(theirs, note, pushed.length),
    () => {
      other(queue, note, pushed.length);
      queue.flush();
    },
  );
  theirs.flush();
  for (const value of consumer.popBatch(3 * capacity + 9)) popped.push(idOf(value));
  expect(popped, `step ${step}`).toEqual(pushed);
  fabric[Symbol.dispose]();
  return met;
}

const into: Act = (queue, note) => {
  const target = new Uint8Array(stride);
  for (let turn = 0; turn < 3; turn++) {
    const bytes = queue.popInto(target);
    if (bytes >= 0) note("out", idOf(target.slice(0, bytes)));
  }
};

const isPush = (name: string): boolean => ["push", "pushBatch", "claim"].includes(name);

describe.each(["slots", "records"] as const)("S1, S2: two threads at a ring of %s", (kind) => {
  const all: readonly (readonly [name: string, act: Act])[] = [...acts, ["popInto", into]];
  const pairs = all
    .filter(([name]) => name !== "abort")
    .flatMap(([name, act]) =>
      all
        .filter(([otherName]) => otherName !== "abort" && isPush(otherName) !== isPush(name))
        .map(([otherName, other]) => [name, otherName, act, other] as const),
    );
  it.each(pairs)(
    "%s interrupted anywhere by %s: every value once, in order",
    (name, _other, act, other) => {
      for (const capacity of [1, 2, 3]) {
        let step = 0;
        while (endsMeet(kind, capacity, { isPush: isPush(name), run: act }, other, step)) step++;
        expect(step).toBeLessThan(400);
      }
    },
  );
});

describe("D1: a bell", () => {
  const ITEMS_BELL = 160;
  const openBells = () => {
    const { fabric, lease } = openRing("many", 4, 8);
    const thread = new OtherThread(fabric);
    const theirs = new Doorbell(
      regionOf(thread.attach(lease)),
      regionOf(lease).offset / 4 + ITEMS_BELL,
    );
    const mine = new Doorbell(regionOf(lease), regionOf(lease).offset / 4 + ITEMS_BELL);
    const { memory, offset } = regionOf(lease);
    return { thread, theirs, mine, count: () => memory.words.load(offset / 4 + ITEMS_BELL + 1) };
  };

  it.each([false, true])(
    "wakes a waiter for what comes after its look, though it was rung for another before: waiter waits %s",
    (isWaited) => {
      for (let step = 0; step < 3; step++) {
        const { thread, theirs, mine, count } = openBells();
        if (isWaited) mine.announce();
        let announced = 0;
        thread.interruptedAt(
          step,
          () => void (announced = theirs.announce()),
          () => mine.ring(),
        );
        // What was rung for, another consumer has taken. This is the next value.
        mine.ring();
        expect(count(), `step ${step}`).not.toBe(announced);
      }
    },
  );

  it("wakes a waiter that announces itself in the middle of a ring for another", () => {
    for (let step = 0; step < 5; step++) {
      const { thread, theirs, mine, count } = openBells();
      mine.announce();
      let announced: number | undefined;
      const met = thread.interruptedAt(
        step,
        () => theirs.ring(),
        () => void (announced = mine.announce()),
      );
      mine.ring();
      expect(met ? count() : undefined, `step ${step}`).not.toBe(met ? announced : 0);
    }
  });
});
