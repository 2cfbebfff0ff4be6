/** A task that names this module: what it makes tells its task and attempt. */
import type { TaskContext } from "@selvage/batch";

/** The byte that a task's attempt fills its output with. */
export function stampOf(task: string, attempt: number): number {
  return ((Number(task.slice(1)) * 16 + attempt) % 255) + 1;
}

/** Fills its output. */
export default function body(context: TaskContext): void {
  const { task, attempt } = context;
  context.allocate(`out-${task}`, 64).fill(stampOf(task, attempt));
  context.progress(1);
}
