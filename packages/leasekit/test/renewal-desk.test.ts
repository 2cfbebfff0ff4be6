import { once } from "node:events";
import { Worker } from "node:worker_threads";
import {
  AtomicsWords,
  bufferMemoryProvider,
  ControlPlane,
  OWNER_THREAD,
  ThreadPulse,
  type Renewal,
} from "@selvage/fabric";
import { RenewalDesk, type DeskEntry, type DeskState } from "@selvage/leasekit";
import { describe, expect, it, vi } from "vitest";
import type { SweeperData } from "./desk-sweeper.ts";

const SLOTS = 4;
const handle = { fabricId: "f".repeat(32), baseMs: 0, slots: SLOTS, manual: false, guard: false };
const ids = Int32Array.of(1, 2, 3, 4);

function memoryOf(): { memory: SharedArrayBuffer; control: ControlPlane } {
  const arena = bufferMemoryProvider.reserve(ControlPlane.bytesFor(SLOTS), { shared: true });
  return { memory: arena.handle as SharedArrayBuffer, control: new ControlPlane(arena, handle) };
}

/** A lease of 100 ms in slot 0, granted at `nowMs`. */
function leaseAt(nowMs: number): ControlPlane {
  const { control } = memoryOf();
  control.advanceClock(nowMs);
  control.grant(0, 1, nowMs + 100, ids, 0);
  ThreadPulse.owner(control);
  return control;
}

function entry(nowMs: number, given: Partial<DeskEntry> = {}): DeskEntry {
  const renewAfterMs = given.renewAfterMs ?? 75;
  return {
    slot: 0,
    generation: 1,
    thread: OWNER_THREAD,
    ttlMs: 100,
    renewAfterMs,
    stallMs: 1_000,
    dueAtMs: nowMs + renewAfterMs,
    ...given,
  };
}

describe("RenewalDesk", () => {
  it("reads as armed with the time left until due, then as free", () => {
    const control = leaseAt(1_000);
    const desk = new RenewalDesk();
    const index = desk.add(control, entry(1_000));
    expect(desk.read(control, index, 1_000)).toEqual({ state: "armed", renewed: 0, dueInMs: 75 });
    expect(desk.read(control, index, 1_100).dueInMs).toBe(-25);
    desk.remove(index);
    expect(desk.read(control, index, 1_000).state).toBe("free");
  });

  it("uses an entry again that was given back, and leaves its count of renewals running", () => {
    const control = leaseAt(1_000);
    const desk = new RenewalDesk();
    const index = desk.add(control, entry(1_000));
    desk.sweep(control, 1_080);
    desk.remove(index);
    expect(desk.add(control, entry(1_080))).toBe(index);
    expect(desk.read(control, index, 1_080)).toEqual({ state: "armed", renewed: 1, dueInMs: 75 });
    expect(desk.add(control, entry(1_080))).toBe(index + 1);
  });

  it("keeps what it holds as it grows, and stays where it is once it is shared", () => {
    const control = leaseAt(1_000);
    const desk = new RenewalDesk();
    const stands = (): boolean[] =>
      indices.map((index, nth) => desk.read(control, index, 1_000).dueInMs === nth);
    const add = (nth: number): number => desk.add(control, entry(1_000, { dueAtMs: 1_000 + nth }));
    const indices = Array.from({ length: 500 }, (_, nth) => add(nth));
    expect(stands()).not.toContain(false);
    const shared = desk.share();
    for (let nth = 500; nth < 1_000; nth++) indices.push(add(nth));
    expect(stands()).not.toContain(false);
    expect(desk.share()).toBe(shared);
    expect(new RenewalDesk(shared).read(control, indices[999] as number, 1_000).dueInMs).toBe(999);
  });

  it("takes 65,536 leases, refuses the next with CAPACITY_EXCEEDED, and takes one again for one given back", () => {
    const control = leaseAt(1_000);
    const desk = new RenewalDesk();
    for (let count = 0; count < 65_536; count++) desk.add(control, entry(1_000));
    const add = (): number => desk.add(control, entry(1_000));
    expect(add).toThrow(
      expect.objectContaining({ code: "CAPACITY_EXCEEDED", details: { entriesMax: 65_536 } }),
    );
    desk.remove(777);
    expect(add()).toBe(777);
    expect(add).toThrow("full");
    // The last entry is swept as well.
    desk.sweep(control, 1_075);
    expect(desk.read(control, 65_535, 1_075).renewed).toBe(1);
  });

  it("does not renew the next lease of the slot in place of the one that was registered", () => {
    const control = leaseAt(1_000);
    const desk = new RenewalDesk();
    const index = desk.add(control, entry(1_000));
    control.grant(0, 2, 1_100, ids, 0);
    desk.sweep(control, 1_090, true);
    expect([desk.read(control, index, 1_090).state, control.moment(0).deadlineMs]).toEqual([
      "ended",
      1_100,
    ]);
  });

  describe.each([
    ["2^31", 2 ** 31],
    ["2^32", 2 ** 32],
    ["3 * 2^31", 3 * 2 ** 31],
  ])("while the clock's low word passes %s ms", (_name, wrapMs) => {
    it("L8: keeps a lease whose holder works, and lets it end at its deadline once removed", () => {
      const startMs = wrapMs - 105;
      const control = leaseAt(startMs);
      const owner = ThreadPulse.owner(control);
      const desk = new RenewalDesk();
      const index = desk.add(control, entry(startMs));
      let nowMs = startMs;
      for (; nowMs < wrapMs + 300; nowMs += 5) {
        desk.sweep(control, nowMs);
        control.advanceClock(nowMs);
        owner.progress();
        expect(control.moment(0).deadlineMs).toBeGreaterThan(nowMs);
      }
      expect(desk.read(control, index, nowMs)).toMatchObject({ state: "armed", renewed: 5 });
      const { deadlineMs } = control.moment(0);
      desk.remove(index);
      desk.sweep(control, deadlineMs - 1);
      expect(control.moment(0).deadlineMs).toBe(deadlineMs);
    });

    it.each([5, 60, 105, 150, 160, 190])(
      "lapses a silent hold on time, %i ms from the wrap",
      (ms) => {
        const startMs = wrapMs - ms;
        const control = leaseAt(startMs);
        const desk = new RenewalDesk();
        const index = desk.add(control, entry(startMs, { stallMs: 80 }));
        const seen: [number, DeskState][] = [];
        for (let nowMs = startMs; nowMs <= startMs + 300; nowMs++) {
          desk.sweep(control, nowMs);
          control.advanceClock(nowMs);
          const { state } = desk.read(control, index, nowMs);
          if (state !== seen.at(-1)?.[1]) seen.push([nowMs - startMs, state]);
        }
        // Renewed once, at 75 ms, before the silence of 80; that ends at 175.
        expect(seen).toEqual([
          [0, "armed"],
          [175, "lapsed"],
        ]);
        expect(control.moment(0).deadlineMs).toBe(startMs + 175);
      },
    );
  });
});

