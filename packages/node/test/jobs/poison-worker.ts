/** A job's module that does what its argument says. */
import type { JobBodyContext } from "@selvage/jobs";

// oxlint-disable-next-line import/no-default-export -- what a job's module gives is its default export.
export default async function poison(ctx: JobBodyContext, how: string): Promise<unknown> {
  if (how === "exit") process.exit(7);
  if (how === "loop") for (;;);
  if (how === "memory")
    for (const all: unknown[] = []; ;) all.push(Array.from({ length: 100_000 }, Math.random));
  if (how === "throw") throw new RangeError("thrown there");
  if (how === "wait")
    await new Promise((_, reject) =>
      ctx.signal.addEventListener("abort", () => reject(new Error("told"))),
    );
  ctx.updateProgress(50);
  return {
    how,
    attempt: ctx.attempt,
    epoch: ctx.epoch,
    job: ctx.jobId,
    at: new Date(0),
    metadata: ctx.metadata,
  };
}
