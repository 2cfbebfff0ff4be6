import type {
  DataValue,
  ExecutionEvent,
  ExecutionResult,
  ExecutorOptions,
  TaskContext,
  TaskDef,
  TaskOutput,
} from "@selvage/batch";
import { isFabricError, type FabricError, type MemLease } from "@selvage/fabric";
import { describe, expect, it } from "vitest";
import { codesOf, errorOf, idle, imbalances, planOf, raw, Rig, START_MS } from "./rig.ts";

const bytes = Uint8Array.of(1, 2, 3);
const cols = {
  id: Int32Array.of(1, 2),
  at: Float64Array.of(0.5, 1.5),
  big: BigInt64Array.of(7n, -7n),
};
const eager: ExecutorOptions = { teardown: "eager" };

/** A producer of output "x", and a consumer that keeps what it saw. */
function pair(
  produce: (context: TaskContext) => unknown,
  format: "raw" | "columns" = "raw",
): { plan: ReturnType<typeof planOf>; seen: DataValue[] } {
  const seen: DataValue[] = [];
  const ref = { name: "x", format } as const;
  const run = async (context: TaskContext): Promise<TaskOutput> =>
    (await produce(context)) as TaskOutput;
  const read = (context: TaskContext): void => {
    const value = context.input<DataValue>("x");
    seen.push(
      value instanceof Uint8Array
        ? value.slice()
        : Object.fromEntries(Object.entries(value).map(([name, column]) => [name, column.slice()])),
    );
  };
  const tasks = [
    { name: "make", outputs: [ref], run },
    { name: "read", inputs: [ref], run: read },
  ];
  return { plan: planOf(tasks, [["make", "read"]]), seen };
}

const leaseOf = (rig: Rig, label: string): MemLease => {
  const lease = rig.fabric.leases().find((one) => one.label === label);
  if (lease?.kind !== "mem") throw new Error(`no lease ${label}`);
  return lease;
};

const codeOf = (run: () => unknown): string => {
  try {
    run();
    return "passed";
  } catch (thrown) {
    return isFabricError(thrown) ? thrown.code : String(thrown);
  }
};

const failing = (times: number, more: Partial<TaskDef> = {}): TaskDef => ({
  name: "a",
  run: ({ attempt }) => {
    if (attempt <= times) throw new Error(`attempt ${attempt}`);
  },
  ...more,
});

const diamond = (rig: Rig, more: Partial<TaskDef> = {}): ReturnType<typeof planOf> =>
  planOf(
    [
      { name: "a", outputs: [raw("x")], run: () => ({ x: new Uint8Array(1_000) }), ...more },
      {
        name: "b",
        inputs: [raw("x")],
        outputs: [raw("y")],
        run: async (c) => {
          await rig.host.later(700);
          return { y: c.input("x").slice(0, 100) };
        },
      },
      { name: "c", inputs: [raw("x")], run: () => rig.host.later(300) },
      { name: "d", inputs: [raw("y")], run: (c) => void c.input("y") },
    ],
    [
      ["a", "b"],
      ["a", "c"],
      ["b", "d"],
      ["c", "d"],
    ],
  );

const rigged = (): { rig: Rig; controller: AbortController; signal: AbortSignal } => {
  const controller = new AbortController();
  return { rig: new Rig(), controller, signal: controller.signal };
};

const statuses = (result: ExecutionResult): string[] => result.tasks.map(({ status }) => status);

/** Waits for its signal. */
const forever = ({ signal: own }: TaskContext): Promise<void> =>
  new Promise((_resolve, reject) => {
    own.addEventListener("abort", () => reject(new Error("told")));
  });

const fail = (): void => {
  throw new Error("broken");
};

/** Replaces what it allocates, and fails at its first attempt. */
const allocateTwice = (context: TaskContext): void => {
  context.allocate("x", 10);
  context.allocate("x", 20);
  if (context.attempt === 1) throw new Error("once");
};

