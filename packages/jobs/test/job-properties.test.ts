import { FabricError } from "@selvage/fabric";
import {
  JobCoordinator,
  MemoryOutputStore,
  type Chunk,
  type ChunkOutput,
  type ChunkState,
  type ChunkWork,
  type CoordinatorEvent,
} from "@selvage/jobs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { FakeThreads, missingBytes, openOn, portsOf, VirtualHost, type Deed } from "./rig.ts";

/** What a job is made of, and what happens to it. */
interface Case {
  readonly onThreads: boolean;
  /** Below 4: content without an id. From 4 on: an id. */
  readonly chunks: readonly number[];
  /** What the first attempts at a chunk do, by its place; later ones make their output. */
  readonly deeds: readonly (readonly Deed[])[];
  readonly retries: number;
  readonly retryBudget: number;
  readonly concurrency: number;
  readonly threads: number;
  readonly cancelAtMs: number | undefined;
  /** Calls of the store that fail, by their number; odd ones after they have done what they do. */
  readonly mishaps: readonly number[];
}

const timeoutMs = 100;
const graceMs = 20;
const makeDeed: Deed = { do: "make", ms: 1 };
const ms = fc.integer({ min: 0, max: 60 });
const deedOf: fc.Arbitrary<Deed> = fc.oneof(
  fc.record({ do: fc.constant("make" as const), ms }),
  fc.record({ do: fc.constant("throw" as const), ms }),
  fc.record({
    do: fc.constant("die" as const),
    at: fc.constantFrom("starting" as const, "running" as const, "committing" as const),
    ms,
  }),
  fc.record({ do: fc.constant("hang" as const), listens: fc.boolean() }),
);
const caseOf: fc.Arbitrary<Case> = fc.record({
  onThreads: fc.boolean(),
  chunks: fc.array(fc.nat(6), { maxLength: 8 }),
  deeds: fc.array(fc.array(deedOf, { maxLength: 4 }), { minLength: 8, maxLength: 8 }),
  retries: fc.nat(4),
  retryBudget: fc.oneof(fc.constant(Infinity), fc.nat(8)),
  concurrency: fc.integer({ min: 1, max: 5 }),
  threads: fc.integer({ min: 1, max: 3 }),
  cancelAtMs: fc.option(fc.nat(400), { nil: undefined }),
  mishaps: fc.oneof(fc.constant([]), fc.array(fc.nat(20), { maxLength: 4 })),
});

const make = (bytes: Uint8Array): Uint8Array => bytes.map((byte) => byte + 100);
const toChunk = (kind: number): Chunk => {
  const bytes = Uint8Array.of(kind, kind);
  return kind < 4 ? { bytes } : { id: `given ${kind}`, bytes };
};
/** The kinds of the chunks that there are: those of one id are one. */
const distinct = (chunks: readonly number[]): number[] =>
  chunks.filter((kind, at) => kind < 4 || chunks.indexOf(kind) === at);
const firsts = (outputs: readonly ChunkOutput[]): (number | undefined)[] =>
  outputs.map((output) => output.bytes[0]);

/** A store some of whose calls fail. */
class MishapStore extends MemoryOutputStore {
  #calls = 0;
  readonly #mishaps: readonly number[];

  constructor(mishaps: readonly number[]) {
    super();
    this.#mishaps = mishaps;
  }

  override has(id: string): Promise<boolean> {
    return this.#call(() => super.has(id));
  }

  override put(id: string, output: Uint8Array): Promise<boolean> {
    return this.#call(() => super.put(id, output));
  }

  async #call<T>(call: () => Promise<T>): Promise<T> {
    const number = this.#calls++;
    const fails = this.#mishaps.includes(number);
    if (fails && number % 2 === 0) throw new FabricError("STORE_UNAVAILABLE", "before");
    const answer = await call();
    if (fails) throw new FabricError("STORE_UNAVAILABLE", "after");
    return answer;
  }
}

const cancelled = new Error("enough");

/** What a deed does on this thread; a body that dies throws, one that hangs listens. */
function workOf(host: VirtualHost, deedAt: (id: string, attempt: number) => Deed): ChunkWork {
  return async (bytes, context) => {
    const { id, attempt, signal } = context;
    const deed = deedAt(id, attempt);
    if (deed.do === "hang")
      return new Promise((_resolve, reject) => {
        signal.addEventListener("abort", () => reject(signal.reason));
      });
    await host.later(deed.ms);
    context.progress(0.5);
    if (deed.do !== "make") throw new FabricError("DISCONNECTED", deed.do);
    return make(bytes);
  };
}

const ends: readonly ChunkState[] = ["stored", "found", "failed", "cancelled"];
const next: Readonly<Record<ChunkState, readonly ChunkState[]>> = {
  pending: ["running", "waiting", ...ends],
  running: ["waiting", "stored", "failed", "cancelled"],
  waiting: ["running", "stored", "failed", "cancelled"],
  stored: [],
  found: [],
  failed: [],
  cancelled: [],
};

