import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  audit,
  check,
  FAULT_KINDS,
  minimise,
  readKept,
  REPEATS,
  replay,
  runCampaign,
  runOf,
  seedAfter,
  simulate,
  SimulationFailure,
  sometimes,
  Violation,
  type Campaign,
  type FaultPlan,
  type Scenario,
} from "@selvage/sim";
import { afterEach, describe, expect, it } from "vitest";

const shape = { warmUpMs: 100, chaosMs: 2_000, settleMs: 1_000 };

/** Two nodes that say hello, and lease memory. */
function chat(): Scenario {
  return {
    name: "chat",
    world(world) {
      for (const [name, other] of [
        ["a", "b"],
        ["b", "a"],
      ] as const)
        world.node(name, async (node) => {
          const fabric = world.fabric(node);
          node.listen((from, message) => node.record("heard", { from, message: String(message) }));
          for (;;) {
            fabric.mem().minBytes(64).leaseMs(node.random.between(50, 200)).acquire();
            node.send(other, node.random.uint32());
            await node.sleep(node.random.between(1, 100));
          }
        });
    },
    invariants: [check.conservation(), check.singleTerminalState()],
    shape,
  };
}

/** Rejects a promise that nobody waits for. */
const careless: Scenario["world"] = (world) =>
  void world.node("a", (node) => {
    void node.sleep(500).then(() => Promise.reject(new Error("nobody waits")));
  });

const plan: FaultPlan = [
  { kind: "pause", node: "a", forMs: 300, order: "io-first", at: { atMs: 200 } },
  { kind: "crash", node: "b", loses: "memory", forMs: 100, at: { on: "heard", nth: 7, plus: 2 } },
  { kind: "loss", in1000: 300, forMs: 500, at: { atMs: 700 } },
];

const folders: string[] = [];
const newFolder = (): string => {
  const folder = mkdtempSync(join(tmpdir(), "selvage-sim-"));
  folders.push(folder);
  return folder;
};

afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

