import { simulate, type Fault, type FaultPlan, type Program, type SimReport } from "@selvage/sim";
import { describe, expect, it } from "vitest";

const shape = { warmUpMs: 0, chaosMs: 2_000, settleMs: 3_000 };

/** A run in which node `b` sends a message to `a` every 20 ms, and each runs a program. */
function run(plan: FaultPlan, program: Program = () => {}): Promise<SimReport> {
  return simulate({
    shape,
    plan,
    world(world) {
      world.node("a", async (node) => {
        node.listen((_from, message) => node.record("heard", { message: Number(message) }));
        await program(node);
      });
      world.node("b", async (node) => {
        for (let message = 0; ; message++) {
          node.send("a", message);
          await node.sleep(20);
        }
      });
    },
  });
}

function timesOf(report: SimReport, kind: string): readonly number[] {
  report.assert();
  return report.occurrences.filter((one) => one.kind === kind).map(({ atMs }) => atMs);
}

/** How many of some times lie between two. */
function between(times: readonly number[], fromMs: number, toMs: number): number {
  return times.filter((ms) => ms >= fromMs && ms < toMs).length;
}

/** A long fault, and a short one of the same kind within it. */
function nested(fault: Fault, other: Fault = fault): FaultPlan {
  const long = { ...fault, forMs: 900, at: { atMs: 0 } } as Fault;
  const short = { ...other, forMs: 10, at: { atMs: 100 } } as Fault;
  return [long, short];
}

/** Records whenever it finds its disk spoilt. */
const inspect: Program = async (node) => {
  for (;;) {
    const { slowMs, isFull, isShort, lies } = node.disks.condition;
    if (slowMs > 1 || isFull || isShort || lies) node.record("wrong");
    await node.sleep(20);
  }
};

const at = { atMs: 0 };
const forMs = 1;

describe("faults of one kind that overlap", () => {
  const cut: Fault = { kind: "cut", from: "b", to: "a", mode: "drop", forMs, at };
  const isolated: Fault = { kind: "isolate", node: "b", direction: "out", forMs, at };

  it.each([
    ["a cut", nested(cut)],
    ["a node cut off", nested(isolated)],
    ["a cut and a node cut off", nested(isolated, cut)],
    ["loss", nested({ kind: "loss", in1000: 1_000, forMs, at })],
    ["delay", nested({ kind: "delay", in1000: 1_000, lateMs: 4_000_000, forMs, at })],
  ] as const)("%s lasts until the last of them ends, and no longer", async (_name, plan) => {
    const heard = timesOf(await run(plan), "heard");
    expect(between(heard, 10, 890)).toBe(0);
    expect(between(heard, 910, 2_000)).toBeGreaterThan(40);
  });

  it("doubling lasts until the last of them ends", async () => {
    const report = await run(nested({ kind: "doubling", in1000: 1_000, forMs, at }));
    const doubled = timesOf(report, "message.doubled");
    expect(between(doubled, 200, 890)).toBeGreaterThan(30);
    expect(between(doubled, 910, 5_000)).toBe(0);
  });

  it.each(["diskSlow", "diskFull", "shortIo", "syncLie"] as const)(
    "%s lasts until the last of them ends, and no longer",
    async (kind) => {
      const fault = { kind, node: "a", forMs, at, ...(kind === "diskSlow" && { slowMs: 100 }) };
      const times = timesOf(await run(nested(fault as Fault), inspect), "wrong");
      expect(between(times, 120, 890)).toBeGreaterThan(30);
      expect(between(times, 910, 5_000)).toBe(0);
    },
  );

  it("a clock that runs fast does so until the last of them ends", async () => {
    const fault: Fault = { kind: "clockDrift", node: "a", ppm: 100_000, forMs, at };
    const report = await run(nested(fault), async (node) => {
      await node.sleep(1_500);
      node.record("slept");
    });
    expect(timesOf(report, "slept")[0]).toBeCloseTo(1_410, 0);
  });

  it("a pause does not wake the process that was started since, and stands still for another one", async () => {
    const pause = { kind: "pause", node: "a", order: "io-first" } as const;
    const report = await run([
      { ...pause, forMs: 600, at: { atMs: 0 } },
      { kind: "crash", node: "a", loses: "memory", forMs: 10, at: { atMs: 100 } },
      { ...pause, forMs: 1_000, at: { atMs: 300 } },
    ]);
    const heard = timesOf(report, "heard");
    expect(between(heard, 120, 300)).toBeGreaterThan(5);
    expect(between(heard, 310, 1_300)).toBe(0);
  });
});

