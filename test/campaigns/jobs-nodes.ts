/** A process of the jobs campaign: a queue over the machine's file, tasks whose bodies do what bodies do, and workers. */
import { isFabricError, jsonCodec } from "@selvage/fabric";
import {
  JobQueue,
  NonRetryableError,
  type JobContext,
  type JobQueueEvent,
  type JobQueuePorts,
  type JobWorker,
  type QueuedTaskOptions,
} from "@selvage/jobs";
import { sometimes, Violation, type SimNode } from "@selvage/sim";
import { askForWork, type Item } from "./jobs-clients.ts";
import type { JobsRun } from "./jobs-run.ts";
import { fed } from "./jobs-rules.ts";

/** Runs on every process, from each of its starts on. */
export async function processProgram(run: JobsRun, node: SimNode): Promise<void> {
  const { stopMs } = run.sizes;
  for (;;) {
    const { queue, item } = openQueue(run, node);
    const stops = { isStopping: false };
    const keeping = Array.from({ length: run.sizes.workers }, () =>
      keepWorker(run, node, queue, stops),
    );
    const asking = askForWork(run, node, queue, item);
    if (stopMs === undefined) return;
    await node.sleep(node.random.between(stopMs >> 1, stopMs * 2));
    if (run.isCalm) return;
    // As on SIGTERM: what runs may end, and the rest is handed back.
    stops.isStopping = true;
    await queue.close();
    await Promise.all([...keeping, asking]);
    sometimes("a process has stopped in order");
    await node.sleep(node.random.between(1, 500));
  }
}

function openQueue(run: JobsRun, node: SimNode): { readonly queue: JobQueue; readonly item: Item } {
  const queue = new JobQueue(run.file.open(node), portsOf(run, node), run.options());
  const item = declare(run, node, queue);
  queue.onEvent((event) => told(node, event));
  return { queue, item };
}

function noThreads(): never {
  throw new Error("No task of this campaign is a module");
}

function portsOf(run: JobsRun, node: SimNode): JobQueuePorts {
  const { sizes } = run;
  return {
    clock: run.clockOf(node),
    monotonicMs: () => node.monotonicMs(),
    timer: node.timer,
    random: node.random,
    codec: jsonCodec<unknown>(),
    parallelism: 2,
    label: node.name,
    nextTurn: () =>
      new Promise((resolve) => {
        node.after(node.random.below(sizes.turnMs * 1_000 + 1), "turn", resolve);
      }),
    abortSource: () => new AbortController(),
    openFabric: noThreads,
    openRunner: noThreads,
    warn: (thrown) => node.kernel.fail(thrown),
  };
}

// Faults are anchored to these.
function told(node: SimNode, event: JobQueueEvent): void {
  const { type } = event;
  if (type === "trouble") {
    if (!isFabricError(event.error)) node.kernel.fail(event.error);
    sometimes("the store failed under a worker");
  }
  sometimes("a late result was refused", type === "refused");
  sometimes("a job was revived", type === "revived");
  if (["started", "completed", "retrying", "lost", "dead", "handed-back"].includes(type))
    node.record(`job.${type}`);
  if (type.startsWith("worker-")) node.record(type.replace("-", "."));
}

/** A worker until it is stopped, and then another one. */
async function keepWorker(
  run: JobsRun,
  node: SimNode,
  queue: JobQueue,
  stops: { readonly isStopping: boolean },
): Promise<void> {
  const { random } = node;
  const { stopMs, graceMs } = run.sizes;
  while (!stops.isStopping) {
    const source = new AbortController();
    const drainMs = random.pick([0, graceMs, 3_000]);
    let worker: JobWorker;
    try {
      worker = queue.runWorker({ signal: source.signal, drainMs });
      const atMs = random.between(1_000, (stopMs ?? 0) * 2 + 1_000);
      if (stopMs !== undefined && !run.isCalm) node.timer.after(atMs, () => source.abort());
      const { handedBack } = await worker;
      run.book.ended(worker.id);
      sometimes("a worker was stopped, and handed back", handedBack > 0);
    } catch (error) {
      // The queue was closed before.
      if (!isFabricError(error)) throw error;
    }
    await node.sleep(random.between(1, 300));
  }
}

type Body = (ctx: JobContext, args: readonly unknown[]) => Promise<unknown>;

// Returns the task that fans are made of.
function declare(run: JobsRun, node: SimNode, queue: JobQueue): Item {
  const { random } = node;
  const quick = (): Promise<void> => node.sleep(random.spread(1, 60));
  const add = (name: string, options: QueuedTaskOptions, body: Body): Item =>
    queue.task(
      name,
      { backoff: { delaysMs: [5, 100] }, ...options },
      async (ctx: JobContext, ...args: readonly unknown[]) => {
        const { jobId: id, epoch, attempt } = ctx;
        const end = run.book.bodies.begin(node, { id, task: name, epoch, attempt });
        try {
          isFed(run, node, args, id);
          return (await body(ctx, args)) ?? { id, epoch };
        } finally {
          end();
        }
      },
    );
  add("quick", {}, quick);
  add("join", {}, quick);
  add("few", { maxConcurrent: run.sizes.few }, () => node.sleep(random.spread(10, 400)));
  add("flaky", {}, async () => {
    await quick();
    if (random.chance(1, 2)) throw new Error("It did not work");
  });
  add("hard", {}, async () => {
    await quick();
    if (random.chance(1, 2)) throw new NonRetryableError("It will never work");
  });
  add("heeding", { queue: "side" }, async ({ signal }) => {
    const gone = Promise.withResolvers<void>();
    signal.addEventListener("abort", () => gone.resolve());
    await Promise.race([node.sleep(random.spread(50, 3_000)), gone.promise]);
    if (signal.aborted) throw signal.reason;
  });
  add("deaf", { maxConcurrent: run.sizes.few }, (ctx) => deaf(run, node, ctx));
  add("poison", { retries: 2 }, async () => {
    await node.sleep(random.below(20) + 1);
    sometimes("a body ended its process");
    run.exit(node, random.between(20, 400));
    // It ends with its process.
    await new Promise(() => {});
  });
  add("list", {}, async ({ jobId: id, epoch }) => {
    await quick();
    return Array.from({ length: random.below(4) + 1 }, (_, item) => ({ id, epoch, item }));
  });
  return add("item", { queue: "side" }, quick);
}

// It hears no signal; now and then it outlasts its worker.
async function deaf({ isCalm }: JobsRun, node: SimNode, ctx: JobContext): Promise<void> {
  for (let turns = node.random.spread(1, isCalm ? 8 : 30); turns > 0; turns--) {
    await node.sleep(100);
    ctx.updateProgress(50);
  }
}

// What it was made of is what those jobs have, and all of it.
function isFed({ book }: JobsRun, node: SimNode, args: readonly unknown[], id: string): void {
  const [first, given] = args;
  const of = (first as { readonly of?: readonly string[] } | undefined)?.of;
  if (of === undefined) return;
  sometimes("a body got results of other jobs");
  const wanted = JSON.stringify(of.map((one) => book.resultOf(one)));
  if (JSON.stringify(given) !== wanted)
    node.kernel.fail(new Violation(fed, `${id} got ${JSON.stringify(given)}, not ${wanted}`));
}
