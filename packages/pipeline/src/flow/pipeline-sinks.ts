/** Where items go to: functions and streams. */
import { invalidArgument } from "@selvage/fabric";
import type { MaybePromise } from "./pipeline-chunk.ts";
import type { WorkContext } from "./pipeline-options.ts";
import type { PipelineRun } from "./pipeline-run.ts";

/** The part of a Web `WritableStream` that a pipeline uses. */
export interface WritableLike<T> {
  getWriter(): {
    readonly desiredSize: number | null;
    readonly ready: Promise<unknown>;
    write(item: T): Promise<void>;
    close(): Promise<void>;
    abort(reason?: unknown): Promise<void>;
    releaseLock(): void;
  };
}

/** The part of a node `Writable` that a pipeline uses. */
export interface NodeWritableLike<T> {
  write(item: T): boolean;
  end(): unknown;
  destroy(error?: Error): unknown;
  on(event: string, listener: (...told: unknown[]) => void): unknown;
  off(event: string, listener: (...told: unknown[]) => void): unknown;
}

/** Takes an item; the next one comes once what it returns has resolved. */
export type SinkFunction<T> = (
  item: T,
  offset: number,
  context: WorkContext,
) => void | PromiseLike<unknown>;

/** Whatever takes items. */
export type PipelineSink<T> = SinkFunction<T> | WritableLike<T> | NodeWritableLike<T>;

/** A sink that is open. */
export interface OpenSink<T> {
  readonly take: (item: T, offset: number, context: WorkContext) => unknown;
  /** After the last item; resolves once the sink has all of it. */
  readonly end?: () => MaybePromise<void>;
}

/** Whether something takes items. @throws FabricError `INVALID_ARGUMENT`. */
export function checkSink(sink: unknown): void {
  if (typeof sink === "function") return;
  const { getWriter, write, end } = (sink ?? {}) as Record<string, unknown>;
  if (typeof getWriter === "function") return;
  if (typeof write === "function" && typeof end === "function") return;
  throw invalidArgument("sink", "a function or a writable stream", sink);
}

/** Opens a sink. */
export function openSink<T>(sink: PipelineSink<T>, run: PipelineRun): OpenSink<T> {
  if (typeof sink === "function") return { take: sink };
  return "getWriter" in sink ? openWeb(sink, run) : openNode(sink, run);
}

function openWeb<T>(stream: WritableLike<T>, run: PipelineRun): OpenSink<T> {
  const writer = stream.getWriter();
  let isOver = false;
  let failure: { readonly thrown: unknown } | undefined;
  const failed = (thrown: unknown): void => {
    failure ??= { thrown };
  };
  run.onClose(async () => {
    if (!isOver) await writer.abort(run.signal.reason);
    writer.releaseLock();
  });
  const settled = async (): Promise<void> => {
    await writer.ready;
    if (failure !== undefined) throw failure.thrown;
  };
  return {
    take(item) {
      if (failure !== undefined) throw failure.thrown;
      // Not waited for: `ready` says when the stream wants more.
      writer.write(item).catch(failed);
      return (writer.desiredSize ?? 0) > 0 ? undefined : settled();
    },
    async end() {
      isOver = true;
      await writer.close();
    },
  };
}

function openNode<T>(stream: NodeWritableLike<T>, run: PipelineRun): OpenSink<T> {
  let isOver = false;
  let failure: { readonly thrown: unknown } | undefined;
  let wake: (() => void) | undefined;
  const changed = (): void => {
    const tell = wake;
    wake = undefined;
    tell?.();
  };
  const failed = (thrown: unknown): void => {
    failure ??= { thrown };
    changed();
  };
  const closed = (): void => {
    if (!isOver) failed(new Error("the stream was closed before its end"));
    changed();
  };
  const finished = (): void => {
    isOver = true;
    changed();
  };
  const heard = { drain: changed, finish: finished, error: failed, close: closed };
  for (const [event, listener] of Object.entries(heard)) stream.on(event, listener);
  const change = async (): Promise<void> => {
    if (failure === undefined) await new Promise<void>((resolve) => (wake = resolve));
    if (failure !== undefined) throw failure.thrown;
  };
  run.onClose(() => {
    for (const [event, listener] of Object.entries(heard)) {
      // Destroying it may still make it say why; nobody else listens.
      if (event !== "error" || isOver) stream.off(event, listener);
    }
    if (!isOver) stream.destroy();
  });
  return {
    take(item) {
      if (failure !== undefined) throw failure.thrown;
      return stream.write(item) ? undefined : change();
    },
    async end() {
      stream.end();
      // A drain may come first.
      for (let done = isOver; !done; done = isOver) await change();
    },
  };
}
