/** `selvage jobs enqueue TASK [ARG...]`: makes a job of a task by name. */
import { isFabricError } from "@selvage/fabric";
import type { EnqueueOptions } from "@selvage/jobs";
import { InvalidArgumentError, type Command } from "commander";
import { EXIT_CODES } from "../exit-codes.ts";
import { parseAmount, parseCount, parseInteger } from "../option-values.ts";
import { toJson, type Reply } from "../reply.ts";
import { JSON_OPTION, type Session } from "../session.ts";
import { visible } from "../table.ts";
import { jobDocument } from "./job-text.ts";
import { dbOption, TASKS_OPTION, withQueue, type QueueOptions } from "./open-queue.ts";

interface EnqueueCommandOptions extends QueueOptions {
  readonly tasks?: string;
  readonly queue?: string;
  readonly priority?: number;
  readonly retries?: number;
  readonly timeoutMs?: number;
  readonly delayMs?: number;
  readonly expiresMs?: number;
  readonly after?: readonly string[];
  readonly uniqueKey?: string;
  readonly metadata?: string;
  readonly notes?: Readonly<Record<string, unknown>>;
  readonly waitMs?: number;
}

/** Adds the command. */
export function addEnqueue(jobs: Command, session: Session): void {
  jobs
    .command("enqueue")
    .description("make a job of a task, which a worker declares; the queue is made if need be")
    .argument("<task>", "the task's name")
    .argument("[arg...]", "its arguments, each JSON: 7, '\"text\"', '{\"a\":1}'", parseJson)
    .addOption(dbOption())
    .option(...TASKS_OPTION)
    .option("--queue <name>", "the queue; default: the task's own, where it is known")
    .option("--priority <n>", "higher first", parseInteger)
    .option("--retries <n>", "attempts after the first", parseAmount)
    .option("--timeout-ms <n>", "of an attempt; 0 is none", parseAmount)
    .option("--delay-ms <n>", "not before so long from now", parseAmount)
    .option("--expires-ms <n>", "cancelled if it has not started by then", parseCount)
    .option("--after <id...>", "jobs that have to complete first")
    .option("--unique-key <key>", "return the unfinished job that has this key, if there is one")
    .option("--metadata <text>", "a text that stays with the job")
    .option("--notes <json>", "an object that is shown with the job", parseObject)
    .option("--wait-ms <n>", "wait so long for its end, and show what it returned", parseCount)
    .option(...JSON_OPTION)
    .action(session.telling(enqueue));
}

function parseJson(text: string, before: readonly unknown[] | undefined): readonly unknown[] {
  try {
    return [...(before ?? []), JSON.parse(text)];
  } catch {
    const meant = JSON.stringify(text);
    throw new InvalidArgumentError(`Expected JSON; a text has quotes of its own: '${meant}'.`);
  }
}

function parseObject(text: string): Readonly<Record<string, unknown>> {
  const [value] = parseJson(text, undefined);
  if (typeof value === "object" && value !== null && !Array.isArray(value))
    return value as Readonly<Record<string, unknown>>;
  throw new InvalidArgumentError("Expected an object.");
}

function enqueue(
  task: string,
  args: readonly unknown[] | undefined,
  options: EnqueueCommandOptions,
): Promise<Reply> {
  const { db: _, json: __, tasks: ___, after, waitMs, ...rest } = options;
  const given: EnqueueOptions = { ...rest, ...(after && { dependsOn: after }) };
  return withQueue(
    options,
    async (queue) => {
      const job = await queue.enqueue(task, args ?? [], given);
      if (waitMs === undefined) return { document: jobDocument(job), text: job.id };
      try {
        const result = await job.result({ timeoutMs: waitMs });
        const text = result === undefined ? "" : visible(toJson(result));
        return { document: { ...jobDocument(job), result }, text };
      } catch (thrown) {
        if (!isFabricError(thrown)) throw thrown;
        const { code, message } = thrown;
        const error = { code, message };
        const text = `${code}: ${visible(message)}`;
        return { document: { ...jobDocument(job), error }, text, exitCode: EXIT_CODES.failed };
      }
    },
    { makes: true },
  );
}
