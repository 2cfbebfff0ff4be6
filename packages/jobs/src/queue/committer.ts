/** Many callers, one transaction: what is asked for in one turn of the host's loop is written, and synced, together. */
import { FabricError, isFabricError } from "@selvage/fabric";
import type { JobStore, JobTx } from "./job-store.ts";
import type { JobQueueEvent } from "./queue-events.ts";
import type { Turn } from "./turn.ts";

/**
 * A step of a transaction. It looks before it writes: one that throws has written nothing. It may be run again when the
 * transaction that it was in failed, so it changes nothing but its transaction.
 */
export type Step<T> = (turn: Turn) => T;

interface Pending {
  readonly step: Step<unknown>;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: unknown) => void;
}

interface Done {
  readonly pending: Pending;
  readonly outcome: { readonly value: unknown } | { readonly error: unknown };
}

/** What a committer needs. */
export interface CommitterParts {
  readonly store: JobStore;
  turn(tx: JobTx): Turn;
  /** Resolves in the host's next turn. */
  nextTurn(): Promise<void>;
  /** Is told what happened, once it is in the store. */
  emit(events: readonly JobQueueEvent[]): void;
}

/** No transaction has more steps: what it keeps others waiting for has an end. */
const stepsMax = 1_024;

/** Gathers steps and commits them together. */
export class Committer {
  readonly #parts: CommitterParts;
  #first: Pending[] = [];
  #last: Pending[] = [];
  #running: Promise<void> | undefined;

  constructor(parts: CommitterParts) {
    this.#parts = parts;
  }

  /** Does a step, with those of others. Resolves once the store has it. @throws what the step throws; FabricError of the store. */
  write<T>(step: Step<T>): Promise<T> {
    return this.#add(this.#first, step);
  }

  /** As `write`, behind all that is asked for in the same transaction: what claims jobs sees those that are just made. */
  writeLast<T>(step: Step<T>): Promise<T> {
    return this.#add(this.#last, step);
  }

  /** Resolves once nothing is under way. */
  async idle(): Promise<void> {
    while (this.#running !== undefined) await this.#running;
  }

  #add<T>(list: Pending[], step: Step<T>): Promise<T> {
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    list.push({ step, resolve: resolve as (value: unknown) => void, reject });
    this.#running ??= this.#run();
    return promise;
  }

  async #run(): Promise<void> {
    await this.#parts.nextTurn();
    while (this.#first.length + this.#last.length > 0) {
      const batch = this.#first.splice(0, stepsMax);
      if (this.#first.length === 0) batch.push(...this.#last.splice(0));
      await this.#commit(batch);
    }
    this.#running = undefined;
  }

  async #commit(batch: readonly Pending[]): Promise<void> {
    try {
      await this.#transact(batch);
    } catch (error) {
      const isAlone = batch.length === 1;
      if (isAlone || (isFabricError(error) && error.code === "STORE_UNAVAILABLE"))
        for (const { reject } of batch) reject(error);
      // One step that cannot be done takes nobody along.
      else for (const pending of batch) await this.#commit([pending]);
    }
  }

  async #transact(batch: readonly Pending[]): Promise<void> {
    const { store } = this.#parts;
    const { done, told } = await store.transact((tx) => {
      const turn = this.#parts.turn(tx);
      return { done: batch.map((pending) => attempt(turn, pending)), told: turn.told };
    });
    // First who asked, then who watches: a watcher that throws keeps no answer back.
    for (const { pending, outcome } of done)
      if ("value" in outcome) pending.resolve(outcome.value);
      else pending.reject(outcome.error);
    this.#parts.emit(told);
  }
}

function attempt(turn: Turn, pending: Pending): Done {
  const { writes } = turn.tx;
  try {
    return { pending, outcome: { value: pending.step(turn) } };
  } catch (error) {
    // What a step has half done is undone with all of its transaction.
    if (turn.tx.writes !== writes || isStoreFailure(error)) throw error;
    return { pending, outcome: { error } };
  }
}

function isStoreFailure(error: unknown): boolean {
  const codes: readonly string[] = ["STORE_UNAVAILABLE", "CAPACITY_EXCEEDED", "CORRUPT_RECORD"];
  return error instanceof FabricError && codes.includes(error.code);
}
