/** The command as users start it: a process of its own. */
import { spawn, type ChildProcess } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Writable } from "node:stream";
import { fileURLToPath } from "node:url";
import { runCli } from "@selvage/cli";
import { afterAll } from "vitest";

// As the lane has it: from the sources, or as it was built.
const conditions = process.execArgv.filter((flag) => flag.startsWith("--conditions="));
const file = conditions.length > 0 ? "../src/main.ts" : "../dist/main.js";
const main = fileURLToPath(new URL(file, import.meta.url));

/** How a command ended, and what it said. */
export interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A command that goes on. */
export interface Running {
  readonly child: ChildProcess;
  readonly ended: Promise<Ended>;
  /** Resolves once stdout or stderr has this text; rejects when the command ends without. */
  readonly says: (text: string) => Promise<void>;
}

/** Starts the command. */
export function start(args: readonly string[], cwd?: string): Running {
  const child = spawn(process.execPath, [...conditions, main, ...args], {
    cwd,
    env: { ...process.env, NO_COLOR: "1" },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const said = { stdout: "", stderr: "" };
  const listeners = new Set<() => void>();
  for (const stream of ["stdout", "stderr"] as const)
    child[stream].setEncoding("utf8").on("data", (text: string) => {
      said[stream] += text;
      for (const listener of listeners) listener();
    });
  const ended = new Promise<Ended>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code) => resolve({ code, ...said }));
  });
  const says = (text: string): Promise<void> =>
    new Promise((resolve, reject) => {
      const look = (): void => {
        if (!`${said.stdout}${said.stderr}`.includes(text)) return;
        listeners.delete(look);
        resolve();
      };
      listeners.add(look);
      look();
      void ended.then((how) => reject(new Error(`ended: ${JSON.stringify(how)}`)));
    });
  return { child, ended, says };
}

/** A stream that only remembers: for what needs no process of its own. */
export class Heard extends Writable {
  text = "";

  constructor() {
    super({ decodeStrings: false });
  }

  override _write(chunk: string, _: string, done: () => void): void {
    this.text += chunk;
    done();
  }
}

/** As {@link cli}, in this process: for mistakes, which end before anything is begun. */
export async function inProcess(...args: readonly string[]): Promise<Ended> {
  const [stdout, stderr] = [new Heard(), new Heard()];
  const code = await runCli(args, { stdout, stderr });
  return { code, stdout: stdout.text, stderr: stderr.text };
}

/** Runs the command to its end. */
export function cli(...args: readonly string[]): Promise<Ended> {
  return start(args).ended;
}

/** The document of a command that was given `--json`: the last line of its stdout. */
export function documentOf({ stdout, stderr }: Ended): unknown {
  const last = stdout.trimEnd().split("\n").at(-1) ?? "";
  if (last === "") throw new Error(`no document: ${stderr}`);
  return JSON.parse(last);
}

/**
 * A folder of a test file's own. It lies in the repository, so that the modules in it import the packages as a user's do.
 */
export function folderOfOwn(): (name: string, text?: string) => string {
  const folder = mkdtempSync(join(import.meta.dirname, ".own-"));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  return (name, text) => {
    const path = join(folder, name);
    if (text !== undefined) writeFileSync(path, text);
    return path;
  };
}
