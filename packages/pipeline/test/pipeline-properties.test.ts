import fc from "fast-check";
import { isFabricError } from "@selvage/fabric";
import type {
  Items,
  Pipeline,
  PipelineOptions,
  PipelineResult,
  WorkOptions,
} from "@selvage/pipeline";
import { describe, expect, it } from "vitest";
import { about, Rig } from "./rig.ts";

type Value = number | readonly Value[];

/** What becomes of an item that a stage refuses. */
type Policy = "fail" | "retry" | "deadLetter";

type Step =
  | {
      readonly do: "map" | "filter" | "flatMap";
      /** Microtasks that its function waits: 0 is no promise. */
      readonly waits: number;
      readonly parallel: number;
      /** It refuses items whose weight is 3 modulo this; 0: none. */
      readonly refuses: number;
      readonly policy: Policy;
      /** Of flatMap: what it gives its items in. */
      readonly as: "array" | "generator" | "async";
    }
  | { readonly do: "batch"; readonly size: number }
  | { readonly do: "tee" };

interface Told {
  readonly taken: readonly (readonly [Value, number])[];
  readonly side: readonly Value[];
  readonly error: readonly unknown[] | undefined;
  readonly letters: readonly string[];
}

const weight = (value: Value): number =>
  typeof value === "number" ? value : value.reduce<number>((sum, one) => sum + weight(one), 0);
const isRefused = (value: Value, refuses: number): boolean =>
  refuses > 0 && weight(value) % refuses === 3;
const spread = (value: Value): Value[] => {
  const sum = weight(value);
  return Array.from({ length: sum % 4 }, (_, index) => sum + index);
};

/** What the pipeline means: one item after the other, through all stages. */
class Model {
  readonly taken: (readonly [Value, number])[] = [];
  readonly side: Value[] = [];
  readonly letters: string[] = [];
  error: readonly unknown[] | undefined;
  readonly #steps: readonly Step[];
  readonly #batches = new Map<number, { readonly items: Value[]; readonly offset: number }>();

  constructor(steps: readonly Step[]) {
    this.#steps = steps;
  }

  run(items: readonly number[], breaks: boolean): this {
    for (const [offset, item] of items.entries()) {
      this.#pass(item, offset, 0);
      if (this.error !== undefined) return this;
    }
    if (breaks) this.error = ["DISCONNECTED", "source", items.length];
    if (breaks) return this;
    // What is left of a batch may become a batch further on.
    for (const [at, step] of this.#steps.entries()) {
      const left = step.do === "batch" ? this.#batches.get(at) : undefined;
      if (left === undefined) continue;
      this.#batches.delete(at);
      this.#pass(left.items, left.offset, at + 1);
      if (this.error !== undefined) return this;
    }
    return this;
  }

  #pass(value: Value, offset: number, at: number): void {
    const step = this.#steps[at];
    if (this.error !== undefined) return;
    if (step === undefined) this.taken.push([value, offset]);
    else if (step.do === "tee") {
      this.side.push(value);
      this.#pass(value, offset, at + 1);
    } else if (step.do === "batch") this.#batch(value, offset, at, step.size);
    else this.#work(value, offset, at, step);
  }

  #batch(value: Value, offset: number, at: number, size: number): void {
    const batch = this.#batches.get(at) ?? { items: [], offset };
    batch.items.push(value);
    this.#batches.set(at, batch);
    if (batch.items.length < size) return;
    this.#batches.delete(at);
    this.#pass(batch.items, batch.offset, at + 1);
  }

  #work(value: Value, offset: number, at: number, step: Extract<Step, { policy: Policy }>): void {
    if (isRefused(value, step.refuses) && step.policy !== "retry") {
      if (step.policy === "fail") this.error = ["INVALID_ARGUMENT", `stage ${at}`, offset];
      else this.letters.push(`${at}: ${JSON.stringify(value)}`);
    } else if (step.do === "map") this.#pass(weight(value) + 1, offset, at + 1);
    else if (step.do === "flatMap")
      for (const one of spread(value)) this.#pass(one, offset, at + 1);
    else if (weight(value) % 3 !== 0) this.#pass(value, offset, at + 1);
  }
}