describe("Executor.run() carries outputs", () => {
  it.each<[what: string, produce: (context: TaskContext) => unknown, expected: number[]]>([
    ["returned", () => ({ x: bytes }), [1, 2, 3]],
    ["returned empty", () => ({ x: new Uint8Array(0) }), []],
    ["allocated", (c) => c.allocate("x", 3).set(bytes), [1, 2, 3]],
    ["allocated and left zero", (c) => void c.allocate("x", 2), [0, 0]],
    ["allocated empty", (c) => void c.allocate("x", 0), []],
    [
      "allocated and returned",
      (c) => {
        const x = c.allocate("x", 3);
        x.set(bytes);
        return { x };
      },
      [1, 2, 3],
    ],
    [
      "allocated too long, and returned shorter",
      (c) => {
        const x = c.allocate("x", 100);
        x.set(bytes);
        return { x: x.subarray(0, 2) };
      },
      [1, 2],
    ],
    [
      "allocated, and returned from its middle on",
      (c) => {
        const x = c.allocate("x", 3);
        x.set(bytes);
        return { x: x.subarray(1) };
      },
      [2, 3],
    ],
    [
      "allocated, and replaced by what is returned",
      (c) => {
        c.allocate("x", 3).set(bytes);
        return { x: Uint8Array.of(9) };
      },
      [9],
    ],
    [
      "allocated twice, of which the later counts",
      (c) => {
        c.allocate("x", 3).set(bytes);
        c.allocate("x", 1)[0] = 8;
      },
      [8],
    ],
  ])("raw, %s", async (_what, produce, expected) => {
    const rig = new Rig();
    const { plan, seen } = pair(produce);
    const result = await rig.run(plan);
    expect([result.status, seen]).toEqual(["succeeded", [Uint8Array.from(expected)]]);
    expect(imbalances(result)).toEqual([]);
    expect(rig.fabric.stats().memory.freeBytes).toBe(1 << 20);
  });

  it.each<[what: string, produce: (context: TaskContext) => unknown]>([
    ["returned", () => ({ x: cols })],
    [
      "allocated",
      (c) => {
        const types = { id: "int32", at: "float64", big: "bigint64" } as const;
        const x = c.allocate("x", { rows: 2, columns: types });
        x.id.set(cols.id);
        x.at.set(cols.at);
        x.big.set(cols.big);
      },
    ],
    [
      "allocated, and returned in part as new columns",
      (c) => {
        const x = c.allocate("x", { rows: 9, columns: { id: "int32" } });
        x.id.set(cols.id);
        return { x: { ...cols, id: x.id.subarray(0, 2) } };
      },
    ],
  ])("in columns, %s", async (_what, produce) => {
    const { plan, seen } = pair(produce, "columns");
    const result = await new Rig().run(plan);
    expect([result.status, seen]).toEqual(["succeeded", [cols]]);
  });

  it("in leases, labelled task/output, of the bytes themselves: one byte flipped is read flipped", async () => {
    const rig = new Rig();
    const { plan, seen } = pair(() => ({ x: bytes }));
    const onEvent = (event: ExecutionEvent): void => {
      if (event.type === "wave" && event.index === 1 && event.state === "started")
        leaseOf(rig, "make/x").write(1, Uint8Array.of(0xff));
    };
    await rig.run(plan, { onEvent });
    expect(seen).toEqual([Uint8Array.of(1, 0xff, 3)]);
  });

  it("also under names that every object has", async () => {
    const names = ["constructor", "toString", "hasOwnProperty"];
    const outputs = names.map((name) => raw(name));
    let sum = 0;
    const plan = planOf(
      [
        {
          name: "make",
          outputs,
          run: (c) => {
            for (const name of names) c.allocate(name, 1)[0] = 5;
          },
        },
        {
          name: "read",
          inputs: outputs,
          run: (c) => {
            for (const name of names) sum += c.input(name)[0] ?? 0;
          },
        },
      ],
      [["make", "read"]],
    );
    const result = await new Rig().run(plan);
    expect([result.status, sum]).toEqual(["succeeded", 15]);
  });

  it("to each reader the same lent bytes, however often it asks", async () => {
    const { plan } = pair(() => ({ x: bytes }));
    let same = false;
    const reader = plan.tasks[1]?.def as { run: (c: TaskContext) => void };
    const again = planOf(
      [
        plan.tasks[0]?.def as TaskDef,
        {
          name: "read",
          inputs: [raw("x")],
          run: (c) => void (same = c.input("x") === c.input("x")),
        },
      ],
      [["make", "read"]],
    );
    expect(reader).toBeDefined();
    await new Rig().run(again);
    expect(same).toBe(true);
  });
});

describe("An attempt fails, and leaves no lease behind,", () => {
  it.each<[what: string, produce: (context: TaskContext) => unknown, code: string]>([
    ["without an output that it declared", () => ({}), "INVALID_ARGUMENT"],
    ["when it returns nothing", () => undefined, "INVALID_ARGUMENT"],
    ["when it returns null", () => null, "INVALID_ARGUMENT"],
    ["with an output that it did not declare", () => ({ x: bytes, y: bytes }), "INVALID_ARGUMENT"],
    ["when it returns a number", () => 5, "INVALID_ARGUMENT"],
    ["when it returns bytes without a name", () => bytes, "INVALID_ARGUMENT"],
    ["with a string for bytes", () => ({ x: "abc" }), "ENCODE"],
    ["with null for bytes", () => ({ x: null }), "ENCODE"],
    ["with an ArrayBuffer for bytes", () => ({ x: new ArrayBuffer(3) }), "ENCODE"],
    ["with columns for bytes", () => ({ x: cols }), "ENCODE"],
    ["allocating what it did not declare", (c) => c.allocate("y", 3), "INVALID_ARGUMENT"],
    ["allocating a negative length", (c) => c.allocate("x", -1), "INVALID_ARGUMENT"],
    ["allocating half a byte", (c) => c.allocate("x", 0.5), "INVALID_ARGUMENT"],
    [
      "allocating columns for bytes",
      (c) => c.allocate("x", { rows: 1, columns: {} }),
      "INVALID_ARGUMENT",
    ],
    ["allocating more than there is", (c) => c.allocate("x", 2 ** 30), "CAPACITY_EXCEEDED"],
    ["returning more than there is", () => ({ x: new Uint8Array(2 ** 21) }), "CAPACITY_EXCEEDED"],
    ["reading what it did not declare", (c) => c.input("x"), "INVALID_ARGUMENT"],
  ])("%s", async (_what, produce, code) => {
    const rig = new Rig();
    const result = await rig.run(pair(produce).plan);
    expect([result.status, codesOf(result, "make")]).toEqual(["failed", [code]]);
    expect(imbalances(result)).toEqual([]);
    expect(rig.fabric.stats().memory).toMatchObject({ activeLeases: 0, freeBytes: 1 << 20 });
  });

  it.each<[what: string, produce: (context: TaskContext) => unknown, code: string]>([
    ["bytes for columns", () => ({ x: bytes }), "ENCODE"],
    ["columns that are arrays", () => ({ x: { id: [1, 2] } }), "ENCODE"],
    [
      "columns of two lengths",
      () => ({ x: { id: new Int8Array(2), at: new Int8Array(3) } }),
      "ENCODE",
    ],
    ["a number of bytes for a shape", (c) => c.allocate("x", 5), "INVALID_ARGUMENT"],
    [
      "a negative number of rows",
      (c) => c.allocate("x", { rows: -1, columns: {} }),
      "INVALID_ARGUMENT",
    ],
    [
      "a type that there is not",
      (c) => c.allocate("x", { rows: 1, columns: { id: "text" as "int8" } }),
      "INVALID_ARGUMENT",
    ],
  ])("in columns, with %s", async (_what, produce, code) => {
    const rig = new Rig();
    const result = await rig.run(pair(produce, "columns").plan);
    expect(codesOf(result, "make")).toEqual([code]);
    expect(rig.fabric.stats().memory.activeLeases).toBe(0);
  });

  it("when the bytes of its input are no columns any more; what it was lent goes back", async () => {
    const rig = new Rig();
    const { plan } = pair(() => ({ x: cols }), "columns");
    const onEvent = (event: ExecutionEvent): void => {
      if (event.type === "wave" && event.index === 1 && event.state === "started")
        leaseOf(rig, "make/x").write(0, Uint8Array.of(0));
    };
    const result = await rig.run(plan, { onEvent });
    expect(codesOf(result, "read")).toEqual(["DECODE"]);
    expect(result.bytes).toMatchObject({ active: 0, returned: result.bytes.leased });
    expect(result.teardownMs).toBeLessThanOrEqual(2_000 + 20);
  });

  it.each<[what: string, thrown: unknown, shown: string]>([
    ["a string", "broken", "broken"],
    ["undefined", undefined, "undefined"],
    ["null", null, "null"],
    ["a number", 0, "0"],
    ["an object", { toString: () => "it" }, "it"],
  ])(
    "when it throws %s, which is no error, and keeps it as it was",
    async (_what, thrown, shown) => {
      const plan = planOf(
        [idle("a", { run: () => Promise.reject(thrown) }), idle("b")],
        [["a", "b"]],
      );
      const result = await new Rig().run(plan);
      expect([result.failed, result.skipped, errorOf(result, "a")]).toEqual([1, 1, thrown]);
      expect(codesOf(result, "a")).toEqual([shown]);
    },
  );
});

