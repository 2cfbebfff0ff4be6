import type { DataFormat, TaskContext, TaskDef } from "@selvage/batch";
import { DECODE_BUDGET, isFabricError, type Codec, type MemLease } from "@selvage/fabric";
import { describe, expect, it } from "vitest";
import { codesOf, errorOf, imbalances, planOf, Rig } from "./rig.ts";

const value = { name: "ärea", list: [1, 2, { deep: null }], on: true };

/** Stands in for the host's MessagePack: it only has to be another codec, of plain bytes. */
const reversed: Codec<unknown> = {
  name: "reversed",
  encode: (of) => new TextEncoder().encode(JSON.stringify(of)).toReversed(),
  decode: (bytes) => JSON.parse(new TextDecoder().decode(bytes.toReversed())),
};

const make = (format: DataFormat, of: (context: TaskContext) => unknown): TaskDef => ({
  name: "make",
  outputs: [{ name: "x", format }],
  run: (context) => of(context) as { x: unknown },
});

const read = (
  name: string,
  format: DataFormat,
  use: (context: TaskContext) => void,
  more: Partial<TaskDef> = {},
): TaskDef => ({ name, inputs: [{ name: "x", format }], run: use, ...more });

const rigWith = (codec: Codec<unknown> = reversed): Rig => new Rig({}, { msgpack: () => codec });

