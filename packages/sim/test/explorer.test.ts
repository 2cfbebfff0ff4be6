/** That the explorer finds what it is there to find, and nothing that cannot be. */
import type { ArenaMemory, MemoryHandle, MemoryProvider } from "@selvage/fabric";
import { describe, expect, it } from "vitest";
import { explore, type ExploreMode, type ExploreSummary } from "../src/explorer/explore.ts";
import type { Host, SteppedThread } from "../src/explorer/execution.ts";
import type { PlainReads } from "../src/explorer/weak-words.ts";

const bytes = 128;
const exhaustive: ExploreMode = { kind: "exhaustive", mostSchedules: 100_000 };
const setUp = (memory: MemoryProvider): MemoryHandle =>
  memory.reserve(bytes, { shared: true }).handle as MemoryHandle;
const reach = (handle: MemoryHandle, host: Host): ArenaMemory => host.memory.attach(handle, bytes);

type Body = (memory: ArenaMemory, host: Host) => unknown;
const threadOf =
  (body: Body): SteppedThread<MemoryHandle> =>
  (handle, host) => {
    const memory = reach(handle, host);
    return () => body(memory, host);
  };

/** Every pair of results that two bodies can come to. */
function outcomesOf(bodies: readonly Body[], plainReads: PlainReads): string[] {
  const seen = new Set<string>();
  const summary = explore({
    setUp,
    threads: bodies.map(threadOf),
    check: ({ threads }) => {
      seen.add(threads.map(({ result }) => JSON.stringify(result ?? null)).join(" "));
      return undefined;
    },
    mode: exhaustive,
    plainReads,
  });
  expect(summary).toMatchObject({ complete: true });
  return [...seen].toSorted((one, other) => (one < other ? -1 : 1));
}

const [x, y] = [0, 8];

const plainBuffer = (mine: number, other: number): Body => {
  return ({ plain: words }) => {
    words[mine] = 1;
    return words[other];
  };
};
const orderedBuffer = (mine: number, other: number): Body => {
  return ({ words }) => {
    words.store(mine, 1);
    return words.load(other);
  };
};
const mixedBuffer = (mine: number, other: number): Body => {
  return ({ plain: words, words: ordered }) => {
    words[mine] = 1;
    return ordered.load(other);
  };
};

const sender: (isOrdered: boolean) => Body = (isOrdered) => (memory) => {
  memory.plain[x] = 7;
  if (isOrdered) memory.words.store(y, 1);
  else memory.plain[y] = 1;
};
const receiver: (isOrdered: boolean) => Body = (isOrdered) => (memory) => {
  const flag = isOrdered ? memory.words.load(y) : memory.plain[y];
  return [flag, memory.plain[x]];
};

const reader = (one: number, other: number): Body => {
  return ({ words }) => [words.load(one), words.load(other)];
};

const pass = (sends: boolean, receives: boolean): string[] =>
  outcomesOf([sender(sends), receiver(receives)], "weak");

