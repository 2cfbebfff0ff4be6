/** `selvage jobs dead`: jobs that failed for good. */
import { FabricError } from "@selvage/fabric";
import type { Command } from "commander";
import { parseAmount, parseCount } from "../option-values.ts";
import type { Reply } from "../reply.ts";
import { JSON_OPTION, type Session } from "../session.ts";
import { formatMs, table, type Column } from "../table.ts";
import { jobDocument, letterText } from "./job-text.ts";
import { dbOption, TASKS_OPTION, withQueue, type QueueOptions } from "./open-queue.ts";

interface ListOptions extends QueueOptions {
  readonly limit: number;
}

interface PurgeOptions extends QueueOptions {
  readonly olderThanMs: number;
}

/** Adds the commands. */
export function addDead(jobs: Command, session: Session): void {
  const dead = jobs
    .command("dead")
    .description("look at, replay and purge jobs that failed for good");
  dead
    .command("list")
    .description("list dead letters, the newest first")
    .addOption(dbOption())
    .option("--limit <n>", "how many", parseCount, 100)
    .option(...JSON_OPTION)
    .action(session.telling(list));
  dead
    .command("show")
    .description("show one dead letter, with each attempt's error")
    .argument("<id>")
    .addOption(dbOption())
    .option(...JSON_OPTION)
    .action(session.telling(show));
  dead
    .command("replay")
    .description("give dead jobs their retries anew, and revive what their death cancelled")
    .argument("<id...>")
    .addOption(dbOption())
    .option(...TASKS_OPTION)
    .option(...JSON_OPTION)
    .action(session.telling(replay));
  dead
    .command("purge")
    .description("give dead letters up: they can be replayed no more")
    .addOption(dbOption())
    .requiredOption("--older-than-ms <n>", "which died at least so long ago; 0: all", parseAmount)
    .option(...JSON_OPTION)
    .action(session.telling(purge));
}

const columns: readonly Column[] = [
  "ID",
  "TASK",
  "QUEUE",
  { figure: "ATTEMPTS" },
  { figure: "DIED" },
  "ERROR",
];

function list(options: ListOptions): Promise<Reply> {
  return withQueue(options, async (queue) => {
    const letters = await queue.deadLetters({ limit: options.limit });
    const nowMs = Date.now();
    const rows = letters.map(({ id, taskName, queue: name, attempts, failedAt, error }) => [
      ...[id, taskName, name, String(attempts)],
      ...[`${formatMs(Math.max(0, nowMs - failedAt))} ago`, error],
    ]);
    return { document: { deadLetters: letters }, text: table(columns, rows, "No dead letters.") };
  });
}

function show(id: string, options: QueueOptions): Promise<Reply> {
  return withQueue(options, async (queue) => {
    const letter = await queue.deadLetter(id);
    if (letter !== undefined) return { document: letter, text: letterText(letter) };
    throw new FabricError("NOT_FOUND", `There is no dead letter of a job ${id}`, {
      job: id,
      hint: "`selvage jobs dead list` shows them; `selvage jobs show` says how the job stands",
    });
  });
}

function replay(
  ids: readonly string[],
  options: QueueOptions & { readonly tasks?: string },
): Promise<Reply> {
  return withQueue(options, async (queue) => {
    const jobs = [];
    for (const id of ids) jobs.push(await queue.replay(id));
    const text = jobs.map(({ id, status }) => `${id} is ${status}`).join("\n");
    return { document: { replayed: jobs.map(jobDocument) }, text };
  });
}

function purge(options: PurgeOptions): Promise<Reply> {
  return withQueue(options, async (queue) => {
    const purged = await queue.purgeDeadLetters({ olderThanMs: options.olderThanMs });
    return { document: { purged }, text: `${purged} dead letters purged` };
  });
}
