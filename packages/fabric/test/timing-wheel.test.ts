import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { InvariantError } from "../src/errors.ts";
import { TimingWheel, WHEEL_CAPACITY_MAX } from "../src/timing-wheel.ts";

// A property takes 2 s here, and more than vitest's 5 s on a machine with ten things to do.
const patienceMs = 60_000;

const startMs = 1_700_000_000_001;

/** Advances and returns the ids handed out, none armed again. */
function dueAt(wheel: TimingWheel, nowMs: number): number[] {
  const ids: number[] = [];
  const count = wheel.advance(nowMs, (id) => {
    ids.push(id);
    return -1;
  });
  expect(count).toBe(ids.length);
  return ids.toSorted((a, b) => a - b);
}

// The first millisecond of each level's second bucket, and its neighbours: 8 ms, 2 s, 9 min, 37 h, 1 year, ...
const boundaries = [0, 1, 2, 3, 4].flatMap((level) => {
  const spanMs = 8 * 256 ** level;
  return [spanMs - 1, spanMs, spanMs + 1, 255 * spanMs, 256 * spanMs - 1];
});

describe("TimingWheel.advance()", () => {
  it.each(boundaries)(
    "W1: hands out a slot %i ms ahead at its instant and not a millisecond before",
    (aheadMs) => {
      const wheel = new TimingWheel(1, startMs);
      wheel.schedule(0, startMs + aheadMs);
      expect(dueAt(wheel, startMs + aheadMs - 1)).toEqual([]);
      expect(wheel.isArmed(0)).toBe(true);
      expect(dueAt(wheel, startMs + aheadMs)).toEqual([0]);
      expect(wheel.isArmed(0)).toBe(false);
    },
  );

  it.each(boundaries)(
    "W1: hands out a slot %i ms ahead that is stepped towards, not jumped to",
    (aheadMs) => {
      const wheel = new TimingWheel(1, startMs);
      const atMs = startMs + aheadMs;
      wheel.schedule(0, atMs);
      // Half of what is left each time: a sift at every level on the way.
      for (let leftMs = Math.floor(aheadMs / 2); leftMs > 0; leftMs = Math.floor(leftMs / 2)) {
        expect(dueAt(wheel, atMs - leftMs)).toEqual([]);
      }
      expect(dueAt(wheel, atMs)).toEqual([0]);
    },
  );

  it("W1: tells apart the slots of one bucket by their exact instants", () => {
    const wheel = new TimingWheel(8, startMs);
    for (let id = 0; id < 8; id++) wheel.schedule(id, startMs + 8_000 + id);
    for (let id = 0; id < 8; id++) expect(dueAt(wheel, startMs + 8_000 + id)).toEqual([id]);
  });

  it("W2: hands out every level at once after a long jump, and nothing that is later", () => {
    const wheel = new TimingWheel(boundaries.length + 1, startMs);
    boundaries.forEach((aheadMs, id) => wheel.schedule(id, startMs + aheadMs));
    const farthestMs = startMs + Math.max(...boundaries);
    wheel.schedule(boundaries.length, farthestMs + 1);
    expect(dueAt(wheel, farthestMs)).toEqual(boundaries.map((_, id) => id));
    expect(wheel.isArmed(boundaries.length)).toBe(true);
  });

  it("hands out an instant not after the present at the next call, even within the same millisecond", () => {
    const wheel = new TimingWheel(3, startMs);
    wheel.advance(startMs + 100, () => -1);
    wheel.schedule(0, startMs + 100);
    wheel.schedule(1, startMs - 1_000_000);
    wheel.schedule(2, Number.MIN_SAFE_INTEGER);
    expect(dueAt(wheel, startMs + 100)).toEqual([0, 1, 2]);
  });

  it("ignores a time that goes back", () => {
    const wheel = new TimingWheel(1, startMs);
    wheel.advance(startMs + 100, () => -1);
    wheel.schedule(0, startMs);
    expect(dueAt(wheel, startMs + 99)).toEqual([]);
    expect(dueAt(wheel, startMs + 100)).toEqual([0]);
  });

  it("arms a slot again at the later instant that the callback returns, because renewal is a write elsewhere", () => {
    const wheel = new TimingWheel(1, startMs);
    wheel.schedule(0, startMs + 10);
    expect(wheel.advance(startMs + 20, () => startMs + 21)).toBe(1);
    expect(dueAt(wheel, startMs + 20)).toEqual([]);
    expect(dueAt(wheel, startMs + 21)).toEqual([0]);
  });

  it.each([0, startMs, startMs + 20, NaN, Infinity, startMs + 20.5])(
    "rejects %s as the instant to arm a slot again",
    (againAtMs) => {
      const wheel = new TimingWheel(1, startMs);
      wheel.schedule(0, startMs + 10);
      expect(() => wheel.advance(startMs + 20, () => againAtMs)).toThrow(InvariantError);
    },
  );

  it("does not hand out a slot that an earlier callback cancelled, though they share a bucket", () => {
    const wheel = new TimingWheel(3, startMs);
    for (const id of [0, 1, 2]) wheel.schedule(id, startMs + 800 + id);
    const ids: number[] = [];
    wheel.advance(startMs + 2_000, (id) => {
      ids.push(id);
      for (const other of [0, 1, 2]) wheel.cancel(other);
      return -1;
    });
    expect(ids).toHaveLength(1);
    expect([0, 1, 2].map((id) => wheel.isArmed(id))).toEqual([false, false, false]);
  });

  it("leaves what a callback schedules for the next call, even if it is due: the walk ends", () => {
    const wheel = new TimingWheel(3, startMs);
    wheel.schedule(0, startMs + 10);
    wheel.schedule(1, startMs + 11);
    expect(
      wheel.advance(startMs + 20, (id) => {
        wheel.schedule(id, startMs);
        if (!wheel.isArmed(2)) wheel.schedule(2, startMs + 20);
        return -1;
      }),
    ).toBe(2);
    expect(dueAt(wheel, startMs + 20)).toEqual([0, 1, 2]);
  });

  it("W4: keeps the slots not yet handed out armed and due when a callback throws", () => {
    const wheel = new TimingWheel(3, startMs);
    for (const id of [0, 1, 2]) wheel.schedule(id, startMs + 5_000 * id);
    expect(() =>
      wheel.advance(startMs + 60_000, () => {
        throw new Error("broken callback");
      }),
    ).toThrow("broken callback");
    expect([wheel.isArmed(0), wheel.isArmed(1), wheel.isArmed(2)]).toEqual([false, true, true]);
    expect(wheel.nextDueMs()).toBe(startMs + 60_000);
    expect(dueAt(wheel, startMs + 60_000)).toEqual([1, 2]);
  });

  it("holds an instant beyond its horizon, and never reaches it early", () => {
    const wheel = new TimingWheel(2, startMs);
    wheel.schedule(0, Number.MAX_SAFE_INTEGER);
    const lastMs = startMs + 2 ** 43 - 1;
    wheel.schedule(1, lastMs);
    expect(dueAt(wheel, lastMs - 1)).toEqual([]);
    expect(dueAt(wheel, lastMs)).toEqual([1]);
    expect(wheel.isArmed(0)).toBe(true);
    expect(() => wheel.advance(lastMs + 1, () => -1)).toThrow(InvariantError);
  });
});