describe("A body that goes on after its attempt", () => {
  it("is lent nothing and gets no room any more, is not heard, and keeps no lease from its end", async () => {
    const rig = new Rig();
    const late: string[] = [];
    const linger = async (context: TaskContext): Promise<void> => {
      await rig.host.later(7);
      late.push(codeOf(() => context.input("x")));
      late.push(codeOf(() => context.allocate("y", 10)));
      context.progress(0.5);
      context.log("late");
    };
    const plan = planOf(
      [
        { name: "make", outputs: [raw("x")], run: () => ({ x: bytes }) },
        {
          name: "linger",
          inputs: [raw("x")],
          outputs: [raw("y")],
          run: (context) => {
            void linger(context);
            return { y: bytes };
          },
        },
      ],
      [["make", "linger"]],
    );
    const result = await rig.run(plan);
    expect(late).toEqual(["LEASE_EXPIRED", "LEASE_EXPIRED"]);
    expect(result.bytes).toMatchObject({ active: 0, returned: 128 });
    expect(rig.events.filter(({ type }) => type === "log" || type === "progress")).toEqual([]);
  });
});

describe("Retries", () => {
  it("come after the waits of the policy, exactly, and are counted", async () => {
    const rig = new Rig();
    const backoff = { baseMs: 100, factor: 3, maxMs: 500, jitter: "none" } as const;
    const result = await rig.run(planOf([failing(3, { retries: 3, backoff })]));
    const [task] = result.tasks;
    expect(task).toMatchObject({ status: "succeeded", retriesUsed: 3, attempts: 4 });
    expect(task?.errors.map(({ attempt, failedAtMs }) => [attempt, failedAtMs - START_MS])).toEqual(
      [
        [1, 0],
        [2, 100],
        [3, 400],
      ],
    );
    expect([task?.startedAtMs, task?.endedAtMs]).toEqual([START_MS, START_MS + 900]);
    expect(task).not.toHaveProperty("error");
    expect(rig.moves).toEqual([
      "a:pending>running",
      "a:running>waiting",
      "a:waiting>running",
      "a:running>waiting",
      "a:waiting>running",
      "a:running>waiting",
      "a:waiting>running",
      "a:running>succeeded",
    ]);
    expect(rig.taskEvents.map(({ attempt }) => attempt)).toEqual([1, 1, 2, 2, 3, 3, 4, 4]);
  });

  it("end with the last error when they are used up, and keep every error", async () => {
    const result = await new Rig().run(planOf([failing(9, { retries: 2 })]));
    const [task] = result.tasks;
    expect(task).toMatchObject({ status: "failed", retriesUsed: 2, attempts: 3 });
    expect(codesOf(result, "a")).toEqual(["attempt 1", "attempt 2", "attempt 3"]);
    expect(task?.error).toBe(task?.errors[2]?.error);
  });

  it("wait between zero and the computed time with full jitter", async () => {
    const result = await new Rig().run(
      planOf([failing(5, { retries: 5, backoff: { baseMs: 1_000, factor: 1 } })]),
    );
    const at = result.tasks[0]?.errors.map(({ failedAtMs }) => failedAtMs) ?? [];
    const waits = at.slice(1).map((ms, index) => ms - (at[index] ?? 0));
    expect(waits).toHaveLength(4);
    for (const wait of waits) expect(wait >= 0 && wait < 1_000).toBe(true);
    expect(new Set(waits).size).toBeGreaterThan(1);
  });

  it("leave out what the policy does not want tried again", async () => {
    const backoff = { retryOn: (error: unknown) => (error as Error).message !== "attempt 2" };
    const result = await new Rig().run(planOf([failing(9, { retries: 5, backoff })]));
    expect(result.tasks[0]).toMatchObject({ status: "failed", attempts: 2 });
  });

  it("that cannot be decided upon end the run with what `retryOn` threw, and with nothing left", async () => {
    const rig = new Rig();
    const thrown = new Error("no verdict");
    const backoff = {
      retryOn: (): boolean => {
        throw thrown;
      },
    };
    const plan = planOf([failing(9, { retries: 5, backoff }), idle("b")]);
    await expect(rig.run(plan)).rejects.toBe(thrown);
    expect(rig.host.alarms).toBe(1);
  });

  it("have an epoch and a context of their own, and none of the outputs of the attempt before", async () => {
    const epochs: number[] = [];
    const { plan, seen } = pair((context) => {
      epochs.push(context.epoch.value);
      context.allocate("x", 4).fill(context.attempt);
      if (context.attempt === 1) throw new Error("again");
    });
    const retrying = planOf(
      plan.tasks.map(({ def }) => ({ ...def, retries: 1 })),
      [["make", "read"]],
    );
    const rig = new Rig();
    const result = await rig.run(retrying);
    expect(seen).toEqual([Uint8Array.of(2, 2, 2, 2)]);
    expect((epochs[1] ?? 0) > (epochs[0] ?? 0)).toBe(true);
    expect(result.leases).toMatchObject({ granted: 2, expired: 2, active: 0 });
  });
});

