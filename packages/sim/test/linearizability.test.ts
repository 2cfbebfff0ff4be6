import { FabricError } from "@selvage/fabric";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { History, type Operation } from "../src/history.ts";
import {
  checkLinearizable,
  describeCounterexample,
  type Counterexample,
} from "../src/linearizability.ts";
import {
  models,
  UNKNOWN,
  type CasRegisterInput,
  type FifoInput,
  type MapInput,
  type MapState,
  type Model,
  type RegisterInput,
} from "../src/models.ts";
import { historyOf, isLinearizable, movesOf, type Move } from "./histories.ts";

const small = fc.nat(2);
const fifoInput = fc.oneof(
  fc.record({ type: fc.constant("offer"), value: small }),
  fc.constant({ type: "poll" }),
) as fc.Arbitrary<FifoInput>;
const registerInput = fc.oneof(
  fc.constant({ type: "read" }),
  fc.record({ type: fc.constant("write"), value: small }),
  fc.record({ type: fc.constant("cas"), expected: small, value: small }),
) as fc.Arbitrary<CasRegisterInput>;
const mapInput = fc.oneof(
  fc.record({ type: fc.constantFrom("get", "delete"), key: fc.constantFrom("a", "b") }),
  fc.record({ type: fc.constant("put"), key: fc.constantFrom("a", "b"), value: small }),
) as fc.Arbitrary<MapInput>;
const anyAnswer = fc.oneof(small, fc.constantFrom(true, false, undefined));

/** A service that does exactly what the model says. */
function serverOf<State extends object, Input>(
  model: Model<State, Input, unknown>,
  answers: (state: State, input: Input) => readonly unknown[],
): (input: Input) => unknown {
  let state = model.init();
  return (input) => {
    for (const output of answers(state, input)) {
      const next = model.step(state, input, output);
      if (next === undefined) continue;
      state = next;
      return output;
    }
    throw new Error(`no answer to ${model.show(input, UNKNOWN)}`);
  };
}

const answers = (): readonly unknown[] => [true, false, undefined, 0, 1, 2];

function expectLikeBruteForce<State extends object, Input>(
  model: Model<State, Input, unknown>,
  input: fc.Arbitrary<Input>,
): void {
  const seen = { true: 0, false: 0 };
  const moves = movesOf(input, anyAnswer, { clients: 3, moves: 26, lies: 4 });
  fc.assert(
    fc.property(moves, (drawn) => {
      const operations = historyOf(drawn, serverOf(model, answers));
      const expected = isLinearizable(model, operations);
      const found = checkLinearizable(model, operations);
      expect(found.verdict).toBe(expected ? "linearizable" : "not-linearizable");
      if (found.verdict === "linearizable") found.order.forEach((part) => expectLegal(model, part));
      if (found.verdict === "linearizable") expectComplete(operations, found.order.flat());
      if (found.verdict === "not-linearizable")
        expectBlocked(model, operations, found.counterexample);
      seen[`${expected}`]++;
    }),
    { numRuns: 500, seed: 4 },
  );
  // Both directions were tried, neither by accident only.
  expect(Math.min(seen.true, seen.false)).toBeGreaterThan(50);
}

/** Each step legal, none before one that ended before it began; the state at the end. */
function expectLegal<State extends object, Input>(
  model: Model<State, Input, unknown>,
  order: readonly Operation<Input>[],
): State {
  let state = model.init();
  let latest = -1;
  for (const { input, outcome, output, invokedSeq, returnedSeq } of order) {
    const next = model.step(state, input, outcome === "ok" ? output : UNKNOWN);
    expect(next).toBeDefined();
    expect(returnedSeq ?? Infinity).toBeGreaterThan(latest);
    latest = Math.max(latest, invokedSeq);
    state = next as State;
  }
  return state;
}

