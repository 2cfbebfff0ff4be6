/** What has to happen in a process of its own: a heap of 128 MiB, and one whose collector never comes by. */
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import type { FuzzOutcome } from "./queue-fuzz.ts";

const program = fileURLToPath(new URL("./queue-process.ts", import.meta.url));

async function run(flags: readonly string[], args: readonly unknown[]): Promise<unknown> {
  const conditions = process.execArgv.filter((flag) => flag.startsWith("--conditions="));
  const all = [...conditions, ...flags, program, ...args.map(String)];
  const { stdout } = await promisify(execFile)(process.execPath, all);
  return JSON.parse(stdout) as unknown;
}

/** Damaged rings within 128 MiB. Rejects with what the process said. */
export async function fuzzApart(inputs: number, seed: number): Promise<FuzzOutcome> {
  return (await run(["--max-old-space-size=128"], ["fuzz", inputs, seed])) as FuzzOutcome;
}

/** Bytes that a turn of each kind of operation allocates. */
export async function bytesApart(turns: number): Promise<Record<string, number>> {
  const flags = ["--expose-gc", "--max-semi-space-size=256", "--min-semi-space-size=256"];
  return (await run(flags, ["bytes", turns])) as Record<string, number>;
}
