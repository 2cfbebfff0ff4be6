/** `selvage worker MODULE`: runs jobs of the tasks that a module declares, until it is told to end. */
import type { JobQueueEvent, WorkerResult } from "@selvage/jobs";
import { toWire } from "@selvage/fabric";
import { InvalidArgumentError, type Command } from "commander";
import { EXIT_CODES } from "../exit-codes.ts";
import { parseAmount, parseCount } from "../option-values.ts";
import type { Reply, Streams } from "../reply.ts";
import { JSON_OPTION, type Session } from "../session.ts";
import { listenForEnd } from "../signals.ts";
import { visible } from "../table.ts";
import { dbOption, openQueue, type QueueOptions } from "./open-queue.ts";
import { loadRegister } from "./register.ts";

interface WorkerCommandOptions extends QueueOptions {
  readonly queues?: readonly string[];
  readonly concurrency?: number;
  readonly drainMs: number;
  readonly leaseMs?: number;
  readonly quiet?: true;
}

/** Adds the command. */
export function addWorker(program: Command, session: Session): void {
  program
    .command("worker")
    .description("run jobs until SIGINT or SIGTERM; then finish what runs, or hand it back")
    .argument(
      "<module>",
      "its default export, or `register`, is called with the queue to declare tasks",
    )
    .addOption(dbOption())
    .option(
      "--queues <names>",
      "which queues, separated by commas; those named first go first",
      parseNames,
    )
    .option("--concurrency <n>", "most jobs at a time", parseCount)
    .option("--drain-ms <n>", "how long what runs may take to end", parseAmount, 30_000)
    .option(
      "--lease-ms <n>",
      "silent for so long, the worker is given up by the others",
      parseCount,
    )
    .option("--quiet", "do not tell of each job")
    .option(...JSON_OPTION)
    .action(
      session.telling((module: string, options: WorkerCommandOptions) =>
        work(module, options, session.streams),
      ),
    );
}

function parseNames(text: string): readonly string[] {
  const names = text.split(",").map((name) => name.trim());
  if (names.includes("")) throw new InvalidArgumentError("Expected names, separated by commas.");
  return names;
}

async function work(
  module: string,
  options: WorkerCommandOptions,
  { stderr }: Streams,
): Promise<Reply> {
  const { db, queues, concurrency, drainMs, leaseMs, quiet } = options;
  const register = await loadRegister(module);
  using told = listenForEnd();
  await using queue = await openQueue(db, {
    makes: true,
    ...(concurrency !== undefined && { concurrency }),
    ...(leaseMs !== undefined && { leaseMs }),
  });
  await register(queue);
  if (quiet !== true)
    queue.onEvent((event) => {
      const line = lineOf(event);
      if (line !== undefined) stderr.write(`${visible(line)}\n`);
    });
  told.signal.addEventListener("abort", () =>
    stderr.write(`worker: told to end; what runs has ${drainMs} ms\n`),
  );
  return replyOf(
    await queue.runWorker({ signal: told.signal, drainMs, ...(queues && { queues }) }),
  );
}

function replyOf(result: WorkerResult): Reply {
  const { status, completed, failed, handedBack } = result;
  const isDrained = status === "drained";
  const counts = `${completed} completed, ${failed} attempts failed, ${handedBack} handed back`;
  return {
    document: result,
    text: `worker: ${isDrained ? "drained" : "handed back"}: ${counts}`,
    exitCode: isDrained ? EXIT_CODES.ok : EXIT_CODES.handedBack,
  };
}

/** An event as a line; undefined for what would only make noise. */
function lineOf(event: JobQueueEvent): string | undefined {
  switch (event.type) {
    case "started":
    case "completed":
      return `${event.type} ${event.taskName} ${event.jobId} (attempt ${event.attempt})`;
    case "retrying":
    case "dead":
      return `${event.type} ${event.taskName} ${event.jobId} (attempt ${event.attempt}): ${event.error}`;
    case "cancelled":
      return `cancelled ${event.taskName} ${event.jobId}: ${event.because}`;
    case "handed-back":
    case "lost":
    case "refused":
    case "revived":
      return `${event.type} ${event.taskName} ${event.jobId}`;
    case "worker-started":
    case "worker-lost":
    case "worker-stopped":
      return `${event.type} ${event.worker}`;
    case "paused":
    case "resumed":
      return `${event.type} ${event.queue}`;
    case "trouble":
      return `trouble: ${toWire(event.error).message}`;
    case "enqueued":
    case "progress":
      return undefined;
  }
}