describe("a run", () => {
  it("T1: is the same for the same seed and plan, and another for any other", async () => {
    const one = await simulate({ ...chat(), seed: 5, plan });
    const two = await simulate({ ...chat(), seed: "5", plan });
    expect(one.property).toBeUndefined();
    expect(two.traceHash).toBe(one.traceHash);
    expect(two.occurrences).toEqual(one.occurrences);
    const others = [
      await simulate({ ...chat(), seed: 6, plan }),
      await simulate({ ...chat(), seed: 5 }),
      await simulate({ ...chat(), seed: 5, plan: plan.slice(1) }),
    ];
    expect(new Set([one, ...others].map(({ traceHash }) => traceHash)).size).toBe(4);
  });

  it("T1: is the same beside another one, and beside a busy loop", async () => {
    const alone = await simulate({ ...chat(), seed: 5, plan });
    const busy = setInterval(() => {
      const endMs = performance.now() + 3;
      while (performance.now() < endMs);
    }, 1);
    const [beside] = await Promise.all([
      simulate({ ...chat(), seed: 5, plan }),
      simulate({ ...chat(), seed: 9 }),
    ]);
    clearInterval(busy);
    expect(beside.traceHash).toBe(alone.traceHash);
  });

  it("strikes each fault at its moment, once, and heals", async () => {
    const report = await simulate({ ...chat(), seed: 5, plan });
    expect(report.faults).toEqual({ pause: 1, crash: 1, loss: 1 });
    const heard = report.occurrences.filter(({ kind }) => kind === "heard");
    const crash = report.occurrences.find(({ kind }) => kind === "fault.crash");
    expect(crash?.seq).toBeGreaterThan(heard[6]?.seq as number);
    expect(crash?.seq).toBeLessThan(heard[12]?.seq as number);
    expect(report.count("node.started")).toBe(3);
    expect(report.count("healed")).toBe(1);
  });

  it("fails with what a program throws, and what nobody awaited", async () => {
    const thrown = await simulate({
      world: (w) =>
        void w.node("a", async (node) => {
          await node.sleep(10);
          throw new Error("of the program");
        }),
      shape,
    });
    expect(thrown.property).toBe("no error");
    expect(() => thrown.assert()).toThrow(/of the program/);
    const rejected = await simulate({
      world: (w) =>
        void w.node("a", (node) => {
          void node.sleep(10).then(() => Promise.reject(new Error("nobody waits")));
        }),
      shape,
    });
    expect(() => rejected.assert()).toThrow(/nobody waits/);
  });

  it.each([undefined, null, "text", 0, Object.create(null)])(
    "fails with whatever is thrown, also where it is no error: %s",
    async (thrown: unknown) => {
      const throwIt = (): never => {
        throw thrown;
      };
      const reports = [
        await simulate({ world: (w) => void w.node("a", throwIt), shape }),
        await simulate({
          world: (w) => void w.node("a", () => void Promise.reject(thrown)),
          shape,
        }),
        await simulate({ ...chat(), drive: () => Promise.reject(thrown) }),
        await simulate({ ...chat(), drive: throwIt }),
        await simulate({ world: throwIt, shape }),
        await simulate({ ...chat(), finally: [{ name: "mine", end: throwIt }] }),
      ];
      for (const report of reports) {
        expect(report.property).toBe("no error");
        expect(() => report.assert()).toThrow(/no error: thrown, and no error: /);
        expect(report.violation?.cause).toBe(thrown);
      }
    },
  );

  it("does not reject where the world throws", async () => {
    const report = await simulate({
      world() {
        throw new RangeError("of the world");
      },
      shape,
    });
    expect(() => report.assert()).toThrow(/no error: of the world/);
  });

  it("says that it makes no headway: so many events, and no end", async () => {
    const report = await simulate({
      world: (w) =>
        void w.node("a", async (node) => {
          for (;;) await node.sleep(0);
        }),
      shape: { ...shape, mostEvents: 5_000 },
    });
    expect(report.property).toBe("no livelock");
    expect(report.events).toBe(5_001);
    expect(() => report.assert()).toThrow(/no livelock: more than 5000 events, the last at 5 ms/);
  });

  it("tells a rejection that nobody awaited to its own run, and leaves the process as it was", async () => {
    const before = process.listeners("unhandledRejection");
    const [one, two, three] = await Promise.all([
      simulate({ ...chat(), seed: 1 }),
      simulate({ world: careless, shape }),
      simulate({ ...chat(), seed: 2 }),
    ]);
    expect(() => two.assert()).toThrow(/nobody waits/);
    expect([one.property, three.property]).toEqual([undefined, undefined]);
    expect(process.listeners("unhandledRejection")).toEqual(before);
  });

  it("says that it hangs when what drives it does not end", async () => {
    const report = await simulate({
      ...chat(),
      drive: () => new Promise(() => {}),
    });
    expect(report.property).toBe("no hang");
  });

  it("runs what drives it, with a history and virtual time", async () => {
    const report = await simulate({
      ...chat(),
      drive: async (world, history) => {
        const token = history.invoke("client", "x");
        await world.sleep(500);
        history.ok(token);
        world.record("driven", { atMs: world.nowMs });
      },
    });
    expect(report.occurrences.find(({ kind }) => kind === "driven")?.details["atMs"]).toBe(500);
  });

  it("refuses a plan for nodes that it does not have, and a world that is none", async () => {
    const at = { atMs: 1 };
    const wrong: FaultPlan = [{ kind: "clockStep", node: "c", byMs: 1, at }];
    await expect(simulate({ ...chat(), plan: wrong })).rejects.toThrow(
      /expected nodes among a, b, got "c"/,
    );
    await expect(simulate({ world: 7 } as never)).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
    });
  });

  it("counts what happens sometimes", async () => {
    const report = await simulate({
      world: (w) => void w.node("a", () => sometimes("a node started")),
      sometimes: ["it rained"],
      shape,
    });
    expect(report.counters.toJSON()).toEqual({ "a node started": 1, "it rained": 0 });
  });
});

/** Fails when node `a` was down or stood still for long, whatever else happens. */
function fragile(): Scenario {
  let lastMs = 0;
  return {
    ...chat(),
    name: "fragile",
    invariants: [
      {
        name: "a is quick",
        observe: ({ node, kind, atMs, seq }) => {
          if (node !== "a" || kind !== "heard") return;
          if (atMs - lastMs > 400) throw new Violation("a is quick", "a was silent", seq);
          lastMs = atMs;
        },
      },
    ],
  };
}