function expectComplete<Input>(
  operations: readonly Operation<Input>[],
  order: readonly Operation<Input>[],
): void {
  const answered = operations.filter(({ outcome }) => outcome === "ok");
  expect(answered.every((operation) => order.includes(operation))).toBe(true);
  expect(new Set(order).size).toBe(order.length);
  expect(order.some(({ outcome }) => outcome === "fail")).toBe(false);
}

/** The answered ones that may come next are just those, and none is legal. */
function expectBlocked<State extends object, Input>(
  model: Model<State, Input, unknown>,
  operations: readonly Operation<Input>[],
  { prefix, blocked, state: hash }: Counterexample<Input>,
): void {
  const key = blocked[0] && model.key?.(blocked[0].input);
  const left = operations.filter(
    (operation) =>
      operation.outcome === "ok" &&
      !prefix.includes(operation) &&
      (model.key === undefined || model.key(operation.input) === key),
  );
  const first = Math.min(...left.map(({ returnedSeq }) => returnedSeq ?? Infinity));
  expect(new Set(blocked)).toEqual(new Set(left.filter(({ invokedSeq }) => invokedSeq < first)));
  const state = expectLegal(model, prefix);
  expect(model.hash(state)).toBe(hash);
  for (const { input, output } of blocked) expect(model.step(state, input, output)).toBe(undefined);
}

describe("the judge of histories", () => {
  it("E4: finds of a queue what trying all orders finds, and shows why", () => {
    expectLikeBruteForce(models.fifo({ capacity: 2 }), fifoInput);
  });

  it("finds of a register what trying all orders finds, and shows why", () => {
    expectLikeBruteForce(models.casRegister(0), registerInput);
  });

  it("finds of a map, key by key, what trying all orders of the whole map finds", () => {
    const whole = wholeMap();
    const moves = movesOf(mapInput, anyAnswer, { clients: 3, moves: 26, lies: 3 });
    const seen = { true: 0, false: 0 };
    fc.assert(
      fc.property(moves, (drawn) => {
        const operations = historyOf(drawn, serverOf(whole, answers));
        const expected = isLinearizable(whole, operations);
        const verdict = expected ? "linearizable" : "not-linearizable";
        expect(checkLinearizable(models.map(), operations).verdict).toBe(verdict);
        expect(checkLinearizable(whole, operations).verdict).toBe(verdict);
        seen[`${expected}`]++;
      }),
      { numRuns: 300, seed: 4 },
    );
    expect(Math.min(seen.true, seen.false)).toBeGreaterThan(20);
  });

  it("accepts a queue's true history in a few steps for each operation", () => {
    expectQuick(models.fifo(), fifoInput, queueServer);
  });

  it("accepts a register's true history in a few steps for each operation", () => {
    expectQuick(models.casRegister(0), registerInput, registerServer);
  });

  it.each([
    ["loses one", (items: unknown[]) => void items.shift()],
    ["delivers one twice", (items: unknown[]) => void items.unshift(items[0])],
    [
      "turns some around",
      (items: unknown[]) => void items.splice(0, 3, ...items.slice(0, 3).toReversed()),
    ],
    ["invents one", (items: unknown[]) => void items.push("none of theirs")],
  ])("E4: catches a queue with a long backlog that %s, in a few steps", (_name, spoil) => {
    const moves = movesOf(fifoInput, anyAnswer, { clients: 5, moves: 400, lies: 0 });
    let gaveUp = 0;
    const caught = fc.sample(moves, { numRuns: 40, seed: 4 }).filter((drawn) => {
      const items: unknown[] = [];
      let served = 0;
      const serve = (input: FifoInput): unknown => {
        if (++served === 100 && items.length > 3) spoil(items);
        return queueServer(items)(input);
      };
      const offers = drawn.map((move, at) =>
        at % 4 === 0 || at > 300 ? move : { ...move, input: offer(0) as FifoInput },
      );
      // In the end all is polled.
      const drain = drawn.map((move): Move<FifoInput> => ({ ...move, input: { type: "poll" } }));
      const operations = historyOf(allAnswered(numbered([...offers, ...drain, ...drain])), serve);
      const found = checkLinearizable(models.fifo(), operations, { budget: 20_000 });
      if (found.verdict === "gave-up") gaveUp++;
      return found.verdict === "not-linearizable";
    });
    expect(gaveUp).toBeLessThan(3);
    expect(caught.length).toBeGreaterThan(5);
  });

  it("does not depend on the order in which the operations are given", () => {
    const moves = movesOf(registerInput, anyAnswer, { clients: 3, moves: 60, lies: 2 });
    fc.assert(
      fc.property(moves, (drawn) => {
        const operations = historyOf(drawn, serverOf(models.casRegister(0), answers));
        const found = checkLinearizable(models.casRegister(0), operations);
        expect(checkLinearizable(models.casRegister(0), operations.toReversed()).verdict).toBe(
          found.verdict,
        );
      }),
    );
  });
});

