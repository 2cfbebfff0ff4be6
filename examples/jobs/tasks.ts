/** The tasks of the example: extract a file, two transforms, load what both made. Every program of it declares them. */
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { parse } from "csv-parse/sync";
import type { JobQueue, QueuedTask } from "selvage";

/** One day of Seattle's weather. */
interface Day {
  readonly date: string;
  readonly temp_max: number;
  readonly precipitation: number;
  readonly weather: string;
}

/** What the first transform makes: a month, its days, and its mean of the daily highs in °C. */
type Month = readonly [month: string, days: number, meanHigh: number];
/** What the second one makes: a kind of weather, its days, and their rain in mm. */
type Kind = readonly [weather: string, days: number, rain: number];

/** The declared tasks. */
export interface Tasks {
  readonly extract: QueuedTask<[file: string], Day[]>;
  readonly byMonth: QueuedTask<[days: Day[]], Month[]>;
  readonly byKind: QueuedTask<[days: Day[]], Kind[]>;
  readonly load: QueuedTask<[months: Month[], kinds: Kind[], out: string], number>;
}

/** The queues that a worker of the example serves. */
export const queues: readonly string[] = ["io", "default"];

/** `vega-datasets` hides its files behind its `exports`. */
const data = path.resolve(createRequire(import.meta.url).resolve("vega-datasets"), "../../data");

/** Declares the tasks. A worker's `--fail TASK:n` lets a task's first n attempts fail. */
export function declare(queue: JobQueue, fail = ""): Tasks {
  const [victim, times] = fail.split(":");
  const mayFail = (task: string, attempt: number): void => {
    if (task === victim && attempt <= Number(times))
      throw new Error(`${task} fails, as it was told`);
  };
  return {
    extract: queue.task(
      "extract",
      { queue: "io", retries: 3, backoff: { baseMs: 50 } },
      (ctx, file: string) => {
        mayFail("extract", ctx.attempt);
        const days: Day[] = parse(readFileSync(path.join(data, file)), {
          columns: true,
          cast: true,
        });
        ctx.updateProgress(100);
        return days;
      },
    ),
    byMonth: queue.task("by-month", (ctx, days: Day[]) => {
      mayFail("by-month", ctx.attempt);
      return [...group(days, ({ date }) => date.slice(0, 7))].map(([month, of]): Month => {
        const sum = of.reduce((total, { temp_max: high }) => total + high, 0);
        return [month, of.length, Math.round((sum / of.length) * 10) / 10];
      });
    }),
    byKind: queue.task("by-kind", (ctx, days: Day[]) => {
      mayFail("by-kind", ctx.attempt);
      return [...group(days, ({ weather }) => weather)].map(([weather, of]): Kind => {
        const rain = of.reduce((total, { precipitation }) => total + precipitation, 0);
        return [weather, of.length, Math.round(rain)];
      });
    }),
    // Run again, it writes the same file: whole or not at all.
    load: queue.task(
      "load",
      { queue: "io" },
      (ctx, months: Month[], kinds: Kind[], out: string) => {
        mayFail("load", ctx.attempt);
        writeFileSync(`${out}.${ctx.epoch}`, JSON.stringify({ months, kinds }));
        renameSync(`${out}.${ctx.epoch}`, out);
        return months.length + kinds.length;
      },
    ),
  };
}

function group<T>(all: readonly T[], keyOf: (one: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const one of all) {
    const key = keyOf(one);
    const found = groups.get(key);
    if (found === undefined) groups.set(key, [one]);
    else found.push(one);
  }
  return groups;
}