describe("Outcomes", () => {
  it("D3: a failure skips what depends on it, names itself, and lets the rest succeed", async () => {
    const rig = new Rig();
    const plan = planOf(
      [
        idle("extract"),
        idle("aggregate", { run: fail }),
        idle("enrich"),
        idle("load"),
        idle("report"),
      ],
      [
        ["extract", "aggregate"],
        ["extract", "enrich"],
        ["aggregate", "load"],
        ["enrich", "load"],
        ["load", "report"],
      ],
    );
    const result = await rig.run(plan);
    expect(result).toMatchObject({ status: "failed", succeeded: 2, failed: 1, skipped: 2 });
    expect(result.tasks.map(({ name, status, because }) => [name, status, because])).toEqual([
      ["extract", "succeeded", undefined],
      ["aggregate", "failed", undefined],
      ["enrich", "succeeded", undefined],
      ["load", "skipped", "aggregate"],
      ["report", "skipped", "aggregate"],
    ]);
    expect(result.tasks[3]).toMatchObject({ attempts: 0, retriesUsed: 0, errors: [] });
    expect(result.tasks[3]?.startedAtMs).toBeUndefined();
    const skip = rig.taskEvents.find(({ newState }) => newState === "skipped");
    expect(skip).toMatchObject({
      name: "load",
      oldState: "pending",
      because: "aggregate",
      attempt: 0,
    });
  });

  it("of an empty plan are none: the run succeeds with zeros", async () => {
    const rig = new Rig();
    const result = await rig.run(planOf([]));
    expect(result).toEqual({
      status: "succeeded",
      succeeded: 0,
      failed: 0,
      skipped: 0,
      cancelled: 0,
      timedOut: 0,
      tasks: [],
      renewals: 0,
      leases: { granted: 0, expired: 0, released: 0, revoked: 0, fenced: 0, active: 0 },
      bytes: {
        leased: 0,
        returned: 0,
        kept: 0,
        fenced: 0,
        active: 0,
        peakLeased: 0,
        spilled: 0,
        unspilled: 0,
      },
      elapsedMs: 0,
      teardownMs: 0,
    });
    expect(rig.events.map(({ type }) => type)).toEqual(["settled"]);
  });

  it("come again at the next run of the same plan", async () => {
    const { plan, seen } = pair(() => ({ x: bytes }));
    const rig = new Rig();
    await rig.run(plan, eager);
    await rig.run(plan, eager);
    expect(seen).toEqual([bytes, bytes]);
  });
});

describe("Events", () => {
  it("stand on one stream: waves as barriers, tasks from state to state, settled after the last outcome", async () => {
    const rig = new Rig();
    const late = { name: "b", run: () => rig.host.later(20) };
    const plan = planOf([idle("a"), late, idle("c"), idle("d")], [["a", "c"]]);
    const result = await rig.run(plan);
    const lines = rig.events.map((event) => {
      if (event.type === "wave") return `${event.state} ${event.index} ${event.tasks.join("")}`;
      return event.type === "task" ? `${event.name} ${event.newState}` : event.type;
    });
    expect(lines).toEqual([
      "started 0 abd",
      "a running",
      "b running",
      "d running",
      "a succeeded",
      "d succeeded",
      "b succeeded",
      "ended 0 abd",
      "started 1 c",
      "c running",
      "c succeeded",
      "ended 1 c",
      "settled",
    ]);
    expect(rig.events.at(-1)).toMatchObject({ status: "succeeded", atMs: START_MS + 20 });
    expect([result.elapsedMs, result.teardownMs]).toEqual([20, 0]);
  });

  it("tell progress and logs of the attempt at work, in their place", async () => {
    const rig = new Rig();
    const task = {
      name: "a",
      run: (context: TaskContext): void => {
        context.progress();
        context.progress(0.25);
        context.log("half way");
      },
    };
    await rig.run(planOf([task]));
    const told = rig.events.filter(({ type }) => type === "progress" || type === "log");
    expect(told).toEqual([
      { type: "progress", name: "a", attempt: 1, fraction: undefined, atMs: START_MS },
      { type: "progress", name: "a", attempt: 1, fraction: 0.25, atMs: START_MS },
      { type: "log", name: "a", attempt: 1, message: "half way", atMs: START_MS },
    ]);
  });

  it("tell the whole life of each lease, with what it holds", async () => {
    const rig = new Rig();
    await rig.run(pair(() => ({ x: bytes })).plan, { ttlMs: 300 });
    expect(rig.leaseMoves).toEqual(["make/x:granted", "make/x:expired", "make/x:reclaimed"]);
  });

  it.each<[when: string, wanted: (event: ExecutionEvent) => boolean]>([
    ["the first of all", () => true],
    ["a start", (event) => event.type === "task" && event.newState === "running"],
    ["a success", (event) => event.type === "task" && event.newState === "succeeded"],
    ["a wave's end", (event) => event.type === "wave" && event.state === "ended"],
    ["a wait", (event) => event.type === "task" && event.newState === "waiting"],
    ["a skip", (event) => event.type === "task" && event.newState === "skipped"],
    ["a grant", (event) => event.type === "lease" && event.event.type === "granted"],
    ["settled", (event) => event.type === "settled"],
    [
      "an expiry, after settled",
      (event) => event.type === "lease" && event.event.type === "expired",
    ],
    ["a log", (event) => event.type === "log"],
  ])(
    "whose watcher throws at %s end the run with what it threw, and nothing goes on or is left",
    async (_when, wanted) => {
      const rig = new Rig();
      const alarms = rig.host.alarms;
      const thrown = new Error("watcher");
      let heard = 0;
      let works = 0;
      const onEvent = (event: ExecutionEvent): void => {
        if (heard > 0) heard++;
        else if (wanted(event)) {
          heard = 1;
          throw thrown;
        }
      };
      const work = (context: TaskContext): TaskOutput => {
        works++;
        context.log("at work");
        return { [`o-${context.task}`]: bytes };
      };
      const plan = planOf(
        [
          { name: "a", outputs: [raw("o-a")], run: work },
          { name: "b", inputs: [raw("o-a")], outputs: [raw("o-b")], run: work },
          { name: "c", inputs: [raw("o-b")], outputs: [raw("o-c")], run: work },
          { name: "f", retries: 1, run: fail },
          idle("g"),
        ],
        [
          ["a", "b"],
          ["b", "c"],
          ["f", "g"],
        ],
      );
      await expect(rig.run(plan, { onEvent })).rejects.toBe(thrown);
      const worked = works;
      await rig.host.advance(10_000);
      expect([heard, works]).toEqual([1, worked]);
      expect(rig.host.alarms).toBe(alarms);
      expect(rig.fabric.stats().memory).toMatchObject({ activeLeases: 0, freeBytes: 1 << 20 });
    },
  );
});