function expectQuick<State extends object, Input>(
  model: Model<State, Input, unknown>,
  input: fc.Arbitrary<Input>,
  server: () => (input: Input) => unknown,
): void {
  const moves = movesOf(input, anyAnswer, { clients: 5, moves: 600, lies: 0 });
  for (const sample of fc.sample(moves, { numRuns: 60, seed: 4 })) {
    const operations = historyOf(allAnswered(numbered(sample)), server());
    const found = checkLinearizable(model, operations, { budget: 100_000 });
    expect(found.verdict).toBe("linearizable");
    expect(found.steps).toBeLessThan(12 * operations.length + 12);
  }
}

function allAnswered<Input>(moves: readonly Move<Input>[]): Move<Input>[] {
  return moves.map((move) => ({ ...move, end: move.end === "info" ? "ok" : move.end }));
}

/** Gives each written or offered value a number of its own. */
function numbered<Input>(moves: readonly Move<Input>[]): Move<Input>[] {
  return moves.map((move, value) => {
    const input = move.input as object;
    return "value" in input ? { ...move, input: { ...input, value } as Input } : move;
  });
}

function queueServer(items: unknown[] = []): (input: FifoInput) => unknown {
  return (input) => (input.type === "offer" ? items.push(input.value) > 0 : items.shift());
}

function registerServer(): (input: CasRegisterInput) => unknown {
  let now: unknown = 0;
  return (input) => {
    if (input.type === "read") return now;
    if (input.type === "cas" && input.expected !== now) return false;
    now = input.value;
    return true;
  };
}

/** A map that is not partitioned: for comparison only. */
function wholeMap(): Model<{ readonly keys: ReadonlyMap<string, MapState> }, MapInput, unknown> {
  const one = models.map();
  return {
    name: "whole map",
    init: () => ({ keys: new Map() }),
    step(state, input, output) {
      const before = state.keys.get(input.key) ?? one.init();
      const after = one.step(before, input, output);
      if (after === undefined) return undefined;
      return after === before ? state : { keys: new Map(state.keys).set(input.key, after) };
    },
    hash: ({ keys }) =>
      [...keys]
        .filter(([, { isThere }]) => isThere)
        .map(([key, state]) => key + one.hash(state))
        .toSorted()
        .join(),
    show: one.show,
  };
}

/** After an offer of 1 that was not answered and one of 2 that was, these are polled. */
function polledAfter(...polled: readonly unknown[]): string {
  return judged((history) => {
    history.info(history.invoke("ann", offer(1)));
    history.ok(history.invoke("ann", offer(2)), true);
    for (const value of polled) history.ok(history.invoke("ben", poll), value);
  }).verdict;
}

function fiveOffers(history: History): void {
  for (let value = 0; value < 5; value++) history.ok(history.invoke("a", offer(value)), true);
}

function judged(record: (history: History) => void, budget?: number) {
  const history = new History(() => 0);
  record(history);
  const operations = history.operations() as Operation<FifoInput>[];
  return checkLinearizable(models.fifo(), operations, budget === undefined ? {} : { budget });
}

