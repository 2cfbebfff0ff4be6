import { FabricError } from "@selvage/fabric";
import { describe, expect, it } from "vitest";
import { check, holdTo, Violation, type Check, type FinishedRun } from "../src/checks.ts";
import { History } from "../src/history.ts";
import { models } from "../src/models.ts";
import { Counters, withCounters } from "../src/sometimes.ts";
import type { Detail, Occurrence } from "../src/trace.ts";

/** An occurrence: its kind, its details and, when it matters, its time. */
type Step = readonly [kind: string, details?: Readonly<Record<string, Detail>>, atMs?: number];

function runOf(steps: readonly Step[], run: Partial<FinishedRun> = {}): FinishedRun {
  const occurrences = steps.map(([kind, details = {}, atMs = 0], seq): Occurrence => ({
    seq,
    atMs,
    node: "n1",
    kind,
    details,
  }));
  const history = new History(() => 0);
  return { occurrences, history, durationMs: 60_000, healedAtMs: 1_000, ...run };
}

function violationOf(make: Check, run: FinishedRun): Violation | undefined {
  try {
    holdTo([make], run);
    return undefined;
  } catch (thrown) {
    if (thrown instanceof Violation) return thrown;
    throw thrown;
  }
}

/** Passes the good run; finds the bad one wrong at its last step, for that reason. */
function expectCheck(
  make: () => Check,
  good: readonly Step[],
  bad: readonly (readonly [steps: readonly Step[], reason: RegExp, seq?: number])[],
): void {
  expect(violationOf(make(), runOf(good))).toBe(undefined);
  for (const [steps, reason, seq = steps.length - 1] of bad) {
    const violation = violationOf(make(), runOf(steps));
    expect(violation?.message, JSON.stringify(steps)).toMatch(reason);
    expect(violation).toMatchObject({ property: make().name, verdict: "violated", seq });
  }
}

const stats = (free: number, rest: Readonly<Record<string, number>> = {}): Step => [
  "fabric.stats",
  { fabric: "f", kind: "memory", capacityBytes: 100, leasedBytes: 30, freeBytes: free, quarantinedBytes: 0, fencedBytes: 0, ...rest },
]; // prettier-ignore
const item = (verb: string, id: string, queue = "q"): Step => [`item.${verb}`, { queue, id }];
const of = (verb: string, generation = 1, details = {}): Step => [
  `lease.${verb}`,
  { lease: "l", generation, ...details },
];

describe("conservation", () => {
  it("A1: leased, free, quarantined and fenced make up the capacity at every event", () => {
    expectCheck(
      check.conservation,
      [stats(70), stats(50, { quarantinedBytes: 10, fencedBytes: 10 })],
      [
        [[stats(70), stats(69)], /is 99, of capacityBytes 100/],
        [[stats(71)], /is 101/],
        [[stats(80, { fencedBytes: -10 })], /fencedBytes -10/],
      ],
    );
  });

  it("E3: what was accepted is delivered, queued or dead at the end, once, and nothing else is", () => {
    const all = ["a", "b", "c"].map((id) => item("accepted", id));
    expectCheck(
      check.conservation,
      [...all, item("offered", "d"), item("offered", "e"), item("accepted", "a", "other"),
        item("delivered", "a"), item("queued", "b"), item("dead", "c"), item("delivered", "e"), item("dead", "a", "other"),
      ],
      [
        [[item("accepted", "a"), item("delivered", "b")], /item b of queue q is delivered, but nobody/],
        [[item("accepted", "a"), item("queued", "a", "other")], /nobody offered it/],
        [[item("accepted", "a"), item("delivered", "a"), item("delivered", "a")], /twice/],
        [[item("accepted", "a"), item("delivered", "a"), item("queued", "a")], /delivered and queued/],
        [[item("accepted", "a"), item("dead", "a"), item("delivered", "a")], /dead and delivered/],
        [[...all, item("delivered", "a"), item("queued", "b")], /item c of queue q was accepted and is lost/, 2],
      ],
    ); // prettier-ignore
  });
});