describe("Leases of a run", () => {
  it("all expire, none before its deadline, and give every byte back within TTL and two ticks", async () => {
    const rig = new Rig();
    const result = await rig.run(diamond(rig), { ttlMs: 250 });
    expect(result.leases).toMatchObject({
      granted: 2,
      expired: 2,
      released: 0,
      revoked: 0,
      active: 0,
    });
    expect(result.bytes).toMatchObject({
      leased: 1_152,
      returned: 1_152,
      kept: 0,
      fenced: 0,
      active: 0,
    });
    expect(result.bytes.peakLeased).toBe(1_152);
    const early = rig.events.filter(
      (event) =>
        event.type === "lease" &&
        event.event.type === "expired" &&
        event.atMs < event.event.expiresAtMs,
    );
    expect(early).toEqual([]);
    expect(result.teardownMs > 0 && result.teardownMs <= 250 + 2 * 10 + 5).toBe(true);
    // 700 ms of work on leases of 250 ms.
    expect(result.renewals).toBeGreaterThanOrEqual(3);
  });

  it("expire before the run is settled where the last reader has ended long before", async () => {
    const rig = new Rig();
    const plan = planOf(
      [
        { name: "a", outputs: [raw("x")], run: () => ({ x: bytes }) },
        { name: "b", inputs: [raw("x")], run: (c) => void c.input("x") },
        { name: "c", run: () => rig.host.later(2_000) },
      ],
      [
        ["a", "b"],
        ["b", "c"],
      ],
    );
    const result = await rig.run(plan, { ttlMs: 250 });
    const expired = rig.events.find((e) => e.type === "lease" && e.event.type === "expired");
    expect((expired?.atMs ?? Infinity) - START_MS).toBeLessThanOrEqual(260);
    expect(result.teardownMs).toBe(0);
  });

  it("are released in eager mode as the last reader ends, not before and not later", async () => {
    const rig = new Rig();
    const result = await rig.run(diamond(rig), eager);
    expect(result.leases).toMatchObject({ granted: 2, released: 2, expired: 0 });
    expect(result.teardownMs).toBe(0);
    const lines = rig.events.flatMap((event) => {
      if (event.type === "lease") return [`${event.output} ${event.event.type}`];
      return event.type === "task" && event.newState === "succeeded" ? [`${event.name} ends`] : [];
    });
    expect(lines).toEqual([
      "x granted",
      "a ends",
      "c ends",
      "y granted",
      "x released",
      "x reclaimed",
      "b ends",
      "y released",
      "y reclaimed",
      "d ends",
    ]);
  });

  it("read zero when they are leased again", async () => {
    const rig = new Rig({ memoryBytes: 64 });
    await rig.run(pair(() => ({ x: new Uint8Array(64).fill(0xab) })).plan, { ttlMs: 100 });
    const next = rig.fabric.mem().minBytes(64).acquire();
    expect(next.read(0, 64)).toEqual(new Uint8Array(64));
  });

  it("of an output that nobody reads are let go at once", async () => {
    const rig = new Rig();
    const plan = planOf(
      [
        { name: "a", outputs: [raw("x")], run: () => ({ x: bytes }) },
        idle("b", { run: () => rig.host.later(1_000) }),
      ],
      [["a", "b"]],
    );
    const result = await rig.run(plan, { ttlMs: 200 });
    expect(result.leases).toMatchObject({ granted: 1, expired: 1 });
    expect([result.renewals, result.teardownMs]).toEqual([0, 0]);
  });

  it("of readers that are skipped or retried are let go by the last one that can still read", async () => {
    const rig = new Rig();
    const plan = planOf(
      [
        { name: "a", outputs: [raw("x")], run: () => ({ x: bytes }) },
        {
          name: "bad",
          retries: 3,
          backoff: { delaysMs: [400], jitter: "none" },
          inputs: [raw("x")],
          run: (c) => {
            if (c.input("x")[0] === 1) throw new Error("broken");
          },
        },
        { name: "after", inputs: [raw("x")], run: () => {} },
      ],
      [
        ["a", "bad"],
        ["bad", "after"],
      ],
    );
    const result = await rig.run(plan, { ttlMs: 100 });
    expect(codesOf(result, "bad")).toEqual(["broken", "broken", "broken", "broken"]);
    expect(result.tasks[2]).toMatchObject({ status: "skipped", because: "bad" });
    const expired = rig.events.find((e) => e.type === "lease" && e.event.type === "expired");
    expect((expired?.atMs ?? 0) - START_MS).toBeGreaterThan(1_200);
    expect(result.teardownMs).toBeLessThanOrEqual(125);
  });

  it.each(["expiry", "eager"] as const)(
    "of failed attempts and of replaced allocations end as the mode %s says",
    async (teardown) => {
      const rig = new Rig();
      const result = await rig.run(
        planOf([{ name: "a", outputs: [raw("x")], retries: 1, run: allocateTwice }]),
        {
          teardown,
        },
      );
      const ended =
        teardown === "eager" ? { released: 4, expired: 0 } : { released: 0, expired: 4 };
      expect(result.leases).toMatchObject({ granted: 4, active: 0, ...ended });
      expect(imbalances(result)).toEqual([]);
    },
  );

  it("that lapse without renewals end the attempt LEASE_EXPIRED, whatever it returned", async () => {
    const rig = new Rig();
    const plan = planOf(
      [
        {
          name: "slow",
          outputs: [raw("x")],
          run: async (c) => {
            c.allocate("x", 8);
            await rig.host.later(500);
          },
        },
        { name: "next", inputs: [raw("x")], run: () => {} },
      ],
      [["slow", "next"]],
    );
    const result = await rig.run(plan, { ttlMs: 300, renewals: false });
    expect([result.status, result.renewals]).toEqual(["failed", 0]);
    expect(codesOf(result, "slow")).toEqual(["LEASE_EXPIRED"]);
    expect(result.tasks[1]).toMatchObject({ status: "skipped", because: "slow" });
    expect(result.bytes).toMatchObject({ active: 0 });
  });

  it("that lapse while an input is being read end the attempt LEASE_EXPIRED, and stay quarantined until it ends", async () => {
    const rig = new Rig();
    let quarantined = 0;
    let first = 0;
    const plan = planOf(
      [
        { name: "a", outputs: [raw("x")], run: () => ({ x: bytes }) },
        {
          name: "b",
          inputs: [raw("x")],
          run: async (c) => {
            const x = c.input("x");
            await rig.host.later(500);
            quarantined = rig.fabric.stats().memory.quarantinedBytes;
            first = x[0] ?? 0;
          },
        },
      ],
      [["a", "b"]],
    );
    const result = await rig.run(plan, { ttlMs: 300, renewals: false });
    expect(codesOf(result, "b")).toEqual(["LEASE_EXPIRED"]);
    expect([quarantined, first]).toEqual([64, 1]);
    expect(result.bytes.returned).toBe(64);
  });

  it("that are revoked mid-run end the attempts that use them, and the run ends", async () => {
    const rig = new Rig();
    const plan = planOf(
      [
        { name: "a", outputs: [raw("x")], run: () => ({ x: bytes }) },
        {
          name: "b",
          inputs: [raw("x")],
          retries: 1,
          run: async (c) => {
            c.input("x");
            await rig.host.later(50);
          },
        },
      ],
      [["a", "b"]],
    );
    const running = rig.start(plan);
    await rig.host.advance(20);
    leaseOf(rig, "a/x").revoke();
    const result = await rig.host.pump(running);
    expect(codesOf(result, "b")[0]).toBe("LEASE_EXPIRED");
    expect(["REVOKED", "LEASE_EXPIRED"]).toContain(codesOf(result, "b")[1]);
    expect(result.leases).toMatchObject({ granted: 1, revoked: 1, active: 0 });
    expect(imbalances(result)).toEqual([]);
  });

  it("of a caller's fabric are the run's alone: what stood before stands after, and no listener stays", async () => {
    const rig = new Rig();
    const mine = rig.fabric.mem().minBytes(100).leaseSecs(60).label("mine").acquire();
    const before = rig.fabric.stats().memory;
    const alarms = rig.host.alarms;
    let listeners = 0;
    const subscribe = rig.fabric.subscribe.bind(rig.fabric);
    rig.fabric.subscribe = (listener) => {
      const unsubscribe = subscribe(listener);
      listeners++;
      return () => {
        listeners--;
        unsubscribe();
      };
    };
    await rig.run(diamond(rig), { ttlMs: 200 });
    expect([rig.fabric.leases(), listeners]).toEqual([[mine], 0]);
    const { leasedBytes, freeBytes, quarantinedBytes } = rig.fabric.stats().memory;
    expect([leasedBytes, freeBytes, quarantinedBytes]).toEqual([
      before.leasedBytes,
      before.freeBytes,
      0,
    ]);
    expect(rig.host.alarms).toBe(alarms);
    const heard = rig.events.length;
    mine.release();
    expect(rig.events).toHaveLength(heard);
  });

  it("are private copies in guard mode: a stashed input is empty after the attempt, and outputs land", async () => {
    const rig = new Rig({ guard: true });
    const sums: number[] = [];
    let stashed = new Uint8Array(1);
    let made = new Uint8Array(1);
    const plan = planOf(
      [
        {
          name: "a",
          outputs: [raw("x"), raw("z")],
          run: (c) => {
            made = c.allocate("x", 4) as Uint8Array<ArrayBuffer>;
            made.fill(7);
            return { z: bytes };
          },
        },
        {
          name: "b",
          inputs: [raw("x"), raw("z")],
          outputs: [raw("sum")],
          run: (c) => {
            stashed = c.input<Uint8Array<ArrayBuffer>>("x");
            expect(stashed.buffer.byteLength).toBe(64);
            return { sum: Uint8Array.of((stashed[0] ?? 0) + (c.input("z")[2] ?? 0)) };
          },
        },
        { name: "c", inputs: [raw("sum")], run: (c) => void sums.push(c.input("sum")[0] ?? 0) },
      ],
      [
        ["a", "b"],
        ["b", "c"],
      ],
    );
    const result = await rig.run(plan, { ttlMs: 100 });
    expect(result.status).toBe("succeeded");
    expect([stashed.length, made.length, sums]).toEqual([0, 0, [10]]);
  });

  it("work on a fabric that shares nothing, for tasks that are functions", async () => {
    const rig = new Rig({ shared: false });
    const result = await rig.run(diamond(rig), { ttlMs: 250 });
    expect([result.status, result.leases.expired]).toEqual(["succeeded", 2]);
  });
});

