import { FabricError, fromWire } from "@selvage/fabric";
import {
  deadLetterConformance,
  DeadLetters,
  MemoryDeadLetterStore,
  type DeadLetterStore,
  type ReplayOutcome,
  type ReplayTurn,
} from "@selvage/collections";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { rejectionOf } from "./manual-fabric.ts";

const cases = deadLetterConformance({ open: async () => new MemoryDeadLetterStore() });

describe("MemoryDeadLetterStore", () => {
  it.each(cases.map((one) => [one.name, one] as const))("%s", async (_name, one) => {
    await expect(one.run()).resolves.toBeUndefined();
  });

  it("refuses what does not fit, and takes it once there is room", async () => {
    const letters = openLetters(new MemoryDeadLetterStore({ bytesMax: 10 }));
    await letters.send("a", new Uint8Array(6), { error: "x" });
    const refused = await rejectionOf(letters.send("a", new Uint8Array(5), { error: "x" }));
    expect(refused.code).toBe("CAPACITY_EXCEEDED");
    expect(refused.details).toEqual({ bytes: 11, bytesMax: 10 });
    expect(await letters.purge()).toBe(1);
    await letters.send("a", new Uint8Array(10), { error: "x" });
    expect(() => new MemoryDeadLetterStore({ bytesMax: -1 })).toThrow(/bytesMax/);
  });
});

const time = { nowMs: 0 };

function openLetters(store: DeadLetterStore): DeadLetters {
  return new DeadLetters(store, { clock: { nowMs: () => time.nowMs } });
}

/** A store whose call number `failsAt` (from 1) does not happen, and none after it, until it is up again. */
class FallibleStore implements DeadLetterStore {
  readonly store = new MemoryDeadLetterStore();
  calls = 0;
  failsAt = Infinity;
  /** True: the call at `failsAt` is done, and its answer is lost. */
  isDoneUnheard = false;
  #turn: ReplayTurn | undefined;

  /** Up again, for a new process: the one that died has given its turn back, as a file lock does. */
  async revive(): Promise<void> {
    this.failsAt = Infinity;
    await this.#turn?.end();
  }

  async #ask<T>(call: () => Promise<T>): Promise<T> {
    this.calls++;
    // A store that takes its time.
    await Promise.resolve();
    const isFirst = this.calls === this.failsAt;
    if (isFirst && this.isDoneUnheard) await call();
    if (this.calls >= this.failsAt) throw new Error("the disk is gone");
    return call();
  }

  readonly add: DeadLetterStore["add"] = (letter) => this.#ask(() => this.store.add(letter));
  readonly list: DeadLetterStore["list"] = (query) => this.#ask(() => this.store.list(query));
  readonly newestId: DeadLetterStore["newestId"] = () => this.#ask(() => this.store.newestId());
  readonly purge: DeadLetterStore["purge"] = (byMs) => this.#ask(() => this.store.purge(byMs));
  readonly takeTurn: DeadLetterStore["takeTurn"] = () =>
    this.#ask(async () => {
      const turn = await this.store.takeTurn();
      this.#turn = turn;
      return {
        begin: (id) => this.#ask(() => turn.begin(id)),
        settle: (id) => this.#ask(() => turn.settle(id)),
        fail: (id, error) => this.#ask(() => turn.fail(id, error)),
        end: () => this.#ask(() => turn.end()),
      };
    });
}

