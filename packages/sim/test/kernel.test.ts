import { describe, expect, it } from "vitest";
import { Kernel } from "../src/kernel.ts";

const second = 1_000_000;

/** The hash of a run with one occurrence. */
async function hashOf(kind: string, node: string, detail: unknown, us: number): Promise<string> {
  const kernel = new Kernel("1");
  kernel.after(us, "test", () => void kernel.record(node, kind, { detail: detail as string }));
  await kernel.run(second);
  return kernel.hash.toString();
}

describe("the kernel", () => {
  it("takes events by time, and those of one time in the order in which they were scheduled", async () => {
    const kernel = new Kernel("1");
    const seen: string[] = [];
    for (const [delayUs, name] of [
      [20, "c"],
      [10, "a"],
      [20, "d"],
      [10, "b"],
    ] as const)
      kernel.after(delayUs, "test", () => seen.push(`${name} at ${kernel.nowUs}`));
    await kernel.run(second);
    expect(seen).toEqual(["a at 10", "b at 10", "c at 20", "d at 20"]);
    expect(kernel.nowUs).toBe(second);
    expect(kernel.taken).toBe(4);
  });

  it("keeps that order with ten thousand events that are scheduled while others run", async () => {
    const kernel = new Kernel("1");
    const random = kernel.random("test");
    const at: number[] = [];
    for (let event = 0; event < 5_000; event++)
      kernel.after(
        random.below(1_000),
        "test",
        () => {
          at.push(kernel.nowUs);
          kernel.after(random.below(1_000), "test", () => at.push(kernel.nowUs), true);
        },
        true,
      );
    await kernel.run(second);
    expect(at.length).toBe(10_000);
    expect(at).toEqual(at.toSorted((a, b) => a - b));
  });

  it("K2: lets a chain of promises of any length end before it takes the next event", async () => {
    const kernel = new Kernel("1");
    const seen: string[] = [];
    const chain = async (): Promise<void> => {
      for (let turn = 0; turn < 1_000; turn++) await Promise.resolve();
      seen.push(`chain at ${kernel.nowUs}`);
    };
    kernel.after(1, "test", () => void chain());
    kernel.after(2, "test", () => seen.push("next"));
    await kernel.run(second);
    expect(seen).toEqual(["chain at 1", "next"]);
  });

  it("K2: lets a chain end that goes on at the host's next ticks, too", async () => {
    const kernel = new Kernel("1");
    const seen: string[] = [];
    const chain = async (): Promise<void> => {
      for (let turn = 0; turn < 100; turn++) {
        await new Promise<void>((resolve) => process.nextTick(resolve));
        await Promise.resolve();
      }
      seen.push(`chain at ${kernel.nowUs}`);
    };
    for (const us of [1, 3]) {
      kernel.after(us, "test", () => void chain());
      kernel.after(us + 1, "test", () => seen.push("next"));
    }
    await kernel.run(second);
    expect(seen).toEqual(["chain at 1", "next", "chain at 3", "next"]);
  });

  it("K2: lets it end after a quiet event too, when that says that it woke somebody", async () => {
    const kernel = new Kernel("1");
    const seen: string[] = [];
    const wake = (stirs: boolean, name: string): void => {
      if (stirs) kernel.stir();
      void Promise.resolve()
        .then(() => {})
        .then(() => seen.push(name));
    };
    for (const [us, stirs] of [
      [1, true],
      [3, false],
    ] as const) {
      kernel.after(us, "test", () => wake(stirs, `woken at ${us}`), true);
      kernel.after(us + 1, "test", () => seen.push(`next at ${us + 1}`), true);
    }
    await kernel.run(second);
    expect(seen.slice(0, 3)).toEqual(["woken at 1", "next at 2", "next at 4"]);
  });

  it("K2: has a listener on the host's next turn wait for no more than a few events", async () => {
    const kernel = new Kernel("1");
    let taken = 0;
    const again = (): void => void kernel.after(1, "test", () => (taken++, again()));
    again();
    const turn = new Promise<number>((resolve) => setImmediate(() => resolve(taken)));
    await kernel.run(10_000);
    expect(taken).toBe(10_000);
    expect(await turn).toBeLessThan(100);
  });

  it("does not take an event that was cancelled, nor one after its end", async () => {
    const kernel = new Kernel("1");
    const seen: string[] = [];
    const cancel = kernel.after(5, "test", () => seen.push("cancelled"));
    kernel.after(1, "test", cancel);
    kernel.after(11, "test", () => seen.push("later"));
    await kernel.run(10);
    expect(seen).toEqual([]);
    await kernel.run(20);
    expect(seen).toEqual(["later"]);
  });

  it("ends with what an event throws, or an observer", async () => {
    const thrown = new Error("of an event");
    const kernel = new Kernel("1");
    kernel.after(1, "test", () => {
      throw thrown;
    });
    await expect(kernel.run(second)).rejects.toBe(thrown);
    const other = new Kernel("1");
    other.observe(() => {
      throw thrown;
    });
    // Whoever caused the occurrence goes on.
    other.after(1, "test", () => expect(other.record("a", "x")).toBe(0));
    await expect(other.run(second)).rejects.toBe(thrown);
  });

  it("does something between two events, so many events later", async () => {
    const kernel = new Kernel("1");
    const seen: string[] = [];
    for (const name of ["a", "b", "c"]) kernel.after(1, "test", () => seen.push(name));
    kernel.interject(2, () => seen.push("between"));
    await kernel.run(second);
    expect(seen).toEqual(["a", "b", "between", "c"]);
  });

  it("waits for what is outside of the simulation, which takes no virtual time", async () => {
    const kernel = new Kernel("1");
    const seen: string[] = [];
    kernel.after(1, "test", () => {
      const real = new Promise<void>((resolve) => setTimeout(resolve, 20));
      void kernel.outside(real).then(() => seen.push(`outside at ${kernel.nowUs}`));
    });
    kernel.after(2, "test", () => seen.push("next"));
    await kernel.run(second);
    expect(seen).toEqual(["outside at 1", "next"]);
  });

  it("T1: has a hash of all that happened, which tells any difference", async () => {
    const hashes = await Promise.all([
      hashOf("a", "n", 1, 5),
      hashOf("b", "n", 1, 5),
      hashOf("a", "m", 1, 5),
      hashOf("a", "n", 2, 5),
      hashOf("a", "n", 1.25, 5),
      hashOf("a", "n", "1", 5),
      hashOf("a", "n", true, 5),
      hashOf("a", "n", 1, 6),
      hashOf("a", "n", 2 ** 32 + 1, 5),
    ]);
    expect(new Set(hashes).size).toBe(hashes.length);
    expect(await hashOf("a", "n", 1, 5)).toBe(hashes[0]);
  });
});
