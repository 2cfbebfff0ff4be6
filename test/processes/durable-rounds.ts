/* oxlint-disable vitest/no-standalone-expect -- called from inside tests only */
/** Rounds in which a program with a Durable on a block file is killed, and the next one takes the value up. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect } from "vitest";
import { bulkOf, type Counted } from "./durable-value.ts";

type Told =
  | { readonly ticket: object }
  | { readonly restored: Counted; readonly generation: number }
  | { readonly count: number; readonly generation: number };

const program = fileURLToPath(new URL("./durable-process.ts", import.meta.url));

/** What all rounds came to. */
export interface Seen {
  /** Checkpoints that were acknowledged. */
  readonly acknowledged: number;
  /** Rounds that found the checkpoint that was under way at the kill. */
  readonly newer: number;
}

/** Runs the program until it has told `lines` lines, then kills it within the step that follows. */
async function runAndKill(args: readonly string[], lines: number): Promise<readonly Told[]> {
  const child = spawn(process.execPath, [...process.execArgv, program, ...args], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let text = "";
  let isKilled = false;
  child.stdout.setEncoding("utf8").on("data", (part: string) => {
    text += part;
    if (isKilled || text.split("\n").length <= lines) return;
    isKilled = true;
    setTimeout(() => child.kill("SIGKILL"), lines % 3);
  });
  const [code, signal] = (await once(child, "close")) as [number | null, string | null];
  expect([code, signal]).toEqual([null, "SIGKILL"]);
  return text
    .split("\n")
    .slice(0, -1)
    .map((line) => JSON.parse(line) as Told);
}

/** D1, P4 with a real kill each round: nothing acknowledged is lost, nothing is mixed, no generation comes twice. */
export async function durableRounds(rounds: number): Promise<Seen> {
  const folder = mkdtempSync(join(tmpdir(), "selvage-durable-"));
  let ticket: string | undefined;
  let last = { count: 0, generation: 0 };
  let acknowledged = 0;
  let newer = 0;
  try {
    for (let round = 0; round < rounds; round++) {
      const args = [join(folder, "blocks"), ...(ticket === undefined ? [] : [ticket])];
      for (const line of await runAndKill(args, 3 + ((round * 7) % 23))) {
        if ("ticket" in line) ticket = JSON.stringify(line.ticket);
        else if ("restored" in line) {
          const { count, bulk } = line.restored;
          expect(bulk).toBe(bulkOf(count));
          // The one that was acknowledged last, or the one that was under way.
          expect([last.count, last.count + 1]).toContain(count);
          expect(line.generation).toBeGreaterThanOrEqual(last.generation);
          if (count > last.count) newer++;
          last = { count, generation: line.generation };
        } else {
          acknowledged++;
          expect(line.count).toBe(last.count + 1);
          expect(line.generation).toBeGreaterThan(last.generation);
          last = line;
        }
      }
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return { acknowledged, newer };
}
