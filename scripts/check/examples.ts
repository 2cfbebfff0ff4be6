// Runs every example as a user would, and compares what it prints with its last comment, where it ends in one.
import { command } from "../command.ts";
import { files, lines } from "../files.ts";
import { report, type Finding } from "../findings.ts";

const EXAMPLE_MS_MAX = 180_000;

/** The comment that an example ends with: what it prints, line by line. */
function expectedOutput(file: string): string | undefined {
  const last: string[] = [];
  for (const line of lines(file).join("\n").trimEnd().split("\n").toReversed()) {
    const comment = /^\/\/ ?(.*)$/.exec(line)?.[1];
    if (comment === undefined) break;
    last.unshift(comment);
  }
  return last.length === 0 ? undefined : last.join("\n").trimEnd();
}

async function run(file: string): Promise<Finding | undefined> {
  const line = ["node", "--conditions=@selvage/source", file] as const;
  const { code, stdout, output } = await command(line, { timeoutMs: EXAMPLE_MS_MAX });
  process.stdout.write(`ran ${file}\n`);
  if (code !== 0) return { file, message: `ends with code ${code}:\n${output}` };
  const expected = expectedOutput(file);
  if (expected === undefined || stdout.trimEnd() === expected) return undefined;
  return { file, message: `prints\n${stdout}\nand its last comment says\n${expected}` };
}

const findings: Finding[] = [];
for (const file of files("examples/*.ts", "examples/*/main.ts")) {
  const finding = await run(file);
  if (finding !== undefined) findings.push(finding);
}
report("examples", findings);