const settled = (waits: number): Promise<void> =>
  waits === 0 ? Promise.resolve() : Promise.resolve().then(() => settled(waits - 1));

/** The same, built of the real thing. */
function build(steps: readonly Step[], source: Pipeline<Value>, letters: string[]) {
  const side: Value[] = [];
  let line = source;
  for (const [at, step] of steps.entries()) {
    const name = `stage ${at}`;
    if (step.do === "batch") line = line.batch(step.size, { name });
    else if (step.do === "tee") {
      line = line.tee((branch) => branch.sink((value) => void side.push(value)), { name });
    } else {
      const { waits, refuses, policy, as } = step;
      const tried = new Set<string>();
      const work = <R>(make: (value: Value) => R): ((value: Value, offset: number) => R) =>
        ((value: Value, offset: number) => {
          const key = `${offset} ${JSON.stringify(value)}`;
          const go = (): R => {
            if (isRefused(value, refuses) && (policy !== "retry" || !tried.has(key))) {
              tried.add(key);
              throw new Error("refused");
            }
            return make(value);
          };
          return waits === 0 ? go() : settled(waits).then(go);
        }) as (value: Value, offset: number) => R;
      const options: WorkOptions<Value> = {
        name,
        ...(policy === "retry" ? { retry: { retries: 2, baseMs: 1 } } : {}),
        ...(policy === "deadLetter"
          ? {
              deadLetter: {
                letters: {
                  send: (_subject, bytes) =>
                    letters.push(`${at}: ${new TextDecoder().decode(bytes)}`),
                },
              },
            }
          : {}),
      };
      if (step.parallel > 1) line = line.parallel(step.parallel);
      if (step.do === "map")
        line = line.map<Value>(
          work((value) => weight(value) + 1),
          options,
        );
      else if (step.do === "filter")
        line = line.filter(
          work((value) => weight(value) % 3 !== 0),
          options,
        );
      else {
        const packed = {
          array: spread,
          generator: function* (value: Value) {
            yield* spread(value);
          },
          async: async function* (value: Value) {
            for (const one of spread(value)) yield settled(waits).then(() => one);
          },
        }[as];
        line = line.flatMap<Value>(work<Items<Value>>(packed), options);
      }
    }
  }
  return { line, side };
}

/** Where items come from; those that break do so after the last item. */
const sources = {
  array: (items: readonly number[]) => items,
  *"a generator"(items: readonly number[]): Generator<number> {
    yield* items;
  },
  *"a generator that breaks"(items: readonly number[]): Generator<number> {
    yield* items;
    throw new Error("broken");
  },
  async *"an async generator"(items: readonly number[]): AsyncGenerator<number> {
    for (const item of items) {
      if (item % 3 === 0) await settled(item % 5);
      yield item;
    }
  },
  async *"an async generator that breaks"(items: readonly number[]): AsyncGenerator<number> {
    yield* items;
    throw new Error("broken");
  },
};
type SourceName = keyof typeof sources;

async function runReal(
  steps: readonly Step[],
  items: readonly number[],
  from: SourceName,
  options: PipelineOptions,
): Promise<Told & { readonly result: PipelineResult }> {
  const rig = new Rig();
  const letters: string[] = [];
  const taken: (readonly [Value, number])[] = [];
  const source = rig.from<Value>(sources[from](items));
  const { line, side } = build(steps, source, letters);
  const run = line.sink((value, offset) => void taken.push([value, offset])).run(options);
  const result = await rig.pump(run);
  expect(rig.alarms, "timers that are left").toBe(0);
  const error = result.error === undefined ? undefined : about(result.error);
  return { taken, side, letters, error, result };
}

