import { describe, expect, it } from "vitest";
import { Kernel } from "../src/kernel.ts";
import type { Program } from "../src/sim-node.ts";
import { World } from "../src/world.ts";

/** A world in which node `a` runs a program. */
function worldOf(program: Program): {
  kernel: Kernel;
  world: World;
  run: (ms: number) => Promise<void>;
} {
  const kernel = new Kernel("1");
  const world = new World(kernel);
  world.node("a", program);
  const run = async (ms: number): Promise<void> => kernel.run(ms * 1_000);
  return { kernel, world, run };
}

const nodeOf = (world: World, name = "a") =>
  world.nodes.get(name) as NonNullable<ReturnType<World["node"]>>;

/** Notes a message after some turns. */
async function noted(seen: string[], message: unknown): Promise<void> {
  for (let turn = 0; turn < 10; turn++) await Promise.resolve();
  seen.push(`${String(message)} done`);
}

describe("a node", () => {
  it("N1: loses its timers, its messages and what it awaits in a crash, and starts its program anew", async () => {
    const seen: string[] = [];
    const { world, run } = worldOf(async (node) => {
      const name = `a${node.incarnation}`;
      node.timer.every(10, () => seen.push(`${name} ticks at ${node.kernel.nowUs / 1_000}`));
      node.listen((from, message) => seen.push(`${name} hears ${String(message)} of ${from}`));
      await node.sleep(25);
      seen.push(`${name} slept`);
    });
    const b = world.node("b");
    const a = nodeOf(world);
    a.start();
    b.start();
    await run(15);
    a.crash("memory");
    b.send("a", "lost");
    await run(100);
    expect(seen).toEqual(["a1 ticks at 10"]);
    a.start();
    b.send("a", "heard");
    await run(126);
    expect(seen.slice(1)).toEqual([
      "a2 hears heard of b",
      "a2 ticks at 110",
      "a2 ticks at 120",
      "a2 slept",
    ]);
  });

  it("N1: never begins a program that died, or stands still, in the moment of its start", async () => {
    const begun: number[] = [];
    const { world, run } = worldOf((node) => void begun.push(node.incarnation));
    const a = nodeOf(world);
    a.start();
    a.crash("memory");
    await run(5);
    expect(begun).toEqual([]);
    a.start();
    a.pause();
    await run(10);
    expect(begun).toEqual([]);
    a.resume("timers-first");
    await run(15);
    expect(begun).toEqual([2]);
  });

  it("N2: puts off what would happen while it is paused, and does it at once when it goes on", async () => {
    const seen: string[] = [];
    const { world, run } = worldOf((node) => {
      node.timer.after(20, () => seen.push(`timer at ${node.clock.nowMs() % 1_000}`));
      node.listen((_from, message) =>
        seen.push(`${String(message)} at ${node.clock.nowMs() % 1_000}`),
      );
    });
    const b = world.node("b");
    const a = nodeOf(world);
    a.start();
    b.start();
    await run(10);
    a.pause();
    b.send("a", "message");
    await run(500);
    expect(seen).toEqual([]);
    a.resume("io-first");
    await run(600);
    expect(seen).toEqual(["message at 500", "timer at 500"]);
  });

  it("N2: finds its timers first where that is how the loop goes on", async () => {
    const seen: string[] = [];
    const { world, run } = worldOf((node) => {
      node.timer.after(20, () => seen.push("timer"));
      node.listen(() => seen.push("message"));
    });
    const b = world.node("b");
    const a = nodeOf(world);
    a.start();
    b.start();
    await run(10);
    a.pause();
    b.send("a", "message");
    await run(500);
    a.resume("timers-first");
    await run(600);
    expect(seen).toEqual(["timer", "message"]);
  });

  it("K2: what a listener wakes comes to rest before the next message, also where both were put off", async () => {
    const seen: string[] = [];
    const { world, run } = worldOf((node) => {
      node.listen((_from, message) => void noted(seen, message));
    });
    const b = world.node("b", (node) => {
      node.listenQuietly((_from, message) => seen.push(`quietly ${String(message)}`));
    });
    const a = nodeOf(world);
    a.start();
    b.start();
    await run(1);
    a.pause();
    for (const message of ["one", "two"]) b.send("a", message);
    await run(10);
    expect(seen).toEqual([]);
    // What comes to the other node meanwhile is at the same moment, and after it.
    a.resume("io-first");
    world.kernel.after(0, "message", () => b.deliver("a", "three"), true);
    await run(20);
    expect(seen.map((one) => one.replace(/one|two/, "first or second"))).toEqual([
      "first or second done",
      "first or second done",
      "quietly three",
    ]);
  });

  it("N3: counts its timers by its own clock, which drifts", async () => {
    const seen: number[] = [];
    const { world, run, kernel } = worldOf((node) => {
      node.timer.after(100, () => seen.push(kernel.nowUs / 1_000));
    });
    const a = nodeOf(world);
    a.driftClock(100_000);
    a.start();
    await run(200);
    expect(seen[0]).toBeCloseTo(100 / 1.1, 1);
  });

  it("N3: finds its timers due earlier when its clock begins to run fast, also those that repeat", async () => {
    const seen: number[] = [];
    const { world, run, kernel } = worldOf((node) => {
      node.timer.every(100, () => seen.push(kernel.nowUs / 1_000));
      const cancel = node.timer.after(100, () => seen.push(-1));
      node.timer.after(10, cancel);
    });
    const a = nodeOf(world);
    a.start();
    await run(50);
    a.driftClock(1_000_000);
    await run(130);
    expect(seen).toEqual([75, 125]);
    a.driftClock(0);
    a.freezeClock(1_000);
    await run(230);
    a.freezeClock(0);
    await run(321);
    expect(seen).toEqual([75, 125, 320]);
  });

  it("N3: has a monotonic clock that may stand still; its clock follows the wall once that is a second ahead", async () => {
    const { world, run } = worldOf(() => {});
    const a = nodeOf(world);
    a.start();
    await run(100);
    const before = a.clock.nowMs();
    a.freezeClock(5_000);
    await run(600);
    expect(a.clock.nowMs() - before).toBe(0);
    await run(5_200);
    expect(a.monotonicMs()).toBeCloseTo(200, 0);
    expect(a.clock.nowMs() - before).toBe(5_100);
  });

  it("has a clock that a step of the wall forward moves, and one back does not", async () => {
    const { world, run } = worldOf(() => {});
    const a = nodeOf(world);
    a.start();
    await run(100);
    const before = a.clock.nowMs();
    a.stepClock(-3_600_000);
    await run(200);
    expect(a.clock.nowMs() - before).toBe(100);
    a.stepClock(7_200_000);
    await run(300);
    expect(a.clock.nowMs() - before).toBe(200 + 3_600_000);
  });

  it("cancels a timer that is put off already", async () => {
    const seen: string[] = [];
    let cancel: (() => void) | undefined;
    const { world, run } = worldOf((node) => {
      cancel = node.timer.every(10, () => seen.push("tick"));
    });
    const a = nodeOf(world);
    a.start();
    await run(5);
    a.pause();
    await run(50);
    cancel?.();
    a.resume("timers-first");
    await run(100);
    expect(seen).toEqual([]);
  });
});

