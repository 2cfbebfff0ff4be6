import type {
  ExecutionEvent,
  ExecutionResult,
  TaskContext,
  TaskDef,
  TaskOutput,
  TaskStatus,
} from "@selvage/batch";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { imbalances, planOf, raw, Rig, START_MS } from "./rig.ts";

/** What a task does, besides reading all of its inputs. */
type Conduct =
  | { readonly kind: "succeed" | "allocate" | "throwAlways" | "forget"; readonly ms: number }
  | { readonly kind: "failTimes"; readonly ms: number; readonly times: number };

interface Case {
  /** Predecessors of each task, all of lower numbers. */
  readonly dag: readonly (readonly number[])[];
  readonly conducts: readonly Conduct[];
  readonly retries: number;
  readonly teardown: "expiry" | "eager";
  readonly guard: boolean;
  readonly ttlMs: number;
  readonly cancelAtMs: number | undefined;
  readonly schedule: "waves" | "ready";
  readonly maxConcurrency: number;
  /** By task: how long an attempt may take, in milliseconds. */
  readonly timeouts: readonly (number | undefined)[];
  readonly minMemoryBytes: readonly number[];
}

const tasksMax = 12;
const ms = fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 250 }));
const conduct: fc.Arbitrary<Conduct> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ kind: fc.constantFrom("succeed" as const, "allocate" as const), ms }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant("failTimes" as const),
      ms,
      times: fc.nat({ max: 3 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constantFrom("throwAlways" as const, "forget" as const), ms }),
  },
);
const cases: fc.Arbitrary<Case> = fc.record({
  dag: fc
    .array(fc.array(fc.nat(), { maxLength: 3 }), { minLength: 1, maxLength: tasksMax })
    .map((rows) => rows.map((row, at) => (at === 0 ? [] : [...new Set(row.map((n) => n % at))]))),
  conducts: fc.array(conduct, { minLength: tasksMax, maxLength: tasksMax }),
  retries: fc.nat({ max: 2 }),
  teardown: fc.constantFrom("expiry", "eager"),
  guard: fc.boolean(),
  ttlMs: fc.integer({ min: 60, max: 300 }),
  cancelAtMs: fc.option(fc.nat({ max: 600 }), { nil: undefined, freq: 3 }),
  schedule: fc.constantFrom("waves", "ready"),
  maxConcurrency: fc.integer({ min: 1, max: tasksMax }),
  timeouts: fc.array(fc.constantFrom(undefined, undefined, undefined, 120), {
    minLength: tasksMax,
    maxLength: tasksMax,
  }),
  minMemoryBytes: fc.array(fc.constantFrom(0, 0, 0, 300_000, 900_000), {
    minLength: tasksMax,
    maxLength: tasksMax,
  }),
});

/** What may follow a state. A task that is cancelled may never have started. */
const legal: Readonly<Record<TaskStatus, readonly TaskStatus[]>> = {
  pending: ["running", "skipped", "cancelled"],
  ready: [],
  running: ["waiting", "succeeded", "failed", "timedOut", "cancelled"],
  waiting: ["running", "timedOut", "cancelled"],
  succeeded: [],
  failed: [],
  skipped: [],
  cancelled: [],
  timedOut: [],
};

/** The value that a task makes: one more than the sum of what it reads. */
function valueOf({ dag }: Case, at: number): number {
  return (dag[at] ?? []).reduce((sum, one) => (sum + valueOf({ dag } as Case, one)) % 251, at + 1);
}

function taskOf(one: Case, at: number, rig: Rig, atWork: Set<string>): TaskDef {
  const before = one.dag[at] ?? [];
  const conducted = one.conducts[at] as Conduct;
  const output = `o${at}`;
  const timeoutMs = one.timeouts[at];
  return {
    name: `t${at}`,
    inputs: before.map((index) => raw(`o${index}`)),
    outputs: [raw(output)],
    retries: one.retries,
    backoff: { baseMs: 20, jitter: "full" },
    ...(timeoutMs !== undefined && { timeoutMs }),
    resourceReq: { minMemoryBytes: one.minMemoryBytes[at] ?? 0 },
    async run(context) {
      if (atWork.has(output)) throw new Error("beside itself");
      atWork.add(output);
      if (atWork.size > one.maxConcurrency) throw new Error("too many");
      try {
        return await body(context);
      } finally {
        atWork.delete(output);
      }
    },
  };
  async function body(context: TaskContext): Promise<TaskOutput | undefined> {
    let value = at + 1;
    for (const index of before) value = (value + (context.input(`o${index}`)[0] ?? 0)) % 251;
    if (conducted.ms > 0) await rig.host.later(conducted.ms);
    // Still the same bytes: nobody's expiry, release or reuse reached them meanwhile.
    for (const index of before)
      if (context.input(`o${index}`)[0] !== valueOf(one, index)) throw new Error("torn input");
    switch (conducted.kind) {
      case "succeed":
        return { [output]: Uint8Array.of(value) };
      case "allocate":
        context.allocate(output, 1)[0] = value;
        return;
      case "failTimes":
        context.allocate(output, 100).fill(0xee);
        if (context.attempt <= conducted.times) throw new Error("not yet");
        return { [output]: Uint8Array.of(value) };
      case "throwAlways":
        throw new Error("always");
      case "forget":
        return {};
    }
  }
}

