/** Events as something to iterate over. */
import type { JobQueueEvent } from "./queue-events.ts";

/** Keeps what its reader has not read yet, and ends when the reader leaves, or the queue closes. */
export class EventFeed implements AsyncIterableIterator<JobQueueEvent> {
  readonly #unread: JobQueueEvent[] = [];
  readonly #unsubscribe: () => void;
  readonly #onEnd: () => void;
  #reader: ((result: IteratorResult<JobQueueEvent>) => void)[] = [];
  #isOver = false;

  constructor(
    subscribe: (watcher: (event: JobQueueEvent) => void) => () => void,
    onEnd: () => void,
  ) {
    this.#onEnd = onEnd;
    this.#unsubscribe = subscribe((value) => {
      const reader = this.#reader.shift();
      if (reader === undefined) this.#unread.push(value);
      else reader({ value, done: false });
    });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  next(): Promise<IteratorResult<JobQueueEvent>> {
    const value = this.#unread.shift();
    if (value !== undefined) return Promise.resolve({ value, done: false });
    if (this.#isOver) return Promise.resolve({ value: undefined, done: true });
    const { promise, resolve } = Promise.withResolvers<IteratorResult<JobQueueEvent>>();
    this.#reader.push(resolve);
    return promise;
  }

  return(): Promise<IteratorResult<JobQueueEvent>> {
    this.#unread.length = 0;
    this.end();
    return Promise.resolve({ value: undefined, done: true });
  }

  /** Nothing more comes; what came is still read. */
  end(): void {
    this.#isOver = true;
    this.#unsubscribe();
    this.#onEnd();
    for (const reader of this.#reader) reader({ value: undefined, done: true });
    this.#reader = [];
  }
}