describe("Cancellation", () => {
  it("before the start cancels every task, and runs none", async () => {
    const { rig, controller, signal } = rigged();
    controller.abort();
    let ran = false;
    const run = (): void => {
      ran = true;
    };
    const plan = planOf([{ name: "a", run }, idle("b")], [["a", "b"]]);
    const result = await rig.run(plan, { signal });
    expect([ran, result.status, result.cancelled]).toEqual([false, "cancelled", 2]);
    expect(rig.moves).toEqual(["a:pending>cancelled", "b:pending>cancelled"]);
    expect(rig.events.at(-1)).toMatchObject({ type: "settled", status: "cancelled" });
  });

  it("during a task tells it by its signal with the caller's reason, and cancels the rest", async () => {
    const { rig, controller, signal } = rigged();
    const reason = new Error("enough");
    let told: unknown;
    const run = ({ signal: own }: TaskContext): Promise<void> =>
      new Promise((_resolve, reject) => {
        own.addEventListener("abort", () => {
          told = own.reason;
          reject(own.reason);
        });
      });
    const plan = planOf([{ name: "a", retries: 5, run }, idle("b")], [["a", "b"]]);
    const running = rig.start(plan, { signal });
    await rig.host.advance(30);
    controller.abort(reason);
    const result = await rig.host.pump(running);
    expect([told, statuses(result), result.elapsedMs]).toEqual([
      reason,
      ["cancelled", "cancelled"],
      30,
    ]);
    expect(result.tasks[0]).toMatchObject({ attempts: 1, retriesUsed: 0 });
  });

  it("gives a body that does not listen its grace, then goes on without it, and refuses its late result", async () => {
    const { rig, controller, signal } = rigged();
    const late: string[] = [];
    const plan = planOf([
      {
        name: "deaf",
        outputs: [raw("x")],
        run: async (c) => {
          await rig.host.later(5_000);
          try {
            c.allocate("x", 10);
          } catch (thrown) {
            late.push((thrown as FabricError).code);
          }
          return { x: bytes };
        },
      },
    ]);
    const running = rig.start(plan, { signal, graceMs: 200 });
    await rig.host.advance(10);
    controller.abort();
    const result = await rig.host.pump(running);
    expect([result.status, result.elapsedMs]).toEqual(["cancelled", 210]);
    const events = rig.events.length;
    await rig.host.advance(10_000);
    expect(late).toEqual(["LEASE_EXPIRED"]);
    expect(rig.events).toHaveLength(events);
    expect(rig.fabric.stats().memory).toMatchObject({ activeLeases: 0, freeBytes: 1 << 20 });
  });

  it("counts a result that comes within the grace: the task succeeded", async () => {
    const { rig, controller, signal } = rigged();
    const plan = planOf([{ name: "a", run: () => rig.host.later(100) }, idle("b")], [["a", "b"]]);
    const running = rig.start(plan, { signal });
    await rig.host.advance(10);
    controller.abort();
    const result = await rig.host.pump(running);
    expect([result.status, statuses(result)]).toEqual(["cancelled", ["succeeded", "cancelled"]]);
  });

  it("between two attempts ends the wait at once", async () => {
    const { rig, controller, signal } = rigged();
    const backoff = { delaysMs: [60_000], jitter: "none" } as const;
    const running = rig.start(planOf([{ name: "a", retries: 1, backoff, run: fail }]), { signal });
    await rig.host.advance(100);
    controller.abort();
    const result = await rig.host.pump(running);
    expect(result).toMatchObject({ status: "cancelled", cancelled: 1, elapsedMs: 100 });
    expect(rig.moves.at(-1)).toBe("a:waiting>cancelled");
    expect(result.tasks[0]).toMatchObject({ attempts: 1 });
  });

  it.each(["wave", "task"] as const)(
    "by the watcher of a starting %s reaches the siblings that have not started yet",
    async (type) => {
      const { rig, controller, signal } = rigged();
      const plan = planOf(["a", "b", "c"].map((name) => ({ name, run: forever })));
      const onEvent = (event: ExecutionEvent): void => {
        if (event.type === type) controller.abort();
      };
      const result = await rig.run(plan, { signal, onEvent });
      expect([result.status, result.cancelled]).toEqual(["cancelled", 3]);
      expect(result.elapsedMs).toBeLessThanOrEqual(1_000);
    },
  );

  it("from within a body reaches the siblings that start after it in the same turn", async () => {
    const { rig, controller, signal } = rigged();
    const plan = planOf([
      { name: "a", run: () => controller.abort() },
      { name: "b", run: forever },
    ]);
    const result = await rig.run(plan, { signal });
    expect(statuses(result)).toEqual(["succeeded", "cancelled"]);
  });

  it("after the last outcome changes no outcome, and hurries the teardown", async () => {
    const { rig, controller, signal } = rigged();
    const running = rig.start(pair(() => ({ x: bytes })).plan, { signal });
    await rig.host.advance(100);
    controller.abort();
    const result = await rig.host.pump(running);
    expect(result).toMatchObject({ status: "succeeded", succeeded: 2 });
    expect(result.teardownMs).toBeLessThan(200);
  });

  it("leaves no listener on the caller's signal", async () => {
    const { rig, signal } = rigged();
    let listeners = 0;
    const counted = {
      aborted: false,
      reason: undefined,
      addEventListener: () => void listeners++,
      removeEventListener: () => void listeners--,
    };
    await rig.run(planOf([idle("a")]), { signal: counted });
    expect([listeners, signal.aborted]).toEqual([0, false]);
  });
});