function expectedOf(one: Case, at: number): "succeeded" | "failed" | "timedOut" {
  const { conducts, retries } = one;
  const { kind, ms: takesMs, ...rest } = conducts[at] as Conduct;
  if (takesMs >= (one.timeouts[at] ?? Infinity)) return "timedOut";
  if (kind === "throwAlways" || kind === "forget") return "failed";
  return kind === "failTimes" && (rest as { times: number }).times > retries
    ? "failed"
    : "succeeded";
}

async function run(one: Case): Promise<{ rig: Rig; result: ExecutionResult }> {
  const rig = new Rig({ guard: one.guard });
  const atWork = new Set<string>();
  const plan = planOf(
    one.dag.map((_, at) => taskOf(one, at, rig, atWork)),
    one.dag.flatMap((before, at) => before.map((index) => [`t${index}`, `t${at}`] as const)),
  );
  const controller = new AbortController();
  const { teardown, ttlMs, cancelAtMs, schedule, maxConcurrency } = one;
  if (cancelAtMs !== undefined) rig.host.timer.after(cancelAtMs, () => controller.abort());
  const { signal } = controller;
  // Bodies do not listen: a short grace gives them up, a long one lets each end.
  const graceMs = cancelAtMs === undefined ? 1_000 : 50;
  const options = { teardown, ttlMs, signal, graceMs, schedule, maxConcurrency };
  const result = await rig.run(plan, options);
  return { rig, result };
}

describe("Executor.run() of a random graph of tasks that do as they like", () => {
  it("D1: gives every task exactly one outcome, by legal transitions only, on a stream that ends with settled", async () => {
    await fc.assert(
      fc.asyncProperty(cases, async (one) => {
        const { rig, result } = await run(one);
        checkTransitions(rig.events, result);
        checkOrder(rig.events);
      }),
      { numRuns: 40 },
    );
  });

  it("D3: skips exactly what depends on a failure, and D1: hands on exactly what was committed", async () => {
    await fc.assert(
      fc.asyncProperty(cases, async (one) => {
        const { result } = await run({ ...one, cancelAtMs: undefined });
        const ended = new Map<number, string>();
        for (const at of one.dag.keys()) {
          const bad = (one.dag[at] ?? []).find((before) => ended.get(before) !== "succeeded");
          ended.set(at, bad === undefined ? expectedOf(one, at) : "skipped");
        }
        expect(result.tasks.map(({ status }) => status)).toEqual([...ended.values()]);
        expect(result.status).toBe(result.failed + result.timedOut > 0 ? "failed" : "succeeded");
        for (const { status, because, errors } of result.tasks) {
          const cause = result.tasks.find(({ name }) => name === because);
          expect(["failed", "timedOut"].includes(cause?.status ?? "")).toBe(status === "skipped");
          const messages = errors.map(({ error }) => (error as Error).message);
          for (const wrong of ["torn input", "beside itself", "too many"])
            expect(messages).not.toContain(wrong);
        }
      }),
      { numRuns: 40 },
    );
  });

  it("accounts for every lease and byte, and leaves the fabric as it was", async () => {
    await fc.assert(
      fc.asyncProperty(cases, async (one) => {
        const { rig, result } = await run(one);
        expect(imbalances(result)).toEqual([]);
        const { granted, expired, released } = result.leases;
        const isEager = one.teardown === "eager";
        // Whoever cancels does not wait for a TTL: then both may be.
        const isMixed = !isEager && one.cancelAtMs !== undefined;
        expect([expired, released]).toEqual(
          isMixed ? [granted - released, released] : isEager ? [0, granted] : [granted, 0],
        );
        await rig.host.advance(2_000);
        const { activeLeases, freeBytes, capacityBytes } = rig.fabric.stats().memory;
        expect([activeLeases, freeBytes]).toEqual([0, capacityBytes]);
        expect(result.bytes).toMatchObject({ returned: result.bytes.leased, active: 0, fenced: 0 });
        expect(rig.host.alarms).toBe(1);
      }),
      { numRuns: 40 },
    );
  });
});

function checkTransitions(events: readonly ExecutionEvent[], result: ExecutionResult): void {
  const state = new Map<string, TaskStatus>();
  for (const event of events) {
    if (event.type !== "task") continue;
    const { name, oldState, newState } = event;
    expect([name, oldState]).toEqual([name, state.get(name) ?? "pending"]);
    expect(legal[oldState]).toContain(newState);
    state.set(name, newState);
  }
  for (const { name, status, attempts, retriesUsed, errors } of result.tasks) {
    expect([name, status]).toEqual([name, state.get(name)]);
    const starts = events.filter(
      (e) => e.type === "task" && e.name === name && e.newState === "running",
    );
    expect([starts.length, retriesUsed]).toEqual([attempts, Math.max(0, attempts - 1)]);
    expect(errors.length).toBeLessThanOrEqual(attempts);
  }
}

/** Time never goes back, `settled` comes once, after every outcome, and what follows is about leases only. */
function checkOrder(events: readonly ExecutionEvent[]): void {
  const settledAt = events.findIndex(({ type }) => type === "settled");
  expect(settledAt).toBeGreaterThanOrEqual(0);
  expect(events.slice(settledAt + 1).filter(({ type }) => type !== "lease")).toEqual([]);
  let lastMs = START_MS;
  for (const event of events) {
    if (event.type === "lease") continue;
    expect(event.atMs).toBeGreaterThanOrEqual(lastMs);
    lastMs = event.atMs;
  }
}