const offer = (value: unknown, queue?: string) => ({
  type: "offer",
  value,
  ...(queue && { queue }),
});
const poll = { type: "poll" };

describe("a history", () => {
  it("without operations, or with failed ones only, is linearizable", () => {
    expect(judged(() => {})).toEqual({ verdict: "linearizable", steps: 0, order: [] });
    const failed = judged((history) => history.fail(history.invoke("ann", offer(1))));
    expect(failed.verdict).toBe("linearizable");
  });

  it("in which a failed offer is polled after all is not", () => {
    const found = judged((history) => {
      history.fail(history.invoke("ann", offer(1)));
      history.ok(history.invoke("ben", poll), 1);
    });
    expect(found.verdict).toBe("not-linearizable");
  });

  it("may have an unanswered offer take effect late, or never, but once", () => {
    expect(polledAfter(1, 2)).toBe("linearizable");
    expect(polledAfter(2, 1)).toBe("linearizable");
    expect(polledAfter(2, undefined, 1)).toBe("linearizable");
    expect(polledAfter(2, undefined, undefined)).toBe("linearizable");
    expect(polledAfter(1, 2, 1)).toBe("not-linearizable");
  });

  it("that polls what is offered only afterwards is not linearizable", () => {
    const found = judged((history) => {
      history.ok(history.invoke("ben", poll), 1);
      history.info(history.invoke("ann", offer(1)));
    });
    expect(found.verdict).toBe("not-linearizable");
  });

  it("that is not linearizable is explained by its longest legal beginning and what cannot follow", () => {
    const found = judged((history) => {
      history.ok(history.invoke("ann", offer("x", "other")), true);
      for (const value of [1, 2, 3]) history.ok(history.invoke("ann", offer(value)), true);
      history.ok(history.invoke("ben", poll), 1);
      const late = history.invoke("cat", poll);
      history.ok(history.invoke("ben", poll), 3);
      history.ok(late, 3);
    });
    expect(found.verdict).toBe("not-linearizable");
    if (found.verdict !== "not-linearizable") return;
    expect(describeCounterexample(models.fifo(), found.counterexample)).toBe(
      [
        "no order of these operations is legal for fifo",
        "a longest legal beginning (4 operations):",
        "  ann: offer(1) -> true [0 ms to 0 ms]",
        "  ann: offer(2) -> true [0 ms to 0 ms]",
        "  ann: offer(3) -> true [0 ms to 0 ms]",
        "  ben: poll() -> 1 [0 ms to 0 ms]",
        "then the state is [2,3], and none of these can follow:",
        "  cat: poll() -> 3 [0 ms to 0 ms]",
        "  ben: poll() -> 3 [0 ms to 0 ms]",
      ].join("\n"),
    );
  });

  it("that takes more steps than the budget is given up on, never passed", () => {
    const history = new History(() => 0);
    for (let value = 0; value < 20; value++)
      history.info(history.invoke("ann", { type: "write", value }));
    history.ok(history.invoke("ben", { type: "read" }), "none of these");
    const operations = history.operations() as Operation<RegisterInput>[];
    expect(checkLinearizable(models.register(), operations, { budget: 1_000 })).toEqual({
      verdict: "gave-up",
      steps: 1_000,
      key: "",
    });
    expect(judged(fiveOffers, 5).verdict).toBe("linearizable");
    expect(judged(fiveOffers, 4).verdict).toBe("gave-up");
    expect(() => judged(fiveOffers, 0)).toThrow(FabricError);
  });

  it("is found wrong at one key although the budget did not suffice for another", () => {
    const found = judged((history) => {
      history.ok(history.invoke("ben", { type: "poll", queue: "a" }), 1);
      for (let value = 0; value < 20; value++)
        history.ok(history.invoke("a", offer(value, "b")), true);
    }, 5);
    expect(found.verdict).toBe("not-linearizable");
  });
});
