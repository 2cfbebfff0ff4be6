/** What a stage does with an item: calls its function, tries again, sets aside, or gives up. */
import { jsonCodec, type Codec } from "@selvage/fabric";
import {
  randomFraction,
  resolveRetryPolicy,
  retryDelayMs,
  type RetryPolicy,
} from "@selvage/leasekit";
import type { DeadLetterOptions, WorkContext, WorkOptions } from "./pipeline-options.ts";
import { stageError, type PipelineRun, type StageBook } from "./pipeline-run.ts";

/** A stage's function: an item, the source's offset of it, and who asks. */
export type StageFunction<T, R> = (item: T, offset: number, context: WorkContext) => R;

/** In place of what a stage would have made of an item: it was set aside. */
export const ASIDE: unique symbol = Symbol("set aside");

/** What came of a call. */
export type Outcome<R> = { readonly value: R } | { readonly thrown: unknown };

/** Waits for a call without ever rejecting: nobody may be there to hear of it yet. */
export async function outcomeOf<R>(pending: PromiseLike<R>): Promise<Outcome<R>> {
  try {
    return { value: await pending };
  } catch (thrown) {
    return { thrown };
  }
}

const json = jsonCodec<unknown>();

/** One stage's work in one run. */
export class StageWork<T, R> {
  readonly run: PipelineRun;
  readonly book: StageBook;
  readonly call: StageFunction<T, R | PromiseLike<R>>;
  readonly context: WorkContext;
  readonly #policy: RetryPolicy;
  readonly #deadLetter: DeadLetterOptions<T> | undefined;

  constructor(
    run: PipelineRun,
    book: StageBook,
    call: StageFunction<T, R | PromiseLike<R>>,
    options: WorkOptions<T>,
  ) {
    this.run = run;
    this.book = book;
    this.call = call;
    this.context = Object.freeze({ stage: book.name, signal: run.signal });
    this.#policy = resolveRetryPolicy(options.retry);
    this.#deadLetter = options.deadLetter;
  }

  /** One call, waited for. */
  async attempt(item: T, offset: number): Promise<Outcome<R>> {
    try {
      return { value: await this.call(item, offset, this.context) };
    } catch (thrown) {
      return { thrown };
    }
  }

  /**
   * What the stage makes of an item whose first call came to `outcome`, by its policy.
   * @throws FabricError with the stage and the offset: it failed for good.
   */
  async settle(item: T, offset: number, outcome: Outcome<R>): Promise<R | typeof ASIDE> {
    let last = outcome;
    for (let attempt = 1; "thrown" in last; attempt++) {
      const delayMs = this.run.isOver ? undefined : this.#delayMs(attempt, last.thrown);
      if (delayMs === undefined) return this.giveUp(item, offset, last.thrown);
      this.book.retries++;
      const { thrown: error } = last;
      const stage = this.book.name;
      this.run.tell({ type: "retry", stage, offset, attempt, error, delayMs });
      await this.run.wait(delayMs);
      if (this.run.isOver) throw stageError(stage, offset, error);
      last = await this.attempt(item, offset);
    }
    return last.value;
  }

  /** Sets an item aside that failed for good. @throws FabricError: nothing says where to, or it could not be done. */
  async giveUp(item: T, offset: number, thrown: unknown): Promise<typeof ASIDE> {
    const { name } = this.book;
    const error = stageError(name, offset, thrown);
    // The failures of a run that is over are not the items' fault.
    if (this.#deadLetter === undefined || this.run.isOver) throw error;
    const { letters, subject = name } = this.#deadLetter;
    try {
      await letters.send(subject, this.#bytesOf(item, this.#deadLetter.codec), { error });
    } catch (refused) {
      throw stageError(name, offset, refused, "STORE_UNAVAILABLE");
    }
    this.book.deadLettered++;
    this.run.tell({ type: "deadLetter", stage: name, offset, subject, error });
    return ASIDE;
  }

  #delayMs(attempt: number, thrown: unknown): number | undefined {
    try {
      return retryDelayMs(this.#policy, attempt, thrown, randomFraction(this.run.ports.random));
    } catch (error) {
      // `retryOn` is the caller's.
      this.run.crash(error);
      return undefined;
    }
  }

  #bytesOf(item: T, codec: Codec<T> | undefined): Uint8Array {
    if (codec !== undefined) return codec.encode(item);
    if (item instanceof Uint8Array) return item;
    return (this.run.options.codec ?? this.run.ports.codec ?? json).encode(item);
  }
}
