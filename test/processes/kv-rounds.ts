/** Rounds of a store on a block file whose process is killed again and again. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect } from "vitest";
import { KEYS, valueOf, type KvTold } from "./kv-process.ts";

const program = fileURLToPath(new URL("./kv-process.ts", import.meta.url));

/** Runs the program until it has told `lines` lines, then kills it within what follows; what it told. */
async function runAndKill(args: readonly string[], lines: number): Promise<readonly KvTold[]> {
  const child = spawn(process.execPath, [...process.execArgv, program, ...args], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let text = "";
  let isKilled = false;
  child.stdout.setEncoding("utf8").on("data", (part: string) => {
    text += part;
    if (isKilled || text.split("\n").length <= lines) return;
    isKilled = true;
    setTimeout(() => child.kill("SIGKILL"), lines % 4);
  });
  const [code, signal] = (await once(child, "close")) as [number | null, string | null];
  expect([code, signal]).toEqual([null, "SIGKILL"]);
  return text
    .split("\n")
    .slice(0, -1)
    .map((line) => JSON.parse(line) as KvTold);
}

/** The round that a value is of; it must be whole. */
function roundOf(key: string, value: string | undefined): number {
  const round = Number(/\d+/.exec(value ?? "")?.[0] ?? 0);
  expect(value ?? "").toBe(round === 0 ? "" : valueOf(key, round));
  return round;
}

/** What was acknowledged is there, whole, and at most the round that was under way besides; the last round of `a`. */
function checkFound(found: ReadonlyMap<string, string>, acknowledged: number): number {
  const [first = 0, ...others] = KEYS.map((key) => roundOf(key, found.get(key)));
  expect([acknowledged, acknowledged + 1]).toContain(first);
  for (const round of others) expect([acknowledged, first]).toContain(round);
  return first;
}

/**
 * Kills the program `kills` times, and holds what each successor finds against what was acknowledged. Resolves with the
 * rounds of puts that were.
 */
export async function storeRounds(kills: number): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), "selvage-kv-"));
  try {
    return await killAgainAndAgain(join(folder, "blocks"), kills);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function killAgainAndAgain(file: string, kills: number): Promise<number> {
  let ticket: string[] = [];
  let acknowledged = 0;
  let rounds = 0;
  for (let run = 0; run < kills; run++) {
    const told = await runAndKill([file, ...ticket], 4 + ((run * 11) % 31));
    for (const line of told) {
      if ("ticket" in line) ticket = [JSON.stringify(line.ticket)];
      else if ("found" in line) acknowledged = checkFound(new Map(line.found), acknowledged);
      else {
        acknowledged = line.round;
        rounds++;
      }
    }
  }
  return rounds;
}
