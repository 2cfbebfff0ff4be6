/** A thread of the batch benchmark: a plan's task, by `?rounds=&seed=`, or a bare thread that is told them by message. */
import { parentPort, workerData } from "node:worker_threads";
import type { TaskContext, TaskOutput } from "@selvage/batch";

/** What a bare thread is told. */
export interface Burn {
  readonly rounds: number;
  readonly seed: number;
}

/** The `workerData` of a bare thread. */
export const bare = "bare";

/** Draws `rounds` numbers (Marsaglia's xorshift32), and gives their sum mod 2^32: nothing but a core is needed for it. */
export function burn({ rounds, seed }: Burn): number {
  let state = seed | 1;
  let sum = 0;
  for (let round = 0; round < rounds; round++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    sum = (sum + state) | 0;
  }
  return sum >>> 0;
}

/** The task's module, and what it is told, as its URL. */
export function burnUrl({ rounds, seed }: Burn): URL {
  const url = new URL(import.meta.url);
  url.search = String(new URLSearchParams({ rounds: String(rounds), seed: String(seed) }));
  return url;
}

// oxlint-disable-next-line import/no-default-export -- a task's module
export default function burnTask({ task }: TaskContext): TaskOutput {
  const told = new URL(import.meta.url).searchParams;
  return { [task]: burn({ rounds: Number(told.get("rounds")), seed: Number(told.get("seed")) }) };
}

if (workerData === bare)
  parentPort?.on("message", (told: Burn) => parentPort?.postMessage(burn(told)));
