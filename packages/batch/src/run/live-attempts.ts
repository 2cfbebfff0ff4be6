/**
 * The attempts of a run whose bodies are at work, in the order in which they started.
 *
 * Not a `Set`: one that is added to and deleted from all the time makes its table anew for every few attempts, and each old table
 * keeps the next one, and all that stood in it, alive until the garbage collector looks at everything. A run of a million
 * tasks took half as much memory again for that, and three times the time.
 */
import type { Attempt } from "./attempt.ts";
import type { TaskBook } from "./task-book.ts";

/** An attempt whose body is at work. */
export interface Live {
  readonly book: TaskBook;
  /** From 1. */
  readonly number: number;
  readonly attempt: Attempt;
  /** Its outcome is decided: it timed out, or was given up. */
  isOver: boolean;
  /** Stops the timer of its timeout or its grace, whichever runs. */
  stopTimer: (() => void) | undefined;
  /** Its neighbours in {@link LiveAttempts}, which alone writes them. */
  before: Live | undefined;
  after: Live | undefined;
}

/** The attempts that are at work. */
export class LiveAttempts {
  #first: Live | undefined;
  #last: Live | undefined;

  /** Adds one that is not there. */
  add(live: Live): void {
    live.before = this.#last;
    if (this.#last === undefined) this.#first = live;
    else this.#last.after = live;
    this.#last = live;
  }

  /** Takes one out that is there, or was. */
  delete(live: Live): void {
    const { before, after } = live;
    if (before === undefined && this.#first !== live) return;
    if (before === undefined) this.#first = after;
    else before.after = after;
    if (after === undefined) this.#last = before;
    else after.before = before;
    // What has ended leads to nobody: else the collector could not take one without its neighbours.
    live.before = undefined;
    live.after = undefined;
  }

  /** All of them, as of now. */
  all(): readonly Live[] {
    const all: Live[] = [];
    for (let live = this.#first; live !== undefined; live = live.after) all.push(live);
    return all;
  }
}
