/** Where items come from: iterables, streams, functions, and what can be read from an offset. */
import { invalidArgument } from "@selvage/fabric";
import { failed, type Feed } from "./pipeline-chunk.ts";
import { stageError, type PipelineRun, type StageBook } from "./pipeline-run.ts";
import {
  ArrayFeed,
  StepFeed,
  UnpackFeed,
  WaitFeed,
  type Reads,
  type Steps,
} from "./pipeline-source-feeds.ts";

/** The part of a Web `ReadableStream` that a pipeline uses. */
export interface ReadableLike<T> {
  getReader(): {
    read(): Promise<{ readonly done: boolean; readonly value?: T | undefined }>;
    cancel(reason?: unknown): Promise<void>;
    releaseLock(): void;
  };
}

/** A source that can be read from an offset: the same offset gives the same items, or the run cannot resume. */
export interface OffsetSource<T> {
  /** Items from `offset` on. */
  from(offset: number): Iterable<T> | AsyncIterable<T>;
}

/** Gives one item a call; undefined at the end. */
export type PullFunction<T> = () => T | undefined | Promise<T | undefined>;

/** Whatever gives items. A node `Readable` is an `AsyncIterable`. */
export type PipelineSource<T> =
  Iterable<T> | AsyncIterable<T> | ReadableLike<T> | OffsetSource<T> | PullFunction<T>;

interface NodeStream {
  destroy(): unknown;
}

const generators: ReadonlySet<string> = new Set(["GeneratorFunction", "AsyncGeneratorFunction"]);

/** Whether something gives items. @throws FabricError `INVALID_ARGUMENT`. */
export function checkSource(source: unknown): void {
  if (typeof source === "function") {
    if (!generators.has(source.constructor.name)) return;
    throw invalidArgument("source", "what the generator function gives: call it", source);
  }
  if (typeof source === "string" || hasMethod(source, Symbol.iterator)) return;
  for (const method of [Symbol.asyncIterator, "getReader", "from"])
    if (hasMethod(source, method)) return;
  throw invalidArgument("source", "an iterable, a readable stream or a function", source);
}

function hasMethod(value: unknown, name: PropertyKey): boolean {
  if (typeof value !== "object" || value === null) return false;
  return typeof (value as Record<PropertyKey, unknown>)[name] === "function";
}

/** Opens a source whose items are arrays of items. */
export function openChunks<T>(
  source: PipelineSource<readonly T[]>,
  run: PipelineRun,
  book: StageBook,
): Feed<T> {
  // Arrays are not counted, their items are.
  return new UnpackFeed(openSource(source, run, { ...book }, true), book);
}

/** Opens a source. What it throws while it is opened is a failure at its first offset. */
export function openSource<T>(
  source: PipelineSource<T>,
  run: PipelineRun,
  book: StageBook,
  isSingly = false,
): Feed<T> {
  if (Array.isArray(source) && !isSingly) return new ArrayFeed(run, book, source as readonly T[]);
  const { fromOffset } = run.resolved;
  const singly = isSingly ? { itemsMax: 1 } : {};
  try {
    if (typeof source === "function")
      return new StepFeed<T>(run, book, {
        next: source,
        over: undefined,
        waits: true,
        offset: 0,
        ...singly,
      });
    if (hasMethod(source, "getReader"))
      return readerFeed(source as ReadableLike<T>, run, book, singly);
    if (!isIterable(source)) {
      const items = (source as OffsetSource<T>).from(fromOffset);
      if (isIterable(items))
        return iteratorFeed(items, run, book, { offset: fromOffset, ...singly });
      throw invalidArgument("source.from(offset)", "an iterable", items);
    }
    return iteratorFeed(source as Iterable<T> | AsyncIterable<T>, run, book, {
      offset: 0,
      ...singly,
    });
  } catch (thrown) {
    const failure = stageError(book.name, fromOffset, thrown, "DISCONNECTED");
    return { pull: () => failed(failure) };
  }
}

function isIterable(value: unknown): boolean {
  return (
    typeof value === "string" ||
    hasMethod(value, Symbol.iterator) ||
    hasMethod(value, Symbol.asyncIterator)
  );
}

function readerFeed<T>(
  stream: ReadableLike<T>,
  run: PipelineRun,
  book: StageBook,
  singly: Pick<Reads<T>, "itemsMax">,
): Feed<T> {
  const reader = stream.getReader();
  // Unlike an iterator's `return()`, this does not wait for a read that is pending.
  const release = async (): Promise<void> => {
    await reader.cancel(run.signal.aborted ? run.signal.reason : undefined);
    reader.releaseLock();
  };
  return new WaitFeed<T>(run, book, {
    read: () => reader.read(),
    release,
    ended: () => reader.releaseLock(),
    offset: 0,
    ...singly,
  });
}

/** In place of an item: an iterator is at its end. */
const over: unique symbol = Symbol("over");

function iteratorFeed<T>(
  source: Iterable<T> | AsyncIterable<T>,
  run: PipelineRun,
  book: StageBook,
  place: Pick<Steps<T>, "offset" | "itemsMax">,
): Feed<T> {
  if (Symbol.asyncIterator in Object(source)) {
    const iterator = (source as AsyncIterable<T>)[Symbol.asyncIterator]();
    const release = async (): Promise<void> => {
      // A node stream's iterator would wait for a read that is pending; so would a generator, but nothing can be done there.
      if (hasMethod(source, "destroy")) (source as unknown as NodeStream).destroy();
      else await iterator.return?.();
    };
    return new WaitFeed<T>(run, book, {
      read: () => iterator.next(),
      release,
      ...place,
    });
  }
  const iterator = (source as Iterable<T>)[Symbol.iterator]();
  const next = (): T => {
    const step = iterator.next();
    return step.done === true ? (over as T) : step.value;
  };
  const release = (): unknown => iterator.return?.();
  return new StepFeed<T>(run, book, { next, release, over, waits: false, ...place });
}
