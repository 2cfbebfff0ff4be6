/**
 * What could not be delivered, set aside with its error until somebody replays it or throws it away.
 *
 * Invariant Q1: a letter that `send` acknowledged is there until its sink has taken it, or `purge` has removed it.
 * Invariant Q2: a sink that has taken a letter, and whose replay was told so, never gets it again. A replay that dies
 * between the two delivers it again, to a sink that can know: the id is the same, and `replays` is above 1.
 * Invariant Q3: a sink gets the very bytes that were sent.
 */
import {
  describe,
  FabricError,
  invalidArgument,
  isFabricError,
  toWire,
  type AbortSignalLike,
  type Clock,
} from "@selvage/fabric";
import type { DeadLetter, DeadLetterStore, ReplayTurn } from "./dead-letter-store.ts";

/** Takes what is replayed of one subject. It has taken it when it returns, or what it returns resolves. */
export type DeadLetterSink = (bytes: Uint8Array, letter: DeadLetter) => void | Promise<void>;

/** What became of a letter in a replay. All but `"sent"` are still there. */
export interface ReplayOutcome {
  /** `"unrouted"`: no sink is registered for its subject. `"gone"`: somebody purged it before it was its turn. */
  readonly outcome: "sent" | "failed" | "unrouted" | "gone";
  readonly letter: DeadLetter;
  /** What the sink threw. */
  readonly error?: unknown;
}

/** Which letters to replay. */
export interface ReplayOptions {
  /** Of this subject only. */
  readonly subject?: string;
  /** Delivers at most so many; the others wait for another replay. Default: no limit. */
  readonly limit?: number;
  /** Stops between two letters. */
  readonly signal?: AbortSignalLike;
  /** Called after each letter, synchronously. What it throws ends the replay. */
  readonly onOutcome?: (outcome: ReplayOutcome) => void;
}

/** Which letters to list. */
export interface ListOptions {
  readonly subject?: string;
  /** With a larger id than this: to page on. Default 0. */
  readonly after?: number;
  /** At most so many. Default 1,000. */
  readonly limit?: number;
}

/** Letters that a replay holds in memory at a time. */
const pageLetters = 16;
const listLimit = 1_000;

/**
 * Sets letters aside, and replays them.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { SystemClock } from "selvage";
 * import { DeadLetters, MemoryDeadLetterStore } from "@selvage/collections";
 *
 * const letters = new DeadLetters(new MemoryDeadLetterStore(), { clock: new SystemClock() });
 * await letters.send("orders", Uint8Array.of(1, 2, 3), { error: new Error("no such customer") });
 *
 * const taken: Uint8Array[] = [];
 * letters.register("orders", (bytes) => void taken.push(bytes));
 * assert.equal(await letters.replay(), 1);
 * assert.deepEqual(taken, [Uint8Array.of(1, 2, 3)]);
 * assert.equal(await letters.replay(), 0);
 * ```
 */
export class DeadLetters {
  readonly #store: DeadLetterStore;
  readonly #clock: Clock;
  readonly #sinks = new Map<string, DeadLetterSink>();

  constructor(store: DeadLetterStore, { clock }: { readonly clock: Clock }) {
    if (typeof (store as DeadLetterStore | undefined)?.takeTurn !== "function")
      throw invalidArgument("store", "a DeadLetterStore", store);
    this.#store = store;
    this.#clock = clock;
  }

