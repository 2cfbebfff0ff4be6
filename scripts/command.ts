import { spawn } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** The repository's folder, without a slash at its end. */
export const ROOT: string = fileURLToPath(new URL("..", import.meta.url)).replace(/[\\/]$/, "");

/** Where Node keeps what it compiled: a program that starts from sources then starts in a third of the time. */
export const COMPILED: string = join(ROOT, ".cache", "compiled");

export interface CommandOptions {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly timeoutMs?: number;
}

export interface CommandResult {
  /** Zero: it went well. A command that was killed, or never started, has 1. */
  readonly code: number;
  readonly stdout: string;
  /** What it printed on either stream, in the order it came. */
  readonly output: string;
}

const TEN_MINUTES_MS = 600_000;

/** Runs a program to its end and keeps what it says. It gets no stdin, so it cannot wait for an answer. */
export async function command(
  [program, ...args]: readonly [string, ...string[]],
  { cwd = ROOT, env = {}, timeoutMs = TEN_MINUTES_MS }: CommandOptions = {},
): Promise<CommandResult> {
  const child = spawn(program, args, {
    cwd,
    // What a check says is read in logs.
    env: { NODE_COMPILE_CACHE: COMPILED, ...process.env, NO_COLOR: "1", ...env },
    stdio: ["ignore", "pipe", "pipe"],
    timeout: timeoutMs,
    killSignal: "SIGKILL",
    shell: process.platform === "win32",
  });
  let stdout = "";
  let output = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    stdout += text;
    output += text;
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    output += text;
  });
  return new Promise((resolve) => {
    child.on("error", (error) => resolve({ code: 1, stdout, output: output + error.message }));
    child.on("close", (code, signal) => {
      const killed = signal === null ? "" : `\n${program} was ended by ${signal}\n`;
      resolve({ code: code ?? 1, stdout, output: output + killed });
    });
  });
}

/** Runs a program and throws what it said when it fails. */
export async function mustRun(
  line: readonly [string, ...string[]],
  options?: CommandOptions,
): Promise<string> {
  const { code, stdout, output } = await command(line, options);
  if (code !== 0) throw new Error(`${line.join(" ")} failed with exit code ${code}\n${output}`);
  return stdout;
}
