/**
 * A program that runs plans on fabrics of their own, says how they ended and what is left, and then just ends. Its
 * test starts it with a small heap, which its threads have as well.
 */
import type { ExecutionEvent, ExecutorOptions, TaskDef } from "@selvage/batch";
import { Executor } from "@selvage/node";
import { body, maker, planOf, raw } from "./executor-rig.ts";

const far = (run: URL): TaskDef => ({ name: "far", inputs: [raw("x")], outputs: [raw("y")], run });

async function statusOf(task: TaskDef, options: ExecutorOptions = {}): Promise<string> {
  const plan = planOf([maker(1, 2, 3), task]);
  try {
    const { status, tasks } = await Executor.run(plan, { ttlMs: 1_000, graceMs: 100, ...options });
    const cause = (tasks[1]?.error as Error | undefined)?.cause as { code?: string } | undefined;
    return cause?.code ?? status;
  } catch (thrown) {
    return (thrown as Error).message;
  }
}

const controller = new AbortController();
const onLog = (act: () => void) => ({
  onEvent: (event: ExecutionEvent): void => {
    if (event.type === "log") act();
  },
});
const statuses = [
  await statusOf(far(body("double"))),
  await statusOf(far(body("exit"))),
  await statusOf(far(body("hoards"))),
  await statusOf(far(body("endless")), {
    signal: controller.signal,
    ...onLog(() => controller.abort()),
  }),
  await statusOf(
    far(body("listening")),
    onLog(() => {
      throw new Error("watcher threw");
    }),
  ),
];
const streams = new Set(["TTYWrap", "PipeWrap", "FSReqCallback", "SimpleWriteWrap"]);
// The keepers, which nobody waits for, end within one period.
await new Promise((resolve) => {
  setTimeout(resolve, 200);
});
const left = process.getActiveResourcesInfo().filter((name) => !streams.has(name));
process.stdout.write(JSON.stringify({ statuses, left }));
