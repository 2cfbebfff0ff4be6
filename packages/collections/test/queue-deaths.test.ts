/* oxlint-disable vitest/no-conditional-expect -- what holds differs by kind, and by the step at which a schedule stands */
/** What a queue promises when a thread dies, at every access that it makes to shared memory; or is only slow. */
import { isFabricError, regionOf } from "@selvage/fabric";
import type { FabricQueue } from "@selvage/collections";
import type { Fabric } from "@selvage/node";
import { describe, expect, it } from "vitest";
import { codeOf } from "./manual-fabric.ts";
import {
  CLAIM,
  HEAD_COUNT,
  HEADER_BYTES,
  idOf,
  kinds,
  lastPosition,
  openRing,
  OtherThread,
  startAt,
  TAIL_COUNT,
  valueOf,
  type Kind,
} from "./queue-rig.ts";

const stride = 24;
const at = (id: number): Uint8Array => valueOf(id, 4 + (id % 20));
const ids = (values: readonly Uint8Array[]): number[] => values.map(idOf);

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

/** What a producer of the crash test has done: values accepted for sure, and published for sure. */
interface Progress {
  accepted: number[];
  published: number;
  /** Values that an operation under way may or may not have brought in. */
  open: number[];
  isClaiming: boolean;
}

function producerScript(queue: FabricQueue, progress: Progress, kind: Kind): void {
  let next = 0;
  const flushed = (): void => void (progress.published = progress.accepted.length);
  const bring = (values: number[], run: () => unknown): void => {
    progress.open = values;
    run();
    progress.accepted.push(...values);
    progress.open = [];
    if (kind === "many") flushed();
  };
  const push = (): void => {
    const id = next++;
    bring([id], () => queue.push(at(id)));
  };
  const claim = (ends: "commit" | "abort"): void => {
    const id = next++;
    progress.isClaiming = true;
    progress.open = [id];
    const bytes = queue.claim();
    bytes?.set(at(id));
    // Opening a claim publishes what came before.
    flushed();
    if (ends === "abort") queue.abort();
    else bring([id], () => queue.commit(at(id).length));
    progress.open = [];
    progress.isClaiming = false;
  };
  push();
  push();
  claim("commit");
  push();
  queue.flush();
  flushed();
  const batch = [next++, next++, next++];
  bring(batch, () => queue.pushBatch(batch.map(at)));
  flushed();
  claim("abort");
  push();
  claim("commit");
  queue.flush();
  flushed();
  queue[Symbol.dispose]();
}

/** One life of a producer that ends before its access number `step`; whether it came to that. */
function producerDies(kind: Kind, step: number, start: number): boolean {
  const { fabric, lease, queue: consumer } = openRing(kind, 12, stride);
  startAt(lease, kind, 12, stride, start);
  const thread = new OtherThread(fabric);
  const producer = thread.join(lease);
  const progress: Progress = { accepted: [], published: 0, open: [], isClaiming: false };
  const died = thread.diesAt(step, () => producerScript(producer, progress, kind));
  const before = consumer.stats().skipped;
  const { memory, offset } = regionOf(lease);
  const isTorn = memory.words.load(offset / 4 + CLAIM) !== 0;
  thread.exit();
  const successor = new OtherThread(fabric).join(lease);
  expect(successor.push(at(90))).toBe(true);
  successor.flush();
  const got = drain(consumer, fabric);
  expect(got.pop(), `step ${step}: the successor's value comes last`).toBe(90);
  const all = [...progress.accepted, ...progress.open];
  // R1, R2: a prefix of what was brought in; all that was published is among it.
  expect(got, `step ${step}`).toEqual(all.slice(0, got.length));
  expect(got.length).toBeGreaterThanOrEqual(progress.published);
  // R4: a claim that was torn is skipped and counted, and nothing else is.
  const { skipped, size, lost } = consumer.stats();
  if (kind === "many") expect(skipped - before).toBeLessThanOrEqual(progress.open.length);
  else expect(skipped - before).toBe(isTorn ? 1 : 0);
  if (isTorn) expect(progress.isClaiming).toBe(true);
  // Of records, the count is stored beside the position, not with it: see `size`.
  if (kind === "records") expect(Math.abs(size)).toBeLessThanOrEqual(died ? 3 : 0);
  else expect(size).toBe(0);
  expect(lost).toBe(0);
  if (!died) expect([got.length, skipped]).toEqual([all.length, 0]);
  // R3: the whole ring is usable again.
  const values = Array.from({ length: 12 }, (_, id) => at(id));
  expect(successor.pushBatch(values)).toBe(12);
  expect(ids(consumer.popBatch(20))).toEqual(values.map(idOf));
  fabric[Symbol.dispose]();
  return died;
}

