import { bufferMemoryProvider, ControlPlane, type SharedWords } from "@selvage/fabric";
import { describe, expect, it } from "vitest";
import { ACTIVE, EXPIRED, RELEASED, REVOKED, WARNED } from "../src/lease-word.ts";

const baseMs = 1_000;
const deadlineMs = baseMs + 100;
const id = Int32Array.of(1, 2, 3, 4);

/** Words that call `interrupt` once, before access number `at`: what another thread does between two steps. */
function steppingWords(words: SharedWords, at: number, interrupt: () => void): SharedWords {
  let accesses = 0;
  const stepping = (): SharedWords => {
    if (accesses++ === at) interrupt();
    return words;
  };
  return {
    load: (...args) => stepping().load(...args),
    store: (...args) => stepping().store(...args),
    add: (...args) => stepping().add(...args),
    exchange: (...args) => stepping().exchange(...args),
    compareExchange: (...args) => stepping().compareExchange(...args),
    compareExchangePair: (...args) => stepping().compareExchangePair(...args),
    wait: (...args) => stepping().wait(...args),
    waitAsync: (...args) => stepping().waitAsync(...args),
    wake: (...args) => stepping().wake(...args),
  };
}

/** A control memory with one lease, and two threads' sights of it. */
function plane() {
  const memory = bufferMemoryProvider.reserve(ControlPlane.bytesFor(4), { shared: true });
  const handle = { fabricId: "0".repeat(32), baseMs, slots: 4, manual: true, guard: false };
  const other = new ControlPlane(memory, handle);
  other.grant(0, 1, deadlineMs, id, 0);
  const interrupted = (at: number, interrupt: () => void): ControlPlane =>
    new ControlPlane({ ...memory, words: steppingWords(memory.words, at, interrupt) }, handle);
  return { other, interrupted };
}

type Step = (control: ControlPlane) => unknown;

/** Every outcome of `mine` with all of `theirs` done between two of its steps, and before and after it. */
function outcomes(mine: Step, theirs: Step): Set<string> {
  const seen = new Set<string>();
  // No operation here takes more than 20 steps when it is interrupted once.
  for (let at = 0; at <= 20; at++) {
    const { other, interrupted } = plane();
    let their: unknown = "not reached";
    const my = mine(interrupted(at, () => (their = theirs(other))));
    if (their === "not reached") their = theirs(other);
    const { state, deadlineMs: endsMs } = other.moment(0);
    seen.add(JSON.stringify({ my, their, state, endsMs: endsMs - baseMs }));
  }
  return seen;
}

const listed = (...lines: object[]): Set<string> =>
  new Set(lines.map((line) => JSON.stringify(line)));

const late: Step = (control) => {
  control.advanceClock(deadlineMs);
  return control.end(0, 1, EXPIRED, deadlineMs);
};
const renew: Step = (control) => control.renew(0, 1, baseMs, baseMs + 500);
const further: Step = (control) => control.renew(0, 1, baseMs, baseMs + 900);
const release: Step = (control) => control.end(0, 1, RELEASED);
const revoke: Step = (control) => control.end(0, 1, REVOKED);
const warn: Step = (control) => control.warn(0, 1, baseMs + 40);
const leaseAgain: Step = (control) => {
  control.end(0, 1, RELEASED);
  control.free(0, RELEASED);
  control.grant(0, 2, baseMs + 700, id, 0);
  return "leased again";
};

function taken(control: ControlPlane): number[] {
  const slots: number[] = [];
  control.takeAttention((slot) => slots.push(slot));
  return slots;
}