describe("TimingWheel.schedule() and cancel()", () => {
  it("rejects a slot that is armed, because it would be in two lists", () => {
    const wheel = new TimingWheel(1, startMs);
    wheel.schedule(0, startMs + 10);
    expect(() => wheel.schedule(0, startMs + 20)).toThrow(InvariantError);
  });

  it("does nothing for a slot that is not armed", () => {
    const wheel = new TimingWheel(2, startMs);
    wheel.cancel(1);
    wheel.schedule(0, startMs + 10);
    wheel.cancel(0);
    wheel.cancel(0);
    expect(dueAt(wheel, startMs + 60_000)).toEqual([]);
  });

  it.each([-1, 0.5, 2, 2 ** 32, NaN])("rejects %s, which is not a slot of the wheel", (id) => {
    const wheel = new TimingWheel(2, startMs);
    expect(() => wheel.schedule(id, startMs)).toThrow(InvariantError);
    expect(() => wheel.cancel(id)).toThrow(InvariantError);
    expect(() => wheel.isArmed(id)).toThrow(InvariantError);
  });

  it.each([0.5, NaN, Infinity, 2 ** 53])("rejects %s, which is not an instant", (atMs) => {
    const wheel = new TimingWheel(1, startMs);
    expect(() => wheel.schedule(0, atMs)).toThrow(InvariantError);
    expect(() => wheel.advance(startMs + atMs, () => -1)).toThrow(InvariantError);
    expect(() => new TimingWheel(1, atMs)).toThrow(InvariantError);
  });

  it("rejects a start below 0, because a negative answer of the callback means: do not arm again", () => {
    expect(() => new TimingWheel(1, -1)).toThrow(InvariantError);
    const wheel = new TimingWheel(1, 0);
    wheel.schedule(0, -1);
    expect(wheel.advance(0, () => 1)).toBe(1);
    expect(dueAt(wheel, 1)).toEqual([0]);
  });

  it.each([0, -1, 1.5, NaN, WHEEL_CAPACITY_MAX + 1])(
    "rejects %s, which is not a capacity",
    (capacity) => {
      expect(() => new TimingWheel(capacity, startMs)).toThrow(InvariantError);
    },
  );
});

