/** `selvage monitor`: a queue's file as it is now, and goes on. */
import { setTimeout as sleep } from "node:timers/promises";
import { redraw, type JobQueue } from "@selvage/node";
import type { Command } from "commander";
import { parseCount } from "../option-values.ts";
import type { Reply, Streams } from "../reply.ts";
import { JSON_OPTION, type Session } from "../session.ts";
import { listenForEnd } from "../signals.ts";
import { monitorDocument, monitorLine, monitorLines, type MonitorState } from "./monitor-screen.ts";
import { dbOption, openQueue, type QueueOptions } from "./open-queue.ts";

interface MonitorOptions extends QueueOptions {
  readonly everyMs: number;
  readonly once?: true;
}

/** Adds the command. */
export function addMonitor(program: Command, session: Session): void {
  program
    .command("monitor")
    .description(
      "watch a queue: stats, running jobs, workers, dead letters; until SIGINT or SIGTERM",
    )
    .addOption(dbOption())
    .option("--every-ms <n>", "how often it looks", parseCount, 1_000)
    .option("--once", "look once; so does --json")
    .option(...JSON_OPTION)
    .action(session.telling((options: MonitorOptions) => monitor(options, session.streams)));
}

async function monitor(options: MonitorOptions, streams: Streams): Promise<Reply> {
  await using queue = await openQueue(options.db);
  const first = await look(queue, options.db);
  if (options.once === true || options.json === true)
    return { document: monitorDocument(first), text: monitorLines(first, wholeScreen).join("\n") };
  using told = listenForEnd();
  const stop = told.signal;
  if (streams.stdout.isTTY === true) await draw(queue, options, first, stop, streams);
  else await print(queue, options, first, stop, streams);
  return { document: undefined, text: "" };
}

const wholeScreen = { columns: 120, rows: 1_000 } as const;

/** Redrawn in place. */
async function draw(
  queue: JobQueue,
  { db, everyMs }: MonitorOptions,
  first: MonitorState,
  stop: AbortSignal,
  { stdout }: Streams,
): Promise<void> {
  let state = first;
  const view = redraw({ stream: stdout, everyMs, lines: (size) => monitorLines(state, size) });
  try {
    while (await rest(everyMs, stop)) state = await look(queue, db);
  } finally {
    view.end();
  }
}

/** A line whenever something has changed. */
async function print(
  queue: JobQueue,
  { db, everyMs }: MonitorOptions,
  first: MonitorState,
  stop: AbortSignal,
  { stdout }: Streams,
): Promise<void> {
  let before = "";
  let state = first;
  do {
    const line = monitorLine(state);
    if (line !== before) stdout.write(`${new Date(state.atMs).toISOString()} ${line}\n`);
    before = line;
    if (!(await rest(everyMs, stop))) return;
    state = await look(queue, db);
  } while (!stop.aborted);
}

/** Waits; false when it was told to end. */
async function rest(ms: number, signal: AbortSignal): Promise<boolean> {
  try {
    await sleep(ms, undefined, { signal });
    return true;
  } catch (thrown) {
    if (!signal.aborted) throw thrown;
    return false;
  }
}

/** How many of each a look takes: more do not fit a screen. */
const shown = 50;

async function look(queue: JobQueue, db: string): Promise<MonitorState> {
  const [queues, stats, running, workers, deadLetters] = await Promise.all([
    queue.queues(),
    queue.stats(),
    queue.listJobs({ status: "running", limit: shown }),
    queue.workers(),
    queue.deadLetters({ limit: shown }),
  ]);
  return { db, atMs: Date.now(), queues, stats, running, workers, deadLetters };
}