describe("L4: a transition interrupted by another between any two of its steps", () => {
  it("renew against expiry: renewed and standing, or late and expired", () => {
    expect(outcomes(renew, late)).toEqual(
      listed(
        // The clock had reached the deadline, and the lease had ended, before the renewal looked.
        { my: "ended", their: true, state: EXPIRED, endsMs: 100 },
        // The renewal came first: expiry finds a deadline that has not passed.
        { my: "renewed", their: false, state: ACTIVE, endsMs: 500 },
      ),
    );
  });

  it("expiry against renewal: the same outcomes, seen from the other side", () => {
    expect(outcomes((control) => control.end(0, 1, EXPIRED, deadlineMs), renew)).toEqual(
      listed(
        { my: true, their: "ended", state: EXPIRED, endsMs: 100 },
        { my: false, their: "renewed", state: ACTIVE, endsMs: 500 },
      ),
    );
  });

  it("release against release: exactly one is told that it ended the lease", () => {
    expect(outcomes(release, release)).toEqual(
      listed(
        { my: false, their: true, state: RELEASED, endsMs: 100 },
        { my: true, their: false, state: RELEASED, endsMs: 100 },
      ),
    );
  });

  it("release against revocation: one terminal state, by whoever came first", () => {
    expect(outcomes(release, revoke)).toEqual(
      listed(
        { my: false, their: true, state: REVOKED, endsMs: 100 },
        { my: true, their: false, state: RELEASED, endsMs: 100 },
      ),
    );
  });

  it("renew against a warning: renewed and then shortened, or refused", () => {
    expect(outcomes(renew, warn)).toEqual(
      listed(
        { my: "warned", their: true, state: WARNED, endsMs: 40 },
        { my: "renewed", their: true, state: WARNED, endsMs: 40 },
      ),
    );
  });

  it("renew against renew: the later deadline stands, whoever came first", () => {
    expect(outcomes(renew, further)).toEqual(
      listed({ my: "renewed", their: "renewed", state: ACTIVE, endsMs: 900 }),
    );
  });

  it("A5: an end delayed until the slot is leased again does nothing to the next lease", () => {
    const next = { their: "leased again", state: ACTIVE, endsMs: 700 };
    for (const mine of [
      (control: ControlPlane) => control.end(0, 1, REVOKED),
      (control: ControlPlane) => control.warn(0, 1, baseMs + 10),
      (control: ControlPlane) => control.renew(0, 1, baseMs, baseMs + 5_000),
    ])
      for (const seen of outcomes(mine, leaseAgain)) expect(JSON.parse(seen)).toMatchObject(next);
  });
});

describe("ControlPlane.advanceClock()", () => {
  it.each([3, 2 ** 32])(
    "never gives a clock that never was: asked for %i, across its word's end",
    (target) => {
      for (let at = 0; at <= 10; at++) {
        const { other, interrupted } = plane();
        other.advanceClock(baseMs + 2 ** 32 - 1);
        const control = interrupted(at, () => void other.advanceClock(baseMs + 2 ** 32 + 5));
        const reached = control.advanceClock(baseMs + target);
        expect([2 ** 32 - 1, 2 ** 32, 2 ** 32 + 5]).toContain(reached - baseMs);
        expect(other.advanceClock(0)).toBeGreaterThanOrEqual(reached);
      }
    },
  );
});

describe("ControlPlane.moment()", () => {
  it("W1: gives a pair that stood there at one moment, whatever a renewal does between its loads", () => {
    for (let at = 0; at <= 6; at++) {
      const { other, interrupted } = plane();
      const control = interrupted(at, () => void other.renew(0, 1, baseMs, baseMs + 2 ** 33 + 7));
      expect([100, 2 ** 33 + 7]).toContain(control.moment(0).deadlineMs - baseMs);
    }
  });
});

describe("ControlPlane.callAttention()", () => {
  it("loses no slot and doubles none, whatever another thread does between its steps", () => {
    const theirs: Record<string, (other: ControlPlane) => number[]> = {
      "calls for another slot": (other) => (other.callAttention(1), []),
      "calls for the same slot": (other) => (other.callAttention(0), []),
      "takes the stack": (other) => taken(other),
      "calls and takes": (other) => (other.callAttention(2), taken(other)),
    };
    for (const [name, their] of Object.entries(theirs))
      for (let at = 0; at <= 10; at++) {
        const { other, interrupted } = plane();
        other.callAttention(3);
        let early: number[] | undefined;
        interrupted(at, () => (early = their(other))).callAttention(0);
        early ??= their(other);
        const rest = taken(other);
        const all = [...early, ...rest];
        expect(all, name).toContain(0);
        expect(all, name).toContain(3);
        expect(new Set(rest).size, name).toBe(rest.length);
        expect(taken(other)).toEqual([]);
      }
  });
});