describe("TimingWheel.scheduleBy()", () => {
  it("arms a slot, arms it earlier, and leaves it where it is due earlier already", () => {
    const beginMs = 1_000;
    const wheel = new TimingWheel(1, beginMs);
    const dueAtMs: number[] = [];
    const step = (nowMs: number): number =>
      wheel.advance(nowMs, () => {
        dueAtMs.push(nowMs);
        return -1;
      });
    wheel.scheduleBy(0, beginMs + 5_000);
    wheel.scheduleBy(0, beginMs + 3_000);
    wheel.scheduleBy(0, beginMs + 9_000);
    step(beginMs + 2_999);
    expect(dueAtMs).toEqual([]);
    step(beginMs + 3_000);
    expect(dueAtMs).toEqual([beginMs + 3_000]);
    expect(wheel.isArmed(0)).toBe(false);
    step(beginMs + 10_000);
    expect(dueAtMs).toEqual([beginMs + 3_000]);
  });
});

describe("TimingWheel.nextDueMs()", () => {
  it("says nothing when nothing is armed", () => {
    const wheel = new TimingWheel(1, startMs);
    expect(wheel.nextDueMs()).toBeUndefined();
    wheel.schedule(0, startMs + 10);
    wheel.cancel(0);
    expect(wheel.nextDueMs()).toBeUndefined();
  });

  it.each(boundaries)(
    "leads to a slot %i ms ahead in a few steps, each of which moves time",
    (aheadMs) => {
      const wheel = new TimingWheel(1, startMs);
      wheel.schedule(0, startMs + aheadMs);
      let nowMs = startMs;
      // One step per level, and the last to the exact instant.
      for (let steps = 0; wheel.isArmed(0); steps++) {
        expect(steps).toBeLessThanOrEqual(5);
        const nextMs = wheel.nextDueMs() as number;
        expect(nextMs).toBeGreaterThan(nowMs);
        wheel.advance((nowMs = nextMs), () => -1);
      }
      expect(nowMs).toBe(startMs + aheadMs);
    },
  );
});

const slots = 24;
const id = fc.nat(slots - 1);
// Near, about each level's bounds, and far: 2^41 ms is beyond what callers are promised, within the horizon.
const spanAheadMs = fc
  .record({
    level: fc.integer({ min: 0, max: 4 }),
    turns: fc.integer({ min: 1, max: 256 }),
    off: fc.integer({ min: -9, max: 9 }),
  })
  .map(({ level, turns, off }) => Math.min(8 * 256 ** level * turns + off, 2 ** 41));
const aheadMs = fc.oneof(
  fc.integer({ min: -20, max: 40 }),
  spanAheadMs,
  fc.integer({ min: 0, max: 100_000 }),
);
/** What one callback does: cancels a slot, schedules a slot, and perhaps arms its own again. */
const effect = fc.record({ cancel: id, schedule: id, inMs: aheadMs, again: fc.boolean() });
const effects = fc.array(effect, { maxLength: 6 });
const step = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({ kind: fc.constant("schedule" as const), id, inMs: aheadMs }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("cancel" as const), id }) },
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constant("advance" as const), inMs: aheadMs, effects }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("follow the hint" as const), effects }) },
);
type Effect = typeof effect extends fc.Arbitrary<infer T> ? T : never;
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

