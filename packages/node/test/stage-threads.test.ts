import { isFabricError, type FabricError } from "@selvage/fabric";
import { describe, expect, it } from "vitest";
import { Fabric, runStages, type StageThreadsEvent, type ThreadStage } from "../src/index.ts";

/** A stage whose module is `body`. */
function stage(name: string, body: string): ThreadStage {
  return { name, module: new URL(`data:text/javascript,${encodeURIComponent(body)}`) };
}

const same = (name: string): ThreadStage => stage(name, "export default (item) => item");

function numbers(count: number): number[] {
  return Array.from({ length: count }, (_, number) => number);
}

function codeOf(error: unknown): string | undefined {
  return isFabricError(error) ? error.code : undefined;
}

function* cutOff(): Generator<number> {
  yield* [0, 1];
  throw new Error("the line was cut");
}

/** How a run ends whose second stage is `body`. */
async function ends(body: string): Promise<unknown> {
  await using fabric = Fabric.open({ memoryBytes: 1 << 23, blocks: 64 });
  const { result } = runStages({
    fabric,
    source: [1, 2, 3],
    stages: [same("good"), stage("bad", body)],
    restart: 2,
    sink: () => {},
  });
  const { status, error } = await result;
  expect(status).toBe("failed");
  expect(fabric.leases(), "nothing is left behind").toEqual([]);
  return error;
}