  /**
   * Keeps a copy of `bytes` and says why; resolves with the letter's id once it is kept. The error keeps its code, name,
   * message, details and causes.
   * @throws FabricError `INVALID_ARGUMENT`, `CAPACITY_EXCEEDED`, `STORE_UNAVAILABLE`: then it is not kept, or not known to be.
   */
  async send(
    subject: string,
    bytes: Uint8Array,
    { error }: { readonly error: unknown },
  ): Promise<number> {
    checkSubject(subject);
    if (!(bytes instanceof Uint8Array)) throw invalidArgument("bytes", "a Uint8Array", bytes);
    // Copied now: they may be a view of a lease, and the store may take its time.
    const own = new Uint8Array(bytes);
    const sentAtMs = this.#clock.nowMs();
    return asked(this.#store.add({ subject, bytes: own, error: toWire(error), sentAtMs }));
  }

  /**
   * Names the sink of a subject; the returned function takes it away again. One a subject.
   * @throws FabricError `INVALID_ARGUMENT`, `CONFLICT`.
   */
  register(subject: string, sink: DeadLetterSink): () => void {
    checkSubject(subject);
    if (typeof sink !== "function") throw invalidArgument("sink", "a function", sink);
    if (this.#sinks.has(subject))
      throw new FabricError("CONFLICT", `Cannot register a second sink for ${describe(subject)}`, {
        subject,
      });
    this.#sinks.set(subject, sink);
    return () => {
      if (this.#sinks.get(subject) === sink) this.#sinks.delete(subject);
    };
  }

  /** Letters by ascending id. @throws FabricError `INVALID_ARGUMENT`, `STORE_UNAVAILABLE`, `CORRUPT_RECORD`. */
  async list(options: ListOptions = {}): Promise<readonly DeadLetter[]> {
    const { subject, after = 0, limit = listLimit } = options;
    checkCount("after", after);
    checkCount("limit", limit);
    if (subject === undefined) return asked(this.#store.list({ after, limit }));
    checkSubject(subject);
    return asked(this.#store.list({ subject, after, limit }));
  }

  /**
   * Delivers the letters that are there now, in the order in which they were sent, each once, to the sink of its subject;
   * resolves with how many its sinks have taken. Those are gone. A letter whose sink throws, or that has no sink, stays,
   * and the ones after it are delivered all the same: `onOutcome` tells of each. Holds 16 letters at a time.
   * @throws FabricError `CONFLICT` (another replay is under way), `STORE_UNAVAILABLE`, `CORRUPT_RECORD`; the signal's reason; what
   * `onOutcome` threw. Whatever was not taken is still there, and the next replay goes on with it.
   */
  async replay(options: ReplayOptions = {}): Promise<number> {
    const { subject, limit = Number.MAX_SAFE_INTEGER, signal } = options;
    checkCount("limit", limit);
    if (subject !== undefined) checkSubject(subject);
    const turn = await asked(this.#store.takeTurn());
    try {
      // What is sent while it replays, perhaps by its own sinks, is for the next one.
      const lastId = await asked(this.#store.newestId());
      let after = 0;
      let sent = 0;
      while (sent < limit && after < lastId) {
        const query = { after, limit: pageLetters, ...(subject === undefined ? {} : { subject }) };
        const page = await asked(this.#store.list(query));
        for (const letter of page) {
          if (signal?.aborted === true) throw signal.reason;
          if (letter.id > lastId || sent >= limit) return sent;
          const outcome = await this.#deliver(letter, turn);
          if (outcome.outcome === "sent") sent++;
          options.onOutcome?.(outcome);
          after = letter.id;
        }
        if (page.length < pageLetters) break;
      }
      return sent;
    } finally {
      await asked(turn.end());
    }
  }

  /**
   * Removes the letters that are at least so old, all of them where no age is given; resolves with how many.
   * @throws FabricError `INVALID_ARGUMENT`, `STORE_UNAVAILABLE`.
   */
  async purge({ olderThanMs = 0 }: { readonly olderThanMs?: number } = {}): Promise<number> {
    if (!(typeof olderThanMs === "number" && olderThanMs >= 0))
      throw invalidArgument("olderThanMs", "milliseconds from 0 up", olderThanMs);
    return asked(this.#store.purge(this.#clock.nowMs() - olderThanMs));
  }

  async #deliver(letter: DeadLetter, turn: ReplayTurn): Promise<ReplayOutcome> {
    const sink = this.#sinks.get(letter.subject);
    if (sink === undefined) return { outcome: "unrouted", letter };
    const replays = await asked(turn.begin(letter.id));
    if (replays === undefined) return { outcome: "gone", letter };
    const begun: DeadLetter = { ...letter, replays };
    try {
      await sink(letter.bytes, begun);
    } catch (error) {
      await asked(turn.fail(letter.id, toWire(error)));
      return { outcome: "failed", letter: begun, error };
    }
    await asked(turn.settle(letter.id));
    return { outcome: "sent", letter: begun };
  }
}

function checkSubject(subject: unknown): void {
  // A lone surrogate has no bytes: it would be another subject when it is read again.
  if (typeof subject !== "string" || subject === "" || !subject.isWellFormed())
    throw invalidArgument("subject", "a text that is not empty", subject);
}

function checkCount(name: string, count: unknown): void {
  if (!(Number.isSafeInteger(count) && (count as number) >= 0))
    throw invalidArgument(name, "a whole number from 0 up", count);
}

// A store's own kind of error has no code; nobody is to take it for one of theirs.
async function asked<T>(answer: Promise<T>): Promise<T> {
  try {
    return await answer;
  } catch (cause) {
    if (isFabricError(cause)) throw cause;
    throw new FabricError("STORE_UNAVAILABLE", "The dead letters' store failed", {}, { cause });
  }
}
