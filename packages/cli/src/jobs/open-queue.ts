/** The queue that a command is about. */
import { statSync } from "node:fs";
import { FabricError } from "@selvage/fabric";
import { JobQueue, type OpenJobQueueOptions } from "@selvage/node";
import { Option } from "commander";
import { tablesOf } from "../doctor/sqlite.ts";
import type { CommonOptions } from "../reply.ts";
import { loadRegister } from "./register.ts";

/** Options of every command about a queue. */
export interface QueueOptions extends CommonOptions {
  readonly db: string;
}

/** Without it, a task's jobs are made with what the queue has for tasks that say nothing of their own. */
export const TASKS_OPTION = [
  "--tasks <module>",
  "the worker's module: so that the tasks' own queue, retries and timeouts hold",
] as const;

/** Which queue. */
export function dbOption(): Option {
  return new Option("--db <path>", "the queue's file").env("SELVAGE_DB").makeOptionMandatory();
}

/**
 * Opens the queue of a file. Without `makes` the file has to be there: a path with a slip in it makes none.
 * @throws FabricError `NOT_FOUND`; `CONFLICT`: the file holds something else; as `JobQueue.open`.
 */
export async function openQueue(
  path: string,
  {
    makes = false,
    ...options
  }: Omit<OpenJobQueueOptions, "path" | "store"> & { makes?: boolean } = {},
): Promise<JobQueue> {
  const found = statSync(path, { throwIfNoEntry: false });
  if (found === undefined && !makes)
    throw new FabricError("NOT_FOUND", `Cannot open ${path}: there is no such queue`, {
      path,
      hint: "`selvage jobs enqueue` and `selvage worker` make one",
    });
  if (found?.isFile() === false)
    throw new FabricError("INVALID_ARGUMENT", `Cannot open ${path}: it is no file`, { path });
  if (found !== undefined && found.size > 0) checkHoldsJobs(path);
  return JobQueue.open({ path, ...options });
}

// Opening it would put a queue's tables beside those of another store.
function checkHoldsJobs(path: string): void {
  const tables = tablesOf(path);
  if (tables.length === 0 || tables.includes("jobs")) return;
  throw new FabricError("CONFLICT", `Cannot open ${path}: it is a SQLite file of something else`, {
    path,
    tables,
    hint: "give the file that `JobQueue.open({ path })` was given",
  });
}

/** Does something with a queue, and lets it go whatever happens. */
export async function withQueue<T>(
  { db, tasks }: QueueOptions & { readonly tasks?: string },
  work: (queue: JobQueue) => Promise<T>,
  options: { readonly makes?: boolean } = {},
): Promise<T> {
  const register = tasks === undefined ? undefined : await loadRegister(tasks);
  await using queue = await openQueue(db, options);
  await register?.(queue);
  return await work(queue);
}