/** A wheel, and beside it a map from armed slots to instants that says what the wheel must do. */
interface Checked {
  readonly wheel: TimingWheel;
  readonly model: Map<number, number>;
  nowMs: number;
}

function schedule({ wheel, model }: Checked, slot: number, atMs: number): void {
  if (model.has(slot)) return;
  wheel.schedule(slot, atMs);
  model.set(slot, atMs);
}

function cancel({ wheel, model }: Checked, slot: number): void {
  wheel.cancel(slot);
  model.delete(slot);
}

function advance(checked: Checked, toMs: number, effectsLeft: readonly Effect[]): void {
  const { wheel, model } = checked;
  const goesOn = toMs >= checked.nowMs;
  if (goesOn) checked.nowMs = toMs;
  const waiting = new Set(
    [...model.keys()].filter((slot) => goesOn && Number(model.get(slot)) <= toMs),
  );
  const handedOut: number[] = [];
  const untimely: number[] = [];
  const count = wheel.advance(toMs, (slot) => {
    if (!waiting.delete(slot) || wheel.isArmed(slot)) untimely.push(slot);
    const now = effectsLeft[handedOut.push(slot) - 1];
    model.delete(slot);
    if (now === undefined) return -1;
    cancel(checked, now.cancel);
    waiting.delete(now.cancel);
    schedule(checked, now.schedule, toMs + now.inMs);
    if (!now.again || now.inMs <= 0 || model.has(slot)) return -1;
    model.set(slot, toMs + now.inMs);
    return toMs + now.inMs;
  });
  expect(untimely, "W1: handed out early, twice, or still armed").toEqual([]);
  expect([...waiting], "W1: due and not handed out").toEqual([]);
  expect(count).toBe(handedOut.length);
}

/** Returns the hint, the present if there is none. */
function checkHint({ wheel, model, nowMs }: Checked): number {
  const earliestMs = Math.min(...model.values());
  const hintMs = wheel.nextDueMs() ?? Infinity;
  expect(hintMs, "a lower bound").toBeLessThanOrEqual(earliestMs);
  expect(hintMs === Infinity, "none armed").toBe(model.size === 0);
  // A hint that is not later than the present would have its reader spin.
  expect(hintMs <= nowMs, "due already").toBe(earliestMs <= nowMs);
  return hintMs === Infinity ? nowMs : hintMs;
}

function take(checked: Checked, taken: Step): void {
  const hintMs = checkHint(checked);
  if (taken.kind === "schedule") schedule(checked, taken.id, checked.nowMs + taken.inMs);
  else if (taken.kind === "cancel") cancel(checked, taken.id);
  else advance(checked, "inMs" in taken ? checked.nowMs + taken.inMs : hintMs, taken.effects);
  const armed = Array.from({ length: slots }, (_, slot) => checked.wheel.isArmed(slot));
  expect(armed).toEqual(armed.map((_, slot) => checked.model.has(slot)));
}

describe("TimingWheel", () => {
  const firstMs = fc.integer({ min: 0, max: 2 ** 41 });
  const steps = fc.array(step, { maxLength: 100, size: "max" });

  it(
    "W1, W2, W3, W4, W5: agrees with a map of instants on every sequence of calls, also from callbacks",
    () => {
      fc.assert(
        fc.property(firstMs, steps, (startsMs, taken) => {
          const wheel = new TimingWheel(slots, startsMs);
          const checked: Checked = { wheel, model: new Map(), nowMs: startsMs };
          for (const one of taken) {
            // A quarter of the horizon, which no two jumps more can leave.
            if (checked.nowMs - startsMs > 2 ** 41) break;
            take(checked, one);
          }
          const left = [...checked.model].toSorted(([a], [b]) => a - b);
          const lastMs = Math.max(checked.nowMs, ...checked.model.values());
          expect(dueAt(wheel, lastMs)).toEqual(left.map(([slot]) => slot));
        }),
        { numRuns: 300 },
      );
    },
    patienceMs,
  );
});
