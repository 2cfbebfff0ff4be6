/**
 * Virtual time, and the one order in which things happen. The kernel takes the earliest event, moves the clock to it, runs
 * it, and lets everything that it set off come to rest before it takes the next: no promise is left half-way.
 *
 * K1: events are taken by (time, the order in which they were scheduled). Nothing else decides: not how fast the machine
 * is, nor what else it does.
 * K2: an event that may have woken `async` code is followed by the end of a callback of the host's, by which no microtask
 * is left; a fixed number of them would cut long chains short, and give another trace. An event that is scheduled as
 * *quiet* promises to wake none, unless it says so under way (`stir`), and is followed by the next at once: that is what
 * state machines run as.
 */
import { inspect, types } from "node:util";
import { assert } from "@selvage/fabric";
import { Violation } from "./check.ts";
import { RandomStream } from "./random.ts";
import type { Arrival, Detail, Occurrence } from "./trace.ts";
import { TraceHash } from "./trace-hash.ts";

/** Something that will happen. */
export interface Scheduled {
  readonly atUs: number;
  readonly seq: number;
  /** What it is, for the trace: `"timer"`, `"message"`, `"disk"`, `"fault"`. */
  readonly kind: string;
  readonly isQuiet: boolean;
  readonly run: () => void;
  isCancelled: boolean;
}

/** Sees every occurrence as it is recorded. What it throws ends the run. */
export type Observer = (occurrence: Occurrence) => void;

// Captured before a guard can take it away.
const nextTurn = setImmediate;

/** Messages that came, of which the last so many are kept. */
const arrivalsKept = 256;

/** Callbacks that are asked for together: the host runs them in one turn of its loop, and all microtasks between two. */
const callbacksAtOnce = 64;

/** Why a stretch of events is over: the run is, or something outside of it has to settle first. */
type Pause = "done" | "outside";

/** One run's time and order. */
export class Kernel {
  /** Of the run. */
  readonly seed: string;
  readonly hash: TraceHash = new TraceHash();
  /** Everything recorded, in order. */
  readonly occurrences: Occurrence[] = [];
  readonly #events: Scheduled[] = [];
  readonly #arrivals: Arrival[] = [];
  #arrived = 0;
  readonly #counts = new Map<string, number>();
  readonly #observers: Observer[] = [];
  // By the number of events taken by then.
  readonly #interjections = new Map<number, (() => void)[]>();
  readonly #outside = new Set<Promise<void>>();
  #nowUs = 0;
  #seq = 0;
  #taken = 0;
  // Whether the event that was taken last may have woken `async` code.
  #isStirred = false;
  #failure: Error | undefined;

  readonly #mostEvents: number;

  /** @param mostEvents - events after which the run is ended: without a violation of its own it might never be. */
  constructor(seed: string, mostEvents: number = Infinity) {
    this.seed = seed;
    this.#mostEvents = mostEvents;
  }

  /** Virtual time since the run began, in microseconds. */
  get nowUs(): number {
    return this.#nowUs;
  }

  /** Events taken so far. */
  get taken(): number {
    return this.#taken;
  }

  /** A stream of random numbers: the same for the same seed and label, whatever else is drawn. */
  random(label: string): RandomStream {
    return new RandomStream(this.seed, label);
  }

