/** One thing a check found wrong, and where. */
export interface Finding {
  readonly file: string;
  readonly line?: number;
  readonly message: string;
}

/** Prints every finding as `file:line message` and makes the process fail if there are any. */
export function report(subject: string, findings: readonly Finding[]): void {
  for (const { file, line, message } of findings) {
    process.stdout.write(`${file}${line === undefined ? "" : `:${line}`} ${message}\n`);
  }
  const count = findings.length === 1 ? "1 finding" : `${findings.length} findings`;
  process.stdout.write(`${subject}: ${count}\n`);
  if (findings.length > 0) process.exitCode = 1;
}
