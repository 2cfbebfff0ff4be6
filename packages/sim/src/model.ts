/** What a model is: what a service ought to do, one operation at a time. */
import { invalidArgument } from "@selvage/fabric";
import { canonical } from "./canonical.ts";
import type { Operation } from "./history.ts";

/** Stands for an answer that no client got. A symbol, because `undefined` is an answer too: a queue's "empty". */
export const UNKNOWN: unique symbol = Symbol("unknown");

/** What is known beforehand of one operation. */
export interface Foreseen<Input> {
  /** The client's input; it may say more, so that `step` can refuse at once what would turn out wrong much later. */
  readonly input: Input;
  /** Of those that may come next, the lowest is tried first: 0 must happen, and soon; 1 can wait; 2 need not happen. */
  readonly rank: 0 | 1 | 2;
}

/** A sequential specification. States are never changed: `step` makes new ones. */
export interface Model<State extends object, Input, Output> {
  readonly name: string;
  readonly init: () => State;
  /**
   * The state after `input` was answered with `output`, or undefined when no such answer is legal in `state`. With
   * {@link UNKNOWN} the effect, whatever the answer was. An operation without effect must give the very same object
   * back: the search then need not try an unanswered one at all.
   */
  readonly step: (state: State, input: Input, output: Output | typeof UNKNOWN) => State | undefined;
  /** Operations with different keys do not touch each other, and are judged apart. */
  readonly key?: (input: Input) => string;
  /**
   * What the answers of the whole history tell beforehand of each operation of one key, in their order; undefined when no
   * order at all can be legal. It must not change which histories are linearizable, only how soon that shows.
   */
  readonly foresee?: (
    operations: readonly Operation<Input, Output>[],
  ) => readonly Foreseen<Input>[] | undefined;
  /** Equal exactly for states that no operation can tell apart. */
  readonly hash: (state: State) => string;
  /** One operation in a line, for a person: `offer(3) -> true`. */
  readonly show: (input: Input, output: Output | typeof UNKNOWN) => string;
}

/** Either way of saying that there is nothing. */
export function isNothing(output: unknown): boolean {
  return output === undefined || output === null;
}

/** What {@link Model.show} says of an answer. */
export function answer(output: unknown): string {
  return output === UNKNOWN ? " -> ?" : ` -> ${canonical(output)}`;
}

/** The error for an operation that a model does not know: spelt otherwise, it would be judged by nothing at all. */
export function unknownInput(model: string, expected: string, input: unknown): Error {
  const { type } = (input ?? {}) as { readonly type?: unknown };
  return invalidArgument(`the type of an operation for the ${model} model`, expected, type);
}