/** A control plane that lets a test act between a sweeper's renewal and what it writes of it. */
class InterruptedControl extends ControlPlane {
  interrupt: () => void = () => {};

  override renew(slot: number, generation: number, nowMs: number, deadlineMs: number): Renewal {
    const outcome = super.renew(slot, generation, nowMs, deadlineMs);
    const { interrupt } = this;
    this.interrupt = () => {};
    interrupt();
    return outcome;
  }
}

describe("D1: a sweeper that another step comes between", () => {
  function interrupted(): { control: InterruptedControl; desk: RenewalDesk; index: number } {
    const { memory } = memoryOf();
    const arena = bufferMemoryProvider.attach(memory, ControlPlane.bytesFor(SLOTS));
    const control = new InterruptedControl(arena, handle);
    control.advanceClock(1_000);
    control.grant(0, 1, 1_100, ids, 0);
    control.grant(1, 1, 500_000, ids, 0);
    ThreadPulse.owner(control);
    const desk = new RenewalDesk();
    return { control, desk, index: desk.add(control, entry(1_000)) };
  }
  const other = entry(1_075, { slot: 1, ttlMs: 20, renewAfterMs: 15, dueAtMs: 1_090 });

  it("does not move the due moment of the entry's next registration", () => {
    const { control, desk, index } = interrupted();
    control.interrupt = () => {
      desk.remove(index);
      desk.add(control, other);
    };
    desk.sweep(control, 1_075);
    expect(desk.read(control, index, 1_075)).toEqual({ state: "armed", renewed: 0, dueInMs: 15 });
  });

  it("does not end the entry's next registration when its own lease is over", () => {
    const { control, desk, index } = interrupted();
    control.interrupt = () => {
      desk.remove(index);
      desk.add(control, other);
    };
    control.end(0, 1, 5);
    desk.sweep(control, 1_075);
    expect(desk.read(control, index, 1_075).state).toBe("armed");
  });

  it("does not arm an entry again that was given back", () => {
    const { control, desk, index } = interrupted();
    control.interrupt = () => desk.remove(index);
    desk.sweep(control, 1_075);
    expect(desk.read(control, index, 1_075)).toMatchObject({ state: "free", renewed: 0 });
  });

  it("counts one renewal when two sweep at once, and does not set the due moment back", () => {
    const { control, desk, index } = interrupted();
    const second = new RenewalDesk(desk.share());
    control.interrupt = () => second.sweep(control, 1_080);
    desk.sweep(control, 1_075);
    expect(desk.read(control, index, 1_075)).toEqual({ state: "armed", renewed: 1, dueInMs: 80 });
    expect(control.moment(0).deadlineMs).toBe(1_180);
  });
});

