/** `selvage jobs`: makes, lists, shows and cancels jobs. */
import { FabricError } from "@selvage/fabric";
import type { JobStatus } from "@selvage/jobs";
import { JOB_STATUSES } from "@selvage/jobs";
import { Option, type Command } from "commander";
import { EXIT_CODES } from "../exit-codes.ts";
import { parseCount } from "../option-values.ts";
import type { Reply } from "../reply.ts";
import { JSON_OPTION, type Session } from "../session.ts";
import { addDead } from "./dead-command.ts";
import { addEnqueue } from "./enqueue-command.ts";
import { jobDocument, jobOf, jobTable, jobText } from "./job-text.ts";
import { dbOption, withQueue, type QueueOptions } from "./open-queue.ts";
import { treeDocument, treeLines, treeOf } from "./job-tree.ts";

interface ListOptions extends QueueOptions {
  readonly status?: JobStatus;
  readonly queue?: string;
  readonly task?: string;
  readonly before?: string;
  readonly limit: number;
}

interface TreeOptions extends QueueOptions {
  readonly dependents?: true;
}

/** Adds the commands. */
export function addJobs(program: Command, session: Session): void {
  const jobs = program.command("jobs").description("make, list, show and cancel jobs of a queue");
  addEnqueue(jobs, session);
  jobs
    .command("list")
    .description("list jobs, the newest first")
    .addOption(dbOption())
    .addOption(new Option("--status <status>", "only of this one").choices(JOB_STATUSES))
    .option("--queue <name>", "only of this queue")
    .option("--task <name>", "only of this task")
    .option("--before <id>", "only older ones than this job: the next page")
    .option("--limit <n>", "how many", parseCount, 100)
    .option(...JSON_OPTION)
    .action(session.telling(list));
  jobs
    .command("show")
    .description("show one job: status, progress, what it waits for, each attempt that failed")
    .argument("<id>")
    .addOption(dbOption())
    .option(...JSON_OPTION)
    .action(session.telling(show));
  jobs
    .command("cancel")
    .description("cancel a job, and what waits for it; a running one is told by its signal")
    .argument("<id>")
    .addOption(dbOption())
    .option(...JSON_OPTION)
    .action(session.telling(cancel));
  jobs
    .command("tree")
    .description("draw what a job waits for, with statuses")
    .argument("<id>")
    .addOption(dbOption())
    .option("--dependents", "what waits for it instead")
    .option(...JSON_OPTION)
    .action(session.telling(tree));
  addDead(jobs, session);
}

function list(options: ListOptions): Promise<Reply> {
  const { status, queue: name, task, before, limit } = options;
  return withQueue(options, async (queue) => {
    // One that is forgotten would begin at the newest again.
    if (before !== undefined) await jobOf(queue, before);
    const jobs = await queue.listJobs({
      limit,
      ...(status && { status }),
      ...(name !== undefined && { queue: name }),
      ...(task !== undefined && { taskName: task }),
      ...(before !== undefined && { before }),
    });
    const shown = jobTable(jobs, Date.now());
    const isMore = jobs.length === limit;
    const more = isMore ? `\nthere may be more: --before ${jobs.at(-1)?.id}` : "";
    return { document: { jobs: jobs.map(jobDocument) }, text: `${shown}${more}` };
  });
}

function show(id: string, options: QueueOptions): Promise<Reply> {
  return withQueue(options, async (queue) => {
    const job = await jobOf(queue, id);
    return { document: jobDocument(job), text: jobText(job) };
  });
}

function cancel(id: string, options: QueueOptions): Promise<Reply> {
  return withQueue(options, async (queue) => {
    await jobOf(queue, id);
    const isCancelled = await queue.cancel(id);
    const job = await jobOf(queue, id);
    if (!isCancelled)
      throw new FabricError("CONFLICT", `Cannot cancel the job ${id}: it is ${job.status}`, {
        job: id,
        status: job.status,
        hint: "only a job that waits or runs can be cancelled",
      });
    const told = job.status === "running" ? "told to stop" : job.status;
    return {
      document: { cancelled: true, job: jobDocument(job) },
      text: `${id} is ${told}`,
      exitCode: EXIT_CODES.ok,
    };
  });
}

function tree(id: string, options: TreeOptions): Promise<Reply> {
  return withQueue(options, async (queue) => {
    const root = await treeOf(queue, await jobOf(queue, id), options.dependents === true);
    return { document: treeDocument(root), text: treeLines(root).join("\n") };
  });
}