const steps = fc.array(
  fc.oneof(
    {
      weight: 4,
      arbitrary: fc.record({
        do: fc.constantFrom("map", "filter", "flatMap"),
        waits: fc.constantFrom(0, 0, 1, 3),
        parallel: fc.constantFrom(1, 1, 2, 5),
        refuses: fc.constantFrom(0, 0, 7, 23),
        policy: fc.constantFrom("fail", "retry", "deadLetter"),
        as: fc.constantFrom("array", "generator", "async"),
      } as const),
    },
    fc.record({ do: fc.constant("batch" as const), size: fc.integer({ min: 1, max: 7 }) }),
    fc.record({ do: fc.constant("tee" as const) }),
  ),
  { maxLength: 5 },
);

const scenario = fc.record({
  steps: steps.filter((all) => all.filter((step) => step.do === "tee").length <= 1),
  items: fc.array(fc.nat(40), { maxLength: 60 }),
  from: fc.constantFrom(...(Object.keys(sources) as SourceName[])),
  chunkItems: fc.constantFrom(1, 2, 16, 1_024),
  capacity: fc.constantFrom(1, 3, 64),
});

/** Items in, out, and what else became of them: nothing is unaccounted for. */
function expectBalanced({ stages }: PipelineResult): void {
  expect(stages.filter(({ dropped }) => dropped < 0)).toEqual([]);
  const oneForOne = stages.filter(({ kind }) => ["map", "sink", "tee"].includes(kind));
  for (const { name, itemsIn, itemsOut, deadLettered, dropped } of oneForOne)
    expect(itemsOut + deadLettered + dropped, name).toBe(itemsIn);
}

describe("Pipeline", () => {
  it.each(["fused", "queue"] as const)(
    "S1: with %s edges, gives what one item after the other gives, whatever chunks, waits and widths",
    async (edges) => {
      await fc.assert(
        fc.asyncProperty(scenario, async ({ steps: plan, items, from, chunkItems, capacity }) => {
          const model = new Model(plan).run(items, from.includes("breaks"));
          const real = await runReal(plan, items, from, { edges, chunkItems, capacity });
          expect(real.error).toEqual(model.error);
          expect(real.taken).toEqual(model.taken);
          expect(real.result.itemsOut).toBe(model.taken.length + real.side.length);
          expect(real.result.isComplete).toBe(model.error === undefined);
          expectBalanced(real.result);
          // Beyond a failure, what was read ahead may have been set aside, or have reached the side.
          if (model.error !== undefined) return;
          expect(real.side).toEqual(model.side);
          expect(real.letters.toSorted()).toEqual(model.letters.toSorted());
          expect(real.result.dropped).toBe(0);
        }),
        { numRuns: edges === "fused" ? 800 : 100 },
      );
    },
    60_000,
  );

  it("S1: fused and queue edges agree on every count of a run that succeeds", async () => {
    await fc.assert(
      fc.asyncProperty(scenario, async ({ steps: plan, items, from, chunkItems, capacity }) => {
        const fused = await runReal(plan, items, from, { chunkItems });
        const queued = await runReal(plan, items, from, { edges: "queue", capacity });
        expect(queued.error).toEqual(fused.error);
        expect(queued.taken).toEqual(fused.taken);
        if (fused.result.status !== "succeeded") return;
        expect(queued.result.stages).toEqual(fused.result.stages);
      }),
      { numRuns: 60 },
    );
  });

  it("S1: a failure keeps what was thrown as its cause", async () => {
    const rig = new Rig();
    const thrown = new Error("no");
    const run = rig
      .from([1, 2, 3])
      .map((n) => {
        if (n === 3) throw thrown;
        return n;
      })
      .sink(() => {})
      .run();
    const { error } = await rig.pump(run);
    expect(isFabricError(error)).toBe(true);
    expect((error as Error).cause).toBe(thrown);
    expect(about(error)).toEqual(["INVALID_ARGUMENT", "map-1", 2]);
  });
});