describe("Executor.run() on other threads, played by a test,", () => {
  const far = { href: "file:///far.ts" };

  it("warms as many as the widest wave has modules, and ends them", async () => {
    const rig = new Rig();
    const plan = planOf(
      [idle("a", { run: far }), idle("b", { run: far }), idle("c"), idle("d", { run: far })],
      [["a", "d"]],
    );
    const running = rig.start(plan);
    await rig.host.advance(1);
    expect([rig.runner.warmed, rig.moves]).toEqual([
      [2],
      ["c:pending>running", "c:running>succeeded"],
    ]);
    for (const name of ["a", "b"]) {
      rig.runner.job(name).host.started(0);
      rig.runner.job(name).reply([]);
    }
    await rig.host.advance(1);
    rig.runner.job("d").host.started(0);
    rig.runner.job("d").reply([]);
    const result = await rig.host.pump(running);
    expect([result.status, rig.runner.closes > 0]).toEqual(["succeeded", true]);
  });

  it("refuses the reply of an attempt that was given up, and keeps its bytes until the thread has ended", async () => {
    const rig = new Rig();
    const controller = new AbortController();
    const plan = planOf([{ name: "a", outputs: [raw("x")], run: far }]);
    const running = rig.start(plan, { signal: controller.signal, graceMs: 100, ttlMs: 50 });
    await rig.host.advance(5);
    const job = rig.runner.job("a");
    job.host.started(0);
    const { number } = job.host.acquire("x", 10);
    controller.abort();
    await rig.host.advance(300);
    expect([job.aborts, job.terminated]).toEqual([["the run was cancelled"], true]);
    // The lease is over, and a thread may still be inside its bytes.
    expect(rig.fabric.stats().memory).toMatchObject({ activeLeases: 0, quarantinedBytes: 64 });
    expect(() => job.host.acquire("x", 10)).toThrow(
      expect.objectContaining({ code: "LEASE_EXPIRED" }),
    );
    job.host.log("late");
    job.host.progress(1);
    job.reply([{ name: "x", allocation: number, bytes: 10 }]);
    const result = await rig.host.pump(running);
    expect([result.status, result.bytes.active]).toEqual(["cancelled", 0]);
    expect(rig.events.some(({ type }) => type === "log" || type === "progress")).toBe(false);
  });

  it.each<[what: string, allocation: number, name: string]>([
    ["an allocation that it never had", 1, "x"],
    ["an allocation of another output's name", 0, "y"],
  ])("refuses a reply with %s", async (_what, allocation, name) => {
    const rig = new Rig();
    const running = rig.start(planOf([{ name: "a", outputs: [raw("x")], run: far }]));
    await rig.host.advance(1);
    const job = rig.runner.job("a");
    job.host.started(0);
    job.host.acquire("x", 10);
    job.reply([{ name, allocation, bytes: 10 }]);
    const result = await rig.host.pump(running);
    expect(codesOf(result, "a")).toEqual(["LEASE_EXPIRED"]);
    expect(result.bytes.active).toBe(0);
  });

  it("refuses a reply whose output's lease has ended on the way, also where nothing holds it", async () => {
    const rig = new Rig();
    const plan = planOf([{ name: "a", outputs: [raw("x")], run: far }]);
    const running = rig.start(plan, { renewals: false });
    await rig.host.advance(1);
    const job = rig.runner.job("a");
    job.host.started(0);
    const { number } = job.host.acquire("x", 10);
    leaseOf(rig, "a/x").revoke();
    job.reply([{ name: "x", allocation: number, bytes: 10 }]);
    const result = await rig.host.pump(running);
    expect(codesOf(result, "a")).toEqual(["LEASE_EXPIRED"]);
    expect(result.leases).toMatchObject({ revoked: 1, active: 0 });
  });

  it("counts an attempt whose thread died before it began, and tells each of them", async () => {
    const rig = new Rig();
    const backoff = { delaysMs: [10], jitter: "none" } as const;
    const running = rig.start(planOf([{ name: "a", retries: 1, backoff, run: far }]));
    await rig.host.advance(1);
    rig.runner.jobs[0]?.fail(new Error("died"));
    await rig.host.advance(20);
    rig.runner.jobs[1]?.fail(new Error("died again"));
    const result = await rig.host.pump(running);
    expect(result.tasks[0]).toMatchObject({ status: "failed", attempts: 2, retriesUsed: 1 });
    expect(rig.moves).toEqual([
      "a:pending>running",
      "a:running>waiting",
      "a:waiting>running",
      "a:running>failed",
    ]);
  });

  it("counts no attempt that was cancelled before it began", async () => {
    const rig = new Rig();
    const controller = new AbortController();
    const running = rig.start(planOf([{ name: "a", run: far }]), { signal: controller.signal });
    await rig.host.advance(1);
    controller.abort();
    rig.runner.job("a").fail(new Error("not begun"));
    const result = await rig.host.pump(running);
    expect(result.tasks[0]).toMatchObject({ status: "cancelled", attempts: 0, errors: [] });
    expect(rig.moves).toEqual(["a:pending>cancelled"]);
  });

  it("fails the attempt, and not the program, when an input has lapsed as its thread begins", async () => {
    const rig = new Rig();
    const plan = planOf(
      [
        { name: "a", outputs: [raw("x")], run: () => ({ x: bytes }) },
        { name: "b", inputs: [raw("x")], run: far },
      ],
      [["a", "b"]],
    );
    const running = rig.start(plan);
    await rig.host.advance(1);
    leaseOf(rig, "a/x").revoke();
    const job = rig.runner.job("b");
    expect(() => job.host.started(0)).not.toThrow();
    job.reply([]);
    const result = await rig.host.pump(running);
    expect(result.status).toBe("failed");
    expect(["REVOKED", "LEASE_EXPIRED"]).toContain(codesOf(result, "b")[0]);
  });

  it("ends within its bound where a thread never answers, and says what it left", async () => {
    const rig = new Rig({ fenceAfterMs: 1_000 });
    const controller = new AbortController();
    const plan = planOf([{ name: "a", outputs: [raw("x")], run: far }]);
    const running = rig.start(plan, { signal: controller.signal, graceMs: 100, ttlMs: 200 });
    await rig.host.advance(5);
    rig.runner.job("a").host.started(0);
    rig.runner.job("a").host.acquire("x", 10);
    controller.abort();
    const result = await rig.host.pump(running);
    expect(result).toMatchObject({ status: "cancelled", bytes: { leased: 64, active: 64 } });
    expect(result.teardownMs).toBeLessThanOrEqual(200 + 1_000 + 1_000 + 10);
    expect(imbalances(result)).toEqual([]);
  });
});

