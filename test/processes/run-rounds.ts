/** Rounds of a run on a block file whose process is killed at random points, and resumed. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect } from "vitest";
import { LAYERS, WIDTH, type Made, type RunTold } from "./run-process.ts";

const program = fileURLToPath(new URL("./run-process.ts", import.meta.url));

/** Lines that a run without kills tells: ready, began and committed for each task, settled, done. */
const linesMax = 3 + 2 * LAYERS * WIDTH;
/** From one line to the next, and a little more, in milliseconds. */
const betweenMs = 12;

/** What rounds came to. */
export interface RunRounds {
  readonly kills: number;
  readonly runs: number;
  /** Tasks that a later life found committed. */
  readonly restored: number;
}

/** Runs the program, and kills it `afterMs` after it has told `lines` lines, unless it has ended. */
async function runAndKill(
  args: readonly string[],
  lines: number,
  afterMs: number,
): Promise<{ readonly told: readonly RunTold[]; readonly isKilled: boolean }> {
  const child = spawn(process.execPath, [...process.execArgv, program, ...args], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let text = "";
  let timer: NodeJS.Timeout | undefined;
  child.stdout.setEncoding("utf8").on("data", (part: string) => {
    text += part;
    if (text.split("\n").length > lines) timer ??= setTimeout(() => child.kill("SIGKILL"), afterMs);
  });
  const [code, signal] = (await once(child, "close")) as [number | null, string | null];
  clearTimeout(timer);
  expect(signal ?? code).toBe(signal === null ? 0 : "SIGKILL");
  const told = text.split("\n").slice(0, -1);
  return { told: told.map((line) => JSON.parse(line) as RunTold), isKilled: signal !== null };
}

/** One life's lines against what the lives before were told. Returns what it restored. */
function checkLife(told: readonly RunTold[], committed: Map<string, string>): number {
  const restored = new Set<string>();
  for (const line of told) {
    // Nobody tears or damages anything but the kill: it must leave nothing unreadable.
    expect(line).not.toHaveProperty("damaged");
    if ("restored" in line) restored.add(line.restored);
    if ("began" in line) expect([...restored, ...committed.keys()]).not.toContain(line.began);
    if (!("committed" in line)) continue;
    expect(committed.has(line.committed)).toBe(false);
    committed.set(line.committed, line.nonce);
  }
  return restored.size;
}

function checkDone(line: RunTold | undefined, committed: ReadonlyMap<string, string>): void {
  if (line === undefined || !("done" in line)) throw new Error("it ended without saying so");
  expect([line.status, line.missingBytes]).toEqual(["succeeded", 0]);
  expect(line.done).toHaveLength(LAYERS * WIDTH);
  const nonces = new Map(line.done.map(({ task, nonce }) => [task, nonce]));
  for (const [task, nonce] of committed)
    if (task !== "all") expect([task, nonces.get(task)]).toEqual([task, nonce]);
  for (const made of line.done) expect(made).toEqual(asMade(made, nonces));
}

// What a task made, by the nonces: of those of its own layer's predecessors, and whole.
function asMade({ task, nonce }: Made, nonces: ReadonlyMap<string, string>): Made {
  const [layer = 0, at = 0] = task.slice(1).split(".").map(Number);
  const before = layer === 0 ? [] : Array.from({ length: WIDTH }, (_, index) => index);
  const of = before.map((index) => nonces.get(`t${layer - 1}.${index}`) ?? "");
  return { task, nonce, of, filling: nonce.repeat(20 + 10 * at) };
}

/**
 * Kills the program `kills` times, resuming its run each time, and holds what the lives tell against one another: what was
 * committed is identical, and committed once; the blocks are all back when a run is done.
 */
export async function resumeRounds(kills: number): Promise<RunRounds> {
  const folder = mkdtempSync(join(tmpdir(), "selvage-run-"));
  let killed = 0;
  let runs = 0;
  let restored = 0;
  try {
    while (killed < kills) {
      const committed = new Map<string, string>();
      const args = [join(folder, "blocks"), `run ${runs}`];
      for (;;) {
        // Every point of a run is hit as often: steps of the golden ratio spread evenly.
        const point = (((killed + 1) * 0.618_034) % 1) * linesMax;
        const lines = killed < kills ? Math.ceil(point) : Infinity;
        const { told, isKilled } = await runAndKill(args, lines, (point % 1) * betweenMs);
        restored += checkLife(told, committed);
        if (isKilled) {
          killed++;
          // Its checkpoint may be cleared already: then the next one begins anew.
          if (told.some((line) => "settled" in line)) committed.clear();
        } else {
          checkDone(told.at(-1), committed);
          break;
        }
      }
      runs++;
    }
    return { kills: killed, runs, restored };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
