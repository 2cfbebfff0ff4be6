/** Histories for tests: of clients that run at the same time, some of which lie, and a judge that tries all orders. */
import fc from "fast-check";
import { History, type Operation } from "../src/history.ts";
import { UNKNOWN, type Model } from "../src/models.ts";

/** What one client does next: it asks, or its operation takes effect, or it ends. */
export interface Move<Input> {
  readonly client: number;
  readonly input: Input;
  /** How its operation ends, when it does. */
  readonly end: "ok" | "lie" | "info" | "fail";
  /** What a lie says. */
  readonly lie: unknown;
}

/** Up to so many moves of so many clients; `lies` of twenty endings are invented answers. */
export function movesOf<Input>(
  input: fc.Arbitrary<Input>,
  lie: fc.Arbitrary<unknown>,
  options: { readonly clients: number; readonly moves: number; readonly lies: number },
): fc.Arbitrary<Move<Input>[]> {
  const end = fc.oneof(
    { weight: 17 - options.lies, arbitrary: fc.constant("ok" as const) },
    { weight: options.lies, arbitrary: fc.constant("lie" as const) },
    { weight: 2, arbitrary: fc.constant("info" as const) },
    { weight: 1, arbitrary: fc.constant("fail" as const) },
  );
  const client = fc.nat(options.clients - 1);
  const move = fc.record({ client, input, end, lie });
  // As long as it says: left to itself, it would seldom be long enough for clients to meet.
  return fc.array(move, { maxLength: options.moves, size: "max" });
}

/**
 * Lets clients use a service that does what `step` says: each asks, then its operation takes effect, then it is answered,
 * and other clients' moves come between. A failed operation has no effect; an unknown one has it, later or never.
 */
export function historyOf<Input>(
  moves: readonly Move<Input>[],
  serve: (input: Input) => unknown,
): readonly Operation<Input>[] {
  const history = new History(() => 0);
  const busy = new Map<number, { input: Input; work: (() => void)[] }>();
  for (const { client, input, end, lie } of moves) {
    const name = `c${client}`;
    const under = busy.get(client);
    if (under !== undefined) {
      under.work.shift()?.();
      if (under.work.length === 0) busy.delete(client);
      continue;
    }
    const token = history.invoke(name, input);
    let output: unknown;
    const effect = (): void => void (output = serve(input));
    const answer = (): void => history.ok(token, end === "lie" ? lie : output);
    const work = {
      ok: [effect, answer],
      lie: [effect, answer],
      // Its client goes on at once or after the effect; the effect may be overtaken by that.
      info: [() => history.info(token), effect],
      fail: [() => history.fail(token)],
    };
    busy.set(client, { input, work: work[end] });
  }
  return history.operations() as Operation<Input>[];
}

/** Tries all orders. No cache, no list, no partitions: slow, and easy to believe. */
export function isLinearizable<State extends object, Input, Output>(
  model: Model<State, Input, Output>,
  operations: readonly Operation<Input, Output>[],
): boolean {
  const search = (state: State, left: readonly Operation<Input, Output>[]): boolean => {
    if (left.every(({ outcome }) => outcome !== "ok")) return true;
    return left.some((next) => {
      const isTooEarly = left.some(
        (other) => other.returnedSeq !== undefined && other.returnedSeq < next.invokedSeq,
      );
      if (isTooEarly) return false;
      const output = next.outcome === "ok" ? (next.output as Output) : UNKNOWN;
      const after = model.step(state, next.input, output);
      return (
        after !== undefined &&
        search(
          after,
          left.filter((other) => other !== next),
        )
      );
    });
  };
  return search(
    model.init(),
    operations.filter(({ outcome }) => outcome !== "fail"),
  );
}