describe("stages on threads", { timeout: 60_000 }, () => {
  it.each([
    { what: "threads die and leases end", leaseMs: 80, renew: false },
    { what: "threads die", leaseMs: 600_000, renew: true },
  ])(
    "E3: $what, and every item comes once, under its number, in order",
    async ({ leaseMs, renew }) => {
      await using fabric = Fabric.open({ memoryBytes: 1 << 23, blocks: 64 });
      const got: [number, number][] = [];
      let isDue = true;
      const deaths: string[] = [];
      const run = runStages<number, number>({
        fabric,
        source: numbers(3_000),
        stages: [
          stage("odd", "export default (item) => (item % 2 === 1 ? item : undefined)"),
          // Slower than the one before it: there is much in the ring between them.
          stage(
            "twice",
            "export default (n) => new Promise((done) => (n % 10 === 1 ? setTimeout(done, 1, n * 2) : done(n * 2)))",
          ),
        ],
        capacity: 128,
        stride: 64,
        leaseMs,
        renew,
        sink(items) {
          for (const { sequence, value } of items) got.push([sequence, value]);
          if (!isDue || got.length < 350 * (deaths.length + 1)) return;
          isDue = false;
          void run.terminate(deaths.length % 2 === 0 ? "odd" : "twice").then((isDone) => {
            isDue = deaths.length < 3;
            return isDone;
          });
        },
        onEvent: (event) => {
          if (event.type === "died") deaths.push(event.stage);
        },
      });
      const { status, error, stages, edges, itemsIn, itemsOut } = await run.result;
      expect({ status, error }).toEqual({ status: "succeeded", error: undefined });
      expect(got).toEqual(
        numbers(3_000)
          .filter((number) => number % 2 === 1)
          .map((number) => [number, number * 2]),
      );
      expect([itemsIn, itemsOut]).toEqual([3_000, 1_500]);
      expect(deaths.length).toBeGreaterThan(1);
      expect(stages.map(({ restarts }) => restarts).reduce((sum, each) => sum + each)).toBe(
        deaths.length,
      );
      expect(edges.map(({ lost }) => lost)).toEqual([0, 0, 0]);
      const haveEnded = edges.some(({ relocations }) => (relocations["lease-expired"] ?? 0) > 0);
      expect(haveEnded).toBe(!renew);
      expect(fabric.leases(), "nothing is left behind").toEqual([]);
    },
  );

  it("end at an item that a module throws for: what is before it arrives, nothing after it", async () => {
    const got: number[] = [];
    const { result } = runStages<number, number>({
      source: numbers(2_000),
      stages: [
        same("first"),
        stage(
          "check",
          "export default (n) => { if (n >= 700) throw new Error('no ' + n); return n }",
        ),
        same("last"),
      ],
      sink: (items) => void got.push(...items.map(({ value }) => value)),
    });
    const { status, error } = await result;
    expect(status).toBe("failed");
    expect(error).toMatchObject({
      code: "INVALID_ARGUMENT",
      message: 'Stage "check" failed at item 700: no 700',
      details: { stage: "check", sequence: 700 },
    });
    expect((error as FabricError).cause).toMatchObject({ message: "no 700" });
    expect(got).toEqual(numbers(700));
  });

  it("say which result does not fit, and which codec does not take it", async () => {
    for (const [body, code] of [
      ["export default (n) => 'x'.repeat(n * 2_000)", "CAPACITY_EXCEEDED"],
      ["export default (n) => (n === 1 ? () => {} : n)", "ENCODE"],
      [
        "export default (n) => { if (n === 1) throw new Error('x'.repeat(9_000)); return n }",
        "INVALID_ARGUMENT",
      ],
    ] as const) {
      const got: unknown[] = [];
      const { result } = runStages<number, unknown>({
        source: [0, 1, 2],
        stages: [stage("odd", body)],
        sink: (items) => void got.push(...items),
      });
      const { status, error } = await result;
      expect([status, codeOf(error)]).toEqual(["failed", code]);
      expect((error as FabricError).details).toMatchObject({ stage: "odd", sequence: 1 });
      expect(got).toHaveLength(1);
    }
  });

  it("fail with the source's error behind its items, and with the sink's", async () => {
    const got: unknown[] = [];
    const cut = runStages({
      source: cutOff(),
      stages: [same("a")],
      sink: (items) => void got.push(...items),
    });
    const { status, error } = await cut.result;
    expect([status, codeOf(error)]).toEqual(["failed", "DISCONNECTED"]);
    expect(String(error)).toContain('Stage "source" failed at item 2: the line was cut');
    expect(got).toHaveLength(2);
    const full = runStages({
      source: [0, 1],
      stages: [same("a")],
      sink: () => Promise.reject(new Error("the disk is full")),
    });
    expect(String((await full.result).error)).toContain('Stage "sink" failed at item 0');
  });

  it("end typed when a module cannot be loaded, exports no function, or ends its thread each time", async () => {
    expect(codeOf(await ends("export default 7"))).toBe("INVALID_ARGUMENT");
    expect(codeOf(await ends("throw new Error('not today')"))).toBe("INVALID_ARGUMENT");
    expect(await ends("export default () => process.exit(3)")).toMatchObject({
      code: "DISCONNECTED",
      details: { stage: "bad", deaths: 3 },
    });
  });

  it("are cancelled by their signal, also where the source never gives anything, and leave nothing behind", async () => {
    await using fabric = Fabric.open({ memoryBytes: 1 << 23, blocks: 64 });
    const events: StageThreadsEvent[] = [];
    const control = new AbortController();
    let isGivenBack = false;
    const source: AsyncIterable<number> = {
      [Symbol.asyncIterator]: () => ({
        next: () => new Promise(() => {}),
        return: () => {
          isGivenBack = true;
          return Promise.resolve({ done: true, value: undefined });
        },
      }),
    };
    const { result } = runStages({
      fabric,
      source,
      stages: [same("a")],
      sink: () => {},
      signal: control.signal,
      onEvent(event) {
        events.push(event);
        if (event.type === "ready") control.abort(new Error("enough"));
      },
    });
    expect(await result).toMatchObject({ status: "cancelled", error: { message: "enough" } });
    expect(isGivenBack).toBe(true);
    expect(events.map(({ type }) => type)).toEqual(["ready"]);
    expect(fabric.leases()).toEqual([]);
    const aborted = AbortSignal.abort("before");
    const none = runStages({ source, stages: [same("a")], sink: () => {}, signal: aborted });
    expect(await none.result).toMatchObject({ status: "cancelled", error: "before", stages: [] });
  });

  it("number their items from where they are told to", async () => {
    const got: number[] = [];
    const { result } = runStages({
      source: ["a", "b"],
      stages: [same("a"), same("b")],
      from: 5_000_000_000,
      sink: (items) => void got.push(...items.map(({ sequence }) => sequence)),
    });
    expect((await result).status).toBe("succeeded");
    expect(got).toEqual([5_000_000_000, 5_000_000_001]);
  });

  it("refuse arguments that are none", async () => {
    const good = { source: [1], stages: [same("a")], sink: (): void => {} };
    for (const bad of [
      { source: 7 },
      { source: "text" },
      { sink: undefined },
      { stages: [] },
      { stages: [same("a"), same("a")] },
      { stages: [{ name: "a", module: "./a.ts" }] },
      { capacity: 0 },
      { stride: 1.5 },
      { from: -1 },
      { leaseMs: 0 },
      { restart: -1 },
      { fabric: {} },
    ])
      expect(() => runStages({ ...good, ...bad } as never), JSON.stringify(bad)).toThrow(
        expect.objectContaining({ code: "INVALID_ARGUMENT" }),
      );
    const run = runStages(good);
    await expect(run.terminate("b")).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await run.result;
  });
});
