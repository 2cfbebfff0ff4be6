/** The decoders under fire, in a process of their own: a heap that runs over ends it, and nothing can catch that. */
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import type { Outcome } from "./decoders.ts";

const program = fileURLToPath(new URL("./decoders-process.ts", import.meta.url));

/** Heap of the process, in MiB. */
export const HEAP_MIB = 128;

/** Bombs, and `inputs` inputs to each decoder, within {@link HEAP_MIB}. Rejects with what the process said. */
export async function fuzzWithin(inputs: number, seed: number): Promise<readonly Outcome[]> {
  const conditions = process.execArgv.filter((flag) => flag.startsWith("--conditions="));
  const heap = `--max-old-space-size=${HEAP_MIB}`;
  const args = [...conditions, heap, program, String(inputs), String(seed)];
  const { stdout } = await promisify(execFile)(process.execPath, args);
  return JSON.parse(stdout) as readonly Outcome[];
}
