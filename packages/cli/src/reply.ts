/** What a command has to say, and where it says it: text for people, or one JSON document. */
import type { ViewStream } from "@selvage/node";

/** Where the command writes. `process` is one. */
export interface Streams {
  readonly stdout: ViewStream;
  readonly stderr: ViewStream;
}

/** What a command gives. */
export interface Reply {
  /** For `--json`: plain data. */
  readonly document: unknown;
  /** For people: lines, without the last line's end. */
  readonly text: string;
  /** Default 0. */
  readonly exitCode?: number;
}

/** Options that every command has. */
export interface CommonOptions {
  readonly json?: true;
}

/** A value as JSON: what jobs and tasks return may hold whole numbers that JSON has no form for; they become texts. */
export function toJson(value: unknown): string {
  return JSON.stringify(value, withoutBigints) ?? "null";
}

function withoutBigints(_key: string, part: unknown): unknown {
  return typeof part === "bigint" ? String(part) : part;
}

/** Says it: the document is the last thing on stdout. */
export function tell({ document, text }: Reply, json: boolean, { stdout }: Streams): void {
  if (json) stdout.write(`${toJson(document)}\n`);
  else if (text !== "") stdout.write(`${text}\n`);
}
