import { FabricError } from "@selvage/fabric";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { canonical, isSame } from "../src/canonical.ts";
import {
  models,
  UNKNOWN,
  type CasRegisterInput,
  type FifoInput,
  type LeaseInput,
  type MapInput,
  type Model,
} from "../src/models.ts";

const value = fc.oneof(fc.nat(2), fc.constant("x"), fc.record({ n: fc.nat(1) }));

/** Holds a model to a plain program that does the same thing: same answers, no other answer, same effects. */
function holdsTo<State extends object, Input, Output>(
  model: Model<State, Input, Output>,
  inputs: readonly Input[],
  real: (input: Input) => Output,
  others: (output: Output) => readonly unknown[],
): void {
  let state = model.init();
  for (const input of inputs) {
    const before = model.hash(state);
    const output = real(input);
    const next = model.step(state, input, output);
    expect(next, model.show(input, output)).toBeDefined();
    for (const other of others(output))
      expect(model.step(state, input, other as Output), model.show(input, other as Output)).toBe(
        undefined,
      );
    const unanswered = model.step(state, input, UNKNOWN);
    expect(unanswered && model.hash(unanswered)).toBe(next && model.hash(next));
    expect(model.hash(state), "a step changes no state").toBe(before);
    const isIdle = next !== undefined && model.hash(next) === before;
    expect(isIdle ? next : state, "no effect, the same state").toBe(state);
    state = next as State;
  }
}

/** Something else than that answer. */
function notThat(output: unknown): unknown[] {
  if (typeof output === "boolean") return [!output, undefined];
  if (output === undefined) return [0, false];
  return [undefined, null, [output]];
}

describe("the models and plain programs agree", () => {
  it("on a queue with room for some", () => {
    const offer = fc.record({ type: fc.constant("offer"), value }) as fc.Arbitrary<FifoInput>;
    const poll = fc.constant<FifoInput>({ type: "poll" });
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 4 }),
        fc.array(fc.oneof(offer, poll)),
        (capacity, inputs) => {
          const items: unknown[] = [];
          const real = (input: FifoInput): unknown => {
            if (input.type !== "offer") return items.shift();
            return items.length < capacity && items.push(input.value) > 0;
          };
          holdsTo(models.fifo({ capacity }), inputs, real, notThat);
        },
      ),
    );
  });

  it("on a register that compares and exchanges", () => {
    const input = fc.oneof(
      fc.constant<CasRegisterInput>({ type: "read" }),
      fc.record({ type: fc.constant("write"), value }) as fc.Arbitrary<CasRegisterInput>,
      fc.record({
        type: fc.constant("cas"),
        expected: value,
        value,
      }) as fc.Arbitrary<CasRegisterInput>,
    );
    fc.assert(
      fc.property(fc.array(input), (inputs) => {
        let now: unknown = 0;
        const real = (asked: CasRegisterInput): unknown => {
          if (asked.type === "read") return now;
          const isEqual = asked.type === "write" || canonical(now) === canonical(asked.expected);
          if (isEqual) now = asked.value;
          return asked.type === "write" ? undefined : isEqual;
        };
        // Any answer to a write will do.
        holdsTo(models.casRegister(0), inputs, real, (output) =>
          output === undefined ? [] : notThat(output),
        );
      }),
    );
  });

  it("on a map", () => {
    const key = fc.constant("k");
    const input = fc.oneof(
      fc.record({ type: fc.constantFrom("get", "has", "delete"), key }),
      fc.record({ type: fc.constant("put"), key, value }),
    ) as fc.Arbitrary<MapInput>;
    fc.assert(
      fc.property(fc.array(input), (inputs) => {
        const real = new Map<string, unknown>();
        const run = (asked: MapInput): unknown => {
          if (asked.type === "put") return void real.set(asked.key, asked.value);
          return real[asked.type](asked.key);
        };
        let last: MapInput | undefined;
        const others = (output: unknown): unknown[] => {
          if (last?.type === "put") return [];
          return notThat(output).filter((other) => last?.type !== "delete" || other !== undefined);
        };
        const tracked = (asked: MapInput): unknown => run((last = asked));
        holdsTo(models.map(), inputs, tracked, others);
      }),
    );
  });

  it("on a lease", () => {
    const holder = fc.constantFrom("ann", "ben");
    const anyEpoch = fc.nat(4);
    const asking = fc.oneof(
      fc.record({ type: fc.constant("grant"), holder }),
      fc.record({ type: fc.constantFrom("renew", "release"), holder, epoch: anyEpoch }),
      fc.record({ type: fc.constant("expire"), epoch: anyEpoch }),
    ) as fc.Arbitrary<LeaseInput>;
    fc.assert(
      fc.property(fc.array(asking), (inputs) => {
        let held: string | undefined;
        let epoch = -1;
        let state = models.lease().init();
        for (const input of inputs) {
          let output: unknown;
          if (input.type === "grant") {
            if (held === undefined) {
              held = input.holder;
              output = ++epoch;
            }
          } else {
            const isIts = held !== undefined && input.epoch === epoch;
            output = isIts && (input.type === "expire" || input.holder === held);
            if (output === true && input.type !== "renew") held = undefined;
          }
          const wrong =
            typeof output === "boolean"
              ? [!output]
              : output === undefined
                ? [epoch + 1]
                : [epoch - 1, undefined];
          for (const other of wrong)
            expect(
              models.lease().step(state, input, other),
              models.lease().show(input, other),
            ).toBe(undefined);
          const next = models.lease().step(state, input, output);
          expect(next, models.lease().show(input, output)).toEqual({
            holder: held,
            epoch,
            isAbove: false,
          });
          state = next ?? state;
        }
      }),
    );
  });
});