  /** Schedules an event. Returns what cancels it. */
  after(delayUs: number, kind: string, run: () => void, isQuiet = false): () => void {
    assert(delayUs >= 0, "time does not go back");
    const atUs = this.#nowUs + Math.ceil(delayUs);
    const event: Scheduled = { atUs, seq: this.#seq++, kind, isQuiet, run, isCancelled: false };
    this.#push(event);
    return () => void (event.isCancelled = true);
  }

  /**
   * Waits for something that is no part of the simulation and takes real time, such as loading a module. No event is taken
   * until it has settled. Gives what it gives.
   */
  outside<T>(work: Promise<T>): Promise<T> {
    const over = (): void => void this.#outside.delete(settles);
    const settles: Promise<void> = work.then(over, over);
    this.#outside.add(settles);
    return work;
  }

  /** Runs something between two events, once `count` more have been taken: 0, before the next. */
  interject(count: number, run: () => void): void {
    const at = this.#taken + count;
    const due = this.#interjections.get(at);
    if (due === undefined) this.#interjections.set(at, [run]);
    else due.push(run);
  }

  /** Said during a quiet event: it may have woken `async` code all the same (K2). */
  stir(): void {
    this.#isStirred = true;
  }

  /** Calls `observer` with every occurrence from now on. */
  observe(observer: Observer): void {
    this.#observers.push(observer);
  }

  /** Records that something happened. Returns its place. */
  record(node: string, kind: string, details: Readonly<Record<string, Detail>> = {}): number {
    const seq = this.occurrences.length;
    const occurrence: Occurrence = { seq, atMs: this.#nowUs / 1_000, node, kind, details };
    this.occurrences.push(occurrence);
    this.#counts.set(kind, (this.#counts.get(kind) ?? 0) + 1);
    this.hash.occurrence(occurrence);
    for (const observer of this.#observers) {
      try {
        observer(occurrence);
      } catch (thrown) {
        // The code that caused the occurrence is not to blame, and must not see this.
        this.fail(thrown);
      }
    }
    return seq;
  }

  /** Notes that a message has come to where it was sent: for pictures only, and only the last ones are kept. */
  arrived(from: string, to: string): void {
    const arrival: Arrival = {
      before: this.occurrences.length,
      atMs: this.#nowUs / 1_000,
      from,
      to,
    };
    this.#arrivals[this.#arrived++ % arrivalsKept] = arrival;
  }

  /** The last messages that came to where they were sent, in order. */
  arrivals(): readonly Arrival[] {
    const first = this.#arrived % arrivalsKept;
    return [...this.#arrivals.slice(first), ...this.#arrivals.slice(0, first)];
  }

  /** How often a kind was recorded. */
  count(kind: string): number {
    return this.#counts.get(kind) ?? 0;
  }

  /** Every kind, and how often it was recorded. */
  counts(): ReadonlyMap<string, number> {
    return this.#counts;
  }

  /** Ends the run with what was thrown: `run` rejects with the first, as an error whatever it was. */
  fail(thrown: unknown): void {
    this.#failure ??= errorOf(thrown);
  }

  /** Takes events until virtual time `untilUs`, or until `isDone` says so, or the run failed. */
  async run(untilUs: number, isDone: () => boolean = () => false): Promise<void> {
    while ((await this.#stretch(untilUs, isDone)) === "outside")
      while (this.#outside.size > 0) await Promise.all(this.#outside);
  }

  // One event that may wake somebody for each callback of the host (K2). A turn of the host's loop costs more than most
  // events do, so that many callbacks share one.
  #stretch(untilUs: number, isDone: () => boolean): Promise<Pause> {
    return new Promise((resolve, reject) => {
      let asked = 0;
      let isOver = false;
      const ask = (): void => {
        for (asked = 0; asked < callbacksAtOnce; asked++) nextTurn(callback);
      };
      const callback = (): void => {
        asked--;
        if (isOver) return;
        try {
          const pause = this.#advance(untilUs, isDone);
          isOver = pause !== undefined;
          if (pause !== undefined) resolve(pause);
          else if (asked === 0) ask();
        } catch (thrown) {
          isOver = true;
          reject(thrown);
        }
      };
      ask();
    });
  }

  // Takes events up to one that may have woken somebody: undefined. At rest, to begin with.
  #advance(untilUs: number, isDone: () => boolean): Pause | undefined {
    for (;;) {
      if (this.#outside.size > 0) return "outside";
      this.#throwFailure();
      if (isDone()) return "done";
      if (this.#interjections.size > 0 && this.#interjected()) return undefined;
      const event = this.#events[0];
      if (event === undefined || event.atUs > untilUs) {
        this.#nowUs = Math.max(this.#nowUs, untilUs);
        return "done";
      }
      this.#pop();
      if (event.isCancelled) continue;
      this.#take(event);
      if (this.#isStirred) return undefined;
    }
  }

  #take(event: Scheduled): void {
    this.#nowUs = event.atUs;
    this.#taken++;
    this.#isStirred = !event.isQuiet;
    this.hash.event(event.atUs, event.kind);
    if (this.#taken > this.#mostEvents) {
      const what = `more than ${this.#mostEvents} events, the last at ${this.#nowUs / 1_000} ms`;
      return this.fail(new Violation("no livelock", what));
    }
    try {
      event.run();
    } catch (thrown) {
      this.fail(thrown);
    }
  }

  #interjected(): boolean {
    const due = this.#interjections.get(this.#taken);
    if (due === undefined) return false;
    this.#interjections.delete(this.#taken);
    for (const run of due) run();
    return true;
  }

  #throwFailure(): void {
    if (this.#failure !== undefined) throw this.#failure;
  }

  // A binary heap.
  #push(event: Scheduled): void {
    const heap = this.#events;
    let at = heap.length;
    heap.push(event);
    while (at > 0) {
      const above = (at - 1) >> 1;
      const parent = heap[above] as Scheduled;
      if (!isBefore(event, parent)) break;
      heap[at] = parent;
      at = above;
    }
    heap[at] = event;
  }

  #pop(): Scheduled | undefined {
    const heap = this.#events;
    const first = heap[0];
    const last = heap.pop();
    if (first === undefined || last === undefined || heap.length === 0) return first;
    let at = 0;
    for (;;) {
      let below = at * 2 + 1;
      if (below >= heap.length) break;
      const right = heap[below + 1];
      if (right !== undefined && isBefore(right, heap[below] as Scheduled)) below++;
      const child = heap[below] as Scheduled;
      if (!isBefore(child, last)) break;
      heap[at] = child;
      at = below;
    }
    heap[at] = last;
    return first;
  }
}

/** What was thrown, as an error: `undefined` or a text can be thrown too, and must not pass for nothing. */
export function errorOf(thrown: unknown): Error {
  if (thrown instanceof Error || types.isNativeError(thrown)) return thrown;
  return new Error(`thrown, and no error: ${inspect(thrown)}`, { cause: thrown });
}

function isBefore(one: Scheduled, other: Scheduled): boolean {
  return one.atUs < other.atUs || (one.atUs === other.atUs && one.seq < other.seq);
}