describe("a clock", () => {
  it.each([
    ["two freezes, the second the shorter", [800, 100], 1_000, 200],
    ["two freezes, the second the longer", [100, 800], 1_000, 150],
  ] as const)(
    "stands still until the later end: %s",
    async (_name, [first, second], afterMs, counted) => {
      const plan: FaultPlan = [
        { kind: "clockFreeze", node: "a", forMs: first, at: { atMs: 0 } },
        { kind: "clockFreeze", node: "a", forMs: second, at: { atMs: 50 } },
      ];
      const read: number[] = [];
      await run(plan, async (node) => {
        node.kernel.after(afterMs * 1_000, "test", () => read.push(node.monotonicMs()));
        await Promise.resolve();
      });
      expect(read[0]).toBeCloseTo(counted, 0);
    },
  );

  it.each([
    [{ kind: "clockFreeze", node: "a", forMs: 1_500, at: { atMs: 1_250 } }],
    [{ kind: "suspend", node: "a", forMs: 3_000, at: { atMs: 500 } }],
  ] as const)("never runs backwards, and is healed: %j", async (fault) => {
    const drift: Fault = {
      kind: "clockDrift",
      node: "a",
      ppm: -50_000,
      forMs: 200,
      at: { atMs: 1_400 },
    };
    const read: number[] = [];
    const report = await run([fault, drift], async (node) => {
      const look = (): void => {
        read.push(node.monotonicMs());
        node.kernel.after(10_000, "test", look);
      };
      look();
      for (;;) {
        await node.sleep(100);
        node.record("beat");
      }
    });
    expect(read).toEqual(read.toSorted((one, other) => one - other));
    const beats = timesOf(report, "beat");
    // At the heal, after 2,000 ms, every fault ends: also what had been armed meanwhile is due by the clock that goes on.
    expect(between(beats, 2_000, 2_250)).toBeGreaterThan(0);
    expect(between(beats, 2_000, 5_000)).toBeGreaterThan(28);
  });
});

describe("a plan", () => {
  it.each([
    [7, /plan: expected a list of faults, got 7/],
    [[null], /plan\[0\]: expected a fault, got null/],
    [[{ kind: "pawse" }], /plan\[0\]\.kind: expected one of crash, pause, .*, got "pawse"/],
    [[{ kind: "bitFlip", node: "a", at: null }], /plan\[0\]\.at: expected \{ atMs \} or/],
    [[{ kind: "bitFlip", node: "a" }], /plan\[0\]\.at/],
    [[{ kind: "bitFlip", node: "a", at: { atMs: -1 } }], /plan\[0\]\.at\.atMs: expected a number/],
    [[{ kind: "bitFlip", node: "a", at: { on: "x", nth: 0, plus: 0 } }], /plan\[0\]\.at\.nth/],
    [[{ kind: "bitFlip", node: "a", at: { on: "x", nth: 1 } }], /plan\[0\]\.at\.plus/],
    [[{ kind: "bitFlip", node: "c", at }], /plan\[0\]\.node: expected nodes among a, b, got "c"/],
    [[{ kind: "suspend", node: "a", at }], /plan\[0\]\.forMs: expected a number from 0 up/],
    [[{ kind: "suspend", node: "a", forMs: Number.NaN, at }], /plan\[0\]\.forMs/],
    [[{ kind: "clockDrift", node: "a", ppm: -1_000_000, forMs, at }], /plan\[0\]\.ppm/],
    [[{ kind: "loss", in1000: 1_001, forMs, at }], /plan\[0\]\.in1000: .* from 0 to 1000/],
    [
      [{ kind: "crash", node: "a", loses: "nerve", forMs, at }],
      /plan\[0\]\.loses: expected one of/,
    ],
    [
      [
        { kind: "bitFlip", node: "a", at },
        { kind: "cut", from: "a", to: "z", mode: "drop", forMs, at },
      ],
      /plan\[1\]\.to: expected nodes among/,
    ],
  ])("that is none is refused, and which fault it is: %j", async (plan, message) => {
    await expect(run(plan as never)).rejects.toThrow(message);
    await expect(run(plan as never)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });

  it("tells which of its faults never struck", async () => {
    const plan: FaultPlan = [
      { kind: "clockStep", node: "a", byMs: 1, at: { atMs: 2_001 } },
      { kind: "clockStep", node: "a", byMs: 1, at: { atMs: 2_000 } },
      { kind: "clockStep", node: "a", byMs: 1, at: { on: "never", nth: 1, plus: 0 } },
    ];
    const report = await run(plan);
    expect(report.unstruck).toEqual([plan[0], plan[2]]);
    const failed = await run(plan, () => {
      throw new Error("boo");
    });
    expect(() => failed.assert()).toThrow(/\n {2}3 of 3 faults never struck\n/);
  });
});