describe("An encoded output", () => {
  it.each<DataFormat>(["json", "msgpack"])("comes back as it was: %s", async (format) => {
    const rig = rigWith();
    const seen: unknown[] = [];
    const result = await rig.run(
      planOf(
        [
          make(format, () => ({ x: value })),
          read("read", format, (context) => {
            const x = context.input<typeof value>("x");
            // Decoded once an attempt: a task that asks twice gets the same value.
            seen.push(x, x === context.input<typeof value>("x"));
          }),
        ],
        [["make", "read"]],
      ),
    );
    expect([result.status, seen]).toEqual(["succeeded", [value, true]]);
    expect(imbalances(result)).toEqual([]);
    expect(rig.fabric.stats().memory.freeBytes).toBe(1 << 20);
  });

  it.each<[what: string, x: unknown]>([
    ["null", null],
    ["a text", "text"],
    ["a number", 0.5],
    ["an empty list", []],
  ])("may be %s", async (_what, x) => {
    const seen: unknown[] = [];
    const rig = new Rig();
    const tasks = [
      make("json", () => ({ x })),
      read("read", "json", (context) => void seen.push(context.input("x"))),
    ];
    await rig.run(planOf(tasks, [["make", "read"]]));
    expect(seen).toEqual([x]);
  });

  it("is in one lease for all who read it, and each of them decodes a value of its own", async () => {
    const rig = new Rig();
    const seen: { list: unknown[] }[] = [];
    const readers = ["b", "c", "d"].map((name) =>
      read(name, "json", (context) => {
        const x = context.input<typeof value>("x");
        x.list.push(name as never);
        seen.push(x);
      }),
    );
    const result = await rig.run(
      planOf(
        [make("json", () => ({ x: value })), ...readers],
        ["b", "c", "d"].map((name) => ["make", name] as const),
      ),
    );
    expect(seen.map(({ list }) => list.slice(3))).toEqual([["b"], ["c"], ["d"]]);
    expect([result.leases.granted, result.bytes.leased]).toEqual([1, 64]);
  });

  it("is the very bytes of the lease: one that is changed there is read changed, or refused", async () => {
    const rig = new Rig();
    const seen: unknown[] = [];
    const tasks = [
      make("json", () => ({ x: "abc" })),
      read("read", "json", (context) => void seen.push(context.input("x"))),
      read("last", "json", (context) => void context.input("x")),
    ];
    const leaseOf = (): MemLease => rig.fabric.leases()[0] as MemLease;
    const result = await rig.run(
      planOf(tasks, [
        ["make", "read"],
        ["read", "last"],
      ]),
      {
        onEvent: (event) => {
          if (event.type !== "wave" || event.state !== "started" || event.index === 0) return;
          leaseOf().write(event.index === 1 ? 1 : 0, Uint8Array.of(0x7a));
        },
      },
    );
    expect(seen).toEqual(["zbc"]);
    expect(codesOf(result, "last")).toEqual(["DECODE"]);
    expect(rig.fabric.stats().memory.freeBytes).toBe(1 << 20);
  });

  it.each<[what: string, of: () => unknown]>([
    ["a bigint", () => 1n],
    ["a function", () => () => {}],
    ["a cycle", cyclic],
    ["nested beyond the budget", () => nested(DECODE_BUDGET.depth + 1)],
    ["a value whose toJSON throws", () => ({ toJSON: () => fail() })],
  ])("fails its attempt with ENCODE, where it is %s", async (_what, of) => {
    const rig = new Rig();
    const result = await rig.run(planOf([make("json", () => ({ x: of() }))]));
    expect(codesOf(result, "make")).toEqual(["ENCODE"]);
    const error = errorOf(result, "make");
    expect(isFabricError(error) && error.details["output"]).toBe("x");
    expect(rig.fabric.stats().memory.freeBytes).toBe(1 << 20);
  });

  it("cannot be allocated, and must be returned", async () => {
    const rig = new Rig();
    const tasks = [make("json", (context) => void context.allocate("x", 10))];
    expect(codesOf(await rig.run(planOf(tasks)), "make")).toEqual(["INVALID_ARGUMENT"]);
    expect(codesOf(await rig.run(planOf([make("json", () => ({}))])), "make")).toEqual([
      "INVALID_ARGUMENT",
    ]);
  });

  it("stays within the run's budget, when it is written and when it is read", async () => {
    const rig = new Rig();
    const budget = { elements: 3 };
    const list = [1, 2, 3, 4];
    const late = await rig.run(planOf([make("json", () => ({ x: list }))]), { budget });
    expect(codesOf(late, "make")).toEqual(["ENCODE"]);
    const tasks = [
      make("json", () => ({ x: [1, 2] })),
      read("read", "json", (context) => void context.input("x")),
    ];
    const onEvent = (event: { type: string; index?: number }): void => {
      if (event.type !== "wave" || event.index !== 1) return;
      const lease = rig.fabric.leases()[0] as MemLease | undefined;
      lease?.write(0, new TextEncoder().encode("[,,,]"));
    };
    const read2 = await rig.run(planOf(tasks, [["make", "read"]]), { budget, onEvent });
    expect(codesOf(read2, "read")).toEqual(["DECODE"]);
    const wrong = rig.run(planOf([]), { budget: { elements: -1 } });
    await expect(wrong).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });

  it("is refused before any task starts, where the host has no codec for it", async () => {
    const rig = new Rig();
    const plan = planOf([make("msgpack", () => ({ x: 1 }))]);
    await expect(rig.run(plan)).rejects.toMatchObject({ code: "UNSUPPORTED" });
    expect(rig.events).toEqual([]);
  });

  it("decodes to nothing that reaches into its lease", async () => {
    let kept: unknown;
    const rig = rigWith({
      name: "view",
      encode: (of) => of as Uint8Array,
      decode: (bytes) => bytes,
    });
    const tasks = [
      make("msgpack", () => ({ x: Uint8Array.of(1, 2, 3) })),
      read("read", "msgpack", (context) => void (kept = context.input("x"))),
    ];
    await rig.run(planOf(tasks, [["make", "read"]]), { teardown: "eager" });
    expect(kept).toEqual(Uint8Array.of(1, 2, 3));
    expect((kept as Uint8Array).buffer.byteLength).toBe(3);
  });
});

function cyclic(): object {
  const own: { self?: object } = {};
  own.self = own;
  return own;
}

function nested(depth: number): unknown {
  let made: unknown = 1;
  for (let level = 0; level < depth; level++) made = [made];
  return made;
}

function fail(): never {
  throw new Error("own");
}