describe("litmus tests", () => {
  it("store buffering: both plain loads may miss the other's store, ordered ones not", () => {
    const all = ["0 0", "0 1", "1 0", "1 1"];
    const pair = (make: typeof plainBuffer): Body[] => [make(x, y), make(y, x)];
    for (const reads of ["coherent", "weak"] as const) {
      expect(outcomesOf(pair(plainBuffer), reads)).toEqual(all);
      expect(outcomesOf(pair(orderedBuffer), reads)).toEqual(all.slice(1));
      expect(outcomesOf(pair(mixedBuffer), reads)).toEqual(all);
    }
    expect(outcomesOf(pair(plainBuffer), "newest")).toEqual(all.slice(1));
  });

  it("message passing: a plain flag may come before its data, an ordered one not", () => {
    const stale = "null [1,0]";
    expect(pass(false, false)).toContain(stale);
    expect(pass(false, true)).toContain(stale);
    expect(pass(true, false)).toContain(stale);
    expect(pass(true, true)).toEqual(["null [0,0]", "null [0,7]", "null [1,7]"]);
  });

  it("coherence: a plain word goes back in the language, not on a processor", () => {
    const bodies: Body[] = [
      ({ plain }) => void (plain[x] = 1),
      ({ plain }) => [plain[x], plain[x]],
    ];
    const forward = ["null [0,0]", "null [0,1]", "null [1,1]"];
    expect(outcomesOf(bodies, "coherent")).toEqual(forward);
    expect(outcomesOf(bodies, "weak")).toContain("null [1,0]");
    expect(outcomesOf(bodies, "newest")).toEqual(forward);
  });

  it("independent readers: two readers agree on the order of ordered writes", () => {
    const bodies: Body[] = [
      ({ words }) => words.store(x, 1),
      ({ words }) => words.store(y, 1),
      reader(x, y),
      reader(y, x),
    ];
    const seen = outcomesOf(bodies, "weak");
    expect(seen).not.toContain("null null [1,0] [1,0]");
    expect(seen).toHaveLength(15);
  });

  it("a double is torn where nothing orders it, a word never", () => {
    const whole = new Float64Array(new Int32Array([5, 6]).buffer)[0] as number;
    const bodies: Body[] = [
      ({ doubles }) => void ((doubles as Float64Array)[0] = whole),
      ({ doubles }) => [
        ...new Int32Array(Float64Array.of((doubles as Float64Array)[0] as number).buffer),
      ],
    ];
    expect(outcomesOf(bodies, "weak")).toEqual(
      ["[0,0]", "[0,6]", "[5,0]", "[5,6]"].map((seen) => `null ${seen}`),
    );
  });

  it("read-modify-writes lose nothing, and synchronise", () => {
    const bodies: Body[] = [0, 1, 2].map((thread) => ({ words, plain }: ArenaMemory) => {
      plain[16 - thread] = 1;
      if (words.add(x, 1) < 2) return 0;
      return (
        (plain[16 - ((thread + 1) % 3)] as number) + (plain[16 - ((thread + 2) % 3)] as number)
      );
    });
    expect(outcomesOf(bodies, "weak")).toEqual(["0 0 2", "0 2 0", "2 0 0"]);
  });
});

const capacity = 2;
const [HEAD, TAIL, SLOTS] = [0, 2, 8];

/** A ring as many write it: its positions are plain words. */
function toyRing(isOrdered: boolean): SteppedThread<MemoryHandle>[] {
  const load = ({ words, plain }: ArenaMemory, at: number): number =>
    isOrdered ? words.load(at) : (plain[at] as number);
  const store = ({ words, plain }: ArenaMemory, at: number, value: number): void => {
    if (isOrdered) words.store(at, value);
    else plain[at] = value;
  };
  const producer: Body = (memory) => {
    let tail = 0;
    for (let tries = 0; tries < 5 && tail < 3; tries++) {
      if (tail - load(memory, HEAD) >= capacity) continue;
      memory.plain[SLOTS + (tail % capacity)] = 100 + tail;
      store(memory, TAIL, ++tail);
    }
  };
  const consumer: Body = (memory, host) => {
    let head = 0;
    for (let tries = 0; tries < 5; tries++) {
      if (load(memory, TAIL) === head) continue;
      host.note(memory.plain[SLOTS + (head % capacity)]);
      store(memory, HEAD, ++head);
    }
  };
  return [threadOf(producer), threadOf(consumer)];
}

function exploreToy(
  isOrdered: boolean,
  mode: ExploreMode,
  plainReads: PlainReads = "weak",
): ExploreSummary {
  return explore({
    setUp,
    threads: toyRing(isOrdered),
    check: ({ threads }) => {
      const got = threads[1]?.notes ?? [];
      const isPrefix = got.every((value, index) => value === 100 + index);
      return isPrefix ? undefined : `R1: got ${got.join(" ")}`;
    },
    mode,
    plainReads,
  });
}