describe("Executor.run() refuses", () => {
  it.each<[what: string, options: Record<string, unknown>]>([
    ["a TTL of zero", { ttlMs: 0 }],
    ["a negative TTL", { ttlMs: -1 }],
    ["a TTL that is no number", { ttlMs: NaN }],
    ["a TTL that is text", { ttlMs: "300" }],
    ["a TTL without end", { ttlMs: Infinity }],
    ["a stall limit of zero", { stallMs: 0 }],
    ["a stall limit that is no number", { stallMs: NaN }],
    ["a negative grace", { graceMs: -1 }],
    ["a grace beyond any timer", { graceMs: Infinity }],
    ["a grace that is no number", { graceMs: NaN }],
    ["a teardown that there is not", { teardown: "never" }],
  ])("%s, before any task starts", async (_what, options) => {
    const rig = new Rig();
    let ran = false;
    const plan = planOf([{ name: "a", run: () => void (ran = true) }]);
    await expect(rig.run(plan, options)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    expect([ran, rig.host.alarms]).toEqual([false, 1]);
  });

  it("nothing that is given as undefined: that means the default", async () => {
    const rig = new Rig();
    const none = { ttlMs: undefined, teardown: undefined, stallMs: undefined, graceMs: undefined };
    const result = await rig.run(
      pair(() => ({ x: bytes })).plan,
      none as unknown as ExecutorOptions,
    );
    expect(result.status).toBe("succeeded");
  });
});