/** As above, for a consumer. */
function consumerDies(kind: Kind, step: number, start: number): boolean {
  const { fabric, lease, queue: producer } = openRing(kind, 12, stride);
  startAt(lease, kind, 12, stride, start);
  const pushed = Array.from({ length: 12 }, (_, id) => id);
  expect(producer.pushBatch(pushed.map(at))).toBe(12);
  const thread = new OtherThread(fabric);
  const consumer = thread.join(lease);
  const got: number[] = [];
  let open = 0;
  const take = (most: number, run: () => readonly Uint8Array[]): void => {
    open = most;
    got.push(...ids(run()));
    open = 0;
  };
  const died = thread.diesAt(step, () => {
    take(1, () => [consumer.pop() as Uint8Array]);
    take(3, () => consumer.popBatch(3));
    take(1, () => {
      const value = (consumer.peek() as Uint8Array).slice();
      consumer.consume();
      return [value];
    });
    take(1, () => {
      const into = new Uint8Array(stride);
      return [into.slice(0, consumer.popInto(into))];
    });
    consumer.flush();
    take(6, () => consumer.popBatch(9));
    consumer[Symbol.dispose]();
  });
  thread.exit();
  const successor = new OtherThread(fabric).join(lease);
  const rest = drain(successor, fabric);
  expect(got).toEqual(pushed.slice(0, got.length));
  if (kind === "many") {
    // Each once, but for what the dead one held.
    expect(rest).toEqual(pushed.slice(pushed.length - rest.length));
    expect(got.length + rest.length).toBeGreaterThanOrEqual(12 - open);
    expect(got.length + rest.length).toBeLessThanOrEqual(12);
  } else {
    // From the published head on: again what was popped and not published, and nothing left out before it.
    expect(rest).toEqual(pushed.slice(pushed.length - rest.length));
    expect(rest.length).toBeGreaterThanOrEqual(12 - got.length - open);
  }
  // R3: every slot comes back, though in a ring for many only once its time is up.
  for (let id = 20; id < 44; id++) {
    let waits = 0;
    while (!producer.push(at(id))) {
      expect(waits++).toBeLessThan(4);
      fabric.tick(fabric.nowMs() + 1_000);
    }
    producer.flush();
    expect(idOf(successor.pop() as Uint8Array)).toBe(id);
  }
  successor.flush();
  const { lost, skipped, size } = producer.stats();
  expect(lost).toBeLessThanOrEqual(kind === "many" ? open : 0);
  expect(skipped).toBe(0);
  if (kind === "records") expect(Math.abs(size)).toBeLessThanOrEqual(died ? 3 : 0);
  else expect(size).toBe(0);
  fabric[Symbol.dispose]();
  return died;
}

const starts = (kind: Kind): number[] =>
  kind === "records" ? [0] : [0, kind === "many" ? lastPosition(12) - 4 : 19];