describe("a planted bug", () => {
  it("R1: a ring with plain positions breaks at seed 1, and in an exhaustive run", () => {
    const pct = exploreToy(false, { kind: "pct", seed: "1", depth: 3, schedules: 1_000 });
    expect(pct.violation?.message).toMatch(/^R1/);
    expect(exploreToy(false, exhaustive).violation?.message).toMatch(/^R1/);
    expect(exploreToy(false, exhaustive, "coherent").violation?.message).toMatch(/^R1/);
  });

  it("R1: nor does a native run show it: with accesses in their order it holds", () => {
    expect(exploreToy(false, exhaustive, "newest")).toMatchObject({ complete: true });
  });

  it("R1: the same ring with ordered positions holds", () => {
    const all = exploreToy(true, exhaustive);
    expect(all.violation).toBeUndefined();
    expect(all.complete).toBe(true);
    expect(all.schedules).toBeGreaterThan(50);
    const some = exploreToy(true, { kind: "pct", seed: "1", depth: 4, schedules: 500 });
    expect(some.violation).toBeUndefined();
  });

  it("is replayed by its schedule, step by step, and gives the same text again", () => {
    const found = exploreToy(false, {
      kind: "pct",
      seed: "1",
      depth: 3,
      schedules: 1_000,
    }).violation;
    const schedule = found?.schedule as string;
    const again = exploreToy(false, { kind: "replay", schedule });
    expect(again.violation).toEqual(found);
    expect(found?.steps.length).toBeGreaterThan(5);
  });

  it("is found in the same schedule every time", () => {
    const mode = { kind: "pct", seed: "7", depth: 2, schedules: 1_000 } as const;
    expect(exploreToy(false, mode)).toEqual(exploreToy(false, mode));
    expect(exploreToy(false, exhaustive)).toEqual(exploreToy(false, exhaustive));
  });
});

const [FLAG, DATA] = [0, 8];
const spin = (words: ArenaMemory["words"]): void => {
  while (words.load(0) === 0);
};

const wait = (timeoutMs: number) =>
  explore({
    setUp,
    threads: [
      threadOf(({ words }, host) => {
        words.wait(FLAG, 0, timeoutMs);
        return host.nowMs();
      }),
    ],
    check: ({ threads }) => (threads[0]?.result === timeoutMs ? undefined : "time stood still"),
    mode: exhaustive,
  });

const waiter =
  (isCareful: boolean): Body =>
  ({ words }) => {
    const seen = words.load(FLAG);
    if (words.load(DATA) === 0) words.wait(FLAG, isCareful ? seen : words.load(FLAG), 1_000);
    return words.load(DATA);
  };
const waker: Body = ({ words }) => {
  words.store(DATA, 1);
  words.add(FLAG, 1);
  words.wake(FLAG);
};

const runWaiter = (isCareful: boolean, mode: ExploreMode): ExploreSummary =>
  explore({
    setUp,
    threads: [threadOf(waiter(isCareful)), threadOf(waker)],
    check: ({ threads }) => (threads[0]?.timeouts === 0 ? undefined : "R6: slept with data there"),
    mode,
  });

describe("waiting", () => {
  it("R6: a lost wake-up is found, and a careful waiter loses none", () => {
    expect(runWaiter(false, exhaustive).violation?.message).toMatch(/^R6/);
    const pct = { kind: "pct", seed: "1", depth: 3, schedules: 2_000 } as const;
    expect(runWaiter(false, pct).violation?.message).toMatch(/^R6/);
    expect(runWaiter(true, exhaustive)).toMatchObject({ complete: true, deaths: 0 });
  });

  it("for what nobody brings is a violation, unless it has an end", () => {
    expect(wait(Infinity).violation?.message).toBe("thread 0 waits for ever");
    expect(wait(20).violation).toBeUndefined();
  });

  it("going round for ever is a violation", () => {
    const summary = explore({
      setUp,
      threads: [threadOf(({ words }) => void (words.load(0) === 0 && spin(words)))],
      mode: exhaustive,
      mostSteps: 50,
    });
    expect(summary.violation?.message).toBe("no end after 50 steps");
  });
});

function swallow(run: () => void): void {
  try {
    run();
  } catch {
    // As queues do that settle.
  }
}