describe("singleTerminalState", () => {
  it("a lease is granted once and ends once, and only then is its room taken back", () => {
    const lived = [of("granted"), of("renewed"), of("warned"), of("revoked")];
    expectCheck(
      check.singleTerminalState,
      [...lived, of("fenced"), of("unfenced"), of("reclaimed"), of("granted", 2), of("released", 2), of("reclaimed", 2), of("granted", 3)],
      [
        [[of("released")], /never granted/],
        [[of("granted"), of("granted")], /granted twice/],
        [[of("granted"), of("released"), of("expired")], /lease.expired after lease.released/],
        [[of("granted"), of("expired"), of("expired")], /lease.expired after lease.expired/],
        [[of("granted"), of("revoked"), of("released")], /lease.released after lease.revoked/],
        [[of("granted"), of("expired"), of("renewed")], /lease.renewed after lease.expired/],
        [[of("granted"), of("expired"), of("warned")], /lease.warned after lease.expired/],
        [[of("granted"), of("reclaimed")], /of a lease that lives/],
        [[...lived, of("reclaimed"), of("reclaimed")], /after lease.reclaimed/],
        [[...lived, of("reclaimed"), of("fenced")], /after lease.reclaimed/],
        [[...lived, of("fenced"), of("reclaimed")], /while fenced/],
        [[of("granted"), of("released"), of("expired", 2)], /never granted/],
      ],
    ); // prettier-ignore
  });
});

describe("noEffectAfterExpiry", () => {
  it.each(["released", "expired", "revoked"])("A3: nothing uses a lease that was %s", (end) => {
    expectCheck(
      check.noEffectAfterExpiry,
      [of("granted"), of("used"), of(end), of("granted", 2), of("used", 2)],
      [[[of("granted"), of(end), of("used")], new RegExp(`used by n1 after lease.${end} at 0 ms`)]],
    );
  });
});