describe("the network", () => {
  const count = 2_000;

  async function sent(prepare: (world: World) => void): Promise<{ got: number[]; kernel: Kernel }> {
    const kernel = new Kernel("1");
    const world = new World(kernel);
    const got: number[] = [];
    world.node("a", (node) => node.listen((_from, message) => got.push(message as number)));
    const b = world.node("b");
    for (const node of world.nodes.values()) node.start();
    await kernel.run(1_000);
    prepare(world);
    for (let index = 0; index < count; index++) {
      b.send("a", index);
      await kernel.run(kernel.nowUs + 1_000);
    }
    await kernel.run(kernel.nowUs + 10_000_000);
    return { got, kernel };
  }

  it("brings every message in fair weather", async () => {
    const { got } = await sent(() => {});
    expect(got.toSorted((a, b) => a - b)).toEqual([...Array(count).keys()]);
  });

  it("loses, doubles and delays what it is told to, and so changes their order", async () => {
    const { got, kernel } = await sent((world) =>
      world.network.setWeather({
        lostIn1000: 200,
        doubledIn1000: 100,
        lateIn1000: 300,
        lateMs: 50,
      }),
    );
    expect(kernel.count("message.lost") / count).toBeCloseTo(0.2, 1);
    expect(kernel.count("message.doubled") / count).toBeCloseTo(0.08, 1);
    expect(got.length).toBe(count - kernel.count("message.lost") + kernel.count("message.doubled"));
    expect(got).not.toEqual(got.toSorted((a, b) => a - b));
  });

  it("cuts one direction: messages are lost, or kept until it is mended", async () => {
    const lost = await sent((world) => world.network.cut("b", "a", "drop"));
    expect(lost.got).toEqual([]);
    const other = await sent((world) => world.network.cut("a", "b", "drop"));
    expect(other.got.length).toBe(count);
    const kept = await sent((world) => {
      world.network.cut("b", "a", "queue");
      world.kernel.after(500_000, "test", () => world.network.mend("b", "a"));
    });
    expect(kept.got.length).toBe(count);
    expect(kept.got.slice(0, 100)).not.toContain(count - 1);
  });

  it("carries copies of plain data, to nodes that there are", async () => {
    const kernel = new Kernel("1");
    const world = new World(kernel);
    const got: unknown[] = [];
    world.node("a", (node) => node.listen((_from, message) => got.push(message)));
    const b = world.node("b");
    for (const node of world.nodes.values()) node.start();
    await kernel.run(1_000);
    const message = { list: [1] };
    b.send("a", message);
    message.list.push(2);
    await kernel.run(100_000);
    expect(got).toEqual([{ list: [1] }]);
    expect(() => b.send("a", () => {})).toThrow(/expected plain data/);
    expect(() => b.send("nobody", 1)).toThrow(/no node is called nobody/);
  });
});
