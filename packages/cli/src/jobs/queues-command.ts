/** `selvage queues`: how queues stand, and whether their jobs may start. */
import type { Command } from "commander";
import type { Reply } from "../reply.ts";
import { JSON_OPTION, type Session } from "../session.ts";
import { visible } from "../table.ts";
import { statsTable } from "./job-text.ts";
import { dbOption, withQueue, type QueueOptions } from "./open-queue.ts";

/** Adds the commands. */
export function addQueues(program: Command, session: Session): void {
  const queues = program.command("queues").description("look at queues; pause and resume them");
  queues
    .command("pause")
    .description("let no job of a queue start, in any process; what runs goes on")
    .argument("<name>")
    .addOption(dbOption())
    .option(...JSON_OPTION)
    .action(session.telling((name: string, options: QueueOptions) => set(name, true, options)));
  queues
    .command("resume")
    .description("let a paused queue's jobs start again")
    .argument("<name>")
    .addOption(dbOption())
    .option(...JSON_OPTION)
    .action(session.telling((name: string, options: QueueOptions) => set(name, false, options)));
  queues
    .command("stats")
    .description("how many jobs there are of each status, by queue")
    .argument("[name]", "only this queue")
    .addOption(dbOption())
    .option(...JSON_OPTION)
    .action(session.telling(stats));
}

function set(name: string, pauses: boolean, options: QueueOptions): Promise<Reply> {
  return withQueue(options, async (queue) => {
    await (pauses ? queue.pause(name) : queue.resume(name));
    const text = visible(`${name} is ${pauses ? "paused" : "not paused"}`);
    return { document: { queue: name, isPaused: pauses }, text };
  });
}

function stats(name: string | undefined, options: QueueOptions): Promise<Reply> {
  return withQueue(options, async (queue) => {
    const all = await queue.queues();
    const queues = name === undefined ? all : all.filter((one) => one.name === name);
    const total = await queue.stats(name === undefined ? {} : { queue: name });
    return { document: { stats: total, queues }, text: statsTable(queues) };
  });
}