describe("DeadLetters", () => {
  it("replays a binary payload byte for byte, once, to the sink of its subject", async () => {
    const letters = openLetters(new MemoryDeadLetterStore());
    const bytes = Uint8Array.from({ length: 256 }, (_, byte) => byte);
    const got: [string, Uint8Array][] = [];
    letters.register("a", (taken) => void got.push(["a", taken]));
    letters.register("b", async (taken) => void got.push(["b", taken]));
    await letters.send("b", bytes, { error: new Error("no") });
    expect(await letters.replay()).toBe(1);
    expect(got).toEqual([["b", bytes]]);
    expect(await letters.replay()).toBe(0);
    expect(got).toHaveLength(1);
    expect(await letters.list()).toEqual([]);
  });

  it("gives 0 for an empty replay and an empty purge", async () => {
    const letters = openLetters(new MemoryDeadLetterStore());
    expect(await letters.replay()).toBe(0);
    expect(await letters.purge()).toBe(0);
    expect(await letters.purge({ olderThanMs: 5 })).toBe(0);
  });

  it("keeps the bytes as they were when they were sent, and the error with its cause", async () => {
    const letters = openLetters(new FallibleStore());
    const bytes = Uint8Array.of(1, 2, 3);
    const cause = new TypeError("not a number");
    const error = new FabricError("DECODE", "bad row", { row: 7 }, { cause });
    const sending = letters.send("a", bytes, { error });
    bytes.fill(0);
    const id = await sending;
    const [letter] = await letters.list();
    expect(letter).toMatchObject({ id, subject: "a", replays: 0 });
    expect(letter?.bytes).toEqual(Uint8Array.of(1, 2, 3));
    const told = fromWire(letter?.error as never);
    expect(told).toMatchObject({
      code: "DECODE",
      details: { row: 7 },
      cause: { name: "TypeError" },
    });
  });

  it("leaves a letter without a sink, and one whose sink throws, and delivers the others", async () => {
    const letters = openLetters(new MemoryDeadLetterStore());
    for (const subject of ["nobody", "broken", "fine"])
      await letters.send(subject, Uint8Array.of(1), { error: "first" });
    const broken = new Error("still broken");
    const forget = letters.register("broken", () => {
      throw broken;
    });
    letters.register("fine", () => {});
    const outcomes: ReplayOutcome[] = [];
    expect(await letters.replay({ onOutcome: (outcome) => outcomes.push(outcome) })).toBe(1);
    expect(outcomes.map(({ outcome, letter }) => [letter.subject, outcome])).toEqual([
      ["nobody", "unrouted"],
      ["broken", "failed"],
      ["fine", "sent"],
    ]);
    expect(outcomes[1]?.error).toBe(broken);
    const left = await letters.list();
    expect(left.map(({ subject, replays }) => [subject, replays])).toEqual([
      ["nobody", 0],
      ["broken", 1],
    ]);
    expect(left[1]?.replayError?.message).toBe("still broken");
    expect(left[1]?.error.message).toContain("first");

    forget();
    letters.register("broken", () => {});
    letters.register("nobody", () => {});
    expect(await letters.replay()).toBe(2);
  });

  it("replays what was there when it began: a sink that sets aside again does not keep it going", async () => {
    const letters = openLetters(new MemoryDeadLetterStore());
    for (let n = 0; n < 40; n++) await letters.send("a", Uint8Array.of(n), { error: "x" });
    letters.register("a", async (bytes) => {
      await letters.send("a", bytes, { error: "again" });
    });
    expect(await letters.replay()).toBe(40);
    expect(await letters.list()).toHaveLength(40);
  });

  it("replays one subject only, and no more than its limit", async () => {
    const letters = openLetters(new MemoryDeadLetterStore());
    const got: string[] = [];
    for (const subject of ["a", "b"])
      letters.register(subject, (bytes) => void got.push(`${subject}${bytes[0]}`));
    for (let n = 0; n < 20; n++)
      for (const subject of ["a", "b"]) await letters.send(subject, Uint8Array.of(n), { error: 0 });
    expect(await letters.replay({ subject: "b", limit: 18 })).toBe(18);
    expect(await letters.replay({ subject: "b" })).toBe(2);
    expect(await letters.replay({ limit: 0 })).toBe(0);
    expect(got).toEqual(Array.from({ length: 20 }, (_, n) => `b${n}`));
    expect(await letters.list({ limit: 3, after: 4 })).toHaveLength(3);
    expect(await letters.list({ subject: "b" })).toEqual([]);
  });

  it("stops between two letters when it is told to, and goes on in the next replay", async () => {
    const letters = openLetters(new MemoryDeadLetterStore());
    const abort = new AbortController();
    for (let n = 0; n < 3; n++) await letters.send("a", Uint8Array.of(n), { error: "x" });
    const got: number[] = [];
    letters.register("a", ([n]) => {
      got.push(n as number);
      if (n === 1) abort.abort();
    });
    const reason: unknown = await letters
      .replay({ signal: abort.signal })
      .catch((thrown) => thrown);
    expect(reason).toBe(abort.signal.reason);
    expect(await letters.replay()).toBe(1);
    expect(got).toEqual([0, 1, 2]);
  });

  it("refuses a second replay while one is under way", async () => {
    const letters = openLetters(new MemoryDeadLetterStore());
    await letters.send("a", new Uint8Array(1), { error: "x" });
    const codes: string[] = [];
    letters.register("a", async () => {
      codes.push((await rejectionOf(letters.replay())).code);
    });
    expect(await letters.replay()).toBe(1);
    expect(codes).toEqual(["CONFLICT"]);
  });

  it("tells of a letter that was purged while it waited, and delivers nothing", async () => {
    const letters = openLetters(new MemoryDeadLetterStore());
    for (let n = 0; n < 2; n++) await letters.send("a", Uint8Array.of(n), { error: "x" });
    letters.register("a", async () => void (await letters.purge()));
    const outcomes: string[] = [];
    const count = await letters.replay({ onOutcome: ({ outcome }) => outcomes.push(outcome) });
    expect([count, outcomes]).toEqual([1, ["sent", "gone"]]);
  });

  it("purges what is at least so old, and says how many", async () => {
    const letters = openLetters(new MemoryDeadLetterStore());
    for (const nowMs of [1_000, 2_000, 3_000]) {
      time.nowMs = nowMs;
      await letters.send("a", new Uint8Array(0), { error: "x" });
    }
    expect(await letters.purge({ olderThanMs: 2_001 })).toBe(0);
    expect(await letters.purge({ olderThanMs: 1_000 })).toBe(2);
    expect(await letters.purge()).toBe(1);
  });

  it("says which argument is off", async () => {
    const letters = openLetters(new MemoryDeadLetterStore());
    const off: (() => Promise<unknown>)[] = [
      () => letters.send("", new Uint8Array(0), { error: "x" }),
      () => letters.send("\ud800", new Uint8Array(0), { error: "x" }),
      () => letters.send("a", "text" as never, { error: "x" }),
      () => letters.replay({ limit: -1 }),
      () => letters.replay({ subject: "" }),
      () => letters.list({ limit: 1.5 }),
      () => letters.list({ after: NaN }),
      () => letters.purge({ olderThanMs: -1 }),
      async () => letters.register("a", 7 as never),
      async () => new DeadLetters({} as never, { clock: { nowMs: () => 0 } }),
    ];
    for (const call of off) expect((await rejectionOf(call())).code).toBe("INVALID_ARGUMENT");
    letters.register("a", () => {});
    expect(() => letters.register("a", () => {})).toThrow(
      expect.objectContaining({ code: "CONFLICT" }),
    );
  });

  it("says STORE_UNAVAILABLE at whatever call the store goes down, and loses nothing", async () => {
    let calls = 1;
    for (let failsAt = 1; failsAt <= calls; failsAt++) {
      const store = new FallibleStore();
      const letters = openLetters(store);
      const got: number[] = [];
      letters.register("a", ([n]) => void got.push(n as number));
      for (let n = 0; n < 3; n++) await letters.send("a", Uint8Array.of(n), { error: "x" });
      store.calls = 0;
      store.failsAt = failsAt;
      const outcome = await letters.replay().catch((error: unknown) => error);
      calls = Math.max(calls, failsAt > store.calls ? 0 : failsAt + 1);
      const code = (outcome as { code?: unknown }).code;
      expect(code).toBe(failsAt <= store.calls ? "STORE_UNAVAILABLE" : undefined);
      await store.revive();
      await letters.replay();
      expect(new Set(got)).toEqual(new Set([0, 1, 2]));
    }
    expect(calls).toBeGreaterThan(8);
  });

  // A replay that dies at any call of the store, done or not, and one after it, against what must come of it.
  it("Q1 Q2 Q3: every letter is taken once, and again only when its sink can tell, whatever dies between", async () => {
    const letter = fc.record({
      subject: fc.constantFrom("a", "b", "nobody"),
      bytes: fc.uint8Array({ maxLength: 8 }),
      throwsFirst: fc.boolean(),
    });
    const death = fc.record({ failsAt: fc.integer({ min: 1, max: 40 }), isDone: fc.boolean() });
    const all = fc.tuple(
      fc.array(letter, { maxLength: 20 }),
      fc.array(death, { maxLength: 4 }),
      fc.option(fc.integer({ min: 1, max: 10 }), { nil: undefined }),
    );
    await fc.assert(
      fc.asyncProperty(all, async ([sent, deaths, limit]) => {
        const store = new FallibleStore();
        const letters = openLetters(store);
        const ids = new Map<number, (typeof sent)[number]>();
        for (const one of sent)
          ids.set(await letters.send(one.subject, one.bytes, { error: 0 }), one);
        const thrown = new Set<number>();
        const taken = new Map<number, number[]>();
        for (const subject of ["a", "b"])
          letters.register(subject, (bytes, { id, replays }) => {
            const one = ids.get(id);
            expect([subject, bytes]).toEqual([one?.subject, one?.bytes]);
            if (one?.throwsFirst === true && !thrown.has(id)) {
              thrown.add(id);
              throw new Error("not yet");
            }
            taken.set(id, [...(taken.get(id) ?? []), replays]);
          });
        for (const { failsAt, isDone } of deaths) {
          Object.assign(store, { calls: 0, failsAt, isDoneUnheard: isDone });
          await letters.replay().catch(() => {});
          await store.revive();
        }
        for (let round = 0; round < 40; round++)
          await letters.replay(limit === undefined ? {} : { limit });
        const left = await letters.list();
        expect(left.map(({ subject }) => subject)).toEqual(
          sent.filter(({ subject }) => subject === "nobody").map(({ subject }) => subject),
        );
        const due = [...ids].filter(([, { subject }]) => subject !== "nobody").map(([id]) => id);
        expect([...taken.keys()].toSorted((a, b) => a - b)).toEqual(due);
        // At most one delivery is open when a replay dies; and it is told by its count.
        const again = [...taken.values()].reduce((sum, times) => sum + times.length - 1, 0);
        expect(again).toBeLessThanOrEqual(deaths.length);
        for (const times of taken.values())
          expect(times).toEqual([...new Set(times)].toSorted((a, b) => a - b));
      }),
      { numRuns: 200 },
    );
  });
});