describe("a model", () => {
  it("of a lease learns the epoch of an unanswered grant from the first answer that shows it", () => {
    const { init, step } = models.lease();
    const grant = { type: "grant", holder: "ann" } as const;
    const asked = step(init(), grant, UNKNOWN);
    expect(asked).toEqual({ holder: "ann", epoch: -1, isAbove: true });
    if (asked === undefined) return;
    // Another's epoch, or none of its own.
    expect(step(asked, { type: "renew", holder: "ben", epoch: 4 }, true)).toBe(undefined);
    expect(step(asked, { type: "renew", holder: "ann", epoch: -1 }, true)).toBe(undefined);
    // It may be a higher one.
    expect(step(asked, { type: "renew", holder: "ann", epoch: 3 }, false)).toBe(asked);
    const renewed = step(asked, { type: "renew", holder: "ann", epoch: 4 }, true);
    expect(renewed).toEqual({ holder: "ann", epoch: 4, isAbove: false });
    expect(step(asked, { type: "expire", epoch: 4 }, UNKNOWN)).toEqual({
      holder: undefined,
      epoch: 4,
      isAbove: false,
    });
  });

  it("of a lease never grants an epoch again (L1), nor to a second holder", () => {
    const { init, step } = models.lease();
    const held = step(init(), { type: "grant", holder: "ann" }, 7);
    expect(held && step(held, { type: "grant", holder: "ben" }, 8)).toBe(undefined);
    const free = held && step(held, { type: "release", holder: "ann", epoch: 7 }, true);
    expect(free && step(free, { type: "grant", holder: "ben" }, 7)).toBe(undefined);
    expect(free && step(free, { type: "grant", holder: "ben" }, 9)).toMatchObject({ epoch: 9 });
  });

  it("of a queue is not moved by a relocation, and takes undefined and null for empty", () => {
    const { init, step } = models.fifo();
    const state = init();
    expect(step(state, { type: "relocate" }, true)).toBe(state);
    expect(step(state, { type: "poll" }, undefined)).toBe(state);
    expect(step(state, { type: "poll" }, null)).toBe(state);
    expect(step(state, { type: "poll" }, UNKNOWN)).toBe(state);
  });

  it("of a register begins with its initial value, and knows no cas", () => {
    const model = models.register(3);
    expect(model.step(model.init(), { type: "read" }, 3)).toBeDefined();
    expect(model.step(model.init(), { type: "read" }, undefined)).toBe(undefined);
    expect(model.key?.({ type: "read", key: "r" })).toBe("r");
    const cas = { type: "cas", expected: 3, value: 4 } as never;
    expect(() => model.step(model.init(), cas, true)).toThrow(FabricError);
  });

  it.each([
    ["fifo", models.fifo()],
    ["register", models.register()],
    ["casRegister", models.casRegister()],
    ["map", models.map()],
    ["lease", models.lease()],
  ] as const)(
    "%s refuses an operation that it does not know, rather than to judge nothing",
    (_name, model) => {
      const judge = model as Model<object, unknown, unknown>;
      for (const input of [{ type: "enqueue" }, {}])
        expect(() => judge.step(judge.init(), input, true)).toThrow(/type of an operation/);
    },
  );

  it("refuses a capacity without room", () => {
    for (const capacity of [0, NaN]) expect(() => models.fifo({ capacity })).toThrow(FabricError);
  });

  it("shows its operations in a line", () => {
    expect([
      models.fifo().show({ type: "offer", value: "a" }, true),
      models.fifo().show({ type: "poll" }, undefined),
      models.casRegister().show({ type: "cas", expected: 1, value: 2 }, UNKNOWN),
      models.map().show({ type: "put", key: "k", value: [1] }, undefined),
      models.lease().show({ type: "renew", holder: "ann", epoch: 4 }, false),
      models.lease().show({ type: "expire", epoch: 4 }, true),
    ]).toEqual([
      'offer("a") -> true',
      "poll() -> undefined",
      "cas(1, 2) -> ?",
      'put("k", [1]) -> undefined',
      "renew(ann, epoch 4) -> false",
      "expire(epoch 4) -> true",
    ]);
  });
});

describe("canonical text", () => {
  it("is equal exactly for equal values", () => {
    const different = [
      0, -0, 1, 1n, "1", "", "a,b", NaN, Infinity, true, "true", null, undefined, "undefined", [], {}, [1],
      [[1]], ["1"], [1, 2], [12], ["1,2"], { a: 1 }, { a: "1" }, { a: 1, b: 2 }, { "a:1,b": 2 },
      new Uint8Array([1]), new Int8Array([1]), { 0: 1 }, [undefined], { a: undefined },
    ]; // prettier-ignore
    expect(new Set(different.map(canonical)).size).toBe(different.length);
    for (const [at, one] of different.entries())
      for (const [other, two] of different.entries()) expect(isSame(one, two)).toBe(at === other);
    expect(canonical({ b: 1, a: [2] })).toBe(canonical({ a: [2], b: 1 }));
    expect(isSame({ b: 1, a: [2] }, { a: [2], b: 1 })).toBe(true);
  });
});