describe.each(kinds)("on a ring of %s", { timeout: 60_000 }, (kind) => {
  it.each(starts(kind))("R1, R2, R4: a producer may die at any access (from %i)", (start) => {
    let step = 0;
    while (producerDies(kind, step, start)) step++;
    expect(step).toBeGreaterThan(50);
  });

  it.each(starts(kind))("R1, R3: a consumer may die at any access (from %i)", (start) => {
    let step = 0;
    while (consumerDies(kind, step, start)) step++;
    expect(step).toBeGreaterThan(20);
  });

  it("S3: a successor is refused while the first lives, and admitted once it has exited", () => {
    if (kind === "many") return;
    const { fabric, lease } = openRing(kind, 4, stride);
    const first = new OtherThread(fabric);
    const second = new OtherThread(fabric);
    const one = first.join(lease);
    const two = second.join(lease);
    one.push(at(1));
    one.pop();
    expect([codeOf(() => two.push(at(2))), codeOf(() => two.pop())]).toEqual([
      "CONFLICT",
      "CONFLICT",
    ]);
    first.exit();
    expect(two.push(at(2))).toBe(true);
    expect(idOf(two.pop() as Uint8Array)).toBe(2);
  });

  it("R4: a producer that was only slow gets STALE_EPOCH, changes no byte, and goes on", () => {
    const { fabric, lease, queue: consumer } = openRing(kind, 3, stride, { unblockAfterMs: 100 });
    const thread = new OtherThread(fabric);
    const producer = thread.join(lease);
    producer.push(at(1));
    (producer.claim() as Uint8Array).set(at(2));
    expect(idOf(consumer.pop() as Uint8Array)).toBe(1);
    expect(consumer.pop()).toBeUndefined();
    fabric.tick(fabric.nowMs() + 99);
    expect([consumer.pop(), consumer.stats().skipped]).toEqual([undefined, 0]);
    fabric.tick(fabric.nowMs() + 1);
    expect([consumer.pop(), consumer.stats().skipped]).toEqual([undefined, 1]);
    if (kind === "many") {
      // Others have filled the slot meanwhile.
      const other = new OtherThread(fabric).join(lease);
      for (let id = 3; id < 6; id++) expect(other.push(at(id))).toBe(true);
    }
    const { memory, offset } = regionOf(lease);
    const slots = () => memory.bytes.slice(offset + HEADER_BYTES, offset + lease.bytes);
    const before = slots();
    expect(codeOf(() => producer.commit(4))).toBe("STALE_EPOCH");
    expect(slots()).toEqual(before);
    const expected = kind === "many" ? [3, 4, 5] : [];
    expect(ids(consumer.popBatch(9))).toEqual(expected);
    (producer.claim() as Uint8Array).set(at(7));
    producer.commit(at(7).length);
    producer.push(at(8));
    producer.flush();
    expect(ids(consumer.popBatch(9))).toEqual([7, 8]);
    expect(consumer.stats()).toMatchObject({ skipped: 1, lost: 0, size: 0 });
  });

  it("R5: a free slot that says whose it is, is damage, and is not given up for ever", () => {
    if (kind !== "many") return;
    const { lease, queue } = openRing(kind, 4, stride, { unblockAfterMs: 0 });
    queue.push(at(1));
    expect(idOf(queue.pop() as Uint8Array)).toBe(1);
    queue.push(at(2));
    const { memory, offset } = regionOf(lease);
    const slotWords = (lease.bytes - HEADER_BYTES) / 4 / 4;
    const second = (offset + HEADER_BYTES) / 4 + Math.floor(slotWords);
    // Free, of this lap, and somebody's.
    memory.plain[second] = 16 << 3;
    expect(codeOf(() => queue.pop())).toBe("CORRUPT_RECORD");
  });

  it("R1, R4: a slot that a consumer left is filled again before anybody looks, and found", () => {
    if (kind !== "many") return;
    for (let step = 0; ; step++) {
      const { fabric, lease, queue } = openRing(kind, 1, stride, { unblockAfterMs: 10 });
      // A skipped slot before the value: there the head follows the slot too.
      (queue.claim() as Uint8Array).set(at(0));
      queue.abort();
      const thread = new OtherThread(fabric);
      const consumer = thread.join(lease);
      const died = thread.diesAt(step, () => {
        consumer.pop();
        if (queue.push(at(1))) consumer.pop();
      });
      thread.exit();
      const isIn = queue.push(at(2));
      const got = drain(queue, fabric);
      expect(got.at(-1), `step ${step}`).toBe(isIn ? 2 : got.length === 0 ? undefined : 1);
      expect(queue.push(at(3)), `step ${step}`).toBe(true);
      expect(drain(queue, fabric)).toEqual([3]);
      fabric[Symbol.dispose]();
      if (!died) break;
      expect(step).toBeLessThan(200);
    }
  });

  it("R4: a claim is committed or given up, never both, whoever comes first", () => {
    for (let step = 0; ; step++) {
      const { fabric, lease, queue: consumer } = openRing(kind, 2, stride, { unblockAfterMs: 10 });
      const thread = new OtherThread(fabric);
      const producer = thread.join(lease);
      (producer.claim() as Uint8Array).set(at(5));
      consumer.pop();
      fabric.tick(fabric.nowMs() + 10);
      let code: string | undefined;
      let seen: Uint8Array | undefined;
      const met = thread.interruptedAt(
        step,
        () => {
          try {
            producer.commit(at(5).length);
          } catch (thrown) {
            code = isFabricError(thrown) ? thrown.code : "untyped";
          }
        },
        () => void (seen = consumer.pop()),
      );
      producer.flush();
      seen ??= consumer.pop();
      const { skipped } = consumer.stats();
      expect([code, skipped]).toEqual(seen === undefined ? ["STALE_EPOCH", 1] : [undefined, 0]);
      fabric[Symbol.dispose]();
      if (!met) break;
      expect(step).toBeLessThan(200);
    }
  });
});

describe("a count of values with a stray write", () => {
  // Found by a simulated run: a producer that pushes after a lost ring begins in a new one without asking for its count.
  it.each(["producer", "consumer"] as const)(
    "E3: that the %s finds in a ring as it takes its role is not made true by what it publishes",
    (role) => {
      for (const kind of ["slots", "records"] as const)
        for (const stray of [-1, 7_777]) {
          const { lease, queue } = openRing(kind, 8, stride);
          const { memory, offset } = regionOf(lease);
          memory.plain[offset / 4 + (role === "producer" ? TAIL_COUNT : HEAD_COUNT)] = stray;
          for (let id = 0; id < 20; id++) {
            queue.push(at(id));
            queue.flush();
            expect(idOf(queue.pop() as Uint8Array)).toBe(id);
            queue.flush();
            const notes = queue.notes();
            const [unknown, known] = [() => notes.published, () => notes.popped];
            expect(codeOf(role === "producer" ? unknown : known)).toBe("CORRUPT_RECORD");
            expect((role === "producer" ? known : unknown)()).toBe(id + 1);
          }
        }
    },
  );
});