describe("zeroed", () => {
  it("A2: a new lease's bytes are zeros", () => {
    expectCheck(
      check.zeroed,
      [of("granted"), of("first-read", 1, { nonZero: 0 })],
      [[[of("granted"), of("first-read", 1, { nonZero: 3 })], /3 bytes of another's/]],
    );
  });
});

const grant = (holder: string, epoch: number, atMs = 0, resource = "r"): Step => [
  "authority.granted",
  { resource, holder, epoch, untilMs: atMs + 100 },
  atMs,
];
const believes = (holder: string, epoch: number, untilMs: number, atMs = 0): Step => [
  "holder.believes",
  { resource: "r", holder, epoch, untilMs },
  atMs,
];
const stopped = (holder: string, epoch: number, atMs = 0): Step => [
  "holder.stopped",
  { resource: "r", holder, epoch },
  atMs,
];
const sink = (verb: string, name: string, epoch: number, holder = "ann", resource = "r"): Step => [
  `sink.${verb}`,
  { sink: name, resource, epoch, holder },
];

describe("epochsMonotone", () => {
  it("L1: the epochs of a resource strictly increase, and each has one holder", () => {
    expectCheck(
      check.epochsMonotone,
      [
        grant("ann", 0), grant("ben", 1), grant("ben", 0, 0, "s"), sink("applied", "k", 0, "ann"),
        believes("ben", 1, 9), grant("ann", 5), ["authority.renewed", { resource: "r", holder: "ann", epoch: 5 }],
      ],
      [
        [[grant("ann", 1), grant("ann", 1)], /epoch 1 of r was granted after epoch 1/],
        [[grant("ann", 7), grant("ben", 7)], /epoch 7 of r was granted after epoch 7/],
        [[grant("ann", 7), grant("ben", 8), grant("cat", 3)], /epoch 3 of r was granted after epoch 8/],
        [[grant("ann", 1), sink("applied", "k", 1, "ben")], /two holders: ann and ben/],
        [[grant("ann", 1), believes("ben", 1, 9)], /two holders/],
        [[grant("ann", 1), ["authority.renewed", { resource: "r", holder: "ben", epoch: 1 }]], /two holders/],
      ],
    ); // prettier-ignore
  });
});

describe("holderStopsFirst", () => {
  it("L3: no holder still believes that it holds what another is granted", () => {
    expectCheck(
      check.holderStopsFirst,
      [
        grant("ann", 1), believes("ann", 1, 80), believes("ann", 1, 90, 50), grant("ben", 2, 90), believes("ben", 2, 180, 91),
        stopped("ben", 2, 95), grant("cat", 3, 96), believes("cat", 3, 200, 97), grant("cat", 4, 98), believes("cat", 4, 200, 98),
        stopped("cat", 4, 99), grant("ann", 5, 100), believes("ben", 2, 99, 100), grant("ann", 1, 0, "other"),
      ],
      [
        [[grant("ann", 1), believes("ann", 1, 80), grant("ben", 2, 79)], /went to ben while ann believes that it holds epoch 1 until 80 ms/],
        [[grant("ann", 1), believes("ann", 1, 80), believes("ann", 1, 99, 50), grant("ben", 2, 90)], /until 99 ms/],
        [[grant("ann", 1), grant("ben", 2, 50), believes("ann", 1, 80, 60)], /ann believes .* after ben was granted epoch 2/],
        [[believes("ann", 3, 80), stopped("ann", 2), grant("ben", 4, 50)], /while ann/],
        [[believes("ann", 3, 80), stopped("cat", 3), grant("ben", 4, 50)], /while ann/],
        [[believes("ann", 3, 80), ["authority.revoked", { resource: "r", holder: "ann", epoch: 3 }], grant("ben", 4, 50)], /while ann/],
      ],
    ); // prettier-ignore
  });

  it("lets a revoked one overlap where sinks fence it off, when told so", () => {
    const revoked: Step = ["authority.revoked", { resource: "r", holder: "ann", epoch: 3 }];
    expectCheck(
      () => check.holderStopsFirst({ revokedMayOverlap: true }),
      [believes("ann", 3, 80), revoked, grant("ben", 4, 50), believes("ann", 3, 80, 60)],
      [[[believes("ann", 3, 80), grant("ben", 4, 50)], /while ann/]],
    );
  });
});

describe("noStaleEffect", () => {
  it("E1: a sink applies and promises no epoch below one that it promised or applied", () => {
    expectCheck(
      check.noStaleEffect,
      [
        sink("applied", "k", 1), sink("promised", "k", 2), sink("refused", "k", 1), sink("applied", "k", 2),
        sink("promised", "k", 2), sink("applied", "other", 1), sink("applied", "k", 1, "ann", "s"),
      ],
      [
        [[sink("promised", "k", 2), sink("applied", "k", 1)], /sink k applied an effect of epoch 1 of r after epoch 2/],
        [[sink("applied", "k", 3), sink("applied", "k", 2)], /after epoch 3/],
        [[sink("promised", "k", 3), sink("promised", "k", 2)], /sink k promised epoch 2 of r after epoch 3/],
      ],
    ); // prettier-ignore
  });
});

describe("sealBeforeServe", () => {
  const declared = [sink("declared", "k", 0), sink("declared", "m", 0)];
  it("E2: an epoch's effects wait until every sink has promised it", () => {
    expectCheck(
      check.sealBeforeServe,
      [
        ...declared, sink("promised", "k", 2), sink("promised", "m", 3), sink("applied", "k", 2),
        sink("declared", "late", 0), sink("applied", "m", 2), sink("promised", "late", 2), sink("applied", "late", 2),
        sink("declared", "z", 0, "ann", "s"), sink("promised", "m", 1), sink("promised", "k", 3), sink("promised", "late", 3), sink("applied", "k", 3),
      ],
      [
        [[...declared, sink("promised", "k", 2), sink("applied", "k", 2)], /ann serves epoch 2 of r, which sink m has not promised/],
        [[...declared, sink("promised", "k", 2), sink("promised", "m", 1), sink("applied", "k", 2)], /sink m/],
        [[...declared, sink("promised", "k", 2), sink("promised", "m", 2), sink("applied", "k", 2), sink("applied", "k", 3)], /epoch 3/],
        [[sink("applied", "k", 1)], /sink k has not promised/],
        [[sink("promised", "k", 2, "ann", "s"), sink("applied", "k", 2)], /sink k/],
      ],
    ); // prettier-ignore
  });
});

const effect = (task: string, attempt = 1, node = 1): Step => ["effect", { task, attempt, node }];
const twoEffects = (): Check => check.exactlyOnce({ kind: "effect", key: "task", count: 2 });

describe("exactlyOnce", () => {
  it("B2: no effect repeats, whichever attempt or node it is of", () => {
    expectCheck(
      () => check.exactlyOnce({ kind: "effect", key: "task" }),
      [effect("a"), effect("b", 2), ["other", { task: "a" }]],
      [[[effect("a"), effect("b"), effect("a", 2)], /effect twice for task a: also at 0 ms on n1/]],
    );
    expectCheck(
      () => check.exactlyOnce({ kind: "effect", key: ["task", "attempt"] }),
      [effect("a"), effect("a", 2)],
      [[[effect("a"), effect("a")], /task a, attempt 1/]],
    );
    expectCheck(
      () => check.exactlyOnce({ kind: "effect", key: ({ details }) => `${details["node"]}` }),
      [effect("a"), effect("a", 1, 2)],
      [[[effect("a"), effect("b")], /twice for 1/]],
    );
  });

  it("with a count, none is missing at the end", () => {
    expect(violationOf(twoEffects(), runOf([effect("a"), effect("b")]))).toBe(undefined);
    for (const steps of [[], [effect("a")], [effect("a"), effect("b"), effect("c")]])
      expect(violationOf(twoEffects(), runOf(steps))?.message).toMatch(/, not for 2$/);
  });
});

const polledHistory = (...polled: readonly unknown[]): History => {
  const made = new History(() => 0);
  for (const value of [1, 2]) made.ok(made.invoke("ann", { type: "offer", value }), true);
  for (const value of polled) made.ok(made.invoke("ben", { type: "poll" }), value);
  return made;
};
const judged = (run: History, make = check.linearizable(models.fifo())): Violation | undefined =>
  violationOf(make, runOf([], { history: run }));

describe("linearizable", () => {
  it("E4: the clients' history fits a queue", () => {
    expect(judged(polledHistory(1, 2, undefined))).toBe(undefined);
    const violation = judged(polledHistory(2));
    expect(violation).toMatchObject({
      property: "linearizable",
      verdict: "violated",
      seq: undefined,
    });
    expect(violation?.message).toMatch(/none of these can follow:\n  ben: poll\(\) -> 2/);
  });

  it("is undecided, not passed, when the search gives up", () => {
    const make = check.linearizable(models.fifo(), { budget: 2 });
    expect(judged(polledHistory(1, 2), make)).toMatchObject({ verdict: "undecided" });
  });

  it("judges the operations that it is told to", () => {
    const mixed = polledHistory(1);
    mixed.ok(mixed.invoke("ann", { type: "read" }), 5);
    expect(() => judged(mixed)).toThrow(FabricError);
    const make = check.linearizable(models.fifo(), {
      only: ({ input }) => (input as { type: string }).type !== "read",
    });
    expect(judged(mixed, make)).toBe(undefined);
  });
});

const drained = (atMs: number): Step => ["drained", {}, atMs];
const annLed = (): Check =>
  check.eventually("led", 100, { where: ({ details }) => details["by"] === "ann" });

describe("drainedWithin and eventually", () => {
  it.each([
    ["at once", [drained(1_000)], /in time/],
    ["just in time", [drained(999), drained(6_000)], /in time/],
    ["too late", [drained(6_001)], /only at 6001 ms after .* 1000 ms, not by 6000 ms/],
    ["only before the faults ended", [drained(999)], /never after/],
    ["never", [], /never after/],
  ] as const)("E6: drained %s", (_name, steps, reason) => {
    const violation = violationOf(check.drainedWithin(5_000), runOf(steps));
    expect(violation?.message ?? "in time").toMatch(reason);
    expect(violation?.verdict ?? "violated").toBe("violated");
    expect(violation?.property ?? "drainedWithin").toBe("drainedWithin");
  });

  it("are undecided when the faults were never removed, or the run ended before the time was up", () => {
    const unhealed = runOf([drained(5)], { healedAtMs: undefined });
    const short = runOf([], { durationMs: 5_999 });
    for (const run of [unhealed, short])
      expect(violationOf(check.drainedWithin(5_000), run)).toMatchObject({ verdict: "undecided" });
    expect(violationOf(check.drainedWithin(5_000), runOf([], { durationMs: 6_000 }))).toMatchObject(
      {
        verdict: "violated",
      },
    );
    // What has come has come.
    const done = runOf([drained(1_500)], { durationMs: 2_000 });
    expect(violationOf(check.drainedWithin(5_000), done)).toBe(undefined);
  });

  it("eventually looks for any kind, where a predicate holds", () => {
    expect(violationOf(annLed(), runOf([["led", { by: "ann" }, 1_100]]))).toBe(undefined);
    const others = runOf([["led", { by: "ben" }, 1_050], ["drained", { by: "ann" }, 1_050]]); // prettier-ignore
    expect(violationOf(annLed(), others)?.message).toMatch(/^eventually led: led never/);
    expect(() => check.eventually("led", NaN)).toThrow(FabricError);
  });
});

describe("always and never", () => {
  it("always holds of every occurrence, and a predicate that throws does not hold", () => {
    expectCheck(
      () => check.always("small", ({ details }) => Number(details["n"]) < 3),
      [["x", { n: 1 }], ["y", { n: 2 }]],
      [[[["x", { n: 1 }], ["y", { n: 3 }, 7]], /^small: does not hold at y on n1 at 7 ms/]],
    ); // prettier-ignore
    const cause = new Error("no");
    const throws = check.always("throws", () => {
      throw cause;
    });
    expect(violationOf(throws, runOf([["x"]]))).toMatchObject({ cause, seq: 0 });
  });

  it("never is never so", () => {
    expectCheck(
      () => check.never("x"),
      [["y"]],
      [[[["y"], ["x"]], /^never x: does not hold at x/]],
    );
    expectCheck(
      () => check.never("x", ({ details }) => details["n"] === 1),
      [["x", { n: 2 }], ["y", { n: 1 }]],
      [[[["x", { n: 1 }]], /never x/]],
    ); // prettier-ignore
  });
});

describe("every check", () => {
  it("begins each run anew", () => {
    const steps = [of("granted")];
    for (let run = 0; run < 2; run++)
      expect(violationOf(check.singleTerminalState(), runOf(steps))).toBe(undefined);
  });

  it.each([
    ["fabric.stats", check.conservation],
    ["item.accepted", check.conservation],
    ["lease.granted", check.singleTerminalState],
    ["lease.used", check.noEffectAfterExpiry],
    ["lease.first-read", check.zeroed],
    ["authority.granted", check.epochsMonotone],
    ["holder.believes", check.holderStopsFirst],
    ["sink.applied", check.noStaleEffect],
    ["sink.promised", check.sealBeforeServe],
    ["effect", () => check.exactlyOnce({ kind: "effect", key: "task" })],
  ] as const)("refuses an occurrence without the details that it judges by: %s", (kind, make) => {
    expect(() => violationOf(make(), runOf([[kind]]))).toThrow(/INVALID_ARGUMENT|expected/);
  });

  it("counts whether it looked at anything: one that never does proves nothing", () => {
    const counters = new Counters();
    withCounters(counters, () => {
      holdTo([check.zeroed(), check.conservation(), check.never("x")], runOf([stats(70)]));
      holdTo([check.linearizable(models.fifo())], runOf([]));
    });
    expect(counters.toJSON()).toEqual({
      "check.conservation": 1,
      "check.linearizable": 0,
      "check.zeroed": 0,
    });
  });
});
