// Adds up what the tests and the checks reported. Its last line is the result of the whole run.
import { readFileSync } from "node:fs";

interface TestReport {
  readonly numPassedTests: number;
  readonly numFailedTests: number;
  readonly numPendingTests: number;
  readonly numTodoTests: number;
}

interface CheckReport {
  readonly steps: readonly { readonly outcome: "passed" | "failed" | "skipped" }[];
}

const [testReport, testExit, checkReport, checkExit] = process.argv.slice(2) as [
  string,
  string,
  string,
  string,
];
const total = { passed: 0, failed: 0, skipped: 0 };

function read(file: string): unknown {
  try {
    return JSON.parse(readFileSync(file, "utf8"));
  } catch {
    return undefined; // The program that writes it did not get that far; its exit code says so.
  }
}

/** A program that failed without a failure in its report still failed. */
function account(exit: string, failed: number): void {
  total.failed += exit !== "0" && failed === 0 ? 1 : failed;
}

const tests = read(testReport) as TestReport | undefined;
total.passed += tests?.numPassedTests ?? 0;
total.skipped += (tests?.numPendingTests ?? 0) + (tests?.numTodoTests ?? 0);
account(tests === undefined ? "1" : testExit, tests?.numFailedTests ?? 0);

const steps = (read(checkReport) as CheckReport | undefined)?.steps ?? [];
total.passed += steps.filter(({ outcome }) => outcome === "passed").length;
total.skipped += steps.filter(({ outcome }) => outcome === "skipped").length;
account(
  steps.length === 0 ? "1" : checkExit,
  steps.filter(({ outcome }) => outcome === "failed").length,
);

process.stdout.write(`${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped\n`);
if (total.failed > 0) process.exitCode = 1;
