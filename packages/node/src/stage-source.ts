/** How a run's source gets into its first edge: by frames, as long as there is room and as short as nobody waits for more. */
import { toWire } from "@selvage/fabric";
import type { RelocatableQueueEdge } from "@selvage/pipeline";
import { itemError, sendFrame, Turns } from "./stage-ends.ts";
import type { Frame } from "./stage-frames.ts";

/** Items between two looks at the clock. */
const lookEvery = 8;

/** How it is done. */
export interface SourceOptions {
  /** The number of the first item. */
  readonly from: number;
  /** How many items the next frame is to have, at most. */
  readonly itemsMax: () => number;
  readonly signal: AbortSignal;
}

/** Reads a source into an edge. */
export class SourcePump {
  readonly #edge: RelocatableQueueEdge<Frame>;
  readonly #options: SourceOptions;
  readonly #turns = new Turns();
  // The frame that is being filled.
  #first: number;
  #values: unknown[] = [];
  #isSending = false;
  #isScheduled = false;

  constructor(edge: RelocatableQueueEdge<Frame>, options: SourceOptions) {
    this.#edge = edge;
    this.#options = options;
    this.#first = options.from;
  }

  /** Items taken from the source. */
  get taken(): number {
    return this.#first + this.#values.length - this.#options.from;
  }

  /** Resolves at the source's end: true, unless it has failed, or the run is over. @throws FabricError as `sendFrame`. */
  async pump(source: Iterable<unknown> | AsyncIterable<unknown>): Promise<boolean> {
    const { signal, itemsMax } = this.#options;
    const items = iteratorOf(source);
    signal.addEventListener("abort", () => void giveBack(items));
    let most = itemsMax();
    while (!signal.aborted) {
      let result: IteratorResult<unknown>;
      try {
        const next = items.next();
        // What is there goes on at the end of this turn, should the next item take longer.
        if (isPromise(next) && this.#values.length > 0) this.#sendSoon();
        result = isPromise(next) ? await next : next;
      } catch (error) {
        await this.#send(toWire(itemError("source", this.#next, error, "DISCONNECTED")));
        return false;
      }
      if (signal.aborted) return false;
      if (result.done === true) return this.#values.length === 0 || this.#send();
      this.#values.push(result.value);
      if (this.#values.length >= most) {
        if (!(await this.#send())) return false;
        most = itemsMax();
      }
      if (this.#next % lookEvery === 0 && this.#turns.isDue) await this.#turn();
    }
    return false;
  }

  get #next(): number {
    return this.#first + this.#values.length;
  }

  async #turn(): Promise<void> {
    this.#sendSoon();
    await this.#turns.take();
  }

  #sendSoon(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    setImmediate(() => {
      this.#isScheduled = false;
      if (this.#values.length === 0 || this.#isSending || this.#options.signal.aborted) return;
      try {
        if (this.#edge.push(this.#frame(undefined))) this.#begin(this.#next);
      } catch {
        // It is tried again, and heard of, when the frame is sent.
      }
    });
  }

  // True where more may follow.
  async #send(failure?: Frame["failure"]): Promise<boolean> {
    const { signal } = this.#options;
    const frame = this.#frame(failure);
    this.#isSending = true;
    try {
      return await sendFrame(this.#edge, "source", frame, signal);
    } finally {
      this.#isSending = false;
      this.#begin(frame.first + frame.count);
    }
  }

  #frame(failure: Frame["failure"]): Frame {
    const values = this.#values;
    return { first: this.#first, count: values.length, values, offsets: undefined, failure };
  }

  #begin(first: number): void {
    this.#first = first;
    this.#values = [];
  }
}

function iteratorOf(
  source: Iterable<unknown> | AsyncIterable<unknown>,
): Iterator<unknown> | AsyncIterator<unknown> {
  return Symbol.asyncIterator in source
    ? source[Symbol.asyncIterator]()
    : source[Symbol.iterator]();
}

function isPromise<V>(value: V | PromiseLike<V>): value is PromiseLike<V> {
  return typeof (value as Partial<PromiseLike<V>>).then === "function";
}

async function giveBack(items: Iterator<unknown> | AsyncIterator<unknown>): Promise<void> {
  try {
    await items.return?.();
  } catch {
    // The run is over: nobody is there to hear of it.
  }
}