/** Sweeps a due entry of slot 0 whose owner gives it to slot 1 before the sweeper's load number `step`. */
function sweepInterrupted(step: number): { wasInterrupted: boolean; seen: unknown } {
  const { control } = memoryOf();
  control.advanceClock(1_000);
  for (const slot of [0, 1]) control.grant(slot, 1, 1_100, ids, 0);
  ThreadPulse.owner(control);
  const desk = new RenewalDesk();
  const index = desk.add(control, entry(1_000));
  const load = Reflect.get<AtomicsWords, "load">(AtomicsWords.prototype, "load");
  let loads = 0;
  const spy = vi.spyOn(AtomicsWords.prototype, "load").mockImplementation(function (
    this: AtomicsWords,
    word,
  ) {
    if (loads++ === step) {
      desk.remove(index);
      desk.add(control, entry(1_000, { slot: 1, ttlMs: 9_000, renewAfterMs: 8_000 }));
    }
    return load.call(this, word);
  });
  desk.sweep(control, 1_075);
  spy.mockRestore();
  const { state, dueInMs } = desk.read(control, index, 1_075);
  const deadlines = [0, 1].map((slot) => control.moment(slot).deadlineMs);
  return { wasInterrupted: loads > step, seen: { state, dueInMs, deadlines } };
}

describe("D1: a sweeper that is interrupted before any one of its loads", () => {
  it("leaves the next registration as it is, and renews no lease by another's TTL", () => {
    const next = { state: "armed", dueInMs: 7_925 };
    const acceptable = [
      // The first lease was renewed, by its own TTL, just before it was removed.
      { ...next, deadlines: [1_175, 1_100] },
      // It was not; and the second is not due.
      { ...next, deadlines: [1_100, 1_100] },
    ];
    let step = 0;
    for (; ; step++) {
      const { wasInterrupted, seen } = sweepInterrupted(step);
      if (!wasInterrupted) break;
      expect(acceptable, `step ${step}`).toContainEqual(seen);
    }
    expect(step).toBeGreaterThan(10);
  });
});

describe("D1: threads that sweep while the owner removes and adds", () => {
  it("keep each registration's figures apart", async () => {
    const { memory, control } = memoryOf();
    const nowMs = control.advanceClock(1_000_000);
    ThreadPulse.owner(control);
    for (const slot of [0, 1]) control.grant(slot, 1, nowMs + 1, ids, 0);
    const desk = new RenewalDesk();
    const signals = new Int32Array(new SharedArrayBuffer(8));
    const workerData: SweeperData = {
      memory,
      handle,
      desk: desk.share(),
      signals: signals.buffer,
    };
    const workers = [0, 1].map(
      () => new Worker(new URL("./desk-sweeper.ts", import.meta.url), { workerData }),
    );
    await Promise.all(workers.map((worker) => once(worker, "message")));
    // The two kinds of registration that take turns in one entry: what each becomes when renewed.
    const kinds = [1_000, 1_000_000].map((renewAfterMs, slot) =>
      entry(nowMs, { slot, ttlMs: 2 * renewAfterMs, renewAfterMs, dueAtMs: nowMs, stallMs: 1e6 }),
    );
    const outcomes = new Map<string, number>();
    const endMs = performance.now() + 1_500;
    let rounds = 0;
    // Longer where the sweepers have not had their turns yet.
    const isMet = (): boolean =>
      performance.now() >= endMs && (outcomes.get("armed, renewed") ?? 0) > 20;
    for (; !isMet() && performance.now() < endMs + 30_000; rounds++) {
      const kind = kinds[rounds % 2] ?? entry(nowMs);
      const index = desk.add(control, kind);
      // A little while, not the same each time, for sweepers to be anywhere in their visit.
      for (let spin = rounds % 97; spin > 0; spin--) desk.read(control, index, nowMs);
      const { state, dueInMs } = desk.read(control, index, nowMs);
      desk.remove(index);
      const which = dueInMs === 0 ? "due" : dueInMs === kind.renewAfterMs ? "renewed" : "foreign";
      const outcome = `${state}, ${which}`;
      outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
    }
    Atomics.store(signals, 0, 1);
    await Promise.all(workers.map((worker) => once(worker, "exit")));
    const told = JSON.stringify([...outcomes]);
    expect(Atomics.load(signals, 1), "sweeps").toBeGreaterThan(100);
    // Acceptable: not swept yet; renewed by its own figures. Anything else is another registration's.
    expect(
      [...outcomes.keys()].filter((one) => one !== "armed, due" && one !== "armed, renewed"),
      told,
    ).toEqual([]);
    expect(outcomes.get("armed, renewed"), told).toBeGreaterThan(20);
    // Nor was either lease renewed by the other's TTL. The clock stood still.
    expect([0, 1].map((slot) => control.moment(slot).deadlineMs - nowMs)).toEqual([
      2_000, 2_000_000,
    ]);
  });
});