/** How the replay line of a run calls its scenario. */
async function calledIn(name: string): Promise<string | undefined> {
  const { replayLine } = await simulate({ ...chat(), name, seed: 1, shape: { chaosMs: 1 } });
  return /\.\.\.(.*?),/.exec(replayLine)?.[1];
}

describe("a failure", () => {
  const many: FaultPlan = [
    ...plan,
    { kind: "clockStep", node: "a", byMs: 5, at: { atMs: 10 } },
    { kind: "pause", node: "a", forMs: 900, order: "timers-first", at: { atMs: 900 } },
    { kind: "doubling", in1000: 200, forMs: 900, at: { atMs: 0 } },
  ];

  it("says how to run it again, and what happened last", async () => {
    const report = await simulate({ ...fragile(), seed: 5, plan: many });
    expect(() => report.assert()).toThrow(SimulationFailure);
    expect(() => report.assert()).toThrow(
      /replay: simulate\(\{ \.\.\.fragile, seed: "5", plan: \[/,
    );
    expect(report.diagram()).toMatch(
      /^sequenceDiagram\n {2}participant n0 as a\n {2}participant n1 as b/,
    );
    expect(Object.keys(report.last()).toSorted()).toEqual(["a", "b", "world"]);
  });

  it("has a replay line that is code, whatever its name is", async () => {
    expect(await calledIn("unfenced-lock")).toBe("unfencedLock");
    expect(await calledIn("3 nodes")).toBe("_3Nodes");
    expect(await calledIn("plain_$1")).toBe("plain_$1");
  });

  it("is drawn: every fault, messages as they arrive, and nothing that breaks the picture", async () => {
    const weather: FaultPlan = [
      { kind: "clockStep", node: "end", byMs: 1, at: { atMs: 1 } },
      { kind: "loss", in1000: 300, forMs: 1_000, at: { atMs: 1_000 } },
      { kind: "doubling", in1000: 300, forMs: 1_000, at: { atMs: 1_000 } },
      { kind: "delay", in1000: 300, lateMs: 50, forMs: 1_000, at: { atMs: 1_000 } },
    ];
    const report = await simulate({
      shape: { warmUpMs: 0, chaosMs: 2_000, settleMs: 0 },
      plan: weather,
      world(w) {
        w.node("end", async (node) => {
          for (let turn = 0; ; turn++) {
            node.record("said", { resource: "a\nb;c#d" });
            node.send("other", turn);
            await node.sleep(20);
          }
        });
        w.node("other");
      },
    });
    const lines = report.diagram(80).split("\n");
    for (const line of lines.slice(1))
      expect(line).toMatch(
        /^ {2}(participant n\d as \w+|(Note over n\d|n0 (->>|--x) n1): [^;#]+)$/,
      );
    expect(lines).toContain("  participant n0 as end");
    expect(lines.filter((line) => line.includes("⚡"))).toHaveLength(4);
    const messages = lines.filter((line) => line.includes("n0 "));
    expect(messages.filter((line) => /n0 --x n1: [\d.]+ message.lost$/.test(line))).not.toEqual([]);
    for (const kind of ["message", "message.late", "message.doubled"])
      expect(
        messages.some((line) => line.startsWith("  n0 ->>") && line.endsWith(` ${kind}`)),
      ).toBe(true);
    // In the order in which it happened.
    const times = lines.flatMap((line) => /: (?:⚡ )?([\d.]+) /.exec(line)?.[1] ?? []).map(Number);
    expect(times).toEqual(times.toSorted((one, other) => one - other));
    expect(report.diagram(0).split("\n")).toHaveLength(8);
  });

  it("is made smaller: to the one fault that causes it, and no longer than it must be", async () => {
    const report = await simulate({ ...fragile(), seed: 5, plan: many });
    const least = await minimise(fragile, report);
    expect(least.property).toBe("a is quick");
    expect(least.plan).toHaveLength(1);
    expect(least.plan[0]).toMatchObject({ kind: "pause", node: "a" });
    expect((least.plan[0] as { forMs: number }).forMs).toBeLessThan(900);
  });

  it("is kept in a file, and run again from there", async () => {
    const folder = newFolder();
    const report = await simulate({ ...fragile(), seed: 5, plan: many });
    const path = report.keep(folder);
    expect(report.keep(folder)).toBe(path);
    const again = await replay(path, fragile());
    expect([again.property, again.traceHash]).toEqual([report.property, report.traceHash]);
    const wrong = join(folder, "other.json");
    const kept = report.toKept();
    for (const text of ["{}", "null", "no JSON", JSON.stringify({ ...kept, plan: [{}] })]) {
      writeFileSync(wrong, text);
      await expect(replay(wrong, fragile())).rejects.toMatchObject({ code: "DECODE" });
      await expect(replay(wrong, fragile())).rejects.toThrow(wrong);
    }
    expect(() => readKept(join(folder, "none.json"))).toThrow(/none\.json/);
    const fine = await simulate(chat());
    expect(() => fine.keep(folder)).toThrow(/nothing was violated/);
  });
});

describe("a campaign", () => {
  const campaign: Campaign = {
    name: "fragile",
    swarm: () => ({ nodes: ["a", "b"], withinMs: 2_000, longestMs: 1_000 }),
    scenario: fragile,
    properties: ["a is quick"],
    sometimes: ["it rained"],
  };

  it("runs seeds, each with a plan of its own, and makes failures smaller", async () => {
    const folder = newFolder();
    const run = { firstSeed: "1", seeds: 60, mostFailures: 2, keepIn: folder };
    const tally = await runCampaign(campaign, run);
    expect(tally.failures.length).toBe(2);
    for (const failure of tally.failures) {
      expect(failure.plan.length).toBeLessThanOrEqual(failure.drawnFaults);
      expect(failure.plan.length).toBeLessThanOrEqual(2);
      const again = await replay(failure.path as string, runOf(campaign, failure.seed));
      expect(again.property).toBe("a is quick");
    }
    expect(tally.sometimes).toEqual({ "it rained": 0 });
    expect(Object.keys(tally.faults).toSorted()).toEqual(FAULT_KINDS.toSorted());
    expect(tally.faults["crash"]).toBeGreaterThan(0);
  });

  it("runs kept failures first, apart from its seeds, tells what cannot be read, and leaves them to a plan", async () => {
    const folder = newFolder();
    const run = { firstSeed: "1", seeds: 60, mostFailures: 2, keepIn: folder };
    const tally = await runCampaign(campaign, run);
    const seedsOf = (failures: typeof tally.failures): readonly string[] =>
      failures.map(({ seed }) => seed).toSorted();
    const [first] = tally.failures;
    const kept = readKept(first?.path as string);
    writeFileSync(join(folder, "a.json"), "{");
    const gone = [{ kind: "pause", node: "gone", forMs: 1, order: "io-first", at: { atMs: 1 } }];
    writeFileSync(join(folder, "b.json"), JSON.stringify({ ...kept, plan: gone }));
    const fine = { ...kept, seed: "2", plan: [] };
    writeFileSync(join(folder, "c.json"), JSON.stringify(fine));
    // They do not count among the failures after which it stops.
    const next = await runCampaign(campaign, { ...run, mostFailures: 1, seeds: 60 });
    expect(seedsOf(next.kept.failures)).toEqual(seedsOf(tally.failures));
    expect(next.kept.run).toBe(3);
    expect(next.kept.unreadable.map(({ path }) => path)).toEqual(
      ["a.json", "b.json"].map((name) => join(folder, name)),
    );
    expect(next.failures).toHaveLength(1);
    const planned = await runCampaign(campaign, { ...run, plan: kept.plan, seeds: 1 });
    expect(planned.kept).toEqual({ run: 0, failures: [], unreadable: [] });
  });

  it("T1: a failure that does not come again is told as that, and not kept", async () => {
    let runs = 0;
    const once: Campaign = {
      ...campaign,
      scenario: () => ({
        shape,
        world: (world) =>
          void world.node("a", () => {
            if (runs++ === 2) throw new RangeError("once");
          }),
      }),
      swarm: () => ({ nodes: ["a"], mostFaults: 0 }),
    };
    const run = { firstSeed: "1", seeds: 6, keepIn: newFolder() };
    const { failures } = await runCampaign(once, run);
    expect(failures).toMatchObject([{ property: REPEATS, seed: "3", path: undefined }]);
  });

  it("makes errors without stacks, runs what fails again with them, and leaves the limit as it was", async () => {
    const limit = Error.stackTraceLimit;
    const stacks: string[] = [];
    const throwing: Campaign = {
      ...campaign,
      scenario: () => ({
        shape,
        world: (world) =>
          void world.node("a", () => {
            stacks.push(String(new Error("expected").stack));
            throw new RangeError("unexpected");
          }),
      }),
    };
    const told: unknown[] = [];
    await runCampaign(throwing, {
      firstSeed: "1",
      seeds: 1,
      minimiseRuns: 0,
      onSeed: ({ violation }) => told.push(violation),
    });
    expect(stacks[0]).not.toContain("simulate.test.ts");
    expect(stacks[1]).toContain("simulate.test.ts");
    expect((told[0] as Error).stack).toContain("simulate.test.ts");
    expect(Error.stackTraceLimit).toBe(limit);
  });

  const hidden: readonly (readonly [string, (value: number) => Partial<Scenario>])[] = [
    [
      "in a message",
      (value) => ({
        world: (w) => void w.node("a", (node) => node.send("a", { deep: [new Map([[1, value]])] })),
      }),
    ],
    [
      "in what a client asks for",
      (value) => ({
        drive: (_world, history) => Promise.resolve(void history.invoke("ann", { value })),
      }),
    ],
    [
      "in an answer",
      (value) => ({
        drive: (_world, history) => {
          history.ok(history.invoke("ann", "read"), value);
          return Promise.resolve();
        },
      }),
    ],
    [
      "in how an operation ended",
      (value) => ({
        drive: (_world, history) => {
          const token = history.invoke("ann", "read");
          if (value === 1) history.fail(token);
          else history.info(token);
          return Promise.resolve();
        },
      }),
    ],
    [
      "in a counter",
      (value) => ({ world: (w) => void w.node("a", () => sometimes("one", value === 1)) }),
    ],
  ];

  it.each(hidden)("T1: is audited: runs that differ %s are found", async (_name, part) => {
    let runs = 0;
    const leaky: Campaign = {
      ...campaign,
      swarm: () => ({ nodes: ["a"], mostFaults: 0 }),
      scenario: () => ({ world: (w) => void w.node("a"), shape, ...part(++runs) }),
    };
    const divergence = await audit(leaky, "1");
    expect(divergence?.lasts[0]).toMatch(/^as recorded the same, trace /);
  });

  it("T1: is audited: a run that is the beginning of another is found, and where", async () => {
    let runs = 0;
    const shorter: Campaign = {
      ...campaign,
      swarm: () => ({ nodes: ["a"], mostFaults: 0 }),
      scenario() {
        const run = ++runs;
        return {
          shape,
          world: (w) => void w.node("a"),
          drive: async (w) => {
            await w.sleep(3_000);
            if (run === 2) w.record("more");
          },
        };
      },
    };
    const divergence = await audit(shorter, "1");
    expect(divergence?.lasts[0]).toBe("nothing more");
    expect(divergence?.lasts[1]).toContain('"more"');
  });

  it("counts its seeds within 64 bits", () => {
    expect(seedAfter("7", 3)).toBe("10");
    expect(seedAfter("18446744073709551615", 1)).toBe("0");
  });

  it("T1: is audited: a run that differs from the last one is found, and where", async () => {
    expect(await audit(campaign, "1")).toBeUndefined();
    let runs = 0;
    const leaky: Campaign = {
      ...campaign,
      name: "leaky",
      swarm: () => ({ nodes: ["a"], withinMs: 2_000 }),
      scenario() {
        const run = ++runs;
        return {
          world: (w) =>
            void w.node("a", async (node) => {
              for (let turn = 0; ; turn++) {
                node.record("turn", { turn: turn === 40 ? run : 0 });
                await node.sleep(10);
              }
            }),
          shape,
        };
      },
    };
    const divergence = await audit(leaky, "1");
    expect(divergence?.lasts.map((last) => JSON.parse(last).details.turn)).toEqual([1, 2]);
  });
});