describe("deaths", () => {
  it("come before each access, once, and others hear of them", () => {
    const died = new Set<string>();
    const summary = explore({
      setUp,
      threads: [
        threadOf(({ words }, host) => {
          for (let step = 0; step < 3; step++) {
            words.store(step, 1);
            host.note(step);
          }
          return "whole";
        }),
        threadOf((_, host) => host.hasDied(0)),
      ],
      check: ({ threads: [one, other], host, shared }) => {
        const { words } = reach(shared, host);
        const stored = [0, 1, 2].filter((at) => words.load(at) === 1).length;
        if (stored !== one?.notes.length) return "a note without its store";
        if (one.hasDied === (one.result === "whole")) return "dead and whole";
        died.add(`${stored} ${one.hasDied} ${String(other?.result)}`);
        return undefined;
      },
      mode: exhaustive,
      mayDie: [0],
    });
    expect(summary).toMatchObject({ complete: true });
    expect([...died].toSorted((one, other) => (one < other ? -1 : 1))).toEqual([
      "0 true false",
      "0 true true",
      "1 true false",
      "1 true true",
      "2 true false",
      "2 true true",
      "3 false false",
    ]);
  });

  it("of a thread that leaves a finally block: nothing in it happens", () => {
    const summary = explore({
      setUp,
      threads: [
        threadOf(({ words }) => {
          try {
            words.store(0, 1);
            words.store(1, 1);
          } catch {
            // Whatever it was.
          } finally {
            swallow(() => words.store(2, 1));
          }
          return "whole";
        }),
        threadOf(({ words }) => words.load(0)),
      ],
      check: ({ threads: [one], host, shared }) => {
        const { words } = reach(shared, host);
        if (one?.hasDied !== true) return undefined;
        if (one.result !== undefined) return "the dead came to their end";
        return words.load(2) === 1 ? "the dead wrote" : undefined;
      },
      mode: exhaustive,
      mayDie: [0],
    });
    expect(summary).toMatchObject({ complete: true });
    expect(summary.deaths).toBeGreaterThan(0);
  });
});

describe("what an explored thread must keep to", () => {
  it("X1: a thread that remembers across its runs is found out", () => {
    let runs = 0;
    const summary = explore({
      setUp,
      threads: [
        threadOf(({ words }) => {
          words.load(runs++ % 2);
          words.store(0, 1);
        }),
        threadOf(({ words }) => words.store(0, 2)),
      ],
      mode: exhaustive,
    });
    expect(summary.violation?.message).toContain("X1");
  });

  it("an error that it throws is a violation", () => {
    const summary = explore({
      setUp,
      threads: [
        threadOf(({ words }) => {
          if (words.load(0) === 1) throw new Error("boo");
        }),
        threadOf(({ words }) => words.store(0, 1)),
      ],
      mode: exhaustive,
    });
    expect(summary.violation?.message).toBe("thread 0 threw Error: boo");
  });

  it.each([
    [{ kind: "exhaustive", mostSchedules: 0 }],
    [{ kind: "pct", seed: "", depth: 0, schedules: 1 }],
    [{ kind: "replay", schedule: "0y" }],
    [undefined],
  ])("a mode that is none is refused: %j", (mode) => {
    const threads = [threadOf(() => {})];
    expect(() => explore({ setUp, threads, mode: mode as ExploreMode })).toThrow("expected");
  });
});

// To be found: the other thread's steps between two of the last ones, after hundreds that only look.
const spinner: Body = ({ words }) => {
  for (let spins = 0; spins < 400; spins++) if (words.load(FLAG) === 1) return "woken";
  words.add(DATA, 1);
  return words.load(DATA + 1) === 1 && words.load(FLAG) === 0 ? "between" : "after";
};
const other: Body = ({ words }) => {
  if (words.load(DATA) !== 1) return;
  words.store(DATA + 1, 1);
  words.store(FLAG, 1);
};

describe("random schedules", () => {
  it("P1: a thread that spins takes no orderings away from what comes after", () => {
    const found = [1, 2, 3, 4, 5, 6, 7, 8].filter(
      (seed) =>
        explore({
          setUp,
          threads: [threadOf(spinner), threadOf(other)],
          check: ({ threads }) => (threads[0]?.result === "between" ? "found between" : undefined),
          mode: { kind: "pct", seed: `${seed}`, depth: 3, schedules: 300 },
        }).violation !== undefined,
    );
    expect(found.length).toBeGreaterThanOrEqual(6);
  });
});
