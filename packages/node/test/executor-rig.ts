/** Graphs whose tasks run on worker threads, and short words for what runs on real time say. */
import {
  TaskGraph,
  type DataRef,
  type ExecutionEvent,
  type ExecutionPlan,
  type ExecutionResult,
  type ExecutorOptions,
  type ExecutorPorts,
  type TaskDef,
  type TaskId,
} from "@selvage/batch";
import { isFabricError } from "@selvage/fabric";
import type { TaskRunner } from "@selvage/leasekit";
import { Executor, Fabric, openTaskThreads } from "@selvage/node";

/** A module whose default export is a body of `task-bodies-worker.ts`. */
export function body(name: string, query: Readonly<Record<string, string>> = {}): URL {
  const url = new URL("./task-bodies-worker.ts", import.meta.url);
  for (const [key, value] of Object.entries({ ...query, body: name }))
    url.searchParams.set(key, value);
  return url;
}

/** A module of one line. */
export function inline(source: string): URL {
  return new URL(`data:text/javascript,${encodeURIComponent(source)}`);
}

export const raw = (name: string): DataRef => ({ name, format: "raw" });

/** A task that makes `x`. */
export function maker(...bytes: number[]): TaskDef {
  return { name: "make", outputs: [raw("x")], run: () => ({ x: Uint8Array.from(bytes) }) };
}

/** A plan of tasks in a chain, or with the edges given. */
export function planOf(
  tasks: readonly TaskDef[],
  edges: readonly (readonly [before: string, after: string])[] = tasks
    .slice(1)
    .map(({ name }, at) => [tasks[at]?.name ?? "", name] as const),
): ExecutionPlan {
  const graph = new TaskGraph();
  const ids = new Map<string, TaskId>(tasks.map((task) => [task.name, graph.addTask(task)]));
  for (const [before, after] of edges)
    graph.addDependency(ids.get(before) as TaskId, ids.get(after) as TaskId);
  return graph.build();
}

/** What a run on a fabric of its own gave, with its events and what it left on the fabric. */
export interface Ran {
  readonly result: ExecutionResult;
  readonly events: readonly ExecutionEvent[];
  /** Bytes that were not free again when `run` resolved. */
  readonly missingBytes: number;
}

/** Two threads for all of a file's runs: a thread takes most of a second to start. */
export function sharedThreads(): { ports: Partial<ExecutorPorts>; close: () => Promise<void> } {
  const threads = openTaskThreads({ threads: 2 });
  const runner: TaskRunner = {
    threadsMax: threads.threadsMax ?? 1,
    warm: (count) => threads.warm(count),
    run: (request, host) => threads.run(request, host),
    close: () => Promise.resolve(),
  };
  const ports = { openRunner: () => runner };
  return { ports, close: () => threads.close() };
}

/** Runs a plan on a small fabric of the test's. TTLs are short: nobody waits seconds for an expiry. */
export async function ran(
  plan: ExecutionPlan,
  options: ExecutorOptions = {},
  fabric: Fabric = Fabric.open({ memoryBytes: 1 << 20 }),
  ports: Partial<ExecutorPorts> = {},
): Promise<Ran> {
  using open = fabric;
  const events: ExecutionEvent[] = [];
  const onEvent = (event: ExecutionEvent): void => {
    events.push(event);
    options.onEvent?.(event);
  };
  const own = { ttlMs: 300, ...options, fabric: open, onEvent };
  const result = await Executor.run(plan, own, ports);
  const { capacityBytes, freeBytes } = open.stats().memory;
  return { result, events, missingBytes: capacityBytes - freeBytes };
}

/** The codes of a task's failed attempts; the message where the error has no code. */
export function codesOf(result: ExecutionResult, name: string): string[] {
  const task = result.tasks.find((one) => one.name === name);
  return (task?.errors ?? []).map(({ error }) =>
    isFabricError(error) ? error.code : (error as Error).message,
  );
}

/** The error of a task. */
export function errorOf(result: ExecutionResult, name: string): Error {
  return result.tasks.find((one) => one.name === name)?.error as Error;
}

/** Resolves with what `promise` gives; fails where that takes longer than `ms`. */
export async function within<T>(ms: number, promise: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`not within ${ms} ms`)), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
