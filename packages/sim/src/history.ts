/** What clients asked for and what they were told, with the times between which each operation took effect. */
import { assert } from "@selvage/fabric";

/**
 * How an operation ended, for the client that asked: `"ok"`, it took effect and was answered; `"fail"`, it surely had no
 * effect; `"info"`, nobody knows: it may have taken effect at any time since it was asked for, may yet, or never will.
 */
export type OperationOutcome = "ok" | "fail" | "info";

/** One operation, as plain data. */
export interface Operation<Input = unknown, Output = unknown> {
  /** Its place in the order of asking, from 0. */
  readonly index: number;
  readonly client: string;
  readonly input: Input;
  readonly outcome: OperationOutcome;
  /** The answer; meaningful with `"ok"` only. */
  readonly output: Output | undefined;
  /** When it was asked for, in the history's own count of askings and answers. */
  readonly invokedSeq: number;
  /** When it was answered, in the same count; undefined with `"info"`, whose effect may still come. */
  readonly returnedSeq: number | undefined;
  /** Virtual time, in milliseconds. */
  readonly invokedAtMs: number;
  readonly returnedAtMs: number | undefined;
}

/** An operation under way: what {@link History.invoke} gives and the three endings take. */
export interface OperationToken {
  readonly index: number;
}

/**
 * The history of one run. An operation that was never ended counts as `"info"`. One client may have several operations
 * under way.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { History } from "@selvage/sim";
 *
 * const history = new History(() => 0);
 * const write = history.invoke("ann", { type: "write", value: 1 });
 * const read = history.invoke("ben", { type: "read" });
 * history.ok(read, 1);
 * history.info(write); // its answer was lost, but the read proves that it happened
 * assert.deepEqual(
 *   history.operations().map(({ client, outcome }) => [client, outcome]),
 *   [["ann", "info"], ["ben", "ok"]],
 * );
 * ```
 */
export class History {
  readonly #nowMs: () => number;
  readonly #operations: Operation[] = [];
  // Operations without an ending yet, and those with `info`, which a late answer may still settle.
  readonly #open = new Set<number>();
  readonly #onStep: (step: readonly unknown[]) => void;
  #seq = 0;

  /**
   * @param nowMs - virtual time, in milliseconds.
   * @param onStep - is told of each asking and ending: what it is, of which operation, by whom, and its input or answer.
   */
  constructor(nowMs: () => number, onStep: (step: readonly unknown[]) => void = () => {}) {
    this.#nowMs = nowMs;
    this.#onStep = onStep;
  }

  /** How many operations were asked for. */
  get length(): number {
    return this.#operations.length;
  }

  /** A client asks for `input`, which is kept as it is: do not change it afterwards. */
  invoke(client: string, input: unknown): OperationToken {
    const index = this.#operations.length;
    this.#operations.push({
      index,
      client,
      input,
      outcome: "info",
      output: undefined,
      invokedSeq: this.#seq++,
      returnedSeq: undefined,
      invokedAtMs: this.#nowMs(),
      returnedAtMs: undefined,
    });
    this.#open.add(index);
    this.#onStep(["invoke", index, client, input]);
    return { index };
  }

  /** It took effect, and this is the answer. @throws InvariantError when it has ended before. */
  ok(token: OperationToken, output?: unknown): void {
    this.#settle(token, "ok", output);
  }

  /** It surely had no effect, and never will. @throws InvariantError when it has ended before. */
  fail(token: OperationToken): void {
    this.#settle(token, "fail", undefined);
  }

  /**
   * The client gave up waiting and does not know. A later {@link ok} or {@link fail} settles it after all: its effect then
   * came before that answer. @throws InvariantError when it has ended before.
   */
  info(token: OperationToken): void {
    assert(this.#open.has(token.index), "an operation ends once", token.index);
    this.#onStep(["info", token.index]);
  }

  /** All operations in the order of asking, as of now. Costs a copy of the list. */
  operations(): readonly Operation[] {
    return [...this.#operations];
  }

  /** As {@link operations}: what `JSON.stringify` keeps. */
  toJSON(): readonly Operation[] {
    return this.operations();
  }

  #settle({ index }: OperationToken, outcome: OperationOutcome, output: unknown): void {
    assert(this.#open.delete(index), "an operation ends once", index);
    const asked = this.#operations[index];
    assert(asked !== undefined, "a token is of this history", index);
    this.#operations[index] = {
      ...asked,
      outcome,
      output,
      returnedSeq: this.#seq++,
      returnedAtMs: this.#nowMs(),
    };
    this.#onStep([outcome, index, asked.client, output]);
  }
}