/** Checks what a job told, and how often it tried what. */
function checkEvents(one: Case, events: readonly CoordinatorEvent[], count: number): void {
  const states = new Map<number, ChunkState>();
  const waits = new Map<number, number>();
  let fraction = 0;
  let retries = 0;
  for (const event of events) {
    if (event.type === "progress") {
      expect(event.fraction).toBeGreaterThanOrEqual(fraction);
      fraction = event.fraction;
      expect(fraction === 1).toBe(event.done === count);
    }
    if (event.type !== "chunk") continue;
    const { index, oldState, newState, attempt } = event;
    expect(states.get(index) ?? "pending").toBe(oldState);
    expect(next[oldState]).toContain(newState);
    expect(attempt).toBeLessThanOrEqual(1 + one.retries);
    states.set(index, newState);
    if (newState !== "waiting") continue;
    retries++;
    waits.set(index, (waits.get(index) ?? 0) + 1);
  }
  expect(retries).toBeLessThanOrEqual(one.retryBudget);
  for (const wait of waits.values()) expect(wait).toBeLessThanOrEqual(one.retries);
  expect(states.size).toBe(count);
  for (const state of states.values()) expect(ends).toContain(state);
  expect(events.findIndex(({ type }) => type === "settled")).toBe(events.length - 1);
}

/** How the job must end, where nothing but its own attempts decides: the retries it takes, undefined when it fails. */
function retriesOf(one: Case, kinds: readonly number[]): number | undefined {
  let retries = 0;
  for (const at of kinds.keys()) {
    const deeds = one.deeds[at] ?? [];
    const good = deeds.findIndex((deed) => deed.do === "make");
    const lost = good < 0 ? deeds.length : good;
    if (lost > one.retries) return undefined;
    retries += lost;
  }
  return retries > one.retryBudget ? undefined : retries;
}

async function check(one: Case): Promise<void> {
  const kinds = distinct(one.chunks);
  const host = new VirtualHost();
  const fabric = openOn(host, { memoryBytes: 1 << 16 });
  const store = new MishapStore(one.mishaps);
  const places = new Map<string, number>();
  const deedAt = (id: string, attempt: number): Deed =>
    one.deeds[places.get(id) ?? 0]?.[attempt - 1] ?? makeDeed;
  const runner = new FakeThreads(host, fabric, one.threads, deedAt, make);
  let working = 0;
  let most = 0;
  const here = workOf(host, deedAt);
  const counted: ChunkWork = async (bytes, context) => {
    most = Math.max(most, ++working);
    try {
      return await here(bytes, context);
    } finally {
      working--;
    }
  };
  const work = one.onThreads ? { href: "file:///work.ts" } : counted;
  const controller = new AbortController();
  const events: CoordinatorEvent[] = [];
  const { retries, concurrency, retryBudget, cancelAtMs } = one;
  const coordinator = new JobCoordinator({ retries, baseMs: 10 }, portsOf(host));
  const chunks = one.chunks.map(toChunk);
  const onEvent = (event: CoordinatorEvent): void => {
    events.push(event);
    if (event.type === "chunk") places.set(event.id, event.index);
  };
  const options = {
    ...{ concurrency, retryBudget, timeoutMs, graceMs, onEvent, fabric, runner },
    signal: controller.signal,
  };
  const clear =
    cancelAtMs === undefined
      ? undefined
      : host.timer.after(cancelAtMs, () => controller.abort(cancelled));
  await preview(places, chunks);
  const run = coordinator.run(chunks, store, work, firsts, options);
  const [settled] = await host.pump(Promise.allSettled([run]));
  clear?.();
  const expected = kinds.map((kind) => kind + 100);
  checkEvents(one, events, kinds.length);
  // J3
  expect(Math.max(most, runner.mostWorking)).toBeLessThanOrEqual(concurrency);
  expect(runner.doubled).toBe(0);
  // J2, J4: it ends as it must, and where nothing else decides, after as many attempts as it must.
  const isFree = one.mishaps.length === 0 && !controller.signal.aborted;
  const lost = retriesOf(one, kinds);
  const done = settled.status === "fulfilled" ? settled.value : undefined;
  expect(done?.aggregate ?? expected).toEqual(expected);
  const mustBe = lost === undefined ? [lost, lost] : [lost, kinds.length + lost];
  expect(isFree ? [done?.retries, done?.attempts] : mustBe).toEqual(mustBe);
  const isTold = settled.status === "fulfilled" || settled.reason !== cancelled;
  expect(isTold || controller.signal.aborted).toBe(true);
  // J5: nothing comes later; J6: nothing is left.
  const [told, size] = [events.length, store.size];
  await host.pump(host.later(500));
  expect([events.length, store.size]).toEqual([told, size]);
  expect([runner.held, working, missingBytes(fabric)]).toEqual([0, 0, 0]);
  // J1: what is stored is right, and the next run goes on from there.
  const well = new FakeThreads(host, fabric, 2, () => makeDeed, make);
  const again = new JobCoordinator({ retries: 10, baseMs: 1 }, portsOf(host)).run(
    ...([chunks, store, { href: "file:///work.ts" }, firsts, { fabric, runner: well }] as const),
  );
  const second = await host.pump(again);
  expect(second).toMatchObject({ aggregate: expected, chunks: kinds.length });
  const rest = [size, kinds.length - size];
  expect(one.mishaps.length === 0 ? [second.found, second.attempts] : rest).toEqual(rest);
  fabric[Symbol.dispose]();
  expect(host.alarms).toBe(0);
}

/** Learns the chunks' places from a run that does nothing: what a deed is looked up by. */
async function preview(places: Map<string, number>, chunks: readonly Chunk[]): Promise<void> {
  const coordinator = new JobCoordinator(0, portsOf(new VirtualHost()));
  await coordinator.run(
    chunks,
    new MemoryOutputStore(),
    (bytes) => bytes,
    (outputs) => {
      for (const { id, index } of outputs) places.set(id, index);
    },
  );
}

describe("A job among attempts that fail, threads that die and stores that err", () => {
  it("J1 to J6: one output a chunk, in order, within its limits, and nothing is left", async () => {
    await fc.assert(fc.asyncProperty(caseOf, check), { numRuns: 100 });
  });
});
